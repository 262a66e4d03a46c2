package scenario

import (
	"fmt"
	"testing"
	"time"
)

const rotating = `apiVersion: triad/v1
name: turns
title: faults in turn
phases: {warm-up: 5s, before: 10s, during: %s, after: 60s}
load: [{source: service, rate: 10/s}]
rotate: 2m
faults:
  - {kind: broker-kill, at: during+5s}
  - {kind: es-down, at: during+10s, for: 30s}
  - {kind: forwarder-kill, target: fluentd, at: during+5s}
`

// A rotation that is written out has every fault in its turn, and what it says is what a run directory keeps.
func TestRotated(t *testing.T) {
	for _, c := range []struct {
		during string
		want   []string
	}{
		{"60s", []string{"broker-kill 5s"}},
		// The second turn would end with its fault at 2m40s.
		{"159s", []string{"broker-kill 5s"}},
		{"160s", []string{"broker-kill 5s", "es-down 2m10s"}},
		{"9m", []string{"broker-kill 5s", "es-down 2m10s", "forwarder-kill 4m5s", "broker-kill-round-2 6m5s", "es-down-round-2 8m10s"}},
	} {
		s, err := Parse("turns.yaml", fmt.Appendf(nil, rotating, c.during))
		if err != nil {
			t.Fatal(err)
		}
		out := s.Rotated()
		var got []string
		for _, f := range out.Faults {
			got = append(got, fmt.Sprintf("%s %v", f.Name, f.At.Offset))
			if f.At.Phase != During || out.Phases.Resolve(f.At)-15*time.Second != f.At.Offset {
				t.Errorf("%s: %s at %v", c.during, f.Name, f.At)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s:\n got %v\nwant %v", c.during, got, c.want)
		}
		if out.Rotate != 0 || len(s.Faults) != 3 {
			t.Errorf("%s: rotates %v, and the scenario has %d faults", c.during, out.Rotate, len(s.Faults))
		}
		y, err := out.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("turns.yaml", y)
		if err != nil {
			t.Fatalf("%s: %v", c.during, err)
		}
		if again.Rotated() != again || len(again.Faults) != len(c.want) {
			t.Errorf("%s: the written scenario rotates once more: %d faults", c.during, len(again.Faults))
		}
	}
}
