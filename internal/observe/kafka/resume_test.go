package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/evidence"
	"triad/internal/observe"
	"triad/internal/record"
	"triad/internal/scenario"
	"triad/internal/source"
	"triad/internal/stats"
)

type resumeRig struct {
	t       *testing.T
	s       *scenario.Scenario
	cluster *kfake.Cluster
	client  *kgo.Client
	start   time.Time
}

func newResumeRig(t *testing.T) *resumeRig {
	t.Helper()
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: 100s}\nload: [{source: service, rate: 100/s, streams: 3}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "service-topic"), kfake.SeedTopics(1, "dead-letter-topic"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic("service-topic"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &resumeRig{t, s, c, client, time.Now().Add(-10 * time.Second)}
}

// produce writes records [from, to) of every stream, each stream into one partition.
func (r *resumeRig) produce(from, to uint64) {
	r.t.Helper()
	var rs []*kgo.Record
	for _, st := range r.s.Streams() {
		for seq := from; seq < to; seq++ {
			line := source.Append(nil, source.Service, 1, record.Tag{Run: 7, Stream: st.ID, Seq: seq, Scheduled: r.start.Add(time.Second).UnixNano()}, 256)
			doc := append(source.AppendEscaped([]byte(`{"log":"`), line), `"}`...)
			rs = append(rs, &kgo.Record{Value: doc, Partition: int32(st.ID % 2)})
		}
	}
	if err := r.client.ProduceSync(r.t.Context(), rs...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *resumeRig) open(w *evidence.Writer, left *evidence.Left, observers int) (Group, error) {
	return OpenGroup(r.t.Context(), Config{
		Brokers: r.cluster.ListenAddrs(), Topics: []string{"service-topic"}, DeadLetter: "dead-letter-topic", Evidence: w, Pulse: 100 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler), Resume: left,
	}, observers)
}

// watch runs observers until they have seen so many records and then is over.
func (r *resumeRig) watch(o Group, seen uint64, then func()) {
	r.t.Helper()
	ctx, stop := context.WithCancel(r.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := o.Run(ctx, observe.NewKnown(r.s, 7, r.start)); err != nil {
			r.t.Error(err)
		}
	})
	for deadline := time.Now().Add(time.Minute); o.Seen() < seen; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d of %d records seen", o.Seen(), seen)
		}
	}
	then()
	stop()
	wg.Wait()
}

// The harness is killed at any moment between two flushes, records come while it is dead, and the observer that goes on has every record
// once: none missing, none twice, and none out of order that was not. Several have, too, one of them without a partition.
func TestGoesOn(t *testing.T) {
	for round := range 8 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			observers, window := 1+round/4*2, time.Second+time.Duration(round%2)*9*time.Second // with ten, a mark is seldom
			r := newResumeRig(t)
			r.produce(0, 1) // what lies there before the run is not the run's
			dir := filepath.Join(t.TempDir(), "run")
			w, err := evidence.Create(dir, evidence.Header{ID: "run", Run: 7, Scenario: "t", Streams: r.s.Streams(), HistWindow: window, PulseEvery: 100 * time.Millisecond}, r.s)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Begin(r.start); err != nil {
				t.Fatal(err)
			}
			o, err := r.open(w, nil, observers)
			if err != nil {
				t.Fatal(err)
			}
			r.produce(1, 40)
			killed := filepath.Join(t.TempDir(), "run")
			r.watch(o, 3*39, func() {
				time.Sleep(1200 * time.Millisecond) // a flush comes once a second: these are written
				r.produce(40, 60)                   // and of these none, some or all
				time.Sleep(time.Duration(round%4) * 350 * time.Millisecond)
				if err := os.CopyFS(killed, os.DirFS(dir)); err != nil { // what is on the disk when kill -9 comes
					t.Fatal(err)
				}
			})
			if err := w.Close("killed"); err != nil {
				t.Fatal(err)
			}
			r.produce(60, 80) // nobody is there
			w, left, err := evidence.Reopen(killed)
			if err != nil {
				t.Fatal(err)
			}
			var written uint64
			for _, streams := range left.Seen {
				for _, set := range streams {
					written += set.Len()
				}
			}
			t.Logf("%d records were in the ledgers, and %d in the pulse", written, left.Pulses[evidence.PointKafka]["service"])
			if o, err = r.open(w, left, observers); err != nil {
				t.Fatal(err)
			}
			r.watch(o, 3*79, func() {
				r.produce(80, 100)
				r.produce(5, 6) // a duplicate is one, on either side of the gap
				time.Sleep(500 * time.Millisecond)
			})
			if err := w.Close(""); err != nil {
				t.Fatal(err)
			}
			run, err := evidence.Open(killed)
			if err != nil {
				t.Fatal(err)
			}
			got := map[evidence.Class]*stats.Set{}
			n := map[evidence.Class]uint64{}
			points := run.Points()
			if len(points) != 2*observers {
				t.Errorf("ledgers of %v", points)
			}
			for _, p := range points {
				run.Ledger(p, func(e evidence.Entry) error {
					if e.Stream == 1 {
						if got[e.Class] == nil {
							got[e.Class] = &stats.Set{}
						}
						got[e.Class].AddSpan(e.Span)
						n[e.Class] += e.Span.Len()
					}
					return nil
				})
			}
			if n[evidence.Seen] != 99 || got[evidence.Seen].Len() != 99 || got[evidence.Seen].Has(0) {
				t.Errorf("%d sightings of %d records", n[evidence.Seen], got[evidence.Seen].Len())
			}
			if n[evidence.Duplicate] != 1 || !got[evidence.Duplicate].Has(5) || n[evidence.Misordered]+n[evidence.Foreign]+n[evidence.Phantom] != 0 {
				t.Errorf("classes %v", n)
			}
			var pulses float64
			run.Series(func(_ time.Duration, s evidence.Sample) error {
				if s.Name == evidence.PulseSeries && s.Labels["point"] == evidence.PointKafka {
					pulses += s.Value
				}
				return nil
			})
			if pulses != 3*99 {
				t.Errorf("the pulse counted %v records of %d", pulses, 3*99)
			}
			if len(run.Damage) > 0 {
				t.Error(run.Damage)
			}
		})
	}
}

// A long run writes where it was once in a window: with a thousand streams that is most of the ledger, and a kill has more to read again.
func TestMarksAreSeldom(t *testing.T) {
	for window, want := range map[time.Duration]uint64{time.Second: 15, 10 * time.Second: 11} {
		s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: 100s}\nload: [{source: service, rate: 100/s}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "run")
		w, err := evidence.Create(dir, evidence.Header{ID: "run", Run: 7, Scenario: "t", Streams: s.Streams(), HistWindow: window, PulseEvery: time.Second}, s)
		if err != nil {
			t.Fatal(err)
		}
		o := &Observer{cfg: Config{Evidence: w}, tracker: evidence.NewTracker(), at: map[partition]position{}, other: map[string]uint64{}}
		var err1, err2 error
		o.ledger, err1 = w.Ledger(evidence.PointKafka)
		o.dead, err2 = w.Ledger(evidence.PointDeadLetter)
		if err := errors.Join(err1, err2, w.Begin(time.Now())); err != nil {
			t.Fatal(err)
		}
		for n := range uint64(15) {
			o.at[partition{"a", 0}] = position{int64(n) + 1, 0}
			o.ledger.Mark(evidence.Seen, 0, n)
			if err := o.flushLedgers(time.Duration(n) * time.Second); err != nil {
				t.Fatal(err)
			}
		}
		killed := filepath.Join(t.TempDir(), "run")
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close("killed"); err != nil {
			t.Fatal(err)
		}
		w, left, err := evidence.Reopen(killed)
		if err != nil {
			t.Fatal(err)
		}
		back := &Observer{at: map[partition]position{}, other: map[string]uint64{}}
		if _, err := back.unmark(left.Mark[evidence.PointKafka]); err != nil {
			t.Fatal(err)
		}
		if at := back.at[partition{"a", 0}].next; at != int64(want) || left.Seen[evidence.PointKafka][0].Len() != want {
			t.Errorf("windows of %v: it was at %d, with %d records", window, at, left.Seen[evidence.PointKafka][0].Len())
		}
		if err := w.Abandon(); err != nil {
			t.Fatal(err)
		}
	}
}

// A record that overtook others while nobody looked is out of order, seen from what came before.
func TestOrderAcrossTheGap(t *testing.T) {
	tr := evidence.NewTracker()
	for seq := range uint64(10) {
		if seq != 4 {
			tr.Observe(0, 1, seq)
		}
	}
	o := &Observer{tracker: tr, at: map[partition]position{{"a", 1}: {10, 2}, {"b", 0}: {0, -1}}, other: map[string]uint64{"unreadable\x00a": 3}}
	back := &Observer{at: map[partition]position{}, other: map[string]uint64{}}
	tops, err := back.unmark(o.mark())
	if err != nil {
		t.Fatal(err)
	}
	if back.at[partition{"a", 1}] != (position{10, 2}) || back.at[partition{"b", 0}] != (position{0, -1}) || back.other["unreadable\x00a"] != 3 {
		t.Errorf("read back %+v %v", back.at, back.other)
	}
	again := evidence.NewTracker()
	again.Restore(map[uint32]*stats.Set{0: tr.Seen(0)}, tops)
	if got := again.Observe(0, 1, 4); !got.New || !got.Misordered {
		t.Errorf("a record behind a later one: %+v", got)
	}
	if got := again.Observe(0, 1, 9); got.New {
		t.Error("a record of before the gap is new")
	}
	for n := range o.mark() {
		if _, err := back.unmark(o.mark()[:n]); err == nil {
			t.Errorf("%d bytes of a mark were taken for one", n)
		}
	}
}

// What Kafka deleted before it was read would be taken for lost.
func TestDeletedMeanwhile(t *testing.T) {
	r := newResumeRig(t)
	dir := filepath.Join(t.TempDir(), "run")
	w, err := evidence.Create(dir, evidence.Header{ID: "run", Run: 7, Scenario: "t", Streams: r.s.Streams(), HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, r.s)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Begin(r.start); err != nil {
		t.Fatal(err)
	}
	o, err := r.open(w, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	killed := filepath.Join(t.TempDir(), "run")
	r.produce(1, 10)
	r.watch(o, 27, func() {
		time.Sleep(1200 * time.Millisecond)
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	})
	r.produce(10, 20)
	adm := kadm.NewClient(r.client)
	var offsets kadm.Offsets
	offsets.AddOffset("service-topic", 1, 15, -1)
	if _, err := adm.DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	w, left, err := evidence.Reopen(killed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.open(w, left, 1); !errors.Is(err, evidence.ErrNotResumable) || !strings.Contains(err.Error(), "deleted 6 records of service-topic/1") {
		t.Errorf("%v", err)
	}
}
