package prometheus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	triad "triad/internal/model"
)

// Options are what a runtime gives a model.
type Options struct {
	Root    string                                                            // prefix of every file path; "" means none
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error) // nil means net.Dialer
	Listen  func(network, addr string) (net.Listener, error)                  // nil means net.Listen
	Targets map[string][]Target                                               // by job name; a job that is here takes these and nothing else
	Env     map[string]string                                                 // for ${NAME} in external labels; absent names are empty
	Logger  *slog.Logger                                                      // nil means silence
	Timing  Timing                                                            // zero means the real constants
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

func (o Options) listen(addr string) (net.Listener, error) {
	if o.Listen != nil {
		return o.Listen("tcp", addr)
	}
	return net.Listen("tcp", addr) //nolint:noctx // opens at once
}

// Agent is a Prometheus in agent mode. New and Run again on the same Root is the process started again: the log is replayed,
// metrics start at zero, and what had not been sent is not sent any more (see watcher).
type Agent struct {
	cfg      AgentConfig
	opts     Options
	timing   Timing
	logger   *slog.Logger
	logDir   string
	registry *client.Registry
	metrics  *agentMetrics
	watchers watcherFamilies
	scraper  *scraper
	queues   []*queue
	inRate   ewma
	highest  atomic.Int64

	mu       sync.Mutex
	log      *walog
	series   map[string]*agentSeries
	nextRef  uint64
	ready    chan struct{}
	listener net.Listener
}

type agentSeries struct {
	ref    uint64
	labels Labels
	last   int64 // milliseconds of its newest sample
}

// New makes an agent. It opens nothing: Run does.
func New(cfg AgentConfig, opts Options) (*Agent, error) {
	a := &Agent{
		cfg: cfg, opts: opts, timing: opts.Timing.withDefaults(), logger: opts.logger(), registry: client.NewRegistry(),
		logDir: filepath.Join(opts.Root, cfg.StoragePath, "wal"), series: map[string]*agentSeries{}, ready: make(chan struct{}),
	}
	a.metrics = newAgentMetrics(a.registry)
	a.watchers = newWatcherFamilies(a.registry)
	processMetrics(a.registry, time.Now())
	f := files{opts.Root}
	a.scraper = &scraper{
		jobs: cfg.Jobs, given: opts.Targets, sink: a, files: f, dial: opts.Dial, timing: a.timing, logger: a.logger,
		metrics: newScrapeMetrics(a.registry),
	}
	external := map[string]string{}
	for k, v := range cfg.ExternalLabels {
		external[k] = os.Expand(v, func(name string) string { return opts.Env[name] })
	}
	names := map[string]bool{}
	for _, w := range cfg.RemoteWrites {
		if names[w.Name] {
			return nil, fmt.Errorf("agent: two remote writes with the name %q", w.Name)
		}
		names[w.Name] = true
		c, err := newWriteClient(w, f, opts.Dial)
		if err != nil {
			return nil, fmt.Errorf("agent: %w", err)
		}
		a.queues = append(a.queues, newQueue(w, external, a, c, &a.inRate))
	}
	return a, nil
}

// Ready is closed when Run has replayed the log and listens.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Addr is where the agent's own HTTP endpoint listens; nil before Ready.
func (a *Agent) Addr() net.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.listener == nil {
		return nil
	}
	return a.listener.Addr()
}

// Run works until ctx ends. When the cause is model.ErrKilled it stops at once, as kill -9 does: what is in the shards is gone. Else
// it stops scraping and flushes for at most --storage.remote.flush-deadline.
func (a *Agent) Run(ctx context.Context) error {
	killed := func() bool { return errors.Is(context.Cause(ctx), triad.ErrKilled) }
	if err := a.open(); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	defer a.log.close()
	l, err := a.opts.listen(a.cfg.ListenAddress)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	a.mu.Lock()
	a.listener = l
	a.mu.Unlock()
	srv := &http.Server{Handler: a.handler(), ReadHeaderTimeout: 10 * time.Second}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			a.logger.Error("http server ended", "err", err)
		}
	})
	fail := make(chan error, 1)
	run, stop := context.WithCancel(ctx)
	defer stop()
	for _, q := range a.queues {
		wg.Go(func() { q.run(run, killed) })
		// The first scrape must be younger than the start of every reader, which in the real program is 5 s earlier.
		<-q.log.started
	}
	wg.Go(func() {
		if err := a.scraper.run(run); err != nil {
			fail <- err
			stop()
		}
	})
	wg.Go(func() { a.truncateLoop(run) })
	close(a.ready)
	<-run.Done()
	// Connections end with the process; in the orderly case the queues below still have theirs.
	defer func() {
		for _, q := range a.queues {
			q.client.close()
		}
	}()
	srv.Close()
	wg.Wait()
	if !killed() {
		a.markClean()
	}
	select {
	case err := <-fail:
		return fmt.Errorf("agent: %w", err)
	default:
		return nil
	}
}

func (a *Agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{DisableCompression: true}))
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "Prometheus Agent is Healthy.") })
	mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "Prometheus Agent is Ready.") })
	return mux
}

// open replays the log: series come back, and the newest timestamp of each, as far as segments still hold it.
func (a *Agent) open() error {
	begin := time.Now()
	byRef := map[uint64]*agentSeries{}
	log, corrupt, err := openLog(a.logDir, a.cfg.SegmentSize, func(rec []byte) error {
		series, samples, err := decodeRecord(rec)
		if err != nil {
			return err
		}
		for _, s := range series {
			if old := byRef[s.ref]; old != nil {
				continue
			}
			x := &agentSeries{ref: s.ref, labels: s.labels}
			byRef[s.ref], a.series[s.labels.key()] = x, x
			a.nextRef = max(a.nextRef, s.ref)
		}
		for _, s := range samples {
			if x := byRef[s.ref]; x != nil {
				x.last = max(x.last, s.t)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	log.onWrite = func() {
		for _, q := range a.queues {
			q.log.wake()
		}
	}
	a.log = log
	a.metrics.corruptions.Add(float64(corrupt))
	a.metrics.replay.Set(time.Since(begin).Seconds())
	a.metrics.active.Set(float64(len(a.series)))
	clean := 0.0
	if os.Remove(a.cleanMark()) == nil {
		clean = 1
	}
	a.metrics.clean.Set(clean)
	return nil
}

func (a *Agent) cleanMark() string { return filepath.Join(filepath.Dir(a.logDir), "clean") }

func (a *Agent) markClean() {
	if err := os.WriteFile(a.cleanMark(), nil, 0o644); err != nil {
		a.logger.Warn("clean end not marked", "err", err)
	}
}

// appendScrape writes the samples of one scrape with one write call; a sample not newer than the last of its series is refused, an
// exact repetition within the scrape as a duplicate.
func (a *Agent) appendScrape(samples []scraped) (refusals, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var fresh []refSeries
	var values []refSample
	var refused refusals
	var top int64
	for _, s := range samples {
		k := s.labels.key()
		x := a.series[k]
		if x == nil {
			a.nextRef++
			x = &agentSeries{ref: a.nextRef, labels: s.labels}
			a.series[k] = x
			fresh = append(fresh, refSeries{x.ref, s.labels})
		}
		if s.t <= x.last {
			if s.t == x.last {
				refused.duplicate++
			} else {
				refused.outOfOrder++
			}
			a.metrics.outOfOrder.Inc()
			continue
		}
		x.last = s.t
		top = max(top, s.t)
		values = append(values, refSample{x.ref, s.t, s.v})
	}
	var recs [][]byte
	if len(fresh) > 0 {
		recs = append(recs, encodeSeries(nil, fresh))
	}
	if len(values) > 0 {
		recs = append(recs, encodeSamples(nil, values))
	}
	if len(recs) == 0 {
		return refused, nil
	}
	if err := a.log.append(recs...); err != nil {
		return refused, err
	}
	a.highest.Store(max(a.highest.Load(), top))
	a.inRate.add(float64(len(values)))
	a.metrics.samplesIn.Add(float64(len(values)))
	a.metrics.appended.WithLabelValues("float").Add(float64(len(values)))
	a.metrics.highest.raise(top)
	a.metrics.active.Set(float64(len(a.series)))
	return refused, nil
}

func (a *Agent) truncateLoop(ctx context.Context) {
	truncate := time.NewTicker(a.cfg.TruncateFrequency)
	defer truncate.Stop()
	rate := time.NewTicker(a.timing.ShardUpdate)
	defer rate.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-rate.C:
			a.inRate.tick(a.timing.ShardUpdate.Seconds())
		case <-truncate.C:
			if err := a.truncate(); err != nil {
				a.logger.Error("failed to truncate log", "err", err)
				a.metrics.checkpointsFailed.Inc()
			}
		}
	}
}

// truncate forgets series without samples since the lower of what was sent (less retention.min-time) and retention.max-time ago, and
// removes segments by the rule of cut, which looks at neither.
func (a *Agent) truncate() error {
	begin := time.Now()
	sent := int64(0)
	for i, q := range a.queues {
		if t := q.highestSent.Load(); i == 0 || t < sent {
			sent = t
		}
	}
	mint := max(sent-a.cfg.RetentionMin.Milliseconds(), begin.Add(-a.cfg.RetentionMax).UnixMilli())
	a.mu.Lock()
	for k, s := range a.series {
		if s.last < mint {
			delete(a.series, k)
		}
	}
	alive := make([]refSeries, 0, len(a.series))
	for _, s := range a.series {
		alive = append(alive, refSeries{s.ref, s.labels})
	}
	a.metrics.active.Set(float64(len(a.series)))
	a.mu.Unlock()

	idx, err := listSegments(a.logDir)
	if err != nil || len(idx) == 0 {
		return errors.Join(err, errNoSegments(len(idx)))
	}
	if err := a.log.nextSegment(); err != nil {
		return err
	}
	upTo, ok := cut(idx[0], idx[len(idx)-1])
	if !ok {
		return nil
	}
	a.metrics.checkpoints.Inc()
	if err := writeCheckpoint(a.logDir, upTo, alive); err != nil {
		return err
	}
	a.metrics.checkpointsDeleted.Inc()
	a.metrics.truncation.Observe(time.Since(begin).Seconds())
	return nil
}
