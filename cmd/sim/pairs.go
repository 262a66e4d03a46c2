package main

import (
	"context"
	"errors"
	"fmt"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/scenario"
)

// repetition is one run of many that compare topologies. The zero value is a run that compares nothing.
type repetition struct {
	pair     int
	topology string
	cpus     float64
	memory   int64
	earlier  []evidence.Event
}

// runPairs repeats a scenario in two topologies. Each repetition is a run of its own; the last carries what those before it have shown, and
// so has the verdict. Where there are no clusters one run says so.
func (a *app) runPairs(ctx context.Context, s *scenario.Scenario, f runFlags) (err error) {
	if f.pairs < 0 {
		return usage(fmt.Errorf("--pairs %d: want at least 1", f.pairs))
	}
	if f.pairs > 0 {
		s.Compare.Pairs = f.pairs
	}
	if f.runtime == "auto" {
		f.runtime, _ = a.autoRuntime(ctx, s, f)
	}
	if f.runtime != "kind" {
		_, _, err := a.runScenario(ctx, s, f, nil)
		return err
	}
	defer func() {
		if end := a.endPairs(context.WithoutCancel(ctx), f); end != nil {
			err = errors.Join(err, end)
		}
	}()
	f.rep.cpus, f.rep.memory = s.Compare.CPUs, int64(s.Compare.Memory)
	var last error
	for n := 1; n <= s.Compare.Pairs; n++ {
		for _, topology := range order(n, s.Compare.Pairs) {
			f.rep.pair, f.rep.topology = n, topology
			fmt.Fprintf(a.stderr, "pair %d of %d, parts in %s\n", n, s.Compare.Pairs, map[string]string{"three": "three clusters", "one": "one cluster"}[topology])
			_, dir, err := a.runScenario(ctx, s, f, nil)
			last = err
			if e, ok := errors.AsType[*exitError](err); err != nil && (!ok || e.code != exitFail && e.code != exitInvalid) {
				return err // interrupted, or not brought up: what is missing is missing
			}
			e, err := pairEvent(dir, n, topology)
			if err != nil {
				return err
			}
			f.rep.earlier = append(f.rep.earlier, e)
		}
	}
	return last
}

// order is that of the two topologies in a pair. It changes from pair to pair, so that a machine which gets slower favours neither, and the
// very last run is one in three clusters.
func order(pair, pairs int) []string {
	if (pairs-pair)%2 == 0 {
		return []string{"one", "three"}
	}
	return []string{"three", "one"}
}

// pairEvent reads what a repetition has shown out of its directory.
func pairEvent(dir string, pair int, topology string) (evidence.Event, error) {
	r, err := evidence.Open(dir)
	if err != nil {
		return evidence.Event{}, err
	}
	n, why, err := check.Neighbours(r)
	if err != nil {
		return evidence.Event{}, fmt.Errorf("figures of %s: %w", dir, err)
	}
	for _, e := range r.Events {
		if e.Kind == evidence.EventTopology && e.State != evidence.TopologyCapped {
			why = "no caps: " + e.Detail
		}
	}
	return check.PairEvent(r.Header.ID, pair, topology, n, why), nil
}
