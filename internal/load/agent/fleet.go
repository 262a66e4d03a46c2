package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"triad/internal/evidence"
	"triad/internal/load"
)

// outcomes is how long after the end of the schedule the agents may wait for outcomes before they have to say that they are done.
const outcomes = time.Minute

// Share is one agent with its part of the load.
type Share struct {
	Remote
	Plan Plan
}

// Fleet is a load under way by agents in pods.
type Fleet struct {
	shares []Share
	run    uint32
	end    time.Time // of the schedule
	struck func() []string
	every  time.Duration // between two copies
	wg     sync.WaitGroup
	cancel context.CancelFunc

	mu      sync.Mutex
	last    map[string]Status
	lost    map[string]string   // why an agent has no plan any more, by name
	copies  map[string]*os.File // of ledgers; watch's until it ends
	writing bool                // an agent may write on: it could not be told to stop
}

// Launch tells every agent its plan. An agent that hears of its plan after the start is an error; then all are told to stop, for some have begun,
// and nobody would wait for them.
func Launch(ctx context.Context, whole Plan, shares []Share) (*Fleet, error) {
	f, err := start(ctx, whole, shares, func(s Share) error { return s.Begin(ctx, s.Plan) })
	if late := time.Since(whole.Start); late > 0 && err == nil {
		f.cancel()
		f.wg.Wait()
		err = fmt.Errorf("the agents had their plan %v after the start of the schedule", late.Round(time.Millisecond))
	}
	if err != nil {
		return nil, errors.Join(err, StopAll(ctx, shares))
	}
	return f, nil
}

// UnderWay demands of every agent that it knows a run that goes on still. It tells them nothing, so it can be asked before anything is decided.
func UnderWay(ctx context.Context, run uint32, shares []Share) error {
	return each(shares, func(s Share) error { return s.UnderWay(ctx, run) })
}

// each does something with every agent at once.
func each(shares []Share, fn func(Share) error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(shares))
	for i, s := range shares {
		wg.Go(func() { errs[i] = fn(s) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Rejoin takes up the agents of a run that goes on after its harness was killed: each has to know the run still, whether it is done with
// it or not, and nothing is told to it. Where one does not, the others are told to stop.
func Rejoin(ctx context.Context, whole Plan, shares []Share) (*Fleet, error) {
	f, err := start(ctx, whole, shares, func(s Share) error { return s.UnderWay(ctx, whole.Run) })
	if err != nil {
		// One that has another plan by now is left to whoever told it.
		ours := slices.DeleteFunc(slices.Clone(shares), func(s Share) bool { return s.UnderWay(context.WithoutCancel(ctx), whole.Run) != nil })
		return nil, errors.Join(err, StopAll(ctx, ours))
	}
	return f, nil
}

func start(ctx context.Context, whole Plan, shares []Share, begin func(Share) error) (*Fleet, error) {
	f := &Fleet{
		shares: shares, run: whole.Run, end: whole.Start.Add(whole.Scenario.Phases.LoadTime()), struck: whole.Struck, every: cmp.Or(whole.CopyEvery, copyEvery),
		last: map[string]Status{}, lost: map[string]string{}, copies: map[string]*os.File{},
	}
	if err := each(shares, begin); err != nil {
		return nil, fmt.Errorf("start the load: %w", err)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f.cancel = cancel
	f.wg.Go(func() { f.watch(run) })
	return f, nil
}

// Each goes through an API server: watchEvery lies between two questions for the agents' progress, and copyEvery between two for what their ledgers
// have more. A pod that is gone takes what it wrote since the last copy with it.
const (
	watchEvery = 2 * time.Second
	copyEvery  = 10 * time.Second
)

// watch asks the agents for their progress.
func (f *Fleet) watch(ctx context.Context) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for copied := time.Now(); ; {
		running, due := false, time.Since(copied) >= f.every
		for _, s := range f.shares {
			on := f.ask(ctx, s)
			if running = on || running; on && due {
				f.copy(ctx, s)
			}
		}
		if due {
			copied = time.Now()
		}
		if !running {
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// ask asks one agent, and reports whether it has still to be asked. Silence is no end: a cluster may be frozen or cut off. An agent that is
// gone, or came again without its plan, has come to one.
func (f *Fleet) ask(ctx context.Context, s Share) (running bool) {
	f.mu.Lock()
	last, asked := f.last[s.Name]
	_, lost := f.lost[s.Name]
	f.mu.Unlock()
	if lost || asked && !last.Running {
		return false
	}
	ask, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var struck []string
	if f.struck != nil {
		struck = f.struck()
	}
	st, err := s.Tell(ask, struck)
	why := ""
	switch {
	case err == nil && st.Run != f.run:
		why = "it was started anew in the middle of its plan"
	case err != nil && s.Gone != nil && s.Gone(ask):
		why = "its pod is gone"
	case err != nil:
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if why != "" {
		f.lost[s.Name] = why
		return false
	}
	f.last[s.Name] = st
	return st.Running
}

// copy keeps what an agent's ledger has by now. What fails is tried again: it is for a pod that goes, which few do.
func (f *Fleet) copy(ctx context.Context, s Share) {
	file := f.copies[s.Name]
	if file == nil {
		var err error
		if file, err = os.CreateTemp("", "triad-ledger-"); err != nil {
			return
		}
		_ = os.Remove(file.Name()) // it goes with the harness, however that ends
		f.copies[s.Name] = file
	}
	ask, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = s.Grow(ask, f.run, file)
}

// Wait returns when every agent is done; when ctx ends, they are told to stop. When every agent is lost before the
// schedule is over, nothing more will be sent: that is an error.
func (f *Fleet) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { f.wg.Wait(); close(done) }()
	limit := time.NewTimer(max(time.Until(f.end), 0) + outcomes)
	defer limit.Stop()
	var errs []error
	select {
	case <-done:
		errs = append(errs, f.deserted())
	case <-limit.C:
		errs = append(errs, errors.New("agents did not say that they are done"), f.stop(ctx))
	case <-ctx.Done():
		errs = append(errs, f.stop(ctx))
	}
	f.cancel()
	<-done
	return errors.Join(errs...)
}

// stop tells every agent to stop, and keeps in mind whether one could not be told.
func (f *Fleet) stop(ctx context.Context) error {
	err := StopAll(ctx, f.shares)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writing = err != nil
	return err
}

// Writing reports that an agent may write on though the load is over, because it could not be told to stop.
func (f *Fleet) Writing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writing
}

// Agents are told to stop for so long, again and again: an API server that is busy lets a call through the next time.
const (
	stopTime  = 5 * time.Second
	stopEvery = 500 * time.Millisecond
)

// ErrWriting is of an agent that may write on.
var ErrWriting = errors.New("it could not be told to stop")

// StopAll tells all agents at once to stop, whatever became of ctx, and returns an error for each that could not be told within five seconds. One
// that is gone writes nothing.
func StopAll(ctx context.Context, shares []Share) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	return each(shares, func(s Share) error {
		for {
			err := s.Stop(ctx)
			if err == nil || s.Gone != nil && s.Gone(ctx) {
				return nil
			}
			select {
			case <-time.After(stopEvery):
			case <-ctx.Done():
				return fmt.Errorf("%w: %w", ErrWriting, err)
			}
		}
	})
}

// deserted is the error of a load that is not over and that nobody sends any more, because every agent is lost.
func (f *Fleet) deserted() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.lost) < len(f.shares) || !time.Now().Before(f.end) {
		return nil
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(f.lost)) {
		errs = append(errs, fmt.Errorf("generator %s: %s", name, f.lost[name]))
	}
	return fmt.Errorf("nobody sends the load any more: %w", errors.Join(errs...))
}

// Progress adds what the agents said last.
func (f *Fleet) Progress() load.Progress {
	var p load.Progress
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, st := range f.last {
		p.Add(st.Progress)
	}
	return p
}

// Collect fetches the agents' ledgers into the evidence, where they are merged. What a lost agent has still is fetched too: behind it, and
// without it, the outcome of what was due is not known. That is no loss, but the load was not the one declared.
func (f *Fleet) Collect(ctx context.Context, w *evidence.Writer) error {
	defer func() {
		for _, c := range f.copies {
			_ = c.Close()
		}
	}()
	var errs []error
	for _, s := range f.shares {
		err := s.Fetch(ctx, f.run, w)
		f.mu.Lock()
		why, own := f.lost[s.Name], f.last[s.Name].Error
		f.mu.Unlock()
		if why == "" && err != nil && s.Gone != nil && s.Gone(ctx) {
			why = "its pod is gone"
		}
		copied, attrs := f.copies[s.Name], map[string]string(nil)
		switch {
		case err != nil && copied != nil && s.importCopy(copied, w) == nil:
			if why == "" { // its node may be gone, and the API server with it
				why = fmt.Sprintf("it does not answer (%v)", err)
			}
			why += ", and its ledger with it, but for a copy of it: the outcome of what it sent in the last seconds is not known"
			attrs = map[string]string{"copy": s.point()}
		case why == "":
			errs = append(errs, err)
			why = own
		case err != nil:
			why += ", and its ledger with it: the outcome of what it sent is not known"
		default:
			why += "; its ledger was there still"
		}
		if why == "" {
			continue
		}
		errs = append(errs, w.Events.Add(evidence.Event{At: w.Now(), Kind: evidence.EventBroken, Name: "generator " + s.Name, Detail: why, Attrs: attrs}))
	}
	return errors.Join(errs...)
}
