package check

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/stats"
)

const (
	// level is the p-value below which a worse figure counts as worse and not as noise.
	level = 0.01
	// minFigures is the least number of figures on each side: with 5 and 5 independent ones the smallest p-value is 1 in
	// 252. Fewer independent ones can show that a median stayed where it was, but not that it moved.
	minFigures = 5
	// minLatency is the smallest increase of a latency that counts, in seconds: below it a share of next to nothing
	// would be called an effect.
	minLatency = 0.01
	// defaultTolerance is the share by which a victim's figure may get worse where the scenario names none.
	defaultTolerance = 0.25
)

// compare judges whether a figure got worse while a fault acted. Figures are per interval, not per record, and thinned
// so that neighbours do not repeat each other. Only worse counts: a victim that got faster because others stood still is
// no victim.
func compare(name string, before, during []float64, higherIsWorse bool, tolerance, floor float64) Influence {
	x := Influence{Metric: name}
	if len(before) == 0 || len(during) == 0 {
		x.Verdict = Inconclusive
		x.Detail = fmt.Sprintf("%s: %d figures before and %d while the fault acted", name, len(before), len(during))
		return x
	}
	mb, md := stats.Median(before), stats.Median(during)
	x.Before, x.While = &mb, &md
	a, blockA := stats.Thin(before)
	b, blockB := stats.Thin(during)
	worse := md - mb
	p := stats.Greater(a, b)
	if !higherIsWorse {
		worse = mb - md
		p = stats.Greater(b, a)
	}
	x.P = &p
	effect := 0.0
	switch {
	case mb > 0:
		effect = worse / mb
	case worse > floor:
		effect = math.Inf(1)
	}
	if !math.IsInf(effect, 0) {
		x.Effect = &effect
	}
	text := fmt.Sprintf("%s: %.4g before, %.4g while the fault acted", name, mb, md)
	figures := fmt.Sprintf("%d and %d independent figures", len(a), len(b))
	if blockA > 1 || blockB > 1 {
		figures += fmt.Sprintf(", in blocks of %d and %d because neighbours are alike", blockA, blockB)
	}
	switch {
	case len(before) < minFigures || len(during) < minFigures:
		x.Verdict, x.Detail = Inconclusive, fmt.Sprintf("%s; only %s, fewer than %d", text, figures, minFigures)
	case effect <= tolerance || worse <= floor:
		x.Verdict, x.Detail = Pass, fmt.Sprintf("%s; within the tolerance of %.0f %% (p %.2g, %s)", text, 100*tolerance, p, figures)
	case p < level:
		x.Verdict, x.Detail = Fail, fmt.Sprintf("%s; worse by %.0f %%, tolerance %.0f %% (p %.2g, %s)", text, 100*effect, 100*tolerance, p, figures)
	default:
		x.Verdict, x.Detail = Inconclusive, fmt.Sprintf("%s; worse by %.0f %%, but that may be noise (p %.2g, %s)", text, 100*effect, p, figures)
	}
	return x
}

// figures are the per-interval values of one metric of a victim.
type figures struct {
	name          string
	higherIsWorse bool
	floor         float64
	get           func(from, to time.Duration) []float64
	failed        func(from, to time.Duration) bool // what is timed failed in that time; nil: what fails has no figure
	point         string                            // at which records have to be seen for it; empty: none that can be missed
	source        string                            // whose generators' lateness is in it; empty: nobody's, or all sources'
}

// born reports whether a source's records begin in a cluster.
func born(source, cluster string) bool {
	s, ok := scenario.FindSource(source)
	return ok && s.Cluster == cluster
}

// bin is the interval of throughput figures: as long as leaves ten on each side, up to 5 s, because batches and refresh
// intervals make single seconds uneven.
func bin(a, b time.Duration) time.Duration {
	d := min(a, b) / 10
	return max(time.Second, min(5*time.Second, d.Truncate(time.Second)))
}

// victim lists what can be told about a cluster without relying on the one that suffers.
func (j *judge) victim(cluster, suffering string, step time.Duration) []figures {
	latency := func(metric string, want func(string) bool) func(from, to time.Duration) []float64 {
		return func(from, to time.Duration) []float64 {
			return values(j.lat.perWindow(metric, want, from, to, 0.9, j.calmUntil(to)))
		}
	}
	rate := func(point string, want func(string) bool) func(from, to time.Duration) []float64 {
		var sources []string
		for _, s := range j.acc.sources() {
			if want(s) {
				sources = append(sources, s)
			}
		}
		return func(from, to time.Duration) []float64 {
			l := j.ser.pulse(point, sources)
			if l == nil || len(sources) == 0 {
				return nil
			}
			return l.rates(from, to, step)
		}
	}
	control := func(s string) bool { return s == "control" }
	dc := func(s string) bool { return born(s, scenario.Datacenter) }
	var out []figures
	switch cluster {
	case scenario.Monitoring:
		out = append(out, figures{"query time", true, minLatency, func(from, to time.Duration) []float64 {
			var v []float64
			for _, q := range j.ser.query[scenario.Monitoring] {
				if q.at >= from && q.at < to {
					v = append(v, q.v)
				}
			}
			return v
		}, j.ser.searchFailed, "", ""})
		if suffering != scenario.Kafka {
			out = append(out, figures{"latency of the control stream to the store", true, minLatency, latency("e2e_latency", control), nil, "", "control"},
				figures{"throughput of the control stream in the store", false, 0, rate(evidence.PointSearch, control), nil, "", ""})
		}
	case scenario.Kafka:
		out = append(out, figures{"latency of the control stream to Kafka", true, minLatency, latency("kafka_latency", control), nil, evidence.PointKafka, "control"},
			figures{"throughput of the control stream in Kafka", false, 0, rate(evidence.PointKafka, control), nil, evidence.PointKafka, ""})
	case scenario.Datacenter:
		out = append(out, figures{"time that a write of a service takes", true, minLatency, latency("target_block", dc), nil, "", ""},
			figures{"records that services write", false, 0, rate("ledger", dc), nil, "", ""})
		if suffering != scenario.Kafka {
			out = append(out, figures{"latency of datacenter records to Kafka", true, minLatency, latency("kafka_latency", dc), nil, evidence.PointKafka, ""})
		}
	}
	return out
}

// calmUntil is the first injection for a window that ends before it, else never: records of the time before a fault must
// have arrived before it to tell anything about that time.
func (j *judge) calmUntil(to time.Duration) time.Duration {
	if from, _, ok := j.outage(); ok && to <= from {
		return from
	}
	return forever
}

// effect is the time in which a fault's influence is looked for: whole seconds under load, so that its first moment is not
// diluted by the time before it, and at least ten of them, because an instant has consequences.
func (j *judge) effect(from, to time.Duration) (time.Duration, time.Duration) {
	from = (from + time.Second - 1).Truncate(time.Second)
	to = max(to.Truncate(time.Second), from+10*time.Second)
	return from, min(to, j.s.Phases.LoadTime().Truncate(time.Second))
}

// newInfluence fills the matrix: every cluster in which a fault acted, or that the scenario names, against every other.
func newInfluence(j *judge) []Influence {
	from, to, ok := j.outage()
	before, hasBefore := j.phase(scenario.Before)
	if !ok || !hasBefore {
		return nil
	}
	from, to = j.effect(from, to)
	clusters := j.faultClusters()
	tolerance := defaultTolerance
	if i := j.s.Isolation; i != nil {
		tolerance = i.Tolerance
		if !slices.Contains(clusters, i.Fault) {
			clusters = append(clusters, i.Fault)
		}
	}
	step := bin(before.To-before.From, to-from)
	var out []Influence
	for _, f := range clusters {
		for _, v := range scenario.ClusterNames {
			if v == f {
				continue
			}
			for _, x := range j.victim(v, f, step) {
				b, d := x.get(before.From, before.To), x.get(from, to)
				if len(b) == 0 && len(d) == 0 {
					continue // not measured in this run
				}
				row := compare(x.name, b, d, x.higherIsWorse, tolerance, x.floor)
				if x.failed != nil {
					row.unlessFailed(x.failed(before.From, before.To), x.failed(from, to))
				}
				if x.point != "" {
					row.takeBack(j.incomplete(x.point), Pass, Fail) // a rate that falls where not all was read is the observer's
				}
				if x.source != "" {
					row.takeBack(j.lateBetween(x.source, from, to), Fail) // what got slower may be its generator
				}
				row.Fault, row.Victim = f, v
				out = append(out, row)
			}
		}
	}
	return out
}

// unlessFailed takes back what figures of searches say that failed: how long they would have taken is not known. Behind a time before in which
// some failed nothing is known to be worse or not; one that fails later is not as fast as before, however fast it failed.
func (x *Influence) unlessFailed(before, during bool) {
	if before {
		x.takeBack("searches failed in the time before", Pass, Fail)
	}
	if during {
		x.takeBack("searches failed while the fault acted", Pass)
	}
}

// takeBack makes a row inconclusive that has one of these verdicts, where there is a reason.
func (x *Influence) takeBack(why string, of ...Verdict) {
	if why != "" && slices.Contains(of, x.Verdict) {
		x.Verdict, x.Detail = Inconclusive, x.Detail+"; "+why
	}
}

// lateBetween says that the generators of a source were late in a phase that lies in a time at least in part.
func (j *judge) lateBetween(source string, from, to time.Duration) string {
	for _, w := range j.lat.phases {
		if judgedPhase(w.Name) && w.From < to && from < w.To {
			if why := j.lateIn(source, w.Name); why != "" {
				return "in phase " + w.Name + " " + why
			}
		}
	}
	return ""
}

// worst joins the rows of the matrix that a check rests on into its verdict.
func worst(c *judged, rows []Influence) *judged {
	var bad, open, good []string
	most := math.Inf(-1)
	for _, x := range rows {
		if x.Effect != nil {
			most = max(most, *x.Effect)
		}
		switch x.Verdict {
		case Fail:
			bad = append(bad, x.Victim+": "+x.Detail)
		case Pass:
			good = append(good, x.Victim+": "+x.Detail)
		default:
			open = append(open, x.Victim+": "+x.Detail)
		}
	}
	if !math.IsInf(most, 0) {
		c.Value = &most
	}
	switch {
	case len(bad) > 0:
		return c.set(Fail, "%s", strings.Join(bad, "; "))
	case len(open) > 0:
		return c.set(Inconclusive, "%s", strings.Join(open, "; "))
	}
	return c.set(Pass, "%s", strings.Join(good, "; "))
}

// faultIsolationCheck is claim C1.
func faultIsolationCheck(j *judge) *judged {
	i := j.s.Isolation
	if i == nil {
		return nil
	}
	c := &judged{
		files: []string{evidence.SeriesName, evidence.HistsName, evidence.EventsFile}, onFaults: true, interim: true,
		phases: []string{scenario.Before, scenario.During},
	}
	c.Unit = "share worse"
	c.Limit = new(i.Tolerance)
	var rows []Influence
	var missing []string
	for _, v := range i.Victims {
		n := len(rows)
		for _, x := range j.infl {
			if x.Fault == i.Fault && x.Victim == v {
				rows = append(rows, x)
			}
		}
		if len(rows) == n {
			missing = append(missing, v)
		}
	}
	if len(missing) > 0 || len(rows) == 0 {
		return c.set(Inconclusive, "nothing was measured of %s while %s suffered", strings.Join(missing, ", "), i.Fault)
	}
	return worst(c, rows)
}

// servicesCheck is claim C2: while monitoring is away, those who write logs notice nothing, and nothing of what they
// wrote is lost afterwards.
func servicesCheck(j *judge) *judged {
	var acted bool
	for _, f := range j.faults {
		acted = acted || f.touches(scenario.Monitoring)
	}
	if !acted && !slices.Contains(j.s.Claims, "C2") {
		return nil
	}
	dc := func(s string) bool { return born(s, scenario.Datacenter) }
	if !slices.ContainsFunc(j.acc.sources(), dc) && !slices.Contains(j.s.Claims, "C2") {
		return nil
	}
	c := &judged{
		files: append([]string{evidence.SeriesName, evidence.HistsName}, ledgerFiles...), onFaults: true, interim: true,
		phases: []string{scenario.Before, scenario.During},
	}
	c.Unit = "share worse"
	c.Limit = new(defaultTolerance)
	if j.s.Isolation != nil {
		c.Limit = new(j.s.Isolation.Tolerance)
	}
	from, to, ok := j.outage()
	before, hasBefore := j.phase(scenario.Before)
	if !acted || !ok || !hasBefore {
		return c.set(Inconclusive, "monitoring was never away")
	}
	from, to = j.effect(from, to)
	var rows []Influence
	for _, q := range []struct {
		name string
		q    float64
	}{{"time that a write of a service takes (p50)", 0.5}, {"time that a write of a service takes (p99)", 0.99}} {
		b := values(j.lat.perWindow("target_block", dc, before.From, before.To, q.q, j.calmUntil(before.To)))
		d := values(j.lat.perWindow("target_block", dc, from, to, q.q, forever))
		row := compare(q.name, b, d, true, *c.Limit, minLatency)
		row.Victim = scenario.Datacenter
		rows = append(rows, row)
	}
	worst(c, rows)
	var lost uint64
	for _, s := range j.acc.streams {
		if dc(s.Source) {
			lost += s.lostKafka.Len() + s.lostSearch.Len()
		}
	}
	switch open := j.unread(); {
	case lost > 0 && open == "":
		return c.set(Fail, "%d acknowledged records of services were lost; %s", lost, c.Detail)
	case lost > 0 && c.Verdict == Pass:
		return c.set(Inconclusive, "whether records of services were lost is not known: %s; %s", open, c.Detail)
	}
	return c
}
