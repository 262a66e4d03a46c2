package main

import (
	"fmt"
	"time"

	"triad/internal/scenario"
)

// repeatEvery is how often the faults of a stretched scenario strike again: long enough to recover between, short
// enough that an hour has several.
const repeatEvery = 10 * time.Minute

// stretch returns s with a load of the given length. In a scenario with faults the phase during grows and the list of
// faults strikes again every repeatEvery, or every length of the phase during where that is longer; faults that rotate go on
// to. In one without, the phase before grows. A length below the scenario's own is an error.
func stretch(s *scenario.Scenario, length time.Duration) (*scenario.Scenario, error) {
	more := length - s.Phases.LoadTime()
	if more < 0 {
		return nil, fmt.Errorf("the load of %s lasts %v already, and a shorter one would cut its faults", s.Name, s.Phases.LoadTime())
	}
	out := *s
	if len(s.Faults) == 0 {
		out.Phases.Before += scenario.Duration(more)
		return reload(&out)
	}
	if s.Rotate > 0 {
		out.Phases.During += scenario.Duration(more) // room for more turns
		return reload(&out)
	}
	list := s.Phases.During.D() // one round of faults
	every := max(repeatEvery, list)
	out.Phases.During += scenario.Duration(more)
	from := s.Phases.Resolve(scenario.Time{Phase: scenario.During})
	end := from + out.Phases.During.D()
	// Resolved before the phases grow: a fault that stands in a phase behind during stays there.
	for round := 1; from+time.Duration(round)*every+list <= end; round++ {
		for _, f := range s.Faults {
			at := s.Phases.Resolve(f.At)
			if at < from || at >= from+list {
				continue
			}
			f.Name = fmt.Sprintf("%s-round-%d", f.Name, round+1)
			f.At = scenario.Time{Offset: at + time.Duration(round)*every}
			out.Faults = append(out.Faults, f)
		}
	}
	return reload(&out)
}

// reload puts a changed scenario through everything that a file goes through.
func reload(s *scenario.Scenario) (*scenario.Scenario, error) {
	y, err := s.YAML()
	if err != nil {
		return nil, err
	}
	out, err := scenario.Parse(s.Name+".yaml", y)
	if err != nil {
		return nil, err
	}
	out.File = s.File
	return out, nil
}

// durationFlag is a duration as scenario files write it: 90s, 6h, 2d.
type durationFlag struct{ d *scenario.Duration }

// String prints the value, nothing for none.
func (f durationFlag) String() string {
	if f.d == nil || *f.d == 0 {
		return ""
	}
	return f.d.String()
}

// Set reads the value.
func (f durationFlag) Set(text string) error { return f.d.UnmarshalText([]byte(text)) }

// Type names the value in the help text.
func (f durationFlag) Type() string { return "duration" }
