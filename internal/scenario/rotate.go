package scenario

import (
	"fmt"
	"time"
)

// Rotated returns s with a rotation written out: every fault at its own time on the time line, and no rotation left, so that the file in
// a run directory says what was done. A scenario without a rotation is returned as it is.
func (s *Scenario) Rotated() *Scenario {
	if s.Rotate <= 0 || len(s.Faults) == 0 {
		return s
	}
	out := *s
	out.Rotate, out.Faults = 0, nil
	from := s.Phases.Resolve(Time{Phase: During})
	for turn := 0; ; turn++ {
		f := s.Faults[turn%len(s.Faults)]
		in := s.Phases.Resolve(f.At) - from
		at := in + time.Duration(turn)*s.Rotate.D()
		if at+f.For.D() > s.Phases.During.D() {
			return &out
		}
		if round := turn/len(s.Faults) + 1; round > 1 {
			f.Name = fmt.Sprintf("%s-round-%d", f.Name, round)
		}
		f.At = Time{Phase: During, Offset: at}
		out.Faults = append(out.Faults, f)
	}
}
