package check

import (
	"cmp"
	"slices"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/stats"
)

// PhaseAll names the phases that are judged together when none is named: before, during and after. The warm-up is
// listed and never judged.
const PhaseAll = "all"

// hopOf says which hop a latency metric ends at.
var hopOf = map[string]string{
	"generator_lag": "generate", "target_block": "generate", "send_corrected": "generate", "send_uncorrected": "generate",
	"kafka_latency": "broker", "e2e_latency": "search", "query_latency": "search",
}

// maxWindows bounds the windows kept one by one; a longer run merges neighbours.
const maxWindows = 4096

// latencies are the merged histograms of a run.
type latencies struct {
	phases  []scenario.Window // with load
	byPhase map[latencyKey]*stats.Hist
	window  time.Duration
	windows map[windowKey]*stats.Hist
}

type latencyKey struct {
	evidence.HistKey
	phase string
}

// windowKey is one window of one metric and source, upper ends where it is an interval.
type windowKey struct {
	metric, source string
	n              int64
}

// newLatencies reads the histograms. A window belongs to the phase in which its middle lies.
func newLatencies(r *evidence.Run) *latencies {
	l := &latencies{byPhase: map[latencyKey]*stats.Hist{}, windows: map[windowKey]*stats.Hist{}, window: r.Header.HistWindow}
	for _, w := range r.Scenario.Phases.Windows() {
		if w.Name != scenario.Drain {
			l.phases = append(l.phases, w)
		}
	}
	for r.Scenario.Phases.LoadTime()/l.window > maxWindows {
		l.window *= 2
	}
	merge := func(k latencyKey, h *stats.Hist) {
		m := l.byPhase[k]
		if m == nil {
			m = &stats.Hist{}
			l.byPhase[k] = m
		}
		m.Merge(h)
	}
	r.Hists(func(k evidence.HistKey, from time.Duration, h *stats.Hist) error {
		phase := l.phaseAt(from + r.Header.HistWindow/2)
		if phase == "" {
			return nil
		}
		merge(latencyKey{k, phase}, h)
		if k.Bound != evidence.Lower {
			wk := windowKey{k.Metric, k.Source, int64(from / l.window)}
			m := l.windows[wk]
			if m == nil {
				m = &stats.Hist{}
				l.windows[wk] = m
			}
			m.Merge(h)
		}
		return nil
	})
	return l
}

func (l *latencies) phaseAt(t time.Duration) string {
	for _, w := range l.phases {
		if t >= w.From && t < w.To {
			return w.Name
		}
	}
	return ""
}

// judgedPhase reports whether a phase counts when no phase is named.
func judgedPhase(p string) bool {
	return p == scenario.Before || p == scenario.During || p == scenario.After
}

// pick merges the histograms that match; an empty source, topic or phase matches all (of phases: the judged ones).
func (l *latencies) pick(metric, source, topic, phase, bound string) *stats.Hist {
	var out stats.Hist
	for k, h := range l.byPhase {
		if k.Metric == metric && k.Bound == bound && (source == "" || k.Source == source) && (topic == "" || k.Topic == topic) &&
			(phase == k.phase || phase == "" && judgedPhase(k.phase)) {
			out.Merge(h)
		}
	}
	return &out
}

// interval returns the lower and the upper histogram of a metric; they are the same where it is exact. ok is false
// without data.
func (l *latencies) interval(metric, source, topic, phase string) (lo, hi *stats.Hist, ok bool) {
	if h := l.pick(metric, source, topic, phase, evidence.Exact); h.Count() > 0 {
		return h, h, true
	}
	lo, hi = l.pick(metric, source, topic, phase, evidence.Lower), l.pick(metric, source, topic, phase, evidence.Upper)
	return lo, hi, lo.Count() > 0 && hi.Count() > 0
}

// perWindow returns the q-quantile in seconds of each window inside [from, to), over the sources that want takes;
// windows without data are left out, and so are windows of which a record was still on its way at the time arrived:
// what a fault did to records that were due before it does not belong to the time before it.
func (l *latencies) perWindow(metric string, want func(source string) bool, from, to time.Duration, q float64, arrived time.Duration) []reading {
	merged := map[int64]*stats.Hist{}
	for k, h := range l.windows {
		at := time.Duration(k.n) * l.window
		if k.metric != metric || at < from || at+l.window > to || !want(k.source) {
			continue
		}
		m := merged[k.n]
		if m == nil {
			m = &stats.Hist{}
			merged[k.n] = m
		}
		m.Merge(h)
	}
	var out []reading
	for n, h := range merged {
		at := time.Duration(n) * l.window
		if d, ok := h.Quantile(q); ok && h.Max() < arrived-at-l.window {
			out = append(out, reading{at, d.Seconds()})
		}
	}
	slices.SortFunc(out, func(a, b reading) int { return cmp.Compare(a.at, b.at) })
	return out
}

func values(rs []reading) []float64 {
	out := make([]float64, len(rs))
	for i, r := range rs {
		out[i] = r.v
	}
	return out
}

// table lists every metric by phase and source, and over all of each.
func (l *latencies) table() []Latency {
	type row struct{ metric, source, topic string }
	rows := map[row]bool{}
	for k := range l.byPhase {
		rows[row{k.Metric, k.Source, k.Topic}] = true
		rows[row{k.Metric, "", ""}] = true
	}
	out := []Latency{}
	for x := range rows {
		for _, phase := range append([]string{PhaseAll}, scenario.PhaseNames...) {
			p := phase
			if p == PhaseAll {
				p = ""
			}
			lo, hi, ok := l.interval(x.metric, x.source, x.topic, p)
			if !ok {
				continue
			}
			source := x.source
			if source == "" {
				source = PhaseAll
			}
			y := Latency{
				Metric: x.metric, Hop: hopOf[x.metric], Phase: phase, Source: source, Topic: x.topic, Count: lo.Count(),
				P50: at(lo, .5), P90: at(lo, .9), P99: at(lo, .99), P999: at(lo, .999), Max: int64(lo.Max()),
			}
			if lo != hi {
				y.P50Upper, y.P90Upper, y.P99Upper, y.P999Upper, y.MaxUpper = new(at(hi, .5)), new(at(hi, .9)), new(at(hi, .99)), new(at(hi, .999)), new(int64(hi.Max()))
			}
			out = append(out, y)
		}
	}
	order := map[string]int{PhaseAll: -1}
	for i, p := range scenario.PhaseNames {
		order[p] = i
	}
	slices.SortFunc(out, func(a, b Latency) int {
		return cmp.Or(cmp.Compare(a.Metric, b.Metric), cmp.Compare(order[a.Phase], order[b.Phase]), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Topic, b.Topic))
	})
	return out
}

func at(h *stats.Hist, q float64) int64 {
	d, _ := h.Quantile(q)
	return int64(d)
}
