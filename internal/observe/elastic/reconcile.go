package elastic

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"

	"triad/internal/evidence"
	"triad/internal/observe"
)

// Reader reads a slice and brings what it saw into the evidence. It is another process, which need not be there.
type Reader interface {
	Read(ctx context.Context, s Slice) (Saw, error)
}

// ErrNotRead is of a Reader that brought nothing into the evidence: another may read its slice.
var ErrNotRead = errors.New("the slice was not read")

// Saw is how many records of the run were in a slice, and how many documents with its number that were none.
type Saw struct {
	Documents  uint64 `json:"documents"`
	Unreadable uint64 `json:"unreadable"`
}

// rollover is what a lifecycle policy puts behind the name of an alias.
var rollover = regexp.MustCompile(`-\d{6}$`)

// topicOf is the topic whose records an index holds: its own name, or the alias that it rolled over from.
func topicOf(index string) string { return rollover.ReplaceAllString(index, "") }

// ReadSlice reads every document of the run in a slice once and writes its part of the search ledger. Its counts are exact.
func ReadSlice(ctx context.Context, c *Client, s Slice, known *observe.Known, w *evidence.Writer) (saw Saw, err error) {
	point := evidence.PointSearch
	if s.N > 1 {
		point = evidence.ShardOf(point, s.K)
	}
	ledger, err := w.Ledger(point)
	if err != nil {
		return saw, err
	}
	tracker := evidence.NewTracker()
	err = c.Read(ctx, s, Prefix(known.Run()), func(h Hit) error {
		if h.Source.Log == nil {
			saw.Unreadable++
			return nil
		}
		f := known.Identify([]byte(*h.Source.Log), topicOf(h.Index))
		switch f.Kind {
		case observe.Own, observe.Damaged:
			if !tracker.Observe(f.Stream.ID, 0, f.Seq).New {
				ledger.Mark(evidence.Duplicate, f.Stream.ID, f.Seq)
				return nil
			}
			ledger.Mark(evidence.Seen, f.Stream.ID, f.Seq)
			if f.Kind == observe.Damaged {
				ledger.Mark(evidence.Corrupt, f.Stream.ID, f.Seq)
			}
		case observe.Astray:
			ledger.Mark(evidence.Foreign, f.Stream.ID, f.Seq)
		case observe.Spurious:
			if f.Stream != nil {
				ledger.Mark(evidence.Phantom, f.Stream.ID, f.Seq)
			}
		default:
			saw.Unreadable++
		}
		return nil
	})
	saw.Documents = tracker.Count()
	return saw, errors.Join(err, ledger.Flush(w.Now()))
}

// readRate is what a store answers at least, in records a second, when it is read whole on a machine that it shares; readLeast is for a store that
// is busy still.
const (
	readRate  = 10_000
	readLeast = 5 * time.Minute
)

// ReadTime is how long the last reading of so many records may take.
func ReadTime(records uint64) time.Duration {
	return max(readLeast, time.Duration(records/readRate)*time.Second)
}

// Reconcile reads every document of the run once, in as many slices as there are readers, or at least as many as are asked for, all of one
// point in time. A slice that its reader did not read is read here.
func (o *Observer) Reconcile(ctx context.Context, slices int, readers ...Reader) error {
	n := max(slices, len(readers), 1)
	pit, err := o.cfg.Client.Open(ctx, o.cfg.Indices)
	var all Saw
	if err == nil {
		saws, errs := make([]Saw, n), make([]error, n)
		var wg sync.WaitGroup
		for k := range n {
			wg.Go(func() { saws[k], errs[k] = o.readSlice(ctx, Slice{pit, k, n}, readers) })
		}
		wg.Wait()
		for _, s := range saws {
			all.Documents += s.Documents
			all.Unreadable += s.Unreadable
		}
		err = errors.Join(append(errs, o.cfg.Client.Close(context.WithoutCancel(ctx), pit))...)
	}
	e := evidence.Event{At: o.cfg.Evidence.Now(), Kind: evidence.EventRecon, Name: evidence.PointSearch, State: "done", Attrs: map[string]string{
		"documents": strconv.FormatUint(all.Documents, 10), "unreadable": strconv.FormatUint(all.Unreadable, 10), "slices": strconv.Itoa(n),
	}}
	if err != nil {
		e.State, e.Detail = "failed", err.Error()
	}
	return errors.Join(err, o.cfg.Evidence.Events.Add(e))
}

func (o *Observer) readSlice(ctx context.Context, s Slice, readers []Reader) (Saw, error) {
	if s.K < len(readers) {
		saw, err := readers[s.K].Read(ctx, s)
		if err == nil || !errors.Is(err, ErrNotRead) {
			return saw, err
		}
		o.cfg.Logger.Warn("a part of the store is read by the harness itself", "part", fmt.Sprintf("%d of %d", s.K+1, s.N), "error", err)
	}
	return ReadSlice(ctx, o.cfg.Client, s, o.known, o.cfg.Evidence)
}
