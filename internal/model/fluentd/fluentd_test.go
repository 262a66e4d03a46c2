package fluentd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	pmodel "github.com/prometheus/common/model"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"triad/internal/model"
	"triad/internal/model/forward"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "service-topic"

// rig is a Fluentd between a forward client and a fake Kafka that can be cut off.
type rig struct {
	t       *testing.T
	cfg     Config
	root    string
	cluster *kfake.Cluster
	gate    *gate

	hook          func(*kgo.Record) []*kgo.Record
	addr, metrics string
	fd            *Fluentd
	stop          func(cause error)
}

// gate is a dialer that can be closed: connections break and new ones are refused.
type gate struct {
	mu    sync.Mutex
	shut  bool
	conns []net.Conn
}

func (g *gate) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut {
		return nil, errors.New("connection refused")
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		c.Close()
		return nil, errors.New("connection refused")
	}
	g.conns = append(g.conns, c)
	return c, nil
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	if shut {
		for _, c := range g.conns {
			c.Close()
		}
		g.conns = nil
	}
}

// newRig takes the shipped configuration with changes, as pairs of old and new text.
func newRig(t *testing.T, changes ...string) *rig {
	t.Helper()
	text := string(shipped(t))
	for i := 0; i+1 < len(changes); i += 2 {
		if !strings.Contains(text, changes[i]) {
			t.Fatalf("%q is not in the configuration", changes[i])
		}
		text = strings.ReplaceAll(text, changes[i], changes[i+1])
	}
	cfg, _, err := Parse([]byte(text), "fluentd.yaml", map[string]string{"KAFKA_BROKERS": "unused:1"})
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, topic, "system-auth-topic", "system-kmsg-topic", "system-syslog-topic"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	r := &rig{t: t, cfg: cfg, root: t.TempDir(), cluster: cluster, gate: &gate{}}
	t.Cleanup(func() {
		if r.stop != nil {
			r.stop(nil)
		}
	})
	r.start()
	return r
}

func (r *rig) start() {
	r.t.Helper()
	listening := make(chan net.Addr, 2)
	fd, err := New(r.cfg, Options{
		Root: r.root, Brokers: r.cluster.ListenAddrs(), Dial: r.gate.dial, Produce: r.hook,
		Listen: func(network, _ string) (net.Listener, error) {
			ln, err := net.Listen(network, "127.0.0.1:0")
			if err == nil {
				listening <- ln.Addr()
			}
			return ln, err
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- fd.Run(ctx) }()
	r.fd = fd
	for _, p := range []*string{&r.addr, &r.metrics} {
		select {
		case a := <-listening:
			*p = a.String()
		case err := <-done:
			r.t.Fatalf("Run: %v", err)
		}
	}
	r.stop = func(cause error) {
		cancel(cause)
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
		r.stop = nil
	}
}

func (r *rig) client(timeout time.Duration) *forward.Client {
	c := forward.NewClient(forward.ClientOptions{Addr: r.addr, RequireAck: true, IOTimeout: timeout})
	r.t.Cleanup(func() { c.Close() })
	return c
}

// entries makes n records numbered from first, of about size bytes.
func entries(first, n, size int) []byte {
	var b []byte
	for i := range n {
		b = forward.AppendEntryHead(b, time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC))
		b = forward.AppendMapLen(b, 4)
		b = forward.AppendString(forward.AppendString(b, "log"), fmt.Sprintf("n=%06d %s", first+i, strings.Repeat("x", size)))
		b = forward.AppendString(forward.AppendString(b, "file"), "/var/log/a.log")
		b = forward.AppendString(forward.AppendString(b, "host"), "node\"1")
		b = forward.AppendString(forward.AppendString(b, "level"), "info")
	}
	return b
}

// consumed reads until the topic has want distinct numbers or the time is over, then a little longer for what must not
// come, and returns how often each number came.
func (r *rig) consumed(want int, within time.Duration) map[int]int {
	r.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.cluster.ListenAddrs()...), kgo.ConsumeTopics(topic))
	if err != nil {
		r.t.Fatal(err)
	}
	defer cl.Close()
	got := map[int]int{}
	poll := func(d time.Duration) {
		ctx, cancel := context.WithTimeout(r.t.Context(), d)
		defer cancel()
		cl.PollFetches(ctx).EachRecord(func(rec *kgo.Record) {
			var v struct{ Log string }
			if err := json.Unmarshal(rec.Value, &v); err != nil {
				r.t.Fatalf("%v in %s", err, rec.Value)
			}
			var n int
			if _, err := fmt.Sscanf(v.Log, "n=%d", &n); err != nil {
				r.t.Fatalf("%v in %s", err, rec.Value)
			}
			got[n]++
		})
	}
	for end := time.Now().Add(within); len(got) < want && time.Now().Before(end); {
		poll(200 * time.Millisecond)
	}
	poll(200 * time.Millisecond)
	return got
}

func exactly(t *testing.T, got map[int]int, want int) {
	t.Helper()
	for i := range want {
		if got[i] != 1 {
			t.Errorf("record %d came %d times", i, got[i])
		}
	}
	if len(got) != want {
		t.Errorf("%d distinct records, want %d", len(got), want)
	}
}

var immediate = []string{"flush_mode: interval\n        flush_interval: 1\n", "flush_mode: immediate\n"}

func with(base []string, more ...string) []string {
	return append(append([]string{}, base...), more...)
}

func TestEndToEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.client(5 * time.Second)
	for i := range 10 {
		if err := c.Send(t.Context(), "service.var.log.a", entries(i*10, 10, 20), 10); err != nil {
			t.Fatal(err)
		}
	}
	exactly(t, r.consumed(100, 10*time.Second), 100)

	cl, err := kgo.NewClient(kgo.SeedBrokers(r.cluster.ListenAddrs()...), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	recs := cl.PollFetches(t.Context()).Records()
	if len(recs) == 0 {
		t.Fatal("no records")
	}
	const want = `{"log":"n=000000 xxxxxxxxxxxxxxxxxxxx","file":"/var/log/a.log","host":"node\"1","level":"info","@timestamp":"2026-01-02T03:04:05.000000006Z"}`
	if got := string(recs[0].Value); got != want {
		t.Errorf("value %s\nwant  %s", got, want)
	}
	if got := string(recs[0].Key); got != `node"1:/var/log/a.log` {
		t.Errorf("key %s", got)
	}
	for i, rec := range recs {
		if rec.Partition != recs[0].Partition || rec.Offset != int64(i) {
			t.Fatalf("record %d of one file is at %d/%d", i, rec.Partition, rec.Offset)
		}
	}
}

// TestKillAndResume: what was acknowledged is there after kill -9, at least once.
func TestKillAndResume(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sent := 0
	for range 3 {
		c := r.client(5 * time.Second)
		for range 20 {
			if err := c.Send(t.Context(), "service.a", entries(sent, 50, 100), 50); err != nil {
				t.Fatal(err)
			}
			sent += 50
		}
		r.stop(model.ErrKilled)
		r.start()
	}
	got := r.consumed(sent, 10*time.Second)
	for i := range sent {
		if got[i] == 0 {
			t.Fatalf("record %d was acknowledged and is lost", i)
		}
	}
}

// TestGracefulStop writes nothing twice: what is in the buffer stays there for the next process.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.client(5 * time.Second)
	for i := range 20 {
		if err := c.Send(t.Context(), "service.a", entries(i*50, 50, 100), 50); err != nil {
			t.Fatal(err)
		}
	}
	r.stop(nil)
	r.start()
	exactly(t, r.consumed(1000, 10*time.Second), 1000)
}

var fastRetry = []string{
	"interval: 2\n", "interval: 0.2\n", "retry_wait: 1\n", "retry_wait: 0.1\n", "retry_max_interval: 30", "retry_max_interval: 0.3",
	"message.timeout.ms: 120000", "message.timeout.ms: 1000", "rdkafka_delivery_handle_poll_timeout: 150", "rdkafka_delivery_handle_poll_timeout: 2",
}

func TestKafkaAwayThenBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, with(immediate, fastRetry...)...)
	r.gate.set(true)
	c := r.client(5 * time.Second)
	for i := range 10 {
		if err := c.Send(t.Context(), "service.a", entries(i*10, 10, 100), 10); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "a failed flush", func() bool { return r.metric("fluentd_output_status_num_errors") > 0 })
	if v := r.metric("fluentd_output_status_buffer_total_bytes"); v < 1000 {
		t.Errorf("buffer has %v bytes", v)
	}
	r.gate.set(false)
	exactly(t, r.consumed(100, 10*time.Second), 100)
	waitFor(t, "an empty buffer", func() bool { return r.metric("fluentd_output_status_buffer_total_bytes") == 0 })
	if n := r.fd.Dropped(); n != 0 {
		t.Errorf("%d records dropped", n)
	}
}

// TestGivenUpRecordsAreGone: what was sent once and given up does not come beside the next try of its chunk.
func TestGivenUpRecordsAreGone(t *testing.T) {
	t.Parallel()
	r := newRig(t, with(immediate, fastRetry...)...)
	r.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		r.gate.set(true) // the broker goes with the request
		return nil, errors.New("gone"), true
	})
	if err := r.client(5*time.Second).Send(t.Context(), "service.a", entries(0, 10, 100), 10); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a failed flush", func() bool { return r.metric("fluentd_output_status_num_errors") > 0 })
	r.gate.set(false)
	exactly(t, r.consumed(10, 10*time.Second), 10)
	waitFor(t, "an empty buffer", func() bool { return r.metric("fluentd_output_status_buffer_total_bytes") == 0 })
	exactly(t, r.consumed(10, time.Second), 10)
}

// TestFlushAtTheNextSecond: the age of a chunk counts from the full second before its first record.
func TestFlushAtTheNextSecond(t *testing.T) {
	b, err := newBuffer(Buffer{FlushInterval: time.Second, QueuedChunks: 1, ChunkLimit: 1 << 20, TotalLimit: 1 << 20, FullThreshold: 0.95}, "", "", "out", nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.write("", entries(0, 1, 10), 1); err != nil {
		t.Fatal(err)
	}
	b.stage[""].created = time.UnixMilli(10_700)
	for _, c := range []struct {
		at     int64
		queued bool
	}{{10_700, false}, {10_999, false}, {11_000, true}} {
		if err := b.enqueueOlder(time.UnixMilli(c.at)); err != nil {
			t.Fatal(err)
		}
		if b.queued() != c.queued {
			t.Errorf("at %d ms: queued %v, want %v", c.at, b.queued(), c.queued)
		}
	}
}

// small makes a buffer of 30 chunks of about 1 kB.
var small = with(with(immediate, fastRetry...), "total_limit_size: 4g", "total_limit_size: 30k", "chunk_limit_size: 8m", "chunk_limit_size: 2k")

// fill sends until the buffer is full and returns how many records were acknowledged.
func (r *rig) fill(c *forward.Client, batches int) (acked int, err error) {
	for range batches {
		if err := c.Send(r.t.Context(), "service.a", entries(acked, 10, 40), 10); err != nil {
			return acked, err
		}
		acked += 10
	}
	return acked, nil
}

func TestOverflowThrow(t *testing.T) {
	t.Parallel()
	r := newRig(t, with(small, "overflow_action: block", "overflow_action: throw_exception")...)
	r.gate.set(true)
	c := r.client(5 * time.Second)
	acked, err := r.fill(c, 200)
	if err == nil {
		t.Fatal("the buffer never refused")
	}
	if _, err := r.fill(c, 1); err == nil {
		t.Error("a full buffer accepted more")
	}
	r.gate.set(false)
	exactly(t, r.consumed(acked, 10*time.Second), acked)
	waitFor(t, "room", func() bool { return r.metric("fluentd_output_status_buffer_total_bytes") == 0 })
	if v := r.metric("fluentd_output_status_num_errors"); v < 2 {
		t.Errorf("num_errors = %v, want the refused emits too", v)
	}
}

// TestOverflowBlock: a full output stops the whole source, and nothing is lost.
func TestOverflowBlock(t *testing.T) {
	t.Parallel()
	r := newRig(t, small...)
	r.gate.set(true)
	c := r.client(1500 * time.Millisecond)
	acked, err := r.fill(c, 200)
	if err == nil {
		t.Fatal("the buffer never blocked")
	}
	other := r.client(500 * time.Millisecond)
	if err := other.Send(t.Context(), "system.auth", entries(0, 1, 10), 1); err == nil {
		t.Error("another topic was accepted while one blocks the event loop")
	}
	r.gate.set(false)
	got := r.consumed(acked+10, 15*time.Second)
	for i := range acked + 10 { // the blocked batch is stored too, although its sender gave up
		if got[i] == 0 {
			t.Fatalf("record %d is lost", i)
		}
	}
	if r.fd.Dropped() != 0 {
		t.Errorf("%d records dropped", r.fd.Dropped())
	}
}

func TestOverflowDropOldest(t *testing.T) {
	t.Parallel()
	r := newRig(t, with(small, "overflow_action: block", "overflow_action: drop_oldest_chunk")...)
	r.gate.set(true)
	c := r.client(5 * time.Second)
	acked, err := r.fill(c, 100)
	if err != nil {
		t.Fatal(err)
	}
	dropped := int(r.fd.Dropped())
	if dropped == 0 {
		t.Fatal("nothing dropped")
	}
	r.gate.set(false)
	got := r.consumed(acked-dropped, 10*time.Second)
	if len(got) != acked-dropped {
		t.Errorf("%d of %d records came, %d dropped", len(got), acked, dropped)
	}
	if got[acked-1] != 1 {
		t.Error("the newest record was dropped")
	}
}

// TestRetriesExhausted: the queue is thrown away, and a copy of its files is kept.
func TestRetriesExhausted(t *testing.T) {
	t.Parallel()
	r := newRig(t, with(with(immediate, fastRetry...), "retry_forever: true", "retry_max_times: 1")...)
	r.gate.set(true)
	c := r.client(5 * time.Second)
	if _, err := r.fill(c, 5); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end of retries", func() bool { return r.fd.Dropped() == 50 })
	files, err := filepath.Glob(filepath.Join(r.root, "/var/lib/fluentd/root/buffer/out_service/*"))
	if err != nil || len(files) == 0 {
		t.Errorf("evacuated files: %v, %v", files, err)
	}
	r.gate.set(false)
	// The client finds the brokers again in its own time, and a batch has two short tries: one of several gets through.
	got := map[int]int{}
	for n := 50; n < 250 && len(got) == 0; n += 10 {
		if err := c.Send(t.Context(), "service.a", entries(n, 10, 40), 10); err != nil {
			t.Fatal(err)
		}
		got = r.consumed(10, time.Second)
	}
	if len(got) == 0 {
		t.Error("nothing came after the drop")
	}
	for n := range got {
		if n < 50 {
			t.Errorf("record %d came, which was thrown away", n)
		}
	}
}

// TestTooLarge: a record that no broker takes puts its chunk aside, and the next chunk goes on.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	r := newRig(t, immediate...)
	c := r.client(5 * time.Second)
	if err := c.Send(t.Context(), "service.a", entries(0, 1, 1000000), 1); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(t.Context(), "service.a", entries(1, 1, 10), 1); err != nil {
		t.Fatal(err)
	}
	if got := r.consumed(1, 10*time.Second); got[1] != 1 || len(got) != 1 {
		t.Errorf("came: %v", got)
	}
	if n := r.fd.Dropped(); n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}
	files, err := filepath.Glob(filepath.Join(r.root, "/var/lib/fluentd/root/backup/worker0/out_service/*.log"))
	if err != nil || len(files) != 1 {
		t.Errorf("put aside: %v, %v", files, err)
	}
}

// TestResumeTorn: half an entry at the end of a staged file is cut off, a file that is no chunk is put aside.
func TestResumeTorn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.client(5 * time.Second)
	r.gate.set(true)
	if err := c.Send(t.Context(), "service.a", entries(0, 10, 100), 10); err != nil {
		t.Fatal(err)
	}
	r.stop(model.ErrKilled)
	dir := filepath.Join(r.root, "/var/lib/fluentd/buffer/service")
	staged, err := filepath.Glob(filepath.Join(dir, "buffer.[bq]*.log"))
	if err != nil || len(staged) != 1 {
		t.Fatalf("chunks %v, %v", staged, err)
	}
	f, err := os.OpenFile(staged[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(entries(10, 1, 100)[:50]); err != nil {
		t.Fatal(err)
	}
	f.Close()
	broken := filepath.Join(dir, "buffer.q"+strings.Repeat("0", 32)+".log")
	if err := os.WriteFile(broken, []byte("no chunk"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.gate.set(false)
	r.start()
	exactly(t, r.consumed(10, 10*time.Second), 10)
	if _, err := os.Stat(broken); !os.IsNotExist(err) {
		t.Errorf("the broken file is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(r.root, "/var/lib/fluentd/root/backup/worker0/out_service", strings.Repeat("0", 32)+".log")); err != nil {
		t.Errorf("the broken file was not put aside: %v", err)
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("no %s within 15 s", what)
}

// metric scrapes one value of the service output; -1 when it is not there yet.
func (r *rig) metric(name string) float64 {
	r.t.Helper()
	resp, err := http.Get("http://" + r.metrics + "/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	p := expfmt.NewTextParser(pmodel.UTF8Validation)
	fams, err := p.TextToMetricFamilies(strings.NewReader(string(body)))
	if err != nil {
		r.t.Fatalf("%v in %s", err, body)
	}
	for _, m := range fams[name].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "plugin_id" && l.GetValue() == "out_service" {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return -1
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if v := r.metric("fluentd_output_status_emit_records"); v != -1 {
		t.Errorf("a value before the first copy: %v", v)
	}
	c := r.client(5 * time.Second)
	if err := c.Send(t.Context(), "service.a", entries(0, 7, 10), 7); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "first copy", func() bool { return r.metric("fluentd_output_status_emit_records") == 7 })
	for _, name := range []string{
		"fluentd_status_buffer_queue_length", "fluentd_status_buffer_total_bytes", "fluentd_status_retry_count",
		"fluentd_output_status_buffer_total_bytes", "fluentd_output_status_buffer_stage_length", "fluentd_output_status_buffer_stage_byte_size",
		"fluentd_output_status_buffer_queue_length", "fluentd_output_status_buffer_queue_byte_size", "fluentd_output_status_buffer_available_space_ratio",
		"fluentd_output_status_retry_count", "fluentd_output_status_num_errors", "fluentd_output_status_emit_count", "fluentd_output_status_emit_records",
		"fluentd_output_status_write_count", "fluentd_output_status_rollback_count", "fluentd_output_status_flush_time_count", "fluentd_output_status_slow_flush_count",
	} {
		if r.metric(name) < 0 {
			t.Errorf("no %s", name)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Config{}, Options{}); err == nil {
		t.Error("a configuration without anything was accepted")
	}
}

// TestProduceHook: what the hook gives is sent, and the chunk counts as delivered.
func TestProduceHook(t *testing.T) {
	t.Parallel()
	r := newRig(t, immediate...)
	r.stop(nil)
	r.hook = func(rec *kgo.Record) []*kgo.Record {
		switch v := string(rec.Value); {
		case strings.Contains(v, "n=000001 "):
			return nil
		case strings.Contains(v, "n=000002 "):
			again := *rec
			return []*kgo.Record{rec, &again}
		}
		return []*kgo.Record{rec}
	}
	r.start()
	if err := r.client(5*time.Second).Send(t.Context(), "service.a", entries(0, 4, 10), 4); err != nil {
		t.Fatal(err)
	}
	got := r.consumed(3, 10*time.Second)
	if len(got) != 3 || got[1] != 0 || got[2] != 2 {
		t.Errorf("came: %v, want all but 1 and 2 twice", got)
	}
}
