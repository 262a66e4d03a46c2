package elastic

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"triad/internal/evidence"
	"triad/internal/observe"
	"triad/internal/scenario"
)

// fakeIndex answers what a watch asks, and counts the searches.
type fakeIndex struct {
	stored   []string // tokens of the documents
	searches int
	asked    int // tokens
}

func (f *fakeIndex) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	body, _ := io.ReadAll(r.Body)
	if strings.HasSuffix(r.URL.Path, "/_count") {
		fmt.Fprintf(w, `{"count":%d,"_shards":{"failed":0}}`, len(f.stored))
		return
	}
	var q struct {
		Query struct {
			Terms struct {
				Log []string `json:"log"`
			} `json:"terms"`
		} `json:"query"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.searches++
	f.asked += len(q.Query.Terms.Log)
	var hits []string
	for _, token := range q.Query.Terms.Log {
		if slices.Contains(f.stored, token) {
			hits = append(hits, fmt.Sprintf(`{"_source":{"log":"a %s b"}}`, token))
		}
	}
	fmt.Fprintf(w, `{"_shards":{"failed":0},"hits":{"hits":[%s]}}`, strings.Join(hits, ","))
}

// A search is made when a refresh may have brought something, and for what it may have brought.
func TestWatchSearchesAfterRefreshesOnly(t *testing.T) {
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: 100s}\nload: [{source: service, rate: 100/s, streams: 2}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().Add(-10 * time.Second)
	w, err := evidence.Create(filepath.Join(t.TempDir(), "run"), evidence.Header{ID: "t", Run: 7, Scenario: "t", Seed: s.Seed, Streams: s.Streams(), HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, s)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close("")
	if err := w.Begin(start); err != nil {
		t.Fatal(err)
	}
	index := &fakeIndex{}
	srv := httptest.NewServer(index)
	defer srv.Close()
	client, err := NewClient(Access{URL: srv.URL, Transport: srv.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	o, err := New(Config{Client: client, Indices: []string{"service-topic"}, Scenario: s, PollEvery: 8, Evidence: w, Pulse: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}, observe.NewKnown(s, 7, start))
	if err != nil {
		t.Fatal(err)
	}
	if o.watch("another-topic") != nil {
		t.Error("an index that no stream ends in is watched")
	}
	watch := o.watch("service-topic")
	look := func(what string, searches int) {
		t.Helper()
		before := index.searches
		watch.await()
		watch.look(t.Context())
		if n := index.searches - before; n != searches {
			t.Errorf("%s: %d searches, want %d", what, n, searches)
		}
	}
	watch.await()
	waiting := len(watch.wait)
	if waiting < 100 || waiting > pollBatch {
		t.Fatalf("%d records are waited for after ten seconds of a hundred a second, each eighth", waiting)
	}
	look("the first look", 1)
	time.Sleep(100 * time.Millisecond) // more is due
	look("nothing came", 0)
	if len(watch.wait) <= waiting {
		t.Fatal("nothing more is waited for")
	}
	if watch.quiet > w.Now() {
		t.Error("quiet before anything came")
	}
	for _, p := range watch.wait[:len(watch.wait)/2] {
		index.stored = append(index.stored, p.token)
	}
	left := len(watch.wait) - len(index.stored)
	look("a refresh", 1)
	if n := len(watch.wait) - left; n < 0 || n > 20 { // some became due meanwhile
		t.Errorf("%d are waited for, %d were not stored", len(watch.wait), left)
	}
	if o.Counted() != uint64(len(index.stored)) || o.Likely() != o.Counted() {
		t.Errorf("%d counted, %d likely, %d stored", o.Counted(), o.Likely(), len(index.stored))
	}
	if quiet := watch.quiet - w.Now(); quiet <= 0 || quiet > refreshEvery {
		t.Errorf("quiet for %v after a refresh that came within a look", quiet)
	}
	look("nothing came again", 0)
}
