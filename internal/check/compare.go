package check

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"golang.org/x/perf/benchmath"

	"triad/internal/stats"
)

// Bounds of a comparison of run sets.
const (
	// compareRuns is the least number of runs on each side for a test: with 4 and 4 the smallest two-sided p-value is
	// 2 in 70, below compareLevel; with 3 and 3 it is 1 in 10, and no difference whatever could be told from chance.
	compareRuns  = 4
	compareLevel = 0.05
	// compareEffect is the smallest change that is called one.
	compareEffect = 0.05
)

// How a figure of the second set stands to the first.
const (
	Better  = "better"
	Worse   = "worse"
	Same    = "no difference seen"
	TooFew  = "too few runs to tell"
	OneSide = "only on one side"
)

// Comparison is what sim compare says: what differs in configuration, and in results.
type Comparison struct {
	A       Side         `json:"a"`
	B       Side         `json:"b"`
	Config  []ConfigDiff `json:"config"`
	Figures []FigureDiff `json:"figures"`
	Notes   []string     `json:"notes"`
}

// Side is one set of runs.
type Side struct {
	Runs     []string  `json:"runs"`
	Verdicts []Verdict `json:"verdicts"`
}

// ConfigDiff is one thing that was chosen differently; a side that lacks it has none.
type ConfigDiff struct {
	Key string   `json:"key"`
	A   []string `json:"a"`
	B   []string `json:"b"`
}

// Estimate is a figure over a set of runs: its median, and the range in which the true median lies with the given
// confidence. With fewer runs than a 95 % interval needs it is the range that was seen, and Confidence says how much
// that is worth; with one run it is 0.
type Estimate struct {
	N          int     `json:"n"`
	Median     float64 `json:"median"`
	Lo         float64 `json:"lo"`
	Hi         float64 `json:"hi"`
	Confidence float64 `json:"confidence"`
}

// FigureDiff is one figure on both sides.
type FigureDiff struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	A      *Estimate `json:"a"`
	B      *Estimate `json:"b"`
	Change *float64  `json:"change"` // share of A; null when A is zero or a side is missing
	P      *float64  `json:"p_value"`
	// Shift is how far B lies above A, in the figure's unit.
	Shift   *stats.Interval `json:"shift,omitempty"`
	Verdict string          `json:"verdict"`
	Detail  string          `json:"detail"`
}

// Compare compares two sets of runs of at least one each. Only whole runs are compared, one value each, because the
// records and seconds inside a run depend on each other. With fewer than four runs on a side it says that the data do
// not suffice. An empty set is an error.
func Compare(a, b []*Result) (*Comparison, error) {
	if len(a) == 0 || len(b) == 0 {
		return nil, errors.New("comparison: each side needs at least one run")
	}
	c := &Comparison{A: side(a), B: side(b), Config: configDiffs(a, b), Figures: []FigureDiff{}, Notes: []string{}}
	fa, order, units := collect(a, nil, nil)
	fb, order, units := collect(b, order, units)
	tested := 0
	for _, name := range order {
		f := diff(name, units[name], fa[name], fb[name])
		if f.P != nil {
			tested++
		}
		c.Figures = append(c.Figures, f)
	}
	c.notes(a, b, tested)
	return c, nil
}

// Verdict says how B stands to A: Worse in one figure is worse, whatever else got better, and where no figure was tested nothing can
// be told. Figures over all phases stand there by phase too.
func (c *Comparison) Verdict() string {
	tested, better := false, false
	for _, f := range c.Figures {
		switch {
		case OverAll(f.Name):
		case f.Verdict == Worse:
			return Worse
		default:
			tested, better = tested || f.P != nil, better || f.Verdict == Better
		}
	}
	switch {
	case !tested:
		return NotClear
	case better:
		return Better
	}
	return NoDifference
}

// OverAll says of which figures the parts stand there by phase.
func OverAll(name string) bool { return strings.Contains(name, ", "+PhaseAll+",") }

func side(rs []*Result) Side {
	var s Side
	for _, r := range rs {
		s.Runs = append(s.Runs, r.Run)
		s.Verdicts = append(s.Verdicts, r.Verdict)
	}
	return s
}

// configDiffs lists the keys whose values differ between the sides. The seed differs between repetitions of one
// configuration and says nothing.
func configDiffs(a, b []*Result) []ConfigDiff {
	values := func(rs []*Result, k string) []string {
		var out []string
		for _, r := range rs {
			if v, ok := r.Config[k]; ok && !slices.Contains(out, v) {
				out = append(out, v)
			}
		}
		slices.Sort(out)
		return out
	}
	keys := map[string]bool{}
	for _, r := range slices.Concat(a, b) {
		for k := range r.Config {
			keys[k] = true
		}
	}
	out := []ConfigDiff{}
	for _, k := range sortedKeys(keys) {
		if va, vb := values(a, k), values(b, k); k != "seed" && !slices.Equal(va, vb) {
			out = append(out, ConfigDiff{k, va, vb})
		}
	}
	return out
}

// collect gathers the figures of every run by name, in the order of first sight. A figure that a run does not know is
// left out of it.
func collect(rs []*Result, order []string, units map[string]string) (map[string][]float64, []string, map[string]string) {
	if units == nil {
		units = map[string]string{}
	}
	out := map[string][]float64{}
	add := func(name, unit string, v float64) {
		if _, ok := units[name]; !ok {
			units[name] = unit
			order = append(order, name)
		}
		out[name] = append(out[name], v)
	}
	seconds := func(name string, ns *int64) {
		if ns != nil {
			add(name, "s", float64(*ns)/1e9)
		}
	}
	for _, r := range rs {
		t := r.Totals
		for _, x := range []struct {
			name string
			n    uint64
		}{
			{"lost", t.Lost},
			{"unknown", t.Unknown},
			{"dropped", t.Dropped},
			{"dead-lettered", t.DeadLettered},
			{"broker duplicates", t.BrokerDup},
			{"visible duplicates", t.VisibleDup},
			{"misordered", t.Misordered},
			{"corrupt", t.Corrupt},
			{"foreign", t.Foreign},
			{"phantom", t.Phantom},
		} {
			add(x.name, "records", float64(x.n))
		}
		for _, l := range r.Latency {
			if l.Source != PhaseAll || l.Topic != "" || (!judgedPhase(l.Phase) && l.Phase != PhaseAll) {
				continue
			}
			up := func(lo int64, hi *int64) float64 { // of an interval, its upper end: the figure that is safe to promise
				if hi != nil {
					lo = *hi
				}
				return float64(lo) / 1e9
			}
			name := l.Metric + ", " + l.Phase
			add(name+", p50", "s", up(l.P50, l.P50Upper))
			add(name+", p99", "s", up(l.P99, l.P99Upper))
			add(name+", max", "s", up(l.Max, l.MaxUpper))
		}
		seconds("noticed", r.Recovery.Noticed)
		seconds("first good record", r.Recovery.FirstGood)
		seconds("drained", r.Recovery.Drained)
		seconds("in band", r.Recovery.InBand)
		if r.Recovery.DrainRate != nil {
			add("drain rate", "/s", *r.Recovery.DrainRate)
		}
		for _, x := range r.Throughput {
			if judgedPhase(x.Phase) {
				add("throughput at "+x.Point+", "+x.Phase, "/s", x.Mean)
			}
		}
		// A component may have several buffers in a hop, such as Fluentd one for each topic: the run's value is that of the first to fill.
		least := map[string]*int64{}
		for _, f := range r.Buffers {
			name := "survival horizon, " + f.Hop + ", " + f.Component
			if h := least[name]; f.Horizon != nil && (h == nil || *f.Horizon < *h) {
				least[name] = f.Horizon
			}
		}
		for _, name := range sortedKeys(least) {
			seconds(name, least[name])
		}
	}
	return out, order, units
}

// moreIsBetter says of which figures.
func moreIsBetter(name string) bool {
	return strings.HasPrefix(name, "throughput") || strings.HasPrefix(name, "survival horizon") || name == "drain rate"
}

func diff(name, unit string, a, b []float64) FigureDiff {
	f := FigureDiff{Name: name, Unit: unit, A: estimate(a), B: estimate(b)}
	if f.A == nil || f.B == nil {
		f.Verdict, f.Detail = OneSide, fmt.Sprintf("%s: known in %d and %d runs", name, len(a), len(b))
		return f
	}
	delta := f.B.Median - f.A.Median
	if f.A.Median != 0 {
		f.Change = new(delta / f.A.Median)
	}
	f.Detail = fmt.Sprintf("%s: %s, then %s", name, f.A.words(unit), f.B.words(unit))
	if len(a) < compareRuns || len(b) < compareRuns {
		f.Verdict = TooFew
		f.Detail += fmt.Sprintf("; %d and %d runs do not suffice, at least %d on each side do", len(a), len(b), compareRuns)
		return f
	}
	p := stats.Differ(a, b)
	f.P = &p
	if i, ok := stats.Shift(a, b, 0.95); ok {
		f.Shift = &i
	}
	small := f.A.Median != 0 && math.Abs(delta/f.A.Median) < compareEffect || delta == 0
	switch {
	case p >= compareLevel || small:
		f.Verdict = Same
	case (delta > 0) == moreIsBetter(name):
		f.Verdict = Better
	default:
		f.Verdict = Worse
	}
	f.Detail += fmt.Sprintf("; p %.3f", p)
	return f
}

func (e *Estimate) words(unit string) string {
	s := number(e.Median, unit)
	if e.N > 1 {
		s += fmt.Sprintf(" (%s to %s, %d runs)", number(e.Lo, unit), number(e.Hi, unit), e.N)
	}
	return s
}

func estimate(xs []float64) *Estimate {
	if len(xs) == 0 {
		return nil
	}
	e := &Estimate{N: len(xs), Median: stats.Median(xs), Lo: slices.Min(xs), Hi: slices.Max(xs)}
	if len(xs) == 1 {
		return e
	}
	th := benchmath.DefaultThresholds
	sum := benchmath.AssumeNothing.Summary(benchmath.NewSample(slices.Clone(xs), &th), 0.95)
	if !math.IsInf(sum.Lo, 0) && !math.IsInf(sum.Hi, 0) {
		e.Lo, e.Hi, e.Confidence = sum.Lo, sum.Hi, sum.Confidence
		return e
	}
	// The range of n values holds the median unless all of them are on one side of it.
	e.Confidence = 1 - math.Pow(0.5, float64(len(xs)-1))
	return e
}

// notes say what a reader must know before believing the figures.
func (c *Comparison) notes(a, b []*Result, tested int) {
	for _, s := range []struct {
		name string
		rs   []*Result
	}{{"the first set", a}, {"the second set", b}} {
		var configs []string
		bad := 0
		for _, r := range s.rs {
			var lines []string
			for _, k := range sortedKeys(r.Config) {
				if k != "seed" {
					lines = append(lines, k+"="+r.Config[k])
				}
			}
			if text := strings.Join(lines, "\n"); !slices.Contains(configs, text) {
				configs = append(configs, text)
			}
			if r.Verdict == Invalid || r.Verdict == Inconclusive {
				bad++
			}
		}
		if len(configs) > 1 {
			c.Notes = append(c.Notes, fmt.Sprintf("%s mixes %d configurations, so its spread is not noise alone", s.name, len(configs)))
		}
		if bad > 0 {
			c.Notes = append(c.Notes, fmt.Sprintf("%d of %d runs of %s are invalid or inconclusive: their figures rest on assumptions that did not hold", bad, len(s.rs), s.name))
		}
	}
	if len(a) < compareRuns || len(b) < compareRuns {
		c.Notes = append(c.Notes, fmt.Sprintf("%d and %d runs: no difference can be told from chance; at least %d on each side are needed", len(a), len(b), compareRuns))
	}
	if a[0].Scenario != b[0].Scenario {
		c.Notes = append(c.Notes, fmt.Sprintf("different scenarios: %s and %s", a[0].Scenario, b[0].Scenario))
	}
	if a[0].Runtime != b[0].Runtime {
		c.Notes = append(c.Notes, fmt.Sprintf("different runtimes, %s and %s: latency and throughput of the embedded runtime are not Kafka's", a[0].Runtime, b[0].Runtime))
	}
	if tested > 0 {
		c.Notes = append(c.Notes, fmt.Sprintf("%d figures were tested at a level of %g: about %.0f of them would differ by chance alone", tested, compareLevel, math.Ceil(float64(tested)*compareLevel)))
	}
}
