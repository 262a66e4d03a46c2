package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"triad/internal/scenario"
)

func loadShipped(t *testing.T, name string) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Load(filepath.Join(root(t), "scenarios", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Every scenario of the catalogue can be stretched to a night, and its load then lasts so long, with every fault in the
// phase that it was declared for.
func TestStretchEveryScenario(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root(t), "scenarios", "*.yaml"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d scenarios: %v", len(files), err)
	}
	for _, f := range files {
		s := loadShipped(t, strings.TrimSuffix(filepath.Base(f), ".yaml"))
		out, err := stretch(s, 6*time.Hour)
		if s.Cap != nil {
			if err == nil || !strings.Contains(err.Error(), "above the cap of") {
				t.Errorf("%s: stretched beyond its cap: %v", s.Name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		if out.Phases.LoadTime() != 6*time.Hour || out.Phases.After != s.Phases.After || out.File != s.File {
			t.Errorf("%s: lasts %v, after %v", s.Name, out.Phases.LoadTime(), out.Phases.After)
		}
		from, to := out.Phases.Resolve(scenario.Time{Phase: scenario.During}), out.Phases.Resolve(scenario.Time{Phase: scenario.After})
		for _, f := range out.Faults[len(s.Faults):] {
			if at := out.Phases.Resolve(f.At); at < from || at+f.For.D() > to {
				t.Errorf("%s: %s at %v is outside of %v to %v", s.Name, f.Name, at, from, to)
			}
		}
	}
}

func TestStretchRepeatsFaults(t *testing.T) {
	s := loadShipped(t, "soak")
	out, err := stretch(s, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// An hour less 100 s of other phases has rounds at 0, 10, ... 50 minutes.
	if len(out.Faults) != 6*len(s.Faults) {
		t.Fatalf("%d faults from %d", len(out.Faults), len(s.Faults))
	}
	last := out.Faults[len(out.Faults)-1]
	if want := s.Phases.Resolve(s.Faults[len(s.Faults)-1].At) + 50*time.Minute; last.Name != "es-throttle-round-6" || out.Phases.Resolve(last.At) != want {
		t.Errorf("%s at %v, want %v", last.Name, out.Phases.Resolve(last.At), want)
	}
	if len(s.Faults) != 3 || s.Phases.LoadTime() >= time.Hour {
		t.Error("the scenario itself was changed")
	}
}

func TestStretchNothingShorter(t *testing.T) {
	s := loadShipped(t, "soak")
	if _, err := stretch(s, time.Minute); err == nil {
		t.Error("a scenario was cut short")
	}
	if out, err := stretch(s, s.Phases.LoadTime()); err != nil || len(out.Faults) != len(s.Faults) {
		t.Errorf("its own length: %v", err)
	}
	if _, err := stretch(s, 30*24*time.Hour); err == nil {
		t.Error("a month is above the limit of a week")
	}
}
