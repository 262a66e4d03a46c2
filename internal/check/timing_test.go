package check

import (
	"testing"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

// A reading of the machine holds until the next, and not into a time that nobody watched.
func TestBusySecondsThatWereWatched(t *testing.T) {
	const s = time.Second
	busyFrom3 := []reading{{0, 0.5}, {2 * s, 2}}
	for name, c := range map[string]struct {
		cpu       []reading
		end       time.Duration
		gaps      []Span
		busy, all int
	}{
		"to the end":                  {busyFrom3, 60 * s, nil, 8, 10},
		"interrupted":                 {busyFrom3, 5 * s, nil, 3, 5},
		"interrupted within a second": {busyFrom3, 5*s + 1, nil, 4, 6},
		"resumed":                     {append(busyFrom3[:2:2], reading{9 * s, 0.5}), 60 * s, []Span{{3*s + s/2, 8*s + s/2}}, 1, 4},
	} {
		j := &judge{r: &evidence.Run{Header: evidence.Header{Host: evidence.Host{CPUs: 2}}}, ser: &series{cpu: map[string][]reading{"harness": c.cpu}, end: c.end}, gaps: c.gaps}
		if busy, all := j.busySeconds(scenario.Window{To: 10 * s}); busy != c.busy || all != c.all {
			t.Errorf("%s: %d of %d, want %d of %d", name, busy, all, c.busy, c.all)
		}
	}
}
