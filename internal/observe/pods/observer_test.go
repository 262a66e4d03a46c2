package pods

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triad/internal/evidence"
)

// watched is an observer of a cluster that a test tells, and what it wrote.
type watched struct {
	*Observer
	pods  []Pod
	err   error
	at    time.Duration
	lines []string
}

func (w *watched) Add(e evidence.Event) error {
	line := fmt.Sprintf("%s %s %s", e.Name, e.Attrs["pod"], e.State)
	for _, a := range []string{"container", "reason", "exit_code", "times", "finished", "after_ns"} {
		if v := e.Attrs[a]; v != "" {
			line += " " + v
		}
	}
	if e.Kind != evidence.EventRestart || e.At != w.at || e.Attrs["cluster"] != "kafka" || e.Attrs["node"] != "n" {
		line += fmt.Sprintf(" %+v", e)
	}
	w.lines = append(w.lines, line)
	return nil
}

func watch(since time.Time) *watched {
	w := &watched{}
	w.Observer = New(Config{
		Cluster: "kafka", Evidence: w, Now: func() time.Duration { return w.at }, Since: since, From: 7,
		List: func(context.Context) ([]Pod, error) { return slices.Clone(w.pods), w.err },
	})
	return w
}

// look looks a second later and returns what was written.
func (w *watched) look(t *testing.T, pods ...Pod) string {
	t.Helper()
	w.pods, w.lines = pods, nil
	w.at += time.Second
	if err := w.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	return strings.Join(w.lines, "\n")
}

func broker(uid string, c Container) Pod {
	c.Name = "kafka"
	return Pod{Component: "kafka", Name: "b-0", UID: uid, Node: "n", Containers: []Container{c}}
}

var began = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func end(id, reason string, code int, second int) *End {
	return &End{ID: id, Reason: reason, Code: code, Started: began, Finished: began.Add(time.Duration(second) * time.Second)}
}

// What a container has behind it when the run begins is nobody's news. From then on each end is told once, at the moment it is seen: while the
// kubelet waits before it starts the next instance, or when that runs, and however often both are read.
func TestEachEndIsToldOnce(t *testing.T) {
	w := watch(time.Time{})
	old, kill, oom, fast := end("a", "Error", 1, 0), end("b", "Error", 137, 1), end("c", "OOMKilled", 137, 2), end("e", "Completed", 0, 9)
	for i, step := range []struct {
		pod  Pod
		want string
	}{
		{broker("u", Container{Restarts: 4, Last: old}), ""},
		{broker("u", Container{Restarts: 4, Last: old}), ""},
		{broker("u", Container{Restarts: 4, Ended: true, Last: kill}), "kafka b-0 ended kafka Error 137 1 2026-11-01T12:00:01Z 2000000000"},
		{broker("u", Container{Restarts: 4, Ended: true, Last: kill}), ""},
		{broker("u", Container{Restarts: 4, Last: kill}), ""}, // it cannot be made at the moment
		{broker("u", Container{Restarts: 5, Last: kill}), ""},
		{broker("u", Container{Restarts: 6, Last: oom}), "kafka b-0 ended kafka OOMKilled 137 1 2026-11-01T12:00:02Z 6000000000"},
		{broker("u", Container{Restarts: 8, Ended: true, Last: fast}), "kafka b-0 ended kafka Completed 0 3 2026-11-01T12:00:09Z 7000000000"},
		{broker("u", Container{Restarts: 9}), ""},             // the runtime has thrown away what it knew
		{broker("u", Container{Restarts: 0, Last: fast}), ""}, // and the kubelet
		{broker("u", Container{Restarts: 1, Last: end("f", "Error", 2, 11)}), "kafka b-0 ended kafka Error 2 1 2026-11-01T12:00:11Z 10000000000"},
		{broker("u", Container{Restarts: 11}), "kafka b-0 ended kafka 1 11000000000"}, // how is not told
	} {
		if got := w.look(t, step.pod); got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
}

// A pod that is gone is told once, with how its container ended while it went; one that will not run again is gone although it is listed. What
// takes its place begins with nothing: its own ends are told.
func TestReplacedPods(t *testing.T) {
	w := watch(time.Time{})
	going := broker("u", Container{Ended: true, Last: end("a", "Completed", 0, 1)})
	going.Going = true
	evicted := broker("v", Container{Ended: true, Last: end("c", "Error", 137, 5)})
	evicted.Over = "Evicted"
	dead := broker("w", Container{})
	dead.Over = "Failed"
	for i, step := range []struct {
		pods []Pod
		want string
	}{
		{[]Pod{broker("u", Container{}), dead}, ""},
		{[]Pod{going, dead}, ""},
		{[]Pod{broker("v", Container{Restarts: 1, Last: end("b", "Error", 3, 2)})}, "kafka b-0 ended kafka Error 3 1 2026-11-01T12:00:02Z 2000000000\nkafka b-0 replaced Completed 0 1 2026-11-01T12:00:01Z 2000000000"},
		{[]Pod{evicted}, "kafka b-0 replaced Evicted 137 1 2026-11-01T12:00:05Z 3000000000"},
		{[]Pod{evicted, broker("x", Container{})}, ""},
		{[]Pod{broker("x", Container{})}, ""},
		{nil, "kafka b-0 replaced Deleted 1 6000000000"},
		{nil, ""},
	} {
		if got := w.look(t, step.pods...); got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
}

// A list that fails changes nothing: what happened meanwhile is told by the next one, with the moment of the last that was answered.
func TestMissed(t *testing.T) {
	w := watch(time.Time{})
	w.err = errors.New("forbidden")
	w.look(t)
	if got := w.Missed(); got != "the pods of kafka could not be listed: forbidden" {
		t.Error(got)
	}
	w.err = nil
	w.look(t, broker("u", Container{}))
	w.err = errors.New("frozen")
	if got := w.look(t); got != "" || w.Missed() != "the pods of kafka were last listed at 2s of the run: frozen" {
		t.Errorf("%q; %s", got, w.Missed())
	}
	w.err = nil
	if got := w.look(t, broker("u", Container{Restarts: 1, Last: end("a", "Error", 1, 1)})); got != "kafka b-0 ended kafka Error 1 1 2026-11-01T12:00:01Z 2000000000" || w.Missed() != "" {
		t.Errorf("%q; %s", got, w.Missed())
	}
}

// In a run that goes on, the first look tells what ended and what was made while nobody looked, and nothing older.
func TestSince(t *testing.T) {
	w := watch(began.Add(10 * time.Second))
	old, made := broker("u", Container{Restarts: 2, Last: end("a", "Error", 1, 9)}), broker("w", Container{})
	killed := broker("v", Container{Restarts: 7, Last: end("b", "Error", 137, 10)})
	killed.Name, made.Name, made.Created = "b-1", "b-2", began.Add(11*time.Second)
	got := w.look(t, old, killed, made)
	want := "kafka b-1 ended kafka Error 137 1 2026-11-01T12:00:10Z 7\nkafka b-2 replaced 1 7"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := w.look(t, old, killed, made); got != "" {
		t.Error(got)
	}
}
