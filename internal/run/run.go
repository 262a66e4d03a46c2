package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"triad/internal/evidence"
	"triad/internal/observe"
	"triad/internal/observe/agent"
	"triad/internal/observe/elastic"
	"triad/internal/observe/kafka"
	"triad/internal/progress"
	"triad/internal/runtimes"
	"triad/internal/scenario"
	"triad/internal/schedule"
)

// Deadlines of the steps that have none in the scenario.
const (
	upTime      = 15 * time.Minute
	connectTime = 3 * time.Minute
	assumeTime  = 30 * time.Second
	closeTime   = 30 * time.Second // what pods have written has a hundredth of the load beside it
	envTime     = time.Minute      // pods of three clusters end in it
	logsTime    = time.Minute      // logs of sixty pods, when a run ends with an error
	// hurryTime is what an interrupted run has, from the interruption, for all that it still waits for: ten seconds are
	// promised, and closing and judging come behind it.
	hurryTime = 7 * time.Second
	stopDrain = 2500 * time.Millisecond // drain of an interrupted run, inside of hurryTime
	settle    = 1500 * time.Millisecond // counts must stand still for so long before a drain is over
)

// Options of a run.
type Options struct {
	Scenario *scenario.Scenario
	Runtime  runtimes.Runtime
	Why      string // why this runtime
	Reports  string // folder of run directories
	Version  string
	Commit   string
	Command  []string
	Logger   *slog.Logger
	Progress progress.Sink
	Sabotage *runtimes.Sabotage
	// Arrive is what a sabotaged run waits for in its drain, because what was lost on purpose never comes; nil: everything
	// that was acknowledged.
	Arrive *Arrivals
	// Pair numbers the repetition of a run that compares topologies, from 1; Earlier tells of those before it. 0: it compares none.
	Pair    int
	Earlier []evidence.Event
	// Tries are what the earlier runs of a search found.
	Tries []evidence.Try
	Now   time.Time // names the run directory
	// Resume is the directory of a run whose harness was killed, and which goes on; Scenario is the one in it.
	Resume string
	// Baseline is the result.json of an earlier run, whole; it is kept with the evidence and the run is compared with it.
	Baseline []byte
}

// Arrivals are how many different records come to Kafka and how many documents to the store.
type Arrivals struct{ Kafka, Documents uint64 }

// ProvisionError says that the system could not be brought up or connected.
type ProvisionError struct{ Err error }

// Error prints the cause.
func (e *ProvisionError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ProvisionError) Unwrap() error { return e.Err }

// ExitCode is the code of a failed provisioning.
func (e *ProvisionError) ExitCode() int { return 5 }

type runner struct {
	Options
	abort     context.CancelCauseFunc // ends the load and heals
	unguard   func()                  // ends the guard, and waits for it
	w         *evidence.Writer
	env       runtimes.Env
	known     *observe.Known
	kafka     kafkaObserver
	store     *elastic.Observer
	gen       runtimes.Generation
	start     time.Time
	status    *statusBoard
	interrupt string
	number    uint32
	left      *evidence.Left // of a run that goes on; nil: it begins
	back      time.Duration  // of a run that goes on: from when it is watched again
	beans     atomic.Int64   // nanoseconds that JMX exporters took to answer the harness
	faults    sync.WaitGroup // every declared fault, until it is healed and seen to be gone
}

// ErrScratch says that the folder for files of the models could not be made.
var ErrScratch = errors.New("scratch folder")

// Run makes one run and returns its directory, closed. The evidence is there whenever dir is not empty, whatever the
// error; judging it is the caller's.
func Run(ctx context.Context, o Options) (dir string, err error) {
	o.Scenario = o.Scenario.Rotated()
	r := &runner{Options: o, unguard: func() {}}
	// The run number only has to differ between runs that share a system; the seed stays the scenario's.
	r.number = rand.New(rand.NewPCG(uint64(o.Now.UnixNano()), o.Scenario.Seed)).Uint32()
	scratch, release, err := newScratch()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrScratch, err)
	}
	defer release()
	if o.Resume != "" {
		err = r.reopen()
	} else {
		err = r.create()
	}
	if err != nil {
		return "", err
	}
	var closeLog func()
	if r.Logger, closeLog, err = tee(o.Logger, r.w.Dir); err != nil {
		o.Logger.Warn("no log file", "error", err)
	}
	defer closeLog()
	session := runtimes.Session{Scenario: o.Scenario, Run: r.number, Dir: scratch, Logger: r.Logger, Step: o.Progress.Step, Sabotage: o.Sabotage, GoesOn: o.Resume != ""}
	user := ctx
	ctx, abort := context.WithCancelCause(user)
	defer abort(nil)
	r.abort = abort
	after, cancelAfter := outlive(user) // a run that ends itself has the time that it takes to leave nothing
	defer cancelAfter()
	err = r.steps(ctx, after, session)
	switch {
	case user.Err() != nil:
		r.interrupt = "interrupted"
	case err != nil:
		r.interrupt = err.Error()
	}
	if o.Resume != "" && r.back == 0 {
		// It did not come to watching again, so nothing is decided yet: the clusters may only not be reached at the moment.
		r.closeEnv(user)
		return "", errors.Join(err, r.w.Abandon())
	}
	if err != nil && user.Err() == nil && r.w.Err() == nil { // else there is nowhere to put them
		err = r.collectLogs(user, err)
	}
	r.closeEnv(user)
	if werr := r.w.Err(); werr != nil {
		// Everything that went wrong behind it, went wrong because of it.
		err = &EvidenceError{Dir: r.w.Dir, Err: werr}
		_ = r.w.Close(r.interrupt) // closes what can be closed; it does not seal
		return r.w.Dir, err
	}
	return r.w.Dir, errors.Join(err, r.w.Close(r.interrupt))
}

// collectLogs puts what the system has to say into the run directory, and adds the place to the error of the run. Ctrl-C ends it: closing is what must
// not be left out.
func (r *runner) collectLogs(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(ctx, logsTime)
	defer cancel()
	dir := filepath.Join(r.w.Dir, "logs")
	if lerr := r.Runtime.CollectLogs(ctx, dir); lerr != nil {
		r.Logger.Warn("not all logs were collected", "error", lerr)
	}
	return fmt.Errorf("%w\n  logs: %s", err, dir)
}

// closeEnv closes the environment, if there is one, and waits no longer than envTime: one that hangs must not keep the evidence open.
func (r *runner) closeEnv(ctx context.Context) {
	if r.env == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), envTime)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.env.Close(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			r.Logger.Warn("environment not closed cleanly", "error", err)
		}
	case <-ctx.Done():
		r.Logger.Warn("environment not closed in time")
	}
}

// outlive returns the context of what still has to be waited for when ctx has ended: it ends hurryTime after ctx.
func outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	after, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(hurryTime)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-after.Done():
		}
	})
	return after, func() { stop(); cancel() }
}

// EvidenceError says that the evidence of a run could not be written: the disk is full, or the folder went away.
type EvidenceError struct {
	Dir string
	Err error
}

// Error names the directory and the cause.
func (e *EvidenceError) Error() string {
	return fmt.Sprintf("the evidence in %s could not be written, so the run was stopped and proves nothing: %v", e.Dir, e.Err)
}

// Unwrap returns the cause.
func (e *EvidenceError) Unwrap() error { return e.Err }

// GivenUpError says that a run was ended for the sake of the system under test.
type GivenUpError struct{ Why string }

// Error gives the reason.
func (e *GivenUpError) Error() string { return "given up: " + e.Why }

// watchEvidence ends the run when its evidence cannot be written any more.
func (r *runner) watchEvidence(ctx context.Context) {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := r.w.Err(); err != nil {
				r.abort(err)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (r *runner) create() error {
	s := r.Scenario
	id := fmt.Sprintf("%s-%s-%s", r.Now.UTC().Format("20060102T150405"), s.Name, r.Runtime.Name())
	h := evidence.Header{
		ID: id, Run: r.number, Scenario: s.Name, Runtime: r.Runtime.Name(), Why: r.Why, Seed: s.Seed, Commit: r.Commit, Version: r.Version,
		Command: r.Command, Created: r.Now.UTC(), Host: host(), Streams: s.Streams(), Windows: s.Phases.Windows(), Tries: r.Tries,
	}
	h.PollEvery = elastic.PollEvery(schedule.Mean(s))
	h.HistWindow, h.PulseEvery = evidence.Resolution(s.Phases)
	for n := 1; ; n++ {
		dir := filepath.Join(r.Reports, h.ID)
		w, err := evidence.Create(dir, h, s)
		if errors.Is(err, os.ErrExist) && n < 100 {
			h.ID = fmt.Sprintf("%s-%d", id, n+1)
			continue
		}
		r.w = w
		if err == nil && len(r.Baseline) > 0 {
			err = w.WriteFile(evidence.BaselineFile, r.Baseline)
		}
		return err
	}
}

// steps is the run. Only what comes after it closes and judges.
func (r *runner) steps(ctx, after context.Context, session runtimes.Session) error {
	if err := r.connect(ctx, session); err != nil {
		return err
	}
	defer r.hurry()()
	if err := r.ready(ctx); err != nil {
		return err
	}
	observers, err := r.observe(ctx)
	if err != nil {
		return err
	}
	// Observers, scrapers and the witness outlive the interrupt: they watch the drain.
	defer observers.stop(after)
	watch, stopWatch := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.watchEvidence(watch) })
	defer wg.Wait()
	defer stopWatch()
	err = r.drive(ctx, after)
	defer r.unguard()
	if err != nil {
		r.abort(err) // the faults that were still to come do not come
	}
	if err := r.w.Err(); err != nil {
		r.faults.Wait() // healed, and nothing more: there is nowhere to write what a drain would show
		return err
	}
	r.drain(ctx, after)
	observers.stop(after)
	if rerr := r.reconcile(after); err == nil && ctx.Err() == nil {
		err = rerr
	}
	// Ledgers that lie elsewhere are fetched even by a run that is in a hurry: without them nothing can be judged.
	collect, cancel := context.WithTimeout(context.WithoutCancel(ctx), collectTime(min(r.w.Now(), r.Scenario.Phases.LoadTime())))
	defer cancel()
	if r.gen != nil {
		err = errors.Join(err, r.gen.Collect(collect, r.w))
	}
	r.purge(after, ctx.Err() == nil && err == nil)
	if gave, ok := errors.AsType[*GivenUpError](context.Cause(ctx)); ok {
		err = errors.Join(gave, err)
	}
	return err
}

// collectTime is for fetching what pods have written in so long a load, which is the more the longer it was.
func collectTime(load time.Duration) time.Duration { return closeTime + max(load, 0)/100 }

// ready does what comes before the observers. A run that goes on has done most of it, and its load is under way.
func (r *runner) ready(ctx context.Context) error {
	if r.left != nil {
		if err := r.assume(ctx); err != nil {
			return err
		}
		r.clocks(ctx)
		return nil
	}
	if err := r.warm(ctx); err != nil {
		return err
	}
	if err := r.assume(ctx); err != nil {
		return err
	}
	r.clocks(ctx)
	if err := r.probe(ctx); err != nil {
		return err
	}
	if err := r.rendered(); err != nil {
		return err
	}
	r.topology()
	return r.budget(ctx)
}

func (r *runner) step(what string, fn func() (detail string, err error)) error {
	r.Progress.Step(what, "begin", "")
	detail, err := fn()
	if err != nil {
		r.Progress.Step(what, "failed", err.Error())
		return err
	}
	r.Progress.Step(what, "done", detail)
	return nil
}

func (r *runner) connect(ctx context.Context, session runtimes.Session) error {
	err := r.step("system up", func() (string, error) {
		up, cancel := context.WithTimeoutCause(ctx, upTime, errors.New("the system was not up in time"))
		defer cancel()
		if r.left != nil {
			return r.rejoin(up, session)
		}
		return "", r.Runtime.Up(up, session)
	})
	if err != nil {
		return &ProvisionError{fmt.Errorf("bring up %s: %w", r.Runtime.Name(), err)}
	}
	err = r.step("connect", func() (string, error) {
		c, cancel := context.WithTimeoutCause(ctx, connectTime, errors.New("connecting took too long"))
		defer cancel()
		var err error
		r.env, err = r.Runtime.Connect(c, session)
		return "", err
	})
	if err != nil {
		return &ProvisionError{fmt.Errorf("connect to %s: %w", r.Runtime.Name(), err)}
	}
	if r.left != nil {
		return nil // what it is was written when it began
	}
	d := r.env.Describe()
	if r.Pair <= 1 && len(r.Tries) == 0 { // once for runs in turn
		r.Progress.Step("not the real program here", "done", d.NotReal())
	}
	for _, u := range d.Unseen {
		r.note(evidence.EventSkip, u.What, u.Why)
	}
	if err := r.w.Manifests(d.Manifests); err != nil {
		return err
	}
	return r.w.Update(func(h *evidence.Header) {
		h.Components, h.NotModelled, h.Limits, h.Buffers, h.Metrics, h.InProcess = d.Components, d.NotModelled, d.Limits, d.Buffers, d.Metrics, d.InProcess
	})
}

// assume checks what every figure rests on before anything is sent.
func (r *runner) assume(ctx context.Context) error {
	return r.step("assumptions", func() (string, error) {
		check, cancel := context.WithTimeoutCause(ctx, assumeTime, errors.New("the assumptions were not met in time"))
		defer cancel()
		client, err := elastic.NewClient(r.env.Search())
		if err != nil {
			return "", err
		}
		version, err := client.Ping(check)
		if err != nil {
			return "", &ProvisionError{fmt.Errorf("store: %w", err)}
		}
		access := r.env.Kafka()
		r.kafka, err = r.openKafka(check, kafka.Config{
			Brokers: access.Brokers, Opts: access.Opts, Topics: r.topics(), Only: access.Only, DeadLetter: access.DeadLetter,
			Group: access.SinkGroup, Evidence: r.w, Pulse: r.w.Header().PulseEvery, Logger: r.Logger, Resume: r.left,
		})
		if err != nil {
			return "", &ProvisionError{err}
		}
		return fmt.Sprintf("store %s answers, %d topics known", version, len(r.topics())), nil
	})
}

// openKafka has Kafka read by the harness, by several observers in it, or by those that the environment has in pods.
func (r *runner) openKafka(ctx context.Context, cfg kafka.Config) (kafkaObserver, error) {
	if env, ok := r.env.(runtimes.ObserverPods); ok {
		if pods := env.Observers(); len(pods) > 0 {
			if r.left != nil {
				return agent.Rejoin(ctx, pods, r.w, r.left)
			}
			return agent.Open(ctx, pods, agent.Plan{
				Header: r.w.Header(), Scenario: *r.Scenario, Topics: cfg.Topics, Only: cfg.Only, DeadLetter: cfg.DeadLetter, Group: cfg.Group,
			}, r.w)
		}
	}
	return kafka.OpenGroup(ctx, cfg, max(r.Scenario.Observers, 1))
}

// topics are the topics of the run's streams, in order, and behind them every other topic of the catalogue: a record
// that leaked is found only where someone looks. Where only some may be read, it is those.
func (r *runner) topics() []string {
	var out []string
	for _, st := range r.Scenario.Streams() {
		if !slices.Contains(out, st.Topic) {
			out = append(out, st.Topic)
		}
	}
	only := r.env.Kafka().Only
	for _, src := range scenario.Sources {
		if !slices.Contains(out, src.Topic) && (only == nil || slices.Contains(only, src.Topic)) {
			out = append(out, src.Topic)
		}
	}
	return out
}

// reconcile reads the store once, exactly: by the pods that the environment made for that, or here in as many slices as observers are asked for.
func (r *runner) reconcile(after context.Context) error {
	var acked uint64
	if r.gen != nil {
		acked = r.gen.Progress().Acked
	}
	rc, cancel := context.WithTimeout(after, elastic.ReadTime(acked))
	defer cancel()
	var readers []elastic.Reader
	if env, ok := r.env.(runtimes.ObserverPods); ok {
		for _, p := range env.Readers() {
			readers = append(readers, agent.Reader{Remote: p, Scenario: *r.Scenario, Evidence: r.w})
		}
	}
	return r.step("final reconciliation", func() (string, error) {
		if err := r.store.Reconcile(rc, r.Scenario.Observers, readers...); err != nil {
			// The evidence says so, and loss at the store cannot be judged; the rest can.
			r.Logger.Warn("the store could not be read whole", "error", err)
			return "the store could not be read whole: " + err.Error(), nil
		}
		return "", nil
	})
}
