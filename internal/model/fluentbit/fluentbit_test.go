package fluentbit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	pmodel "github.com/prometheus/common/model"
	"github.com/vmihailenco/msgpack/v5"
	"go.uber.org/goleak"

	"triad/internal/model"
	"triad/internal/model/forward"
	"triad/internal/observe/scrape"
	"triad/internal/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shippedPath is the configuration that is deployed; the model must understand all of it.
const shippedPath = "../../../manifests/base/datacenter/config/fluent-bit.yaml"

func shipped(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.FromSlash(shippedPath))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// quick makes a test take little time: flushes every 0.1 s, and retries after 1 s plus one at most.
var quick = []string{"flush: 1\n", "flush: 0.1\n", "scheduler.cap: 30", "scheduler.cap: 1", "refresh_interval: 2\n", "refresh_interval: 0.1\n"}

// parse reads the shipped configuration with changes, without figures of the node and their way, which would come among the lines.
func parse(t testing.TB, changes ...string) Config {
	t.Helper()
	cfg := parseAll(t, changes...)
	of := func(name string) bool { return name == "system-metrics" }
	cfg.Collectors = nil
	cfg.Filters = slices.DeleteFunc(cfg.Filters, func(m Modifier) bool { return of(m.Name) })
	cfg.Outputs = slices.DeleteFunc(cfg.Outputs, func(o Forward) bool { return of(o.Name) })
	return cfg
}

func parseAll(t testing.TB, changes ...string) Config {
	t.Helper()
	text := shipped(t)
	for i := 0; i+1 < len(changes); i += 2 {
		if !strings.Contains(text, changes[i]) {
			t.Fatalf("%q is not in the configuration", changes[i])
		}
		text = strings.ReplaceAll(text, changes[i], changes[i+1])
	}
	cfg, _, err := Parse([]byte(text), "fluent-bit.yaml", map[string]string{"NODE_NAME": "node-1", "FLUENTD_HOST": "fluentd"})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// aggregator is a forward server that can be away or refuse.
type aggregator struct {
	t    *testing.T
	addr string
	stop func(error)

	mu     sync.Mutex
	refuse bool
	got    map[string]int               // log line -> how often
	recs   map[string]map[string]string // log line -> last record
	tags   map[string]bool
	node   map[string][]map[string]any // tag -> records without a line
	order  []string
}

func newAggregator(t *testing.T) *aggregator {
	a := &aggregator{t: t, got: map[string]int{}, recs: map[string]map[string]string{}, node: map[string][]map[string]any{}, tags: map[string]bool{}, addr: "127.0.0.1:0"}
	a.start()
	t.Cleanup(func() { a.away() })
	return a
}

func (a *aggregator) start() {
	ln, err := net.Listen("tcp", a.addr)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.addr == "127.0.0.1:0" { // the same port for every start
		a.addr = ln.Addr().String()
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- forward.NewServer(forward.ServerOptions{}, a.handle).Serve(ctx, ln) }()
	a.stop = func(cause error) {
		cancel(cause)
		if err := <-done; err != nil {
			a.t.Error(err)
		}
	}
}

func (a *aggregator) away() {
	if a.stop != nil {
		a.stop(model.ErrKilled)
		a.stop = nil
	}
}

func (a *aggregator) handle(_ context.Context, m *forward.Message) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refuse {
		return errors.New("refused")
	}
	a.tags[m.Tag] = true
	_, err := forward.Entries(m.Entries, func(e forward.Entry) error {
		if strings.HasPrefix(m.Tag, "system.metrics.") {
			var r map[string]any
			err := msgpack.Unmarshal(e.Record, &r)
			a.node[m.Tag] = append(a.node[m.Tag], r)
			return err
		}
		var r map[string]string
		if err := msgpack.Unmarshal(e.Record, &r); err != nil {
			return err
		}
		a.got[r["log"]]++
		a.recs[r["log"]] = r
		a.order = append(a.order, r["log"])
		return nil
	})
	return err
}

func (a *aggregator) set(refuse bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuse = refuse
}

func (a *aggregator) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.got)
}

func (a *aggregator) snapshot() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[string]int{}
	maps.Copy(out, a.got)
	return out
}

// agent is a Fluent Bit on a root directory, which can be stopped and started again.
type agent struct {
	t    *testing.T
	cfg  Config
	root string
	proc string // of its figures of the node; empty: the real ones
	to   *aggregator
	http string
	fb   *FluentBit
	stop func(error)
}

func newAgent(t *testing.T, to *aggregator, cfg Config) *agent {
	a := &agent{t: t, cfg: cfg, root: t.TempDir(), to: to}
	for _, d := range []string{"var/log/containers"} {
		if err := os.MkdirAll(filepath.Join(a.root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if a.stop != nil {
			a.kill()
		}
	})
	return a
}

func (a *agent) start() {
	a.t.Helper()
	listening := make(chan string, 1)
	fb, err := New(a.cfg, Options{
		Root: a.root, Proc: a.proc, Hostname: "h",
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, a.to.addr)
		},
		Listen: func(network, _ string) (net.Listener, error) {
			ln, err := net.Listen(network, "127.0.0.1:0")
			if err == nil {
				listening <- ln.Addr().String()
			}
			return ln, err
		},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	a.fb = fb
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- fb.Run(ctx) }()
	select {
	case a.http = <-listening:
	case err := <-done:
		a.t.Fatal(err)
	}
	a.stop = func(cause error) {
		cancel(cause)
		if err := <-done; err != nil {
			a.t.Errorf("Run: %v", err)
		}
		a.stop = nil
	}
}

func (a *agent) kill() { a.stop(model.ErrKilled) }

// read is how many records the inputs have taken in this life.
func (a *agent) read() int64 {
	n := int64(0)
	for _, in := range a.fb.e.inputs {
		if in != a.fb.e.backlog() {
			n += in.records.Load()
		}
	}
	return n
}

func (a *agent) path(p string) string { return filepath.Join(a.root, p) }

// write appends lines to a file of the node.
func (a *agent) write(p string, lines ...string) {
	a.t.Helper()
	f, err := os.OpenFile(a.path(p), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		a.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
		a.t.Fatal(err)
	}
}

func numbered(prefix string, first, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s %06d", prefix, first+i)
	}
	return out
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("no %s within 15 s", what)
}

func exactly(t *testing.T, got map[string]int, want []string) {
	t.Helper()
	for _, l := range want {
		if got[l] != 1 {
			t.Errorf("%q came %d times", l, got[l])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d distinct lines, want %d", len(got), len(want))
	}
}

const container = "/var/log/containers/pod-1_datacenter_service-inputgen-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.log"

func TestRecords(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	a := newAgent(t, to, parse(t, quick...))
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	long := strings.Repeat("long ", 10000) // above what one line of the runtime holds
	cri := source.AppendCRI(source.AppendCRI(nil, at, true, []byte("short")), at, false, []byte(long))
	a.write(container, strings.TrimSuffix(string(cri), "\n"), "not of the runtime")
	a.write("/var/log/auth.log", "auth line")
	a.start()
	waitFor(t, "four records", func() bool { return to.count() == 4 })
	want := map[string]map[string]string{
		"short":              {"log": "short", "file": container, "host": "node-1", "stream": "stdout", "time": "2026-01-02T03:04:05.000000678Z"},
		long:                 {"log": long, "file": container, "host": "node-1", "stream": "stderr", "time": "2026-01-02T03:04:05.000000678Z"},
		"not of the runtime": {"log": "not of the runtime", "file": container, "host": "node-1"},
		"auth line":          {"log": "auth line", "file": "/var/log/auth.log", "host": "node-1"},
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	for line, rec := range want {
		if fmt.Sprint(to.recs[line]) != fmt.Sprint(rec) {
			t.Errorf("%.20q: %.300v\nwant %.300v", line, to.recs[line], rec)
		}
	}
	for _, tag := range []string{"service." + strings.ReplaceAll(container[1:], "/", "."), "system.auth"} {
		if !to.tags[tag] {
			t.Errorf("no tag %s in %v", tag, to.tags)
		}
	}
}

// TestOrderAndLateFiles: files found later are read from their first line, and the lines of a file keep their order.
func TestOrderAndLateFiles(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	a := newAgent(t, to, parse(t, quick...))
	a.start()
	var want []string
	for i := range 10 {
		lines := numbered("line", i*100, 100)
		want = append(want, lines...)
		a.write("/var/log/syslog", lines...)
		time.Sleep(20 * time.Millisecond)
	}
	waitFor(t, "all lines", func() bool { return to.count() == len(want) })
	exactly(t, to.snapshot(), want)
	to.mu.Lock()
	defer to.mu.Unlock()
	if !slices.Equal(to.order, want) {
		t.Error("lines of one file came out of order without any retry")
	}
}

// TestKill: kill -9 in the middle, again and again. Nothing is lost, and the files are not read from their start again.
func TestKill(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	a := newAgent(t, to, parse(t, quick...))
	var want []string
	read := int64(0)
	for round := range 5 {
		a.start()
		for i := range 20 {
			lines := numbered("line", round*1000+i*50, 50)
			want = append(want, lines...)
			a.write("/var/log/syslog", lines...)
			time.Sleep(5 * time.Millisecond)
		}
		a.kill()
		read += a.read()
	}
	a.start()
	waitFor(t, "all lines", func() bool { return to.count() == len(want) })
	a.kill()
	read += a.read()
	// Chunks whose acknowledgement the kill cut off are sent again, as often as there are kills: how many is a matter of time. How
	// often a line is read from its file is not: the kill of the model falls between a chunk and its offset never.
	if read != int64(len(want)) {
		t.Errorf("%d lines were read from the file, in all lives together, of %d: the offsets were not used", read, len(want))
	}
}

// TestAggregatorAway: chunks wait on disk, also over a kill of the agent, and drain when the aggregator is back.
func TestAggregatorAway(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	a := newAgent(t, to, parse(t, quick...))
	a.start()
	a.write("/var/log/syslog", numbered("before", 0, 10)...)
	waitFor(t, "the first lines", func() bool { return to.count() == 10 })
	to.away()
	a.write("/var/log/syslog", numbered("during", 0, 100)...)
	waitFor(t, "retries", func() bool { return a.metric("fluentbit_output_retries_total", "fluentd") > 1 })
	if v := a.metric("fluentbit_output_retried_records_total", "fluentd"); v < 100 {
		t.Errorf("retried records %v", v)
	}
	a.kill()
	a.start()
	a.write("/var/log/syslog", numbered("later", 0, 10)...)
	to.start()
	waitFor(t, "all lines", func() bool { return to.count() == 120 })
	waitFor(t, "an empty storage", func() bool {
		files, err := filepath.Glob(a.path("/var/lib/fluent-bit/storage/*/*.flb"))
		return err == nil && len(files) == 0
	})
}

// TestStorageLimit: over the limit the oldest chunks go, and the metric says exactly how many records that were.
func TestStorageLimit(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	to.set(true)
	a := newAgent(t, to, parse(t, append(quick, "storage.total_limit_size: 2G", "storage.total_limit_size: 100K")...))
	a.start()
	var want []string
	for i := range 40 {
		lines := numbered("line", i*50, 50)
		want = append(want, lines...)
		a.write("/var/log/syslog", lines...)
		time.Sleep(110 * time.Millisecond)
	}
	waitFor(t, "all lines read", func() bool { return a.metric("fluentbit_input_records_total", "system-syslog") == float64(len(want)) })
	dropped := int(a.metric("fluentbit_output_dropped_records_total", "fluentd"))
	lost := int(a.fb.Lost())
	if dropped == 0 {
		t.Fatal("nothing was dropped")
	}
	if v := a.metric("fluentbit_output_chunk_available_capacity_percent", "fluentd"); v > 50 || v < 0 {
		t.Errorf("available capacity %v %%", v)
	}
	to.set(false)
	waitFor(t, "the rest", func() bool { return to.count() == len(want)-dropped-lost })
	time.Sleep(300 * time.Millisecond)
	if n := to.count(); n != len(want)-dropped-lost {
		t.Errorf("%d came of %d, %d dropped, %d without room", n, len(want), dropped, lost)
	}
	if got := to.snapshot(); got[want[len(want)-1]] != 1 {
		t.Error("the newest line was dropped")
	}
}

func TestRetryLimit(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	to.set(true)
	a := newAgent(t, to, parse(t, append(quick, "retry_limit: no_limits", "retry_limit: 1")...))
	a.start()
	a.write("/var/log/syslog", numbered("line", 0, 10)...)
	waitFor(t, "the end of retries", func() bool { return a.metric("fluentbit_output_retries_failed_total", "fluentd") == 1 })
	if n := a.fb.Dropped(); n != 10 {
		t.Errorf("dropped %d, want 10", n)
	}
}

// TestRotation: a renamed file is read on, the new one from its start.
func TestRotation(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	a := newAgent(t, to, parse(t, quick...))
	a.start()
	want := []string{"first"}
	a.write("/var/log/syslog", want...)
	waitFor(t, "the first line", func() bool { return to.count() == 1 })
	for i := range 5 {
		lines := numbered(fmt.Sprintf("file%d", i), 0, 100)
		want = append(want, lines...)
		a.write("/var/log/syslog", lines[:50]...)
		a.rotate("/var/log/syslog", i, "/var/log/syslog", lines[50:])
		time.Sleep(250 * time.Millisecond)
	}
	waitFor(t, "all lines", func() bool { return to.count() == len(want) })
	exactly(t, to.snapshot(), want)
	if v := a.metric("fluentbit_input_files_rotated_total", "system-syslog"); v != 5 {
		t.Errorf("%v rotations counted, want 5", v)
	}
}

// rotate renames a file, writes more to the renamed one, as a daemon does that has it open, and makes a new one.
func (a *agent) rotate(p string, n int, fresh string, late []string) {
	a.t.Helper()
	old := fmt.Sprintf("%s.%d", p, n)
	if err := os.Rename(a.path(p), a.path(old)); err != nil {
		a.t.Fatal(err)
	}
	a.write(old, late...)
	f, err := os.Create(a.path(fresh))
	if err != nil {
		a.t.Fatal(err)
	}
	f.Close()
}

// TestRotationOverrun: files that are rotated and deleted while the agent is down are lost, and exactly those.
func TestRotationOverrun(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	a := newAgent(t, to, parse(t, quick...))
	a.start()
	a.write("/var/log/syslog", numbered("read", 0, 10)...)
	// What was sent and not yet acknowledged is sent again after a kill.
	waitFor(t, "the acknowledgement of the first lines", func() bool { return a.fb.e.outs[0].procRecords.Load() == 10 })
	a.kill()
	a.write("/var/log/syslog", numbered("unread", 0, 10)...)
	a.rotate("/var/log/syslog", 1, "/var/log/syslog", numbered("unread", 10, 10))
	a.write("/var/log/syslog", numbered("kept", 0, 10)...)
	a.start()
	waitFor(t, "the new file", func() bool { return to.count() == 20 })
	time.Sleep(300 * time.Millisecond)
	exactly(t, to.snapshot(), append(numbered("read", 0, 10), numbered("kept", 0, 10)...))
}

// TestMemoryPause: with memory storage the input pauses at its limit, and goes on when there is room.
func TestMemoryPause(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	to.set(true)
	a := newAgent(t, to, parse(t, append(quick, "storage.type: filesystem", "storage.type: memory", "mem_buf_limit: 20M", "mem_buf_limit: 10K", "buffer_chunk_size: 64K", "buffer_chunk_size: 1K")...))
	a.start()
	want := numbered("line", 0, 2000)
	a.write("/var/log/syslog", want...)
	waitFor(t, "a pause", func() bool { return a.metric("fluentbit_input_ingestion_paused", "system-syslog") == 1 })
	if v := a.metric("fluentbit_input_records_total", "system-syslog"); v >= 1000 {
		t.Errorf("%v records read with a limit of 10 KB", v)
	}
	to.set(false)
	waitFor(t, "all lines", func() bool { return to.count() == len(want) })
	exactly(t, to.snapshot(), want)
}

func TestLongLines(t *testing.T) {
	t.Parallel()
	for _, skip := range []string{"true", "false"} {
		to := newAggregator(t)
		a := newAgent(t, to, parse(t, append(quick, "skip_long_lines: true", "skip_long_lines: "+skip, "buffer_chunk_size: 64K", "buffer_chunk_size: 1K", "buffer_max_size: 1M", "buffer_max_size: 2K")...))
		a.write("/var/log/auth.log", "first", strings.Repeat("x", 5000), "last")
		a.start()
		want := 2
		if skip == "false" {
			want = 1
		}
		waitFor(t, "lines", func() bool { return to.count() == want })
		time.Sleep(200 * time.Millisecond)
		got := to.snapshot()
		if len(got) != want || got["first"] != 1 {
			t.Errorf("skip %s: %d lines", skip, len(got))
		}
		if v := a.metric("fluentbit_input_long_line_skipped_total", "system-auth"); skip == "true" && v != 1 {
			t.Errorf("%v long lines counted", v)
		}
		a.kill()
	}
}

// TestGracefulStop: what was read is handed over, and nothing comes twice.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	a := newAgent(t, to, parse(t, "refresh_interval: 2\n", "refresh_interval: 0.1\n")) // flush every second
	a.start()
	want := numbered("line", 0, 1000)
	a.write("/var/log/syslog", want[:500]...)
	waitFor(t, "reading", func() bool { return a.metric("fluentbit_input_records_total", "system-syslog") == 500 })
	a.stop(nil)
	if n := to.count(); n != 500 {
		t.Errorf("%d lines handed over at the stop, want 500", n)
	}
	a.write("/var/log/syslog", want[500:]...)
	a.start()
	waitFor(t, "all lines", func() bool { return to.count() == len(want) })
	exactly(t, to.snapshot(), want)
}

// TestInodeReuse: a row of a file that is gone does not hide the lines of a new file with its inode.
func TestInodeReuse(t *testing.T) {
	d, err := openOffsets(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	id := fileID{1, 2}
	before := mark{7, 32}
	if err := d.set(id, "/x/a", 100, before); err != nil {
		t.Fatal(err)
	}
	if off, m, ok, err := d.get(id, "/b", false); off != 100 || m != before || !ok || err != nil {
		t.Errorf("by inode: %d %v %v %v", off, m, ok, err)
	}
	if off, _, ok, err := d.get(id, "/y/a", true); off != 100 || !ok || err != nil {
		t.Errorf("by the last part of the name: %d %v %v", off, ok, err)
	}
	if _, _, ok, err := d.get(id, "/b", true); ok || err != nil {
		t.Errorf("by name: found, %v", err)
	}
	if _, _, ok, err := d.get(id, "/a", true); ok || err != nil {
		t.Errorf("the row was not deleted, %v", err)
	}
}

// TestRestartBehindLinks: what a restart reads again. A link whose name is not that of its file never fits db.compare_filename, and a file
// in the place of another, with its inode, is told by what stands before the offset.
func TestRestartBehindLinks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		compare bool
		between func(t *testing.T, file string)
		again   int // lines that come a second time
		fresh   []string
	}{
		{"by inode", false, nil, 0, nil},
		{"by name too", true, nil, 20, nil},
		{"another file in its place", false, func(t *testing.T, file string) {
			b, err := os.ReadFile(file)
			if err == nil {
				err = os.WriteFile(file, bytes.ReplaceAll(b, []byte("line"), []byte("LINE")), 0o644) // keeps the inode
			}
			if err != nil {
				t.Fatal(err)
			}
		}, 0, numbered("LINE", 0, 20)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			to := newAggregator(t)
			cfg := parse(t, quick...)
			for i := range cfg.Inputs {
				cfg.Inputs[i].CompareFilename = c.compare
			}
			a := newAgent(t, to, cfg)
			file := a.path("/var/log/pods/0.log")
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.Symlink(file, a.path(container))); err != nil {
				t.Fatal(err)
			}
			lines := numbered("line", 0, 20)
			a.write("/var/log/pods/0.log", lines...)
			a.start()
			waitFor(t, "the lines", func() bool { return to.count() == len(lines) })
			a.stop(nil)
			if c.between != nil {
				c.between(t, file)
			}
			a.start()
			a.write("/var/log/pods/0.log", "last")
			want := len(lines) + len(c.fresh) + 1
			waitFor(t, "the rest", func() bool { return to.count() == want })
			again := 0
			for _, n := range to.snapshot() {
				again += n - 1
			}
			if again != c.again {
				t.Errorf("%d lines came again, want %d", again, c.again)
			}
		})
	}
}

// TestWaitingChunksAreDown: chunks that wait for a retry are not in memory, and keep no other from being tried.
func TestWaitingChunksAreDown(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	to.away()
	cfg := parse(t, quick...)
	cfg.MaxChunksUp = 2
	a := newAgent(t, to, cfg)
	a.start()
	for i := range 8 {
		a.write("/var/log/syslog", fmt.Sprintf("line %d", i))
		time.Sleep(150 * time.Millisecond)
	}
	waitFor(t, "a try of each chunk", func() bool { return a.metric("fluentbit_output_retried_records_total", "fluentd") >= 8 })
	waitFor(t, "a look at chunks that wait", func() bool { return a.metric("fluentbit_storage_fs_chunks_down", "") > 0 })
	to.start()
	waitFor(t, "all lines", func() bool { return to.count() == 8 })
}

// TestStopWithoutAggregator: a stop tries on, every second, until the grace is over, and loses nothing.
func TestStopWithoutAggregator(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	to.away()
	cfg := parse(t, append(quick, "grace: 30", "grace: 3")...)
	a := newAgent(t, to, cfg)
	a.start()
	a.write("/var/log/syslog", "line")
	a.write(container, "2026-01-02T03:04:05Z stdout P half a line")
	waitFor(t, "reading", func() bool { return a.read() == 1 && a.fb.e.outs[0].retries.Load() > 0 })
	began, before := time.Now(), a.fb.e.outs[0].retries.Load()
	a.stop(nil)
	if d, n := time.Since(began), a.fb.e.outs[0].retries.Load()-before; d < 3*time.Second || n < 2 {
		t.Errorf("stopped after %v with %d more retries", d, n)
	}
	to.start()
	a.start()
	waitFor(t, "both", func() bool { return to.count() == 2 })
	exactly(t, to.snapshot(), []string{"line", "half a line"})
	if v := a.metric("fluentbit_input_records_total", "storage_backlog.5"); v != 2 {
		t.Errorf("%v records of the run before are counted as read, want 2", v)
	}
}

// TestMetricsAsRecorded: every family is one of the real program, of its type, with its labels.
func TestMetricsAsRecorded(t *testing.T) {
	t.Parallel()
	families := func(r io.Reader) map[string]string {
		p := expfmt.NewTextParser(pmodel.UTF8Validation)
		fams, err := p.TextToMetricFamilies(r)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for name, f := range fams {
			var series []string
			for _, m := range f.GetMetric() {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
				series = append(series, strings.Join(labels, ","))
			}
			slices.Sort(series)
			out[name] = f.GetType().String() + " " + strings.Join(series, " ")
		}
		return out
	}
	f, err := os.Open("testdata/real/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	real := families(f)
	to := newAggregator(t)
	a := newAgent(t, to, often(t, "buffer_chunk_size: 256K", "buffer_chunk_size: 1K", "buffer_max_size: 1M\n      skip_long_lines: true\n      # On disk", "buffer_max_size: 2K\n      skip_long_lines: true\n      # On disk"))
	a.proc = fakeProc(t)
	a.start()
	a.write(container, "short", strings.Repeat("x", 5000))
	for _, p := range []string{"/var/log/containers/pod-1_datacenter_canary-inputgen-0.log", "/var/log/auth.log", "/var/log/kern.log", "/var/log/syslog"} {
		a.write(p, "line of "+p)
	}
	waitFor(t, "the lines", func() bool { return to.count() == 5 })
	waitFor(t, "figures of the node", func() bool { return a.metric("fluentbit_output_proc_records_total", "system-metrics") > 0 })
	waitFor(t, "storage metrics", func() bool { return a.metric("fluentbit_input_storage_chunks", "system-auth") >= 0 })
	model := families(bytes.NewReader(a.fb.metrics()))
	if len(model) < 30 {
		t.Fatalf("%d families", len(model))
	}
	for name, is := range model {
		if want, ok := real[name]; !ok {
			t.Errorf("%s: the real program has no such family", name)
		} else if is != want {
			t.Errorf("%s is\n%s, want\n%s", name, is, want)
		}
	}
	for _, fam := range scrape.Families("fluent-bit") {
		if _, ok := real[fam.Name]; !ok {
			t.Errorf("%s is read, and the real program has no such family", fam.Name)
		}
	}
}

func TestOffsets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	d, err := openOffsets(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := d.set(fileID{1, uint64(i)}, "/f", int64(i), mark{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(d.set(fileID{1, 3}, "/f", 33, mark{}), d.delete(fileID{1, 4})); err != nil {
		t.Fatal(err)
	}
	d.close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[5*rowSize+40] ^= 1     // one flipped bit
	b = append(b, b[:20]...) // a torn row
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if d, err = openOffsets(path); err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if err := d.set(fileID{1, 99}, "/f", 99, mark{}); err != nil {
		t.Fatal(err)
	}
	if err := d.deleteStale(map[fileID]bool{{1, 3}: true, {1, 4}: true, {1, 5}: true, {1, 99}: true}); err != nil {
		t.Fatal(err)
	}
	for ino, want := range map[uint64]int64{3: 33, 4: -1, 5: -1, 6: -1, 99: 99} {
		off, _, ok, err := d.get(fileID{1, ino}, "/f", true)
		if err != nil || ok != (want >= 0) || ok && off != want {
			t.Errorf("inode %d: %d, %v, %v", ino, off, ok, err)
		}
	}
}

// metric scrapes one value by name and the label name; -1 when it is not there.
func (a *agent) metric(name, label string) float64 {
	a.t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.Get("http://" + a.http + "/api/v2/metrics/prometheus")
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	p := expfmt.NewTextParser(pmodel.UTF8Validation)
	fams, err := p.TextToMetricFamilies(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, m := range fams[name].GetMetric() {
		if len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() == label {
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return -1
}

func TestMetricsAndHealth(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	a := newAgent(t, to, parse(t, quick...))
	a.start()
	a.write("/var/log/auth.log", numbered("line", 0, 7)...)
	waitFor(t, "the count", func() bool { return a.metric("fluentbit_output_proc_records_total", "fluentd") == 7 })
	for _, m := range [][2]string{
		{"fluentbit_input_records_total", "system-auth"},
		{"fluentbit_input_bytes_total", "system-auth"},
		{"fluentbit_input_files_opened_total", "system-auth"},
		{"fluentbit_filter_records_total", "host"},
		{"fluentbit_output_proc_bytes_total", "fluentd"},
		{"fluentbit_output_upstream_total_connections", "fluentd"},
		{"fluentbit_uptime", "h"},
		{"fluentbit_build_info", "h"},
		{"fluentbit_storage_fs_chunks", ""},
	} {
		if v := a.metric(m[0], m[1]); v < 0 {
			t.Errorf("%s{%s} = %v", m[0], m[1], v)
		}
	}
	waitFor(t, "storage metrics", func() bool { return a.metric("fluentbit_input_storage_chunks", "system-auth") >= 0 })
	resp, err := http.Get("http://" + a.http + "/api/v1/health")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "ok\n" {
		t.Errorf("health %q, %v", b, err)
	}
}

func TestHealthWindow(t *testing.T) {
	cfg := Health{Errors: 5, RetryFailures: 5, Period: time.Minute}
	var h healthWindow
	now := time.Unix(1000, 0)
	for i := range 10 {
		h.add(healthPoint{at: now.Add(time.Duration(i) * time.Second), failed: int64(i)}, cfg.Period)
	}
	if h.good(cfg) {
		t.Error("nine failures in ten seconds are good")
	}
	h.add(healthPoint{at: now.Add(2 * time.Minute), failed: 9}, cfg.Period)
	if !h.good(cfg) {
		t.Error("failures of the last period count")
	}
}

func TestBackoff(t *testing.T) {
	e := newEngine(Config{SchedulerBase: 1, SchedulerCap: 30, Outputs: []Forward{{Host: "x"}}}, Options{Seed: 1}, nil)
	for attempt, top := range map[int]time.Duration{1: 3e9, 2: 5e9, 4: 17e9, 5: 31e9, 60: 31e9} {
		most := time.Duration(0)
		for range 300 {
			d := e.backoff(attempt)
			most = max(most, d)
			if d < 2*time.Second || d > top {
				t.Fatalf("attempt %d waits %v, want 2 s to %v", attempt, d, top)
			}
		}
		if most != top {
			t.Errorf("attempt %d waits at most %v, want %v", attempt, most, top)
		}
	}
}
