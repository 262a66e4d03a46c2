package check

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/stats"
)

// Bounds of the check baseline.
const (
	// baselineLevel is the chance that a test may call noise a change, over all figures of a run together (Bonferroni).
	baselineLevel = 0.01
	// baselineEffect is the smallest change that is called one: what single nights on one machine differ by without a change of anything.
	baselineEffect = 0.25
	// minBaseline is the fewest independent figures on each side: fewer cannot come below baselineLevel.
	minBaseline = 8
)

// Figures are what one measure was in each calm of a long run, the time between the recovery from a fault and the next: what a later run
// is compared with.
type Figures struct {
	What   string    `json:"what"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"` // in order, at most some hundred
}

// leastCalm is the shortest calm that has a figure: two windows of the histograms of a long run.
const leastCalm = 20 * time.Second

// intervals are the figures of each calm, one for all of it: when forwarders flush, relative to one another, is settled when they start, moves
// latencies by a second, and stays as it is until one of them is killed. Seconds of one calm are the same throw of the dice; a run
// without faults has thrown once, however long it is. More is worse in all of the figures.
func (j *judge) intervals() []Figures {
	var out []Figures
	spans := slices.DeleteFunc(slices.Clone(j.calmSpans()), func(s Span) bool { return s.To-s.From < leastCalm })
	add := func(what, unit string, of func(Span) []float64) {
		var vs []float64
		for _, s := range spans {
			if in := of(s); len(in) > 0 {
				vs = append(vs, stats.Median(in))
			}
		}
		if len(vs) > 0 {
			out = append(out, Figures{what, unit, thinOut(vs, maxTrend)})
		}
	}
	every := func(string) bool { return true }
	for _, m := range []struct {
		metric string
		q      float64
	}{{"kafka_latency", 0.5}, {"kafka_latency", 0.99}, {"e2e_latency", 0.5}, {"e2e_latency", 0.99}, {"target_block", 0.99}, {"query_latency", 0.9}} {
		add(fmt.Sprintf("%s p(%g)", m.metric, 100*m.q), "s", func(s Span) []float64 {
			return values(j.lat.perWindow(m.metric, every, s.From, s.To, m.q, forever))
		})
	}
	for _, t := range j.trends {
		if t.Of == "harness" && t.What == "memory" && t.Level != nil && t.Verdict != Skipped {
			track := j.ser.tracks[trackOf(evidence.ResidentSeries, "harness")]
			add("memory of the harness", "bytes", func(s Span) []float64 {
				_, ys := points(&track.line, []Span{s}, trendStep, true)
				return ys
			})
		}
	}
	return out
}

// readBaseline reads the result that the run was given to be compared with; nil when it was given none.
func readBaseline(r *evidence.Run) (*Result, error) {
	b, err := os.ReadFile(filepath.Join(r.Dir, evidence.BaselineFile))
	if os.IsNotExist(err) {
		return nil, nil //nolint:nilnil // none is no error
	}
	if err != nil {
		return nil, err
	}
	return ParseBaseline(b)
}

// ParseBaseline reads the result.json of an earlier run and demands that a run can be compared with it.
func ParseBaseline(b []byte) (*Result, error) {
	var res Result
	if err := json.Unmarshal(b, &res); err != nil {
		return nil, fmt.Errorf("baseline: %w", err)
	}
	switch {
	case res.SchemaVersion != ResultSchema:
		return nil, fmt.Errorf("baseline: schema %d, want %d", res.SchemaVersion, ResultSchema)
	case res.Scenario == "" || res.Runtime == "":
		return nil, fmt.Errorf("baseline: this is no result.json")
	case len(res.Intervals) == 0:
		return nil, fmt.Errorf("baseline: run %s has no figures by interval; runs that judge a trend have", res.Run)
	}
	return &res, nil
}

// baselineCheck compares the calm of a run with that of an earlier one on the same class of runner.
func baselineCheck(j *judge) *judged {
	base, err := readBaseline(j.r)
	if base == nil && err == nil {
		return nil
	}
	c := &judged{
		files: []string{evidence.HistsName, evidence.SeriesName, evidence.EventsFile, evidence.BaselineFile}, interim: true, ownGaps: true,
		phases: []string{scenario.Before, scenario.During, scenario.After},
	}
	c.Unit, c.Limit = "change", new(baselineEffect)
	c.Windows = j.calmSpans()
	if err != nil {
		return c.set(Inconclusive, "%v", err)
	}
	own := j.config()
	if base.Scenario != j.s.Name || base.Runtime != j.r.Header.Runtime {
		return c.set(Inconclusive, "the baseline is of %s on %s, and this is %s on %s", base.Scenario, base.Runtime, j.s.Name, j.r.Header.Runtime)
	}
	for _, k := range slices.Sorted(func(yield func(string) bool) {
		for k := range own {
			if (k == RunnerClass || strings.HasPrefix(k, "load ")) && !yield(k) {
				return
			}
		}
	}) {
		if base.Config[k] != own[k] {
			return c.set(Inconclusive, "the baseline has another %s: %s, and this run %s", k, base.Config[k], own[k])
		}
	}
	before := map[string]Figures{}
	for _, f := range base.Intervals {
		before[f.What] = f
	}
	var worse, few, better []string
	most, about, n := math.Inf(-1), "", 0
	now := j.intervals()
	for _, f := range now {
		old, ok := before[f.What]
		if !ok || old.Unit != f.Unit {
			continue
		}
		// Neighbours hang together where a fault changed nothing, and the test wants independent ones.
		a, _ := stats.Thin(old.Values)
		b, _ := stats.Thin(f.Values)
		if len(a) < minBaseline || len(b) < minBaseline {
			few = append(few, fmt.Sprintf("%s: %d and %d calms between faults that are independent are too few, it takes %d", f.What, len(a), len(b), minBaseline))
			continue
		}
		n++
		from, to := stats.Median(a), stats.Median(b)
		change := to/from - 1
		if from <= 0 || math.IsNaN(change) {
			n--
			continue
		}
		level := baselineLevel / float64(len(now))
		p, less := stats.Greater(a, b), stats.Greater(b, a)
		text := fmt.Sprintf("%s is %s, and was %s (%+.0f %%, p = %.2g)", f.What, amount(to, f.Unit), amount(from, f.Unit), 100*change, min(p, less))
		if change > most {
			most, about = change, text
		}
		switch {
		case p < level && change > baselineEffect:
			worse = append(worse, text)
		case less < level && change < -baselineEffect:
			better = append(better, text)
		}
	}
	if !math.IsInf(most, 0) {
		c.Value = &most
	}
	switch {
	case len(worse) > 0:
		return c.set(Fail, "worse than in %s: %s", base.Run, strings.Join(worse, "; "))
	case n == 0 || len(few) > 0:
		return c.set(Inconclusive, "there is too little to compare with %s: %s", base.Run, strings.Join(append(few, fmt.Sprintf("%d figures were compared", n)), "; "))
	}
	text := fmt.Sprintf("none of %d figures is worse than in %s by more than %.0f %%; most: %s", n, base.Run, 100*baselineEffect, about)
	if len(better) > 0 {
		text += "; better: " + strings.Join(better, "; ")
	}
	return c.set(Pass, "%s", text)
}
