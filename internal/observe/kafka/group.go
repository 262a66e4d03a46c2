package kafka

import (
	"context"
	"errors"
	"sync"
	"time"

	"triad/internal/observe"
)

// Group is observers of one process that share the partitions. What each sees lies in a ledger of its own.
type Group []*Observer

// OpenGroup opens n observers.
func OpenGroup(ctx context.Context, cfg Config, n int) (Group, error) {
	var g Group
	if cfg.Resume != nil {
		cfg.pulsed = newPulsed(cfg.Resume)
	}
	for k := range n {
		own := cfg
		own.Shard, own.Shards = k, n
		o, err := Open(ctx, own)
		if err != nil {
			g.close()
			return nil, err
		}
		g = append(g, o)
	}
	return g, nil
}

func (g Group) close() {
	for _, o := range g {
		o.client.Close()
		o.admin.Close()
	}
}

// Run has all of them read until ctx ends.
func (g Group) Run(ctx context.Context, known *observe.Known) error {
	var wg sync.WaitGroup
	errs := make([]error, len(g))
	for i, o := range g {
		wg.Go(func() { errs[i] = o.Run(ctx, known) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Seen is the number of records seen so far in their topics; one that is in the partitions of several observers counts for each.
func (g Group) Seen() (n uint64) {
	for _, o := range g {
		n += o.Seen()
	}
	return n
}

// SeenDue is Seen of the records that were due before a place on the time line.
func (g Group) SeenDue(before time.Duration) (n uint64) {
	for _, o := range g {
		n += o.SeenDue(before)
	}
	return n
}

// DeadLettered is the number of records seen in the dead-letter topic.
func (g Group) DeadLettered() (n uint64) {
	for _, o := range g {
		n += o.DeadLettered()
	}
	return n
}

// Copies is how many records were seen in their topics once more, less those in the dead-letter topic.
func (g Group) Copies() (n int64) {
	for _, o := range g {
		n += o.Copies()
	}
	return n
}
