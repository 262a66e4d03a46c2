package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/schedule"
)

// A gate of counts alone, so that a busy machine decides nothing: every rate passes.
const searchScenario = `apiVersion: triad/v1
name: looking
title: a search
runtimes: [embedded]
phases: {warm-up: 200ms, before: 1s, drain: 60s}
load: [{source: service, rate: 30/s, streams: 2}, {source: control, rate: 5/s}]
search: {source: service, from: 40/s, to: 60/s, step: 5s, gate: [lost == 0]}
requires: [capacity]
`

// The tries of a search are runs of their own, each with what was found before it, and the last says what came of all.
func TestSearchMakesRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("three whole runs")
	}
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "looking.yaml")
	if err := os.WriteFile(file, []byte(searchScenario), 0o644); err != nil {
		t.Fatal(err)
	}
	p := sim(t, dir, "run", file, "--runtime", "embedded", "--reports", filepath.Join(dir, "reports"), "--output", "json")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if got := p.code(t); got != exitInvalid {
		t.Fatalf("exit code %d, want %d: the highest rate of the search passed\n%s", got, exitInvalid, p.err.String())
	}
	var res check.Result
	if err := json.Unmarshal(p.out.Bytes(), &res); err != nil {
		t.Fatalf("stdout is not one result: %v\n%s", err, p.out.String())
	}
	c := res.Capacity
	if c == nil || len(c.Tries) != 3 || c.Passed == nil || *c.Passed != 60 || c.Upper != check.UpperBound || c.Next != nil {
		t.Fatalf("%+v\n%s", c, p.err.String())
	}
	for i, want := range []float64{40, 60, 60} {
		x := c.Tries[i]
		if x.Rate != want || x.Verdict != check.Pass {
			t.Errorf("try %d: %+v", i+1, x)
		}
		r, err := evidence.Open(filepath.Join(dir, "reports", x.Run))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(r.Header.Tries); got != i {
			t.Errorf("try %d has %d tries before it", i+1, got)
		}
		if got := schedule.Rate(r.Scenario, 0, 3*time.Second); got != want {
			t.Errorf("try %d held %v/s", i+1, got)
		}
		again, err := check.Judge(r, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if got := again.Capacity.Tries[i]; got.Verdict != x.Verdict || got.Run != x.Run {
			t.Errorf("try %d judged again: %+v", i+1, got)
		}
	}
}

func TestSearchIsNotStretched(t *testing.T) {
	t.Parallel()
	p := sim(t, root(t), "run", "capacity", "--runtime", "embedded", "--duration", "1h")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if got := p.code(t); got != exitUsage || !strings.Contains(p.err.String(), "search.within") {
		t.Fatalf("exit code %d: %s", got, p.err.String())
	}
}

// A try of every rate goes through everything that a file goes through, and leaves the search as it was.
func TestProbe(t *testing.T) {
	s := loadShipped(t, "capacity")
	before, err := s.YAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, rate := range []scenario.Rate{s.Search.From, 1234, s.Search.To} {
		probe, err := reload(s.Probe(rate))
		if err != nil {
			t.Fatalf("%v: %v", rate, err)
		}
		for at, want := range map[time.Duration]float64{0: 250, 9 * time.Second: 250, 11 * time.Second: float64(rate), 19 * time.Second: float64(rate)} {
			if got := schedule.Rate(probe, 0, at); got != want {
				t.Errorf("%v: %v/s at %v, want %v", rate, got, at, want)
			}
		}
	}
	after, err := s.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Errorf("the search changed:\n%s", after)
	}
}
