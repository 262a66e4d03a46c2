package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"triad/internal/evidence"
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
	Line      []byte // valid until Send returns
}

// Sink is where records enter. Send may block: the time in it is the system's doing. It calls Done of the outcome exactly once, from
// any goroutine, when the outcome is known.
type Sink interface {
	Send(ctx context.Context, r Record, o Outcome)
	// Close waits until every outcome is known or ctx ends.
	Close(ctx context.Context) error
}

// Stager is a Sink that makes records ready in a form of its own before it sends them, so that several which are due at once go one
// after the other without a reading of the clock between them.
type Stager interface {
	Sink
	// Room is how many records can be sent now without blocking, UnderWay how many were and have no outcome; both are on the safe side.
	Room() int
	UnderWay() int
	// Stage makes a record ready; now is a time shortly before it is sent.
	Stage(st *scenario.Stream, lines *source.Stream, seq uint64, scheduled int64, now time.Time)
	// Release sends what was staged, in that order.
	Release(ctx context.Context, outcomes []Outcome)
}

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
	source    string
	startUnix int64
	queue     streamHeap
	stager    Stager // the sink, when it is one and nothing meddles with records
	freezes   []scenario.Window
	lag       *evidence.Recorder // generator_lag
	outcomes  *outcomes
	attempted atomic.Uint64
	dropped   atomic.Uint64
	planned   uint64
	frozen    atomic.Bool
	nap       func(time.Duration) // sleeps less than a millisecond; a test on a fake clock has its own
}

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

// New checks cfg and returns a generator.
func New(cfg Config) (*Generator, error) {
	if len(cfg.Streams) == 0 {
		return nil, errors.New("generator: no streams")
	}
	g := &Generator{cfg: cfg, source: cfg.Streams[0].Source, startUnix: cfg.Start.UnixNano(), nap: nap}
	var err error
	if g.lag, err = cfg.Evidence.Hists.Recorder(evidence.HistKey{Metric: "generator_lag", Source: g.source}); err != nil {
		return nil, err
	}
	if g.outcomes, err = newOutcomes(cfg.Start, g.source, cfg.Evidence); err != nil {
		return nil, err
	}
	lines := source.NewWriter(cfg.Scenario.Seed)
	for i := range cfg.Streams {
		st := &cfg.Streams[i]
		kind, err := source.ParseKind(st.Kind)
		if err != nil {
			return nil, fmt.Errorf("generator: %w", err)
		}
		s := &streamState{
			stream: st, lines: lines.Stream(kind, cfg.Run, st.ID, int(cfg.Scenario.Load[st.Load].Size)), sched: schedule.New(cfg.Scenario, *st),
			settled: g.outcomes.stream(st.ID),
		}
		g.planned += schedule.Count(cfg.Scenario, *st, 1<<62)
		if s.advance() {
			g.queue = append(g.queue, s)
		}
	}
	g.queue.init()
	if cfg.Sabotage == nil {
		g.stager, _ = cfg.Sink.(Stager)
	}
	for _, f := range cfg.Scenario.Faults {
		if f.Kind == "cluster-freeze" && f.Cluster == cfg.Streams[0].Cluster {
			at := cfg.Scenario.Phases.Resolve(f.At)
			g.freezes = append(g.freezes, scenario.Window{Name: f.Name, From: at, To: at + f.For.D() + freezeSlack})
		}
	}
	return g, nil
}

// Progress returns the counts so far.
func (g *Generator) Progress() Progress {
	acked, unknown := g.outcomes.counts()
	return Progress{g.planned, g.attempted.Load(), acked, unknown, g.dropped.Load()}
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
	for g.outcomes.settled() < g.attempted.Load() {
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
		g.outcomes.publish()
		now := g.now()
		err := errors.Join(g.cfg.Evidence.Ledger.Flush(now), g.cfg.Evidence.Hists.FlushDue(last), g.cfg.Evidence.Pulse.Flush(now, last))
		if err != nil || last {
			return err
		}
	}
}

// Cluster is where the generator's records are born.
func (g *Generator) Cluster() string { return g.cfg.Streams[0].Cluster }
