package run

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"triad/internal/evidence"
	"triad/internal/observe"
	"triad/internal/observe/connect"
	"triad/internal/observe/elastic"
	"triad/internal/observe/promapi"
	"triad/internal/observe/scrape"
	"triad/internal/runtimes"
)

// Component metrics are read every scrapeEvery during a run, where a target does not say otherwise, and those that are dear as seldom as
// every scrapeSeldom.
const (
	scrapeEvery  = time.Second
	scrapeSeldom = 45 * time.Second
)

// remoteWriteBatch is Prometheus's default batch_send_deadline.
const remoteWriteBatch = 5 * time.Second

// kafkaObserver reads the topics of a run.
type kafkaObserver interface {
	// Run reads until ctx ends; then everything that was seen is in the evidence.
	Run(ctx context.Context, known *observe.Known) error
	Seen() uint64
	// SeenDue is Seen of the records that were due before a place on the time line, or in the rest of its second.
	SeenDue(before time.Duration) uint64
	DeadLettered() uint64
	// Copies is how many records were seen in their topics once more, less those in the dead-letter topic.
	Copies() int64
}

// watchers are all observers of a run; stop ends them and waits.
type watchers struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
	after  func(context.Context)
}

func (w *watchers) stop(after context.Context) {
	w.once.Do(func() {
		w.cancel()
		w.wg.Wait()
		w.after(after)
	})
}

// observe fixes the start of the schedule and starts every observer.
func (r *runner) observe(ctx context.Context) (*watchers, error) {
	if r.left == nil {
		r.start = time.Now().Add(r.env.Describe().HeadStart)
		if err := r.w.Begin(r.start); err != nil {
			return nil, err
		}
	} else {
		r.resumed()
	}
	r.known = observe.NewKnown(r.Scenario, r.number, r.start)
	client, err := elastic.NewClient(r.env.Search())
	if err != nil {
		return nil, err
	}
	h := r.w.Header()
	cfg := elastic.Config{
		Client: client, Indices: r.topics(), Scenario: r.Scenario, PollEvery: h.PollEvery, Evidence: r.w,
		Pulse: h.PulseEvery, Cluster: "monitoring", Logger: r.Logger,
	}
	if r.left != nil {
		cfg.From, cfg.Pulsed = r.back, r.left.Pulses[evidence.PointSearch]
	}
	r.store, err = elastic.New(cfg, r.known)
	if err != nil {
		return nil, err
	}
	watch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ws := &watchers{cancel: cancel, after: func(after context.Context) {
		r.clocks(after)
		r.metricsGaps(after)
	}}
	ws.wg.Go(func() {
		if err := r.kafka.Run(watch, r.known); err != nil {
			r.note(evidence.EventBroken, "kafka observer", err.Error())
		}
	})
	ws.wg.Go(func() { r.store.Run(watch) })
	ws.wg.Go(func() { r.storeSizes(watch, client) })
	for _, t := range r.env.Targets() {
		ws.wg.Go(func() { r.scrapeLoop(watch, t) })
	}
	if err := r.watchConnect(watch, ws); err != nil {
		cancel()
		return nil, err
	}
	ws.wg.Go(func() { r.witness(watch) })
	ws.wg.Go(func() { r.clockLoop(watch) })
	if m, ok := r.env.(meter); ok {
		ws.wg.Go(func() { r.measure(watch, m) })
	}
	r.watchPods(watch, ws)
	if r.watchesAlerts() {
		ws.wg.Go(func() { r.alertsLoop(watch) })
	}
	for _, point := range []string{evidence.PointKafka, evidence.PointSearch} {
		r.event(evidence.Event{Kind: evidence.EventObserver, Name: point, State: "ready"})
	}
	return ws, nil
}

// watchConnect follows the states of connectors and tasks, where the environment has workers to ask.
func (r *runner) watchConnect(watch context.Context, ws *watchers) error {
	env, ok := r.env.(runtimes.ConnectWorkers)
	if !ok || len(env.ConnectWorkers()) == 0 {
		return nil
	}
	o, err := connect.New(connect.Config{Workers: env.ConnectWorkers(), Evidence: r.w.Events, Now: r.w.Now})
	if err != nil {
		return err
	}
	ws.wg.Go(func() {
		if err := o.Run(watch); err != nil {
			r.Logger.Debug("connector states", "error", err) // the evidence failed, and watchEvidence says so
		}
	})
	return nil
}

// event writes an event now. A failure to write ends the run by watchEvidence, which says it once.
func (r *runner) event(e evidence.Event) {
	e.At = r.w.Now()
	if err := r.w.Events.Add(e); err != nil {
		r.Logger.Debug("event", "error", err)
	}
}

func (r *runner) note(kind, name, detail string) {
	r.event(evidence.Event{Kind: kind, Name: name, Detail: detail})
}

// scrapeLoop reads one endpoint as often as it is to be read, or as seldom as it is dear, and keeps the families that judging uses.
func (r *runner) scrapeLoop(ctx context.Context, t runtimes.Target) {
	for ctx.Err() == nil {
		began := time.Now()
		took, ok := r.scrape(ctx, &t)
		if !ok {
			break
		}
		// What a target needs to answer is its system's time: no more than a fifth of a hundredth of it, for there are several.
		next := began.Add(min(max(cmp.Or(t.Every, scrapeEvery), 500*took), scrapeSeldom))
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(next)):
		}
	}
	r.scrape(context.WithoutCancel(ctx), &t) // the last records were counted after the reading before
}

// scrape reads one endpoint once and returns how long its beans took, where it says so; false ends the loop. The first reading comes before
// the load, so that it is an exact base of every counter. One that did not answer is looked for: what took its place is read the next time.
func (r *runner) scrape(ctx context.Context, t *runtimes.Target) (took time.Duration, ok bool) {
	labels := evidence.Labels{"cluster": t.Cluster, "component": t.Component, "instance": t.Instance}
	at := r.w.Now()
	ask, cancel := context.WithTimeout(ctx, scrapeEvery-50*time.Millisecond)
	got, err := t.Scrape(ask, t.Client)
	cancel()
	if ctx.Err() != nil {
		return 0, false
	}
	up := evidence.Sample{Name: evidence.UpSeries, Labels: labels, Value: 1}
	if err != nil {
		up.Value = 0
		r.locate(ctx, t)
	}
	if took = scrape.Beans(got); took > 0 {
		r.beans.Add(int64(took))
	}
	samples := []evidence.Sample{up}
	for _, s := range scrape.Select(t.Component, got) {
		l := maps.Clone(labels)
		for k, v := range s.Labels {
			if _, own := labels[k]; !own {
				l[k] = v
			}
		}
		samples = append(samples, evidence.Sample{Name: s.Name, Labels: l, Value: s.Value})
	}
	if err := r.w.Series.Add(at, samples...); err != nil {
		r.Logger.Debug("series", "error", err)
		return 0, false
	}
	return took, true
}

// locate looks for an endpoint that did not answer. Where it cannot be found, it stays where it was.
func (r *runner) locate(ctx context.Context, t *runtimes.Target) {
	if t.Locate == nil {
		return
	}
	ask, cancel := context.WithTimeout(ctx, scrapeEvery)
	defer cancel()
	url, err := t.Locate(ask)
	if err != nil {
		r.Logger.Debug("metrics endpoint", "component", t.Component, "instance", t.Instance, "error", err)
		return
	}
	t.URL = url
}

// maxClockStep is what the wall clock may gain or lose on the monotonic one before a run counts as stepped. Slewing moves
// both clocks alike, so what differs is a step, or a machine that slept; below half a second it is less than half of any
// scrape interval.
const maxClockStep = 500 * time.Millisecond

// clockStep is how far the wall clock went beyond the monotonic one between two readings.
func clockStep(from, to time.Time) time.Duration {
	return to.Round(0).Sub(from.Round(0)) - to.Sub(from)
}

// gapsUntil is the end of what the known counters are asked for, which is what remote_write, batching samples for some seconds, has sent by
// now. short says why nothing can be told: behind warm are less than three scrapes, of which a hole takes two.
func gapsUntil(warm, now time.Time, scrape time.Duration) (end time.Time, short string) {
	held := 2*scrape + remoteWriteBatch
	end = now.Add(-held)
	if least := 3 * scrape; end.Sub(warm) < least {
		return end, fmt.Sprintf("the run is too short: between its warm-up and the last %v, which may be on their way, it takes %v, three scrapes", held, least)
	}
	return end, ""
}

// metricsGaps asks the central Prometheus, after the run, for a counter that increases by exactly one each second, so that holes and lost
// increments can be told from the values alone, and writes its holes: the synthetic counter, and of clusters in which nothing of Triad's has one
// what was delivered from them at all.
func (r *runner) metricsGaps(after context.Context) {
	p := r.env.Prometheus()
	m := r.w.Header().Metrics
	if p == nil || m == nil {
		return
	}
	now := time.Now()
	if by := clockStep(r.start, now); by.Abs() > maxClockStep {
		r.note(evidence.EventNote, "clock", fmt.Sprintf("the wall clock of the harness was stepped by %v against the monotonic one, or the machine slept; offsets in the evidence come from the monotonic clock and are right", by))
		r.note(evidence.EventSkip, "metrics-continuity", fmt.Sprintf("the wall clock was stepped by %v during the run, and samples in the central Prometheus carry wall time", by))
		return
	}
	// The warm-up is not judged: agents that started with the run have their first samples in it.
	start := r.start.Add(r.Scenario.Phases.WarmUp.D())
	end, short := gapsUntil(start, now, m.ScrapeInterval)
	if short != "" {
		r.note(evidence.EventSkip, "metrics-continuity", short)
		return
	}
	ctx, cancel := context.WithTimeout(after, closeTime)
	defer cancel()
	c := promapi.Client{Base: p.URL, HTTP: p.Client}
	series, err := c.Raw(ctx, promapi.SyntheticCounter, start, end)
	if err != nil {
		r.note(evidence.EventSkip, "metrics-continuity", fmt.Sprintf("the central Prometheus could not be asked: %v", err))
		return
	}
	if len(series) == 0 {
		r.note(evidence.EventSkip, "metrics-continuity", "the central Prometheus has no sample of "+promapi.SyntheticCounter)
		return
	}
	without := r.w.Header().Agents()
	without = slices.DeleteFunc(without, func(cluster string) bool {
		return slices.ContainsFunc(series, func(s promapi.Series) bool { return s.Labels["cluster"] == cluster })
	})
	if len(without) > 0 {
		ups, err := c.Raw(ctx, promapi.Up+"{cluster=~\""+strings.Join(without, "|")+"\"}", start, end)
		if err != nil {
			r.Logger.Warn("what else came to the central Prometheus", "error", err) // judging misses the cluster
		}
		series = append(series, promapi.Delivered(ups)...)
	}
	for _, s := range series {
		cov := promapi.Gaps(s, promapi.Window{Start: start, End: end, Step: m.ScrapeInterval})
		labels := evidence.Labels{"cluster": s.Labels["cluster"], "instance": s.Labels["instance"]}
		samples := []evidence.Sample{{Name: evidence.IncrementsSeries, Labels: labels, Value: cov.LostUpper}}
		if err := r.w.Series.Add(r.w.Now(), samples...); err != nil {
			r.Logger.Error("series", "error", err)
		}
		for _, g := range cov.Gaps {
			if err := r.w.Series.Add(r.w.Since(g.From), evidence.Sample{Name: evidence.GapSeries, Labels: labels, Value: g.Length().Seconds()}); err != nil {
				r.Logger.Error("series", "error", err)
			}
		}
	}
}
