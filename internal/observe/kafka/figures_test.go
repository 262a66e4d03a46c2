package kafka

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/evidence"
	"triad/internal/observe"
	"triad/internal/scenario"
)

// TestFiguresOfNodes: records that are figures of nodes are counted by themselves, beside what carries no tag and is nothing that is known.
func TestFiguresOfNodes(t *testing.T) {
	const topic = "system-metrics-topic"
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: 100s}\nload: [{source: system-metrics, rate: 100/s}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	start := time.Now()
	w, err := evidence.Create(filepath.Join(t.TempDir(), "run"), evidence.Header{ID: "run", Run: 7, Scenario: "t", Streams: s.Streams(), HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Begin(start); err != nil {
		t.Fatal(err)
	}
	o, err := Open(t.Context(), Config{Brokers: c.ListenAddrs(), Topics: []string{topic}, Evidence: w, Pulse: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, v := range []string{`{"cpu_p":1.5,"host":"n"}`, `{"Mem.total":5,"host":"n"}`, `{"host":"n"}`, `{"log":"a line of somebody","host":"n"}`} {
		if err := client.ProduceSync(t.Context(), kgo.StringRecord(v)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop() // it reads on to where the partitions end
	if err := o.Run(stopped, observe.NewKnown(s, 7, start)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	r, err := evidence.Open(w.Dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range r.Events {
		got[e.Kind+" "+e.Attrs["topic"]] = e.Attrs["count"]
	}
	if d := cmp.Diff(map[string]string{evidence.EventNodeMetrics + " " + topic: "2", evidence.EventUnreadable + " " + topic: "2"}, got); d != "" {
		t.Error(d)
	}
	if o.Seen() != 0 {
		t.Errorf("%d of them are records of the run", o.Seen())
	}
}
