package run

import (
	"context"
	"testing"
	"time"

	"triad/internal/observe"
	"triad/internal/observe/elastic"
	"triad/internal/progress"
)

// counted is an observer of Kafka that has seen what is said.
type counted struct {
	dead   uint64
	copies int64
}

func (counted) Run(context.Context, *observe.Known) error { return nil }
func (counted) Seen() uint64                              { return 0 }
func (counted) SeenDue(time.Duration) uint64              { return 0 }
func (c counted) DeadLettered() uint64                    { return c.dead }
func (c counted) Copies() int64                           { return c.copies }

// Copies of records in Kafka are documents of their own and stand for none that is missing.
func TestArrived(t *testing.T) {
	for _, c := range []struct {
		acked, inKafka, come uint64
		copies               int64
		want                 bool
	}{
		{100, 99, 99, 0, false},
		{100, 100, 99, 0, false},
		{100, 100, 100, 0, true},
		{100, 100, 100, 5, false}, // five copies have come, or five records are missing: nobody can tell yet
		{100, 100, 105, 5, true},
		{100, 100, 100, -1, true}, // a dead letter was written twice
		{100, 101, 101, 0, true},  // one that nobody acknowledged
	} {
		r := &runner{store: &elastic.Observer{}, kafka: counted{c.come, c.copies}}
		if got := r.arrived(progress.Status{Acked: c.acked, InKafka: c.inKafka}); got != c.want {
			t.Errorf("%+v: arrived %v", c, got)
		}
	}
}
