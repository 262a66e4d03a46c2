package load

import (
	"context"
	"sync"
	"time"

	"triad/internal/model/forward"
)

// Batching of the forward sink: as an agent that flushes often.
const (
	forwardFlush = 100 * time.Millisecond
	forwardBatch = 1000
	forwardTime  = 30 * time.Second // an acknowledgement that does not come in this time leaves its records unknown
)

// ForwardSink speaks the Fluent forward protocol, for sources that enter at the aggregator. A record is acknowledged
// when the aggregator acknowledged its chunk. Create it with NewForwardSink.
type ForwardSink struct {
	client *forward.Client
	tag    string
	host   string

	mu      sync.Mutex
	entries []byte
	count   int
	waiting []Outcome
	kick    chan struct{}
	stop    chan struct{}
	done    chan struct{}
}

var _ Sink = (*ForwardSink)(nil)

// NewForwardSink starts a sink that sends with the given tag; the sink owns the client.
func NewForwardSink(c *forward.Client, tag, host string) *ForwardSink {
	f := &ForwardSink{client: c, tag: tag, host: host, kick: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go f.loop()
	return f
}

// Send queues one record. It never blocks: the queue is the generator's own and bounded by its schedule.
func (f *ForwardSink) Send(_ context.Context, r Record, o Outcome) {
	f.mu.Lock()
	f.entries = forward.AppendEntryHead(f.entries, time.Now())
	f.entries = forward.AppendMapLen(f.entries, 3)
	for _, kv := range [][2]string{{"log", string(r.Line)}, {"host", f.host}, {"file", r.Stream.Source}} {
		f.entries = forward.AppendString(f.entries, kv[0])
		f.entries = forward.AppendString(f.entries, kv[1])
	}
	f.count++
	f.waiting = append(f.waiting, o)
	full := f.count >= forwardBatch
	f.mu.Unlock()
	if full {
		select {
		case f.kick <- struct{}{}:
		default:
		}
	}
}

func (f *ForwardSink) loop() {
	defer close(f.done)
	t := time.NewTicker(forwardFlush)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-f.kick:
		case <-f.stop:
			f.flush()
			return
		}
		f.flush()
	}
}

func (f *ForwardSink) flush() {
	f.mu.Lock()
	entries, n, waiting := f.entries, f.count, f.waiting
	f.entries, f.count, f.waiting = nil, 0, nil
	f.mu.Unlock()
	if n == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), forwardTime)
	err := f.client.Send(ctx, f.tag, entries, n)
	cancel()
	for _, o := range waiting {
		o.Done(err)
	}
}

// Close sends what is queued and ends the sink.
func (f *ForwardSink) Close(ctx context.Context) error {
	close(f.stop)
	select {
	case <-f.done:
		return f.client.Close()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
