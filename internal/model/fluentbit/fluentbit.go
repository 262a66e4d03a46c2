package fluentbit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"triad/internal/model"
	"triad/internal/model/promtext"
)

// Options place a model in its surroundings. The zero value is a process on this host.
type Options struct {
	Root     string // prefix of every path in the configuration
	Proc     string // where the kernel tells figures of the node; empty means /proc
	Dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	Listen   func(network, addr string) (net.Listener, error)
	Hostname string // label of some metrics; empty means os.Hostname
	Seed     uint64 // of the jitter in retries
	Logger   *slog.Logger
}

// FluentBit is one process. Make it with New, run it once with Run.
type FluentBit struct {
	cfg   Config
	opts  Options
	log   *slog.Logger
	e     *engine
	tails []*tail
	start time.Time

	health  healthWindow
	storage storageView
}

// New prepares a process and opens nothing: that is for Run. Two may be made for one Root, but only one may run at a time.
func New(cfg Config, opts Options) (*FluentBit, error) {
	if len(cfg.Inputs)+len(cfg.Collectors) == 0 || len(cfg.Outputs) == 0 {
		return nil, fmt.Errorf("fluent-bit: %s has no input or no output", cfg.File)
	}
	if opts.Listen == nil {
		opts.Listen = net.Listen
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	opts.Proc = cmp.Or(opts.Proc, "/proc")
	if opts.Hostname == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("fluent-bit: %w", err)
		}
		opts.Hostname = name
	}
	return &FluentBit{cfg: cfg, opts: opts, log: opts.Logger, e: newEngine(cfg, opts, opts.Logger)}, nil
}

// Run works until ctx ends. With the cancel cause model.ErrKilled it stops where it is: chunk files and offsets stay,
// connections are reset. Otherwise it hands over what it has read and waits up to the grace period for acknowledgements;
// chunks without one stay in the storage. The error is nil when ctx ended it.
func (f *FluentBit) Run(ctx context.Context) error {
	f.start = time.Now()
	defer f.e.close()
	defer func() {
		for _, o := range f.e.outs {
			_ = o.client.Close() // nothing is in flight any more
		}
	}()
	if err := f.e.loadBacklog(); err != nil {
		return err
	}
	defer func() {
		for _, t := range f.tails {
			t.close()
		}
	}()
	for i, c := range f.cfg.Inputs {
		t, err := newTail(f.e, f.e.inputs[i], c)
		if err != nil {
			return err
		}
		f.tails = append(f.tails, t)
	}
	var ln net.Listener
	if f.cfg.HTTP {
		var err error
		addr := net.JoinHostPort(f.cfg.HTTPListen, strconv.Itoa(f.cfg.HTTPPort))
		if ln, err = f.opts.Listen("tcp", addr); err != nil {
			return fmt.Errorf("could not start HTTP server on %s: %w", addr, err)
		}
	}

	inCtx, stopInputs := context.WithCancelCause(ctx)
	defer stopInputs(nil)
	outCtx, stopOutput := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopOutput(nil)

	var inputs sync.WaitGroup
	var failed error
	if ln != nil {
		inputs.Go(func() {
			if err := f.serve(inCtx, ln); err != nil {
				failed = err
				stopInputs(err)
			}
		})
	}
	for _, t := range f.tails {
		inputs.Go(func() { t.run(inCtx) })
	}
	for i, c := range f.cfg.Collectors {
		in := f.e.inputs[len(f.cfg.Inputs)+i]
		inputs.Go(func() { f.e.collect(inCtx, in, c) })
	}
	inputs.Go(func() { f.watch(inCtx) })
	tick := time.NewTicker(f.cfg.Flush)
	defer tick.Stop()
	for inCtx.Err() == nil {
		select {
		case <-inCtx.Done():
		case <-tick.C:
			f.e.flush(outCtx)
		}
	}
	if errors.Is(context.Cause(ctx), model.ErrKilled) {
		for _, o := range f.e.outs {
			o.client.Abort()
		}
		stopOutput(model.ErrKilled)
	}
	inputs.Wait()
	if outCtx.Err() == nil {
		for _, t := range f.tails {
			t.finish()
		}
	}
	f.drain(outCtx, stopOutput)
	return failed
}

// drain is the end of a graceful stop.
func (f *FluentBit) drain(ctx context.Context, stop context.CancelCauseFunc) {
	if ctx.Err() == nil {
		close(f.e.stopping)
		f.e.flush(ctx)
		grace := time.AfterFunc(f.cfg.Grace, func() { stop(errors.New("grace period is over")) })
		defer grace.Stop()
	}
	f.e.tasks.Wait()
}

// Lost returns how many records this process read and could place nowhere (no room after every eviction, or an error of
// the disk). The real program has no metric for them; this is for tests.
func (f *FluentBit) Lost() int64 {
	f.e.mu.Lock()
	defer f.e.mu.Unlock()
	return f.e.lost
}

// Dropped returns what fluentbit_output_dropped_records_total says, of all outputs.
func (f *FluentBit) Dropped() int64 {
	n := int64(0)
	for _, o := range f.e.outs {
		n += o.dropped.Load()
	}
	return n
}

func (f *FluentBit) serve(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	text := func(path, kind string, body func() []byte) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Write(body())
		})
	}
	text("/api/v2/metrics/prometheus", promtext.ContentType, f.metrics)
	text("/api/v2/metrics", promtext.ContentType, f.metrics)
	text("/api/v1/uptime", "application/json", func() []byte {
		s := int64(time.Since(f.start).Seconds())
		return fmt.Appendf(nil, `{"uptime_sec":%d,"uptime_hr":"Fluent Bit has been running:  %d seconds"}`, s, s)
	})
	text("/{$}", "application/json", func() []byte {
		return []byte(`{"fluent-bit":{"version":"` + version + `","edition":"Community","flags":[]}}`)
	})
	if f.cfg.Health.On {
		mux.HandleFunc("GET /api/v1/health", func(w http.ResponseWriter, _ *http.Request) {
			if f.health.good(f.cfg.Health) {
				w.Write([]byte("ok\n"))
				return
			}
			w.WriteHeader(http.StatusInternalServerError)
			w.Write([]byte("error\n"))
		})
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(f.log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("http server: %w", err)
	}
	return nil
}
