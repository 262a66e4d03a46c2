//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"time"

	"triad/internal/load/agent"
	"triad/internal/observe/elastic"
	"triad/internal/scenario"
)

const (
	warmLoad  = 2 * time.Second // of the scenario's own load, without its faults and shapes
	warmRate  = 50              // records a second of each source at most: warming must not fill buffers
	warmAhead = 2 * time.Second // between the plan and its start
	warmPoll  = 200 * time.Millisecond
)

// Warm sends a short load of its own through the whole path: generators, forwarders, brokers, sink and store, every topic of the
// scenario. Its records carry another run's number, and all of them are searchable before the observers of the run begin.
func (e *env) Warm(ctx context.Context, round int) (records uint64, took time.Duration, err error) {
	s := *e.session.Scenario
	s.Phases = scenario.Phases{Before: scenario.Duration(warmLoad)}
	s.Faults = nil
	s.Load = append([]scenario.Input(nil), s.Load...)
	for i := range s.Load {
		s.Load[i].Shape = nil
		s.Load[i].Rate = min(s.Load[i].Rate, warmRate)
	}
	run := e.session.Run ^ uint32(round)
	start := time.Now().Add(warmAhead)
	shares, err := e.share(agent.Plan{Scenario: s, Run: run, Start: start, HistWindow: time.Second, PulseEvery: time.Second})
	if err != nil {
		return 0, 0, err
	}
	var topics []string
	for _, st := range s.Streams() {
		topics = append(topics, st.Topic)
	}
	for _, share := range shares {
		began := time.Now()
		if err := share.Begin(ctx, share.Plan); err != nil {
			return 0, 0, err
		}
		e.told = max(e.told, time.Since(began))
	}
	due := start.Add(warmLoad)
	select {
	case <-time.After(time.Until(due)):
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
	records, err = awaitAgents(ctx, shares)
	if err != nil {
		return records, 0, err
	}
	client, err := elastic.NewClient(e.Search())
	if err != nil {
		return records, 0, err
	}
	t := time.NewTicker(warmPoll)
	defer t.Stop()
	var there uint64
	for {
		n, err := client.Count(ctx, topics, elastic.Prefix(run))
		if err == nil {
			there = n
		}
		if there >= records {
			return records, time.Since(due), nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return records, 0, errors.Join(fmt.Errorf("%d of %d records are searchable: %w", there, records, context.Cause(ctx)), err)
		}
	}
}

// awaitAgents waits until every agent is done and adds up what they wrote.
func awaitAgents(ctx context.Context, shares []agent.Share) (acked uint64, err error) {
	for _, share := range shares {
		for {
			st, err := share.Status(ctx)
			if err != nil {
				return acked, err
			}
			if st.Error != "" {
				return acked, fmt.Errorf("generator %s: %s", share.Name, st.Error)
			}
			if !st.Running {
				acked += st.Progress.Acked
				break
			}
			select {
			case <-time.After(warmPoll):
			case <-ctx.Done():
				return acked, fmt.Errorf("generator %s: %w", share.Name, context.Cause(ctx))
			}
		}
	}
	return acked, nil
}
