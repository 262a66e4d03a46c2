package connect

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// batch is one bulk request being filled or sent.
type batch struct {
	body    []byte
	records []sinkRecord
	states  []*pending
}

// bulker buffers records, sends them in batches with bounded concurrency and retries, and keeps the first failure.
type bulker struct {
	cfg    Sink
	es     *elastic
	log    *slog.Logger
	report func(r sinkRecord, stage string, err error) error // nil without an errant record reporter

	ctx   context.Context // of the requests; ends when the task is given up
	slots chan struct{}   // one for each request in flight
	kick  chan struct{}   // a batch has begun, its linger runs
	wg    sync.WaitGroup

	mu       sync.Mutex
	cur      *batch
	buffered int           // records added and not yet answered
	changed  chan struct{} // closed and replaced when buffered shrinks or err is set
	err      error
}

// exception is an error in the words of the connector, which users know from its traces.
type exception struct {
	msg   string
	cause error
}

func (e *exception) Error() string {
	if e.cause != nil {
		return e.msg + e.cause.Error()
	}
	return e.msg
}

func (e *exception) Unwrap() error { return e.cause }

// errBufferFull is why put fails when no room was made in the buffer in time.
var errBufferFull = &exception{msg: "Could not make space in the internal buffer fast enough. Consider increasing flush.timeout.ms or max.buffered.records."}

// newBulker starts a bulker; stop ends it. ctx is that of its requests.
func newBulker(ctx context.Context, cfg Sink, es *elastic, log *slog.Logger, report func(sinkRecord, string, error) error) *bulker {
	b := &bulker{
		cfg: cfg, es: es, log: log, report: report, ctx: ctx,
		slots: make(chan struct{}, cfg.InFlight), kick: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	b.wg.Go(b.lingerLoop)
	return b
}

// failure returns the first error, nil when there is none.
func (b *bulker) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *bulker) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.wake()
}

// wake tells waiters to look again; mu is held.
func (b *bulker) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// add buffers one record, waiting up to flush.timeout.ms for room. action are its bulk lines.
func (b *bulker) add(ctx context.Context, r sinkRecord, action []byte, p *pending) error {
	if err := b.room(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	if b.cur == nil {
		b.cur = &batch{}
		select {
		case b.kick <- struct{}{}:
		default:
		}
	}
	cur := b.cur
	cur.body = append(cur.body, action...)
	cur.records = append(cur.records, r)
	cur.states = append(cur.states, p)
	b.buffered++
	full := len(cur.records) >= b.cfg.BatchSize || b.cfg.BulkSize > 0 && len(cur.body) >= b.cfg.BulkSize
	if full {
		b.cur = nil
	}
	b.mu.Unlock()
	if full {
		return b.send(ctx, cur)
	}
	return nil
}

// room waits until the buffer may take one more record.
func (b *bulker) room(ctx context.Context) error {
	var deadline <-chan time.Time
	for {
		b.mu.Lock()
		err, full, changed := b.err, b.buffered >= b.cfg.MaxBuffered, b.changed
		b.mu.Unlock()
		if err != nil {
			return err
		}
		if !full {
			return nil
		}
		if deadline == nil {
			t := time.NewTimer(b.cfg.FlushTimeout)
			defer t.Stop()
			deadline = t.C
		}
		select {
		case <-changed:
		case <-deadline:
			return errBufferFull
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lingerLoop sends a batch that has waited for linger.ms.
func (b *bulker) lingerLoop() {
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-b.kick:
		}
		if b.cfg.Linger > 0 {
			t := time.NewTimer(b.cfg.Linger)
			select {
			case <-b.ctx.Done():
				t.Stop()
				return
			case <-t.C:
			}
		}
		_ = b.flush(b.ctx) // the context's end is seen above
	}
}

// flush sends what is buffered without waiting for the answer; it waits for a free request.
func (b *bulker) flush(ctx context.Context) error {
	b.mu.Lock()
	cur := b.cur
	b.cur = nil
	b.mu.Unlock()
	if cur == nil {
		return nil
	}
	return b.send(ctx, cur)
}

// send waits for a free request and starts it.
func (b *bulker) send(ctx context.Context, bt *batch) error {
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		b.finished(bt)
		return context.Cause(ctx)
	case <-b.ctx.Done():
		b.finished(bt)
		return context.Cause(b.ctx)
	}
	b.wg.Go(func() {
		defer func() { <-b.slots }()
		b.exec(bt)
	})
	return nil
}

func (b *bulker) finished(bt *batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buffered -= len(bt.records)
	b.wake()
}

// exec does one bulk request to its end.
func (b *bulker) exec(bt *batch) {
	defer b.finished(bt)
	errs, err := b.es.bulk(b.ctx, bt.body, len(bt.records))
	if err != nil {
		if b.ctx.Err() == nil {
			b.log.Warn("bulk request failed", slog.Any("error", err))
		}
		b.fail(&exception{"Bulk request failed: ", err})
		return
	}
	for i := range bt.records {
		var e *itemError
		if errs != nil {
			e = errs[i]
		}
		if b.itemDone(bt.records[i], e) {
			bt.states[i].done()
		}
	}
}

// itemDone handles the answer to one item and reports whether its offset may be committed.
func (b *bulker) itemDone(r sinkRecord, e *itemError) bool {
	if e == nil {
		return true
	}
	text := e.String()
	for _, typ := range b.cfg.malformedErrorTypes {
		if strings.Contains(text, typ) {
			if !b.reported(r, text) {
				return false
			}
			if b.cfg.OnMalformed == Fail {
				b.fail(&exception{msg: "Indexing record failed. Please check DLQ topic for errors."})
				return false
			}
			if b.cfg.OnMalformed == Warn {
				b.log.Warn("illegal document not indexed", slog.String("topic", r.raw.Topic), slog.Int("partition", int(r.raw.Partition)),
					slog.Int64("offset", r.raw.Offset), slog.String("error_type", e.Type))
			}
			return true
		}
	}
	if strings.Contains(text, "version_conflict_engine_exception") {
		// With external versions an older offset came after a newer one, which stays; without, nobody knows why.
		return b.cfg.external(r) || b.reported(r, text)
	}
	b.reported(r, text)
	b.fail(&exception{msg: "Indexing record failed. Please check DLQ topic for errors. " + text})
	return false
}

// external reports whether the record was written with an external version.
func (s Sink) external(r sinkRecord) bool {
	return !s.ignoresKey(r.raw.Topic) && (r.value == nil || !s.Upsert)
}

// reported gives a record to the errant record reporter, if there is one; false means that its errors are not tolerated.
func (b *bulker) reported(r sinkRecord, text string) bool {
	if b.report == nil {
		return true
	}
	if err := b.report(r, "TASK_PUT", &exception{msg: "Indexing failed: " + text}); err != nil {
		b.fail(err)
		return false
	}
	return true
}

// drain waits until every request has ended, or the time is over.
func (b *bulker) drain(ctx context.Context, limit time.Duration) error {
	t := time.NewTimer(limit)
	defer t.Stop()
	for {
		b.mu.Lock()
		left, changed := b.buffered, b.changed
		b.mu.Unlock()
		if left <= 0 {
			return nil
		}
		select {
		case <-changed:
		case <-t.C:
			return &exception{msg: "Failed to process outstanding requests in time while closing the ElasticsearchClient."}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
