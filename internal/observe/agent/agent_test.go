package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"triad/internal/evidence"
	"triad/internal/observe"
	"triad/internal/observe/kafka"
	"triad/internal/pod"
	"triad/internal/record"
	"triad/internal/scenario"
	"triad/internal/source"
	"triad/internal/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const partitions = 5

// rig is a topic with five partitions, and what is to be read of it.
type rig struct {
	t       *testing.T
	s       *scenario.Scenario
	brokers []string
	client  *kgo.Client
	start   time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: 100s}\nload: [{source: service, rate: 100/s, streams: 7}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "service-topic"), kfake.SeedTopics(3, "dead-letter-topic"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic("service-topic"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &rig{t, s, c.ListenAddrs(), client, time.Now().Add(-10 * time.Second)}
}

// produce writes records of every stream, each stream into one partition; some also as dead letters.
func (r *rig) produce(run uint32, seqs ...uint64) {
	r.t.Helper()
	var rs []*kgo.Record
	for _, st := range r.s.Streams() {
		for _, seq := range seqs {
			line := source.Append(nil, source.Service, 1, record.Tag{Run: run, Stream: st.ID, Seq: seq, Scheduled: r.start.Add(time.Second).UnixNano()}, 256)
			if seq == 9 { // a byte of the message is another
				line = []byte(strings.Replace(string(line), `"msg":"`, `"msg":"_`, 1))
			}
			doc := append(source.AppendEscaped([]byte(`{"log":"`), line), `"}`...)
			rs = append(rs, &kgo.Record{Value: doc, Partition: int32(st.ID % partitions)})
			if seq%10 == 3 {
				rs = append(rs, &kgo.Record{Topic: "dead-letter-topic", Value: doc, Partition: int32(st.ID % 3)})
			}
		}
	}
	rs = append(rs, &kgo.Record{Value: []byte("no record of anybody"), Partition: 1}, &kgo.Record{Value: []byte("nor this"), Partition: 2})
	if err := r.client.ProduceSync(r.t.Context(), rs...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) writer() *evidence.Writer {
	r.t.Helper()
	w, err := evidence.Create(filepath.Join(r.t.TempDir(), "run"), evidence.Header{ID: "run", Run: 7, Scenario: "t", Streams: r.s.Streams(), HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, r.s)
	if err != nil {
		r.t.Fatal(err)
	}
	return w
}

// reader is what a run has read Kafka for it.
type reader interface {
	Run(ctx context.Context, known *observe.Known) error
	Seen() uint64
	DeadLettered() uint64
	Copies() int64
}

// read has a reader see what is produced, and returns what the evidence says of it.
func (r *rig) read(o reader, w *evidence.Writer) map[string]any {
	r.t.Helper()
	if err := w.Begin(r.start); err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(r.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := o.Run(ctx, observe.NewKnown(r.s, 7, r.start)); err != nil {
			r.t.Error(err)
		}
	})
	r.first()
	r.second()
	r.produce(7, 10)
	for deadline := time.Now().Add(time.Minute); o.Seen() < 7*9 || o.DeadLettered() < 7; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d records seen, %d of them dead letters", o.Seen(), o.DeadLettered())
		}
	}
	if n := o.Copies(); n != 7 { // of each stream one
		r.t.Errorf("%d records are there twice, want 7", n)
	}
	stop()
	wg.Wait()
	return r.says(w)
}

// first and second are what is produced in a run, but for its end.
func (r *rig) first() { r.produce(7, 0, 1, 2, 3, 5, 4, 6, 6, 9) } // one behind a later one, one twice, one damaged

func (r *rig) second() {
	r.produce(8, 0)         // another run's
	r.produce(7, 1_000_000) // in nobody's schedule
}

// says is what the evidence says of what was seen.
func (r *rig) says(w *evidence.Writer) map[string]any {
	r.t.Helper()
	if err := w.Close(""); err != nil {
		r.t.Fatal(err)
	}
	run, err := evidence.Open(w.Dir)
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[string]any{}
	count := func(key string, n float64) {
		v, _ := out[key].(float64)
		out[key] = v + n
	}
	for _, p := range run.Points() {
		run.Ledger(p, func(e evidence.Entry) error {
			count(fmt.Sprintf("%s %s of stream %d", evidence.PointOf(p), e.Class, e.Stream), float64(e.Span.Len()))
			return nil
		})
	}
	run.Series(func(_ time.Duration, s evidence.Sample) error {
		count(s.Name+" "+s.Labels["point"], s.Value)
		return nil
	})
	run.Hists(func(k evidence.HistKey, _ time.Duration, h *stats.Hist) error {
		count("latencies of "+k.Metric+" "+k.Topic, float64(h.Count()))
		return nil
	})
	counted := map[string]bool{}
	for _, e := range run.Events {
		n := 0.0
		if _, err := fmt.Sscan(e.Attrs["count"], &n); err == nil {
			count(e.Kind+" "+e.Attrs["topic"], n)
			by := e.Attrs["observer"]
			if key := e.Kind + e.Attrs["topic"] + by; evidence.PointOf(by) != evidence.PointKafka || counted[key] {
				r.t.Errorf("%s is counted twice, or by nobody: %v", e.Kind, e.Attrs)
			} else {
				counted[key] = true
			}
		}
	}
	if len(run.Damage) > 0 {
		r.t.Error(run.Damage)
	}
	return out
}

func (r *rig) serve(n int) (pods []pod.Remote, kill func(k int)) {
	r.t.Helper()
	return serve(r.t, n, Config{Brokers: r.brokers})
}

// serve starts n agents on loopback.
func serve(t *testing.T, n int, cfg Config) (pods []pod.Remote, kill func(k int)) {
	t.Helper()
	stops, gone := make([]context.CancelFunc, n), make([]atomic.Bool, n)
	for k := range n {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		own := cfg
		own.State, own.Logger = t.TempDir(), slog.New(slog.DiscardHandler)
		a, done := New(own), make(chan error, 1)
		go func() { done <- a.Serve(ctx, l) }()
		var once sync.Once
		stops[k] = func() {
			once.Do(func() {
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		}
		t.Cleanup(stops[k])
		pods = append(pods, pod.Remote{
			Name: fmt.Sprintf("observer-%d", k), URL: "http://" + l.Addr().String(),
			Client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
			Gone:   func(context.Context) bool { return gone[k].Load() },
		})
	}
	return pods, func(k int) {
		stops[k]()
		gone[k].Store(true)
	}
}

func (r *rig) config(w *evidence.Writer) kafka.Config {
	return kafka.Config{
		Brokers: r.brokers, Topics: []string{"service-topic"}, DeadLetter: "dead-letter-topic", Evidence: w, Pulse: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	}
}

func (r *rig) plan(w *evidence.Writer) Plan {
	return Plan{Header: w.Header(), Scenario: *r.s, Topics: []string{"service-topic"}, DeadLetter: "dead-letter-topic"}
}

// TestSeveralSeeWhatOneSees: one observer, several in one process and several in pods say the same of the same records.
func TestSeveralSeeWhatOneSees(t *testing.T) {
	var want map[string]any
	for _, c := range []struct {
		name string
		open func(r *rig, w *evidence.Writer) (reader, error)
	}{
		{"one", func(r *rig, w *evidence.Writer) (reader, error) { return kafka.OpenGroup(t.Context(), r.config(w), 1) }},
		{"three", func(r *rig, w *evidence.Writer) (reader, error) { return kafka.OpenGroup(t.Context(), r.config(w), 3) }},
		{"more than partitions", func(r *rig, w *evidence.Writer) (reader, error) { return kafka.OpenGroup(t.Context(), r.config(w), 7) }},
		{"pods", func(r *rig, w *evidence.Writer) (reader, error) {
			pods, _ := r.serve(3)
			return Open(t.Context(), pods, r.plan(w), w)
		}},
	} {
		r := newRig(t)
		r.produce(7, 50) // what lies there before the run is not the run's
		w := r.writer()
		o, err := c.open(r, w)
		if err != nil {
			t.Fatal(c.name, err)
		}
		got := r.read(o, w)
		if want == nil {
			want = got
			for _, class := range []evidence.Class{evidence.Seen, evidence.Duplicate, evidence.Misordered, evidence.Corrupt, evidence.Phantom} {
				if want[fmt.Sprintf("kafka %s of stream 3", class)] == nil {
					t.Errorf("one observer saw nothing that is %s: %v", class, want)
				}
			}
		}
		for k, v := range want {
			if !reflect.DeepEqual(got[k], v) {
				t.Errorf("%s: %s is %v, of one observer %v", c.name, k, got[k], v)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s says %v, one observer %v", c.name, got, want)
		}
	}
}

// JSON strips the monotonic reading of the start. What is seen is timed by one all the same: a step of the wall clock moves no latency.
func TestStartByTheMonotonicClock(t *testing.T) {
	r := newRig(t)
	a := New(Config{Brokers: r.brokers, State: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err := a.open(t.Context(), r.plan(r.writer())); err != nil {
		t.Fatal(err)
	}
	if err := a.begin(t.Context(), r.start.Round(0)); err != nil {
		t.Fatal(err)
	}
	if start := a.w.Start(); !strings.Contains(start.String(), " m=") || !start.Round(0).Equal(r.start.Round(0)) {
		t.Errorf("began at %v, want %v", start, r.start)
	}
	if err := a.stop(); err != nil {
		t.Error(err)
	}
}

// An observer whose pod goes takes with it what it had seen: that is said, and what the others have seen is there.
func TestObserverGoes(t *testing.T) {
	r := newRig(t)
	w := r.writer()
	pods, kill := r.serve(2)
	o, err := Open(t.Context(), pods, r.plan(w), w)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Begin(r.start); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx, observe.NewKnown(r.s, 7, r.start)) }()
	r.produce(7, 0, 1, 2)
	for o.Seen() < 21 {
		time.Sleep(10 * time.Millisecond)
	}
	kill(1)
	time.Sleep(2 * askEvery)
	stop()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "observer-1 is gone: what it had seen is not known") {
		t.Error(err)
	}
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	run, err := evidence.Open(w.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if p := strings.Join(run.Points(), " "); p != "dead-letter-0 kafka-0" {
		t.Errorf("ledgers of %s", p)
	}
}

// killed opens and begins n observers for a run whose harness is killed then: it neither stops them nor fetches anything. What is left of it is
// reopened.
func (r *rig) killed(n int) (w *evidence.Writer, left *evidence.Left, pods []pod.Remote, kill func(k int)) {
	r.t.Helper()
	first := r.writer()
	pods, kill = r.serve(n)
	o, err := Open(r.t.Context(), pods, r.plan(first), first)
	if err == nil {
		err = first.Begin(r.start)
	}
	if err == nil {
		err = o.each(func(_ int, p pod.Remote) error {
			return p.Call(r.t.Context(), http.MethodPost, "/run", Start{r.start}, nil)
		})
	}
	dir := filepath.Join(r.t.TempDir(), "run")
	if err == nil {
		err = os.CopyFS(dir, os.DirFS(first.Dir))
	}
	if err == nil {
		err = first.Close("killed")
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if w, left, err = evidence.Reopen(dir); err != nil {
		r.t.Fatal(err)
	}
	return w, left, pods, kill
}

// Observers read on while their harness is dead, and the one that goes on has of them what one that was never killed has: all of it, once.
func TestGoesOn(t *testing.T) {
	r := newRig(t)
	w := r.writer()
	one, err := kafka.OpenGroup(t.Context(), r.config(w), 1)
	if err != nil {
		t.Fatal(err)
	}
	want := r.read(one, w)

	r = newRig(t)
	w, left, pods, _ := r.killed(3)
	r.first()
	r.second()
	o, err := Rejoin(t.Context(), pods, w, left)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx, observe.NewKnown(r.s, 7, r.start)) }()
	r.produce(7, 10)
	for deadline := time.Now().Add(time.Minute); o.Seen() < 7*9 || o.DeadLettered() < 7; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d records seen, %d of them dead letters", o.Seen(), o.DeadLettered())
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := r.says(w); !reflect.DeepEqual(got, want) {
		t.Errorf("the run that went on says %v, one that was never killed %v", got, want)
	}
}

// An observer whose pod came again without its plan while the harness was dead, or went, is said at the end, and the others are read.
func TestGoesOnWithoutOne(t *testing.T) {
	for name, want := range map[string]string{"anew": "observer-1 was started anew in the middle of the run", "gone": "observer-1 is gone"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			w, left, pods, kill := r.killed(2)
			if name == "anew" {
				fresh, _ := r.serve(2)
				pods[1].URL = fresh[1].URL
			} else {
				kill(1)
			}
			o, err := Rejoin(t.Context(), pods, w, left)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			stop()
			if err := o.Run(ctx, observe.NewKnown(r.s, 7, r.start)); err == nil || !strings.Contains(err.Error(), want) {
				t.Error(err)
			}
			if err := w.Close(""); err != nil {
				t.Fatal(err)
			}
			run, err := evidence.Open(w.Dir)
			if err != nil {
				t.Fatal(err)
			}
			if p := strings.Join(run.Points(), " "); p != "dead-letter-0 kafka-0" {
				t.Errorf("ledgers of %s", p)
			}
		})
	}
}

// What was fetched once is not fetched again, an observer that was told to stop has missed what came since, and one that is silent is asked
// another time: none of them lets the run go on now.
func TestDoesNotGoOn(t *testing.T) {
	r := newRig(t)
	w, left, pods, _ := r.killed(2)
	refused := func(what, want string, resumable bool) {
		t.Helper()
		_, err := Rejoin(t.Context(), pods, w, left)
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, evidence.ErrNotResumable) == resumable {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	url := pods[1].URL
	pods[1].URL = "http://127.0.0.1:1"
	refused("silent", "observer-1: ", true)
	pods[1].URL = url
	if err := pods[1].Call(t.Context(), http.MethodPost, "/stop", nil, nil); err != nil {
		t.Fatal(err)
	}
	refused("stopped", "observer-1 does not read", false)
	left.Seen[evidence.ShardOf(evidence.PointKafka, 0)] = nil
	refused("fetched", "while it collected", false)
	if err := w.Abandon(); err != nil {
		t.Fatal(err)
	}
}
