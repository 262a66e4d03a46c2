package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/scenario"
)

// tryOf is the place of a run in a search.
type tryOf struct{ tries []evidence.Try }

// search makes the runs of a search and prints the result of the last, which has what all of them found. The exit code is
// that of the last run, whose rate is the highest that passed when the search came to its end.
func (a *app) search(ctx context.Context, s *scenario.Scenario, f runFlags) error {
	begin := time.Now()
	var t tryOf
	var last *check.Result
	rate, more := check.NextTry(s.Search, nil)
	var err error
	for more {
		probe, perr := reload(s.Probe(scenario.Rate(rate)))
		if perr != nil {
			return fmt.Errorf("the run that tries %v: %w", scenario.Rate(rate), perr)
		}
		var res *check.Result
		res, _, err = a.runScenario(ctx, probe, f, &t)
		var exit *exitError
		if res == nil || res.Capacity == nil || err != nil && !errors.As(err, &exit) {
			if last != nil && err != nil {
				fmt.Fprintf(a.stderr, "sim: the search ended early, after %s\n", last.Run)
			}
			return err
		}
		last = res
		own := res.Capacity.Tries[len(res.Capacity.Tries)-1]
		fmt.Fprintf(a.stderr, "try %d: %v: %s%s\n", len(res.Capacity.Tries), scenario.Rate(own.Rate), own.Verdict, whyOf(own))
		t.tries = append(t.tries, own.Evidence())
		if ctx.Err() != nil {
			break
		}
		if more = res.Capacity.Next != nil; more {
			rate = *res.Capacity.Next
		}
		if more && time.Since(begin) > s.Search.Within.D() {
			fmt.Fprintf(a.stderr, "sim: the search has lasted longer than %v and ends before it is done\n", s.Search.Within)
			more = false
		}
	}
	if last == nil {
		return err
	}
	// The last run was judged and its report written; it is printed now, when it is known to be the last.
	if _, perr := a.judge(filepath.Join(a.reportsFolder(f.reports), last.Run), f.output); perr != nil {
		return perr
	}
	return err
}

func whyOf(t check.Try) string {
	if t.Why == "" {
		return ""
	}
	return ", " + t.Why
}
