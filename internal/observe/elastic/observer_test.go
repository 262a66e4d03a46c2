package elastic

import (
	"context"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"triad/internal/evidence"
	"triad/internal/stats"
)

// A query that takes seconds keeps those back that are due meanwhile: each of them waited, and none is left out.
func TestSlowProbeHoldsOthersUp(t *testing.T) {
	index := &fakeIndex{}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var asked atomic.Int32
	o, w := newWatched(t, http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			time.Sleep(2500 * time.Millisecond)
		} else {
			stop()
		}
		index.ServeHTTP(out, r)
	}))
	o.probeLoop(ctx) // due after 1 s, 2 s and 3 s, all of them answered after 3.5 s; on a slow machine there is a fourth
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	var n uint64
	var sum, most time.Duration
	d, err := evidence.ReadHists(filepath.Join(w.Dir, evidence.HistsName), "h", time.Second, func(k evidence.HistKey, _ time.Duration, h *stats.Hist) error {
		if k.Metric == "query_latency" {
			n += h.Count()
			sum += time.Duration(float64(h.Count()) * float64(h.Mean()))
			most = max(most, h.Max())
		}
		return nil
	})
	if err != nil || d != nil {
		t.Fatal(err, d)
	}
	if n < 3 || n > 4 || most < 2500*time.Millisecond || sum < 4400*time.Millisecond {
		t.Errorf("%d queries took %v together, at most %v; want three with 2.5, 1.5 and 0.5 s", n, sum, most)
	}
	var samples uint64
	run, err := evidence.Open(w.Dir)
	if err != nil {
		t.Fatal(err)
	}
	run.Series(func(_ time.Duration, s evidence.Sample) error {
		if s.Name == evidence.QuerySeries {
			samples++
		}
		return nil
	})
	if samples != n {
		t.Errorf("%d samples of %d queries", samples, n)
	}
}
