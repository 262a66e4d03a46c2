package check

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// spread returns n results of one scenario whose latencies scatter by 10 %, around what shift makes of them.
func spread(rng *rand.Rand, n int, shift float64) []*Result {
	var out []*Result
	for i := range n {
		at := func(base float64) int64 { return int64(base * shift * (1 + 0.1*rng.NormFloat64())) }
		out = append(out, &Result{
			Run: fmt.Sprintf("r%d", i), Scenario: "smoke", Runtime: "embedded", Verdict: Pass,
			Config: map[string]string{"runtime": "embedded", "seed": fmt.Sprint(i)},
			Checks: []Check{{Name: "loss", Verdict: Pass, Always: true}, {Name: "e2e < 10s", Verdict: Pass, Gate: true}},
			Latency: []Latency{
				{Metric: "e2e_latency", Phase: "before", Source: PhaseAll, P50: at(2e9), P99: at(4e9), Max: at(5e9)},
				{Metric: "kafka_latency", Phase: "before", Source: PhaseAll, P50: at(1e9), P99: at(2e9), Max: at(3e9)},
				{Metric: "query_latency", Phase: "before", Source: PhaseAll, P50: int64(1e6 * (1 + rng.Float64())), P99: int64(2e6 * (1 + rng.Float64()))},
				{Metric: "target_block", Phase: "before", Source: PhaseAll, P50: int64(1e9 * (1 + 0.1*rng.NormFloat64())), P99: int64(2e9 * (1 + 0.1*rng.NormFloat64()))},
			},
			Throughput: []Throughput{{Point: "kafka", Phase: "before", Mean: 100 * (1 + 0.01*rng.NormFloat64())}},
		})
	}
	return out
}

func weigh(t *testing.T, base, head []*Result) (*Change, *ScenarioChange) {
	t.Helper()
	c, err := Weigh([]Pair{{"smoke", base, head}}, Effect)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(c); err != nil {
		t.Fatal(err)
	}
	return c, &c.Scenarios[0]
}

// What is the same on both sides is called different in at most one of twenty comparisons, over all figures together.
func TestWeighOfTheSame(t *testing.T) {
	const trials = 300
	wrong, told := 0, 0
	for i := range trials {
		rng := rand.New(rand.NewPCG(11, uint64(i)))
		c, _ := weigh(t, spread(rng, 6, 1), spread(rng, 6, 1))
		switch c.Verdict {
		case NoDifference:
			told++
		default:
			wrong++
		}
	}
	if wrong > trials*8/100 { // 5 % are allowed, 8 % are more than two standard errors away
		t.Errorf("%d of %d comparisons of the same found a difference", wrong, trials)
	}
	if told == 0 {
		t.Error("never told that nothing differs")
	}
}

func TestWeighFindsWhatChanged(t *testing.T) {
	missed, wrong, comparisons := 0, 0, 50
	for i := range comparisons {
		rng := rand.New(rand.NewPCG(12, uint64(i)))
		base, head := spread(rng, 6, 1), spread(rng, 6, 2)
		c, s := weigh(t, base, head)
		if c.Verdict != Worse || !strings.Contains(c.Summary, "e2e_latency, before, p50") {
			t.Fatalf("%d: %s: %s", i, c.Verdict, c.Summary)
		}
		for _, f := range s.Figures {
			if f.Name == "e2e_latency, before, p50" && (f.ShareLo == nil || *f.ShareLo > 1 || *f.ShareHi < 1) {
				missed++
			}
		}
		// What did not change is called worse in at most one of twenty.
		if c, _ := weigh(t, head, base); c.Verdict != Better {
			wrong++
		}
	}
	if wrong > comparisons/10 {
		t.Errorf("half as much was not called better in %d of %d comparisons", wrong, comparisons)
	}
	if missed > comparisons/5 { // the shift is held in 95 %; as a share of a median that scatters too, in somewhat less
		t.Errorf("twice as much lay outside of %d of %d ranges", missed, comparisons)
	}
}

// Too few rounds are no proof that nothing differs.
func TestWeighOfFewRounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 0))
	c, _ := weigh(t, spread(rng, 3, 1), spread(rng, 3, 3))
	if c.Verdict != NotClear || !strings.Contains(c.Summary, "at least 4 valid runs") {
		t.Errorf("three rounds: %s: %s", c.Verdict, c.Summary)
	}
	// With four, one figure alone cannot be told from chance among nine, however far away it is.
	base, head := spread(rng, 4, 1), spread(rng, 4, 1)
	for i, r := range head {
		base[i].Latency[3].P99, r.Latency[3].P99 = 2e9+int64(i), 9e9+int64(i)
	}
	c, s := weigh(t, base, head)
	if c.Verdict != NotClear || !strings.Contains(c.Summary, "target_block, before, p99 +350 % may be chance") || !strings.Contains(strings.Join(s.Notes, "\n"), "no figure can be told from chance among") {
		t.Errorf("four rounds: %s: %s %q", c.Verdict, c.Summary, s.Notes)
	}
}

// A loss is exact: one run is enough.
func TestWeighSaysNewLosses(t *testing.T) {
	rng := rand.New(rand.NewPCG(14, 0))
	base, head := spread(rng, 6, 1), spread(rng, 6, 1)
	head[3].Totals.Lost, head[3].Verdict = 7, Fail
	head[3].Checks[0].Verdict = Fail
	head[3].Segments = []Segment{{Name: "kafka-search", Lost: 7}}
	c, s := weigh(t, base, head)
	if c.Verdict != Worse {
		t.Errorf("%s: %s", c.Verdict, c.Summary)
	}
	var text []string
	for _, f := range s.Findings {
		text = append(text, f.What+": "+f.Base+", then "+f.Head+": "+f.Verdict+": "+f.Detail)
	}
	for _, want := range []string{
		"the run: 6 pass, then 5 pass, 1 fail: cannot tell: it failed on no run of base",
		"check loss: 6 pass, then 5 pass, 1 fail: worse: it failed on no run of base",
		"records lost: none, then up to 7, in 1 of 6 runs: worse: none on any run of base; lost in kafka-search",
	} {
		if !strings.Contains(strings.Join(text, "\n"), want) {
			t.Errorf("no %q in:\n%s", want, strings.Join(text, "\n"))
		}
	}
	if c, _ := weigh(t, head, base); c.Verdict == Worse || c.Verdict == Better {
		t.Errorf("one loss of six that is gone: %s: %s", c.Verdict, c.Summary)
	}
	// Where a segment may lose, a loss is said, and may be chance.
	head[3].Checks[0].Verdict, head[3].Verdict = Pass, Pass
	if c, _ := weigh(t, base, head); c.Verdict != NotClear || !strings.Contains(c.Summary, "records lost") {
		t.Errorf("a loss that the guarantee allows: %s: %s", c.Verdict, c.Summary)
	}
	for _, r := range head {
		r.Totals.Lost = 7
	}
	if c, _ := weigh(t, base, head); c.Verdict != Worse {
		t.Errorf("losses in every run: %s: %s", c.Verdict, c.Summary)
	}
}

// A phantom in one run of six may be chance, unless the check that is about it failed.
func TestWeighAsksTheCheckOfPhantoms(t *testing.T) {
	rng := rand.New(rand.NewPCG(17, 0))
	base, head := spread(rng, 6, 1), spread(rng, 6, 1)
	head[2].Totals.Phantom = 1
	for failed, want := range map[string]string{"phantom": Worse, "corruption": NotClear} {
		head[2].Checks = append(head[2].Checks[:2:2], Check{Name: failed, Verdict: Fail, Always: true})
		_, s := weigh(t, base, head)
		got := ""
		for _, f := range s.Findings {
			if f.What == "records phantom" {
				got = f.Verdict
			}
		}
		if got != want {
			t.Errorf("a phantom where there was none, and %s failed: %q, want %q", failed, got, want)
		}
	}
}

func TestWeighSaysVerdicts(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 0))
	base, head := spread(rng, 6, 1), spread(rng, 6, 1)
	for _, r := range head {
		r.Verdict, r.Checks[1].Verdict = Fail, Fail
	}
	if c, _ := weigh(t, base, head); c.Verdict != Worse || !strings.Contains(c.Summary, "check e2e < 10s (6 pass, then 6 fail)") {
		t.Errorf("%s: %s", c.Verdict, c.Summary)
	}
	if c, _ := weigh(t, head, base); c.Verdict != Better {
		t.Errorf("mended: %s: %s", c.Verdict, c.Summary)
	}
	if c, _ := weigh(t, head, head); c.Verdict != NoDifference {
		t.Errorf("fails on both sides: %s: %s", c.Verdict, c.Summary)
	}
	// One threshold that failed once may be chance, and is said.
	head = spread(rng, 6, 1)
	head[0].Checks[1].Verdict, head[0].Verdict = Fail, Fail
	if c, _ := weigh(t, base, head); c.Verdict != NotClear || !strings.Contains(c.Summary, "may be chance") {
		t.Errorf("once: %s: %s", c.Verdict, c.Summary)
	}
}

// The machine's figures are not the system's.
func TestWeighLeavesOutWhatIsInvalid(t *testing.T) {
	rng := rand.New(rand.NewPCG(16, 0))
	base, head := spread(rng, 6, 1), spread(rng, 6, 3)
	for _, r := range head[:5] {
		r.Verdict = Invalid
	}
	c, s := weigh(t, base, head)
	if c.Verdict == Better || c.Verdict == NoDifference || !strings.Contains(strings.Join(s.Notes, "\n"), "5 of 6 runs of head are left out") {
		t.Errorf("%s: %s %q", c.Verdict, c.Summary, s.Notes)
	}
	// A busy machine on one side makes it neither worse nor better.
	same := spread(rng, 12, 1)
	for _, r := range same[:6] {
		r.Verdict, r.Checks[1].Verdict = Invalid, Invalid
	}
	if c, _ := weigh(t, base, same); c.Verdict != NoDifference {
		t.Errorf("six more runs that are invalid: %s: %s", c.Verdict, c.Summary)
	}
	if c, _ := weigh(t, same, base); c.Verdict != NoDifference {
		t.Errorf("six more runs that were invalid: %s: %s", c.Verdict, c.Summary)
	}
	for _, r := range head {
		r.Interrupted = "by hand"
	}
	if c, _ := weigh(t, base, head); c.Verdict != NotClear {
		t.Errorf("no run of head is whole: %s", c.Verdict)
	}
	if c, err := Weigh(nil, Effect); err != nil || c.Verdict != NotClear {
		t.Errorf("nothing at all: %v %v", c, err)
	}
}
