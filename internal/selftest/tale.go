package selftest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/schedule"
	"triad/internal/stats"
)

// tale is a run that never was, on a system whose every property is known: what checks say that need minutes of load, an alert that
// waits, or a cluster is judged from the evidence that such a run leaves. The schedule, the evidence and the judge are the real ones.
type tale struct {
	yaml    string
	header  func(*evidence.Header)
	system  func() system // a new one for each run
	events  []evidence.Event
	samples []sampleAt
}

// system says what becomes of the records of a tale, asked in the order of their scheduled times. Nil parts do nothing.
type system struct {
	carries float64                               // records a second that reach the store; 0: all
	away    [2]time.Duration                      // the store takes nothing in this time
	lag     func(due time.Duration) time.Duration // how late the generator is
	cores   func(at time.Duration) float64        // used by the machine
	loses   func(due time.Duration) bool          // in the sink
}

type sampleAt struct {
	at time.Duration
	evidence.Sample
}

// Times of a tale in which nothing is wrong. The store is asked five times a second.
const (
	taleToKafka = 300 * time.Millisecond
	taleToStore = 600 * time.Millisecond
	talePoll    = 200 * time.Millisecond
	taleLag     = 200 * time.Microsecond
	taleCPUs    = 2
	taleCores   = 0.5
)

// due is one record of a tale.
type due struct {
	at     time.Duration
	stream uint32
	seq    uint64
}

// tell writes the evidence of the tale and judges it.
func (t *tale) tell(dir string) (*check.Result, error) {
	s, err := scenario.Parse("selftest.yaml", []byte(t.yaml))
	if err != nil {
		return nil, err
	}
	h := evidence.Header{
		ID: filepath.Base(dir), Run: 1, Scenario: s.Name, Runtime: "embedded", Seed: s.Seed, Streams: s.Streams(), Windows: s.Phases.Windows(),
		HistWindow: time.Second, PulseEvery: 100 * time.Millisecond, PollEvery: 1, Host: evidence.Host{CPUs: taleCPUs},
	}
	if t.header != nil {
		t.header(&h)
	}
	w, err := evidence.Create(dir, h, s)
	if err != nil {
		return nil, err
	}
	if err := w.Begin(time.Now()); err != nil {
		return nil, err
	}
	var x system
	if t.system != nil {
		x = t.system()
	}
	end, err := t.records(w, s, x)
	if err != nil {
		return nil, err
	}
	t.witness(s, x)
	t.ending(s, end)
	if err := errors.Join(t.write(w), w.Close("")); err != nil {
		return nil, err
	}
	return judge(dir)
}

// records sends every record of the schedule through the system and returns when the last one arrived.
func (t *tale) records(w *evidence.Writer, s *scenario.Scenario, x system) (time.Duration, error) {
	var all []due
	streams := map[uint32]scenario.Stream{}
	for _, st := range s.Streams() {
		streams[st.ID] = st
		sched := schedule.New(s, st)
		for seq := sched.Seq(); ; seq = sched.Seq() {
			at, ok := sched.Next()
			if !ok {
				break
			}
			all = append(all, due{at, st.ID, seq})
		}
	}
	slices.SortFunc(all, func(a, b due) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.stream, b.stream)) })
	var ledgers []*evidence.Ledger
	for _, p := range []string{evidence.PointSent + "0", evidence.PointKafka, evidence.PointSearch} {
		l, err := w.Ledger(p)
		if err != nil {
			return 0, err
		}
		ledgers = append(ledgers, l)
	}
	if err := ledgers[0].Intent(s.Phases.LoadTime() + time.Second); err != nil {
		return 0, err
	}
	pulses := map[pulse]float64{}
	hist := histograms{w: w}
	last, free := s.Phases.LoadTime(), time.Duration(0)
	for i, r := range all {
		st := streams[r.stream]
		one := stats.Span{Lo: r.seq, Hi: r.seq + 1}
		lag := taleLag
		if x.lag != nil {
			lag = max(lag, x.lag(r.at))
		}
		noise := time.Duration(i%7) * time.Millisecond // so that bands have a width
		sent := r.at + lag
		kafka := sent + taleToKafka + noise
		free = max(free, kafka)
		if x.away[0] <= free && free < x.away[1] {
			free = x.away[1]
		}
		found := free + taleToStore
		if x.carries > 0 {
			free += time.Duration(float64(time.Second) / x.carries)
		}
		ledgers[0].MarkSpan(evidence.Acked, r.stream, one)
		ledgers[1].MarkSpan(evidence.Seen, r.stream, one)
		pulses[pulse{sent.Truncate(100 * time.Millisecond), "ledger", st.Source}]++
		pulses[pulse{kafka.Truncate(100 * time.Millisecond), evidence.PointKafka, st.Source}]++
		hist.record(evidence.HistKey{Metric: "generator_lag", Source: st.Source}, r.at, lag)
		hist.record(evidence.HistKey{Metric: "target_block", Source: st.Source}, r.at, 100*time.Microsecond+noise/1000)
		hist.record(evidence.HistKey{Metric: "kafka_latency", Source: st.Source, Topic: st.Topic}, r.at, kafka-r.at)
		if x.loses != nil && x.loses(r.at) {
			continue
		}
		last = max(last, found)
		ledgers[2].MarkSpan(evidence.Seen, r.stream, one)
		pulses[pulse{found.Truncate(100 * time.Millisecond), evidence.PointSearch, st.Source}]++
		hist.record(evidence.HistKey{Metric: "e2e_latency", Source: st.Source, Topic: st.Topic, Bound: evidence.Lower}, r.at, found-talePoll-r.at)
		hist.record(evidence.HistKey{Metric: "e2e_latency", Source: st.Source, Topic: st.Topic, Bound: evidence.Upper}, r.at, found-r.at)
	}
	for p, n := range pulses {
		t.samples = append(t.samples, sampleAt{p.at, evidence.Sample{Name: evidence.PulseSeries, Labels: evidence.Labels{"point": p.point, "source": p.source}, Value: n}})
	}
	return last, hist.err
}

type pulse struct {
	at            time.Duration
	point, source string
}

// histograms remembers the first error: a tale has thousands of values.
type histograms struct {
	w   *evidence.Writer
	err error
}

func (h *histograms) record(k evidence.HistKey, at, v time.Duration) {
	id, err := h.w.Hists.Key(k)
	if err != nil {
		h.err = cmp.Or(h.err, err)
		return
	}
	h.w.Hists.Record(id, at, v)
}

// witness adds what a harness that has time to spare says of itself, unless the system says otherwise.
func (t *tale) witness(s *scenario.Scenario, x system) {
	for at := time.Duration(0); at <= s.Phases.LoadTime(); at += time.Second {
		cores := taleCores
		if x.cores != nil {
			cores = x.cores(at)
		}
		t.samples = append(t.samples,
			sampleAt{at, evidence.Sample{Name: evidence.StallSeries, Labels: evidence.Labels{}, Value: 0.001 + float64(at/time.Second%3)/1e4}},
			sampleAt{at, evidence.Sample{Name: evidence.CPUSeries, Labels: evidence.Labels{"part": "harness"}, Value: cores}})
	}
}

// ending adds the phases and what a run writes when its load is over.
func (t *tale) ending(s *scenario.Scenario, last time.Duration) {
	for _, win := range s.Phases.Windows() {
		t.events = append(t.events, evidence.Event{At: win.From, Kind: evidence.EventPhase, Name: win.Name})
	}
	for _, p := range []string{evidence.PointKafka, evidence.PointSearch} {
		t.events = append(t.events, evidence.Event{Kind: evidence.EventObserver, Name: p, State: "ready"})
	}
	t.events = append(t.events,
		evidence.Event{At: s.Phases.LoadTime(), Kind: evidence.EventDrain, State: "begin"},
		evidence.Event{At: last + time.Second, Kind: evidence.EventDrain, State: "done"},
		evidence.Event{At: last + 2*time.Second, Kind: evidence.EventRecon, Name: evidence.PointSearch, State: "done"})
}

// write puts events and samples into the run directory, in the order of their times.
func (t *tale) write(w *evidence.Writer) error {
	slices.SortStableFunc(t.events, func(a, b evidence.Event) int { return cmp.Compare(a.At, b.At) })
	for _, e := range t.events {
		if err := w.Events.Add(e); err != nil {
			return err
		}
	}
	slices.SortStableFunc(t.samples, func(a, b sampleAt) int { return cmp.Compare(a.at, b.at) })
	for _, x := range t.samples {
		if err := w.Series.Add(x.at, x.Sample); err != nil {
			return err
		}
	}
	return nil
}

// fault adds the life of a fault that bit and that is gone.
func (t *tale) fault(name string, from, to time.Duration) {
	for _, e := range []evidence.Event{
		{At: from, State: evidence.FaultInjecting},
		{At: from, State: evidence.FaultInjected},
		{At: from + 100*time.Millisecond, State: evidence.FaultBit, Hits: 3},
		{At: to, State: evidence.FaultHealing},
		{At: to, State: evidence.FaultHealed},
		{At: to + 100*time.Millisecond, State: evidence.FaultGone, Hits: 3},
	} {
		e.Kind, e.Name = evidence.EventFault, name
		t.events = append(t.events, e)
	}
}

// sabotage of a tale: what was done, and what the judge must say of it.
type telling struct {
	kind, truth string
	tale        *tale
	check       string
	want        check.Verdict
	run         check.Verdict // of the whole run; empty: whatever it is
	says        []string      // all of them stand in the detail of the check
}

// tales judges every sabotage of a check that no sabotage of records reaches, with amounts, places and times of this round.
func (rep *Report) tales(ctx context.Context, o Options, round int) error {
	rng := rand.New(rand.NewPCG(o.Seed+uint64(round), 0x7a1e))
	var all []telling
	for _, make := range []func(*rand.Rand) []telling{trends, alarms, rollouts, additions} {
		all = append(all, make(rng)...)
	}
	views, err := blindSpots(ctx, rng, o.Shown)
	if err != nil {
		return err
	}
	for _, x := range append(all, views...) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		res, err := x.tale.tell(filepath.Join(o.Dir, fmt.Sprintf("tale-%d-%s", round, x.kind)))
		if err != nil {
			return fmt.Errorf("%s: %w", x.kind, err)
		}
		rep.told(round, x, res)
	}
	return rep.capacities(ctx, o, round, rng)
}

// told compares what was said with what was done.
func (rep *Report) told(round int, x telling, res *check.Result) {
	c := Case{Kind: x.kind, Round: round, Truth: x.truth}
	detail := ""
	for _, k := range res.Checks {
		if k.Name == x.check {
			detail = k.Detail
		}
	}
	c.Reported = string(verdictOf(res, x.check)) + ": " + detail
	if got := verdictOf(res, x.check); got != x.want {
		c.Wrong = append(c.Wrong, fmt.Sprintf("check %s is %s, want %s", x.check, got, x.want))
	}
	if x.run != "" && res.Verdict != x.run {
		c.Wrong = append(c.Wrong, fmt.Sprintf("the run is %s, want %s: %s", res.Verdict, x.run, strings.Join(res.Reasons, "; ")))
	}
	for _, s := range x.says {
		if !strings.Contains(detail, s) {
			c.Wrong = append(c.Wrong, fmt.Sprintf("%q is not said", s))
		}
	}
	c.Detected = len(c.Wrong) == 0
	rep.Cases = append(rep.Cases, c)
}
