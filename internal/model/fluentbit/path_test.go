package fluentbit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/model"
	"triad/internal/model/fluentbit"
	"triad/internal/model/fluentd"
	"triad/internal/observe"
	"triad/internal/source"
)

const (
	configDir = "../../../manifests/base/datacenter/config"
	topic     = "service-topic"
	logFile   = "var/log/containers/pod-1_datacenter_service-inputgen-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.log"
)

// path is the way of a line as it is deployed: file, Fluent Bit, Fluentd, Kafka, each from its shipped configuration.
type path struct {
	tb      testing.TB
	root    string
	cluster *kfake.Cluster
	log     *os.File

	mu   sync.Mutex
	addr string // of Fluentd, which changes with each start

	stopBit, stopD func(error)
}

type process interface {
	Run(ctx context.Context) error
}

func start(tb testing.TB, p process) func(error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	var once sync.Once
	return func(cause error) {
		once.Do(func() {
			cancel(cause)
			if err := <-done; err != nil {
				tb.Error(err)
			}
		})
	}
}

func newPath(tb testing.TB) *path {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, topic, "system-auth-topic", "system-kmsg-topic", "system-syslog-topic", "system-metrics-topic"))
	if err != nil {
		tb.Fatal(err)
	}
	p := &path{tb: tb, root: tb.TempDir(), cluster: cluster}
	if err := os.MkdirAll(filepath.Join(p.root, filepath.Dir(logFile)), 0o755); err != nil {
		tb.Fatal(err)
	}
	if p.log, err = os.Create(filepath.Join(p.root, logFile)); err != nil {
		tb.Fatal(err)
	}
	p.startD()
	p.startBit()
	tb.Cleanup(func() {
		p.stopBit(model.ErrKilled)
		p.stopD(model.ErrKilled)
		p.log.Close()
		cluster.Close()
	})
	return p
}

func (p *path) read(name string, changes ...string) []byte {
	b, err := os.ReadFile(filepath.Join(configDir, name))
	if err != nil {
		p.tb.Fatal(err)
	}
	return []byte(strings.NewReplacer(changes...).Replace(string(b)))
}

func (p *path) startD() {
	cfg, _, err := fluentd.Parse(p.read("fluentd.yaml"), "fluentd.yaml", map[string]string{"KAFKA_BROKERS": "unused:1"})
	if err != nil {
		p.tb.Fatal(err)
	}
	ready := make(chan string, 2)
	d, err := fluentd.New(cfg, fluentd.Options{Root: p.root, Brokers: p.cluster.ListenAddrs(), Listen: func(network, _ string) (net.Listener, error) {
		ln, err := net.Listen(network, "127.0.0.1:0")
		if err == nil {
			ready <- ln.Addr().String()
		}
		return ln, err
	}})
	if err != nil {
		p.tb.Fatal(err)
	}
	p.stopD = start(p.tb, d)
	addr := <-ready // the source is the first listener
	p.mu.Lock()
	p.addr = addr
	p.mu.Unlock()
}

func (p *path) startBit() {
	// Only the wait before a retry and the interval of figures of the node are shorter than shipped, for the sake of the test's time.
	cfg, _, err := fluentbit.Parse(p.read("fluent-bit.yaml", "scheduler.cap: 30", "scheduler.cap: 2", "interval_sec: 10", "interval_sec: 1"), "fluent-bit.yaml", map[string]string{"NODE_NAME": "node-1", "FLUENTD_HOST": "fluentd"})
	if err != nil {
		p.tb.Fatal(err)
	}
	b, err := fluentbit.New(cfg, fluentbit.Options{
		Root:   p.root,
		Listen: func(network, _ string) (net.Listener, error) { return net.Listen(network, "127.0.0.1:0") },
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			p.mu.Lock()
			addr := p.addr
			p.mu.Unlock()
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	})
	if err != nil {
		p.tb.Fatal(err)
	}
	p.stopBit = start(p.tb, b)
}

// write appends n numbered lines of about 256 bytes as the container runtime does.
func (p *path) write(first, n int) {
	var b []byte
	for i := range n {
		b = source.AppendCRI(b, time.Now(), true, fmt.Appendf(nil, `{"seq":%d,"pad":"%0200d"}`, first+i, 0))
	}
	if _, err := p.log.Write(b); err != nil {
		p.tb.Fatal(err)
	}
}

// consume reads until want distinct numbers have come.
func (p *path) consume(want int, within time.Duration) map[int]int {
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.cluster.ListenAddrs()...), kgo.ConsumeTopics(topic))
	if err != nil {
		p.tb.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	got := map[int]int{}
	partition := int32(-1)
	for len(got) < want && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			var v struct{ Log, File, Host string }
			var line struct{ Seq int }
			if err := json.Unmarshal(r.Value, &v); err != nil {
				p.tb.Fatal(err)
			}
			if err := json.Unmarshal([]byte(v.Log), &line); err != nil {
				p.tb.Fatalf("%v in %s", err, v.Log)
			}
			if key := v.Host + ":" + v.File; string(r.Key) != key || v.File != "/"+logFile {
				p.tb.Fatalf("key %s of %s", r.Key, r.Value)
			}
			if partition >= 0 && r.Partition != partition {
				p.tb.Fatal("one file in two partitions")
			}
			partition = r.Partition
			got[line.Seq]++
		})
	}
	if len(got) < want {
		p.tb.Fatalf("%d of %d lines within %v", len(got), want, within)
	}
	return got
}

// TestPath: every line arrives once.
func TestPath(t *testing.T) {
	t.Parallel()
	p := newPath(t)
	for i := range 20 {
		p.write(i*100, 100)
		time.Sleep(50 * time.Millisecond)
	}
	for n, times := range p.consume(2000, 20*time.Second) {
		if times != 1 {
			t.Errorf("line %d came %d times", n, times)
		}
	}
}

// TestNodeMetricsPath: figures of the node come to the topic of their own as records without a line, named by their node, beside lines that lose
// nothing by it.
func TestNodeMetricsPath(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the node tells its figures on Linux only")
	}
	p := newPath(t)
	p.write(0, 100)
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.cluster.ListenAddrs()...), kgo.ConsumeTopics("system-metrics-topic"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var cpu, mem int
	for (cpu == 0 || mem == 0) && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			var v map[string]any
			if err := json.Unmarshal(r.Value, &v); err != nil {
				t.Fatal(err)
			}
			if string(r.Key) != "node-1" || v["host"] != "node-1" || v["@timestamp"] == nil || !observe.NodeMetrics(r.Value, r.Topic) {
				t.Fatalf("key %s of %s", r.Key, r.Value)
			}
			if share, ok := v["cpu_p"].(float64); ok && share >= 0 && len(v) == 5 {
				cpu++
			}
			if total, ok := v["Mem.total"].(float64); ok && total > 0 && len(v) == 8 {
				mem++
			}
		})
	}
	if cpu == 0 || mem == 0 {
		t.Fatalf("%d whole records of processors and %d of memory", cpu, mem)
	}
	for n, times := range p.consume(100, 20*time.Second) {
		if times != 1 {
			t.Errorf("line %d came %d times", n, times)
		}
	}
}

// TestPathFluentdKilled: Fluentd is killed in mid-flow and away for a while, then the agent is killed too. Nothing is
// lost; what comes twice is a chunk whose acknowledgement was cut off.
func TestPathFluentdKilled(t *testing.T) {
	t.Parallel()
	p := newPath(t)
	sent := 0
	flow := func(d time.Duration) {
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			p.write(sent, 20)
			sent += 20
		}
	}
	flow(1500 * time.Millisecond)
	p.stopD(model.ErrKilled)
	flow(2 * time.Second)
	p.startD()
	flow(1500 * time.Millisecond)
	p.stopBit(model.ErrKilled)
	flow(500 * time.Millisecond)
	p.startBit()
	flow(500 * time.Millisecond)
	got := p.consume(sent, 30*time.Second)
	twice := 0
	for _, n := range got {
		twice += n - 1
	}
	t.Logf("%d lines, %d came again", sent, twice)
	if twice > sent/2 {
		t.Errorf("%d of %d lines came again", twice, sent)
	}
}

// BenchmarkPath measures lines per second from file to Kafka through both models in one process. The lines of one
// iteration are in the file when it starts; the flush intervals of about three seconds are part of the time, so that
// long runs say more.
func BenchmarkPath(b *testing.B) {
	const lines = 200000
	for b.Loop() {
		b.StopTimer()
		p := newPath(b)
		b.StartTimer()
		for i := range lines / 1000 {
			p.write(i*1000, 1000)
		}
		waitOffset(b, p, lines)
		b.StopTimer()
		p.stopBit(model.ErrKilled)
		p.stopD(model.ErrKilled)
		b.StartTimer()
	}
	b.ReportMetric(float64(lines*b.N)/b.Elapsed().Seconds(), "records/s")
}

// waitOffset waits until the topic holds n records, without reading them.
func waitOffset(tb testing.TB, p *path, n int64) {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		total := int64(0)
		for i := range int32(3) {
			if info := p.cluster.PartitionInfo(topic, i); info != nil {
				total += info.HighWatermark
			}
		}
		if total >= n {
			return
		}
	}
	tb.Fatal("the records did not arrive")
}
