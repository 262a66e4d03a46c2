package check

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a hop rests on, and what was left out of it, is said in the same words whenever a run is judged.
func TestHopsInTheSameWords(t *testing.T) {
	dir := readHistory(t, "testdata/hop-two-contradictions.history").story.write(t)
	first := judgeDir(t, dir).Hops
	for range 20 {
		if d := cmp.Diff(first, judgeDir(t, dir).Hops); d != "" {
			t.Fatalf("(-first +again)\n%s", d)
		}
	}
}
