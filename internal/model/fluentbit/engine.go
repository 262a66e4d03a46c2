package fluentbit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"triad/internal/model/forward"
)

// maxTasks bounds the chunks that belong to the output, those that wait for a retry with them: the map of tasks of the real program, which
// grows to so many.
const maxTasks = 16384

// retryAtStop is the wait before a retry of a process that is stopping.
const retryAtStop = time.Second

// engine holds the chunks between inputs and output.
type engine struct {
	cfg     Config
	opts    Options
	log     *slog.Logger
	filters []*filter
	outs    []*output
	slots   chan struct{} // sends under way: chunks that are up, which the real program sends all at once, each on its own connection

	mu     sync.Mutex
	rng    *rand.Rand
	inputs []*input // the last one is the backlog
	serial int
	lost   int64 // records that found no room and are in no metric

	stopping chan struct{} // closed when the process stops: retries come every retryAtStop then
	tasks    sync.WaitGroup
}

type input struct {
	name   string
	cfg    Storage
	chunks []*chunk // oldest first
	open   map[string]*chunk
	up     int64 // bytes of memory chunks

	records, bytes atomic.Int64
}

type filter struct {
	cfg  Modifier
	set  []byte // the pairs of Set, encoded
	grow int

	records, bytes atomic.Int64
}

type output struct {
	cfg    Forward
	match  func(tag string) bool
	client *forward.Client
	fsSize int64 // bytes of its chunks in files

	procRecords, procBytes, errors, retries, retriesFailed, dropped, retried atomic.Int64
}

func newEngine(cfg Config, opts Options, log *slog.Logger) *engine {
	e := &engine{
		cfg: cfg, opts: opts, log: log, slots: make(chan struct{}, max(cfg.MaxChunksUp, 1)), stopping: make(chan struct{}), rng: rand.New(rand.NewPCG(opts.Seed, 1)),
	}
	for _, o := range cfg.Outputs {
		e.outs = append(e.outs, &output{cfg: o, match: o.matcher(), client: forward.NewClient(forward.ClientOptions{
			Addr: fmt.Sprintf("%s:%d", o.Host, o.Port), Dial: opts.Dial,
			ConnectTimeout: o.ConnectTimeout, IOTimeout: o.IOTimeout, KeepaliveIdle: o.KeepaliveIdle, NoKeepalive: !o.Keepalive, MaxUses: o.MaxRecycle,
			RequireAck: o.RequireAck, Gzip: o.Gzip, SharedKey: o.SharedKey, SelfHostname: o.SelfHostname, Username: o.Username, Password: o.Password,
		})})
	}
	for _, m := range cfg.Filters {
		f := &filter{cfg: m}
		for _, kv := range m.Set {
			f.set = forward.AppendString(forward.AppendString(f.set, kv[0]), kv[1])
		}
		f.grow = len(f.set)
		e.filters = append(e.filters, f)
	}
	for _, t := range cfg.Inputs {
		e.inputs = append(e.inputs, &input{name: t.Name, cfg: t.Storage, open: map[string]*chunk{}})
	}
	for _, c := range cfg.Collectors {
		e.inputs = append(e.inputs, &input{name: c.Name, cfg: c.Storage, open: map[string]*chunk{}})
	}
	// Named as an instance without an alias is: by its number, which comes behind those of the inputs in the file.
	e.inputs = append(e.inputs, &input{name: fmt.Sprintf("storage_backlog.%d", len(e.inputs)), cfg: Storage{Filesystem: true}, open: map[string]*chunk{}})
	return e
}

// backlog is the input to which chunks of an earlier run belong.
func (e *engine) backlog() *input { return e.inputs[len(e.inputs)-1] }

func (e *engine) storageDir() string { return filepath.Join(e.opts.Root, e.cfg.StoragePath) }

// loadBacklog takes up the chunk files of an earlier run, oldest first. What cannot be read stays where it is, as in the
// real program.
func (e *engine) loadBacklog() error {
	if e.cfg.StoragePath == "" {
		return nil
	}
	if err := os.MkdirAll(e.storageDir(), 0o755); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	paths, err := filepath.Glob(filepath.Join(escapeGlob(e.storageDir()), "*", "*.flb"))
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	slices.SortFunc(paths, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	backlog := e.backlog()
	for _, p := range paths {
		c, err := openChunk(p)
		if err != nil {
			e.log.Error("chunk of an earlier run", "error", err)
			continue
		}
		c.in, c.out = backlog, e.route(c.tag)
		if c.size == 0 || c.out == nil {
			e.noteErr("chunk that is empty or has no route", c.remove())
			continue
		}
		backlog.chunks = append(backlog.chunks, c)
		backlog.records.Add(int64(c.records)) // they count as read once more
		backlog.bytes.Add(c.size)
		c.out.fsSize += c.total()
	}
	return nil
}

func (e *engine) noteErr(what string, err error) {
	if err != nil {
		e.log.Error("not done", "what", what, "error", err)
	}
}

// route is the output that takes a tag, nil for none.
func (e *engine) route(tag string) *output {
	for _, o := range e.outs {
		if o.match(tag) {
			return o
		}
	}
	return nil
}

// paused says whether an input may not read: memory storage at its limit, or too many chunks when it asked for that.
func (e *engine) paused(in *input) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if in.cfg.Filesystem {
		if !in.cfg.PauseOnChunks {
			return false
		}
		n := 0
		for _, x := range e.inputs {
			n += len(x.chunks)
		}
		return n >= e.cfg.MaxChunksUp
	}
	return in.cfg.MemLimit > 0 && in.up >= in.cfg.MemLimit
}

// ingest takes one batch of an input through the filters into a chunk.
func (e *engine) ingest(in *input, tag string, entries []byte, n int) {
	in.records.Add(int64(n))
	in.bytes.Add(int64(len(entries)))
	entries = e.apply(tag, entries, n)
	out := e.route(tag)
	if out == nil {
		return // the real program lets the chunk go too
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := in.open[tag]
	if c != nil && (c.busy || c.size > chunkMax) {
		c = nil
	}
	if !e.makeRoom(in, out, c, int64(len(entries))) {
		e.lost += int64(n)
		e.log.Error("no available chunk: fail to drop enough chunks to place new data", "input", in.name, "records", n)
		return
	}
	if c == nil {
		var err error
		if c, err = e.newChunk(in, out, tag); err != nil {
			e.lost += int64(n)
			e.log.Error("error writing data", "input", in.name, "records", n, "error", err)
			return
		}
	}
	before := c.total()
	if err := c.append(entries, n); err != nil {
		e.lost += int64(n)
		e.log.Error("error writing data", "input", in.name, "records", n, "error", err)
		return
	}
	if c.f != nil {
		out.fsSize += c.total() - before
	} else {
		in.up += c.total() - before
	}
}

func (e *engine) newChunk(in *input, out *output, tag string) (*chunk, error) {
	c := &chunk{tag: tag, gone: make(chan struct{})}
	if in.cfg.Filesystem {
		now := time.Now()
		e.serial++
		name := fmt.Sprintf("%d-%d.%09d.%06d.flb", os.Getpid(), now.Unix(), now.Nanosecond(), e.serial)
		var err error
		if c, err = newFileChunk(filepath.Join(e.storageDir(), in.name), name, tag); err != nil {
			return nil, err
		}
		out.fsSize += c.total()
	}
	c.in, c.out = in, out
	in.chunks = append(in.chunks, c)
	in.open[tag] = c
	return c, nil
}

// makeRoom evicts the oldest chunks when more bytes would be over the limit of the output: those of an earlier run first, then those of the
// input itself, then those of the others, until as much is free as the chunk that is about to grow has already. A chunk that is being sent is
// left alone, and so is the one that grows, and what goes to another output. It returns false when that is not enough.
func (e *engine) makeRoom(in *input, out *output, growing *chunk, more int64) bool {
	limit := out.cfg.TotalLimit
	if limit == 0 || !in.cfg.Filesystem || out.fsSize+more <= limit {
		return true
	}
	need := more
	if growing != nil {
		need = growing.total()
	}
	order := []*input{e.backlog(), in}
	for _, x := range e.inputs[:len(e.inputs)-1] {
		if x != in {
			order = append(order, x)
		}
	}
	freed := int64(0)
	for _, from := range order {
		for _, c := range slices.Clone(from.chunks) {
			if freed >= need {
				return true
			}
			if c.out != out || c == growing || c.sending || c.f == nil {
				continue
			}
			freed += c.total()
			out.dropped.Add(int64(c.records))
			e.log.Debug("chunk evicted from output queue to make room under storage.total_limit_size", "input", from.name, "records", c.records, "bytes", c.total())
			e.removeLocked(c)
		}
	}
	return freed >= need
}

// removeLocked takes a chunk out for good.
func (e *engine) removeLocked(c *chunk) {
	c.in.chunks = slices.DeleteFunc(c.in.chunks, func(x *chunk) bool { return x == c })
	if c.in.open[c.tag] == c {
		delete(c.in.open, c.tag)
	}
	if c.f != nil {
		c.out.fsSize -= c.total()
	} else {
		c.in.up -= c.total()
	}
	close(c.gone)
	e.noteErr("remove chunk", c.remove())
}

// flush hands the chunks that are not busy to the output, as long as there is room in memory for them. Those that wait for a retry are
// down, and take none.
func (e *engine) flush(ctx context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	under, tasks, backlogBytes := 0, 0, int64(0)
	for _, in := range e.inputs {
		for _, c := range in.chunks {
			if !c.busy {
				continue
			}
			tasks++
			if !c.waiting {
				under++
				if in == e.backlog() {
					backlogBytes += c.size
				}
			}
		}
	}
	for _, in := range e.inputs {
		for _, c := range in.chunks {
			if c.busy || c.size == 0 {
				continue
			}
			if under >= e.cfg.MaxChunksUp || tasks >= maxTasks {
				return
			}
			if in == e.backlog() {
				if backlogBytes > 0 && backlogBytes+c.size > e.cfg.BacklogLimit {
					continue
				}
				backlogBytes += c.size
			}
			c.busy = true
			under++
			tasks++
			e.tasks.Go(func() { e.deliver(ctx, c) })
		}
	}
}

// deliver sends one chunk until it is acknowledged, evicted or given up.
func (e *engine) deliver(ctx context.Context, c *chunk) {
	for attempt := 1; ; attempt++ {
		select {
		case e.slots <- struct{}{}:
		case <-c.gone:
			return
		case <-ctx.Done():
			return
		}
		err := e.sendOnce(ctx, c)
		<-e.slots
		if errors.Is(err, errGone) {
			return
		}
		if err == nil {
			e.finish(c)
			c.out.procRecords.Add(int64(c.records))
			c.out.procBytes.Add(c.size)
			return
		}
		if ctx.Err() != nil {
			return
		}
		limit := c.out.cfg.RetryLimit
		if limit != Unlimited && attempt > limit {
			if limit > 0 {
				c.out.retriesFailed.Add(1)
			}
			c.out.dropped.Add(int64(c.records))
			e.log.Error("chunk cannot be retried", "tag", c.tag, "records", c.records, "error", err)
			e.finish(c)
			return
		}
		c.out.retries.Add(1)
		c.out.retried.Add(int64(c.records))
		wait := e.backoff(attempt)
		e.log.Warn("failed to flush chunk", "tag", c.tag, "records", c.records, "retry_in", wait, "error", err)
		e.wait(ctx, c, wait)
	}
}

// wait is the time before a retry of a chunk.
func (e *engine) wait(ctx context.Context, c *chunk, d time.Duration) {
	down := func(is bool) {
		e.mu.Lock()
		c.waiting = is
		e.mu.Unlock()
	}
	down(true)
	defer down(false)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return
	case <-c.gone:
		return
	case <-ctx.Done():
		return
	case <-e.stopping:
	}
	t.Reset(min(d, retryAtStop))
	select {
	case <-t.C:
	case <-c.gone:
	case <-ctx.Done():
	}
}

var errGone = errors.New("chunk was evicted")

func (e *engine) sendOnce(ctx context.Context, c *chunk) error {
	e.mu.Lock()
	select {
	case <-c.gone:
		e.mu.Unlock()
		return errGone
	default:
	}
	c.sending = true
	data, err := c.read()
	e.mu.Unlock()
	if err == nil {
		err = c.out.client.Send(ctx, c.tag, data, c.records)
	}
	e.mu.Lock()
	c.sending = false
	e.mu.Unlock()
	return err
}

// finish removes a chunk that is delivered or given up.
func (e *engine) finish(c *chunk) {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-c.gone: // evicted in the moment between
	default:
		e.removeLocked(c)
	}
}

// backoff is the wait before a retry: uniform between base and min(cap, base*2^attempt) whole seconds, plus one.
func (e *engine) backoff(attempt int) time.Duration {
	base, limit := e.cfg.SchedulerBase, e.cfg.SchedulerCap
	top := limit
	if attempt < 31 && base <= limit>>attempt {
		top = base << attempt
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Duration(base+e.rng.IntN(top-base+1)+1) * time.Second
}

func (e *engine) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, in := range e.inputs {
		for _, c := range in.chunks {
			c.close()
		}
	}
}
