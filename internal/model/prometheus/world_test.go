package prometheus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	triad "triad/internal/model"
	"triad/internal/observe/promapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick is the real program's timing with the fixed waits shortened, so that a test takes seconds.
func quick() Timing {
	return Timing{
		ScrapeStart: 10 * time.Millisecond, WatcherRetry: 100 * time.Millisecond, SegmentCheck: 5 * time.Millisecond,
		ReadTimeout: 100 * time.Millisecond, Checkpoint: 50 * time.Millisecond, ShardUpdate: 200 * time.Millisecond,
	}
}

// long skips what takes more than two seconds of real time.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes several seconds of real time")
	}
}

// gate is a dialer that can be cut: new connections are refused and old ones closed.
type gate struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (g *gate) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut {
		return nil, errors.New("link is cut")
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err == nil {
		g.conns = append(g.conns, c)
	}
	return c, err
}

func (g *gate) set(cut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut = cut
	if cut {
		for _, c := range g.conns {
			c.Close()
		}
		g.conns = nil
	}
}

func (g *gate) isCut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cut
}

// target exposes a counter that rises by 1 each 50 ms, whatever the number of scrapes, and a gauge that can be switched off.
type target struct {
	*httptest.Server
	start   time.Time
	scrapes atomic.Int64
	gone    atomic.Bool
	broken  atomic.Bool
	extra   atomic.Value // string
}

func newTarget(t *testing.T) *target {
	x := &target{start: time.Now()}
	x.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		x.scrapes.Add(1)
		if x.broken.Load() {
			http.Error(w, "broken", http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "# TYPE triad_synthetic_total counter\ntriad_synthetic_total %d\n", time.Since(x.start)/(50*time.Millisecond))
		if !x.gone.Load() {
			fmt.Fprint(w, "# TYPE passing gauge\npassing 1\n")
		}
		if e, ok := x.extra.Load().(string); ok {
			fmt.Fprint(w, e)
		}
	}))
	t.Cleanup(x.Server.Close)
	return x
}

func (x *target) addr() string { return strings.TrimPrefix(x.URL, "http://") }

// process is a model that runs; stop ends it with a cause and waits.
type process struct {
	cancel context.CancelCauseFunc
	done   chan error
	once   sync.Once
	err    error
}

func start(t *testing.T, run func(context.Context) error, ready <-chan struct{}) *process {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	p := &process{cancel: cancel, done: make(chan error, 1)}
	go func() { p.done <- run(ctx) }()
	t.Cleanup(func() { p.stop(t, triad.ErrKilled) })
	select {
	case <-ready:
	case err := <-p.done:
		t.Fatalf("ended before ready: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("not ready after 10 s")
	}
	return p
}

func (p *process) stop(t *testing.T, cause error) {
	t.Helper()
	p.once.Do(func() {
		p.cancel(cause)
		select {
		case p.err = <-p.done:
			if p.err != nil {
				t.Errorf("model ended with %v", p.err)
			}
		case <-time.After(20 * time.Second):
			t.Error("model did not end within 20 s")
		}
	})
}

func startReceiver(t *testing.T, root, config string, args ...string) (*Receiver, *process) {
	t.Helper()
	cfg, _, err := ParseReceiver([]byte(config), append([]string{"--web.enable-remote-write-receiver", "--web.listen-address=127.0.0.1:0"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := NewReceiver(cfg, ReceiverOptions{Options: Options{Root: root, Timing: quick()}})
	if err != nil {
		t.Fatal(err)
	}
	return r, start(t, r.Run, r.Ready())
}

// agentYAML scrapes one target and writes to one receiver, in small batches.
func agentYAML(interval string, tgt *target, write string, queue string) string {
	if queue == "" {
		queue = "{batch_send_deadline: 50ms, min_backoff: 20ms, max_backoff: 100ms, capacity: 100, max_samples_per_send: 50, max_shards: 2}"
	}
	return fmt.Sprintf(`
global: {scrape_interval: %s, external_labels: {cluster: datacenter}}
scrape_configs:
  - job_name: inputgen
    static_configs: [{targets: ['%s'], labels: {instance: inputgen-0}}]
remote_write:
  - name: central
    url: http://%s/api/v1/write
    queue_config: %s
`, interval, tgt.addr(), write, queue)
}

func startAgent(t *testing.T, root, config string, g *gate, args ...string) (*Agent, *process) {
	t.Helper()
	cfg, _, err := ParseAgent([]byte(config), append([]string{"--agent", "--web.listen-address=127.0.0.1:0", "--storage.remote.flush-deadline=500ms"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{Root: root, Timing: quick()}
	if g != nil {
		// Only the way to the receiver is cut, not the one to the targets.
		recv := strings.TrimSuffix(strings.TrimPrefix(cfg.RemoteWrites[0].URL, "http://"), "/api/v1/write")
		opts.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == recv {
				return g.dial(ctx, network, addr)
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
	}
	a, err := New(cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	return a, start(t, a.Run, a.Ready())
}

func api(r *Receiver) promapi.Client {
	return promapi.Client{Base: "http://" + r.Addr().String(), HTTP: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
}

func raw(t *testing.T, r *Receiver, sel string, from, to time.Time) []promapi.Series {
	t.Helper()
	s, err := api(r).Raw(context.Background(), sel, from, to)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// one asks for exactly one series; an absent one has no samples.
func one(t *testing.T, r *Receiver, sel string, from, to time.Time) promapi.Series {
	t.Helper()
	s := raw(t, r, sel, from, to)
	if len(s) > 1 {
		t.Fatalf("%s is %d series", sel, len(s))
	}
	if len(s) == 0 {
		return promapi.Series{}
	}
	return s[0]
}

// eventually polls until the condition holds.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// metric reads the sum of a family of a model's own endpoint. A family with labels of its own has no series before its first event.
func metric(t *testing.T, addr net.Addr, name string) float64 {
	t.Helper()
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get("http://" + addr.String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	samples, err := parseBody(resp)
	if err != nil {
		t.Fatal(err)
	}
	sum, seen := 0.0, false
	for _, s := range samples {
		if s.Name == name {
			sum, seen = sum+s.Value, true
		}
	}
	if !seen && name != "prometheus_remote_storage_samples_dropped_total" {
		t.Fatalf("no metric %s", name)
	}
	return sum
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
