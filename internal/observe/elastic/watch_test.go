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
	stored   []string      // tokens of the documents
	counts   int           // exact ones
	refuses  time.Duration // an exact count fails after so long; 0: it does not
	searches int
	asked    int // tokens
}

func (f *fakeIndex) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	body, _ := io.ReadAll(r.Body)
	if strings.HasSuffix(r.URL.Path, "/_count") {
		if len(body) > 0 {
			f.counts++
			if f.refuses > 0 {
				time.Sleep(f.refuses)
				http.Error(w, "circuit_breaking_exception", http.StatusTooManyRequests)
				return
			}
		}
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

// newWatched is an observer of a fake index, for records of a run that began ten seconds ago.
func newWatched(t *testing.T, index http.Handler) (*Observer, *evidence.Writer) {
	t.Helper()
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: 100s}\nload: [{source: service, rate: 100/s, streams: 2}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().Add(-10 * time.Second)
	w, err := evidence.Create(filepath.Join(t.TempDir(), "run"), evidence.Header{ID: "t", Run: 7, Scenario: "t", Seed: s.Seed, Streams: s.Streams(), HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close("") }) // a test that has closed it itself
	if err := w.Begin(start); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(index)
	t.Cleanup(srv.Close)
	client, err := NewClient(Access{URL: srv.URL, Transport: srv.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	o, err := New(Config{Client: client, Indices: []string{"service-topic"}, Scenario: s, PollEvery: 8, Evidence: w, Pulse: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}, observe.NewKnown(s, 7, start))
	if err != nil {
		t.Fatal(err)
	}
	return o, w
}

// An exact count that fails costs the store as much as one that does not, and is repeated as seldom; meanwhile the estimate goes on.
func TestCountThatFails(t *testing.T) {
	index := &fakeIndex{}
	o, _ := newWatched(t, index)
	watch := o.watch("service-topic")
	for n := range 2 { // twice, for an estimate
		index.stored = append(index.stored, fmt.Sprint(n))
		watch.tally.next = time.Time{}
		watch.look(t.Context())
	}
	if index.counts != 2 || o.Likely() != 2 {
		t.Fatalf("%d counts of %d documents", index.counts, o.Likely())
	}
	index.refuses = 50 * time.Millisecond
	watch.tally.next = time.Time{}
	for n := range 3 {
		index.stored = append(index.stored, fmt.Sprint(2+n))
		watch.look(t.Context())
		if o.Likely() != uint64(3+n) || o.Counted() != 2 {
			t.Errorf("%d likely, %d counted of %d documents", o.Likely(), o.Counted(), len(index.stored))
		}
	}
	if index.counts != 3 {
		t.Errorf("%d exact counts within a moment after one that failed", index.counts-2)
	}
	if wait := time.Until(watch.tally.next); wait < 10*index.refuses {
		t.Errorf("the next exact count comes in %v", wait)
	}
}

// A search is made when a refresh may have brought something, and for what it may have brought.
func TestWatchSearchesAfterRefreshesOnly(t *testing.T) {
	index := &fakeIndex{}
	o, w := newWatched(t, index)
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
