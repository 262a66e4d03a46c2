package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"triad/internal/evidence"
	"triad/internal/observe"
	"triad/internal/observe/elastic"
	"triad/internal/pod"
	"triad/internal/scenario"
)

// ReadPlan is the slice of the store that one observer is to read.
type ReadPlan struct {
	Header   evidence.Header   `json:"header"` // of the run
	Scenario scenario.Scenario `json:"scenario"`
	Start    time.Time         `json:"start"`
	Slice    elastic.Slice     `json:"slice"`
}

// errStopped is of a slice that was not read to its end because somebody said so.
var errStopped = errors.New("it was stopped before the slice was read")

// read begins to read a slice.
func (a *Agent) read(ctx context.Context, p ReadPlan) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cfg.Store.URL == "" {
		return errors.New("this observer reads Kafka")
	}
	client, err := elastic.NewClient(a.cfg.Store)
	if err != nil {
		return err
	}
	w, err := a.create(p.Header, &p.Scenario)
	if err != nil {
		return err
	}
	p.Start = pod.Here(p.Start)
	if err := w.Begin(p.Start); err != nil {
		return errors.Join(err, w.Close("not begun"))
	}
	ctx, a.cancel = context.WithCancel(ctx)
	done := make(chan struct{})
	a.run, a.saw, a.err, a.done = p.Header.Run, elastic.Saw{}, nil, done
	known := observe.NewKnown(&p.Scenario, p.Header.Run, p.Start)
	go func() {
		defer close(done)
		saw, err := elastic.ReadSlice(ctx, client, p.Slice, known, w)
		err = errors.Join(err, w.Close(""))
		a.mu.Lock()
		defer a.mu.Unlock()
		if ctx.Err() != nil {
			err = errStopped
		}
		a.cancel()
		a.saw, a.err, a.done = saw, err, nil
	}()
	return nil
}

// silentTime is how long a pod that reads a slice may say nothing before somebody else reads it.
const silentTime = 30 * time.Second

// Reader is an observer in a pod that reads slices of the store.
type Reader struct {
	pod.Remote
	Scenario scenario.Scenario
	Evidence *evidence.Writer
}

// Read has the pod read a slice, and merges what it saw into the evidence.
func (r Reader) Read(ctx context.Context, s elastic.Slice) (elastic.Saw, error) {
	h := r.Evidence.Header()
	not := func(err error) (elastic.Saw, error) {
		return elastic.Saw{}, fmt.Errorf("%w: %w", elastic.ErrNotRead, err)
	}
	if err := r.Call(ctx, http.MethodPost, "/stop", nil, nil); err != nil {
		return not(err)
	}
	if err := r.Call(ctx, http.MethodPost, "/read", ReadPlan{h, r.Scenario, r.Evidence.Start(), s}, nil); err != nil {
		return not(err)
	}
	t := time.NewTicker(askEvery)
	defer t.Stop()
	heard := time.Now()
	late := heard.Add(time.Hour) // it gets half of the time that there is: the other half is for whoever reads in its place
	if end, ok := ctx.Deadline(); ok {
		late = heard.Add(time.Until(end) / 2)
	}
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return elastic.Saw{}, context.Cause(ctx)
		}
		var st Status
		ask, cancel := context.WithTimeout(ctx, askTime)
		err := r.Call(ask, http.MethodGet, "/status", nil, &st)
		cancel()
		if err == nil {
			heard = time.Now()
		}
		switch {
		case err != nil && (time.Since(heard) > silentTime || r.Gone != nil && r.Gone(ctx)):
			return not(err)
		case (err != nil || st.Running) && time.Now().After(late):
			return not(fmt.Errorf("%s has not read its slice in time", r.Name))
		case err != nil || st.Running: // one that is silent may answer again
			continue
		case st.Run != h.Run:
			return not(fmt.Errorf("%s was started anew while it read", r.Name))
		case st.Error != "":
			return not(fmt.Errorf("%s: %s", r.Name, st.Error))
		}
		if err = fetch(ctx, r.Remote, r.Evidence); err != nil && !errors.Is(err, errMerged) {
			return not(err)
		}
		return st.Saw, err
	}
}
