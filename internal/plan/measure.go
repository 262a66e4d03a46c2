package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/perf/benchfmt"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/manifests"
	"triad/internal/scenario"
	"triad/internal/stats"
)

// Names of measurements.
const (
	GeneratorFile  = "generator.file"      // lines/s that one core writes to a file
	GeneratorKafka = "generator.kafka"     // processor seconds for each record that enters at Kafka, client and stand-in for the cluster included
	WireBytes      = "kafka.bytes"         // bytes of a record as a client sends it
	LedgerBytes    = "evidence.ledger"     // bytes of ledgers for each record
	HistBytes      = "evidence.histograms" // bytes of histograms a second
	SeriesBytes    = "evidence.series"     // bytes of samples a second
	Judged         = "judge"               // records that one core observes, writes and judges in a second
	Merged         = "merge"               // seconds of one shard's run that are brought into the evidence in a second
	Cores          = "cores."              // with a cluster or "harness", "search": processors that were busy at a rate
	StoreBytes     = "store.bytes"         // bytes of a document on the store's disk, each shard once
	Drained        = "drained"             // records/s that went from a backlog into the store
	Capacity       = "capacity"            // records/s of the whole path, from a search that ended at a gate

	ofLongRuns = ".long" // behind the name of what evidence takes: of runs of more than a quarter of an hour, whose windows are ten seconds long
)

// Measurement is one figure with where it is from.
type Measurement struct {
	Name   string             `json:"name"`
	Value  float64            `json:"value"`
	Unit   string             `json:"unit"`
	Bytes  float64            `json:"bytes,omitempty"` // size of the lines that it was measured with
	Rate   float64            `json:"rate,omitempty"`  // records/s at which it was measured
	With   map[string]float64 `json:"with,omitempty"`  // what there was of: brokers, tasks, nodes
	Source string             `json:"source"`
}

type file struct {
	Measurements []Measurement `json:"measurements"`
}

// Read reads measurements: from a run directory, a file with what JSON returns, what make bench printed, or a folder of these.
func Read(path string) ([]Measurement, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		if _, err := os.Stat(filepath.Join(path, evidence.HeaderFile)); err == nil {
			return readRun(path)
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		var out []Measurement
		for _, e := range entries {
			if e.IsDir() {
				if _, err := os.Stat(filepath.Join(path, e.Name(), evidence.HeaderFile)); err != nil {
					continue
				}
			}
			ms, err := Read(filepath.Join(path, e.Name()))
			if err != nil {
				return nil, err
			}
			out = append(out, ms...)
		}
		if len(out) == 0 {
			return nil, fmt.Errorf("%s: no measurements", path)
		}
		return out, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
		var f file
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&f); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for i, m := range f.Measurements {
			if m.Name == "" || m.Source == "" {
				return nil, fmt.Errorf("%s: measurement %d has no name or no source", path, i+1)
			}
		}
		return f.Measurements, nil
	}
	return readBench(b, filepath.Base(path))
}

// JSON is what Read reads again.
func JSON(ms []Measurement) any { return file{ms} }

// readBench takes the figures out of the output of Go benchmarks; other lines are passed over.
func readBench(b []byte, name string) ([]Measurement, error) {
	var out []Measurement
	r := benchfmt.NewReader(bytes.NewReader(b), name)
	seen := 0
	for r.Scan() {
		res, ok := r.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		seen++
		full := strings.TrimPrefix(res.Name.String(), "Benchmark")
		base, _, _ := strings.Cut(full, "-")
		value := func(unit string) (float64, bool) {
			for _, v := range res.Values {
				if v.Unit == unit || v.OrigUnit == unit {
					if v.OrigUnit == unit {
						return v.OrigValue, true
					}
					return v.Value, true
				}
			}
			return 0, false
		}
		add := func(m Measurement, unit string, scale float64) {
			if v, ok := value(unit); ok && v > 0 {
				m.Value = v * scale
				m.Source = fmt.Sprintf("Benchmark%s in %s (%s)", full, name, strings.TrimSpace(res.GetConfig("cpu")))
				out = append(out, m)
			}
		}
		evidence := func(rate float64, suffix string) {
			add(Measurement{Name: LedgerBytes + suffix, Unit: "bytes/record", Rate: rate}, "ledger-bytes/record", 1)
			add(Measurement{Name: HistBytes + suffix, Unit: "bytes/s", Rate: rate}, "hist-bytes/record", rate)
			add(Measurement{Name: SeriesBytes + suffix, Unit: "bytes/s", Rate: rate}, "series-bytes/record", rate)
		}
		switch {
		case base == "File":
			add(Measurement{Name: GeneratorFile, Unit: "lines/s", Bytes: 256}, "lines/s", 1)
		case strings.HasPrefix(full, "EnterKafka/"):
			size, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimPrefix(base, "EnterKafka/"), "B"), 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: no size in its name", name, full)
			}
			add(Measurement{Name: GeneratorKafka, Unit: "cpu-s/record", Bytes: size}, "cpu-ns/record", 1e-9)
			add(Measurement{Name: WireBytes, Unit: "bytes/record", Bytes: size}, "bytes/record", 1)
		case strings.HasPrefix(full, "Evidence/short-fast-good"):
			evidence(10_000, "")
		case strings.HasPrefix(full, "Evidence/long-good"):
			evidence(1000, ofLongRuns)
		case base == "Merge":
			add(Measurement{Name: Merged, Unit: "shard-s/s"}, "shard-s/s", 1)
		case strings.HasPrefix(full, "Reach/adverse") && !strings.HasPrefix(full, "Reach/adverse-1e8"):
			add(Measurement{Name: Judged, Unit: "records/cpu-s"}, "records/cpu-s", 1)
		}
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if seen == 0 {
		return nil, fmt.Errorf("%s: neither a run directory, nor measurements, nor the output of make bench", name)
	}
	return out, nil
}

// span is a counter from its first reading to its last. One that fell is of something that was started anew, and what it counted
// before is not known.
type span struct {
	from, to    time.Duration
	first, last float64
	anew        bool
}

func (s *span) add(at time.Duration, v float64) {
	s.anew = s.anew || v < s.last
	s.to, s.last = at, v
}

// readRun takes the figures out of a run. What a model did is no figure of the real program, so an embedded run has none.
func readRun(dir string) ([]Measurement, error) {
	r, err := evidence.Open(dir)
	if err != nil {
		return nil, err
	}
	res, err := check.Judge(r, time.Now().UTC())
	if err != nil {
		return nil, err
	}
	source := fmt.Sprintf("run %s (%d CPUs)", r.Header.ID, r.Header.Host.CPUs)
	if r.Header.Runtime == "embedded" {
		return nil, fmt.Errorf("%s: a run on embedded measures models: nothing in it is a figure of the real programs", source)
	}
	var out []Measurement
	rate, size := loadOf(r.Scenario, res)
	with := partsOf(dir)
	used := map[string]*span{}
	kept := map[string]*keeping{}
	r.Series(func(at time.Duration, x evidence.Sample) error {
		key := x.Labels["part"]
		switch {
		case x.Name == evidence.StoreBytesSeries || x.Name == evidence.StoreDocumentsSeries:
			topic := x.Labels["topic"]
			if kept[topic] == nil {
				kept[topic] = &keeping{}
			}
			kept[topic].add(x)
			return nil
		case x.Name != evidence.CPUTotalSeries:
			return nil
		case key == "nodes":
			key = x.Labels["cluster"]
		case key != "harness" && key != "search" && (key != "generator" || x.Labels["cluster"] != scenario.Datacenter):
			return nil
		}
		if used[key] == nil {
			used[key] = &span{from: at, first: x.Value, last: x.Value}
		}
		used[key].add(at, x.Value)
		return nil
	})
	if g := used["generator"]; g != nil && used[scenario.Datacenter] != nil { // the load is no part of the system
		used[scenario.Datacenter].first -= g.first
		used[scenario.Datacenter].last -= g.last
		used[scenario.Datacenter].anew = used[scenario.Datacenter].anew || g.anew
		delete(used, "generator")
	}
	for _, key := range slices.Sorted(maps.Keys(used)) {
		if x := used[key]; !x.anew && x.to > x.from && x.last > x.first && rate > 0 {
			unreal := notReal(r.Header.Components, key)
			if key == scenario.Datacenter && unreal != "" {
				continue // it is the collectors' time, and they are models
			}
			out = append(out, Measurement{Name: Cores + key, Value: (x.last - x.first) / (x.to - x.from).Seconds(), Unit: "cores", Bytes: size, Rate: rate, With: with, Source: source + unreal})
		}
	}
	if m, ok := documentSize(kept); ok {
		m.Bytes, m.Source = size, source+notReal(r.Header.Components, scenario.Monitoring)
		out = append(out, m)
	}
	source += notReal(r.Header.Components, "")
	if d, p := res.Recovery.DrainRate, res.Recovery.PeakRate; d != nil && p != nil && res.Verdict != check.Invalid {
		// A backlog that was gone within one step of the pulses has a rate of drain that nothing carried for a second: the peak has.
		out = append(out, Measurement{Name: Drained, Value: min(*d, *p), Unit: "records/s", Bytes: size, Rate: rate, With: with, Source: source})
	}
	if c := res.Capacity; c != nil && c.Passed != nil && c.Next == nil && c.Upper == check.UpperGate {
		out = append(out, Measurement{Name: Capacity, Value: *c.Passed, Unit: "records/s", Bytes: size, With: with, Source: source})
	}
	if len(out) == 0 {
		return nil, errors.New(source + ": has none of the figures that a plan is made of")
	}
	return out, nil
}

// keeping is what the store was seen to keep of one topic.
type keeping struct {
	first, last, bytes float64 // documents, and the bytes that were read last
	read               bool
	each               []float64
}

// add takes a reading: the bytes come before the documents.
func (k *keeping) add(x evidence.Sample) {
	if x.Name == evidence.StoreBytesSeries {
		k.bytes = x.Value
		return
	}
	if !k.read {
		k.first, k.read = x.Value, true
	}
	if k.last = x.Value; x.Value > 0 && k.bytes > 0 {
		k.each = append(k.each, k.bytes/x.Value)
	}
}

// fewDocuments is below what number what an index takes by itself is a good part of its size.
const fewDocuments = 10_000

// documentSize is what a document took of the topic that got the most: the median of the readings, because a merge of segments keeps both for a
// moment. What was in the index before is in it.
func documentSize(kept map[string]*keeping) (Measurement, bool) {
	var most *keeping
	for _, k := range kept {
		if most == nil || k.last-k.first > most.last-most.first {
			most = k
		}
	}
	if most == nil || most.last-most.first <= 0 || most.last < fewDocuments || len(most.each) == 0 {
		return Measurement{}, false
	}
	return Measurement{Name: StoreBytes, Value: stats.Median(most.each), Unit: "bytes/document"}, true
}

// notReal names what was not the real program in a cluster, or in all: what was carried, was carried by these.
func notReal(cs []evidence.Component, cluster string) string {
	var out []string
	for _, c := range cs {
		if (cluster == "" || c.Cluster == cluster) && (c.Fidelity == evidence.Model || c.Fidelity == evidence.StandIn) && !strings.HasSuffix(c.Name, "-operator") {
			out = append(out, c.Fidelity+" "+c.Name)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "; not the programs themselves: " + strings.Join(out, ", ")
}

// loadOf is the mean rate of a run over its whole load, and the mean size of its lines.
func loadOf(s *scenario.Scenario, res *check.Result) (rate, size float64) {
	var bytes, sum float64
	for _, l := range s.Load {
		bytes += float64(l.Rate) * float64(l.Size)
		sum += float64(l.Rate)
	}
	length := s.Phases.LoadTime().Seconds()
	if sum == 0 || length == 0 {
		return 0, 0
	}
	return float64(res.Totals.Attempted) / length, bytes / sum
}

// partsOf counts brokers, tasks and nodes in the objects that a run had.
func partsOf(dir string) map[string]float64 {
	all, err := evidence.ReadManifests(dir)
	if err != nil || len(all) == 0 {
		return nil
	}
	out := map[string]float64{}
	for _, b := range all {
		objects, err := manifests.ParseStream(b)
		if err != nil {
			return nil
		}
		for k, v := range countParts(objects) {
			out[k] += v
		}
	}
	return out
}

// countParts counts what a rate is divided among.
func countParts(objects []manifests.Object) map[string]float64 {
	out := map[string]float64{}
	for _, o := range objects {
		switch {
		case o.Kind() == "KafkaNodePool" && strings.Contains(fmt.Sprint(field(o, "spec", "roles")), "broker"):
			out["brokers"] += number(o, 1, "spec", "replicas")
		case o.Kind() == "KafkaConnector":
			out["tasks"] += number(o, 1, "spec", "tasksMax")
		case o.Kind() == "StatefulSet" && o.Name() == "elasticsearch":
			out["nodes"] += number(o, 1, "spec", "replicas")
		}
	}
	return out
}

func field(o manifests.Object, keys ...string) any {
	v, _ := o.Field(keys...)
	return v
}

func number(o manifests.Object, otherwise float64, keys ...string) float64 {
	switch v := field(o, keys...).(type) {
	case int64:
		return float64(v)
	case int:
		return float64(v)
	case float64:
		return v
	case string:
		if f, err := strconv.ParseFloat(v, 64); err == nil {
			return f
		}
	}
	return otherwise
}

// SystemOf reads the platform's size out of the rendered manifests; its buffers are the caller's.
func SystemOf(overlay string, all map[string]manifests.Rendered) System {
	const topic = "service-topic" // of the services' lines, which are nearly all there are
	s := System{Overlay: overlay, Topic: topic}
	for _, r := range all {
		parts := countParts(r.Objects)
		s.Brokers += int(parts["brokers"])
		s.Tasks += int(parts["tasks"])
		s.Nodes += int(parts["nodes"])
		for _, o := range r.Objects {
			switch {
			case o.Kind() == "KafkaTopic" && o.Name() == topic:
				s.Partitions, s.Replication = int(number(o, 1, "spec", "partitions")), int(number(o, 1, "spec", "replicas"))
				s.Retention = time.Duration(number(o, 0, "spec", "config", "retention.ms")) * time.Millisecond
			case o.Kind() == "KafkaNodePool" && s.BrokerCPU == 0:
				s.BrokerCPU = processors(field(o, "spec", "resources", "requests", "cpu"))
				if vs, _ := field(o, "spec", "storage", "volumes").([]any); len(vs) > 0 {
					v, _ := vs[0].(map[string]any)
					s.BrokerDisk = volumeBytes(v["size"])
					if class, err := manifests.Find(r.Objects, "StorageClass", fmt.Sprint(v["class"])); err == nil {
						s.DiskClass, s.DiskRate = class.Name(), number(class, 0, "parameters", "throughput")*(1<<20)
					}
				}
			}
		}
	}
	return s
}

// processors reads a quantity of processors: "1", "500m", 2.
func processors(v any) float64 {
	text := fmt.Sprint(v)
	milli, is := strings.CutSuffix(text, "m")
	f, err := strconv.ParseFloat(milli, 64)
	switch {
	case err != nil:
		return 0
	case is:
		return f / 1000
	}
	return f
}

// volumeBytes reads the size of a volume in bytes: "200Gi", "2Ti".
func volumeBytes(v any) float64 {
	text := fmt.Sprint(v)
	for unit, n := range map[string]float64{"Gi": 1 << 30, "Ti": 1 << 40} {
		if digits, ok := strings.CutSuffix(text, unit); ok {
			f, err := strconv.ParseFloat(digits, 64)
			if err != nil {
				return 0
			}
			return f * n
		}
	}
	return 0
}
