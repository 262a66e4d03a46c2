package evidence

import (
	"testing"
	"time"

	"triad/internal/scenario"
)

// A long run keeps windows in which its phase before can be told.
func TestResolution(t *testing.T) {
	const s, m = scenario.Duration(time.Second), scenario.Duration(time.Minute)
	for name, c := range map[string]struct {
		phases      scenario.Phases
		hist, pulse time.Duration
	}{
		"short":                       {scenario.Phases{Before: 15 * s, During: 14 * m}, time.Second, 100 * time.Millisecond},
		"long":                        {scenario.Phases{Before: m, During: 20 * m}, 10 * time.Second, time.Second},
		"long, with a short before":   {scenario.Phases{Before: 15 * s, During: 20 * m}, time.Second, time.Second},
		"the drain is not the load's": {scenario.Phases{Before: m, During: 10 * m, Drain: 20 * m}, time.Second, 100 * time.Millisecond},
	} {
		if hist, pulse := Resolution(c.phases); hist != c.hist || pulse != c.pulse {
			t.Errorf("%s: %v and %v, want %v and %v", name, hist, pulse, c.hist, c.pulse)
		}
	}
}
