package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/schedule"
	"triad/internal/stats"
)

// story is a run that never was: what happened to each record and when, from which a real run directory is written.
type story struct {
	scene    *scenario.Scenario
	header   evidence.Header
	streams  map[uint32]*told
	intent   time.Duration
	events   []evidence.Event
	silence  []silence
	samples  []sampleAt
	hists    []histLine
	noHists  map[string]bool
	noPulses bool
	unsealed bool
	early    string
	damage   []func(dir string) error
	drain    string
	ready    map[string]bool
	recon    string
	baseline *Result // to compare with; nil: none
	readers  int     // observers of Kafka that share the partitions; 0: one
	shards   int     // generators in pods of their own that share the streams; 0: one, in the run's own directory
}

// generator is where the generator of some streams writes.
type generator struct {
	ledger *evidence.Ledger
	hists  *evidence.Hists
	series *evidence.SeriesFile
	dir    string // empty: the run's own
}

// generators makes the files of every shard, or one ledger in the run.
func (st *story) generators(t testing.TB, w *evidence.Writer, fail func(error)) []generator {
	if st.shards == 0 {
		l, err := w.Ledger(evidence.PointSent + "0")
		fail(err)
		return []generator{{ledger: l, hists: w.Hists, series: w.Series}}
	}
	var out []generator
	for k := range st.shards {
		g, name := generator{dir: t.TempDir()}, fmt.Sprintf("%s%d", evidence.PointSent, k)
		var err error
		g.ledger, err = evidence.CreateLedger(filepath.Join(g.dir, name+".led"))
		fail(err)
		g.hists, err = evidence.CreateHists(filepath.Join(g.dir, name+".hist"), st.header.HistWindow)
		fail(err)
		g.series, err = evidence.CreateSeries(filepath.Join(g.dir, name+".tsf"))
		fail(err)
		out = append(out, g)
	}
	return out
}

// merge brings what the shards wrote into the run, as the harness does when it has fetched it.
func merge(w *evidence.Writer, gens []generator, now time.Duration, fail func(error)) {
	for k, g := range gens {
		if g.dir == "" {
			continue
		}
		fail(errors.Join(g.ledger.Close(now), g.hists.Close(), g.series.Close()))
		fail(w.Import(g.dir, fmt.Sprintf("%s%d", evidence.PointSent, k)))
	}
}

// told is one stream of a story.
type told struct {
	scenario.Stream
	due    []time.Duration
	sent   map[evidence.Class]*stats.Set
	points map[string]map[evidence.Class]*stats.Set
	times  map[string]map[uint64]int // duplicates: how often more
}

// silence moves what would arrive at a point in [from, to) to the moment to.
type silence struct {
	point    string
	from, to time.Duration
}

type sampleAt struct {
	at time.Duration
	evidence.Sample
}

type histLine struct {
	key      evidence.HistKey
	from, to time.Duration
	value    time.Duration
	n        int // in each window
}

func newStory(yaml string) (*story, error) {
	s, err := scenario.Parse("t.yaml", []byte(yaml))
	if err != nil {
		return nil, err
	}
	st := &story{
		scene: s, streams: map[uint32]*told{}, intent: s.Phases.LoadTime() + time.Second, drain: "done", recon: "done",
		ready: map[string]bool{evidence.PointKafka: true, evidence.PointSearch: true}, noHists: map[string]bool{},
	}
	st.header = evidence.Header{
		ID: "story", Run: 4711, Scenario: "t", Runtime: "embedded", Seed: s.Seed, Streams: s.Streams(), Windows: s.Phases.Windows(),
		HistWindow: time.Second, PulseEvery: 100 * time.Millisecond, PollEvery: 1, Host: evidence.Host{CPUs: 2},
		Created: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC), Start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	for _, x := range s.Streams() {
		t := &told{Stream: x, sent: map[evidence.Class]*stats.Set{}, points: map[string]map[evidence.Class]*stats.Set{}, times: map[string]map[uint64]int{}}
		sch := schedule.New(s, x)
		for d, ok := sch.Next(); ok; d, ok = sch.Next() {
			t.due = append(t.due, d)
		}
		all := stats.Span{Lo: 0, Hi: uint64(len(t.due))}
		t.set(evidence.Acked).AddSpan(all)
		t.at(evidence.PointKafka, evidence.Seen).AddSpan(all)
		t.at(evidence.PointSearch, evidence.Seen).AddSpan(all)
		st.streams[x.ID] = t
	}
	return st, nil
}

func (t *told) set(c evidence.Class) *stats.Set {
	if t.sent[c] == nil {
		t.sent[c] = &stats.Set{}
	}
	return t.sent[c]
}

func (t *told) at(point string, c evidence.Class) *stats.Set {
	if t.points[point] == nil {
		t.points[point] = map[evidence.Class]*stats.Set{}
	}
	if t.points[point][c] == nil {
		t.points[point][c] = &stats.Set{}
	}
	return t.points[point][c]
}

func (t *told) remove(s *stats.Set, gone *stats.Set) { *s = *s.Minus(gone) }

// outcome gives records another outcome than acknowledged.
func (t *told) outcome(c evidence.Class, which *stats.Set) {
	for _, s := range t.sent {
		t.remove(s, which)
	}
	t.set(c).Union(which)
	if c == evidence.Dropped || c == evidence.Frozen {
		t.remove(t.at(evidence.PointKafka, evidence.Seen), which)
		t.remove(t.at(evidence.PointSearch, evidence.Seen), which)
	}
}

// arrival is when a record is at a point.
func (st *story) arrival(point string, due time.Duration) time.Duration {
	at := due + map[string]time.Duration{"ledger": time.Millisecond, evidence.PointKafka: 300 * time.Millisecond, evidence.PointSearch: 900 * time.Millisecond}[point]
	for _, s := range st.silence {
		if s.point == point || s.point == evidence.PointKafka && point == evidence.PointSearch {
			if at >= s.from && at < s.to {
				at = s.to + map[string]time.Duration{evidence.PointSearch: 600 * time.Millisecond}[point]
			}
		}
	}
	return at
}

// write makes the run directory.
func (st *story) write(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	w, err := evidence.Create(dir, st.header, st.scene)
	if err != nil {
		t.Fatal(err)
	}
	fail := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	gens := st.generators(t, w, fail)
	of := func(id uint32) generator { return gens[int(id)%len(gens)] }
	for _, g := range gens {
		fail(g.ledger.Intent(st.intent))
	}
	ids := slices.Sorted(maps.Keys(st.streams))
	for _, id := range ids {
		for c, s := range st.streams[id].sent {
			mark(of(id).ledger, c, id, s, nil)
		}
	}
	for _, point := range []string{evidence.PointKafka, evidence.PointSearch, evidence.PointDeadLetter} {
		for _, id := range ids {
			for c, s := range st.streams[id].points[point] {
				st.writeSeen(w, point, c, id, s, fail)
			}
		}
	}
	st.writeEvents(w, fail)
	st.writeHists(w, of, fail)
	st.writeSeries(w, of, fail)
	merge(w, gens, st.scene.Phases.LoadTime(), fail)
	if st.baseline != nil {
		b, err := json.Marshal(st.baseline)
		fail(err)
		fail(w.WriteFile(evidence.BaselineFile, b))
	}
	if st.unsealed {
		fail(w.Flush())
	} else {
		fail(w.Close(st.early))
	}
	for _, d := range st.damage {
		fail(d(dir))
	}
	return dir
}

// writeSeen writes what an observer saw of a stream. With several, a duplicate is what another one saw for the first time.
func (st *story) writeSeen(w *evidence.Writer, point string, c evidence.Class, id uint32, s *stats.Set, fail func(error)) {
	name := func(k int) string {
		if st.readers == 0 || point == evidence.PointSearch {
			return point
		}
		return evidence.ShardOf(point, k%st.readers)
	}
	times := st.streams[id].times[point]
	l, err := w.Ledger(name(int(id)))
	fail(err)
	if c != evidence.Duplicate || name(0) == name(1) {
		mark(l, c, id, s, times)
		return
	}
	other, err := w.Ledger(name(int(id) + 1))
	fail(err)
	for q := range s.All() {
		for seq := q.Lo; seq < q.Hi; seq++ {
			other.Mark(evidence.Seen, id, seq)
			for range times[seq] - 1 {
				other.Mark(evidence.Duplicate, id, seq)
			}
		}
	}
}

func mark(l *evidence.Ledger, c evidence.Class, id uint32, s *stats.Set, times map[uint64]int) {
	for _, sp := range s.Spans() {
		l.MarkSpan(c, id, sp)
		for q := sp.Lo; c == evidence.Duplicate && q < sp.Hi; q++ {
			for range times[q] - 1 {
				l.Mark(c, id, q)
			}
		}
	}
}

func (st *story) writeEvents(w *evidence.Writer, fail func(error)) {
	evs := slices.Clone(st.events)
	for _, win := range st.scene.Phases.Windows() {
		evs = append(evs, evidence.Event{At: win.From, Kind: evidence.EventPhase, Name: win.Name})
	}
	end := st.scene.Phases.LoadTime()
	for p, ok := range st.ready {
		if ok {
			evs = append(evs, evidence.Event{Kind: evidence.EventObserver, Name: p, State: "ready"})
		}
	}
	if st.drain != "" {
		evs = append(evs, evidence.Event{At: end, Kind: evidence.EventDrain, State: "begin"}, evidence.Event{At: end + 2*time.Second, Kind: evidence.EventDrain, State: st.drain})
	}
	if st.recon != "" {
		evs = append(evs, evidence.Event{At: end + 3*time.Second, Kind: evidence.EventRecon, Name: evidence.PointSearch, State: st.recon})
	}
	slices.SortStableFunc(evs, func(a, b evidence.Event) int { return int(a.At - b.At) })
	for _, e := range evs {
		fail(w.Events.Add(e))
	}
}

func (st *story) writeHists(w *evidence.Writer, of func(stream uint32) generator, fail func(error)) {
	record := func(h *evidence.Hists, k evidence.HistKey, due, v time.Duration) {
		id, err := h.Key(k)
		fail(err)
		h.Record(id, due, v)
	}
	for _, x := range st.streams {
		last := time.Duration(0)
		for q, due := range x.due {
			// Written every second, as in a run: what lies before damage is read.
			if s := due.Truncate(time.Second); s != last {
				last = s
				fail(w.Hists.Flush())
			}
			seq := uint64(q)
			if !x.set(evidence.Acked).Has(seq) {
				continue
			}
			if !st.noHists["generator_lag"] {
				record(of(x.ID).hists, evidence.HistKey{Metric: "generator_lag", Source: x.Source}, due, 200*time.Microsecond)
			}
			if !st.noHists["target_block"] {
				// A little noise that repeats every seven records, so that bands have a width.
				record(of(x.ID).hists, evidence.HistKey{Metric: "target_block", Source: x.Source}, due, time.Duration(100+q%7)*time.Microsecond)
			}
			if x.at(evidence.PointKafka, evidence.Seen).Has(seq) && !st.noHists["kafka_latency"] {
				record(w.Hists, evidence.HistKey{Metric: "kafka_latency", Source: x.Source, Topic: x.Topic}, due, st.arrival(evidence.PointKafka, due)-due+time.Duration(q%7)*time.Millisecond)
			}
			if x.at(evidence.PointSearch, evidence.Seen).Has(seq) && !st.noHists["e2e_latency"] {
				hit := st.arrival(evidence.PointSearch, due) - due + time.Duration(q%7)*time.Millisecond
				record(w.Hists, evidence.HistKey{Metric: "e2e_latency", Source: x.Source, Topic: x.Topic, Bound: evidence.Lower}, due, hit-200*time.Millisecond)
				record(w.Hists, evidence.HistKey{Metric: "e2e_latency", Source: x.Source, Topic: x.Topic, Bound: evidence.Upper}, due, hit)
			}
		}
	}
	for _, h := range st.hists {
		for at := h.from; at < h.to; at += st.header.HistWindow {
			for range h.n {
				record(w.Hists, h.key, at, h.value)
			}
		}
	}
}

// writeSeries writes every second, as a run does.
func (st *story) writeSeries(w *evidence.Writer, of func(stream uint32) generator, fail func(error)) {
	all := slices.Clone(st.samples)
	type bin struct {
		at            time.Duration
		point, source string
		series        *evidence.SeriesFile
	}
	bins := map[bin]float64{}
	for _, x := range st.streams {
		for q, due := range x.due {
			seq := uint64(q)
			for _, p := range []string{"ledger", evidence.PointKafka, evidence.PointSearch} {
				s := x.set(evidence.Acked)
				series := of(x.ID).series
				if p != "ledger" {
					s, series = x.at(p, evidence.Seen), w.Series
				}
				if s.Has(seq) {
					bins[bin{st.arrival(p, due).Truncate(st.header.PulseEvery), p, x.Source, series}]++
				}
			}
		}
	}
	if !st.noPulses {
		for b, n := range bins {
			pulse := evidence.Sample{Name: evidence.PulseSeries, Labels: evidence.Labels{"point": b.point, "source": b.source}, Value: n}
			if b.series == w.Series {
				all = append(all, sampleAt{b.at, pulse})
			} else {
				fail(b.series.Add(b.at, pulse))
			}
		}
	}
	slices.SortStableFunc(all, func(a, b sampleAt) int { return int(a.at - b.at) })
	for i := 0; i < len(all); {
		k := i
		var batch []evidence.Sample
		for ; k < len(all) && all[k].at == all[i].at; k++ {
			batch = append(batch, all[k].Sample)
		}
		fail(w.Series.Add(all[i].at, batch...))
		if k < len(all) && all[k].at/time.Second != all[i].at/time.Second {
			fail(w.Series.Flush())
		}
		i = k
	}
}

// calm adds the witness of a machine with time to spare.
func (st *story) calm() {
	for s := range int(st.scene.Phases.LoadTime()/time.Second) + 1 {
		at := time.Duration(s) * time.Second
		st.samples = append(st.samples, sampleAt{at, evidence.Sample{Name: evidence.StallSeries, Labels: evidence.Labels{}, Value: 0.001 + float64(s%3)/1e4}},
			sampleAt{at, evidence.Sample{Name: evidence.CPUSeries, Labels: evidence.Labels{"part": "harness"}, Value: 0.5}})
	}
}

// tear cuts n bytes from the end of a file; flip changes the byte at an offset.
func tear(name string, n int) func(string) error {
	return func(dir string) error {
		p := filepath.Join(dir, name)
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if n >= len(b) {
			return errors.New("nothing left to tear")
		}
		return os.WriteFile(p, b[:len(b)-n], 0o644)
	}
}

func flip(name string, share float64) func(string) error {
	return func(dir string) error {
		p := filepath.Join(dir, name)
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		b[int(share*float64(len(b)-1))] ^= 0x40
		return os.WriteFile(p, b, 0o644)
	}
}

// judged opens and judges a directory.
func judgeDir(t testing.TB, dir string) *Result {
	t.Helper()
	r, err := evidence.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	res, err := Judge(r, time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func table(res *Result) string {
	var b strings.Builder
	for _, c := range res.Checks {
		fmt.Fprintf(&b, "  %-22s %-13s %s\n", c.Name, c.Verdict, c.Detail)
	}
	return b.String()
}
