package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"triad/internal/evidence"
	"triad/internal/record"
	"triad/internal/scenario"
	"triad/internal/stats"
)

// What comes out of the JSON form is what went in, wherever in the eight bytes the special one stands.
func TestDocumentAgainstEncodingJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("ab \"\\\n\t\x00\x1f \x7f/<é漢🙂")
	for n := range 5000 {
		var b strings.Builder
		for range n % 40 {
			b.WriteRune(alphabet[r.IntN(len(alphabet))])
		}
		doc := AppendDocument([]byte("kept"), []byte(b.String()), "h\"1", "")[4:]
		var got struct{ Log, Host string }
		if err := json.Unmarshal(doc, &got); err != nil || got.Log != b.String() || got.Host != "h\"1" {
			t.Fatalf("%q became %s: %v", b.String(), doc, err)
		}
	}
}

// openEvidence is evidence of a generator in files of dir (l.led, h.hist, s.tsf), and what closes them.
func openEvidence(tb testing.TB, dir string) (ev Evidence, closeAt func(intent time.Duration) error) {
	tb.Helper()
	l, err := evidence.CreateLedger(filepath.Join(dir, "l.led"))
	if err != nil {
		tb.Fatal(err)
	}
	h, err := evidence.CreateHists(filepath.Join(dir, "h.hist"), time.Second)
	if err != nil {
		tb.Fatal(err)
	}
	sr, err := evidence.CreateSeries(filepath.Join(dir, "s.tsf"))
	if err != nil {
		tb.Fatal(err)
	}
	ev = Evidence{Ledger: l, Hists: h, Series: sr, Pulse: evidence.NewPulse(sr, "ledger", 100*time.Millisecond)}
	return ev, func(intent time.Duration) error { return errors.Join(l.Close(intent), h.Close(), sr.Close()) }
}

// testEvidence is evidence of a generator whose files close with the test.
func testEvidence(t *testing.T) Evidence {
	t.Helper()
	ev, closeAt := openEvidence(t, t.TempDir())
	t.Cleanup(func() {
		if err := closeAt(0); err != nil {
			t.Error(err)
		}
	})
	return ev
}

// A source that enters at Kafka is driven faster than it can be, over a client with little room: what the broker has in the end is every
// record of the schedule once, whole, with its own key and time, and the evidence says so.
func TestEnterKafka(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "service-topic"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {warm-up: 10ms, before: 90ms}\nload: [{source: service, enter: kafka, rate: 200000/s, streams: 7}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	sink, err := NewKafkaSink("n", start, kgo.SeedBrokers(c.ListenAddrs()...), kgo.ProducerLinger(time.Millisecond), kgo.MaxBufferedRecords(2000))
	if err != nil {
		t.Fatal(err)
	}
	if sink.Room() != 2000 {
		t.Errorf("room for %d", sink.Room())
	}
	ev := testEvidence(t)
	lagged := false
	g, err := New(Config{Scenario: s, Run: 9, Start: start, Streams: s.Streams(), Sink: sink, Evidence: ev, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := g.Progress()
	if p.Planned != 20_000 || p.Acked+p.Dropped != p.Planned || p.Unknown != 0 || p.Attempted != p.Acked || p.Acked == 0 {
		t.Fatalf("%+v", p)
	}
	if p.Dropped > 0 {
		lagged = true
		t.Logf("a busy machine: %d dropped", p.Dropped)
	}
	if got := ev.Pulse.Total(); got != p.Acked {
		t.Errorf("the pulse has %d records of %d", got, p.Acked)
	}
	r, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("service-topic"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	type id struct {
		stream uint32
		seq    uint64
	}
	seen := map[id]bool{}
	next := map[uint32]uint64{}
	for uint64(len(seen)) < p.Acked {
		f := r.PollFetches(ctx)
		if err := f.Err0(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(rec *kgo.Record) {
			var doc struct {
				Log, Host string
				At        time.Time `json:"@timestamp"`
			}
			if err := json.Unmarshal(rec.Value, &doc); err != nil || doc.Host != "n" || doc.At.Before(start.Truncate(time.Millisecond)) || doc.At.After(time.Now()) {
				t.Fatalf("%s: %v", rec.Value, err)
			}
			tag, err := record.Parse([]byte(doc.Log))
			if err != nil || tag.Run != 9 || string(rec.Key) != fmt.Sprintf("stream-%d", tag.Stream) || seen[id{tag.Stream, tag.Seq}] || len(doc.Log) < 256 {
				t.Fatalf("key %s, %s: %+v, %v", rec.Key, doc.Log, tag, err)
			}
			seen[id{tag.Stream, tag.Seq}] = true
			if !lagged && next[tag.Stream] != tag.Seq {
				t.Fatalf("stream %d: %d where %d was due", tag.Stream, tag.Seq, next[tag.Stream])
			}
			next[tag.Stream] = tag.Seq + 1
			if w := rec.Timestamp.Sub(doc.At); w < 0 || w >= time.Millisecond {
				t.Fatalf("time of the record %v, of the document %v", rec.Timestamp, doc.At)
			}
		})
	}
}

// A broker that takes its time is never told to be faster than it was, though outcomes are timed by the answer and not by the promise.
func TestEnterKafkaTimes(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "service-topic"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const takes = 30 * time.Millisecond
	c.ControlKey(produceKey, func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		time.Sleep(takes)
		return nil, nil, false
	})
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {warm-up: 100ms, before: 200ms}\nload: [{source: service, enter: kafka, rate: 2000/s, streams: 5}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ev := testEvidence(t)
	if ev.Hists, err = evidence.CreateHists(filepath.Join(dir, "h.hist"), time.Second); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	sink, err := NewKafkaSink("n", start, kgo.SeedBrokers(c.ListenAddrs()...), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{Scenario: s, Run: 9, Start: start, Streams: s.Streams(), Sink: sink, Evidence: ev, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(g.Run(t.Context()), ev.Hists.Close()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	got := map[string]*stats.Hist{}
	if d, err := evidence.ReadHists(filepath.Join(dir, "h.hist"), "h", time.Second, func(k evidence.HistKey, _ time.Duration, h *stats.Hist) error {
		if got[k.Metric] == nil {
			got[k.Metric] = &stats.Hist{}
		}
		got[k.Metric].Merge(h)
		return nil
	}); err != nil || d != nil {
		t.Fatal(err, d)
	}
	n := g.Progress().Acked
	if n == 0 || len(got) != 4 || got["generator_lag"].Count() != n {
		t.Fatalf("%d acknowledged, %d metrics", n, len(got))
	}
	for _, m := range []string{"target_block", "send_corrected", "send_uncorrected"} {
		if h := got[m]; h.Count() != n || h.Min() < takes || h.Max() > took {
			t.Errorf("%s: %d of %d records, from %v to %v, where a broker takes %v and all of it took %v", m, h.Count(), n, h.Min(), h.Max(), takes, took)
		}
	}
}

// Records are used again: each must still arrive with its own key and document, though the line's buffer changes at once.
func TestKafkaSinkKeepsRecordsApart(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sink, err := NewKafkaSink("n", time.Now(), kgo.SeedBrokers(c.ListenAddrs()...), kgo.ProducerLinger(time.Millisecond), kgo.MaxBufferedRecords(50))
	if err != nil {
		t.Fatal(err)
	}
	outcomes, err := newOutcomes(sink.start, "s", testEvidence(t))
	if err != nil {
		t.Fatal(err)
	}
	const n = 3000
	var runs [5]*openRun
	for i := range runs {
		runs[i] = outcomes.stream(uint32(i))
	}
	line := make([]byte, 0, 64)
	for i := range n {
		line = fmt.Appendf(line[:0], "line \"%d\" %s", i, strings.Repeat("x", i%17))
		sink.Send(t.Context(), Record{Stream: &scenario.Stream{ID: uint32(i % 5), Topic: "t"}, Seq: uint64(i), Line: line}, Outcome{run: runs[i%5], seq: uint64(i)})
		copy(line, "overwritten")
	}
	if err := sink.Close(t.Context()); err != nil || outcomes.settled() != n {
		t.Fatalf("%d settled, %v", outcomes.settled(), err)
	}
	if acked, _ := outcomes.counts(); acked != n {
		t.Fatalf("%d acknowledged", acked)
	}
	r, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := map[int]bool{}
	for len(seen) < n {
		f := r.PollFetches(ctx)
		if err := f.Err0(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(rec *kgo.Record) {
			var doc struct{ Log string }
			var i int
			if err := json.Unmarshal(rec.Value, &doc); err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Sscanf(doc.Log, "line \"%d\"", &i); err != nil || doc.Log != fmt.Sprintf("line \"%d\" %s", i, strings.Repeat("x", i%17)) ||
				string(rec.Key) != fmt.Sprintf("stream-%d", i%5) || seen[i] {
				t.Fatalf("key %s, %q, again %v: %v", rec.Key, doc.Log, seen[i], err)
			}
			seen[i] = true
		})
	}
}
