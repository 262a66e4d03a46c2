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
	s := loadShipped(t, "forwarder-restart")
	out, err := stretch(s, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// An hour less 70 s of other phases has rounds at 0, 10, ... 50 minutes.
	if len(out.Faults) != 6*len(s.Faults) {
		t.Fatalf("%d faults from %d", len(out.Faults), len(s.Faults))
	}
	last := out.Faults[len(out.Faults)-1]
	if want := s.Phases.Resolve(s.Faults[len(s.Faults)-1].At) + 50*time.Minute; last.Name != "forwarder-kill-2-round-6" || out.Phases.Resolve(last.At) != want {
		t.Errorf("%s at %v, want %v", last.Name, out.Phases.Resolve(last.At), want)
	}
	if len(s.Faults) != 2 || s.Phases.LoadTime() >= time.Hour {
		t.Error("the scenario itself was changed")
	}
}

// The nightly soak: at least four kinds of faults even in twenty minutes, each with its turn, in which it has to recover.
func TestStretchRotates(t *testing.T) {
	for _, length := range []time.Duration{20 * time.Minute, 6 * time.Hour} {
		out, err := stretch(loadShipped(t, "soak"), length)
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[string]bool{}
		written := out.Rotated()
		for i, f := range written.Faults {
			kinds[f.Kind] = true
			if i > 0 {
				if gap := written.Phases.Resolve(f.At) - written.Phases.Resolve(written.Faults[i-1].At); gap < written.RecoverIn.D() {
					t.Errorf("%v: %s strikes %v after %s, which may take %v", length, f.Name, gap, written.Faults[i-1].Name, written.RecoverIn)
				}
			}
		}
		if n := len(written.Faults); len(kinds) < 4 || written.Phases.LoadTime() != length || time.Duration(n) < (length-6*time.Minute)/out.Rotate.D() {
			t.Errorf("%v: %d faults of %d kinds in %v", length, n, len(kinds), written.Phases.LoadTime())
		}
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
