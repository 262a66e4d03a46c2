package prometheus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/exp/api/remote"
	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	triad "triad/internal/model"
)

// defaultSeriesLimit is how many samples of one series a receiver keeps: more than a day at one a second, at 2 to 10 bytes each.
const defaultSeriesLimit = 100_000

// ReceiverOptions are what a runtime gives a receiver.
type ReceiverOptions struct {
	Options
	WebConfig   []byte // text of --web.config.file, nil for none
	SeriesLimit int    // samples kept per series; 0 means 100,000, the oldest go first
	// Rules are the texts of rule files by path; those that a pattern of rule_files matches are loaded.
	Rules map[string][]byte
	// Absent says of a metric that nothing in this system exposes it. A rule that rests on one is left out and listed: it would
	// be silent, or fire, for a reason that is not the system's.
	Absent func(metric string) bool
}

// Receiver is a Prometheus server that receives remote writes, scrapes its own cluster, evaluates rules and answers queries. New and Run again on the
// same Root is the process started again; what was acknowledged is there.
type Receiver struct {
	cfg         ReceiverConfig
	opts        ReceiverOptions
	logger      *slog.Logger
	registry    *client.Registry
	metrics     *headMetrics
	ruleMetrics *ruleMetrics
	scraper     *scraper
	web         *webConfig
	faults      *faults
	head        *head
	engine      *engine
	groups      []*ruleGroup
	ready       chan struct{}

	mu       sync.Mutex
	listener net.Listener
}

// NewReceiver makes a receiver. It opens nothing: Run does. What the web configuration has and the model has not is listed.
func NewReceiver(cfg ReceiverConfig, opts ReceiverOptions) (*Receiver, []triad.NotModelled, error) {
	if opts.SeriesLimit == 0 {
		opts.SeriesLimit = defaultSeriesLimit
	}
	web, notes, err := parseWebConfig(opts.WebConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("receiver: %w", err)
	}
	r := &Receiver{
		cfg: cfg, opts: opts, logger: opts.logger(), registry: client.NewRegistry(), web: web,
		faults: &faults{conns: map[*trackedConn]struct{}{}}, ready: make(chan struct{}),
	}
	r.metrics, r.ruleMetrics = newHeadMetrics(r.registry), newRuleMetrics(r.registry)
	groups, ruleNotes, err := r.loadRules()
	if err != nil {
		return nil, nil, fmt.Errorf("receiver: %w", err)
	}
	r.groups, notes = groups, append(notes, ruleNotes...)
	processMetrics(r.registry, time.Now())
	r.scraper = &scraper{
		jobs: cfg.Jobs, given: opts.Targets, files: files{opts.Root}, dial: opts.Dial, timing: opts.Timing.withDefaults(),
		logger: r.logger, metrics: newScrapeMetrics(r.registry), paused: func() bool { return r.faults.down() != nil },
	}
	return r, notes, nil
}

// Ready is closed when Run has replayed its log and listens.
func (r *Receiver) Ready() <-chan struct{} { return r.ready }

// Addr is where the receiver listens; nil before Ready.
func (r *Receiver) Addr() net.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener == nil {
		return nil
	}
	return r.listener.Addr()
}

// Inject makes the receiver misbehave until the fault is removed. Several faults may be active.
func (r *Receiver) Inject(f Fault) *Injected { return r.faults.inject(f) }

// Run works until ctx ends. Every acknowledged request is in the log before the acknowledgement, so that the end loses nothing, with
// model.ErrKilled or without.
func (r *Receiver) Run(ctx context.Context) error {
	h, err := openHead(r.cfg, r.opts.SeriesLimit, filepath.Join(r.opts.Root, r.cfg.StoragePath, "wal"), r.metrics)
	if err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	defer h.log.close()
	r.head, r.scraper.sink, r.engine = h, h, newEngine(h)
	tlsConfig, err := r.web.tls(files{r.opts.Root})
	if err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	l, err := r.opts.listen(r.cfg.ListenAddress)
	if err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	r.mu.Lock()
	r.listener = l
	r.mu.Unlock()
	var serve net.Listener = faultListener{l, r.faults}
	if tlsConfig != nil {
		serve = tls.NewListener(serve, tlsConfig)
	}
	srv := &http.Server{Handler: r.faults.middleware(r.web.middleware(r.handler())), ReadHeaderTimeout: 10 * time.Second}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(serve); !errors.Is(err, http.ErrServerClosed) {
			r.logger.Error("http server ended", "err", err)
		}
	})
	fail := make(chan error, 1)
	run, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() {
		if err := r.scraper.run(run); err != nil {
			fail <- err
			stop()
		}
	})
	for _, g := range r.groups {
		wg.Go(func() { g.run(run) })
	}
	close(r.ready)
	<-run.Done()
	if !errors.Is(context.Cause(ctx), triad.ErrKilled) {
		// Requests in flight get their answer, as in the real program; the deadline is for one that hangs in a fault.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		if err := srv.Shutdown(end); err != nil {
			r.logger.Debug("requests cut off at the end", "err", err)
		}
		cancel()
	}
	srv.Close()
	wg.Wait()
	select {
	case err := <-fail:
		return fmt.Errorf("receiver: %w", err)
	default:
		return nil
	}
}

func (r *Receiver) handler() http.Handler {
	mux := http.NewServeMux()
	write := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "remote write receiver needs to be enabled with --web.enable-remote-write-receiver", http.StatusNotFound)
	}))
	if r.cfg.AcceptWrites {
		write = remote.NewWriteHandler(writeStore{r.head}, remote.MessageTypes{remote.WriteV1MessageType}, remote.WithWriteHandlerLogger(r.logger))
	}
	handle := func(pattern string, h http.Handler) { mux.Handle(pattern, r.counted(pattern, h)) }
	handle("POST /api/v1/write", write)
	for _, m := range []string{"GET ", "POST "} {
		handle(m+"/api/v1/query", r.endpoint(r.query))
		handle(m+"/api/v1/query_range", r.endpoint(r.queryRange))
		handle(m+"/api/v1/series", r.endpoint(plain(r.seriesList)))
		handle(m+"/api/v1/labels", r.endpoint(plain(r.labelNames)))
	}
	handle("GET /api/v1/label/{name}/values", r.endpoint(plain(r.labelValues)))
	handle("GET /api/v1/rules", r.endpoint(plain(r.rules)))
	handle("GET /api/v1/alerts", r.endpoint(plain(r.alerts)))
	handle("GET /metrics", promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{DisableCompression: true}))
	handle("GET /-/healthy", text("Prometheus Server is Healthy.\n"))
	handle("GET /-/ready", text("Prometheus Server is Ready.\n"))
	return mux
}

// counted keeps prometheus_http_requests_total, whose handler label is the path without the method.
func (r *Receiver) counted(pattern string, h http.Handler) http.Handler {
	_, path, _ := strings.Cut(pattern, " ")
	path = strings.ReplaceAll(path, "{name}", ":name")
	return promhttp.InstrumentHandlerCounter(r.metrics.requests.MustCurryWith(client.Labels{"handler": path}), h)
}

func text(s string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, s)
	})
}

// writeStore is what the official handler of remote write stores into.
type writeStore struct{ head *head }

// Store decodes one request and stores all of it or nothing. The four refusals are a 400, so that the sender does not try again.
func (s writeStore) Store(req *http.Request, _ remote.WriteMessageType) (*remote.WriteResponse, error) {
	resp := remote.NewWriteResponse()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	series, err := unmarshalWrite(body)
	if err != nil {
		resp.SetStatusCode(http.StatusBadRequest)
		return resp, err
	}
	if err := s.head.write(series, time.Now()); err != nil {
		code := http.StatusInternalServerError
		if errors.Is(err, errOutOfOrder) || errors.Is(err, errOutOfBound) || errors.Is(err, errTooOld) || errors.Is(err, errDuplicate) {
			code = http.StatusBadRequest
		}
		resp.SetStatusCode(code)
		return resp, err
	}
	return resp, nil
}
