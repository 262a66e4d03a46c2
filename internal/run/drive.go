package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"triad/internal/evidence"
	"triad/internal/fault"
	"triad/internal/progress"
	"triad/internal/runtimes"
	"triad/internal/scenario"
	"triad/internal/schedule"
)

// Deadlines of faults.
const (
	goneTime  = 2 * time.Minute
	biteTime  = 15 * time.Second // an instant must show an effect within this
	faultPoll = 100 * time.Millisecond
)

// drive sends the load while faults come and go, and returns when the schedule is over. Faults are waited for by drain.
func (r *runner) drive(ctx, after context.Context) error {
	pulse := evidence.NewPulse(r.w.Series, "ledger", r.w.Header().PulseEvery)
	r.status = newStatusBoard(r)
	gen, err := r.env.Generate(ctx, runtimes.LoadPlan{Start: r.start, Evidence: r.w, Pulse: pulse, GoesOn: r.left != nil, Struck: r.status.struck})
	if err != nil {
		return fmt.Errorf("start the load: %w", err)
	}
	r.gen = gen
	r.guard(ctx)
	var wg sync.WaitGroup
	board, stopBoard := context.WithCancel(context.WithoutCancel(ctx))
	wg.Go(func() { r.status.run(board) })
	wg.Go(func() { r.phases(ctx) })
	wg.Go(func() { r.dashboards(ctx) })
	for i := range r.Scenario.Faults {
		r.faults.Go(func() { r.fault(ctx, after, i) })
	}
	if err = gen.Wait(ctx); err != nil {
		r.abort(err) // phases and faults that were still to come do not come
	}
	why := ""
	if ctx.Err() != nil {
		why = "interrupted"
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			why = cause.Error()
		}
	}
	r.event(evidence.Event{Kind: evidence.EventStop, Detail: why})
	stopBoard()
	wg.Wait()
	return err
}

// guard has a system that others depend on watched until every fault is over, and gives the run up as soon as it suffers: what still holds is
// healed at once, and what was to come does not come.
func (r *runner) guard(ctx context.Context) {
	g, ok := r.env.(runtimes.Guarded)
	if !ok {
		return
	}
	watch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		saw, err := g.Guard(watch, func() runtimes.Arrived {
			return runtimes.Arrived{
				Acknowledged: r.gen.Progress().Acked, InKafka: r.kafka.Seen(),
				Due: func(before time.Time) uint64 { return r.kafka.SeenDue(before.Sub(r.start)) },
			}
		})
		if saw != "" {
			r.note(evidence.EventNote, "abort conditions", saw)
		}
		if err != nil {
			r.abort(&GivenUpError{err.Error()})
		}
	}()
	r.unguard = func() { cancel(); <-done }
}

// phases writes the begin of each phase when it comes.
func (r *runner) phases(ctx context.Context) {
	for _, w := range r.Scenario.Phases.Windows() {
		if r.missed(w.From) {
			continue // it began before, or while nobody was there
		}
		if w.Name == scenario.Drain || !r.until(ctx, w.From) {
			return
		}
		r.event(evidence.Event{Kind: evidence.EventPhase, Name: w.Name})
	}
}

// until waits for a place on the time line; false means that ctx ended first.
func (r *runner) until(ctx context.Context, at time.Duration) bool {
	t := time.NewTimer(time.Until(r.start.Add(at)))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// fault injects one fault, proves that it bit, heals it and proves that it is gone.
func (r *runner) fault(ctx, after context.Context, i int) {
	f := r.Scenario.Faults[i]
	at := r.Scenario.Phases.Resolve(f.At)
	if r.missed(at) {
		r.unwatched(f)
		return
	}
	if !r.until(ctx, at) {
		r.faultEvent(f, evidence.FaultSkipped, "the run was interrupted before", 0, nil)
		return
	}
	r.faultEvent(f, evidence.FaultInjecting, "", 0, nil)
	patience := fault.Patience(f.Kind)
	inject, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("injecting took longer than %v", patience))
	active, err := fault.Inject(inject, r.env, f)
	cancel()
	if err != nil {
		state := evidence.FaultFailed
		if _, ok := errors.AsType[*fault.UnavailableError](err); ok {
			state = evidence.FaultSkipped
			r.note(evidence.EventSkip, "fault "+f.Name, err.Error())
		}
		r.faultEvent(f, state, err.Error(), 0, nil)
		return
	}
	attrs := map[string]string{}
	if t, ok := active.(fault.Target); ok {
		attrs["struck"] = t.Target()
	}
	r.faultEvent(f, evidence.FaultInjected, "", 0, attrs)
	defer r.findings(f, active)
	r.findings(f, active)
	// Whatever comes, it is healed: the context of healing outlives the run's.
	heal := context.WithoutCancel(ctx)
	bit := r.awaitBite(ctx, f, active, at)
	if f.For > 0 {
		r.until(ctx, at+f.For.D())
	}
	r.faultEvent(f, evidence.FaultHealing, "", 0, nil)
	hc, cancel := context.WithTimeout(heal, patience)
	err = active.Heal(hc)
	cancel()
	if err != nil {
		r.faultEvent(f, evidence.FaultFailed, "heal: "+err.Error(), 0, nil)
		return
	}
	r.faultEvent(f, evidence.FaultHealed, "", 0, nil)
	r.awaitGone(after, f, active, bit)
}

// findings writes down what a fault found out beside its hits.
func (r *runner) findings(f scenario.Fault, a fault.Active) {
	rep, ok := a.(fault.Reporter)
	if !ok {
		return
	}
	for _, e := range rep.Report() {
		if e.Attrs == nil {
			e.Attrs = map[string]string{}
		}
		e.Attrs["fault"] = f.Name
		r.event(e)
	}
}

// awaitBite watches for the first effect until the fault is to be healed.
func (r *runner) awaitBite(ctx context.Context, f scenario.Fault, a fault.Active, at time.Duration) bool {
	end := at + f.For.D()
	if f.For == 0 {
		end = at + biteTime
	}
	for r.w.Now() < end {
		began := time.Now()
		n, seen, err := a.Hits(ctx)
		if err == nil && n > 0 {
			r.faultEvent(f, evidence.FaultBit, seen, n, nil)
			return true
		}
		select {
		case <-time.After(lookAgain(time.Since(began))):
		case <-ctx.Done():
			return false
		}
	}
	return false
}

// awaitGone watches until the effect is seen to be over.
func (r *runner) awaitGone(after context.Context, f scenario.Fault, a fault.Active, bit bool) {
	watch, cancel := context.WithTimeout(after, goneTime)
	defer cancel()
	for {
		began := time.Now()
		gone, err := a.Gone(watch)
		if err == nil && gone {
			n, seen, _ := a.Hits(watch)
			if !bit && n > 0 {
				r.faultEvent(f, evidence.FaultBit, seen, n, nil)
			}
			r.faultEvent(f, evidence.FaultGone, "", n, nil)
			return
		}
		select {
		case <-time.After(lookAgain(time.Since(began))):
		case <-watch.Done():
			detail := "its effect was not seen to end"
			if err != nil {
				detail += ": " + err.Error()
			}
			r.faultEvent(f, evidence.FaultFailed, detail, 0, nil)
			return
		}
	}
}

// lookAgain is how long to wait before a fault is looked at again, when a look took so long: on real nodes a look is a program that starts
// there, on the processors of the system under test.
func lookAgain(took time.Duration) time.Duration { return min(max(faultPoll, 4*took), time.Second) }

func (r *runner) faultEvent(f scenario.Fault, state, detail string, hits uint64, attrs map[string]string) {
	if attrs == nil {
		attrs = map[string]string{}
	}
	attrs["kind"] = f.Kind
	for k, v := range map[string]string{"target": f.Target, "cluster": f.Cluster, "from": f.From, "to": f.To} {
		if v != "" {
			attrs[k] = v
		}
	}
	r.event(evidence.Event{Kind: evidence.EventFault, Name: f.Name, State: state, Detail: detail, Hits: hits, Attrs: attrs})
	if r.status != nil {
		r.status.fault(f.Name, state)
	}
}

// drain waits until every acknowledged record is in the store or the deadline has come.
func (r *runner) drain(ctx, after context.Context) {
	if r.gen == nil {
		return
	}
	r.event(evidence.Event{Kind: evidence.EventPhase, Name: scenario.Drain})
	r.event(evidence.Event{Kind: evidence.EventDrain, State: "begin"})
	limit := r.Scenario.Phases.Drain.D()
	if ctx.Err() != nil {
		limit = min(limit, stopDrain)
	}
	r.Progress.Step("drain", "begin", "")
	deadline := time.Now().Add(limit)
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	still, last := time.Now(), [3]uint64{}
	state := "deadline"
	for now := range t.C {
		if after.Err() != nil {
			break
		}
		s := r.status.status()
		s.Phase, s.DrainLeft = scenario.Drain, deadline.Sub(now)
		r.Progress.Status(s)
		counts := [3]uint64{s.InKafka, r.store.Counted(), r.kafka.DeadLettered()}
		if counts != last {
			still, last = now, counts
		}
		if r.arrived(s) && now.Sub(still) >= settle {
			state = "done"
			break
		}
		if now.After(deadline) {
			break
		}
		if ctx.Err() != nil && deadline.Sub(now) > stopDrain {
			limit, deadline = stopDrain, now.Add(stopDrain)
		}
	}
	r.event(evidence.Event{Kind: evidence.EventDrain, State: state})
	r.faults.Wait()
	r.unguard()
	detail := ""
	if state == "deadline" {
		s := r.status.status()
		detail = fmt.Sprintf("deadline of %v: %d acknowledged, %d in kafka, %d searchable", limit, s.Acked, s.InKafka, r.store.Counted())
	}
	r.Progress.Step("drain", "done", detail)
}

// arrived reports whether everything that is to come has come. A record that is in Kafka twice is two documents, because they are named by offset:
// one of them does not stand for a record that is missing.
func (r *runner) arrived(s progress.Status) bool {
	documents := r.store.Counted()
	if r.Arrive != nil {
		return s.InKafka >= r.Arrive.Kafka && documents >= r.Arrive.Documents
	}
	return s.InKafka >= s.Acked && documents+r.kafka.DeadLettered() >= s.InKafka+uint64(max(r.kafka.Copies(), 0))
}

// statusBoard gathers what the progress shows.
type statusBoard struct {
	r      *runner
	mu     sync.Mutex
	faults []progress.Fault
	last   uint64
	lastAt time.Time
	rate   float64
}

func newStatusBoard(r *runner) *statusBoard {
	b := &statusBoard{r: r, lastAt: time.Now()}
	for _, f := range r.Scenario.Faults {
		b.faults = append(b.faults, progress.Fault{Name: f.Name, State: "waiting", At: r.Scenario.Phases.Resolve(f.At)})
	}
	return b
}

func (b *statusBoard) fault(name, state string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.faults {
		if b.faults[i].Name == name {
			b.faults[i].State = state
		}
	}
}

// struck are the faults that act: from their injection until they are seen to be gone.
func (b *statusBoard) struck() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, f := range b.faults {
		switch f.State {
		case evidence.FaultInjected, evidence.FaultBit, evidence.FaultHealing, evidence.FaultHealed:
			out = append(out, f.Name)
		}
	}
	return out
}

func (b *statusBoard) run(ctx context.Context) {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			b.r.Progress.Status(b.status())
		case <-ctx.Done():
			return
		}
	}
}

func (b *statusBoard) status() progress.Status {
	r := b.r
	at, p := r.w.Now(), r.gen.Progress()
	s := progress.Status{At: at, Load: r.Scenario.Phases.LoadTime(), Planned: p.Planned, Acked: p.Acked, InKafka: r.kafka.Seen(), Searchable: r.store.Likely()}
	for _, w := range r.Scenario.Phases.Windows() {
		if at >= w.From {
			s.Phase = w.Name
		}
	}
	for i := range r.Scenario.Load {
		s.Target += schedule.Rate(r.Scenario, i, at)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	// Pods are asked every two seconds: a count that stands still in between says nothing of the rate.
	if d := time.Since(b.lastAt); d >= time.Second && (p.Attempted != b.last || d >= 5*time.Second) {
		b.rate = float64(p.Attempted-b.last) / d.Seconds()
		b.last, b.lastAt = p.Attempted, time.Now()
	}
	s.Achieved = b.rate
	s.Faults = append([]progress.Fault(nil), b.faults...)
	return s
}
