package embedded

import (
	"log/slog"
	"testing"

	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// Every stage that a scenario uses costs something, and what enters later does not pay for what it passes by.
func TestBudgetMeasuresStages(t *testing.T) {
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: 10s}\n"+
		"load: [{source: service, rate: 100/s, shape: [{at: 2s, rate: 300/s}]}, {source: service, enter: forward, rate: 20/s}, {source: service, enter: kafka, rate: 7/s, size: 600B}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	sys := &system{session: runtimes.Session{Scenario: s, Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}}
	stages, err := sys.Budget(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"generate": 327, "collect": 300, "forward": 320, "broker": 327, "store": 327}
	for _, st := range stages {
		if want[st.Name] != st.Peak || st.PerRecord <= 0 {
			t.Errorf("%+v, want a rate of %v", st, want[st.Name])
		}
		delete(want, st.Name)
	}
	if len(want) > 0 {
		t.Errorf("not measured: %v", want)
	}
	for i := range s.Load {
		s.Load[i].Enter = "kafka"
	}
	if stages, err = sys.Budget(t.Context()); err != nil || len(stages) != 3 {
		t.Errorf("entering at kafka: %+v %v", stages, err)
	}
}
