package evidence

import (
	"time"

	"triad/internal/scenario"
)

// LongRun is the length of the load beyond which histograms and pulses are kept coarser.
const LongRun = 15 * time.Minute

// Resolution is how fine histograms and pulses are kept. A night's evidence stays small; but recovery is told by the whole windows of the
// phase before, and one of less than a minute has few of ten seconds, the last of which a fault reaches into.
func Resolution(p scenario.Phases) (hist, pulse time.Duration) {
	switch {
	case p.LoadTime() <= LongRun:
		return time.Second, 100 * time.Millisecond
	case p.Before.D() < time.Minute:
		return time.Second, time.Second
	}
	return 10 * time.Second, time.Second
}
