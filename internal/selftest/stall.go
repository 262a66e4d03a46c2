package selftest

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/load"
	"triad/internal/runtimes"
	"triad/internal/scenario"
	"triad/internal/schedule"
	"triad/internal/stats"
)

// stall makes the generator stand still once, after n records: harness time, not the system's.
func stall(n uint64, d time.Duration) *runtimes.Sabotage {
	var seen atomic.Uint64
	return &runtimes.Sabotage{Generator: func(*load.Record) int {
		if seen.Add(1) == n {
			time.Sleep(d)
		}
		return 1
	}}
}

// The case of wrk2's README: 2000 records a second for 30 s, with one stall of 1.4 s.
const (
	stallRate = 2000
	stallTime = 30 * time.Second
	stallAt   = 14 * time.Second
	stallFor  = 1400 * time.Millisecond
	service   = time.Millisecond // time of a record that is not stalled
	tolerance = 0.05
)

// stallRun makes the directory of a run with the load of that case.
func stallRun(dir string) (*scenario.Scenario, *evidence.Writer, error) {
	s, err := scenario.Parse("selftest.yaml", []byte(fmt.Sprintf("%sphases: {warm-up: 1ms, before: %v, drain: 1s}\nload: [{source: service, rate: %d/s, streams: 1}]\n", head1, stallTime, stallRate)))
	if err != nil {
		return nil, nil, err
	}
	w, err := evidence.Create(dir, evidence.Header{
		ID: filepath.Base(dir), Run: 1, Scenario: s.Name, Runtime: "embedded", Seed: 1, Streams: s.Streams(), Windows: s.Phases.Windows(),
		HistWindow: time.Second, PulseEvery: 100 * time.Millisecond,
	}, s)
	return s, w, err
}

// within says what is wrong with a figure that is not within 5 % of the true one; nil: nothing is.
func within(got, want time.Duration, found bool) []string {
	if found && math.Abs(float64(got-want)) <= tolerance*float64(want) {
		return nil
	}
	return []string{fmt.Sprintf("p99 %v is not within %.0f %% of %v", got, tolerance*100, want)}
}

// stall judges a synthetic schedule with one stall of the system and demands the true p99 within 5 %: a tool that
// counts from the actual send reports a few milliseconds.
func (rep *Report) stall(dir string) error {
	s, w, err := stallRun(filepath.Join(dir, "stall"))
	if err != nil {
		return err
	}
	if err := w.Begin(time.Now()); err != nil {
		return err
	}
	key, err := w.Hists.Key(evidence.HistKey{Metric: "kafka_latency", Source: "service", Topic: "service-topic"})
	if err != nil {
		return err
	}
	var ledgers []*evidence.Ledger
	for _, p := range []string{evidence.PointSent + "0", evidence.PointKafka, evidence.PointSearch} {
		l, err := w.Ledger(p)
		if err != nil {
			return err
		}
		ledgers = append(ledgers, l)
	}
	if err := ledgers[0].Intent(stallTime + time.Second); err != nil {
		return err
	}
	sched := schedule.New(s, s.Streams()[0])
	var true99 []time.Duration
	for {
		seq := sched.Seq()
		due, ok := sched.Next()
		if !ok {
			break
		}
		latency := service
		if due >= stallAt && due < stallAt+stallFor {
			latency += stallAt + stallFor - due
		}
		if due >= time.Millisecond { // the phase before
			true99 = append(true99, latency)
		}
		w.Hists.Record(key, due, latency)
		for i, l := range ledgers {
			l.MarkSpan([]evidence.Class{evidence.Acked, evidence.Seen, evidence.Seen}[i], 0, stats.Span{Lo: seq, Hi: seq + 1})
		}
	}
	if err := errors.Join(w.Events.Add(evidence.Event{Kind: evidence.EventRecon, Name: evidence.PointSearch, State: "done"}), w.Close("")); err != nil {
		return err
	}
	res, err := judge(w.Dir)
	if err != nil {
		return err
	}
	slices.Sort(true99)
	want := true99[int(math.Ceil(0.99*float64(len(true99))))-1]
	c := Case{Kind: "stall-of-1.4s", Truth: fmt.Sprintf("p99 %v", want)}
	got, found := p99(res, "kafka_latency", scenario.Before)
	c.Reported = fmt.Sprintf("p99 %v", got)
	c.Wrong = within(got, want, found)
	c.Detected = len(c.Wrong) == 0
	rep.Cases = append(rep.Cases, c)
	return nil
}

func p99(res *check.Result, metric, phase string) (time.Duration, bool) {
	for _, l := range res.Latency {
		if l.Metric == metric && l.Phase == phase && l.Source == "service" {
			return time.Duration(l.P99), true
		}
	}
	return 0, false
}
