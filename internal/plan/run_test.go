package plan

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

// ran writes a run of fifteen seconds at 100 records a second on kind, in which the parts were busy as given.
func ran(t *testing.T, runtime string, fidelity string, anew bool) string {
	t.Helper()
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {warm-up: 5s, before: 10s, drain: 10s}\nload: [{source: service, rate: 100/s, size: 512B}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "run")
	w, err := evidence.Create(dir, evidence.Header{
		ID: "t-kind", Scenario: "t", Runtime: runtime, Streams: s.Streams(), Windows: s.Phases.Windows(), HistWindow: time.Second, PulseEvery: 100 * time.Millisecond, Host: evidence.Host{CPUs: 8},
		Components: []evidence.Component{{Cluster: "datacenter", Name: "fluent-bit", Fidelity: fidelity}, {Cluster: "monitoring", Name: "elasticsearch-sink", Fidelity: evidence.StandIn}},
	}, s)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.Manifests(map[string][]byte{
		"kafka":      []byte("apiVersion: kafka.strimzi.io/v1\nkind: KafkaNodePool\nmetadata: {name: broker}\nspec: {replicas: 3, roles: [controller, broker]}\n"),
		"monitoring": []byte("apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: elasticsearch}\nspec: {replicas: 2}\n---\napiVersion: kafka.strimzi.io/v1\nkind: KafkaConnector\nmetadata: {name: c}\nspec: {tasksMax: 4}\n"),
	}))
	sent, err := w.Ledger("sent-0")
	must(err)
	must(sent.Intent(15 * time.Second))
	for seq := range uint64(1500) {
		sent.Mark(evidence.Acked, 0, seq)
	}
	must(sent.Flush(15 * time.Second))
	for i, at := range []time.Duration{0, 5 * time.Second, 10 * time.Second} {
		x := float64(i * 5)
		value := func(busy float64) float64 { return 100 + busy*x }
		kafka := value(2)
		if anew && i == 2 {
			kafka = 1
		}
		must(w.Series.Add(at,
			evidence.Sample{Name: evidence.CPUTotalSeries, Labels: evidence.Labels{"part": "nodes", "cluster": "kafka"}, Value: kafka},
			evidence.Sample{Name: evidence.CPUTotalSeries, Labels: evidence.Labels{"part": "nodes", "cluster": "datacenter"}, Value: value(3)},
			evidence.Sample{Name: evidence.CPUTotalSeries, Labels: evidence.Labels{"part": "generator", "cluster": "datacenter"}, Value: value(1)},
			evidence.Sample{Name: evidence.CPUTotalSeries, Labels: evidence.Labels{"part": "generator", "cluster": "kafka"}, Value: value(9)},
			evidence.Sample{Name: evidence.CPUTotalSeries, Labels: evidence.Labels{"part": "apiserver", "cluster": "kafka"}, Value: value(9)},
			evidence.Sample{Name: evidence.CPUTotalSeries, Labels: evidence.Labels{"part": "harness"}, Value: value(0.5)},
		))
	}
	must(w.Close(""))
	return dir
}

func TestReadRun(t *testing.T) {
	find := func(ms []Measurement, name string) *Measurement {
		for i := range ms {
			if ms[i].Name == name {
				return &ms[i]
			}
		}
		return nil
	}
	ms, err := Read(ran(t, "kind", evidence.Real, false))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{Cores + "kafka": 2, Cores + "datacenter": 2, Cores + "harness": 0.5} { // the generators are no part of the system
		m := find(ms, name)
		if m == nil || m.Value != want || m.Rate != 100 || m.Bytes != 512 || !strings.Contains(m.Source, "run t-kind (8 CPUs)") {
			t.Errorf("%s: %+v", name, m)
		} else if m.With["brokers"] != 3 || m.With["nodes"] != 2 || m.With["tasks"] != 4 {
			t.Errorf("%s: %v", name, m.With)
		}
	}
	if find(ms, Cores+"generator") != nil || find(ms, Cores+"apiserver") != nil || find(ms, Drained) != nil {
		t.Errorf("%+v", ms)
	}
	// A counter that began anew has lost what came before, and a model's time is no program's.
	if ms, err = Read(ran(t, "kind", evidence.Model, true)); err != nil || find(ms, Cores+"kafka") != nil || find(ms, Cores+"datacenter") != nil || find(ms, Cores+"harness") == nil {
		t.Errorf("%v %+v", err, ms)
	}
	if _, err := Read(ran(t, "embedded", evidence.Model, false)); err == nil {
		t.Error("a run of models was taken for measurements")
	}
}
