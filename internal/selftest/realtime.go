package selftest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"triad/internal/evidence"
	"triad/internal/load"
	"triad/internal/scenario"
)

// stalling is a system that stands still once. It takes the times itself, from the scheduled time of each record to its own answer: what a
// client that was waiting for it would have seen.
type stalling struct {
	start   time.Time
	stalled bool
	took    []time.Duration
}

// Send answers a record, after the stall when it is the first that is due in it.
func (s *stalling) Send(_ context.Context, r load.Record, o load.Outcome) {
	if !s.stalled && r.Scheduled >= stallAt {
		s.stalled = true
		time.Sleep(stallFor)
	}
	o.Done(nil)
	s.took = append(s.took, time.Since(s.start)-r.Scheduled)
}

// Close has nothing to wait for.
func (s *stalling) Close(context.Context) error { return nil }

// realTime drives the real generator through the stall, for as long as it takes: thirty seconds. The generator's account of it, from the
// scheduled time, has to be the system's own within 5 %; from the attempt on it is a small part of it, which is what tools report that wait.
func (rep *Report) realTime(ctx context.Context, o Options) error {
	s, w, err := stallRun(filepath.Join(o.Dir, "stall-in-real-time"))
	if err != nil {
		return err
	}
	sys := &stalling{start: time.Now().Add(100 * time.Millisecond)}
	if err := w.Begin(sys.start); err != nil {
		return err
	}
	ledger, err := w.Ledger(evidence.PointSent + "0")
	if err != nil {
		return err
	}
	gen, err := load.New(load.Config{Scenario: s, Run: 1, Start: sys.start, Streams: s.Streams(), Sink: sys, Logger: o.Logger, Evidence: load.Evidence{
		Ledger: ledger, Hists: w.Hists, Series: w.Series, Pulse: evidence.NewPulse(w.Series, "ledger", 100*time.Millisecond),
	}})
	if err != nil {
		return err
	}
	if err := errors.Join(gen.Run(ctx), w.Close("")); err != nil {
		return err
	}
	res, err := judge(w.Dir)
	if err != nil {
		return err
	}
	slices.Sort(sys.took)
	want := sys.took[int(math.Ceil(0.99*float64(len(sys.took))))-1]
	got, found := p99(res, "send_corrected", scenario.Before)
	waiting, _ := p99(res, "send_uncorrected", scenario.Before)
	c := Case{Kind: "stall-in-real-time", Truth: fmt.Sprintf("p99 %v", want.Round(time.Microsecond)), Reported: fmt.Sprintf("p99 %v; %v from the attempt on", got, waiting)}
	c.Wrong = within(got, want, found)
	if n := stallRate * int(stallTime/time.Second); len(sys.took) < n {
		c.Wrong = append(c.Wrong, fmt.Sprintf("%d of %d records were sent", len(sys.took), n))
	}
	c.Detected = len(c.Wrong) == 0
	rep.Cases = append(rep.Cases, c)
	return nil
}
