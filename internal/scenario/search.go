package scenario

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits of a search: each try is a whole run.
const (
	maxTries = 64
	minStep  = 5 * time.Second // shorter than the flush and refresh intervals of the path, a step shows single batches
	minWidth = 0.01
)

// GateMetrics are the metrics that a gate of a search may name: those that say something about a step.
var GateMetrics = []string{"e2e_latency", "kafka_latency", "target_block", "lost", "unknown", "dropped", "duplicates", "misordered", "throughput", "backlog", "backlog_growth", "query_latency"}

func (c *Search) setDefaults() {
	if c.AtLeast == 0 {
		c.AtLeast = c.From
	}
	if c.Step == 0 {
		c.Step = Duration(time.Minute) // of less, the slope of a backlog that is flushed every second is not known to a twentieth
	}
	if c.Precision == 0 {
		c.Precision = 0.1
	}
	if c.Tries == 0 {
		c.Tries = 16 // 32 times the lowest rate, to 10 %: 6 to find the range, 3 to halve it, 1 to confirm, and 6 that a busy machine may spoil
	}
	if c.Within == 0 {
		c.Within = Duration(30 * time.Minute)
	}
	if len(c.Gate) == 0 {
		c.Gate = []string{fmt.Sprintf("e2e_latency{source=%s} p(99) < 10s", c.Source), "lost == 0", "backlog_growth < 0.05"}
	}
}

func (v *validator) search(s *Scenario) {
	c := s.Search
	at := slices.IndexFunc(s.Load, func(l Input) bool { return l.Source == c.Source })
	if at < 0 {
		v.oneOf("search.source", "source of the load", c.Source, names(s.Load, func(l Input) string { return l.Source }))
	} else {
		if slices.IndexFunc(s.Load[at+1:], func(l Input) bool { return l.Source == c.Source }) >= 0 {
			v.fail("search.source", "source %s is in the load twice, and a search sets one rate", c.Source)
		}
		if len(s.Load[at].Shape) > 0 && (c.Rate == 0 || !slices.Equal(s.Load[at].Shape, s.Probe(c.Rate).Load[at].Shape)) {
			v.fail(fmt.Sprintf("load[%d].shape", at), "the search sets the rate of %s; leave the shape away", c.Source)
		}
	}
	if c.From <= 0 || c.To <= c.From {
		v.fail("search.to", "to (%v) must be above from (%v), which must be above 0", c.To, c.From)
	}
	if c.AtLeast < c.From || c.AtLeast > c.To {
		v.fail("search.atLeast", "%v is outside of what is tried, %v to %v", c.AtLeast, c.From, c.To)
	}
	if c.Rate != 0 && (c.Rate < c.From || c.Rate > c.To) {
		v.fail("search.rate", "%v is outside of what is tried, %v to %v", c.Rate, c.From, c.To)
	}
	if c.Step.D() < minStep {
		v.fail("search.step", "%v is shorter than %v: it would show single batches of the path", c.Step, minStep)
	}
	if s.Phases.During != c.Step {
		v.fail("phases.during", "a search holds each rate for its step (%v); leave during away", c.Step)
	}
	if c.Precision < minWidth || c.Precision > 1 {
		v.fail("search.precision", "%v is outside %v to 100%%", c.Precision, Share(minWidth))
	}
	if c.Tries < 2 || c.Tries > maxTries {
		v.fail("search.tries", "%d is outside 2 to %d", c.Tries, maxTries)
	}
	if len(s.Faults) > 0 {
		v.fail("search", "a search takes no faults: what failed would be theirs")
	}
	for i, t := range c.Gate {
		path := fmt.Sprintf("search.gate[%d]", i)
		v.threshold(s, path, t)
		g, err := ParseThreshold(t)
		if err != nil {
			continue
		}
		if !slices.Contains(GateMetrics, g.Metric.Name) {
			v.fail(path, "metric %s says nothing about a step; allowed: %s", g.Metric.Name, strings.Join(GateMetrics, ", "))
		}
		if g.Labels["phase"] != "" {
			v.fail(path, "a gate is judged over its step; leave the phase away")
		}
		if slices.Contains(c.Gate[:i], t) {
			v.fail(path, "%q is there twice", t)
		}
	}
}
