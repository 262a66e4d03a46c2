package elastic

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"triad/internal/evidence"
	"triad/internal/observe"
	"triad/internal/record"
	"triad/internal/scenario"
	"triad/internal/schedule"
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

// Numbers of the poller.
const (
	pollGap     = 200 * time.Millisecond // between two rounds; the resolution of a searchable latency that is not the refresh interval's
	pollBatch   = 250                    // searches in one request
	pollPending = 20_000                 // records waited for at most; the rest is not polled, and counted
	refreshed   = 600 * time.Millisecond // after documents have come no more are expected: the store refreshes an index once a second
	countGap    = 500 * time.Millisecond // between two counts: the resolution of the search pulse
	askTime     = 5 * time.Second        // for one question to the store
)

// Observer polls the store. Create it with New, Run it during the load, then Reconcile once.
type Observer struct {
	cfg      Config
	known    *observe.Known
	prefix   string
	counted  atomic.Uint64
	likely   atomic.Uint64
	found    atomic.Uint64
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

// Run polls until ctx ends. Errors of the store are not the observer's end; they show as holes and in the query series.
func (o *Observer) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for i, index := range o.cfg.Indices {
		wg.Go(func() { o.countLoop(ctx, index, i == 0) })
	}
	wg.Go(func() { o.pollLoop(ctx) })
	wg.Wait()
	if n := o.skipped.Load(); n > 0 {
		o.cfg.Logger.Warn("records were not polled, too many were waited for", "records", n)
	}
}

// countLoop counts the documents of one index; its increments are the search pulse of the index's sources. An index
// with several sources books them on the first.
func (o *Observer) countLoop(ctx context.Context, index string, probe bool) {
	source := ""
	for _, st := range o.cfg.Scenario.Streams() {
		if st.Topic == index {
			source = st.Source
			break
		}
	}
	pulse := evidence.NewPulse(o.cfg.Evidence.Series, evidence.PointSearch, o.cfg.Pulse)
	t := time.NewTicker(countGap)
	defer t.Stop()
	last := uint64(0) // in the pulse
	if source != "" {
		last = o.cfg.Pulsed[source]
		o.counted.Add(last)
		o.likely.Add(last)
	}
	exact := last
	var tl tally
	for {
		select {
		case <-ctx.Done():
			if err := pulse.Flush(o.cfg.Evidence.Now(), true); err != nil {
				o.cfg.Logger.Error("search pulse", "error", err)
			}
			return
		case <-t.C:
		}
		if probe {
			o.probe(ctx, index)
		}
		n, isExact, err := o.count(ctx, index, &tl)
		if err != nil {
			continue
		}
		now := o.cfg.Evidence.Now()
		if source != "" { // without a source nothing belongs here; the reconciliation says so
			if n > last {
				pulse.Add(source, now, n-last)
				o.likely.Add(n - last)
				last = n
			}
			if isExact && n > exact {
				o.counted.Add(n - exact)
				exact = n
			}
		}
		if err := pulse.Flush(now, false); err != nil {
			o.cfg.Logger.Error("search pulse", "error", err)
		}
	}
}

// count says how many documents of the run an index has, and whether that was counted.
func (o *Observer) count(ctx context.Context, index string, tl *tally) (n uint64, exact bool, err error) {
	ask, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	total, err := o.cfg.Client.Total(ask, index)
	if err != nil {
		return 0, false, err
	}
	if began := time.Now(); tl.due(began, total) {
		ours, err := o.cfg.Client.Count(ask, []string{index}, o.prefix)
		if err != nil {
			return 0, false, err
		}
		now := time.Now()
		after, err := o.cfg.Client.Total(ask, index)
		if err != nil {
			return 0, false, err
		}
		tl.counted(now, now.Sub(began), ours, total, after)
		return ours, true, nil
	}
	if n, ok := tl.estimate(total); ok {
		return n, false, nil
	}
	return tl.ours, false, nil
}

// probe searches for one record by its name, as somebody does who follows one; what it costs does not grow with the run.
func (o *Observer) probe(ctx context.Context, index string) {
	ask, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	began := time.Now()
	_, err := o.cfg.Client.Found(ask, index, []string{o.prefix + "0_0"})
	if ctx.Err() == nil {
		o.probed(began, err)
	}
}

// probed writes how long a query took; one that failed took as long as it took, and is marked by the up series.
func (o *Observer) probed(began time.Time, err error) {
	took := time.Since(began)
	at := o.cfg.Evidence.Since(began)
	up := 1.0
	if err != nil {
		up = 0
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

type polled struct {
	stream *scenario.Stream
	token  string
	due    time.Duration
	miss   time.Duration // begin of the last round that did not find it
	missed bool
	total  uint64 // documents of the index just before the last miss
}

// sight is how many documents an index had when it was looked at, and when it is worth while to look again. Nothing is less true for
// looking seldom: what was not looked for is neither a hit nor a miss.
type sight struct {
	total uint64
	next  time.Duration
}

type upcoming struct {
	stream *scenario.Stream
	sched  *schedule.Schedule
	seq    uint64
	due    time.Duration
	ok     bool
}

func (u *upcoming) advance(every uint64) {
	for {
		u.seq = u.sched.Seq()
		u.due, u.ok = u.sched.Next()
		if !u.ok || u.seq%every == 0 {
			return
		}
	}
}

func (o *Observer) pollLoop(ctx context.Context) {
	streams := o.cfg.Scenario.Streams()
	next := make([]*upcoming, 0, len(streams))
	for i := range streams {
		u := &upcoming{stream: &streams[i], sched: schedule.New(o.cfg.Scenario, streams[i])}
		for u.advance(o.cfg.PollEvery); u.ok && u.due < o.cfg.From; {
			u.advance(o.cfg.PollEvery)
		}
		next = append(next, u)
	}
	var waiting []*polled
	seen := map[string]sight{}
	t := time.NewTicker(pollGap)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := o.cfg.Evidence.Now()
		for _, u := range next {
			for u.ok && u.due <= now {
				if len(waiting) < pollPending {
					token := record.AppendID(nil, o.known.Run(), u.stream.ID, u.seq)
					waiting = append(waiting, &polled{stream: u.stream, token: string(token), due: u.due})
				} else {
					o.skipped.Add(1)
				}
				u.advance(o.cfg.PollEvery)
			}
		}
		waiting = o.round(ctx, waiting, seen)
	}
}

// round asks once for what is waited for, a bounded number: the oldest and the newest, so that a long outage neither
// stops the watch on fresh records nor forgets old ones.
func (o *Observer) round(ctx context.Context, waiting []*polled, seen map[string]sight) []*polled {
	const most = 4 * pollBatch
	ask := waiting
	if len(ask) > most {
		ask = append(slices.Clone(waiting[:most/2]), waiting[len(waiting)-most/2:]...)
	}
	byIndex := map[string][]*polled{}
	for _, p := range ask {
		byIndex[p.stream.Topic] = append(byIndex[p.stream.Topic], p)
	}
	hit := map[*polled]bool{}
	for index, ps := range byIndex {
		began := o.cfg.Evidence.Now()
		if began < seen[index].next {
			continue
		}
		ask, cancel := context.WithTimeout(ctx, askTime)
		total, err := o.cfg.Client.Total(ask, index)
		cancel()
		if err != nil {
			continue // neither hits nor misses
		}
		if total != seen[index].total {
			seen[index] = sight{total, began + refreshed}
		}
		// As long as an index has no document more than at the last miss, it has not this one either: between two refreshes, which
		// are a second apart, nothing has to be searched for.
		ps = slices.DeleteFunc(ps, func(p *polled) bool {
			same := p.missed && p.total == total
			if same {
				p.miss = began
			}
			return same
		})
		for batch := range slices.Chunk(ps, pollBatch) {
			o.batch(ctx, index, batch, total, hit)
		}
	}
	return slices.DeleteFunc(waiting, func(p *polled) bool { return hit[p] })
}

func (o *Observer) batch(ctx context.Context, index string, batch []*polled, total uint64, hit map[*polled]bool) {
	tokens := make([]string, len(batch))
	for i, p := range batch {
		tokens[i] = p.token
	}
	began := o.cfg.Evidence.Now()
	ask, cancel := context.WithTimeout(ctx, askTime)
	found, err := o.cfg.Client.Found(ask, index, tokens)
	cancel()
	if err != nil {
		return // neither a hit nor a miss: the interval stays open to the next answer
	}
	now := o.cfg.Evidence.Now()
	for i, p := range batch {
		if !found[i] {
			p.miss, p.missed, p.total = began, true, total
			continue
		}
		hit[p] = true
		o.found.Add(1)
		keys := o.latency[p.stream.Source+"\x00"+p.stream.Topic]
		lower := time.Duration(0)
		if p.missed {
			lower = max(p.miss-p.due, 0)
		}
		o.cfg.Evidence.Hists.Record(keys[0], p.due, lower)
		o.cfg.Evidence.Hists.Record(keys[1], p.due, now-p.due)
	}
}

// rollover is what a lifecycle policy puts behind the name of an alias.
var rollover = regexp.MustCompile(`-\d{6}$`)

// topicOf is the topic whose records an index holds: its own name, or the alias that it rolled over from.
func topicOf(index string) string { return rollover.ReplaceAllString(index, "") }

// Reconcile reads every document of the run once and writes the search ledger. Its counts are exact.
func (o *Observer) Reconcile(ctx context.Context) error {
	ledger, err := o.cfg.Evidence.Ledger(evidence.PointSearch)
	if err != nil {
		return err
	}
	tracker := evidence.NewTracker()
	var unreadable uint64
	err = o.cfg.Client.All(ctx, o.cfg.Indices, o.prefix, func(h Hit) error {
		if h.Source.Log == nil {
			unreadable++
			return nil
		}
		f := o.known.Identify([]byte(*h.Source.Log), topicOf(h.Index))
		switch f.Kind {
		case observe.Own, observe.Damaged:
			if !tracker.Observe(f.Stream.ID, 0, f.Seq).New {
				ledger.Mark(evidence.Duplicate, f.Stream.ID, f.Seq)
				return nil
			}
			ledger.Mark(evidence.Seen, f.Stream.ID, f.Seq)
			if f.Kind == observe.Damaged {
				ledger.Mark(evidence.Corrupt, f.Stream.ID, f.Seq)
			}
		case observe.Astray:
			ledger.Mark(evidence.Foreign, f.Stream.ID, f.Seq)
		case observe.Spurious:
			if f.Stream != nil {
				ledger.Mark(evidence.Phantom, f.Stream.ID, f.Seq)
			}
		default:
			unreadable++
		}
		return nil
	})
	now := o.cfg.Evidence.Now()
	e := evidence.Event{At: now, Kind: evidence.EventRecon, Name: evidence.PointSearch, State: "done", Attrs: map[string]string{
		"documents": strconv.FormatUint(tracker.Count(), 10), "unreadable": strconv.FormatUint(unreadable, 10),
	}}
	if err != nil {
		e.State, e.Detail = "failed", err.Error()
	}
	return errors.Join(err, o.cfg.Evidence.Events.Add(e), ledger.Flush(now))
}
