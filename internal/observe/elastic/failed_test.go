package elastic

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"triad/internal/evidence"
	"triad/internal/observe"
	"triad/internal/scenario"
	"triad/internal/stats"
)

// A store that refuses at once is not a quick one.
func TestFailedSearchIsNotFast(t *testing.T) {
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: 100s}\nload: [{source: service, rate: 100/s}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	start, dir := time.Now().Add(-10*time.Second), filepath.Join(t.TempDir(), "run")
	w, err := evidence.Create(dir, evidence.Header{ID: "t", Run: 7, Scenario: "t", Seed: s.Seed, Streams: s.Streams(), HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Begin(start); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		http.Error(w, "no", http.StatusServiceUnavailable)
	}))
	defer srv.Close()
	client, err := NewClient(Access{URL: srv.URL, Transport: srv.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	o, err := New(Config{Client: client, Indices: []string{"service-topic"}, Scenario: s, PollEvery: 8, Evidence: w, Pulse: 100 * time.Millisecond, Cluster: scenario.Monitoring, Logger: slog.New(slog.DiscardHandler)}, observe.NewKnown(s, 7, start))
	if err != nil {
		t.Fatal(err)
	}
	const n = 3
	for range n {
		began := time.Now()
		err := o.probe(t.Context(), "service-topic")
		o.probed(began, time.Now(), err)
	}
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	r, err := evidence.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var took []float64
	r.Series(func(_ time.Duration, x evidence.Sample) error {
		switch x.Name {
		case evidence.QuerySeries:
			took = append(took, x.Value)
		case evidence.UpSeries:
			if x.Value != 0 {
				t.Error("up")
			}
		}
		return nil
	})
	if len(took) != n {
		t.Errorf("%d searches are in the series, of %d", len(took), n)
	}
	for _, v := range took {
		if v < askTime.Seconds() {
			t.Errorf("a search that failed took %v s", v)
		}
	}
	var all stats.Hist
	r.Hists(func(k evidence.HistKey, _ time.Duration, h *stats.Hist) error {
		if k.Metric == "query_latency" {
			all.Merge(h)
		}
		return nil
	})
	if all.Count() != n || all.Min() < askTime {
		t.Errorf("%d searches in the histogram, the fastest of %v", all.Count(), all.Min())
	}
}
