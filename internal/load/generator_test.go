package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"triad/internal/evidence"
	"triad/internal/record"
	"triad/internal/scenario"
	"triad/internal/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// funcSink is a Sink made of a function; it is done when the function returns.
type funcSink func(r Record) error

func (f funcSink) Send(_ context.Context, r Record, o Outcome) { o.Done(f(r)) }
func (f funcSink) Close(context.Context) error                 { return nil }

// outcome of one driven generator.
type driven struct {
	classes map[evidence.Class]*stats.Set
	lag     stats.Hist
	block   stats.Hist
	gen     *Generator
	intent  time.Duration
}

// drive runs a generator of one stream in virtual time and reads its evidence back.
func drive(t *testing.T, text string, sink Sink, during func(g *Generator)) driven {
	t.Helper()
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	out := driven{classes: map[evidence.Class]*stats.Set{}}
	synctest.Test(t, func(t *testing.T) {
		ev, closeAt := openEvidence(t, dir)
		cfg := Config{
			Scenario: s, Run: 1, Start: time.Now().Add(time.Second), Streams: s.Streams(), Sink: sink, Logger: slog.New(slog.DiscardHandler), Evidence: ev,
		}
		if f, ok := sink.(slowMaker); ok {
			cfg.Sabotage = f.make
		}
		g, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		out.gen, g.nap = g, time.Sleep
		var wg sync.WaitGroup
		if during != nil {
			wg.Go(func() { during(g) })
		}
		if err := g.Run(t.Context()); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if err := closeAt(g.now()); err != nil {
			t.Error(err)
		}
	})
	var d *evidence.Damage
	out.intent, d, err = evidence.ReadLedger(filepath.Join(dir, "l.led"), "l", func(e evidence.Entry) error {
		if out.classes[e.Class] == nil {
			out.classes[e.Class] = &stats.Set{}
		}
		out.classes[e.Class].AddSpan(e.Span)
		return nil
	})
	if err != nil || d != nil {
		t.Fatal(err, d)
	}
	if d, err := evidence.ReadHists(filepath.Join(dir, "h.hist"), "h", time.Second, func(k evidence.HistKey, _ time.Duration, h *stats.Hist) error {
		switch k.Metric {
		case "generator_lag":
			out.lag.Merge(h)
		case "target_block":
			out.block.Merge(h)
		}
		return nil
	}); err != nil || d != nil {
		t.Fatal(err, d)
	}
	return out
}

func (d driven) count(c evidence.Class) uint64 {
	if d.classes[c] == nil {
		return 0
	}
	return d.classes[c].Len()
}

const steady = "phases: {warm-up: 1s, before: 9s}\nload: [{source: service, rate: 100/s}]\n"

func TestEveryRecordOnTime(t *testing.T) {
	var last time.Duration
	d := drive(t, steady, funcSink(func(r Record) error {
		if r.Scheduled < last {
			t.Errorf("record %d is due at %v, after %v", r.Seq, r.Scheduled, last)
		}
		last = r.Scheduled
		tag, err := record.Parse(r.Line)
		if err != nil || tag.Seq != r.Seq {
			t.Errorf("line of %d: %v %+v", r.Seq, err, tag)
		}
		return nil
	}), nil)
	if d.count(evidence.Acked) != 1000 || d.lag.Max() > time.Millisecond {
		t.Errorf("acked %d, lag %v", d.count(evidence.Acked), d.lag.Max())
	}
	if d.intent < last {
		t.Errorf("intent ends at %v before the last record at %v", d.intent, last)
	}
}

// A write that blocks is the system's doing: it and the queue behind it are target block, never lag, and nothing that
// waits is dropped.
func TestBlockedWriteIsTheTargets(t *testing.T) {
	d := drive(t, steady, funcSink(func(r Record) error {
		if r.Seq == 300 {
			time.Sleep(2 * time.Second)
		}
		return nil
	}), nil)
	if d.count(evidence.Acked) != 1000 || d.count(evidence.Dropped) != 0 {
		t.Errorf("acked %d dropped %d", d.count(evidence.Acked), d.count(evidence.Dropped))
	}
	if d.lag.Max() > time.Millisecond {
		t.Errorf("lag %v", d.lag.Max())
	}
	if d.block.Max() < 2*time.Second || d.block.Above(time.Second) < 100 {
		t.Errorf("block max %v, %d above 1s", d.block.Max(), d.block.Above(time.Second))
	}
}

// slowMaker is a sink at once, behind a generator that takes its time over one record.
type slowMaker struct{ funcSink }

func (slowMaker) make(r *Record) int {
	if r.Seq == 300 {
		time.Sleep(1600 * time.Millisecond)
	}
	return 1
}

// A generator that takes long to make a record is late, and the system has no part in it.
func TestSlowMakingIsTheGenerators(t *testing.T) {
	d := drive(t, steady, slowMaker{func(Record) error { return nil }}, nil)
	if d.block.Max() > time.Millisecond {
		t.Errorf("block %v", d.block.Max())
	}
	// 1.6 s late at first; of what was due meanwhile, what is more than a second late is dropped.
	if n := d.lag.Above(500 * time.Millisecond); d.lag.Max() < 1600*time.Millisecond || n < 40 {
		t.Errorf("lag max %v, %d above 500 ms", d.lag.Max(), n)
	}
	if n := d.count(evidence.Dropped); n < 55 || n > 65 || d.count(evidence.Acked)+n != 1000 {
		t.Errorf("dropped %d, acked %d", n, d.count(evidence.Acked))
	}
}

// A generator that was stopped drops what was due meanwhile, and says whether a declared fault stopped it.
func TestFrozenGenerator(t *testing.T) {
	freeze := func(g *Generator) {
		time.Sleep(4 * time.Second) // the schedule begins after one
		g.SetFrozen(true)
		time.Sleep(2 * time.Second)
		g.SetFrozen(false)
	}
	d := drive(t, steady, funcSink(func(Record) error { return nil }), freeze)
	if n := d.count(evidence.Dropped); n < 95 || n > 105 || d.count(evidence.Acked)+n != 1000 {
		t.Errorf("undeclared: dropped %d acked %d", n, d.count(evidence.Acked))
	}
	d = drive(t, "phases: {warm-up: 1s, before: 1s, during: 8s}\nload: [{source: service, rate: 100/s}]\nfaults: [{kind: cluster-freeze, cluster: datacenter, at: 3s, for: 2s}]\n",
		funcSink(func(Record) error { return nil }), freeze)
	if d.count(evidence.Dropped) != 0 || d.count(evidence.Frozen) < 95 {
		t.Errorf("declared: dropped %d frozen %d", d.count(evidence.Dropped), d.count(evidence.Frozen))
	}
	// The freeze falls into a write, as seen on kind in two runs of five: twenty seconds of records came at once when it was over.
	d = drive(t, "phases: {warm-up: 1s, before: 1s, during: 8s}\nload: [{source: service, rate: 100/s}]\nfaults: [{kind: cluster-freeze, cluster: datacenter, at: 3s, for: 2s}]\n",
		funcSink(func(r Record) error {
			if r.Seq == 300 {
				time.Sleep(2 * time.Second)
			}
			return nil
		}), nil)
	if d.count(evidence.Dropped) != 0 || d.count(evidence.Frozen) < 95 || d.count(evidence.Acked)+d.count(evidence.Frozen) != 1000 {
		t.Errorf("in a write: dropped %d frozen %d acked %d", d.count(evidence.Dropped), d.count(evidence.Frozen), d.count(evidence.Acked))
	}
}

func TestFailedWriteIsUnknown(t *testing.T) {
	d := drive(t, steady, funcSink(func(r Record) error {
		if r.Seq%10 == 0 {
			return errors.New("no space left on device")
		}
		return nil
	}), nil)
	if d.count(evidence.Unknown) != 100 || d.count(evidence.Acked) != 900 {
		t.Errorf("unknown %d acked %d", d.count(evidence.Unknown), d.count(evidence.Acked))
	}
}

// neverSink never says what became of a record.
type neverSink struct{}

func (neverSink) Send(context.Context, Record, Outcome) {}
func (neverSink) Close(context.Context) error           { return nil }

func TestOutcomeThatNeverComesHasNoEntry(t *testing.T) {
	d := drive(t, "phases: {warm-up: 1s, before: 1s}\nload: [{source: service, rate: 10/s}]\n", neverSink{}, func(*Generator) {})
	if len(d.classes) != 0 || d.intent < 2*time.Second-100*time.Millisecond {
		t.Errorf("classes %v, intent %v", d.classes, d.intent)
	}
}

// lateSink says what became of a record long after it was sent, as a client does that has to find a new leader first.
type lateSink struct{ after time.Duration }

func (l lateSink) Send(_ context.Context, _ Record, o Outcome) {
	time.AfterFunc(l.after, func() { o.Done(nil) })
}
func (lateSink) Close(context.Context) error { return nil }

func TestOutcomesOfTheLastRecordsAreWaitedFor(t *testing.T) {
	d := drive(t, "phases: {warm-up: 1s, before: 1s}\nload: [{source: service, rate: 10/s}]\n", lateSink{20 * time.Second}, nil)
	if d.count(evidence.Acked) != 20 || d.gen.Progress().Unknown != 0 {
		t.Errorf("acknowledged %d of 20, unknown %d", d.count(evidence.Acked), d.gen.Progress().Unknown)
	}
}

// BenchmarkFile writes service lines of 256 B through the whole driver into a file: what one core of the generator can do.
func BenchmarkFile(b *testing.B) {
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {warm-up: 1ms, before: 20s}\nload: [{source: service, rate: 1000000/s, streams: 4}]\n"))
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	f, err := os.Create(filepath.Join(dir, "x.log"))
	if err != nil {
		b.Fatal(err)
	}
	ev, closeAt := openEvidence(b, dir)
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	start := time.Now()
	sink := funcSink(func(r Record) error {
		n++
		if n >= b.N {
			cancel()
		}
		_, err := f.Write(append(r.Line, '\n'))
		return err
	})
	g, err := New(Config{
		Scenario: s, Run: 1, Start: start, Streams: s.Streams(), Sink: sink, Logger: slog.New(slog.DiscardHandler), Evidence: ev,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	if err := g.Run(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "lines/s")
	_ = errors.Join(f.Close(), closeAt(0))
}

// BenchmarkSchedule writes 50,000 lines of 256 B a second to a file for five seconds, as four streams of one generator, and reports how late
// they were by the generator's own account (99 % of them less than lag-p99-us), and what it dropped because it could not be on time.
func BenchmarkSchedule(b *testing.B) {
	const rate = 50_000
	s, err := scenario.Parse("t.yaml", fmt.Appendf(nil, "apiVersion: triad/v1\nname: t\ntitle: t\nphases: {warm-up: 1s, before: 4s}\nload: [{source: service, rate: %d/s, streams: 4}]\n", rate))
	if err != nil {
		b.Fatal(err)
	}
	var lag stats.Hist
	var p Progress
	for b.Loop() {
		dir := b.TempDir()
		f, err := os.Create(filepath.Join(dir, "x.log"))
		if err != nil {
			b.Fatal(err)
		}
		ev, closeAt := openEvidence(b, dir)
		g, err := New(Config{
			Scenario: s, Run: 1, Start: time.Now().Add(100 * time.Millisecond), Streams: s.Streams(), Sink: &FileSink{W: f}, Logger: slog.New(slog.DiscardHandler), Evidence: ev,
		})
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(g.Run(b.Context()), closeAt(0)); err != nil {
			b.Fatal(err)
		}
		p.Add(g.Progress())
		if _, err := evidence.ReadHists(filepath.Join(dir, "h.hist"), "h.hist", time.Second, func(k evidence.HistKey, _ time.Duration, h *stats.Hist) error {
			if k.Metric == "generator_lag" {
				lag.Merge(h)
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	p99, _ := lag.Quantile(0.99)
	b.ReportMetric(float64(p99.Nanoseconds())/1e3, "lag-p99-us")
	b.ReportMetric(float64(p.Dropped), "dropped")
	b.ReportMetric(rate, "lines/s")
}
