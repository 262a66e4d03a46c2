package run

import (
	"context"
	"strconv"
	"time"

	"triad/internal/evidence"
	"triad/internal/runtimes"
)

// clockEvery is how often clocks are compared during a run. A clock that is steered goes at most 500 ppm off its way, so 15 ms in between.
const clockEvery = 30 * time.Second

// clocks compares the clusters' clocks with the harness's, where they have their own: before the load, during it, and after it.
func (r *runner) clocks(ctx context.Context) {
	env, ok := r.env.(runtimes.Clocked)
	if !ok {
		return
	}
	readings := env.Clocks(ctx)
	if ctx.Err() != nil {
		return // what was asked while the run ended says nothing
	}
	for _, c := range readings {
		e := evidence.Event{Kind: evidence.EventClock, Name: c.Cluster, State: evidence.ClockKnown, Attrs: map[string]string{}}
		if c.Err != nil {
			e.State, e.Detail = evidence.ClockUnknown, c.Err.Error()
		} else {
			e.Attrs["offset_ns"], e.Attrs["bound_ns"] = strconv.FormatInt(int64(c.Offset), 10), strconv.FormatInt(int64(c.Bound), 10)
		}
		if c.Sees {
			e.Attrs["sees"] = "kafka"
		}
		r.event(e)
	}
}

func (r *runner) clockLoop(ctx context.Context) {
	t := time.NewTicker(clockEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		r.clocks(ctx)
	}
}
