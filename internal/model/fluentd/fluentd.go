package fluentd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/model"
	"triad/internal/model/forward"
	"triad/internal/model/promtext"
)

// Options place a model in its surroundings. The zero value is a process on this host.
type Options struct {
	Root   string // prefix of every path in the configuration
	Dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	Listen func(network, addr string) (net.Listener, error)
	// Brokers replaces the brokers of every output, and their TLS and SASL too: KafkaOpts then says how to speak to them.
	Brokers   []string
	KafkaOpts []kgo.Opt // added last to every client
	Hostname  string    // of inject.hostname_key; empty means os.Hostname
	// Produce, if set, sees every record before it is sent and gives what is sent instead: none, one or several. It is
	// sabotage with known truth: the model takes what comes back for what it was asked to send.
	Produce func(*kgo.Record) []*kgo.Record
	Seed    uint64 // of the jitter in retries and of chunk ids
	Logger  *slog.Logger
}

// Fluentd is one process. Make it with New, run it once with Run.
type Fluentd struct {
	cfg  Config
	opts Options
	log  *slog.Logger

	outMu   sync.Mutex // guards the slice, which Run sets
	outputs []*output

	// emitMu is the one event loop of in_forward: a blocked output blocks every connection.
	emitMu sync.Mutex
	routes map[string]route
	noTag  map[string]bool

	snapMu sync.Mutex
	status []byte // last copy of prometheus_monitor
	output []byte // last copy of prometheus_output_monitor
}

type route struct {
	filters []*Filter
	out     *output
}

// New prepares a process. Buffers are opened by Run, so two may be made for one Root, but only one may run at a time.
func New(cfg Config, opts Options) (*Fluentd, error) {
	if len(cfg.Forward) == 0 || len(cfg.Outputs) == 0 {
		return nil, fmt.Errorf("fluentd: %s has no source or no output", cfg.File)
	}
	if opts.Listen == nil {
		opts.Listen = net.Listen
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Hostname == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("fluentd: %w", err)
		}
		opts.Hostname = name
	}
	return &Fluentd{cfg: cfg, opts: opts, log: opts.Logger, routes: map[string]route{}, noTag: map[string]bool{}}, nil
}

// Run serves until ctx ends. With the cancel cause model.ErrKilled nothing is flushed or said; otherwise the write that
// is under way ends first, which takes up to the time-out of messages when Kafka is away, and buffers with flush_at_shutdown are flushed. The
// error is nil when ctx ended it.
func (f *Fluentd) Run(ctx context.Context) (err error) {
	closers, err := f.open()
	defer func() {
		for _, c := range closers {
			c()
		}
	}()
	if err != nil {
		return err
	}
	listeners, err := f.listen()
	if err != nil {
		return err
	}

	inCtx, stopInputs := context.WithCancelCause(ctx)
	defer stopInputs(nil)
	outCtx, stopOutputs := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopOutputs(nil)
	stopFlush := make(chan struct{})

	var inputs, flushers sync.WaitGroup
	var once sync.Once
	fail := func(e error) {
		if e != nil {
			once.Do(func() { err = e })
			stopInputs(e)
		}
	}
	for i, src := range f.cfg.Forward {
		srv := forward.NewServer(forward.ServerOptions{SharedKey: src.SharedKey, SelfHostname: src.SelfHostname, Logger: f.log}, f.handle)
		inputs.Go(func() { fail(srv.Serve(inCtx, listeners[i])) })
	}
	if f.cfg.Metrics != nil {
		inputs.Go(func() { fail(f.serveMetrics(inCtx, listeners[len(f.cfg.Forward)])) })
	}
	for _, m := range []*Monitor{f.cfg.Monitor, f.cfg.OutputMonitor} {
		if m != nil {
			inputs.Go(func() { f.monitor(inCtx, m) })
		}
	}
	for _, o := range f.outputs {
		flushers.Go(func() { o.enqueueLoop(inCtx) })
		for range o.cfg.Buffer.FlushThreads {
			flushers.Go(func() { o.flushLoop(outCtx, stopFlush) })
		}
	}
	<-inCtx.Done()
	if errors.Is(context.Cause(ctx), model.ErrKilled) {
		stopOutputs(model.ErrKilled)
	}
	inputs.Wait()
	close(stopFlush)
	flushers.Wait()
	if outCtx.Err() == nil {
		for _, o := range f.outputs {
			if o.cfg.Buffer.FlushAtShutdown {
				o.drain(outCtx)
			}
		}
	}
	return err
}

// open opens buffers and clients. What it returns undoes it, and is complete even with an error.
func (f *Fluentd) open() (closers []func(), err error) {
	var outputs []*output
	defer func() {
		f.outMu.Lock()
		f.outputs = outputs
		f.outMu.Unlock()
	}()
	for i, cfg := range f.cfg.Outputs {
		rng := rand.New(rand.NewPCG(f.opts.Seed, uint64(i)))
		// Ids of chunks must differ between two runs on the same files.
		ids := rand.New(rand.NewPCG(f.opts.Seed^uint64(time.Now().UnixNano()), uint64(i)))
		buf, err := newBuffer(cfg.Buffer, f.opts.Root, f.cfg.RootDir, cfg.ID, ids, f.log)
		if err != nil {
			return closers, err
		}
		closers = append(closers, buf.close)
		kopts, err := clientOptions(cfg, f.opts)
		if err != nil {
			return closers, err
		}
		client, err := kgo.NewClient(kopts...)
		if err != nil {
			return closers, fmt.Errorf("producer of %s: %w", cfg.ID, err)
		}
		closers = append(closers, client.Close)
		outputs = append(outputs, &output{cfg: cfg, buf: buf, client: client, log: f.log, host: f.opts.Hostname, rng: rng, hook: f.opts.Produce})
	}
	return closers, nil
}

func (f *Fluentd) listen() ([]net.Listener, error) {
	var addrs []string
	for _, s := range f.cfg.Forward {
		addrs = append(addrs, net.JoinHostPort(s.Bind, strconv.Itoa(s.Port)))
	}
	if m := f.cfg.Metrics; m != nil {
		addrs = append(addrs, net.JoinHostPort(m.Bind, strconv.Itoa(m.Port)))
	}
	var out []net.Listener
	for _, a := range addrs {
		ln, err := f.opts.Listen("tcp", a)
		if err != nil {
			for _, l := range out {
				l.Close()
			}
			return nil, fmt.Errorf("listen on %s: %w", a, err)
		}
		out = append(out, ln)
	}
	return out, nil
}

// handle takes one message of in_forward.
func (f *Fluentd) handle(ctx context.Context, m *forward.Message) error {
	if m.Invalid > 0 {
		f.log.Warn("skip invalid event", "tag", m.Tag, "events", m.Invalid)
	}
	f.emitMu.Lock()
	defer f.emitMu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r := f.route(m.Tag)
	if r.out == nil {
		if !f.noTag[m.Tag] {
			f.noTag[m.Tag] = true
			f.log.Warn("no patterns matched", "tag", m.Tag)
		}
		return nil // dropped and acknowledged, as by the real program
	}
	entries := m.Entries
	for _, flt := range r.filters {
		var err error
		if entries, err = flt.apply(make([]byte, 0, len(entries)+64*m.Count), m.Tag, entries); err != nil {
			return err
		}
	}
	return r.out.emit(ctx, m.Tag, entries, m.Count)
}

// maxRoutes bounds the memory of tags that were seen.
const maxRoutes = 10000

func (f *Fluentd) route(tag string) route {
	if r, ok := f.routes[tag]; ok {
		return r
	}
	if len(f.routes) >= maxRoutes {
		clear(f.routes)
		clear(f.noTag)
	}
	var r route
	for i := range f.cfg.Filters {
		if flt := &f.cfg.Filters[i]; flt.Tag.Match(tag) {
			r.filters = append(r.filters, flt)
		}
	}
	for _, o := range f.outputs {
		if o.cfg.Tag.Match(tag) {
			r.out = o
			break
		}
	}
	f.routes[tag] = r
	return r
}

// Dropped returns how many records this process threw away: oldest chunks on overflow, queues at the end of retries,
// chunks put aside, records that could not be formatted. The real program has no metric for them; this is for tests.
func (f *Fluentd) Dropped() int64 {
	var n int64
	f.outMu.Lock()
	defer f.outMu.Unlock()
	for _, o := range f.outputs {
		o.buf.mu.Lock()
		n += o.buf.dropped + o.skipped.Load()
		o.buf.mu.Unlock()
	}
	return n
}

func (f *Fluentd) serveMetrics(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+f.cfg.Metrics.Path, func(w http.ResponseWriter, _ *http.Request) {
		f.snapMu.Lock()
		body := append(append([]byte(nil), f.status...), f.output...)
		f.snapMu.Unlock()
		w.Header().Set("Content-Type", promtext.ContentType)
		w.Write(body)
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(f.log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
