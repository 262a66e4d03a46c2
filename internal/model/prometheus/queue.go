package prometheus

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// queue is one remote_write entry at work: it resolves series, spreads samples over shards by series number, so that each series
// stays in order, and sends. Its rules are those of storage/remote/queue_manager.go.
type queue struct {
	cfg      RemoteWrite
	external map[string]string
	timing   Timing
	logger   *slog.Logger
	m        *queueMetrics
	client   *writeClient
	log      *watcher
	flush    time.Duration

	seriesMu sync.Mutex
	series   map[uint64]queuedSeries

	shardsMu sync.RWMutex // held for writing while the number of shards changes
	shards   []*shard
	running  bool          // shards exist and accept
	soft     chan struct{} // closed to stop enqueueing
	hard     context.CancelFunc
	done     chan struct{}   // closed when all shards of this generation have ended
	quit     chan struct{}   // closed when the queue stops
	life     context.Context //nolint:containedctx // ends when the process is killed; parent of every generation of shards

	highestIn   *atomic.Int64 // milliseconds; newest sample appended to the log
	highestSent atomic.Int64  // milliseconds
	lastSend    atomic.Int64  // milliseconds
	out         ewma
	dropped     ewma
	outDuration ewma // nanoseconds
	in          *ewma
}

// queuedSeries is what a series number means to this queue; dropped means that relabelling refused it.
type queuedSeries struct {
	labels  Labels
	segment int
	dropped bool
}

// shard is one sender and the samples that wait for it: full batches in a channel and one that is being filled.
type shard struct {
	mu      sync.Mutex
	batch   []queuedSample
	size    int
	batches chan []queuedSample
	closed  bool
}

type queuedSample struct {
	labels Labels
	point
}

func newQueue(cfg RemoteWrite, external map[string]string, a *Agent, client *writeClient, in *ewma) *queue {
	q := &queue{
		cfg: cfg, external: external, timing: a.timing, logger: a.logger.With("remote_name", cfg.Name), client: client,
		flush: a.cfg.FlushDeadline, series: map[uint64]queuedSeries{}, quit: make(chan struct{}), highestIn: &a.highest, in: in,
	}
	q.m = newQueueMetrics(a.registry, cfg)
	q.log = newWatcher(a.logDir, q, a.timing, a.watchers.of(cfg.Name), q.logger)
	return q
}

// run starts the shards and the watcher and returns when ctx ends: at once when hard, else after the flush deadline at the latest.
func (q *queue) run(ctx context.Context, killed func() bool) {
	life, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	q.life = life
	q.startShards(q.cfg.Queue.MinShards)
	inner, cancel := context.WithCancel(life)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { q.log.run(inner) })
	wg.Go(func() { q.reshardLoop(inner) })
	<-ctx.Done()
	close(q.quit)
	if killed() {
		kill()
	}
	cancel()
	wg.Wait()
	q.stopShards()
}

func (q *queue) storeSeries(series []refSeries, segment int) {
	q.seriesMu.Lock()
	defer q.seriesMu.Unlock()
	for _, s := range series {
		m := s.labels.Map()
		for n, v := range q.external {
			if m[n] == "" {
				set(m, n, v)
			}
		}
		keep := relabel(m, q.cfg.relabel)
		q.series[s.ref] = queuedSeries{labels: LabelsFrom(m), segment: segment, dropped: !keep}
	}
}

func (q *queue) seriesReset(segment int) {
	q.seriesMu.Lock()
	defer q.seriesMu.Unlock()
	for ref, s := range q.series {
		if s.segment < segment {
			delete(q.series, ref)
		}
	}
}

func (q *queue) appendSamples(ctx context.Context, samples []refSample) bool {
	for _, s := range samples {
		if q.tooOld(s.t) {
			q.m.dropped.WithLabelValues("too_old").Inc()
			continue
		}
		q.seriesMu.Lock()
		known, ok := q.series[s.ref]
		q.seriesMu.Unlock()
		if !ok || known.dropped {
			q.dropped.add(1)
			reason := "dropped_series"
			if !ok {
				reason = "unintentionally_dropped_series"
			}
			q.m.dropped.WithLabelValues(reason).Inc()
			continue
		}
		wait := 5 * time.Millisecond
		for !q.enqueue(s.ref, queuedSample{known.labels, point{s.t, s.value}}) {
			q.m.enqueueRetries.Inc()
			select {
			case <-q.quit:
				return false
			case <-ctx.Done():
				return false
			case <-time.After(wait):
			}
			wait = min(2*wait, q.cfg.Queue.MaxBackoff)
		}
	}
	return true
}

func (q *queue) tooOld(t int64) bool {
	limit := q.cfg.Queue.SampleAgeLimit
	return limit > 0 && time.Since(msTime(t)) > limit
}

func (q *queue) enqueue(ref uint64, s queuedSample) bool {
	q.shardsMu.RLock()
	defer q.shardsMu.RUnlock()
	select {
	case <-q.soft:
		return false
	case <-q.quit:
		return false
	default:
	}
	if !q.shards[ref%uint64(len(q.shards))].push(s) {
		return false
	}
	q.m.pending.Inc()
	q.m.highest.raise(s.t)
	return true
}

// push adds a sample; false means the shard is full: its channel of batches and the one being filled.
func (s *shard) push(x queuedSample) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if len(s.batch)+1 < s.size {
		s.batch = append(s.batch, x)
		return true
	}
	full := append(s.batch, x)
	select {
	case s.batches <- full:
		s.batch = make([]queuedSample, 0, s.size)
		return true
	default:
		return false
	}
}

// partial takes the batch that the deadline found unfinished. A full one that waits goes first.
func (s *shard) partial() []queuedSample {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case b := <-s.batches:
		return b
	default:
		b := s.batch
		s.batch = make([]queuedSample, 0, s.size)
		return b
	}
}

// drain takes everything that is left.
func (s *shard) drain() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, s.batch = len(s.batch), nil
	for {
		select {
		case b, ok := <-s.batches:
			if !ok {
				return n
			}
			n += len(b)
		default:
			return n
		}
	}
}

func (q *queue) startShards(n int) {
	q.shardsMu.Lock()
	defer q.shardsMu.Unlock()
	c := q.cfg.Queue
	q.shards = make([]*shard, n)
	for i := range q.shards {
		q.shards[i] = &shard{size: c.MaxSamplesPerSend, batches: make(chan []queuedSample, max(1, c.Capacity/c.MaxSamplesPerSend))}
	}
	q.m.pending.Set(0)
	q.m.shards.Set(float64(n))
	q.soft, q.done = make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(q.life)
	q.hard, q.running = cancel, true
	var wg sync.WaitGroup
	for _, s := range q.shards {
		wg.Go(func() { q.runShard(ctx, s) })
	}
	done := q.done
	go func() {
		wg.Wait()
		cancel()
		close(done)
	}()
}

// stopShards flushes for at most the flush deadline and gives up the rest, counted as failed. Calling it again does nothing.
func (q *queue) stopShards() {
	q.shardsMu.RLock()
	running := q.running
	if running {
		// Enqueueing must end before the write lock can be had.
		close(q.soft)
	}
	q.shardsMu.RUnlock()
	if !running {
		return
	}
	q.shardsMu.Lock()
	defer q.shardsMu.Unlock()
	q.running = false
	var finishing sync.WaitGroup
	for _, s := range q.shards {
		finishing.Go(func() { s.finish(q.done) })
	}
	select {
	case <-q.done:
	case <-q.life.Done():
	case <-time.After(q.flush):
		q.hard()
	}
	<-q.done
	finishing.Wait()
}

// finish hands the last batch over and closes the channel, or gives up when the sender has ended.
func (s *shard) finish(done <-chan struct{}) {
	for {
		s.mu.Lock()
		if len(s.batch) == 0 {
			s.closed = true
			close(s.batches)
			s.mu.Unlock()
			return
		}
		select {
		case s.batches <- s.batch:
			s.batch = nil
		default:
		}
		s.mu.Unlock()
		select {
		case <-done:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (q *queue) runShard(ctx context.Context, s *shard) {
	deadline := time.NewTimer(q.cfg.Queue.BatchSendDeadline)
	defer deadline.Stop()
	for {
		select {
		case <-ctx.Done():
			if n := s.drain(); n > 0 {
				q.m.pending.Sub(float64(n))
				q.m.failed.Add(float64(n))
			}
			return
		case b, ok := <-s.batches:
			if !ok {
				return
			}
			q.send(ctx, b)
		case <-deadline.C:
			if b := s.partial(); len(b) > 0 {
				q.send(ctx, b)
			}
		}
		deadline.Reset(q.cfg.Queue.BatchSendDeadline)
	}
}

// send delivers one batch or gives it up. Recoverable errors are retried for ever; any other costs the whole batch, as the
// receiver of remote write 1.0 stores all or nothing of a request.
func (q *queue) send(ctx context.Context, batch []queuedSample) {
	begin := time.Now()
	n := float64(len(batch))
	err := q.client.deliver(ctx, batch, q)
	q.out.add(n)
	q.outDuration.add(float64(time.Since(begin)))
	q.lastSend.Store(time.Now().UnixMilli())
	q.m.pending.Sub(n)
	if err != nil {
		q.m.failed.Add(n)
		q.logger.Error("non-recoverable error", "failed_sample_count", len(batch), "err", err)
	}
	if ctx.Err() != nil {
		return
	}
	var top int64
	for _, s := range batch {
		top = max(top, s.t)
	}
	q.m.highestSent.raise(top)
	for {
		old := q.highestSent.Load()
		if top <= old || q.highestSent.CompareAndSwap(old, top) {
			return
		}
	}
}

func (q *queue) reshardLoop(ctx context.Context) {
	t := time.NewTicker(q.timing.ShardUpdate)
	defer t.Stop()
	n := q.cfg.Queue.MinShards
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		want := q.desiredShards(n)
		if want == n || time.Now().UnixMilli()-q.lastSend.Load() > q.timing.ReshardMinAge.Milliseconds() {
			continue
		}
		q.logger.Info("remote storage resharding", "from", n, "to", want)
		q.stopShards()
		if ctx.Err() != nil {
			return
		}
		q.startShards(want)
		n = want
	}
}

// desiredShards is the documented calculation of remote write tuning: what arrives, plus 5 % of the backlog each second, times
// what one sample takes; changes of less than 30 % are ignored, and nothing shrinks while 10 s behind.
func (q *queue) desiredShards(n int) int {
	s := q.timing.ShardUpdate.Seconds()
	out, drop, dur := q.out.tick(s), q.dropped.tick(s), q.outDuration.tick(s)/float64(time.Second)
	if out <= 0 {
		return n
	}
	kept := out / (drop + out)
	in := q.in.rate() * kept
	delay := float64(q.highestIn.Load()-q.highestSent.Load()) / 1000
	want := dur / out * (in + 0.05*delay*in)
	q.m.desired.Set(want)
	up := math.Ceil(want)
	if float64(n)*0.7 <= up && up <= float64(n)*1.3 {
		return n
	}
	m := int(up)
	if m < n && delay > 10 {
		return n
	}
	return min(max(m, q.cfg.Queue.MinShards), q.cfg.Queue.MaxShards)
}

// ewma is an exponentially weighted rate per second with weight 0.2 for the newest interval.
type ewma struct {
	mu    sync.Mutex
	sum   float64
	value float64
	set   bool
}

func (e *ewma) add(v float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sum += v
}

func (e *ewma) tick(seconds float64) float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.sum / seconds
	e.sum = 0
	if e.set {
		e.value += 0.2 * (r - e.value)
	} else if r > 0 {
		e.value, e.set = r, true
	}
	return e.value
}

func (e *ewma) rate() float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.value
}
