package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/evidence"
	"triad/internal/load"
	"triad/internal/pod"
	"triad/internal/scenario"
	"triad/internal/source"
)

// Plan is what one agent is told to do.
type Plan struct {
	Scenario   scenario.Scenario `json:"scenario"`
	Run        uint32            `json:"run"`
	Start      time.Time         `json:"start"` // by the agent's own clock
	Streams    []scenario.Stream `json:"streams"`
	HistWindow time.Duration     `json:"hist_window_ns"`
	PulseEvery time.Duration     `json:"pulse_every_ns"`
	// Struck are the names of the faults that act at present, for the fleet to pass on; nil: none is known of.
	Struck func() []string `json:"-"`
	// CopyEvery is how often the fleet asks for what ledgers have more, but no more often than every two seconds; 0: every ten.
	CopyEvery time.Duration `json:"-"`
}

// Status is how far an agent is.
type Status struct {
	Run      uint32        `json:"run"`
	Running  bool          `json:"running"`
	Error    string        `json:"error,omitempty"`
	Progress load.Progress `json:"progress"`
	Time     time.Time     `json:"time"` // the agent's clock, for measuring offsets
}

// struckFor is how long an agent believes that a fault acts without being told so again: its harness may be dead.
const struckFor = 15 * time.Second

// agentFiles is how the files of a run begin.
const agentFiles = "agent."

// Config of an agent.
type Config struct {
	Stdout io.Writer // where service lines go: the container runtime frames them
	LogDir string    // where system log files lie, /var/log on a node
	State  string    // folder of ledgers
	Host   string    // what records that enter at the brokers say of where they are from
	Logger *slog.Logger
	// Kafka are the options of a producer, for sources that enter at the brokers; nil: none can be reached from here.
	Kafka []kgo.Opt
}

// Agent serves one generator pod.
type Agent struct {
	cfg     Config
	reg     *prometheus.Registry
	records *prometheus.GaugeVec
	faults  *prometheus.GaugeVec

	mu     sync.Mutex
	struck []string  // faults that act
	told   time.Time // when that was said
	status Status
	gens   []*load.Generator
	cancel context.CancelFunc
	done   chan struct{}
}

// New returns an agent without a plan.
func New(cfg Config) *Agent {
	a := &Agent{cfg: cfg, reg: prometheus.NewRegistry()}
	began := time.Now()
	// It increases by exactly one each second, so holes and lost increments can be told from the values alone.
	a.reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "triad_synthetic_total", Help: "Seconds since the start, one increment each."},
		func() float64 { return float64(int64(time.Since(began) / time.Second)) }))
	a.records = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "triad_inputgen_records", Help: "Records of the present run by outcome."}, []string{"outcome"})
	// Dashboards mark the time of a fault by it.
	a.faults = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "triad_fault_active", Help: "1 while a fault of the present run acts."}, []string{"fault"})
	a.reg.MustRegister(a.records, a.faults)
	return a
}

// Serve answers on l until ctx ends; a run under way is stopped then and its ledger closed.
func (a *Agent) Serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	metrics := promhttp.HandlerFor(a.reg, promhttp.HandlerOpts{})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) { a.gauge(); metrics.ServeHTTP(w, r) })
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) { a.hear(r.URL.Query()); pod.Answer(w, a.Status()) })
	mux.HandleFunc("POST /run", func(w http.ResponseWriter, r *http.Request) { a.handleRun(ctx, w, r) })
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) { a.Stop(); pod.Answer(w, a.Status()) })
	mux.HandleFunc("GET /ledger", a.ledger)
	mux.HandleFunc("GET /evidence", pod.Evidence(a.cfg.Logger, a.dir, func(name string) bool { return strings.HasPrefix(name, agentFiles) }))
	return pod.Serve(ctx, l, mux, func() error { a.Stop(); return nil })
}

// Status returns how far the agent is.
func (a *Agent) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.status
	s.Time = time.Now()
	for _, g := range a.gens {
		s.Progress.Add(g.Progress())
	}
	return s
}

// hear takes what faults act from whoever asks for the status, if it says so.
func (a *Agent) hear(q url.Values) {
	if !q.Has(faultParam) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.struck, a.told = slices.DeleteFunc(q[faultParam], func(s string) bool { return s == "" }), time.Now()
}

// ledger answers with the ledger of the run that a request names, or with the part of it that its Range asks for: it only ever grows.
func (a *Agent) ledger(w http.ResponseWriter, r *http.Request) {
	run, ok := pod.Run(w, r)
	if !ok {
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeFile(w, r, filepath.Join(a.dir(run), agentFiles+"led"))
}

func (a *Agent) gauge() {
	a.mu.Lock()
	a.faults.Reset()
	if time.Since(a.told) < struckFor {
		for _, f := range a.struck {
			a.faults.WithLabelValues(f).Set(1)
		}
	}
	a.mu.Unlock()
	for k, v := range a.Status().Progress.Outcomes() {
		a.records.WithLabelValues(k).Set(float64(v))
	}
}

func (a *Agent) handleRun(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	var p Plan
	if !pod.Order(w, r, &p) {
		return
	}
	if err := a.Start(ctx, p); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	pod.Answer(w, a.Status())
}

// Start begins a plan; a run that is still under way is an error.
func (a *Agent) Start(ctx context.Context, p Plan) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.status.Running {
		return fmt.Errorf("run %d is still under way; stop it first", a.status.Run)
	}
	if len(p.Streams) == 0 || p.HistWindow <= 0 || p.PulseEvery <= 0 {
		return errors.New("plan: needs streams, hist_window_ns and pulse_every_ns")
	}
	p.Start = pod.Here(p.Start)
	ev, closeAll, err := a.evidence(p)
	if err != nil {
		return err
	}
	gens, err := a.generators(p, ev)
	if err != nil {
		_ = closeAll(0) // the first error is the cause
		return err
	}
	run, cancel := context.WithCancel(ctx)
	a.status, a.gens, a.cancel, a.done = Status{Run: p.Run, Running: true}, gens, cancel, make(chan struct{})
	done := a.done
	go func() {
		defer close(done)
		defer cancel()
		errs := make([]error, len(gens))
		var wg sync.WaitGroup
		for i, g := range gens {
			wg.Go(func() { errs[i] = g.Run(run) })
		}
		wg.Wait()
		err := errors.Join(append(errs, closeAll(time.Since(p.Start)))...)
		a.mu.Lock()
		a.status.Running = false
		if err != nil {
			a.status.Error = err.Error()
		}
		a.mu.Unlock()
	}()
	return nil
}

// Stop ends the run under way and waits for its ledger to be closed.
func (a *Agent) Stop() {
	a.mu.Lock()
	cancel, done := a.cancel, a.done
	a.mu.Unlock()
	if done != nil {
		cancel()
		<-done
	}
}

func (a *Agent) dir(run uint32) string {
	return filepath.Join(a.cfg.State, "run-"+strconv.FormatUint(uint64(run), 10))
}

func (a *Agent) evidence(p Plan) (load.Evidence, func(time.Duration) error, error) {
	var ev load.Evidence
	dir := a.dir(p.Run)
	// Ledgers of older runs were fetched or given up.
	old, _ := filepath.Glob(filepath.Join(a.cfg.State, "run-*"))
	for _, d := range old {
		if d != dir {
			_ = os.RemoveAll(d)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return ev, nil, fmt.Errorf("ledger folder: %w", err)
	}
	var err error
	if ev.Ledger, err = evidence.CreateLedger(filepath.Join(dir, agentFiles+"led")); err != nil {
		return ev, nil, err
	}
	if ev.Hists, err = evidence.CreateHists(filepath.Join(dir, agentFiles+"hist"), p.HistWindow); err != nil {
		return ev, nil, err
	}
	if ev.Series, err = evidence.CreateSeries(filepath.Join(dir, agentFiles+"tsf")); err != nil {
		return ev, nil, err
	}
	ev.Pulse = evidence.NewPulse(ev.Series, "ledger", p.PulseEvery)
	return ev, func(now time.Duration) error {
		return errors.Join(ev.Ledger.Close(now), ev.Hists.Close(), ev.Series.Close())
	}, nil
}

// generators makes one generator for each source of the plan.
func (a *Agent) generators(p Plan, ev load.Evidence) ([]*load.Generator, error) {
	bySource := map[string][]scenario.Stream{}
	var order []string
	for _, st := range p.Streams {
		if bySource[st.Source] == nil {
			order = append(order, st.Source)
		}
		bySource[st.Source] = append(bySource[st.Source], st)
	}
	var out []*load.Generator
	for _, src := range order {
		sink, err := a.sink(bySource[src][0], p.Start)
		if err != nil {
			return nil, err
		}
		g, err := load.New(load.Config{Scenario: &p.Scenario, Run: p.Run, Start: p.Start, Streams: bySource[src], Sink: sink, Evidence: ev, Logger: a.cfg.Logger})
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	return out, nil
}

// sink is where the streams of a source enter: the brokers, a log file of the node, or stdout.
func (a *Agent) sink(st scenario.Stream, start time.Time) (load.Sink, error) {
	if st.Enter == "kafka" {
		if a.cfg.Kafka == nil {
			return nil, fmt.Errorf("source %s: this agent reaches no brokers", st.Source)
		}
		return load.NewKafkaSink(a.cfg.Host, start, a.cfg.Kafka...)
	}
	if file := SystemFile(st.Source); file != "" {
		rot, err := source.NewRotator(source.RotatorOptions{Path: filepath.Join(a.cfg.LogDir, file)})
		return &load.FileSink{W: rot, Start: start}, err
	}
	if a.cfg.Stdout == nil {
		return nil, fmt.Errorf("source %s: this agent has no stdout", st.Source)
	}
	return &load.FileSink{W: keepOpen{a.cfg.Stdout}, Start: start}, nil
}

// keepOpen hides the Close of stdout.
type keepOpen struct{ io.Writer }

// SystemFile is the log file of a system source below /var/log; empty for sources that write to stdout.
func SystemFile(source string) string {
	return map[string]string{"system-auth": "auth.log", "system-kmsg": "kern.log", "system-syslog": "syslog"}[source]
}

// Application is the workload of the manifests whose pods write a source that enters at a file. Each has a route of its own through the
// forwarders, by the name of its container or of its file.
func Application(source string) string {
	switch {
	case SystemFile(source) != "":
		return "system-inputgen"
	case source == "canary":
		return "canary-inputgen"
	}
	return "service-inputgen"
}
