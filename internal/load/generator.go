package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"triad/internal/evidence"
	"triad/internal/record"
	"triad/internal/scenario"
	"triad/internal/schedule"
	"triad/internal/source"
)

// Limits of the driver.
const (
	// intentAhead is how far beyond the present an intent reaches. It bounds how many records a crash leaves unknown, and
	// how long the disk may take to write the next one.
	intentAhead = time.Second
	// maxLag is the lateness of its own above which the generator drops a record: it was not there when it was due
	// (stopped, frozen or starved), and sending the past in a burst would be another load than the scheduled one.
	maxLag = time.Second
	// stopGrace is how long after the end of the schedule records that wait behind a blocked write are still tried.
	stopGrace = 5 * time.Second
	// outcomeGrace is how long outcomes are waited for when the schedule has ended by itself: a broker that died at its end is fenced
	// after 9 s, and a client finds the new leader a few seconds later. Whoever ends the run early waits stopGrace only.
	outcomeGrace = 30 * time.Second
	// freezeSlack widens the window of a declared freeze: what is due while the generator comes back counts to it.
	freezeSlack = 3 * time.Second
)

// Procs is how many threads may run the goroutines of a process that generates load beside a system under test, whatever the number of
// processors. A thread that the kernel has set aside keeps its place among them: with two places on a busy machine, a goroutine
// that was due waited 20 ms at the median and 600 ms at the 99th percentile for threads that were not running at all, though the process
// used 6 % of one processor.
const Procs = 16

// Record is one record on its way into the system.
type Record struct {
	Stream    *scenario.Stream
	Seq       uint64
	Scheduled time.Duration
	Line      []byte // valid until done was called; with a Copier until Send returns
}

// Sink is where records enter. Send may block: the time in it is the system's doing. It calls done exactly once, from
// any goroutine, when the outcome is known; a nil error means acknowledged, and any other means that the record may or
// may not have entered.
type Sink interface {
	Send(ctx context.Context, r Record, done func(error))
	// Close waits until every outcome is known or ctx ends.
	Close(ctx context.Context) error
}

// Copier is a Sink that does not look at a record's line after Send returned, whenever it is done.
type Copier interface{ CopiesLines() }

// Evidence is where a generator writes. Ledger must be its own; the others may be shared.
type Evidence struct {
	Ledger *evidence.Ledger
	Hists  *evidence.Hists
	Series *evidence.SeriesFile
	Pulse  *evidence.Pulse // point ledger
}

// Config of one generator: the streams of one instance of one source, which share a sink.
type Config struct {
	Scenario *scenario.Scenario
	Run      uint32
	Start    time.Time // when the schedule begins
	Streams  []scenario.Stream
	Sink     Sink
	Evidence Evidence
	Logger   *slog.Logger
	// Sabotage changes a record before it is sent, for the self-test only: it returns how many times to send it (0:
	// acknowledge and forget).
	Sabotage func(r *Record) (times int)
}

// Generator drives the streams of one instance. Create it with New and Run it once.
type Generator struct {
	cfg       Config
	keys      genKeys
	source    string
	queue     streamHeap
	freezes   []scenario.Window
	attempted atomic.Uint64
	acked     atomic.Uint64
	unknown   atomic.Uint64
	dropped   atomic.Uint64
	planned   uint64
	frozen    atomic.Bool
	pending   atomic.Int64 // records whose outcome is not known yet
	copies    bool         // the sink is a Copier
	outcomes  sync.Pool    // of *outcome
}

type genKeys struct{ lag, block, corrected, uncorrected uint64 }

// Progress is a generator's count so far.
type Progress struct {
	Planned, Attempted, Acked, Unknown, Dropped uint64
}

// Add adds the counts of another generator.
func (p *Progress) Add(q Progress) {
	p.Planned += q.Planned
	p.Attempted += q.Attempted
	p.Acked += q.Acked
	p.Unknown += q.Unknown
	p.Dropped += q.Dropped
}

// Outcomes are the counts by the names that they have as metrics.
func (p Progress) Outcomes() map[string]uint64 {
	return map[string]uint64{"planned": p.Planned, "attempted": p.Attempted, "acknowledged": p.Acked, "unknown": p.Unknown, "dropped": p.Dropped}
}

type streamState struct {
	stream *scenario.Stream
	kind   source.Kind
	sched  *schedule.Schedule
	due    time.Duration
	seq    uint64
	size   int
}

// streamHeap is a binary heap by due time. It is not container/heap, whose calls through an interface cost more than
// the rest of a step.
type streamHeap []*streamState

// down restores the heap below i, whose due time has grown.
func (h streamHeap) down(i int) {
	s := h[i]
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1].due < h[c].due {
			c++
		}
		if s.due <= h[c].due {
			break
		}
		h[i] = h[c]
		i = c
	}
	h[i] = s
}

func (h streamHeap) init() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

// pop removes the first stream.
func (h *streamHeap) pop() {
	k := len(*h) - 1
	(*h)[0] = (*h)[k]
	*h = (*h)[:k]
	if k > 0 {
		h.down(0)
	}
}

// New checks cfg and returns a generator.
func New(cfg Config) (*Generator, error) {
	if len(cfg.Streams) == 0 {
		return nil, errors.New("generator: no streams")
	}
	g := &Generator{cfg: cfg, source: cfg.Streams[0].Source}
	for i := range cfg.Streams {
		st := &cfg.Streams[i]
		kind, err := source.ParseKind(st.Kind)
		if err != nil {
			return nil, fmt.Errorf("generator: %w", err)
		}
		s := &streamState{stream: st, kind: kind, sched: schedule.New(cfg.Scenario, *st), size: int(cfg.Scenario.Load[st.Load].Size)}
		g.planned += schedule.Count(cfg.Scenario, *st, 1<<62)
		if s.advance() {
			g.queue = append(g.queue, s)
		}
	}
	g.queue.init()
	_, g.copies = cfg.Sink.(Copier)
	for _, f := range cfg.Scenario.Faults {
		if f.Kind == "cluster-freeze" && f.Cluster == cfg.Streams[0].Cluster {
			at := cfg.Scenario.Phases.Resolve(f.At)
			g.freezes = append(g.freezes, scenario.Window{Name: f.Name, From: at, To: at + f.For.D() + freezeSlack})
		}
	}
	for _, k := range []struct {
		id   *uint64
		name string
	}{{&g.keys.lag, "generator_lag"}, {&g.keys.block, "target_block"}, {&g.keys.corrected, "send_corrected"}, {&g.keys.uncorrected, "send_uncorrected"}} {
		var err error
		if *k.id, err = cfg.Evidence.Hists.Key(evidence.HistKey{Metric: k.name, Source: g.source}); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (s *streamState) advance() bool {
	s.seq = s.sched.Seq()
	var ok bool
	s.due, ok = s.sched.Next()
	return ok
}

// Progress returns the counts so far.
func (g *Generator) Progress() Progress {
	return Progress{g.planned, g.attempted.Load(), g.acked.Load(), g.unknown.Load(), g.dropped.Load()}
}

// SetFrozen stops the generator as SIGSTOP stops a process, or lets it go on. What was due meanwhile is dropped.
func (g *Generator) SetFrozen(on bool) { g.frozen.Store(on) }

func (g *Generator) now() time.Duration { return time.Since(g.cfg.Start) }

// Run sends every record of the schedule and returns when all outcomes are known. When ctx ends it stops sending,
// records what was due as dropped, and waits for the outcomes of what is under way.
func (g *Generator) Run(ctx context.Context) error {
	stop := make(chan struct{})
	flushed := make(chan error, 1)
	go func() { flushed <- g.flushLoop(stop) }()
	err := g.drive(ctx)
	// The outcomes of records under way outlive ctx: without them they would be unknown for no reason.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeGrace)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		hurry := time.AfterFunc(stopGrace, cancel)
		context.AfterFunc(closing, func() { hurry.Stop() })
	})()
	if cerr := g.cfg.Sink.Close(closing); err == nil && cerr != nil {
		g.cfg.Logger.Warn("sink did not close in time", "source", g.source, "error", cerr)
	}
	g.awaitOutcomes(closing)
	close(stop)
	return errors.Join(err, <-flushed)
}

// awaitOutcomes waits for the records under way. What has no outcome by the end of ctx has no entry in the ledger and
// is unknown by that.
func (g *Generator) awaitOutcomes(ctx context.Context) {
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for g.pending.Load() > 0 {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (g *Generator) flushLoop(stop chan struct{}) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		last := false
		select {
		case <-t.C:
		case <-stop:
			last = true
		}
		now := g.now()
		err := errors.Join(g.cfg.Evidence.Ledger.Flush(now), g.cfg.Evidence.Hists.Flush(), g.cfg.Evidence.Pulse.Flush(now, last))
		if err != nil || last {
			return err
		}
	}
}

func (g *Generator) drive(ctx context.Context) error {
	var (
		line    []byte
		blocked time.Duration // time spent inside Send since the generator was last idle
		end     = g.cfg.Scenario.Phases.LoadTime() + stopGrace
		timer   = time.NewTimer(time.Hour)
	)
	defer timer.Stop()
	promised := newPromise(g.cfg.Evidence.Ledger)
	defer promised.close()
	now := g.now() // read again only where time can have passed that matters: the clock is a good part of a record's cost
	for len(g.queue) > 0 {
		s := g.queue[0]
		if s.due > now {
			now = g.now()
		}
		if wait := s.due - now; wait > 0 {
			blocked = 0
			if !sleep(ctx, timer, wait) {
				return g.dropRest(g.now())
			}
			now = g.now()
		}
		for g.frozen.Load() {
			if !sleep(ctx, timer, 10*time.Millisecond) {
				return g.dropRest(g.now())
			}
			now = g.now()
		}
		if ctx.Err() != nil {
			return g.dropRest(g.now())
		}
		late := max(now-s.due, 0)
		block := min(late, blocked)
		lag := late - block
		if lag > maxLag || now > end {
			g.drop(s)
			g.step(s)
			now = g.now()
			continue
		}
		if err := promised.cover(max(s.due, now)); err != nil {
			return err
		}
		// Making the line is the generator's own time: it is lag, and none of it is the system's doing.
		r, times := g.prepare(s, line)
		at := g.now()
		late = max(at-s.due, 0)
		block = min(late, blocked)
		g.cfg.Evidence.Hists.Record(g.keys.lag, s.due, late-block)
		line = g.send(ctx, r, times, at, block)
		now = g.now()
		blocked += now - at
		g.step(s)
	}
	return nil
}

// prepare makes the next record of a stream in the buffer given; times is how often it is to be sent.
func (g *Generator) prepare(s *streamState, line []byte) (r Record, times int) {
	tag := record.Tag{Run: g.cfg.Run, Stream: s.stream.ID, Seq: s.seq, Scheduled: g.cfg.Start.Add(s.due).UnixNano()}
	r = Record{s.stream, s.seq, s.due, source.Append(line[:0], s.kind, g.cfg.Scenario.Seed, tag, s.size)}
	times = 1
	if g.cfg.Sabotage != nil {
		times = g.cfg.Sabotage(&r)
	}
	return r, times
}

// send hands one record to the sink. Lines of asynchronous sinks may be kept until done, so each gets its own buffer;
// a sink that is done when Send returns, or that copies, gives the buffer back.
func (g *Generator) send(ctx context.Context, r Record, times int, at, block time.Duration) []byte {
	g.attempted.Add(1)
	o, ok := g.outcomes.Get().(*outcome)
	if !ok {
		o = &outcome{g: g}
		o.report = o.done
	}
	o.stream, o.seq, o.due, o.at, o.block = r.Stream.ID, r.Seq, r.Scheduled, at, block
	o.left.Store(int32(max(times, 1)))
	o.held.Store(2) // by the sink, until it is done, and by this function
	g.pending.Add(1)
	if times == 0 {
		o.done(nil)
	}
	for range times {
		g.cfg.Sink.Send(ctx, r, o.report)
	}
	if o.release() || g.copies {
		return r.Line
	}
	return nil
}

// outcome is a record under way.
type outcome struct {
	g       *Generator
	report  func(error) // done, bound once
	stream  uint32
	seq     uint64
	due, at time.Duration
	block   time.Duration
	left    atomic.Int32
	held    atomic.Int32
}

// release gives the outcome back when nobody holds it any more, and says whether that was so.
func (o *outcome) release() bool {
	if o.held.Add(-1) != 0 {
		return false
	}
	o.g.outcomes.Put(o)
	return true
}

func (o *outcome) done(err error) {
	if o.left.Add(-1) != 0 {
		return
	}
	g, now := o.g, o.g.now()
	class := evidence.Acked
	if err != nil {
		class = evidence.Unknown
		g.unknown.Add(1)
	} else {
		g.acked.Add(1)
		g.cfg.Evidence.Pulse.Add(g.source, now, 1)
	}
	g.cfg.Evidence.Ledger.Mark(class, o.stream, o.seq)
	g.cfg.Evidence.Hists.RecordAll(o.due, evidence.Timed{Key: g.keys.block, Value: now - o.at + o.block},
		evidence.Timed{Key: g.keys.corrected, Value: now - o.due}, evidence.Timed{Key: g.keys.uncorrected, Value: now - o.at})
	o.release()
	g.pending.Add(-1)
}

func (g *Generator) drop(s *streamState) {
	class := evidence.Dropped
	for _, w := range g.freezes {
		if s.due >= w.From && s.due < w.To {
			class = evidence.Frozen
		}
	}
	g.dropped.Add(1)
	g.cfg.Evidence.Ledger.Mark(class, s.stream.ID, s.seq)
}

func (g *Generator) step(s *streamState) {
	if s.advance() {
		g.queue.down(0)
	} else {
		g.queue.pop()
	}
}

// dropRest records what was due before now and never attempted. What lies after now was never due.
func (g *Generator) dropRest(now time.Duration) error {
	for len(g.queue) > 0 && g.queue[0].due <= now {
		s := g.queue[0]
		g.drop(s)
		g.step(s)
	}
	return nil
}

// sleep waits for d or the end of ctx and reports whether the wait was whole.
func sleep(ctx context.Context, t *time.Timer, d time.Duration) bool {
	t.Reset(d)
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Cluster is where the generator's records are born.
func (g *Generator) Cluster() string { return g.cfg.Streams[0].Cluster }
