package run

import (
	"context"
	"fmt"
	"strings"
	"time"

	"triad/internal/evidence"
)

// Warming bounds: the flush and refresh intervals of the whole path add up to about 3 s, so a path that carries a record in warmEnough
// is as fast as it gets; a cold one was seen to take 36 s. Behind warmTime the run begins all the same: what is slow then is what the
// run is there to show.
const (
	warmEnough = 6 * time.Second
	warmTime   = 90 * time.Second
)

// warmer is an environment that comes up cold: compilers, pools, connections and indices are made by the first records, and the
// figures of a run that begins with them are those of a cold start.
type warmer interface {
	// Warm sends a few records of every stream, under another run's number, through the whole path and says how long the last of them
	// took to be searchable.
	Warm(ctx context.Context, round int) (records uint64, took time.Duration, err error)
}

// warm is the assumption that the path is warm. It is not judged: when it does not hold in time, the evidence says so.
func (r *runner) warm(ctx context.Context) error {
	w, ok := r.env.(warmer)
	if !ok {
		return nil
	}
	return r.step("warm path", func() (string, error) {
		limited, cancel := context.WithTimeoutCause(ctx, warmTime, fmt.Errorf("the path was not warm within %v", warmTime))
		defer cancel()
		var said []string
		for round := 1; ; round++ {
			n, took, err := w.Warm(limited, round)
			switch {
			case ctx.Err() != nil:
				return "", context.Cause(ctx)
			case err != nil:
				said = append(said, fmt.Sprintf("round %d: %v", round, err))
			default:
				said = append(said, fmt.Sprintf("round %d: %d records searchable %v after they were due", round, n, took.Round(100*time.Millisecond)))
			}
			if err != nil || took <= warmEnough || limited.Err() != nil {
				break
			}
		}
		text := strings.Join(said, "; ")
		r.note(evidence.EventNote, "warm path", text)
		return text, nil
	})
}
