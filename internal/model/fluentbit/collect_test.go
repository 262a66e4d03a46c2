package fluentbit

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"

	"triad/internal/model/forward"
)

// often reads the shipped configuration with changes, so that figures of the node come ten times a second.
func often(t *testing.T, changes ...string) Config {
	t.Helper()
	cfg := parseAll(t, append(changes, quick...)...)
	for i := range cfg.Collectors {
		cfg.Collectors[i].Interval = 100 * time.Millisecond
	}
	return cfg
}

// fakeProc is a node of two processors that stands still.
func fakeProc(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "stat"), []byte("cpu  30 10 20 900 5 0 1 0 0 0\ncpu0 20 5 10 450 5 0 1 0 0 0\ncpu1 10 5 10 450 0 0 0 0 0 0\nintr 1 2 3\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "meminfo"), []byte("MemTotal:       1000 kB\nMemFree:         300 kB\nMemAvailable:    600 kB\nSwapTotal:       200 kB\nSwapFree:        150 kB\nHugePages_Total: 0\n"), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestNodeMetrics: figures of the node are records of the tags and intervals of the configuration, whole and with the node's name, through inputs
// and an output whose counters are their own.
func TestNodeMetrics(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	a := newAgent(t, to, often(t))
	a.proc = fakeProc(t)
	a.start()
	a.write("/var/log/syslog", "line")
	came := func() (cpu, mem []map[string]any) {
		to.mu.Lock()
		defer to.mu.Unlock()
		return to.node["system.metrics.cpu"], to.node["system.metrics.mem"]
	}
	waitFor(t, "three records of each and the line", func() bool {
		cpu, mem := came()
		return len(cpu) > 2 && len(mem) > 2 && to.count() == 1
	})
	cpu, mem := came()
	// Single processors are left out by the filter.
	if d := cmp.Diff(fmt.Sprint(map[string]any{"cpu_p": 0.0, "user_p": 0.0, "system_p": 0.0, "host": "node-1"}), fmt.Sprint(cpu[0])); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(fmt.Sprint(map[string]any{
		"Mem.total": 1000, "Mem.used": 700, "Mem.free": 300, "Swap.total": 200, "Swap.used": 50, "Swap.free": 150, "host": "node-1",
	}), fmt.Sprint(mem[0])); d != "" {
		t.Error(d)
	}
	waitFor(t, "acknowledgements", func() bool { return a.metric("fluentbit_output_proc_records_total", "system-metrics") >= 6 })
	if n := a.metric("fluentbit_output_proc_records_total", "fluentd"); n != 1 {
		t.Errorf("the output of the logs counts %v records, and one line was written", n)
	}
	if n := a.metric("fluentbit_input_records_total", "system-metrics-mem"); n < 3 {
		t.Errorf("the input counts %v records", n)
	}
}

// TestFilterBytes: a filter counts the bytes of what it changes, and not of what it leaves as it was.
func TestFilterBytes(t *testing.T) {
	e := newEngine(parseAll(t), Options{Proc: fakeProc(t)}, slog.New(slog.DiscardHandler))
	mem, err := e.memory(forward.AppendEntryHead(nil, time.Unix(1, 0)))
	if err != nil {
		t.Fatal(err)
	}
	cpu := appendCPU(forward.AppendEntryHead(nil, time.Unix(1, 0)), []cpuTime{{}, {}}, []cpuTime{{}, {}}, time.Second)
	names, host := e.filters[0], e.filters[1]
	if left := e.apply("system.metrics.mem", mem, 1); names.bytes.Load() != 0 || host.bytes.Load() != int64(len(left)) {
		t.Errorf("of memory: %d and %d bytes, want 0 and %d", names.bytes.Load(), host.bytes.Load(), len(left))
	}
	e.apply("system.metrics.cpu", cpu, 1)
	if n := names.bytes.Load(); n == 0 || n >= int64(len(cpu)) {
		t.Errorf("of processors: %d bytes, of %d that came", n, len(cpu))
	}
}

// TestCollectorInterval: mem does not take nanoseconds alone.
func TestCollectorInterval(t *testing.T) {
	for change, want := range map[string][2]time.Duration{
		"interval_sec: 0\n      interval_nsec: 100000000": {100 * time.Millisecond, 1100 * time.Millisecond},
		"interval_sec: 0": {time.Second, time.Second},
		"interval_sec: 2\n      interval_nsec: 100000000": {2100 * time.Millisecond, 2100 * time.Millisecond},
	} {
		c := parseAll(t, "interval_sec: 10", change).Collectors
		if got := [2]time.Duration{c[0].Interval, c[1].Interval}; got != want {
			t.Errorf("%q: %v, want %v", change, got, want)
		}
	}
}

// TestKeysOfFilter: as in the real program, case does not count and a star ends a prefix.
func TestKeysOfFilter(t *testing.T) {
	allow, remove := filter{cfg: Modifier{Allow: []string{"CPU_P", "user*"}}}, filter{cfg: Modifier{Remove: []string{"CPU_P", "user*"}}}
	for key, named := range map[string]bool{"cpu_p": true, "cpu_p2": false, "user_p": true, "User": true, "use": false, "system_p": false} {
		if allow.keeps(key) != named || remove.keeps(key) == named {
			t.Errorf("%s: allowed %v, removed %v", key, allow.keeps(key), !remove.keeps(key))
		}
	}
}

// TestOutputsApart: each output's chunks are under its own limit, so figures of the node that nobody takes push no line out.
func TestOutputsApart(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	to.away()
	a := newAgent(t, to, often(t, "storage.total_limit_size: 32M", "storage.total_limit_size: 16K"))
	a.proc = fakeProc(t)
	a.start()
	lines := numbered("line", 0, 100)
	a.write("/var/log/syslog", lines...)
	waitFor(t, "figures that were dropped", func() bool { return a.metric("fluentbit_output_dropped_records_total", "system-metrics") > 5 })
	if n := a.metric("fluentbit_output_dropped_records_total", "fluentd"); n != 0 {
		t.Errorf("%v lines were dropped for figures of the node", n)
	}
	to.start()
	waitFor(t, "all lines", func() bool { return to.count() == len(lines) })
	exactly(t, to.snapshot(), lines)
}

// TestBacklogOfMetrics: what a kill leaves goes on to the output that it was for.
func TestBacklogOfMetrics(t *testing.T) {
	t.Parallel()
	to := newAggregator(t)
	to.away()
	a := newAgent(t, to, often(t))
	a.proc = fakeProc(t)
	a.start()
	waitFor(t, "a record that is retried", func() bool { return a.metric("fluentbit_output_retries_total", "system-metrics") > 0 })
	a.kill()
	a.cfg.Collectors = nil
	to.start()
	a.start()
	waitFor(t, "what was left", func() bool { return a.metric("fluentbit_output_proc_records_total", "system-metrics") > 0 })
	if n := a.metric("fluentbit_output_proc_records_total", "fluentd"); n != 0 {
		t.Errorf("%v of them went through the output of the logs", n)
	}
}

// TestCPU: shares of an interval, of the node by its number of processors.
func TestCPU(t *testing.T) {
	before := []cpuTime{{100, 50}, {60, 20}, {40, 30}}
	now := []cpuTime{{700, 150}, {560, 120}, {140, 30}} // in 10 s: 6 s and 1 s of the two processors' 20 s
	var got map[string]float64
	if err := msgpack.Unmarshal(appendCPU(nil, before, now, 10*time.Second), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"cpu_p": 35, "user_p": 30, "system_p": 5, "cpu0.p_cpu": 60, "cpu0.p_user": 50, "cpu0.p_system": 10, "cpu1.p_cpu": 10, "cpu1.p_user": 10, "cpu1.p_system": 0,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
