package elastic

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"triad/internal/evidence"
	"triad/internal/observe"
	"triad/internal/record"
	"triad/internal/scenario"
)

// Config of an observer.
type Config struct {
	Client    *Client
	Indices   []string // one for each topic, of the same name
	Scenario  *scenario.Scenario
	PollEvery uint64 // records with seq % PollEvery == 0 are polled
	Evidence  *evidence.Writer
	Pulse     time.Duration
	Cluster   string // of the store, for the query series
	Logger    *slog.Logger
	// Of a run that goes on: records that were due before are not polled, because how late they are found would say how long nobody
	// looked; and what the search pulse has already, by source.
	From   time.Duration
	Pulsed map[string]uint64
}

// askTime is for one question to the store.
const askTime = 5 * time.Second

// probeGap lies between two probes: the resolution of the query time, and of whether the store answers.
const probeGap = time.Second

// Observer polls the store. Create it with New, Run it during the load, then Reconcile once.
type Observer struct {
	cfg      Config
	known    *observe.Known
	prefix   string
	counted  atomic.Uint64
	likely   atomic.Uint64
	skipped  atomic.Uint64
	lastErr  atomic.Pointer[string]
	latency  map[string][2]uint64 // by source and topic: keys of lower and upper
	queryKey uint64
}

// Prefix is what the identities of all records of a run begin with.
func Prefix(run uint32) string {
	id := record.AppendID(nil, run, 0, 0)
	return string(id[:len(id)-len("0_0")])
}

// New prepares an observer for the records of one run.
func New(cfg Config, known *observe.Known) (*Observer, error) {
	o := &Observer{cfg: cfg, known: known, prefix: Prefix(known.Run()), latency: map[string][2]uint64{}}
	for _, st := range cfg.Scenario.Streams() {
		k := st.Source + "\x00" + st.Topic
		if _, ok := o.latency[k]; ok {
			continue
		}
		lo, err := cfg.Evidence.Hists.Key(evidence.HistKey{Metric: "e2e_latency", Source: st.Source, Topic: st.Topic, Bound: evidence.Lower})
		if err != nil {
			return nil, err
		}
		hi, err := cfg.Evidence.Hists.Key(evidence.HistKey{Metric: "e2e_latency", Source: st.Source, Topic: st.Topic, Bound: evidence.Upper})
		if err != nil {
			return nil, err
		}
		o.latency[k] = [2]uint64{lo, hi}
	}
	var err error
	o.queryKey, err = cfg.Evidence.Hists.Key(evidence.HistKey{Metric: "query_latency"})
	return o, err
}

// Counted is the number of searchable documents of the run at the last exact count.
func (o *Observer) Counted() uint64 { return o.counted.Load() }

// Likely is their number now, as far as a count that was not exact goes.
func (o *Observer) Likely() uint64 { return o.likely.Load() }

// PollEvery chooses the subset to poll for a load of the given records a second: about 25 records a second.
func PollEvery(rate float64) uint64 { return max(uint64(rate/25), 1) }

// Run watches every index until ctx ends. Errors of the store are not the observer's end; they show as holes and in the query series.
func (o *Observer) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, index := range o.cfg.Indices {
		if w := o.watch(index); w != nil {
			wg.Go(func() { w.run(ctx) })
		}
	}
	wg.Go(func() { o.probeLoop(ctx) })
	wg.Wait()
	if n := o.skipped.Load(); n > 0 {
		o.cfg.Logger.Warn("records were not polled, too many were waited for", "records", n)
	}
}

func (o *Observer) probeLoop(ctx context.Context) {
	if len(o.cfg.Indices) == 0 {
		return
	}
	due := time.Now().Add(probeGap)
	t := time.NewTimer(probeGap)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		began := time.Now()
		due = due.Add(max(began.Sub(due), 0).Truncate(probeGap) + probeGap) // what comes late here is the harness's own lateness
		err := o.probe(ctx, o.cfg.Indices[0])
		if ctx.Err() != nil {
			return
		}
		end := time.Now()
		o.probed(began, end, err)
		for ; !due.After(end); due = due.Add(probeGap) { // those that were due while it was under way waited for it
			o.probed(due, end, err)
		}
		t.Reset(time.Until(due))
	}
}

// probe searches for one record by its name, as somebody does who follows one; what it costs does not grow with the run.
func (o *Observer) probe(ctx context.Context, index string) error {
	ask, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	_, err := o.cfg.Client.Found(ask, index, []string{o.prefix + "0_0"})
	return err
}

// probed writes how long a query took. One that failed is marked by the up series, and no faster than one that is waited for to the end: a
// store that refuses at once has not answered quickly.
func (o *Observer) probed(began, end time.Time, err error) {
	took := end.Sub(began)
	at := o.cfg.Evidence.Since(began)
	up := 1.0
	if err != nil {
		up = 0
		if took < askTime {
			took += askTime // and not the same twice, which a series would hold and not repeat
		}
		msg := err.Error()
		if old := o.lastErr.Swap(&msg); old == nil || *old != msg {
			o.cfg.Logger.Debug("store does not answer", "error", err)
		}
	}
	o.cfg.Evidence.Hists.Record(o.queryKey, at, took)
	labels := evidence.Labels{"cluster": o.cfg.Cluster}
	if err := o.cfg.Evidence.Series.Add(at, evidence.Sample{Name: evidence.QuerySeries, Labels: labels, Value: took.Seconds()},
		evidence.Sample{Name: evidence.UpSeries, Labels: evidence.Labels{"cluster": o.cfg.Cluster, "component": "elasticsearch", "instance": "search"}, Value: up}); err != nil {
		o.cfg.Logger.Error("query evidence", "error", err)
	}
}
