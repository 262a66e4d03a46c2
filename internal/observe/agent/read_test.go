package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"triad/internal/esfake"
	"triad/internal/evidence"
	"triad/internal/observe"
	"triad/internal/observe/elastic"
	"triad/internal/record"
	"triad/internal/scenario"
	"triad/internal/source"
	"triad/internal/stats"
)

// store is an index with 700 records of a run, and with everything that can be wrong with some.
func store(t *testing.T, s *scenario.Scenario, start time.Time) elastic.Access {
	t.Helper()
	server := httptest.NewServer(esfake.New(esfake.Options{}).Handler())
	t.Cleanup(server.Close)
	var bulk bytes.Buffer
	n := 0
	add := func(index string, doc map[string]string) {
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&bulk, "{\"index\":{\"_index\":%q,\"_id\":\"%d\"}}\n%s\n", index, n, b)
		n++
	}
	line := func(run, stream uint32, seq uint64) string {
		return string(source.Append(nil, source.Service, 1, record.Tag{Run: run, Stream: stream, Seq: seq, Scheduled: start.Add(time.Second).UnixNano()}, 256))
	}
	for seq := range uint64(100) {
		for _, st := range s.Streams() {
			add("service-topic", map[string]string{"log": line(7, st.ID, seq)})
		}
	}
	for seq := range uint64(20) { // far away from where they are already: in another slice
		add("service-topic", map[string]string{"log": line(7, 3, seq)})
		add("system-kmsg-topic", map[string]string{"log": line(7, 4, seq)})
	}
	add("service-topic", map[string]string{"log": strings.Replace(line(7, 2, 100), `"msg":"`, `"msg":"_`, 1)}) // a byte is another
	add("service-topic", map[string]string{"log": line(7, 2, 1_000_000)})                                      // in nobody's schedule
	add("service-topic", map[string]string{"log": line(8, 0, 0)})                                              // another run's
	res, err := http.Post(server.URL+"/_bulk?refresh=true", "application/x-ndjson", &bulk)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	res.Body.Close()
	return elastic.Access{URL: server.URL}
}

// counted counts the slices that a pod has read.
type counted struct {
	elastic.Reader
	n *atomic.Int32
}

func (c counted) Read(ctx context.Context, s elastic.Slice) (elastic.Saw, error) {
	saw, err := c.Reader.Read(ctx, s)
	if err == nil {
		c.n.Add(1)
	}
	return saw, err
}

// TestSlices: one reader, several slices in one process, pods, and pods of which one is gone read the same out of the store.
func TestSlices(t *testing.T) {
	r := newRig(t)
	access := store(t, r.s, r.start)
	var want map[string]uint64
	for _, c := range []struct {
		name         string
		slices, pods int
		gone         bool
		byPods       int32
		ledgers      string
	}{
		{"one", 0, 0, false, 0, "search"},
		{"seven slices", 7, 0, false, 0, "search-0 search-1 search-2 search-3 search-4 search-5 search-6"},
		{"pods", 3, 3, false, 3, "search-0 search-1 search-2"},
		{"a pod is gone", 3, 3, true, 2, "search-0 search-1 search-2"},
	} {
		w := r.writer()
		if err := w.Begin(r.start); err != nil {
			t.Fatal(err)
		}
		client, err := elastic.NewClient(access)
		if err != nil {
			t.Fatal(err)
		}
		o, err := elastic.New(elastic.Config{
			Client: client, Indices: []string{"service-topic", "system-kmsg-topic", "not-there"}, Scenario: r.s, PollEvery: 1, Evidence: w, Pulse: time.Second, Logger: slog.New(slog.DiscardHandler),
		}, observe.NewKnown(r.s, 7, r.start))
		if err != nil {
			t.Fatal(err)
		}
		pods, kill := serve(t, c.pods, Config{Store: access})
		var readers []elastic.Reader
		var byPods atomic.Int32
		for _, p := range pods {
			readers = append(readers, counted{Reader{p, *r.s, w}, &byPods})
		}
		if c.gone {
			kill(1)
		}
		if err := o.Reconcile(t.Context(), c.slices, readers...); err != nil {
			t.Fatal(c.name, err)
		}
		if err := w.Close(""); err != nil {
			t.Fatal(err)
		}
		if n := byPods.Load(); n != c.byPods {
			t.Errorf("%s: %d slices were read by pods, want %d", c.name, n, c.byPods)
		}
		got, ledgers := sightings(t, w.Dir)
		if ledgers != c.ledgers {
			t.Errorf("%s: ledgers %s", c.name, ledgers)
		}
		if want == nil {
			want = got
			for what, n := range map[string]uint64{"seen 0": 100, "seen 2": 101, "again 3": 20, "foreign 4": 20, "corrupt 2": 1, "phantom 2": 1} {
				if got[what] != n {
					t.Errorf("%s: %d, want %d", what, got[what], n)
				}
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, one reader %v", c.name, got, want)
		}
	}
}

// sightings are the records that the ledgers of the store's readers have between them, by kind and stream.
func sightings(t *testing.T, dir string) (map[string]uint64, string) {
	t.Helper()
	run, err := evidence.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	out, seen := map[string]uint64{}, map[uint32]*stats.Set{}
	for _, p := range run.Points() {
		run.Ledger(p, func(e evidence.Entry) error {
			switch e.Class {
			case evidence.Seen:
				if seen[e.Stream] == nil {
					seen[e.Stream] = &stats.Set{}
				}
				before := seen[e.Stream].Len()
				seen[e.Stream].AddSpan(e.Span)
				fresh := seen[e.Stream].Len() - before
				out[fmt.Sprint("seen ", e.Stream)] += fresh
				out[fmt.Sprint("again ", e.Stream)] += e.Span.Len() - fresh
			case evidence.Duplicate:
				out[fmt.Sprint("again ", e.Stream)] += e.Span.Len()
			default:
				out[fmt.Sprint(e.Class, " ", e.Stream)] += e.Span.Len()
			}
			return nil
		})
	}
	for _, e := range run.Events {
		if e.Kind == evidence.EventRecon && e.State != "done" {
			t.Error(e)
		}
	}
	return out, strings.Join(run.Points(), " ")
}

// An observer of Kafka reads no store, and the other way round.
func TestOtherKind(t *testing.T) {
	r := newRig(t)
	w := r.writer()
	kafkas, _ := r.serve(1)
	if err := kafkas[0].Call(t.Context(), http.MethodPost, "/read", ReadPlan{Header: w.Header(), Scenario: *r.s}, nil); err == nil || !strings.Contains(err.Error(), "this observer reads Kafka") {
		t.Error(err)
	}
	stores, _ := serve(t, 1, Config{Store: elastic.Access{URL: "http://127.0.0.1:1"}})
	if err := stores[0].Call(t.Context(), http.MethodPost, "/open", r.plan(w), nil); err == nil || !strings.Contains(err.Error(), "this observer reads the store") {
		t.Error(err)
	}
}
