package check

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/schedule"
)

// newCapacity is what the search found so far, this run's own try included; nil when the run is no try.
func newCapacity(j *judge) *Capacity {
	c := j.s.Search
	if c == nil {
		return nil
	}
	out := &Capacity{
		Source: c.Source, AtLeast: float64(c.AtLeast), Precision: float64(c.Precision), Step: int64(c.Step), Tries: []Try{},
	}
	for _, t := range j.r.Header.Tries {
		out.Tries = append(out.Tries, tryAgain(c, t))
	}
	if c.Rate > 0 {
		out.Tries = append(out.Tries, j.ownTry(c))
	}
	b := bracketOf(out.Tries)
	known := func(v float64) *float64 {
		if v == 0 {
			return nil
		}
		return &v
	}
	out.Passed, out.Failed = known(b.passed), known(b.failed)
	if next, ok := NextTry(c, out.Tries); ok && len(out.Tries) > 0 {
		out.Next = &next
	}
	switch {
	case b.open > 0 && b.openHarness:
		out.Upper = UpperHarness
	case b.open > 0:
		out.Upper = UpperNoData
	case b.failed > 0:
		out.Upper = UpperGate
	case b.passed == float64(c.To):
		out.Upper = UpperBound
	default:
		out.Upper = UpperOpen
	}
	return out
}

// tryAgain takes an earlier try. Where a figure decided, it is compared with the limit again.
func tryAgain(c *scenario.Search, t evidence.Try) Try {
	out := Try{Run: t.Run, Rate: t.Rate}
	for _, g := range t.Gates {
		x := TryGate{Gate: g.Gate, Verdict: Verdict(g.Verdict), Lo: g.Lo, Hi: g.Hi, Detail: g.Detail}
		if p, err := scenario.ParseThreshold(g.Gate); err != nil {
			x.Verdict, x.Detail = Inconclusive, "the gate cannot be read: "+err.Error()
		} else {
			x.Limit, x.Unit = p.Limit, unitOf(p)
			switch {
			case x.Verdict == Invalid || x.Verdict == Inconclusive:
			case g.Lo == nil || g.Hi == nil:
				x.Verdict = Inconclusive
			default:
				x.Verdict = map[int]Verdict{1: Pass, 0: Inconclusive, -1: Fail}[holds(*g.Lo, *g.Hi, p.Op, p.Limit)]
			}
		}
		out.Gates = append(out.Gates, x)
	}
	out.close(c)
	return out
}

// Evidence is a try as the evidence of the next run carries it.
func (t Try) Evidence() evidence.Try {
	out := evidence.Try{Run: t.Run, Rate: t.Rate}
	for _, g := range t.Gates {
		out.Gates = append(out.Gates, evidence.TryGate{Gate: g.Gate, Verdict: string(g.Verdict), Lo: g.Lo, Hi: g.Hi, Detail: g.Detail})
	}
	return out
}

// ownTry judges the step of this run by the gates of the search, exactly as thresholds on the phase during are.
func (j *judge) ownTry(c *scenario.Search) Try {
	out := Try{Run: j.r.Header.ID, Rate: float64(c.Rate)}
	dropped := j.droppedInStep()
	for _, text := range c.Gate {
		t, err := scenario.ParseThreshold(text)
		if err != nil {
			out.Gates = append(out.Gates, TryGate{Gate: text, Verdict: Inconclusive, Detail: err.Error()})
			continue
		}
		if slices.Contains(t.Metric.Labels, "phase") {
			t.Labels["phase"] = scenario.During
		}
		g, m := thresholdOf(j, t)
		j.depend(g)
		x := TryGate{Gate: text, Verdict: g.Verdict, Limit: t.Limit, Unit: unitOf(t), Detail: g.Detail}
		if m.ok {
			x.Lo, x.Hi = new(m.lo), new(m.hi)
		}
		switch {
		case t.Metric.Name == "dropped" && g.Verdict == Fail:
			x.Verdict, x.Detail = Invalid, "what is dropped was never sent, and that is the generator's limit: "+g.Detail
		case dropped != "" && m.timing && x.Verdict != Inconclusive:
			x.Verdict, x.Detail = Invalid, dropped+" (else: "+g.Detail+")"
		}
		out.Gates = append(out.Gates, x)
	}
	out.close(c)
	return out
}

// droppedInStep says that the generator left out so much of the step that the rate was another one; empty when it did not.
func (j *judge) droppedInStep() string {
	w, ok := j.phase(scenario.During)
	if !ok || j.total.Dropped == 0 {
		return ""
	}
	var due, dropped uint64
	for _, st := range j.s.Streams() {
		s := j.acc.streams[st.ID]
		lo, hi := schedule.Count(j.s, st, w.From), schedule.Count(j.s, st, w.To)
		due += hi - lo
		if s == nil {
			continue
		}
		for _, sp := range s.dropped.Spans() {
			if a, b := max(sp.Lo, lo), min(sp.Hi, hi); a < b {
				dropped += b - a
			}
		}
	}
	if due == 0 || float64(dropped)/float64(due) <= maxDropped {
		return ""
	}
	return fmt.Sprintf("the generator dropped %.2f %% of the step", 100*float64(dropped)/float64(due))
}

// close gives the try its verdict: the worst of its gates. A try that some gate says nothing about is not a pass.
func (t *Try) close(c *scenario.Search) {
	t.Verdict = Pass
	for _, g := range t.Gates {
		if rank[g.Verdict] > rank[t.Verdict] {
			t.Verdict, t.Why = g.Verdict, g.Gate+": "+g.Detail
		}
	}
	for _, want := range c.Gate {
		if !slices.ContainsFunc(t.Gates, func(g TryGate) bool { return g.Gate == want }) && t.Verdict == Pass {
			t.Verdict, t.Why = Inconclusive, "the try has no figure for "+want
		}
	}
}

// tryWhy is why a rate did not pass, in the last try that did not.
func tryWhy(tries []Try, rate float64, v Verdict) string {
	for _, t := range slices.Backward(tries) {
		if t.Rate == rate && t.Verdict == v {
			return t.Why
		}
	}
	return "no reason recorded"
}

// capacityCheck judges a search by the tries up to this run. That the harness was the limit, or that even the highest rate passed,
// leaves the upper end open, and an interval with an open end is inconclusive.
func capacityCheck(j *judge) *judged {
	s := j.s.Search
	if s == nil {
		return nil
	}
	c := &judged{interim: true}
	c.Unit = "/s"
	c.Limit = new(float64(s.AtLeast))
	if w, ok := j.phase(scenario.During); ok {
		c.Windows = []Span{{w.From, w.To}}
	}
	x := j.capacity
	b := bracketOf(x.Tries)
	c.Value = x.Passed
	per := func(v float64) string { return number(v, "/s") }
	defer func() { x.Why = c.Detail }()
	var lowest string
	if len(x.Tries) > 0 {
		lowest = per(b.rates()[0])
	}
	upper, wide := b.upper(), 0.0
	if upper > 0 && b.passed > 0 {
		wide = upper/b.passed - 1
	}
	switch {
	case len(x.Tries) == 0:
		return c.set(Inconclusive, "no rate was tried: sim run makes the tries of a search")
	case b.failed > 0 && b.failed <= float64(s.AtLeast):
		return c.set(Fail, "%s failed, and at least %s must pass: %s", per(b.failed), per(float64(s.AtLeast)), tryWhy(x.Tries, b.failed, Fail))
	case b.passed == 0 && b.openHarness:
		return c.set(Invalid, "the harness was the limit at the lowest rate already (%s), which says nothing about the system: %s", lowest, b.openWhy)
	case b.passed == 0:
		return c.set(Inconclusive, "no rate could be judged, not even %s: %s", lowest, b.openWhy)
	case b.against > 0:
		return c.set(Inconclusive, "the rates contradict each other: %s failed (%s), and %s passed", per(b.failed), tryWhy(x.Tries, b.failed, Fail), per(b.against))
	case b.open > 0 && b.openHarness:
		return c.set(Inconclusive, "%s passed; not reached: the harness was the limit at %s: %s", per(b.passed), per(b.open), b.openWhy)
	case b.open > 0:
		return c.set(Inconclusive, "%s passed; %s could not be judged: %s", per(b.passed), per(b.open), b.openWhy)
	case b.failed == 0 && b.passed == float64(s.To):
		return c.set(Inconclusive, "not reached: %s passed, the highest rate of the search", per(b.passed))
	case b.failed == 0:
		return c.set(Inconclusive, "%s passed; the search was not over, and no rate had failed", per(b.passed))
	case wide > float64(s.Precision)*(1+1e-9) && x.Next == nil && len(x.Tries) < s.Tries:
		return c.set(Inconclusive, "between %s, which passed, and %s, which failed, there is no rate of three digits", per(b.passed), per(b.failed))
	case wide > float64(s.Precision)*(1+1e-9):
		return c.set(Inconclusive, "between %s, which passed, and %s, which failed (%s): %.0f %% apart, more than the %v asked for, after %d tries", per(b.passed), per(b.failed),
			tryWhy(x.Tries, b.failed, Fail), 100*wide, s.Precision, len(x.Tries))
	case b.passed < float64(s.AtLeast):
		return c.set(Inconclusive, "%s passed and %s failed (%s): the %s that must pass lie in between and were not tried", per(b.passed), per(b.failed),
			tryWhy(x.Tries, b.failed, Fail), per(float64(s.AtLeast)))
	case b.byRate[b.passed].pass < passTwice:
		return c.set(Inconclusive, "%s passed once only, and %s failed: %s", per(b.passed), per(b.failed), tryWhy(x.Tries, b.failed, Fail))
	}
	return c.set(Pass, "%s passed, %s failed (%s), %d tries of %v", per(b.passed), per(b.failed), strings.TrimSuffix(tryWhy(x.Tries, b.failed, Fail), "."), len(x.Tries), time.Duration(s.Step))
}

// unitOf is the unit of a threshold's figure.
func unitOf(t scenario.Threshold) string {
	if t.Agg == "count" {
		return "records"
	}
	return t.Metric.Unit
}
