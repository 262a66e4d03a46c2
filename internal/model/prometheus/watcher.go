package prometheus

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"time"
)

// Timing holds the constants of the real program that no configuration names. The zero value of a field means the real value.
// Only tests and runs that compress time set it.
type Timing struct {
	ScrapeStart   time.Duration // from start to the first look at the targets: 5 s (scrape manager reload interval)
	WatcherRetry  time.Duration // wait after the log could not be read on: 5 s (wlog watcher loop)
	SegmentCheck  time.Duration // how often the watcher looks for a newer segment: 100 ms
	ReadTimeout   time.Duration // longest time without reading: 15 s
	Checkpoint    time.Duration // how often the watcher looks for a new checkpoint: 5 s
	ShardUpdate   time.Duration // how often the number of shards is reconsidered: 10 s
	ReshardMinAge time.Duration // no resharding when the last send is older than this: 10 s
}

func (t Timing) withDefaults() Timing {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&t.ScrapeStart, 5*time.Second)
	def(&t.WatcherRetry, 5*time.Second)
	def(&t.SegmentCheck, 100*time.Millisecond)
	def(&t.ReadTimeout, 15*time.Second)
	def(&t.Checkpoint, 5*time.Second)
	def(&t.ShardUpdate, 10*time.Second)
	def(&t.ReshardMinAge, t.ShardUpdate)
	return t
}

// logSink is what a watcher feeds.
type logSink interface {
	storeSeries(series []refSeries, segment int)
	// seriesReset forgets series that were last seen in a segment before the given one.
	seriesReset(segment int)
	// appendSamples blocks until all are queued; false means the queue has stopped.
	appendSamples(ctx context.Context, samples []refSample) bool
}

// watcher reads the log behind its writer and feeds one queue. It does what the real one does, with what follows from it:
//   - of segments older than the newest at its start it reads the series only, and of the newest only samples younger than its
//     start. So whatever was not sent when the process died is not sent afterwards, though the log has it
//     (testdata/real/README.md, "killed while the receiver is away").
//   - when the queue is full it stands still, with its segment open. When a truncation has meanwhile removed the segment that follows,
//     reading on fails, it waits, and starts anew with samples of that moment: everything between is lost, uncounted.
type watcher struct {
	dir     string
	sink    logSink
	timing  Timing
	logger  *slog.Logger
	metrics *watcherMetrics
	notify  chan struct{}

	startMS        int64
	started        chan struct{} // closed when startMS is set for the first time
	lastCheckpoint string
}

func newWatcher(dir string, sink logSink, timing Timing, m *watcherMetrics, l *slog.Logger) *watcher {
	return &watcher{
		dir: dir, sink: sink, timing: timing, logger: l, metrics: m, notify: make(chan struct{}, 1),
		started: make(chan struct{}),
	}
}

// wake tells the watcher that something was written; it never blocks.
func (w *watcher) wake() {
	select {
	case w.notify <- struct{}{}:
	default:
		w.metrics.skipped.Inc()
	}
}

func (w *watcher) run(ctx context.Context) {
	w.startMS = time.Now().UnixMilli()
	close(w.started)
	for ; ctx.Err() == nil; w.startMS = time.Now().UnixMilli() {
		if err := w.tail(ctx); err != nil && ctx.Err() == nil {
			w.logger.Error("error tailing log", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(w.timing.WatcherRetry):
		}
	}
}

func (w *watcher) tail(ctx context.Context) error {
	idx, err := listSegments(w.dir)
	if err != nil || len(idx) == 0 {
		return errors.Join(err, errNoSegments(len(idx)))
	}
	last := idx[len(idx)-1]
	cpDir, cpIndex, err := lastCheckpoint(w.dir)
	if err != nil {
		return err
	}
	if cpDir != "" {
		if err := w.readCheckpoint(cpDir, cpIndex); err != nil {
			return err
		}
	}
	w.lastCheckpoint = cpDir
	cur := idx[0]
	for _, i := range idx {
		if i >= cpIndex {
			cur = i
			break
		}
	}
	for ; ctx.Err() == nil; cur++ {
		w.metrics.segment.Set(float64(cur))
		if err := w.watch(ctx, cur, cur >= last); err != nil {
			return err
		}
	}
	return nil
}

func errNoSegments(n int) error {
	if n == 0 {
		return errors.New("log has no segments")
	}
	return nil
}

func (w *watcher) readCheckpoint(dir string, index int) error {
	_, err := replaySegment(filepath.Join(dir, segmentName(0)), func(rec []byte) error {
		series, _, err := decodeRecord(rec)
		if err == nil {
			w.sink.storeSeries(series, index)
		}
		return err
	})
	return err
}

// watch reads one segment to its end, or, when it is the newest, until a newer one exists.
func (w *watcher) watch(ctx context.Context, index int, tail bool) error {
	r, err := openSegment(filepath.Join(w.dir, segmentName(index)))
	if err != nil {
		return err
	}
	defer r.close()
	if !tail {
		// As in the real program, a damaged old segment costs what follows the damage and nothing else.
		if err := w.read(ctx, r, index, false); err != nil {
			w.logger.Warn("ignoring error in old segment", "segment", index, "err", err)
		}
		return nil
	}
	segments := time.NewTicker(w.timing.SegmentCheck)
	defer segments.Stop()
	checkpoints := time.NewTicker(w.timing.Checkpoint)
	defer checkpoints.Stop()
	timeout := time.NewTicker(w.timing.ReadTimeout)
	defer timeout.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-checkpoints.C:
			if err := w.collect(index); err != nil {
				w.logger.Warn("checkpoint not read", "err", err)
			}
		case <-segments.C:
			idx, err := listSegments(w.dir)
			if err != nil {
				return err
			}
			if len(idx) > 0 && idx[len(idx)-1] > index {
				return w.read(ctx, r, index, true)
			}
		case <-timeout.C:
			if err := w.read(ctx, r, index, true); err != nil {
				return err
			}
		case <-w.notify:
			if err := w.read(ctx, r, index, true); err != nil {
				return err
			}
			timeout.Reset(w.timing.ReadTimeout)
		}
	}
}

// collect forgets series that a new checkpoint no longer has.
func (w *watcher) collect(current int) error {
	dir, index, err := lastCheckpoint(w.dir)
	if err != nil || dir == "" || dir == w.lastCheckpoint {
		return err
	}
	w.lastCheckpoint = dir
	if index >= current {
		return nil
	}
	if err := w.readCheckpoint(dir, index); err != nil {
		return err
	}
	w.sink.seriesReset(index)
	return nil
}

func (w *watcher) read(ctx context.Context, r *segmentReader, index int, tail bool) error {
	for ctx.Err() == nil {
		rec, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		series, samples, err := decodeRecord(rec)
		if err != nil {
			w.metrics.failures.Inc()
			return err
		}
		if series != nil {
			w.metrics.series.Inc()
			w.sink.storeSeries(series, index)
			continue
		}
		w.metrics.samples.Inc()
		if !tail {
			continue
		}
		young := samples[:0]
		for _, s := range samples {
			if s.t > w.startMS {
				young = append(young, s)
			}
		}
		if len(young) > 0 && !w.sink.appendSamples(ctx, young) {
			return nil
		}
	}
	return nil
}

// staleNaN is the marker that ends a series (model/value in the real program); it differs from every computed NaN in its bits.
const staleBits = 0x7ff0000000000002

func staleNaN() float64         { return math.Float64frombits(staleBits) }
func isStale(v float64) bool    { return math.Float64bits(v) == staleBits }
func msTime(ms int64) time.Time { return time.UnixMilli(ms) }
