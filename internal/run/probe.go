package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/probe"
)

// probeTime bounds all probes of a run: on real clusters a part takes some ten seconds, most of it starting pods.
const probeTime = 4 * time.Minute

// probe finds out what is open and closed before anything is sent, when the scenario asks for it. What could not be probed is in
// the evidence as an answer that is missing: a run never fails to run because of it, and never passes either.
func (r *runner) probe(ctx context.Context) error {
	if len(r.Scenario.Probes) == 0 {
		return nil
	}
	return r.step("probes", func() (string, error) {
		limited, cancel := context.WithTimeoutCause(ctx, probeTime, fmt.Errorf("the probes took longer than %v", probeTime))
		defer cancel()
		results := probe.Run(limited, r.env, r.Scenario.Probes)
		if ctx.Err() != nil {
			return "", errors.New("interrupted while probing")
		}
		wrong := map[string]int{}
		for _, res := range results {
			r.event(res.Event())
			if res.State == probe.Skipped {
				r.note(evidence.EventSkip, "security-isolation/"+res.Name, res.Detail)
			}
			if !res.AsDeclared() {
				wrong[res.State]++
			}
		}
		return probeSummary(len(results), wrong), nil
	})
}

// probeSummary is for people who watch: judging reads the events.
func probeSummary(n int, wrong map[string]int) string {
	var parts []string
	for state, k := range wrong {
		switch state {
		case probe.Open, probe.Closed:
			parts = append(parts, fmt.Sprintf("%d %s against the manifests", k, state))
		default:
			parts = append(parts, fmt.Sprintf("%d %s", k, state))
		}
	}
	slices.Sort(parts)
	if len(parts) == 0 {
		return fmt.Sprintf("%d as declared", n)
	}
	return fmt.Sprintf("%d probes: %s", n, strings.Join(parts, ", "))
}
