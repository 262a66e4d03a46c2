package report

import (
	"math"
	"slices"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/stats"
)

// maxWindows bounds the histograms kept by window: neighbours of a longer run are merged, which is exact.
const maxWindows = 600

// distributions are the histograms of a run over all sources, by window and by phase.
type distributions struct {
	window  time.Duration
	windows map[string]map[int64]*stats.Hist // by metric and bound
	phases  map[string]map[string]*stats.Hist
}

func distKey(metric, bound string) string { return metric + "/" + bound }

// readDistributions reads the histograms once. A window belongs to the phase in which its middle lies, as in judging.
func readDistributions(r *evidence.Run, end time.Duration) *distributions {
	d := &distributions{window: r.Header.HistWindow, windows: map[string]map[int64]*stats.Hist{}, phases: map[string]map[string]*stats.Hist{}}
	for end/d.window > maxWindows {
		d.window *= 2
	}
	phases := r.Scenario.Phases.Windows()
	r.Hists(func(k evidence.HistKey, from time.Duration, h *stats.Hist) error {
		metric := k.Metric
		if src, ok := scenario.FindSource(k.Source); ok && metric == "target_block" && src.Cluster != scenario.Datacenter {
			metric = "target_block elsewhere" // no service waits for these writes
		}
		key := distKey(metric, k.Bound)
		if d.windows[key] == nil {
			d.windows[key], d.phases[key] = map[int64]*stats.Hist{}, map[string]*stats.Hist{}
		}
		if from < end {
			merge(d.windows[key], int64(from/d.window), h)
		}
		mid := from + r.Header.HistWindow/2
		for _, w := range phases {
			if mid >= w.From && mid < w.To && w.Name != scenario.Drain {
				merge(d.phases[key], w.Name, h)
			}
		}
		return nil
	})
	return d
}

func merge[K comparable](m map[K]*stats.Hist, k K, h *stats.Hist) {
	if m[k] == nil {
		m[k] = &stats.Hist{}
	}
	m[k].Merge(h)
}

// overTime returns one curve of the quantile q (1 is the maximum) over scheduled time, with an upper end where the
// metric is an interval; nil without data.
func (d *distributions) overTime(metric, name string, style int, q float64, end time.Duration) *curve {
	values := func(bound string) []float64 {
		m := d.windows[distKey(metric, bound)]
		if len(m) == 0 {
			return nil
		}
		out := make([]float64, (end+d.window-1)/d.window)
		for i := range out {
			out[i] = math.NaN()
			if h := m[int64(i)]; h != nil {
				if v, ok := h.Quantile(q); ok {
					out[i] = v.Seconds()
				}
			}
		}
		return out
	}
	if v := values(evidence.Exact); v != nil {
		return newCurve(name, style, v, d.window)
	}
	lo, hi := values(evidence.Lower), values(evidence.Upper)
	if lo == nil || hi == nil {
		return nil
	}
	c := newCurve(name, style, lo, d.window)
	c.upper, _ = thin(hi, d.window)
	return c
}

// distribution is one line of a percentile chart.
type distribution struct {
	name  string
	style int
	lo    *stats.Hist
	hi    *stats.Hist // the same as lo where the metric is exact
}

// byPhase returns a line for each judged phase with data.
func (d *distributions) byPhase(metric string) []distribution {
	var out []distribution
	for i, p := range []string{scenario.Before, scenario.During, scenario.After} {
		if h := d.phases[distKey(metric, evidence.Exact)][p]; h != nil {
			out = append(out, distribution{p, i, h, h})
			continue
		}
		lo, hi := d.phases[distKey(metric, evidence.Lower)][p], d.phases[distKey(metric, evidence.Upper)][p]
		if lo != nil && hi != nil {
			out = append(out, distribution{p, i, lo, hi})
		}
	}
	return out
}

// judged merges the phases before, during and after.
func (d *distributions) judged(metric, name string, style int) []distribution {
	var all stats.Hist
	for _, p := range []string{scenario.Before, scenario.During, scenario.After} {
		if h := d.phases[distKey(metric, evidence.Exact)][p]; h != nil {
			all.Merge(h)
		}
	}
	if all.Count() == 0 {
		return nil
	}
	return []distribution{{name, style, &all, &all}}
}

// ladder gives the values of a distribution at many ranks in one pass: Hist.Quantile sorts at each call.
type ladder struct {
	buckets []stats.Bucket
	cum     []uint64
	max     time.Duration
}

func newLadder(h *stats.Hist) ladder {
	l := ladder{buckets: h.Buckets(), max: h.Max()}
	var n uint64
	for _, b := range l.buckets {
		n += b.N
		l.cum = append(l.cum, n)
	}
	return l
}

func (l ladder) at(q float64) time.Duration {
	k := len(l.cum)
	if k == 0 {
		return 0
	}
	rank := min(max(uint64(math.Ceil(q*float64(l.cum[k-1]))), 1), l.cum[k-1])
	i, _ := slices.BinarySearch(l.cum, rank)
	return min(l.buckets[i].Hi-1, l.max)
}
