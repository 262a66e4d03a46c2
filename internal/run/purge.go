package run

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"triad/internal/evidence"
	"triad/internal/runtimes"
)

// purgeTime is for taking out some ten thousand documents and reading again.
const purgeTime = 2 * time.Minute

// purge takes out of the system what the run has put in, where it must leave nothing behind. It comes after everything that reads, and a run
// that was interrupted does it too, in the time that it has left.
func (r *runner) purge(after context.Context, whole bool) {
	env, ok := r.env.(runtimes.Purger)
	if !ok || r.gen == nil {
		return
	}
	// A step that fails is no error of the run: the evidence says it, and a check judges it.
	_ = r.step("purge", func() (string, error) {
		ctx, cancel := context.WithTimeoutCause(after, purgeTime, fmt.Errorf("not done within %v", purgeTime))
		defer cancel()
		p, err := env.Purge(ctx, r.gen.Progress().Acked, whole)
		e := evidence.Event{Kind: evidence.EventPurge, State: evidence.PurgeDone, Detail: p.Why, Attrs: map[string]string{
			"removed": strconv.FormatUint(p.Removed, 10), "left": strconv.FormatUint(p.Left, 10), "late": strconv.FormatUint(p.Late, 10),
			"kept_ns": strconv.FormatInt(int64(p.Kept), 10), "keeps_ns": strconv.FormatInt(int64(p.Keeps), 10),
		}}
		if err != nil {
			e.State, e.Detail = evidence.PurgeFailed, err.Error()
		}
		r.event(e)
		return fmt.Sprintf("%d documents taken out, %d left", p.Removed, p.Left), err
	})
}
