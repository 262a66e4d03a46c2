package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/evidence"
	"triad/internal/observe"
	"triad/internal/observe/elastic"
	"triad/internal/observe/kafka"
	"triad/internal/pod"
	"triad/internal/scenario"
)

// Plan is what one observer is to read.
type Plan struct {
	Header     evidence.Header   `json:"header"` // of the run
	Scenario   scenario.Scenario `json:"scenario"`
	Topics     []string          `json:"topics"`
	Only       []string          `json:"only,omitempty"`
	DeadLetter string            `json:"dead_letter,omitempty"`
	Group      string            `json:"group,omitempty"`
	Shard      int               `json:"shard"`
	Shards     int               `json:"shards"`
}

// Time asks an observer what its clock shows.
func Time(ctx context.Context, r pod.Remote) (time.Time, error) {
	var st Status
	err := r.Call(ctx, http.MethodGet, "/status", nil, &st)
	return st.Time, err
}

// Start is when the schedule begins, by the observer's own clock.
type Start struct {
	At time.Time `json:"at"`
}

// Status is what an observer has seen so far.
type Status struct {
	Run          uint32      `json:"run"`
	Running      bool        `json:"running"`
	Seen         uint64      `json:"seen"`
	DeadLettered uint64      `json:"dead_lettered"`
	Copies       int64       `json:"copies"`
	Saw          elastic.Saw `json:"saw"`  // of a slice that was read to its end
	Time         time.Time   `json:"time"` // its clock when it answers
	Error        string      `json:"error,omitempty"`
}

// Config of an agent, which reads Kafka or the store.
type Config struct {
	Brokers []string // none: the store
	Opts    []kgo.Opt
	Store   elastic.Access
	State   string // folder of what is seen
	Logger  *slog.Logger
}

// Agent serves one observer's pod.
type Agent struct {
	cfg Config

	mu       sync.Mutex
	plan     *Plan // of the run that Kafka is read for
	run      uint32
	w        *evidence.Writer
	observer *kafka.Observer
	saw      elastic.Saw
	cancel   context.CancelFunc
	done     chan struct{} // closed when the observer has ended; nil: it does not run
	err      error
}

// New returns an agent without a plan.
func New(cfg Config) *Agent { return &Agent{cfg: cfg} }

// Serve answers on l until ctx ends; what is being read then is closed.
func (a *Agent) Serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { pod.Answer(w, a.Status()) })
	mux.HandleFunc("POST /open", func(w http.ResponseWriter, r *http.Request) {
		var p Plan
		if pod.Order(w, r, &p) {
			a.answer(w, a.open(r.Context(), p))
		}
	})
	mux.HandleFunc("POST /run", func(w http.ResponseWriter, r *http.Request) {
		var s Start
		if pod.Order(w, r, &s) {
			a.answer(w, a.begin(ctx, s.At))
		}
	})
	mux.HandleFunc("POST /read", func(w http.ResponseWriter, r *http.Request) {
		var p ReadPlan
		if pod.Order(w, r, &p) {
			a.answer(w, a.read(ctx, p))
		}
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) { a.answer(w, a.stop()) })
	mux.HandleFunc("GET /evidence", pod.Evidence(a.cfg.Logger, a.dir, func(string) bool { return true }))
	return pod.Serve(ctx, l, mux, a.stop)
}

func (a *Agent) answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	pod.Answer(w, a.Status())
}

// Status returns what was seen so far.
func (a *Agent) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := Status{Run: a.run, Running: a.done != nil, Saw: a.saw, Time: time.Now()}
	if a.observer != nil {
		s.Seen, s.DeadLettered, s.Copies = a.observer.Seen(), a.observer.DeadLettered(), a.observer.Copies()
	}
	if a.err != nil {
		s.Error = a.err.Error()
	}
	return s
}

func (a *Agent) dir(run uint32) string {
	return filepath.Join(a.cfg.State, "run-"+strconv.FormatUint(uint64(run), 10))
}

// create begins the evidence of a run; mu is held. What an earlier run left is removed; it was fetched or given up.
func (a *Agent) create(h evidence.Header, s *scenario.Scenario) (*evidence.Writer, error) {
	if a.done != nil {
		return nil, fmt.Errorf("run %d is still being read; stop it first", a.run)
	}
	old, _ := filepath.Glob(filepath.Join(a.cfg.State, "run-*"))
	for _, d := range old {
		if err := os.RemoveAll(d); err != nil {
			return nil, fmt.Errorf("an earlier run's files: %w", err)
		}
	}
	return evidence.Create(a.dir(h.Run), h, s)
}

// open looks up where the partitions end now: from there on is read.
func (a *Agent) open(ctx context.Context, p Plan) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.cfg.Brokers) == 0 {
		return errors.New("this observer reads the store")
	}
	w, err := a.create(p.Header, &p.Scenario)
	if err != nil {
		return err
	}
	o, err := kafka.Open(ctx, kafka.Config{
		Brokers: a.cfg.Brokers, Opts: a.cfg.Opts, Topics: p.Topics, Only: p.Only, DeadLetter: p.DeadLetter, Group: p.Group,
		Evidence: w, Pulse: p.Header.PulseEvery, Logger: a.cfg.Logger, Shard: p.Shard, Shards: p.Shards,
	})
	if err != nil {
		return errors.Join(err, w.Close("not opened"))
	}
	a.plan, a.run, a.w, a.observer, a.err = &p, p.Header.Run, w, o, nil
	return nil
}

// begin begins to read what was opened.
func (a *Agent) begin(ctx context.Context, start time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.plan == nil || a.done != nil {
		return errors.New("nothing was opened, or it is being read already")
	}
	start = pod.Here(start)
	if err := a.w.Begin(start); err != nil {
		return err
	}
	watch, cancel := context.WithCancel(ctx)
	a.cancel, a.done = cancel, make(chan struct{})
	o, w, known, done := a.observer, a.w, observe.NewKnown(&a.plan.Scenario, a.plan.Header.Run, start), a.done
	go func() {
		defer close(done)
		defer cancel()
		err := errors.Join(o.Run(watch, known), w.Close(""))
		a.mu.Lock()
		a.err = err
		a.mu.Unlock()
	}()
	return nil
}

// stop ends the reading and closes what was written; nothing under way is no error.
func (a *Agent) stop() error {
	a.mu.Lock()
	cancel, done := a.cancel, a.done
	a.mu.Unlock()
	if done == nil {
		return nil
	}
	cancel()
	<-done
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done == done {
		a.done = nil
	}
	if errors.Is(a.err, errStopped) {
		return nil // as it was told
	}
	return a.err
}
