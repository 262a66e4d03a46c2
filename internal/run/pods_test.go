package run

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"triad/internal/evidence"
	"triad/internal/observe/pods"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// podsEnv is an environment whose pods a test tells.
type podsEnv struct {
	runtimes.Env
	lists map[string]pods.List
}

func (e podsEnv) Pods() map[string]pods.List { return e.lists }

// Pods of every cluster are listed every few seconds and once more when the observers are ended, so that what restarted last is told; a cluster
// that did not answer then is named, because what happened in it is not known.
func TestWatchPods(t *testing.T) {
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: 10s}\nload: [{source: service, rate: 10/s}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := evidence.Create(filepath.Join(t.TempDir(), "run"), evidence.Header{ID: "x", Scenario: "t", HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, s)
	if err != nil {
		t.Fatal(err)
	}
	looks := 0
	synctest.Test(t, func(t *testing.T) {
		if err := w.Begin(time.Now()); err != nil {
			t.Fatal(err)
		}
		watch, stop := context.WithCancel(t.Context())
		ws := &watchers{cancel: stop}
		env := podsEnv{lists: map[string]pods.List{
			"kafka": func(ctx context.Context) ([]pods.Pod, error) {
				looks++
				c := pods.Container{Name: "kafka"}
				if watch.Err() != nil { // the last look
					c.Restarts = 1
				}
				return []pods.Pod{{Component: "kafka", Name: "b-0", UID: "u", Containers: []pods.Container{c}}}, ctx.Err()
			},
			"monitoring": func(ctx context.Context) ([]pods.Pod, error) {
				if watch.Err() == nil {
					return nil, nil
				}
				<-ctx.Done() // it is frozen
				return nil, errors.New("no answer")
			},
		}}
		r := &runner{Options: Options{Scenario: s, Logger: slog.New(slog.DiscardHandler)}, w: w, env: env}
		r.watchPods(watch, ws)
		time.Sleep(2*podsEvery + time.Second)
		stop()
		ws.wg.Wait()
	})
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	events, _, err := evidence.ReadEvents(filepath.Join(w.Dir, evidence.EventsFile), "events")
	if err != nil {
		t.Fatal(err)
	}
	var restarts, skips int
	for _, e := range events {
		switch {
		case e.Kind == evidence.EventRestart && e.Attrs["pod"] == "b-0" && e.Attrs["after_ns"] == "10000000000":
			restarts++
		case e.Kind == evidence.EventSkip && e.Name == "restarts" && e.Detail == "the pods of monitoring were last listed at 10s of the run: no answer":
			skips++
		}
	}
	if looks != 4 || restarts != 1 || skips != 1 {
		t.Errorf("%d looks, %d restarts, %d skips: %+v", looks, restarts, skips, events)
	}
}
