package connect

import (
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// pending is one record that the task has taken: its offset may be committed when it and all before it are processed.
type pending struct {
	offset    int64
	processed atomic.Bool
}

func (p *pending) done() { p.processed.Store(true) }

type topicPartition struct {
	topic     string
	partition int32
}

// progress is how far one assigned partition has come.
type progress struct {
	queue     []*pending // in order of offsets; the head is the first that is not committable
	safe      int64      // offset to commit: one after the last of an unbroken run of processed records; -1 none yet
	committed int64      // last offset committed; -1 none yet
	first     int64      // first offset consumed since the assignment; -1 none yet
	position  int64      // one after the last offset consumed
	lag       int64      // records behind the end of the partition at the last fetch; -1 unknown
}

// offsets tracks the assigned partitions of a task. All methods are safe for concurrent use: the group's callbacks and
// the bulk writers come from goroutines of their own.
type offsets struct {
	mu    sync.Mutex
	parts map[topicPartition]*progress
	size  int // entries of all queues
}

func newOffsets() *offsets { return &offsets{parts: map[topicPartition]*progress{}} }

func (o *offsets) assign(parts map[string][]int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for topic, list := range parts {
		for _, p := range list {
			o.parts[topicPartition{topic, p}] = &progress{safe: -1, committed: -1, first: -1, lag: -1}
		}
	}
}

// drop forgets partitions; writers that still hold their records change nothing that counts.
func (o *offsets) drop(parts map[string][]int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for topic, list := range parts {
		for _, p := range list {
			tp := topicPartition{topic, p}
			if pr := o.parts[tp]; pr != nil {
				o.size -= len(pr.queue)
				delete(o.parts, tp)
			}
		}
	}
}

func (o *offsets) assigned() map[string][]int32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := map[string][]int32{}
	for tp := range o.parts {
		out[tp.topic] = append(out[tp.topic], tp.partition)
	}
	return out
}

func (o *offsets) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.parts)
}

// consumed notes what a fetch of a partition brought.
func (o *offsets) consumed(p kgo.FetchPartition, topic string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pr := o.parts[topicPartition{topic, p.Partition}]
	if pr == nil {
		return
	}
	if n := len(p.Records); n > 0 {
		if pr.first < 0 {
			pr.first = p.Records[0].Offset
		}
		pr.position = p.Records[n-1].Offset + 1
	}
	if pr.position > 0 && p.HighWatermark > 0 {
		pr.lag = max(p.HighWatermark-pr.position, 0)
	}
}

// add takes a record that is given to the task.
func (o *offsets) add(r *kgo.Record) *pending {
	p := &pending{offset: r.Offset}
	o.mu.Lock()
	defer o.mu.Unlock()
	if pr := o.parts[topicPartition{r.Topic, r.Partition}]; pr != nil {
		pr.queue = append(pr.queue, p)
		o.size++
	}
	return p
}

// entries is how many records are neither processed nor passed by all before them.
func (o *offsets) entries() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.advance()
	return o.size
}

// advance moves the safe offsets over processed records; mu is held.
func (o *offsets) advance() {
	for _, pr := range o.parts {
		n := 0
		for n < len(pr.queue) && pr.queue[n].processed.Load() {
			pr.safe = pr.queue[n].offset + 1
			pr.queue[n] = nil
			n++
		}
		pr.queue = pr.queue[n:]
		o.size -= n
	}
}

// committable returns the offsets that differ from the committed ones, of the given partitions or of all (nil).
func (o *offsets) committable(only map[string][]int32) map[string]map[int32]kgo.EpochOffset {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.advance()
	out := map[string]map[int32]kgo.EpochOffset{}
	take := func(tp topicPartition, pr *progress) {
		if pr == nil || pr.safe < 0 || pr.safe == pr.committed {
			return
		}
		if out[tp.topic] == nil {
			out[tp.topic] = map[int32]kgo.EpochOffset{}
		}
		out[tp.topic][tp.partition] = kgo.EpochOffset{Epoch: -1, Offset: pr.safe}
	}
	if only == nil {
		for tp, pr := range o.parts {
			take(tp, pr)
		}
		return out
	}
	for topic, list := range only {
		for _, p := range list {
			tp := topicPartition{topic, p}
			take(tp, o.parts[tp])
		}
	}
	return out
}

// reach makes everything consumed committable: a synchronous flush has waited for all of it.
func (o *offsets) reach() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.advance()
	for _, pr := range o.parts {
		if len(pr.queue) == 0 && pr.first >= 0 {
			pr.safe = pr.position
		}
	}
}

func (o *offsets) didCommit(offs map[string]map[int32]kgo.EpochOffset) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for topic, list := range offs {
		for p, at := range list {
			if pr := o.parts[topicPartition{topic, p}]; pr != nil {
				pr.committed = max(pr.committed, at.Offset)
			}
		}
	}
}

// active is the number of records consumed and not yet committed.
func (o *offsets) active() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	var n int64
	for _, pr := range o.parts {
		switch {
		case pr.first < 0:
		case pr.committed < 0:
			n += pr.position - pr.first
		default:
			n += max(pr.position-pr.committed, 0)
		}
	}
	return n
}

// lags returns the known lag of each partition.
func (o *offsets) lags() map[topicPartition]int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := map[topicPartition]int64{}
	for tp, pr := range o.parts {
		if pr.lag >= 0 {
			out[tp] = pr.lag
		}
	}
	return out
}
