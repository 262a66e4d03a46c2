package agent

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"triad/internal/evidence"
	"triad/internal/load"
	"triad/internal/record"
	"triad/internal/scenario"
)

// lines collects what an agent writes to its stdout.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// serve starts an agent on loopback and returns how the harness speaks to it.
func serve(t *testing.T, name string, out io.Writer) Remote {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	a := New(Config{Stdout: out, State: t.TempDir(), LogDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	go func() { done <- a.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return Remote{Name: name, URL: "http://" + l.Addr().String(), Client: &http.Client{Timeout: 10 * time.Second}}
}

// TestFleetWritesEveryRecordOnce: two agents share a load; every record is written by one of them, and their ledgers say so.
func TestFleetWritesEveryRecordOnce(t *testing.T) {
	s, err := scenario.Parse("canary.yaml", []byte("apiVersion: triad/v1\nname: canary\ntitle: x\nphases: {warm-up: 1s, before: 1s, drain: 1s}\nload: [{source: canary, rate: 40/s, streams: 2, instances: 2}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := evidence.Create(filepath.Join(t.TempDir(), "run"), evidence.Header{ID: "run", Run: 7, Scenario: s.Name, Runtime: "eks", Streams: s.Streams(), Windows: s.Phases.Windows(), HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, s)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().Add(2 * time.Second)
	if err := w.Begin(start); err != nil {
		t.Fatal(err)
	}
	whole := Plan{Scenario: *s, Run: 7, Start: start, HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}
	out := &lines{}
	var shares []Share
	for i, st := range s.Streams() {
		plan := whole
		plan.Streams = []scenario.Stream{st}
		shares = append(shares, Share{serve(t, []string{"a", "b"}[i], out), plan})
	}
	f, err := Launch(t.Context(), whole, shares, func() ([]*load.Generator, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Collect(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if p := f.Progress(); p.Acked != 80 || p.Attempted != 80 {
		t.Errorf("%+v", p)
	}
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	seen := map[record.Tag]bool{}
	for line := range strings.Lines(out.b.String()) {
		tag, err := record.Parse([]byte(strings.TrimSpace(line)))
		if err != nil || tag.Run != 7 || seen[tag] {
			t.Errorf("%v %v: %s", tag, err, line)
		}
		seen[tag] = true
	}
	if len(seen) != 80 {
		t.Errorf("%d records were written, want 80", len(seen))
	}
	for _, name := range []string{"a", "b"} {
		if m, err := filepath.Glob(filepath.Join(w.Dir, "ledger", evidence.PointSent+name+".led")); err != nil || len(m) != 1 {
			t.Errorf("no ledger of %s", name)
		}
	}
	// Too late: the schedule began before the agents had their plan.
	whole.Start = time.Now().Add(-time.Second)
	if _, err := Launch(t.Context(), whole, nil, func() ([]*load.Generator, error) { return nil, nil }); err == nil || !strings.Contains(err.Error(), "after the start of the schedule") {
		t.Error(err)
	}
}

// A harness that goes on takes up agents that know the run, and tells them nothing; one that does not is an error.
func TestRejoin(t *testing.T) {
	var told atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			told.Add(1)
		}
		answer(w, Status{Run: 7})
	}))
	defer srv.Close()
	whole := Plan{Run: 7, Start: time.Now().Add(-time.Hour)}
	shares := []Share{{Remote: Remote{Name: "a", URL: srv.URL, Client: srv.Client()}}}
	none := func() ([]*load.Generator, error) { return nil, nil }
	f, err := Rejoin(t.Context(), whole, shares, none)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Wait(t.Context()); err != nil || told.Load() != 0 {
		t.Errorf("%v, %d orders", err, told.Load())
	}
	whole.Run = 8
	if _, err := Rejoin(t.Context(), whole, shares, none); err == nil || !strings.Contains(err.Error(), "generator a has no plan of this run any more") {
		t.Errorf("another run: %v", err)
	}
}
