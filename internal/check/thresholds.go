package check

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/stats"
)

// measure is the value of a threshold's metric: somewhere in [lo, hi]. It is absent when there is no data, and why says
// what is missing.
type measure struct {
	lo, hi float64
	ok     bool
	why    string
	least  string // why the figure may be larger than was found, so that it is not known to be small enough; empty: it is not
	files  []string
	timing bool // it is a latency, a rate or a time: it rests on the harness's own timing
	faults bool
}

func exactly(v float64) measure { return measure{lo: v, hi: v, ok: true} }

func none(format string, args ...any) measure { return measure{why: fmt.Sprintf(format, args...)} }

// thresholdCheck judges one gate of the scenario. A limit inside the interval in which the figure lies decides nothing.
func thresholdCheck(j *judge, text string) *judged {
	t, err := scenario.ParseThreshold(text)
	if err != nil {
		return (&judged{}).set(Inconclusive, "the threshold cannot be read: %v", err)
	}
	c, _ := thresholdOf(j, t)
	return c
}

// thresholdOf judges one gate and returns the figure that it is about.
func thresholdOf(j *judge, t scenario.Threshold) (*judged, measure) {
	m := j.measure(t)
	return judgeMeasure(j, t, m), m
}

func judgeMeasure(j *judge, t scenario.Threshold, m measure) *judged {
	c := &judged{}
	c.Limit = new(t.Limit)
	c.Unit = unitOf(t)
	c.files, c.interim = m.files, true
	phase := t.Labels["phase"]
	if m.timing {
		c.phases = []string{phase}
		if phase == "" {
			c.phases = []string{scenario.Before, scenario.During, scenario.After}
		}
	}
	c.onFaults = m.faults || len(j.faults) > 0 && (phase == scenario.During || phase == scenario.After)
	if w, ok := j.phase(phase); ok {
		c.Windows = []Span{{w.From, w.To}}
	}
	if !m.ok {
		return c.set(Inconclusive, "no data: %s", m.why)
	}
	c.Value = new(m.hi)
	if t.Op == ">" || t.Op == ">=" {
		c.Value = new(m.lo)
	}
	found := "found " + number(m.lo, c.Unit)
	if m.lo != m.hi {
		found = fmt.Sprintf("found between %s and %s", number(m.lo, c.Unit), number(m.hi, c.Unit))
	}
	switch holds(m.lo, m.hi, t.Op, t.Limit) {
	case 1:
		if m.least != "" && t.Op != ">" && t.Op != ">=" {
			return c.set(Inconclusive, "%s, as wanted, but %s", found, m.least)
		}
		return c.set(Pass, "%s, as wanted", found)
	case -1:
		// Latency counts from the scheduled time, so the generator's lag is in it: a failure that is smaller than the lag may
		// be the harness's own. A search is timed by who asks.
		lagged := t.Metric.Name == "e2e_latency" || t.Metric.Name == "kafka_latency"
		if lag := j.lagP99(t.Labels["source"], t.Labels["topic"], phase); lagged && t.Agg != "count" && holds(m.lo-lag, m.hi-lag, t.Op, t.Limit) != -1 {
			return c.set(Invalid, "%s, wanted %s %s, but the generator itself was late by up to %s (p99)", found, t.Op, number(t.Limit, c.Unit), number(lag, "s"))
		}
		return c.set(Fail, "%s, wanted %s %s", found, t.Op, number(t.Limit, c.Unit))
	}
	return c.set(Inconclusive, "%s: the limit of %s lies inside, so that it cannot be told", found, number(t.Limit, c.Unit))
}

// holds is 1 when the relation holds for every value in [lo, hi], -1 when for none, else 0.
func holds(lo, hi float64, op string, limit float64) int {
	all := func(a, b bool) int {
		switch {
		case a && b:
			return 1
		case !a && !b:
			return -1
		}
		return 0
	}
	switch op {
	case "<":
		return all(lo < limit, hi < limit)
	case "<=":
		return all(lo <= limit, hi <= limit)
	case ">":
		return all(lo > limit, hi > limit)
	case ">=":
		return all(lo >= limit, hi >= limit)
	}
	same := 0
	switch {
	case lo == limit && hi == limit:
		same = 1
	case limit < lo || limit > hi:
		same = -1
	}
	if op == "!=" {
		return -same
	}
	return same
}

// number prints a figure in its unit.
func number(v float64, unit string) string {
	switch {
	case unit == "s" && !math.IsInf(v, 0):
		return time.Duration(v * float64(time.Second)).Round(time.Microsecond).String()
	case unit == "/s":
		return strconv.FormatFloat(v, 'g', 6, 64) + "/s"
	}
	return strconv.FormatFloat(v, 'g', 10, 64)
}

// measure is the figure of a threshold; there is none where a point that it rests on was not read whole.
func (j *judge) measure(t scenario.Threshold) measure {
	m := j.figure(t)
	for _, p := range j.restsOn(t) {
		if why := j.incomplete(p); why != "" && m.ok {
			timing, faults := m.timing, m.faults
			m = none("%s", why)
			m.timing, m.faults = timing, faults
		}
	}
	return m
}

// restsOn are the points at which the records of a figure are seen. What a point did not see has no latency there, does not count in its rate,
// and looks like a backlog in front of it. What is lost is counted by itself, because what was not seen is then an interval.
func (j *judge) restsOn(t scenario.Threshold) []string {
	points := []string{evidence.PointKafka}
	switch t.Metric.Name {
	case "kafka_latency", "misordered", "noticed", "first_good", "drained", "in_band":
	case "throughput":
		if p := t.Labels["point"]; p != "" {
			points = []string{p}
		}
	case "duplicates":
		if p := t.Labels["point"]; p != "" {
			points = []string{p}
		} else {
			points = append(points, evidence.PointSearch)
		}
	case "backlog", "backlog_growth":
		if hop := t.Labels["hop"]; hop == "" || hop == "sink" || hop == "search" {
			points = append(points, evidence.PointSearch)
		}
	default:
		return nil
	}
	return slices.DeleteFunc(points, func(p string) bool {
		return p != evidence.PointKafka && (p != evidence.PointSearch || !j.hasStore())
	})
}

// about reports whether a threshold is about a phase: the one that it names, or every judged one.
func about(t scenario.Threshold, phase string) bool {
	if named := t.Labels["phase"]; named != "" {
		return named == phase
	}
	return judgedPhase(phase)
}

func (j *judge) figure(t scenario.Threshold) measure {
	switch t.Metric.Name {
	case "e2e_latency", "kafka_latency", "query_latency":
		m := j.distribution(t)
		m.timing = true
		return m
	case "generator_lag", "target_block":
		return j.distribution(t)
	case "lost", "unknown", "dropped", "duplicates", "misordered":
		return j.count(t)
	case "throughput":
		m := j.rate(t)
		m.timing = true
		return m
	case "backlog":
		m := j.backlogs(t)
		m.timing = true
		return m
	case "backlog_growth":
		m := j.backlogGrowth(t)
		m.timing = true
		return m
	case "noticed", "first_good", "drained", "in_band":
		return j.recoveryTime(t.Metric.Name)
	case "survival_horizon":
		return j.survival(t)
	case "metrics_gap":
		return j.gap(t)
	}
	return none("metric %s is not measured", t.Metric.Name)
}

// distribution is a figure of a latency, an interval where it was found by polling.
func (j *judge) distribution(t scenario.Threshold) measure {
	lo, hi, ok := j.lat.interval(t.Metric.Name, t.Labels["source"], t.Labels["topic"], t.Labels["phase"])
	if !ok {
		return none("no %s was recorded%s", t.Metric.Name, labelWords(t))
	}
	m := measure{ok: true, files: []string{evidence.HistsName}}
	get := func(h *stats.Hist) float64 {
		switch t.Agg {
		case "p":
			d, _ := h.Quantile(t.Percentile / 100)
			return d.Seconds()
		case "min":
			return h.Min().Seconds()
		case "mean":
			return h.Mean().Seconds()
		case "max":
			return h.Max().Seconds()
		}
		return float64(h.Count())
	}
	m.lo, m.hi = get(lo), get(hi)
	m.lo, m.hi = min(m.lo, m.hi), max(m.lo, m.hi)
	if t.Agg != "count" && t.Metric.Name == "query_latency" {
		for _, w := range j.lat.phases {
			if about(t, w.Name) && j.ser.searchFailed(w.From, w.To) {
				m.least = "in phase " + w.Name + " searches failed"
				m.files = append(m.files, evidence.SeriesName)
			}
		}
	}
	if t.Agg != "count" {
		from, to, crosses, why := j.skew(t.Metric.Name, t.Labels["source"], t.Labels["topic"])
		if why != "" {
			return none("%s", why)
		}
		if crosses {
			m.lo, m.hi = m.lo+from.Seconds(), m.hi+to.Seconds()
			m.files = append(m.files, evidence.EventsFile)
		}
	}
	return m
}

func labelWords(t scenario.Threshold) string {
	var s strings.Builder
	for _, k := range t.Metric.Labels {
		if v := t.Labels[k]; v != "" {
			fmt.Fprintf(&s, ", %s %s", k, v)
		}
	}
	return s.String()
}

// count is a number of records. What an incomplete observer did not see may still be there.
func (j *judge) count(t scenario.Threshold) measure {
	var n, hidden uint64
	some := false
	for _, s := range j.acc.streams {
		if x := t.Labels["source"]; x != "" && s.Source != x {
			continue
		}
		if x := t.Labels["topic"]; x != "" && s.Topic != x {
			continue
		}
		some = some || s.acked.Len()+s.unknown.Len() > 0
		switch t.Metric.Name {
		case "lost":
			lk, ks := s.lostKafka.Len(), s.lostSearch.Len()
			switch t.Labels["segment"] {
			case segLedgerKafka:
				ks = 0
			case segKafkaSearch:
				lk = 0
			case segGenerate:
				lk, ks = 0, 0
			}
			if j.incomplete(evidence.PointKafka) != "" {
				hidden += lk
			} else {
				n += lk
			}
			switch {
			case !j.hasStore():
			case j.incomplete(evidence.PointSearch) != "":
				hidden += ks
			default:
				n += ks
			}
		case "unknown":
			n += s.unknown.Len()
		case "dropped":
			n += s.dropped.Len()
		case "duplicates":
			switch t.Labels["point"] {
			case evidence.PointKafka:
				n += s.kafka.dupN
			case "", evidence.PointSearch:
				n += s.search.dupN
				if t.Labels["point"] == "" {
					n += s.kafka.dupN
				}
			}
		case "misordered":
			n += s.kafka.misorderedN
		}
	}
	if !some {
		return none("nothing was sent%s", labelWords(t))
	}
	m := measure{lo: float64(n), hi: float64(n + hidden), ok: true, files: ledgerFiles}
	if t.Metric.Name == "unknown" || t.Metric.Name == "dropped" {
		m.files = sentFiles
	} else if hidden == 0 && t.Metric.Name == "lost" {
		for _, p := range []string{evidence.PointKafka, evidence.PointSearch} {
			if why := j.incomplete(p); why != "" && (p == evidence.PointKafka || j.hasStore()) {
				return none("%s", why)
			}
		}
	}
	return m
}

// rate is a throughput over whole seconds of a phase, or of all judged phases.
func (j *judge) rate(t scenario.Threshold) measure {
	point := t.Labels["point"]
	if point == "" {
		point = evidence.PointKafka
	}
	var sources []string
	if s := t.Labels["source"]; s != "" {
		sources = []string{s}
	}
	l := j.ser.pulse(point, sources)
	var per []float64
	for _, w := range j.lat.phases {
		if about(t, w.Name) {
			per = append(per, l.perSecond(w.From, w.To)...)
		}
	}
	if l == nil || len(per) == 0 {
		return none("nothing was counted at %s%s", point, labelWords(t))
	}
	m := exactly(aggregate(per, t.Agg, t.Percentile))
	m.files = []string{evidence.SeriesName}
	return m
}

func aggregate(xs []float64, agg string, p float64) float64 {
	switch agg {
	case "min":
		return slices.Min(xs)
	case "max":
		return slices.Max(xs)
	case "mean":
		return stats.Mean(xs)
	case "p":
		return stats.QuantileOf(xs, p/100)
	}
	return xs[len(xs)-1]
}

// backlogOf are the lines of backlog that a hop is in front of: without one, all of the way. Some may be nil: not counted.
func (j *judge) backlogOf(hop string) []*line {
	first, second := j.rec.backlog[segLedgerKafka], j.rec.backlog[segKafkaSearch]
	switch {
	case hop == "sink" || hop == "search":
		return []*line{second}
	case hop == "" && j.hasStore():
		return []*line{first, second}
	}
	return []*line{first}
}

// added is the sum of backlogs bin by bin; nil when one of them was not counted. What waited at the end of a line waits on.
func added(lines []*line) *line {
	n := 0
	for _, l := range lines {
		if l == nil {
			return nil
		}
		n = max(n, len(l.bins))
	}
	out := &line{step: lines[0].step, bins: make([]float64, n)}
	for _, l := range lines {
		last := 0.0
		for i := range out.bins {
			if i < len(l.bins) {
				last = l.bins[i]
			}
			out.bins[i] += last
		}
	}
	return out
}

// backlogs is what was acknowledged and not yet at the next observation point; without a hop, not yet at the last.
func (j *judge) backlogs(t scenario.Threshold) measure {
	if t.Labels["hop"] == "generate" {
		return none("a generator has no backlog: see target_block")
	}
	l := added(j.backlogOf(t.Labels["hop"]))
	if l == nil {
		return none("the backlog was not counted%s", labelWords(t))
	}
	var vals []float64
	for _, w := range append(slices.Clone(j.lat.phases), scenario.Window{Name: scenario.Drain, From: j.s.Phases.LoadTime(), To: time.Duration(len(l.bins)) * l.step}) {
		if about(t, w.Name) {
			vals = append(vals, l.slice(w.From, w.To)...)
		}
	}
	if len(vals) == 0 {
		return none("the backlog was not counted%s", labelWords(t))
	}
	for i := range vals {
		vals[i] = max(vals[i], 0)
	}
	m := exactly(aggregate(vals, t.Agg, 0))
	m.files = []string{evidence.SeriesName}
	return m
}

// backlogGrowth is the share of what was acknowledged in a window by which the backlog grew in it. Flushes and batches make
// a saw of the backlog, so it is the slope of its means over whole seconds, with the interval in which it lies.
func (j *judge) backlogGrowth(t scenario.Threshold) measure {
	if t.Labels["hop"] == "generate" {
		return none("a generator has no backlog: see target_block")
	}
	lines := j.backlogOf(t.Labels["hop"])
	ledger := j.ser.pulse("ledger", nil)
	var xs, ys []float64
	var span time.Duration
	records := 0.0
	for _, w := range j.lat.phases {
		if !about(t, w.Name) {
			continue
		}
		span += w.To - w.From
		records += ledger.sum(w.From, w.To)
		for s := w.From; s+time.Second <= w.To; s += time.Second {
			v, known := 0.0, true
			for _, l := range lines {
				bins := l.slice(s, s+time.Second)
				known = known && len(bins) > 0
				v += stats.Mean(bins)
			}
			if known {
				xs, ys = append(xs, s.Seconds()), append(ys, v)
			}
		}
	}
	if records == 0 || len(xs) < 2 {
		return none("the backlog was not counted%s", labelWords(t))
	}
	slope := stats.TheilSen(thinOut(xs, maxTrend), thinOut(ys, maxTrend))
	rate := records / span.Seconds()
	if math.IsInf(slope.Lo, 0) || math.IsInf(slope.Hi, 0) {
		return none("%d seconds are too few to tell how the backlog grows", len(xs))
	}
	return measure{lo: slope.Lo / rate, hi: slope.Hi / rate, ok: true, files: []string{evidence.SeriesName}}
}

func (j *judge) recoveryTime(name string) measure {
	r := j.rec.res
	v, res := map[string]*int64{"noticed": r.Noticed, "first_good": r.FirstGood, "drained": r.Drained, "in_band": r.InBand}[name], r.Resolution
	if name == "in_band" {
		res = r.InBandResolution
	}
	if v == nil {
		m := none("it was not seen")
		if j.rec.why != "" {
			m = none("%s", j.rec.why)
		}
		m.faults = len(j.faults) > 0
		return m
	}
	if r.ClockUnknown != "" {
		return none("%s", r.ClockUnknown)
	}
	s, clock := time.Duration(*v).Seconds(), r.clock().Seconds()
	return measure{lo: max(s-time.Duration(res).Seconds()-clock, 0), hi: s + clock, ok: true, files: []string{evidence.SeriesName, evidence.EventsFile}, timing: true, faults: true}
}

func (j *judge) survival(t scenario.Threshold) measure {
	var least time.Duration
	for _, f := range j.fills {
		if f.horizon > 0 && (t.Labels["hop"] == "" && f.Hop != "metrics" || f.Hop == t.Labels["hop"]) && (least == 0 || f.horizon < least) {
			least = f.horizon
		}
	}
	if least == 0 {
		return none("no buffer has both a limit and a measured rate%s", labelWords(t))
	}
	m := exactly(least.Seconds())
	m.files, m.timing = []string{evidence.SeriesName}, true
	return m
}

func (j *judge) gap(t scenario.Threshold) measure {
	longest, n, watched := 0.0, 0.0, false
	for cluster := range j.ser.lostInc {
		watched = watched || t.Labels["cluster"] == "" || t.Labels["cluster"] == cluster
	}
	for cluster, gaps := range j.ser.gaps {
		if c := t.Labels["cluster"]; c != "" && c != cluster {
			continue
		}
		watched = true
		for _, g := range gaps {
			longest = max(longest, g.v)
			n++
		}
	}
	if !watched {
		return none("the known counter was not looked for%s", labelWords(t))
	}
	m := exactly(longest)
	if t.Agg == "count" {
		m = exactly(n)
	}
	m.files = []string{evidence.SeriesName}
	return m
}
