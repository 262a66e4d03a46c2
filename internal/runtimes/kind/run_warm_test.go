//go:build !embedded_only

package kind

import (
	"testing"
	"time"
)

// Where telling a generator its plan took a tenth of a second, nobody waits six seconds for the start; on a busy machine everybody does.
func TestHead(t *testing.T) {
	for told, want := range map[time.Duration]time.Duration{0: headStart, 100 * time.Millisecond: 4 * time.Second, time.Second: headStart} {
		if got := (&env{told: told}).head(); got != want {
			t.Errorf("told in %v: %v, want %v", told, got, want)
		}
	}
}
