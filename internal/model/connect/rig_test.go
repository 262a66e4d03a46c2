package connect

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"triad/internal/esfake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a broker, a store and the settings of a worker between them.
type rig struct {
	t     *testing.T
	kafka *kfake.Cluster
	es    *esfake.Server
	esURL string
	cfg   Config
	dial  func(ctx context.Context, network, addr string) (net.Conn, error) // nil: no other than usual
	prod  *kgo.Client
	sent  map[string]int // records produced by topic
}

const parts = 4

func newRig(t *testing.T, autoRestart bool, extra ...string) *rig {
	t.Helper()
	lines := make([]string, len(extra))
	for i, e := range extra {
		lines[i] = "    " + e
	}
	text := fmt.Sprintf(resources, fmt.Sprint(autoRestart), strings.Join(lines, "\n"))
	cfg, _, err := ParseStrimzi([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Operator = Operator{Reconcile: 50 * time.Millisecond, Unit: 20 * time.Millisecond}
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(parts, "a-topic", "B-topic"), kfake.SeedTopics(1, "dead-letter-topic"),
		kfake.GroupMinSessionTimeout(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	es := esfake.New(esfake.Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := es.Serve(ctx, ln); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	prod, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(prod.Close)
	return &rig{t: t, kafka: k, es: es, esURL: "http://" + ln.Addr().String(), cfg: cfg, prod: prod, sent: map[string]int{}}
}

// produce writes n good records to a topic, over all partitions.
func (r *rig) produce(topic string, n int) {
	r.t.Helper()
	recs := make([]*kgo.Record, n)
	for i := range recs {
		seq := r.sent[topic] + i
		recs[i] = &kgo.Record{Topic: topic, Partition: int32(seq % parts), Key: []byte("k"), Value: fmt.Appendf(nil, `{"log":"tq_1_%d_%d"}`, len(topic), seq)}
	}
	r.sent[topic] += n
	if err := r.prod.ProduceSync(r.t.Context(), recs...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) raw(topic string, partition int32, key, value string) {
	r.t.Helper()
	rec := &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)}
	if key != "" {
		rec.Key = []byte(key)
	}
	if value == "" {
		rec.Value = nil
	}
	if err := r.prod.ProduceSync(r.t.Context(), rec).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

// worker is a running model.
type worker struct {
	*Model
	t    *testing.T
	stop func(cause error)
}

func (r *rig) start() *worker {
	r.t.Helper()
	listen := func(network, _ string) (net.Listener, error) { return net.Listen(network, "127.0.0.1:0") }
	m, err := New(r.cfg, Options{Brokers: r.kafka.ListenAddrs(), ElasticURL: r.esURL, Listen: listen, Dial: r.dial, Seed: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	var once sync.Once
	w := &worker{Model: m, t: r.t, stop: func(cause error) {
		once.Do(func() {
			cancel(cause)
			select {
			case err := <-done:
				if err != nil {
					r.t.Error(err)
				}
			case <-time.After(20 * time.Second):
				r.t.Error("Run did not return")
			}
		})
	}}
	r.t.Cleanup(func() { w.stop(nil) })
	select {
	case <-m.Ready():
	case <-time.After(10 * time.Second):
		r.t.Fatal("not ready")
	}
	return w
}

// within waits until ok, with a deadline.
func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

// get fetches a URL and decodes its JSON.
func get(t *testing.T, method, url string, out any) (int, string) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if out != nil && res.StatusCode < 300 {
		if err := json.Unmarshal(b, out); err != nil {
			t.Fatalf("%s: %s: %v", url, b, err)
		}
	}
	return res.StatusCode, string(b)
}

func (r *rig) count(index string) int {
	r.t.Helper()
	var out struct {
		Count int `json:"count"`
	}
	get(r.t, "POST", r.esURL+"/_refresh", nil)
	if st, _ := get(r.t, "GET", r.esURL+"/"+index+"/_count", &out); st != 200 {
		return 0
	}
	return out.Count
}

// writes returns how many index operations the store has done on an index.
func (r *rig) writes(index string) int {
	r.t.Helper()
	var out struct {
		All struct {
			Primaries struct {
				Indexing struct {
					Total int `json:"index_total"`
				} `json:"indexing"`
			} `json:"primaries"`
		} `json:"_all"`
	}
	get(r.t, "GET", r.esURL+"/"+index+"/_stats", &out)
	return out.All.Primaries.Indexing.Total
}

// exact waits until each index holds exactly what was sent, and looks for each record.
func (r *rig) exact() {
	r.t.Helper()
	for topic, n := range r.sent {
		within(r.t, 20*time.Second, fmt.Sprintf("%d documents of %s", n, topic), func() bool { return r.count(indexName(topic)) >= n })
		if got := r.count(indexName(topic)); got != n {
			r.t.Errorf("%s: %d documents, sent %d", topic, got, n)
		}
		for _, seq := range []int{0, n / 2, n - 1} {
			var out struct {
				Hits struct {
					Hits []struct {
						ID string `json:"_id"`
					} `json:"hits"`
				} `json:"hits"`
			}
			get(r.t, "GET", fmt.Sprintf("%s/%s/_search?size=5&_source=false", r.esURL, indexName(topic)), nil)
			body := fmt.Sprintf(`{"query":{"term":{"log":"tq_1_%d_%d"}}}`, len(topic), seq)
			res, err := http.Post(r.esURL+"/"+indexName(topic)+"/_search", "application/json", strings.NewReader(body))
			if err != nil {
				r.t.Fatal(err)
			}
			err = json.NewDecoder(res.Body).Decode(&out)
			res.Body.Close()
			if err != nil || len(out.Hits.Hits) != 1 || !strings.HasPrefix(out.Hits.Hits[0].ID, fmt.Sprintf("%s+%d+", topic, seq%parts)) {
				r.t.Errorf("record %d of %s: %+v %v", seq, topic, out, err)
			}
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

type status struct {
	Connector struct{ State string }
	Tasks     []struct {
		ID    int
		State string
		Trace string
	}
}

func (w *worker) status() status {
	w.t.Helper()
	var s status
	if st, b := get(w.t, "GET", "http://"+w.RESTAddr()+"/connectors/logs/status", &s); st != 200 {
		w.t.Fatalf("status: %d %s", st, b)
	}
	return s
}

func (w *worker) states() string {
	var out []string
	for _, t := range w.status().Tasks {
		out = append(out, t.State)
	}
	return strings.Join(out, " ")
}

func (w *worker) metric(sample string) (float64, bool) {
	w.t.Helper()
	_, text := get(w.t, "GET", "http://"+w.MetricsAddr()+"/metrics", nil)
	for line := range strings.SplitSeq(text, "\n") {
		if v, ok := strings.CutPrefix(line, sample+" "); ok {
			var f float64
			if _, err := fmt.Sscan(v, &f); err != nil {
				w.t.Fatalf("%s: %v", line, err)
			}
			return f, true
		}
	}
	return 0, false
}

func (r *rig) committed() int64 {
	r.t.Helper()
	offs, err := kadm.NewClient(r.prod).FetchOffsets(r.t.Context(), "connect-logs")
	if err != nil {
		r.t.Fatal(err)
	}
	var n int64
	offs.Each(func(o kadm.OffsetResponse) { n += o.At })
	return n
}
