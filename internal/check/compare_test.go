package check

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// like returns n results that differ in one latency and in their seed.
func like(n int, runtime string, p99 func(i int) int64) []*Result {
	var out []*Result
	for i := range n {
		out = append(out, &Result{
			Run: fmt.Sprintf("r%d", i), Scenario: "smoke", Runtime: runtime, Verdict: Pass,
			Config:     map[string]string{"runtime": runtime, "seed": fmt.Sprint(i), "buffer forward/fluentd": "4 GiB"},
			Latency:    []Latency{{Metric: "kafka_latency", Phase: "during", Source: PhaseAll, P50: 1e8, P99: p99(i), Max: 1e9}},
			Throughput: []Throughput{{Point: "kafka", Phase: "during", Mean: 100}},
		})
	}
	return out
}

func figure(c *Comparison, name string) *FigureDiff {
	for i := range c.Figures {
		if c.Figures[i].Name == name {
			return &c.Figures[i]
		}
	}
	return nil
}

func TestCompareTells(t *testing.T) {
	a := like(5, "kind", func(i int) int64 { return 200e6 + int64(i)*1e6 })
	b := like(5, "kind", func(i int) int64 { return 400e6 + int64(i)*1e6 })
	for _, r := range b {
		r.Config["buffer forward/fluentd"] = "1 GiB"
	}
	c, err := Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	f := figure(c, "kafka_latency, during, p99")
	if f == nil || f.Verdict != Worse || f.P == nil || *f.P > 0.01 || f.A.Lo != 0.2 || f.A.Hi != 0.204 || *f.Change < 0.9 {
		t.Errorf("%+v", f)
	}
	if f := figure(c, "kafka_latency, during, p50"); f.Verdict != Same {
		t.Errorf("equal figures: %+v", f)
	}
	if len(c.Config) != 1 || c.Config[0].Key != "buffer forward/fluentd" || !slices.Equal(c.Config[0].B, []string{"1 GiB"}) {
		t.Errorf("config %+v", c.Config)
	}
	back, err := Compare(b, a)
	if err != nil || figure(back, "kafka_latency, during, p99").Verdict != Better {
		t.Errorf("the other way round: %v", err)
	}
	same, err := Compare(a, a)
	if err != nil || c.Verdict() != Worse || back.Verdict() != Better || same.Verdict() != NoDifference {
		t.Errorf("on the whole: %s, %s, %s: %v", c.Verdict(), back.Verdict(), same.Verdict(), err)
	}
	if _, err := json.Marshal(c); err != nil {
		t.Error(err)
	}
}

func TestCompareSaysTooFew(t *testing.T) {
	a := like(1, "embedded", func(int) int64 { return 1e6 })
	b := like(3, "kind", func(int) int64 { return 9e9 })
	c, err := Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if f := figure(c, "kafka_latency, during, p99"); f.Verdict != TooFew || f.P != nil || c.Verdict() != NotClear {
		t.Errorf("%s: %+v", c.Verdict(), f)
	}
	notes := strings.Join(c.Notes, "\n")
	for _, want := range []string{"no difference can be told from chance", "not Kafka's"} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes lack %q:\n%s", want, notes)
		}
	}
	if _, err := Compare(nil, b); err == nil {
		t.Error("an empty side was compared")
	}
}

// Several buffers of a component in one run are one value: four of them in one run are not four runs.
func TestCompareTakesOneValueOfARun(t *testing.T) {
	a := like(1, "kind", func(int) int64 { return 1e6 })
	for _, h := range []int64{40e9, 20e9, 30e9, 50e9} {
		a[0].Buffers = append(a[0].Buffers, BufferFill{Hop: "forward", Component: "fluentd", Horizon: &h})
	}
	c, err := Compare(a, a)
	if err != nil {
		t.Fatal(err)
	}
	if f := figure(c, "survival horizon, forward, fluentd"); f == nil || f.A.N != 1 || f.A.Median != 20 || f.Verdict != TooFew {
		t.Errorf("%+v", f)
	}
}

func TestCompareUnknownFigures(t *testing.T) {
	a := like(4, "kind", func(int) int64 { return 1e6 })
	b := like(4, "kind", func(int) int64 { return 1e6 })
	a[0].Recovery.Drained = new(int64(3e9))
	b[1].Verdict = Invalid
	c, err := Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if f := figure(c, "drained"); f == nil || f.Verdict != OneSide || f.B != nil {
		t.Errorf("%+v", f)
	}
	if !strings.Contains(strings.Join(c.Notes, "\n"), "1 of 4 runs of the second set are invalid") {
		t.Errorf("%v", c.Notes)
	}
}
