package check

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestShardsAreOne: what n generators and n observers wrote, brought together, is judged as what one of each would have written: every count,
// every range, every percentile, of every history that has streams to share. A record that is in the partitions of two observers, each of
// which sees it for the first time, is a duplicate.
func TestShardsAreOne(t *testing.T) {
	files, err := filepath.Glob("testdata/*.history")
	if err != nil {
		t.Fatal(err)
	}
	shared := 0
	for _, f := range files {
		one := readHistory(t, f).story
		if len(one.streams) < 2 || len(one.damage) > 0 {
			continue
		}
		shared++
		t.Run(strings.TrimSuffix(filepath.Base(f), ".history"), func(t *testing.T) {
			t.Parallel()
			want := figuresOf(t, one)
			for _, n := range []int{2, 3, len(one.streams)} {
				many := readHistory(t, f).story
				many.shards, many.readers = n, n
				got := figuresOf(t, many)
				for _, k := range differing(got, want) {
					t.Errorf("%d shards: %s is\n%v, of one generator\n%v", n, k, got[k], want[k])
				}
			}
		})
	}
	if shared < 5 {
		t.Errorf("%d histories with streams to share", shared)
	}
}

// differing are the keys under which the two are not the same, those that only one of them has included.
func differing(a, b map[string]any) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(k string) bool {
		va, inA := a[k]
		vb, inB := b[k]
		return inA == inB && reflect.DeepEqual(va, vb)
	})
}

func TestDiffering(t *testing.T) {
	a := map[string]any{"same": 1, "other": 1, "only_a": nil}
	b := map[string]any{"same": 1, "other": 2, "only_b": nil}
	if got := differing(a, b); !slices.Equal(got, []string{"only_a", "only_b", "other"}) {
		t.Errorf("differing: %v", got)
	}
}

// figuresOf is the whole result by its fields.
func figuresOf(t *testing.T, st *story) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(marshal(t, judgeDir(t, st.write(t))), &out); err != nil {
		t.Fatal(err)
	}
	return out
}
