package load

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/scenario"
	"triad/internal/source"
)

const (
	// handBack is how many records that are done are handed back at once, and made at once: about as many as are in a batch, and few beside
	// the thousands that are under way at a rate at which it matters.
	handBack = 64
	// produceKey is the key of Kafka's Produce request.
	produceKey = 0
)

// KafkaSink produces directly, for sources that enter at the broker. Records are keyed by stream. Create it with NewKafkaSink.
type KafkaSink struct {
	client *kgo.Client
	start  time.Time
	limit  int // records that the client takes before it blocks

	// Of the goroutine that sends.
	clock  source.Clock
	stamp  time.Time
	head   []byte // of a document, with the time at stampAt
	keys   [][]byte
	own    *handful // to be used: the first left of them
	left   int
	staged []*kafkaRecord
	sent   uint64
	size   int // of the longest document so far

	// Of the client's goroutines: one at a time calls promises.
	answered atomic.Int64 // when the last answer to a produce request was read, ns since start
	done     *handful
	count    int // of those in done

	settled atomic.Uint64 // records handed back
	mu      sync.Mutex
	free    []*handful // the last on top: what was in use just now is in the caches
	empty   []*handful
}

// handful is records that are handed back together.
type handful [handBack]*kafkaRecord

var (
	_ Stager             = (*KafkaSink)(nil)
	_ kgo.HookBrokerRead = (*KafkaSink)(nil)
)

// kafkaRecord is a record under way with its own bytes. The client does not look at a record after its promise, so it
// is used again then: at full rate allocating would cost more than producing.
type kafkaRecord struct {
	kgo.Record

	sink    *KafkaSink
	outcome Outcome
	promise func(*kgo.Record, error) // settle, bound once
}

// Documents begin with the time at which they were sent, because whoever looks at a range of time finds only what has one: what comes by
// way of Fluentd gets its time there.
const (
	documentHead = `{"@timestamp":"`
	documentLog  = `","log":"`
	documentTail = `"}`
)

// Linger is how long a record waits for others to go with it: the default of Kafka's own producer since 4.0 (KIP-1030). At once, 20,000 records
// a second are thousands of requests, which cost the brokers more than the records do.
const Linger = 5 * time.Millisecond

// ProducerOpts are how a generator produces to real brokers: acknowledged by all replicas in sync, a stream's records in one
// partition. There is no idempotence: a record whose answer got lost may be there twice, and shows as a duplicate.
func ProducerOpts() []kgo.Opt {
	return []kgo.Opt{kgo.ProducerLinger(Linger), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil))}
}

// NewKafkaSink makes a client with the options given and produces with it; host is the value of the field of that name, and times are
// counted from start.
func NewKafkaSink(host string, start time.Time, opts ...kgo.Opt) (*KafkaSink, error) {
	k := &KafkaSink{start: start}
	k.head = k.clock.Append([]byte(documentHead), start.UnixNano())
	k.head = append(k.head, `","host":"`...)
	k.head = append(source.AppendEscaped(k.head, []byte(host)), documentLog...)
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.WithHooks(k)}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	k.client = c
	limit, _ := c.OptValue(kgo.MaxBufferedRecords).(int64)
	k.limit = int(limit)
	return k, nil
}

// Room is how many records the client certainly takes.
func (k *KafkaSink) Room() int { return k.limit - k.UnderWay() }

// UnderWay is how many records were sent and not handed back, which is somewhat later than their outcome.
func (k *KafkaSink) UnderWay() int { return int(k.sent - k.settled.Load()) }

// Stage makes the document of a record.
func (k *KafkaSink) Stage(st *scenario.Stream, lines *source.Stream, seq uint64, scheduled int64, now time.Time) {
	r := k.take(st, now)
	r.Value = append(lines.AppendJSON(r.Value, seq, scheduled), documentTail...)
	k.size = max(k.size, len(r.Value))
	k.staged = append(k.staged, r)
}

// Release produces what was staged. It does not block where Room was kept to.
func (k *KafkaSink) Release(ctx context.Context, outcomes []Outcome) {
	for i, r := range k.staged {
		r.outcome, r.Context = outcomes[i], ctx
		k.client.Produce(ctx, &r.Record, r.promise)
	}
	k.staged = k.staged[:0]
}

// Send produces one record; it blocks while the client's buffer is full, which is the system's doing.
func (k *KafkaSink) Send(ctx context.Context, rec Record, o Outcome) {
	r := k.take(rec.Stream, time.Now())
	r.Value = append(source.AppendEscaped(r.Value, rec.Line), documentTail...)
	r.outcome, r.Context = o, ctx
	k.client.Produce(ctx, &r.Record, r.promise)
}

// take returns a record with the beginning of its document.
func (k *KafkaSink) take(st *scenario.Stream, now time.Time) *kafkaRecord {
	if k.left == 0 {
		k.refill()
	}
	k.left--
	r := k.own[k.left]
	k.sent++
	if now != k.stamp {
		k.stamp = now
		k.clock.Append(k.head[:len(documentHead)], now.UnixNano())
	}
	// What else a record has is set by the client.
	r.Topic, r.Key, r.Timestamp, r.Value = st.Topic, k.key(st.ID), now, append(r.Value[:0], k.head...)
	return r
}

// key is the key of a stream's records.
func (k *KafkaSink) key(id uint32) []byte {
	for int(id) >= len(k.keys) {
		k.keys = append(k.keys, strconv.AppendInt([]byte("stream-"), int64(len(k.keys)), 10))
	}
	return k.keys[id]
}

func (k *KafkaSink) refill() {
	k.left = handBack
	k.mu.Lock()
	if k.own != nil {
		k.empty = append(k.empty, k.own)
		k.own = nil
	}
	if n := len(k.free); n > 0 {
		k.own, k.free = k.free[n-1], k.free[:n-1]
	}
	k.mu.Unlock()
	if k.own != nil {
		return
	}
	k.own = &handful{}
	slab, room := make([]kafkaRecord, handBack), make([]byte, handBack*k.size)
	for i := range slab {
		r := &slab[i]
		r.Value = room[i*k.size : i*k.size : (i+1)*k.size]
		r.sink = k
		r.promise = r.settle
		k.own[i] = r
	}
}

// OnBrokerRead notes when an answer came.
func (k *KafkaSink) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == produceKey && err == nil {
		k.answered.Store(int64(time.Since(k.start)))
	}
}

// settle is the promise of a record. An acknowledged record has been since an answer was read: the last one that was is not before its own,
// and none that is read later can delay it.
func (r *kafkaRecord) settle(_ *kgo.Record, err error) {
	k := r.sink
	if err == nil {
		r.outcome.run.of.settle(&r.outcome, time.Duration(k.answered.Load()), nil)
	} else {
		r.outcome.Done(err)
	}
	k.handBack(r)
}

// handBack collects what is done until it is a handful.
func (k *KafkaSink) handBack(r *kafkaRecord) {
	if k.done == nil {
		k.done = &handful{}
	}
	k.done[k.count] = r
	k.count++
	if k.count < handBack {
		return
	}
	k.settled.Add(handBack)
	k.mu.Lock()
	k.free = append(k.free, k.done)
	k.done, k.count = nil, 0
	if n := len(k.empty); n > 0 {
		k.done, k.empty = k.empty[n-1], k.empty[:n-1]
	}
	k.mu.Unlock()
}

// Close flushes and closes the client.
func (k *KafkaSink) Close(ctx context.Context) error {
	err := k.client.Flush(ctx)
	k.client.CloseAllowingRebalance()
	if err != nil {
		return fmt.Errorf("kafka flush: %w", err)
	}
	return nil
}
