package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"triad/internal/evidence"
	"triad/internal/observe"
	"triad/internal/pod"
)

const (
	askEvery = 200 * time.Millisecond
	askTime  = 5 * time.Second
	// endTime is for closing, fetching and merging what all observers have written, beside a hundredth of the time in which they wrote it.
	endTime = 2 * time.Minute
)

// Fleet is several observers in pods that read Kafka for one run, each its own partitions.
type Fleet struct {
	pods []pod.Remote
	w    *evidence.Writer
	on   bool    // they read already: the run goes on
	lost []error // why nothing is known of an observer any more, by pod

	mu   sync.Mutex
	last []Status
}

func newFleet(pods []pod.Remote, w *evidence.Writer) *Fleet {
	return &Fleet{pods: pods, w: w, lost: make([]error, len(pods)), last: make([]Status, len(pods))}
}

// Open tells every observer what it is to read, and returns when all know from where.
func Open(ctx context.Context, pods []pod.Remote, p Plan, w *evidence.Writer) (*Fleet, error) {
	f := newFleet(pods, w)
	return f, f.each(func(k int, r pod.Remote) error {
		if err := r.Call(ctx, http.MethodPost, "/stop", nil, nil); err != nil {
			return fmt.Errorf("kafka observer %w", err)
		}
		own := p
		own.Shard, own.Shards = k, len(pods)
		if err := r.Call(ctx, http.MethodPost, "/open", own, nil); err != nil {
			return fmt.Errorf("kafka observer %w", err)
		}
		return nil
	})
}

// Rejoin takes up the observers of a run that goes on after its harness was killed: they read on without it, and nothing is told to them. One
// that is gone, or came again without its plan, is said at the end, as if it had gone now. One that knows the run and does not read was not told
// to begin, or told to stop: what it has missed since is not known, so the run does not go on.
func Rejoin(ctx context.Context, pods []pod.Remote, w *evidence.Writer, left *evidence.Left) (*Fleet, error) {
	f := newFleet(pods, w)
	f.on = true
	// What was merged once would be merged again.
	for point := range left.Seen {
		if evidence.PointOf(point) == evidence.PointKafka {
			return nil, fmt.Errorf("%w: it was killed while it collected what its observers had seen, behind its end; sim report says what there is", evidence.ErrNotResumable)
		}
	}
	return f, f.each(func(k int, r pod.Remote) error {
		var err error
		f.lost[k], err = f.ask(ctx, k, r, w.Header().Run)
		if err == nil && f.lost[k] == nil && !f.last[k].Running {
			err = fmt.Errorf("%w: %s does not read: the run was killed before it was told to, or when it had been told to stop", evidence.ErrNotResumable, r.Name)
		}
		if err != nil {
			return fmt.Errorf("kafka observer: %w", err)
		}
		return nil
	})
}

// each does something with every pod at once.
func (f *Fleet) each(fn func(k int, r pod.Remote) error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(f.pods))
	for k, r := range f.pods {
		wg.Go(func() { errs[k] = fn(k, r) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Seen is the number of records of the run seen so far in their topics.
func (f *Fleet) Seen() uint64 { return f.sum(func(s Status) uint64 { return s.Seen }) }

// SeenDue is Seen: observers in pods do not say when what they have seen was due.
func (f *Fleet) SeenDue(time.Duration) uint64 { return f.Seen() }

// DeadLettered is the number of records seen in the dead-letter topic.
func (f *Fleet) DeadLettered() uint64 { return f.sum(func(s Status) uint64 { return s.DeadLettered }) }

// Copies is how many records were seen in their topics once more, less those in the dead-letter topic.
func (f *Fleet) Copies() int64 {
	return int64(f.sum(func(s Status) uint64 { return uint64(s.Copies) })) // what wraps comes back
}

func (f *Fleet) sum(of func(Status) uint64) (n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.last {
		n += of(s)
	}
	return n
}

// Run has the observers read until ctx ends, and merges what they have written into the evidence. An observer that is gone, or was started
// anew, is an error: of its partitions nothing is known.
func (f *Fleet) Run(ctx context.Context, known *observe.Known) error {
	if !f.on {
		err := f.each(func(_ int, r pod.Remote) error { return r.Call(ctx, http.MethodPost, "/run", Start{f.w.Start()}, nil) })
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	t := time.NewTicker(askEvery)
	defer t.Stop()
	for ctx.Err() == nil {
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		_ = f.each(func(k int, r pod.Remote) error { // what fails is asked again, and fetched at the end or not
			var err error
			if f.lost[k] == nil {
				f.lost[k], err = f.ask(ctx, k, r, known.Run())
			}
			return err
		})
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime+max(f.w.Now(), 0)/100)
	defer cancel()
	return f.each(func(k int, r pod.Remote) error {
		if f.lost[k] != nil {
			return f.lost[k]
		}
		return fetch(end, r, f.w)
	})
}

// ask asks one observer how far it is. One that is silent is not lost, its cluster may be frozen or cut off; one that is gone is.
func (f *Fleet) ask(ctx context.Context, k int, r pod.Remote, run uint32) (lost, silent error) {
	ask, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var st Status
	err := r.Call(ask, http.MethodGet, "/status", nil, &st)
	switch {
	case err == nil && st.Run != run:
		return fmt.Errorf("%s was started anew in the middle of the run: what it had seen is not known", r.Name), nil
	case err == nil && st.Error != "":
		return fmt.Errorf("%s: %s", r.Name, st.Error), nil
	case err != nil && ctx.Err() == nil && r.Gone != nil && r.Gone(ask):
		return fmt.Errorf("%s is gone: what it had seen is not known", r.Name), nil
	case err != nil:
		return nil, err
	}
	f.mu.Lock()
	f.last[k] = st
	f.mu.Unlock()
	return nil, nil
}

// errMerged is of what was fetched whole and could not be merged: some of it may be in the evidence.
var errMerged = errors.New("could not be merged")

// fetch ends what an observer reads, and merges what it has written into the evidence.
func fetch(ctx context.Context, r pod.Remote, w *evidence.Writer) error {
	if err := r.Call(ctx, http.MethodPost, "/stop", nil, nil); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "triad-observer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := r.Fetch(ctx, fmt.Sprintf("/evidence?run=%d", w.Header().Run), dir); err != nil {
		return err
	}
	if err := w.Merge(dir); err != nil {
		return fmt.Errorf("what %s has seen %w: %w", r.Name, errMerged, err)
	}
	return nil
}
