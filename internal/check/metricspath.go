package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

// metricsHorizon is how long an agent may be cut off from the central Prometheus before samples are lost. The agent
// keeps what it could not send for its retention. The receiver refuses what is older than its acceptance window, which
// ends at the newest sample it holds: when one agent is cut off, the others move that end on; when all are, and the
// receiver with them, it stands still and only the agent's retention counts.
func metricsHorizon(m *evidence.MetricsPath, all bool) (h time.Duration, where string) {
	if all || m.ReceiverWindow <= 0 || m.AgentRetention < m.ReceiverWindow {
		where = "the agent's log, which is cut at its retention"
		if m.AgentReason != "" {
			where = "the agent's log: " + m.AgentReason
		}
		return m.AgentRetention, where
	}
	return m.ReceiverWindow, "the receiver, which refuses samples older than its window"
}

// metricsFills are the two rows of the metrics path.
func (j *judge) metricsFills() []fill {
	m := j.r.Header.Metrics
	if m == nil {
		return nil
	}
	var out []fill
	for _, x := range []struct {
		all  bool
		name string
	}{{false, "one agent cut off"}, {true, "all agents cut off"}} {
		h, where := metricsHorizon(m, x.all)
		f := fill{horizon: h, BufferFill: BufferFill{
			Hop: "metrics", Component: "prometheus-agent, " + x.name, Unit: "seconds", Certainty: ExactC,
			Limit: fmt.Sprintf("retention %v, acceptance window %v", m.AgentRetention, m.ReceiverWindow),
		}}
		if h > 0 {
			f.Horizon = new(int64(h))
			f.Sentence = fmt.Sprintf("With %s the first sample is lost after %s, in %s.", x.name, spanWords(h), where)
		} else {
			f.Certainty = Inferred
			f.Sentence = fmt.Sprintf("With %s, how long samples survive is not known: the agent's retention is not in its arguments.", x.name)
		}
		out = append(out, f)
	}
	return out
}

// metricsCheck judges that the known counter of every cluster is whole in the central Prometheus.
func metricsCheck(j *judge) *judged {
	if len(j.ser.lostInc) == 0 && len(j.ser.gaps) == 0 {
		if j.skipped("metrics-continuity") != "" {
			return (&judged{}).skip("") // depend says why
		}
		if j.r.Header.Metrics == nil || !slices.Contains(j.s.Claims, "C1") {
			return nil
		}
		return (&judged{files: []string{evidence.SeriesName}}).set(Inconclusive, "the central Prometheus gave no figures about the known counters")
	}
	c := &judged{files: []string{evidence.SeriesName}, interim: true}
	c.Unit = "s"
	// One missed scrape is within what a scrape interval promises; two are a hole.
	limit := 3 * time.Second
	if m := j.r.Header.Metrics; m != nil && m.ScrapeInterval > 0 {
		limit = 2*m.ScrapeInterval + time.Second
	}
	c.Limit = new(limit.Seconds())
	longest := 0.0
	var holes, excused []string
	for _, cluster := range sortedKeys(j.ser.gaps) {
		for _, g := range j.ser.gaps[cluster] {
			text := fmt.Sprintf("%s: %.0f s from %.0f s", cluster, g.v, g.at.Seconds())
			if j.stoodStill(cluster, g.at, g.v) {
				excused = append(excused, text)
				continue
			}
			longest = max(longest, g.v)
			if g.v > limit.Seconds() {
				holes = append(holes, text)
			}
		}
	}
	c.Value = &longest
	var lost []string
	for _, cluster := range sortedKeys(j.ser.lostInc) {
		for inst, n := range j.ser.lostInc[cluster] {
			if n > 0 && !j.everFrozen(cluster) {
				lost = append(lost, fmt.Sprintf("%s/%s: up to %.0f increments", cluster, inst, n))
			}
		}
	}
	slices.Sort(lost)
	extra := ""
	if len(excused) > 0 {
		extra = "; holes while the cluster itself stood still do not count: " + strings.Join(excused, ", ")
	}
	if m := j.r.Header.Metrics; m != nil && m.AgentRetention > 0 {
		if from, to, ok := j.outage(); ok {
			h, where := metricsHorizon(m, j.allAgentsCut())
			extra += fmt.Sprintf("; the faults lasted %s, the path bears %s (%s)", spanWords(to-from), spanWords(h), where)
		}
	}
	var missing []string
	for _, cluster := range j.r.Header.Agents() {
		if j.ser.lostInc[cluster] == nil {
			missing = append(missing, cluster)
		}
	}
	switch {
	case len(holes) > 0:
		return c.set(Fail, "holes longer than %v: %s%s", limit, strings.Join(holes, ", "), extra)
	case len(lost) > 0:
		return c.set(Fail, "increments of the known counter never arrived: %s%s", strings.Join(lost, ", "), extra)
	}
	if len(missing) > 0 {
		return c.set(Inconclusive, "the central Prometheus has no known counter of %s; those of %s have no hole longer than %v%s", strings.Join(missing, ", "), strings.Join(sortedKeys(j.ser.lostInc), ", "), limit, extra)
	}
	return c.set(Pass, "the known counters of %s have no hole longer than %v%s", strings.Join(sortedKeys(j.ser.lostInc), ", "), limit, extra)
}

// stoodStill reports whether a hole lies in a fault that froze the cluster whose counter it is: a process that stands
// still does not count.
func (j *judge) stoodStill(cluster string, at time.Duration, seconds float64) bool {
	const slack = 15 * time.Second // restart and the first scrape after it
	for _, f := range j.faults {
		from, to, ok := f.active()
		if ok && f.Kind == "cluster-freeze" && f.Cluster == cluster && at >= from-slack && at+time.Duration(seconds*float64(time.Second)) <= to+slack {
			return true
		}
	}
	return false
}

func (j *judge) everFrozen(cluster string) bool {
	return slices.ContainsFunc(j.faults, func(f *faultState) bool {
		_, _, acted := f.active()
		return acted && f.Kind == "cluster-freeze" && f.Cluster == cluster
	})
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// allAgentsCut reports whether the faults cut off every agent at once; it chooses the horizon that the run tests.
func (j *judge) allAgentsCut() bool {
	cut := map[string]bool{}
	for _, f := range j.faults {
		switch {
		case f.Kind == "receiver-down", f.Kind == "cluster-freeze" && f.Cluster == scenario.Monitoring:
			return true
		case f.Kind == "link-cut" && f.To == scenario.Monitoring:
			cut[f.From] = true
		}
	}
	return cut[scenario.Datacenter] && cut[scenario.Kafka]
}
