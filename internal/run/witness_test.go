package run

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/stats"
)

// Where nobody else has the histograms written, because generators and observers are pods, the harness does: what was recorded a moment before
// it is killed is on the disk.
func TestWitnessWritesHistograms(t *testing.T) {
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: 10s}\nload: [{source: service, rate: 10/s}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := evidence.Create(filepath.Join(t.TempDir(), "run"), evidence.Header{ID: "x", Scenario: "t", HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, s)
	if err != nil {
		t.Fatal(err)
	}
	key, err := w.Hists.Key(evidence.HistKey{Metric: "e2e_latency"})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		if err := w.Begin(time.Now()); err != nil {
			t.Fatal(err)
		}
		w.Hists.Record(key, 0, time.Millisecond)
		ctx, stop := context.WithCancel(t.Context())
		r := &runner{Options: Options{Scenario: s, Logger: slog.New(slog.DiscardHandler)}, w: w}
		go r.witness(ctx)
		time.Sleep(1500 * time.Millisecond)
		stop()
		synctest.Wait()
	})
	var n uint64
	d, err := evidence.ReadHists(filepath.Join(w.Dir, evidence.HistsName), "h", time.Second, func(_ evidence.HistKey, _ time.Duration, h *stats.Hist) error {
		n += h.Count()
		return nil
	})
	if err != nil || d != nil || n != 1 {
		t.Errorf("%d values are written: %v, %v", n, d, err)
	}
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
}
