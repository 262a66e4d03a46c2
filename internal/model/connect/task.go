package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Task and connector states of the REST interface.
const (
	stateRunning = "RUNNING"
	statePaused  = "PAUSED"
	stateFailed  = "FAILED"
	stateStopped = "STOPPED"
	// stateUnassigned is that of a task whose worker is out of its group.
	stateUnassigned = "UNASSIGNED"
)

// errAbandoned ends what a task still does after the time for an orderly stop.
var errAbandoned = errors.New("task abandoned")

// task is one run of one sink task, from its start to its end. A restart makes a new one, with counters from zero.
type task struct {
	w   *Model
	c   Connector
	id  int
	log *slog.Logger
	m   *taskMetrics

	ctx    context.Context // ends when the task is given up or killed
	giveUp context.CancelCauseFunc
	stop   chan struct{} // closed: end in order
	done   chan struct{} // closed when the goroutine has ended

	cl      *kgo.Client
	es      *elastic
	bulk    *bulker
	eh      *errorHandler
	offsets *offsets
	indexes map[string]bool // known to exist
	mapped  map[string]bool // known to have a mapping

	commitMu   sync.Mutex
	committing time.Time // start of the commit under way, zero for none
	commitSeq  int64

	mu     sync.Mutex
	state  string
	trace  string
	paused bool
	interr context.CancelFunc // ends the present poll
	since  time.Time          // of the state
}

// run is the life of a task.
func (t *task) run() {
	defer close(t.done)
	err := t.start()
	if err == nil {
		err = t.loop()
		t.finish(&err)
	}
	t.release()
	if t.ctx.Err() != nil && !errors.Is(context.Cause(t.ctx), errAbandoned) {
		return // killed: nobody is left to say anything
	}
	if err != nil {
		t.log.Error("task failed", slog.String("connector", t.c.Name), slog.Int("task", t.id), slog.Any("error", err))
		t.mu.Lock()
		t.trace = traceOf(err)
		t.mu.Unlock()
		t.setState(stateFailed)
	}
}

// traceOf writes an error as the REST interface shows a stack trace, without the frames.
func traceOf(err error) string {
	return "org.apache.kafka.connect.errors.ConnectException: Exiting WorkerSinkTask due to unrecoverable exception.\n" +
		"Caused by: org.apache.kafka.connect.errors.ConnectException: " + err.Error() + "\n"
}

func (t *task) setState(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == s {
		return
	}
	now := time.Now()
	t.m.spend(t.state, now.Sub(t.since))
	t.state, t.since = s, now
}

func (t *task) status() (state, trace string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state, t.trace
}

// start makes the clients. Failures here fail the task as an exception in SinkTask.start does.
func (t *task) start() error {
	opts := t.w.kafkaOpts()
	eh, err := newErrorHandler(t.ctx, t.c, t.id, opts, t.log, t.m)
	if err != nil {
		return err
	}
	t.eh = eh
	rng := rand.New(rand.NewPCG(t.w.opts.Seed, uint64(t.id)+1))
	t.es = newElastic(t.c.Sink, t.w.wire, t.w.opts.ElasticTLS, rng)
	// The version is asked for and not needed.
	_, _ = t.es.do(t.ctx, "GET", "/", nil)
	report := func(r sinkRecord, stage string, cause error) error { return eh.record(r.raw, stage, false, cause) }
	if !t.c.Errors.reporter() {
		report = nil
	}
	t.bulk = newBulker(t.ctx, t.c.Sink, t.es, t.log, report)
	cl, err := kgo.NewClient(append(opts, t.consumerOpts()...)...)
	if err != nil {
		return fmt.Errorf("consumer: %w", err)
	}
	t.cl = cl
	return nil
}

func (t *task) consumerOpts() []kgo.Opt {
	c := t.c.Consumer
	reset := kgo.NewOffset().AtStart()
	if c.FromLatest {
		reset = kgo.NewOffset().AtEnd()
	}
	level := kgo.ReadUncommitted()
	if c.ReadCommitted {
		level = kgo.ReadCommitted()
	}
	balancer := map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(), "sticky": kgo.StickyBalancer(),
		"cooperative-sticky": kgo.CooperativeStickyBalancer(),
	}[c.Assignor]
	opts := []kgo.Opt{
		kgo.WithContext(t.ctx), kgo.ClientID(t.clientID()), kgo.ConsumerGroup(c.Group), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(c.SessionTimeout), kgo.HeartbeatInterval(c.Heartbeat), kgo.RebalanceTimeout(c.MaxPollInterval), kgo.Balancers(balancer),
		kgo.FetchMinBytes(max(c.FetchMinBytes, 1)), kgo.FetchMaxWait(c.FetchMaxWait), kgo.FetchMaxBytes(c.FetchMaxBytes),
		kgo.FetchMaxPartitionBytes(min(c.MaxPartitionBytes, c.FetchMaxBytes)), kgo.MetadataMaxAge(c.MetadataMaxAge),
		kgo.MetadataMinAge(min(c.MetadataMaxAge, 100*time.Millisecond)), // the Java client's retry.backoff.ms
		kgo.ConsumeResetOffset(reset), kgo.FetchIsolationLevel(level),
		kgo.OnPartitionsAssigned(t.onAssigned), kgo.OnPartitionsRevoked(t.onRevoked), kgo.OnPartitionsLost(t.onLost),
	}
	if t.c.TopicsRegex != "" {
		return append(opts, kgo.ConsumeRegex(), kgo.ConsumeTopics("^(?:"+t.c.TopicsRegex+")$"))
	}
	return append(opts, kgo.ConsumeTopics(t.c.Topics...))
}

func (t *task) clientID() string { return fmt.Sprintf("connector-consumer-%s-%d", t.c.Name, t.id) }

func (t *task) onAssigned(_ context.Context, cl *kgo.Client, parts map[string][]int32) {
	t.offsets.assign(parts)
	t.mu.Lock()
	paused := t.paused
	t.mu.Unlock()
	if paused {
		cl.PauseFetchPartitions(parts)
	}
}

// onRevoked commits what is safe of the partitions that go; what is in flight is not waited for and will be read again
// by their next owner.
func (t *task) onRevoked(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	if len(parts) == 0 {
		return
	}
	t.m.rebalances.Add(1)
	t.commitSync(parts)
	t.offsets.drop(parts)
}

func (t *task) onLost(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	t.offsets.drop(parts)
}

// stopping reports whether an orderly stop was asked for.
func (t *task) stopping() bool {
	select {
	case <-t.stop:
		return true
	default:
		return false
	}
}

// wake ends the present poll, as consumer.wakeup() does.
func (t *task) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.interr != nil {
		t.interr()
	}
}

func (t *task) pause(on bool) {
	t.mu.Lock()
	t.paused = on
	t.mu.Unlock()
	t.wake()
}

// loop is WorkerSinkTask's: commit when due, poll until the next commit, put.
func (t *task) loop() error {
	next := time.Now().Add(t.w.cfg.Worker.OffsetFlushInterval)
	held := false // fetching paused because too many offsets wait
	isPaused := false
	for !t.stopping() {
		if t.ctx.Err() != nil {
			return context.Cause(t.ctx)
		}
		now := time.Now()
		if !now.Before(next) {
			t.commitAsync(now)
			next = next.Add(t.w.cfg.Worker.OffsetFlushInterval)
			if next.Before(now) {
				next = now
			}
		}
		t.expireCommit(now)
		if err := t.applyPause(&isPaused, now); err != nil {
			return err
		}
		wait := max(time.Until(next), time.Millisecond)
		if held {
			wait = min(wait, 100*time.Millisecond)
		}
		if err := t.poll(wait); err != nil {
			return err
		}
		held = t.holdBack(held, isPaused)
	}
	return nil
}

// applyPause follows the connector's target state.
func (t *task) applyPause(isPaused *bool, now time.Time) error {
	t.mu.Lock()
	want := t.paused
	t.mu.Unlock()
	if want == *isPaused {
		return nil
	}
	*isPaused = want
	if want {
		t.cl.PauseFetchPartitions(t.offsets.assigned())
		t.setState(statePaused)
		t.commitAsync(now)
		return nil
	}
	t.cl.ResumeFetchPartitions(t.offsets.assigned())
	t.setState(stateRunning)
	return nil
}

// holdBack stops fetching while ten times max.buffered.records offsets wait behind an unfinished one.
func (t *task) holdBack(held, paused bool) bool {
	n := t.offsets.entries()
	switch {
	case !held && n > 10*t.c.Sink.MaxBuffered:
		t.cl.PauseFetchPartitions(t.offsets.assigned())
		return true
	case held && n <= 5*t.c.Sink.MaxBuffered:
		if !paused {
			t.cl.ResumeFetchPartitions(t.offsets.assigned())
		}
		return false
	}
	return held
}

// poll takes the next records, at most for the given time, converts and puts them.
func (t *task) poll(wait time.Duration) error {
	ctx, cancel := context.WithTimeout(t.ctx, wait)
	defer cancel()
	t.mu.Lock()
	t.interr = cancel
	// A wake-up between the look at the state and here must not be lost.
	again := t.paused != (t.state == statePaused)
	t.mu.Unlock()
	if again || t.stopping() {
		cancel()
	}
	fetches := t.cl.PollRecords(ctx, t.c.Consumer.MaxPollRecords)
	defer t.cl.AllowRebalance()
	t.mu.Lock()
	t.interr = nil
	t.mu.Unlock()
	if fetches.IsClientClosed() || t.ctx.Err() != nil {
		return context.Cause(t.ctx)
	}
	var fatal error
	fetches.EachError(func(topic string, p int32, err error) {
		switch {
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.GroupAuthorizationFailed), errors.Is(err, kerr.SaslAuthenticationFailed):
			fatal = err
		default:
			t.log.Warn("fetch failed", slog.String("topic", topic), slog.Int("partition", int(p)), slog.Any("error", err))
		}
	})
	if fatal != nil {
		return fatal
	}
	var records []sinkRecord
	var bad error
	fetches.EachTopic(func(ft kgo.FetchTopic) {
		ft.EachPartition(func(p kgo.FetchPartition) {
			t.offsets.consumed(p, ft.Topic)
			t.m.took(ft.Topic, len(p.Records))
			for _, r := range p.Records {
				if bad != nil {
					return
				}
				rec, stage, err := t.c.convert(r)
				if err != nil {
					bad = t.eh.record(r, stage, true, err)
					continue
				}
				records = append(records, rec)
			}
		})
	})
	if bad != nil {
		return bad
	}
	return t.put(records)
}

// put is SinkTask.put: it is called after every poll, with records or without.
func (t *task) put(records []sinkRecord) error {
	if err := t.bulk.failure(); err != nil {
		return err
	}
	if len(records) == 0 {
		return nil
	}
	start := time.Now()
	t.m.batch(len(records))
	var action []byte
	for _, r := range records {
		p := t.offsets.add(r.raw)
		if t.c.Sink.skips(r) {
			p.done()
			if t.c.Errors.reporter() {
				if err := t.eh.record(r.raw, "TASK_PUT", false, errNullValue); err != nil {
					return err
				}
			}
			continue
		}
		if err := t.prepare(r); err != nil {
			return err
		}
		var write bool
		var err error
		action, write, err = t.c.Sink.action(action[:0], r)
		if err != nil {
			if t.c.Errors.reporter() {
				if rerr := t.eh.record(r.raw, "TASK_PUT", false, err); rerr != nil {
					return rerr
				}
			}
			if !t.c.Sink.DropInvalid {
				return err
			}
			p.done()
			continue
		}
		if !write {
			p.done()
			continue
		}
		if err := t.bulk.add(t.ctx, r, action, p); err != nil {
			return err
		}
		if t.stopping() && time.Since(start) > t.w.cfg.Worker.GracefulShutdown {
			return errAbandoned
		}
	}
	t.m.sent.Add(int64(len(records)))
	t.m.put.add(time.Since(start))
	return nil
}

// prepare makes the index of a record and looks at its mapping the first time that the topic is seen.
func (t *task) prepare(r sinkRecord) error {
	index := indexName(r.raw.Topic)
	if !t.indexes[index] {
		if err := t.es.ensureIndex(t.ctx, index); err != nil {
			return err
		}
		t.indexes[index] = true
	}
	if t.c.Sink.ignoresSchema(r.raw.Topic) || t.mapped[index] {
		return nil
	}
	has, err := t.es.hasMapping(t.ctx, index)
	if err != nil {
		return err
	}
	if !has && !r.schema {
		return badData("Cannot infer mapping without schema.")
	}
	t.mapped[index] = true
	return nil
}

// finish commits what is safe and closes the writer, after an error or an orderly stop. A writer that failed waits for
// its other requests first, because the connector closes its client before it throws.
func (t *task) finish(err *error) {
	if t.ctx.Err() != nil {
		return
	}
	limit := t.c.Sink.FlushTimeout
	if *err != nil && t.bulk.failure() != nil {
		_ = t.bulk.flush(t.ctx)
		if derr := t.bulk.drain(t.ctx, limit); derr != nil {
			t.log.Warn("closing the client", slog.Any("error", derr))
		}
	}
	if t.ctx.Err() != nil {
		return
	}
	t.commitSync(nil)
	if *err == nil {
		if derr := t.bulk.drain(t.ctx, min(limit, t.w.cfg.Worker.GracefulShutdown)); derr != nil {
			t.log.Warn("stopping the task", slog.Any("error", derr))
		}
	}
}

// release closes the clients and waits for their goroutines.
func (t *task) release() {
	if t.cl != nil {
		t.cl.CloseAllowingRebalance()
	}
	t.giveUp(errAbandoned)
	if t.bulk != nil {
		t.bulk.wg.Wait()
	}
	if t.es != nil {
		t.es.close()
	}
	if t.eh != nil {
		t.eh.close()
	}
	t.offsets.drop(t.offsets.assigned())
}
