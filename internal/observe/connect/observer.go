package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"triad/internal/evidence"
)

// Config of an observer.
type Config struct {
	Workers  []Worker      // asked in turn until one answers: each of them knows the whole group
	Every    time.Duration // between two questions; 0 means a second
	Evidence Recorder
	Now      func() time.Duration // time of the evidence
}

// Worker is one REST interface with the client that reaches it.
type Worker struct {
	URL    string
	Client *http.Client
}

// Recorder takes events; evidence.EventLog is one.
type Recorder interface{ Add(e evidence.Event) error }

// askTime bounds one question: a worker that rebalances holds it for longer than this.
const askTime = 3 * time.Second

// maxDetail is how much of a task's stack trace is kept: its first line says what it is.
const maxDetail = 400

// Part is the state of a connector or a task.
type Part struct {
	ID     int    `json:"id"`
	State  string `json:"state"`
	Worker string `json:"worker_id"`
	Trace  string `json:"trace"`
}

// Status is the answer for one connector.
type Status struct {
	Connector Part   `json:"connector"`
	Tasks     []Part `json:"tasks"`
}

// Observer follows the states. Create it with New and Run it once.
type Observer struct {
	cfg      Config
	known    map[string]Part // by connector, or connector/task
	restarts map[string]int  // how often each was seen to run again
	answers  bool
	asked    bool
}

// New prepares an observer.
func New(cfg Config) (*Observer, error) {
	if len(cfg.Workers) == 0 {
		return nil, errors.New("connect observer: no worker")
	}
	if cfg.Every == 0 {
		cfg.Every = time.Second
	}
	return &Observer{cfg: cfg, known: map[string]Part{}, restarts: map[string]int{}}, nil
}

// Run asks until ctx ends. Workers that do not answer are not its end; they show as events.
func (o *Observer) Run(ctx context.Context) error {
	t := time.NewTicker(o.cfg.Every)
	defer t.Stop()
	for {
		if err := o.once(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// once asks once and writes what changed; the error is that of the evidence.
func (o *Observer) once(ctx context.Context) error {
	got, err := o.ask(ctx)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end of the run is no finding
	}
	var events []evidence.Event
	if answers := err == nil; answers != o.answers || !o.asked {
		e := evidence.Event{Kind: evidence.EventObserver, Name: "connect", State: map[bool]string{true: "back", false: "lost"}[answers]}
		if answers && !o.asked {
			e.State = "ready"
		}
		if err != nil {
			e.Detail = err.Error()
		}
		events = append(events, e)
		o.answers, o.asked = answers, true
	}
	if err == nil {
		events = append(events, o.changes(got)...)
	}
	for _, e := range events {
		e.At = o.cfg.Now()
		if err := o.cfg.Evidence.Add(e); err != nil {
			return fmt.Errorf("connect observer: %w", err)
		}
	}
	return nil
}

// ask returns the status of every connector from the first worker that answers.
func (o *Observer) ask(ctx context.Context) (map[string]Status, error) {
	var errs []error
	for _, w := range o.cfg.Workers {
		one, cancel := context.WithTimeout(ctx, askTime)
		got, err := Ask(one, w)
		cancel()
		if err == nil {
			return got, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// Ask returns the status of every connector that a worker knows of.
func Ask(ctx context.Context, w Worker) (map[string]Status, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(w.URL, "/")+"/connectors?expand=status", nil)
	if err != nil {
		return nil, fmt.Errorf("connect status: %w", err)
	}
	res, err := w.Client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("connect status: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil {
		return nil, fmt.Errorf("connect status: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("connect status: HTTP %d: %.200s", res.StatusCode, body)
	}
	var out map[string]struct {
		Status Status `json:"status"`
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return nil, fmt.Errorf("connect status: answer: %w", err)
	}
	got := map[string]Status{}
	for name, c := range out {
		got[name] = c.Status
	}
	return got, nil
}

// changes compares with what was known, connectors and tasks in order of their names.
func (o *Observer) changes(got map[string]Status) []evidence.Event {
	now := map[string]Part{}
	for name, s := range got {
		now[name] = s.Connector
		for _, t := range s.Tasks {
			now[name+"/"+strconv.Itoa(t.ID)] = t
		}
	}
	var events []evidence.Event
	for _, name := range slices.Sorted(maps.Keys(now)) {
		is, was := now[name], o.known[name]
		if is.State == was.State && is.Worker == was.Worker {
			continue
		}
		e := evidence.Event{Kind: evidence.EventConnector, Name: name, State: is.State, Attrs: map[string]string{"worker": is.Worker}}
		if was.State != "" {
			e.Attrs["was"] = was.State
		}
		if is.Trace != "" {
			e.Detail = cause(is.Trace)
		}
		// It ran, or had failed, and runs: on another worker, or after something else than a pause.
		if was.State != "" && is.State == "RUNNING" && was.State != "PAUSED" && was.State != "STOPPED" {
			o.restarts[name]++
			e.Attrs["restarts"] = strconv.Itoa(o.restarts[name])
		}
		events = append(events, e)
	}
	for _, name := range slices.Sorted(maps.Keys(o.known)) {
		if _, there := now[name]; !there {
			events = append(events, evidence.Event{Kind: evidence.EventConnector, Name: name, State: "GONE", Attrs: map[string]string{"was": o.known[name].State}})
		}
	}
	o.known = now
	return events
}

// cause is what a stack trace says: its first line, and the last "Caused by" where there is one.
func cause(trace string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(trace), "\n")
	if i := strings.LastIndex(trace, "\nCaused by: "); i >= 0 {
		last, _, _ := strings.Cut(trace[i+1:], "\n")
		first += "; " + last
	}
	return first[:min(len(first), maxDetail)]
}
