package run

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// Resumable says why a run cannot go on, as far as its directory tells without being opened; nil when it may.
func Resumable(dir string, h evidence.Header, s *scenario.Scenario) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", evidence.ErrNotResumable, fmt.Sprintf(format, args...))
	}
	switch {
	case h.Runtime == "embedded":
		return refuse("on embedded the whole system was part of the harness and died with it, so there is nothing to go on with; run it again: %s", strings.Join(h.Command, " "))
	case s.Search != nil || s.Compare != nil:
		return refuse("%s is made of many runs; run it again, each try is short", s.Name)
	}
	return evidence.Resumable(dir, h)
}

// reopen takes up the directory of a run that goes on.
func (r *runner) reopen() error {
	var err error
	if r.w, r.left, err = evidence.Reopen(r.Resume); err != nil {
		return err
	}
	h := r.w.Header()
	r.number = h.Run
	r.start = r.w.Start()
	return nil
}

// missed reports whether a place on the time line came before the run went on: while nobody was there, or earlier.
func (r *runner) missed(at time.Duration) bool { return r.left != nil && at < r.back }

// rejoin heals what is left of faults and takes the system as it is.
func (r *runner) rejoin(ctx context.Context, s runtimes.Session) (string, error) {
	rt, ok := r.Runtime.(runtimes.Rejoiner)
	if !ok {
		return "", fmt.Errorf("%w: on %s generators are not taken up again", evidence.ErrNotResumable, r.Runtime.Name())
	}
	healed, err := rt.Rejoin(ctx, s)
	if err != nil {
		return "", err
	}
	if len(healed) == 0 {
		return "nothing was left to heal", nil
	}
	text := "healed " + strings.Join(healed, ", ")
	r.note(evidence.EventNote, "healed on resuming", text)
	return text, nil
}

// resumed writes from when on the run is watched again. It is called before the first observer looks.
func (r *runner) resumed() {
	r.back = r.w.Now()
	r.event(evidence.Event{Kind: evidence.EventResumed, Attrs: map[string]string{
		"from_ns": strconv.FormatInt(int64(r.left.Last), 10), "at": time.Now().UTC().Format(time.RFC3339), "commit": r.Commit,
	}})
}

// unwatched writes what is known of a fault that was due before the run went on. One that was over is left as it is.
func (r *runner) unwatched(f scenario.Fault) {
	state := ""
	for _, e := range r.left.Events {
		if e.Kind == evidence.EventFault && e.Name == f.Name {
			state = e.State
		}
	}
	switch state {
	case evidence.FaultGone, evidence.FaultFailed, evidence.FaultSkipped, evidence.FaultUnwatched:
		r.status.fault(f.Name, state)
	case "":
		r.faultEvent(f, evidence.FaultUnwatched, "it was due while the harness was dead, and did not strike", 0, nil)
	default:
		r.faultEvent(f, evidence.FaultUnwatched, "the harness died while it acted ("+state+"); what was left of it was healed when the run went on", 0, nil)
	}
}
