package plan

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"triad/internal/evidence"
	"triad/internal/manifests"
)

const bench = `goos: linux
pkg: triad/internal/load
cpu: a processor
BenchmarkFile-2         	 1285352	      3754 ns/op	    500000 lines/s
BenchmarkEnterKafka/256B-2    	       1	       400.0 bytes/record	         2.000 cores	      2000 cpu-ns/record	    165545 records/s
BenchmarkEnterKafka/1024B-2   	       1	      1200.0 bytes/record	         2.000 cores	      4000 cpu-ns/record	    165545 records/s
pkg: triad/internal/evidence
BenchmarkEvidence/short-fast-good-2      	       2	         0.93 bytes/record	         0.8 hist-bytes/record	         0.02 ledger-bytes/record	    536124 records/s	         0.1 series-bytes/record
BenchmarkEvidence/long-good-2            	       2	         5 bytes/record	         2 hist-bytes/record	         1 ledger-bytes/record	    536124 records/s	         0.5 series-bytes/record
BenchmarkReach/adverse-2         	       1	         0.06113 bytes/record	   8000000 records/cpu-s	   1404925 records/s
BenchmarkMerge-2         	       2	  51208254 ns/op	  93734890 records/s	      7200 shard-s/s
BenchmarkSomethingElse-2         	       1	         1 ns/op
PASS
`

func system() System {
	return System{
		Overlay: "eks", Topic: "service-topic", Brokers: 3, BrokerCPU: 1, BrokerDisk: 200 << 30, Partitions: 6, Replication: 3, Retention: 24 * time.Hour, Tasks: 2, Nodes: 3, Shards: 1,
		Buffers: []evidence.Buffer{
			{Hop: "collect", Component: "fluent-bit", Bytes: 2e9, Instances: 1, Full: "drop-oldest", Source: "fluent-bit.yaml storage.total_limit_size"},
			{Hop: "forward", Component: "fluentd", Bytes: 4e9, Instances: 2, Full: "block", Source: "fluentd.yaml out_service total_limit_size"},
			// Of figures of nodes: no line fills them, so the rate says nothing of them.
			{Hop: "collect", Component: "fluent-bit", Bytes: 1e6, Instances: 1, Full: "drop-oldest", Gauge: `fluentbit_output_chunk_available_capacity_percent{name="system-metrics"}`},
			{Hop: "forward", Component: "fluentd", Bytes: 1e9, Instances: 2, Full: "block", Source: "fluentd.yaml out_system_auth total_limit_size"},
			{Hop: "broker", Component: "kafka", For: 24 * time.Hour, Instances: 1, Full: "delete", Source: "KafkaTopic service-topic retention.ms"},
		},
	}
}

func options(t *testing.T, text string) Options {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bench.txt")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	ms, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Rate: 1e6, Bytes: 256, Duration: time.Hour, Headroom: 0.5, System: system(), Measured: ms}
}

func row(t *testing.T, p *Plan, what string) Row {
	t.Helper()
	for _, r := range p.Rows {
		if r.What == what {
			return r
		}
	}
	t.Fatalf("no row %q", what)
	return Row{}
}

// The arithmetic, worked out by hand.
func TestMake(t *testing.T) {
	p := Make(options(t, bench))
	for _, c := range []struct {
		what   string
		lo, hi float64
		basis  string
	}{
		{"lines", 256e6, 256e6, Configured},
		{"shards that write files", 4, 4, Measured},                                             // 1e6 / (5e5 x 0.5)
		{"shards that enter at Kafka", 4, 4, AtMost},                                            // 1e6 x 2 us / 0.5
		{"bytes in", 400e6, 400e6, Measured},                                                    //
		{"bytes written", 1200e6, 1200e6, Measured},                                             // three replicas
		{"bytes out", 1600e6, 1600e6, Measured},                                                 // two followers, sink, observer
		{"bytes kept", 1200e6 * 86400, 1200e6 * 86400, Measured},                                //
		{"brokers, by their volumes", 19, 19, Assumed},                                          // 1200e6 / (131072000 x 0.5) = 18.3
		{"fluent-bit (collect; when full: drop-oldest)", 20, 20, Assumed},                       // 2e9 x 4 / 400e6
		{"fluentd (forward; when full: block)", 20, 20, Measured},                               // 4e9 x 2 / 400e6
		{"kafka (broker; when full: delete)", 536.870912, 536.870912, Measured},                 // 3 x 200 GiB / 1200e6, long before its retention
		{"size of a run", 0.02*3.6e9 + 9000*3600, 0.02*3.6e9 + 0.8*3.6e9 + 1000*3600, Measured}, // a long run, far from the rate that one was measured at
		{"time to read and judge", 450, 450, AtMost},
		{"time to merge the shards", 2, 2, Measured}, // 4 x 3600 s / 7200
		{"cores of the observer", 0.125, 0.125, AtLeast},
	} {
		r := row(t, p, c.what)
		if r.Lo == nil || r.Hi == nil || math.Abs(*r.Lo/c.lo-1) > 1e-9 || math.Abs(*r.Hi/c.hi-1) > 1e-9 || r.Basis != c.basis {
			t.Errorf("%s: %s, %s", c.what, r.Text(), r.Basis)
		}
		if r.Basis != Configured && len(r.From) == 0 {
			t.Errorf("%s: says not where it is from", c.what)
		}
	}
	for _, what := range []string{"brokers, by processor time", "brokers, by what was carried", "tasks of the sink", "partitions needed", "nodes of Elasticsearch", "bytes in the store"} {
		if r := row(t, p, what); r.Basis != Unknown || r.Lo != nil || r.Hi != nil || r.How == "" || r.Text() != "unknown" {
			t.Errorf("%s: %+v", what, r)
		}
	}
	if n := strings.Count(p.Markdown(), "fluent-bit (collect"); n != 1 {
		t.Errorf("%d rows of the agent: what holds figures of nodes no line fills", n)
	}
	if n := strings.Count(p.Markdown(), "fluentd (forward"); n != 1 {
		t.Errorf("%d rows of the aggregator: other topics' buffers are not this rate's", n)
	}
	if !strings.Contains(strings.Join(p.Limits, "\n"), "no more than 2 tasks work") {
		t.Errorf("%q", p.Limits)
	}
}

// Up to a quarter of an hour windows are a second long. Below the rate that was measured, histograms that stay as wide are the upper bound: they
// were the lower one, above the other.
func TestSizeOfASlowShortRun(t *testing.T) {
	o := options(t, bench)
	o.Rate = 1000
	for d, want := range map[time.Duration][2]float64{
		10 * time.Minute: {0.02*1000*600 + (800+1000)*600, 0.02*1000*600 + (8000+1000)*600},
		6 * time.Hour:    {1*1000*21600 + (2000+500)*21600, 1*1000*21600 + (2000+500)*21600}, // of a long run, at its rate
	} {
		o.Duration = d
		r := row(t, Make(o), "size of a run")
		if math.Abs(*r.Lo/want[0]-1) > 1e-9 || math.Abs(*r.Hi/want[1]-1) > 1e-9 {
			t.Errorf("%v: %v to %v, by hand %v", d, *r.Lo, *r.Hi, want)
		}
	}
}

// A broker's volume takes what its class buys, where the manifests say; what the command line says goes before it.
func TestThroughputOfTheStorageClass(t *testing.T) {
	set, err := manifests.Open(filepath.Join("..", "..", "manifests"))
	if err != nil {
		t.Fatal(err)
	}
	for overlay, class := range map[string]string{"eks": "triad-gp3-brokers", "kind": ""} {
		all, err := set.RenderAll(overlay)
		if err != nil {
			t.Fatal(err)
		}
		if s := SystemOf(overlay, all); s.DiskClass != class || (s.DiskRate > gp3Throughput) != (class != "") || class == "" && s.DiskRate != 0 {
			t.Errorf("%s: class %q, %.0f bytes/s", overlay, s.DiskClass, s.DiskRate)
		}
	}
	o := options(t, bench)
	o.System.DiskClass, o.System.DiskRate = "fast", 250<<20
	r := row(t, Make(o), "brokers, by their volumes") // 1200e6 / (262144000 x 0.5) = 9.2
	if r.Text() != "at least 10" || !strings.Contains(strings.Join(r.From, "\n"), "StorageClass fast throughput") {
		t.Errorf("%s, %q", r.Text(), r.From)
	}
	o.Disk = 500 << 20
	if r := row(t, Make(o), "brokers, by their volumes"); r.Text() != "5" || r.Basis != Measured {
		t.Errorf("given: %s, %s", r.Text(), r.Basis)
	}
}

// Nothing measured is nothing planned: only what the manifests and the question say is a number.
func TestMakeOfNothing(t *testing.T) {
	p := Make(Options{Rate: 1e6, Bytes: 256, Duration: time.Hour, Headroom: 0.7, System: system()})
	numbers := 0
	for _, r := range p.Rows {
		if r.Lo == nil && r.Hi == nil {
			continue
		}
		numbers++
		if r.Basis != Configured && r.What != "fluentd (forward; when full: block)" {
			t.Errorf("%s: %s is %s, of nothing", r.What, r.Text(), r.Basis)
		}
	}
	if numbers == 0 || len(p.Rows) < 12 {
		t.Errorf("%d numbers of %d rows", numbers, len(p.Rows))
	}
	if _, err := json.Marshal(p); err != nil {
		t.Error(err)
	}
}

// The size of a line that is not measured takes the figures of the nearest, and they say so.
func TestMakeOfOtherSizes(t *testing.T) {
	o := options(t, bench)
	o.Bytes = 900
	p := Make(o)
	if r := row(t, p, "bytes in"); *r.Lo != 1e6*(1200+900-1024) || !strings.Contains(r.From[0], "with lines of 1024 bytes") {
		t.Errorf("%s from %q", r.Text(), r.From)
	}
	if r := row(t, p, "shards that enter at Kafka"); *r.Hi != 8 {
		t.Errorf("%s", r.Text())
	}
}

func runs(name string, per, idle float64, rates ...float64) []Measurement {
	var out []Measurement
	for _, r := range rates {
		out = append(out, Measurement{Name: name, Value: idle + per*r, Unit: "cores", Rate: r, Source: "run"})
	}
	return out
}

// Processor time is a slope over rates; where that cannot be told, or is too far away, it is unknown.
func TestSlopeOverRates(t *testing.T) {
	o := options(t, bench)
	base := o.Measured
	o.Measured = append(base, runs(Cores+"kafka", 20e-6, 1, 5000, 10_000, 15_000, 20_000, 40_000, 50_000)...)
	r := row(t, Make(o), "brokers, by processor time")
	if r.Lo == nil || *r.Lo != 40 || *r.Hi != 40 || r.Beyond != 20 { // 20 cores of 1 at one half
		t.Errorf("%s: %+v", r.Text(), r)
	}
	for name, ms := range map[string][]Measurement{
		"too far":   runs(Cores+"kafka", 20e-6, 1, 50, 100, 150, 200, 400, 500),
		"too few":   runs(Cores+"kafka", 20e-6, 1, 5000, 20_000),
		"too alike": runs(Cores+"kafka", 20e-6, 1, 5000, 5001, 5002, 5003, 5004),
		"idle":      runs(Cores+"kafka", 0, 1, 5000, 10_000, 15_000, 20_000, 40_000, 50_000),
		"falling":   runs(Cores+"kafka", -1e-6, 1, 5000, 10_000, 15_000, 20_000, 40_000, 50_000),
	} {
		o.Measured = append(slices.Clip(base), ms...)
		if r := row(t, Make(o), "brokers, by processor time"); r.Basis != Unknown || r.Lo != nil {
			t.Errorf("%s: %s", name, r.Text())
		}
	}
}

// What was carried is a bound; a search that ended at a gate is better than a backlog, however fast that went.
func TestCarried(t *testing.T) {
	o := options(t, bench)
	with := map[string]float64{"brokers": 3, "tasks": 2, "nodes": 1}
	o.Measured = append(o.Measured, Measurement{Name: Drained, Value: 4000, With: with, Source: "a"}, Measurement{Name: Drained, Value: 10_000, With: with, Source: "b"})
	p := Make(o)
	if r := row(t, p, "tasks of the sink"); *r.Hi != 400 || r.Basis != AtMost || r.From[0] != "b" || r.Text() != "at most 400" {
		t.Errorf("%s %q", r.Text(), r.From)
	}
	if r := row(t, p, "partitions needed"); *r.Hi != 402 {
		t.Errorf("%s", r.Text())
	}
	if r := row(t, p, "brokers, by what was carried"); r.Basis != Unknown {
		t.Errorf("a drain is no figure of the brokers: %s", r.Text())
	}
	o.Measured = append(o.Measured, Measurement{Name: Capacity, Value: 8000, With: with, Source: "c"})
	p = Make(o)
	if r := row(t, p, "nodes of Elasticsearch"); *r.Hi != 250 || r.From[0] != "c" {
		t.Errorf("%s %q", r.Text(), r.From)
	}
	if r := row(t, p, "brokers, by what was carried"); *r.Hi != 750 {
		t.Errorf("%s", r.Text())
	}
}

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, path := range []string{
		write("a.txt", "no benchmark at all\n"),
		write("b.json", `{"measurements": [{"name": "judge", "value": 1, "unit": "x"}]}`), // no source
		write("c.json", `{"measurments": []}`),
		filepath.Join(dir, "absent"),
		t.TempDir(),
	} {
		if ms, err := Read(path); err == nil {
			t.Errorf("%s: %v", path, ms)
		}
	}
	b, err := json.Marshal(JSON([]Measurement{{Name: Judged, Value: 2, Unit: "x", Source: "s"}}))
	if err != nil {
		t.Fatal(err)
	}
	if ms, err := Read(write("d.json", string(b))); err != nil || len(ms) != 1 || ms[0].Source != "s" {
		t.Errorf("%v %v", ms, err)
	}
}

func TestReplace(t *testing.T) {
	if got, err := Replace("a\n"+Begin+"\nold\n"+End+"\nb\n", "new\n"); err != nil || got != "a\n"+Begin+"\nnew\n"+End+"\nb\n" {
		t.Errorf("%q %v", got, err)
	}
	for _, bad := range []string{"", Begin, End + Begin, Begin + End + Begin + End} {
		if _, err := Replace(bad, "x"); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
