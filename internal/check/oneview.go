package check

import (
	"fmt"
	"strings"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

// oneViewCheck is claim C7: probe events with the attribute check=one-view are the queries of the dashboards, asked during the run;
// their state is what became of them (package view). "One Grafana" is proven only by queries that went through it.
func oneViewCheck(j *judge) *judged {
	c := &judged{files: []string{evidence.EventsFile}, interim: true}
	c.Unit, c.Limit = "queries", new(0.0)
	n, quiet := 0, 0
	var wrong, unasked, absent []string
	direct := false
	for _, e := range j.r.Events {
		if e.Kind != evidence.EventProbe || e.Attrs["check"] != "one-view" {
			continue
		}
		n++
		if from, to, acted := j.outage(); acted && e.At >= from && e.At <= to {
			unasked = append(unasked, e.Name+": it was asked while a fault was there")
			continue
		}
		direct = direct || e.Attrs["via"] != "grafana"
		switch e.State {
		case "answered":
		case "quiet":
			quiet++
		case "empty", "partial", "refused":
			wrong = append(wrong, fmt.Sprintf("%s is %s: %s (%s)", e.Name, e.State, e.Detail, e.Attrs["query"]))
		case "absent":
			absent = append(absent, e.Name)
		default:
			unasked = append(unasked, fmt.Sprintf("%s: %s", e.Name, e.Detail))
		}
	}
	if n == 0 {
		switch {
		case j.s.Dashboards == nil:
			return nil
		case j.skipped("one-view") != "":
			return c.skip("") // depend says why
		}
		return c.set(Inconclusive, "no query of the dashboards was asked")
	}
	c.Value = new(float64(len(wrong)))
	good := n - len(wrong) - len(unasked) - len(absent)
	said := fmt.Sprintf("%d of %d dashboard queries answered for every cluster that they are declared for", good, n)
	if quiet > 0 {
		said += fmt.Sprintf(" (%d of them empty, as declared)", quiet)
	}
	var missing []string
	if len(unasked) > 0 {
		missing = append(missing, fmt.Sprintf("%d gave no answer: %s", len(unasked), strings.Join(evidence.Few(unasked, 5), "; ")))
	}
	if len(absent) > 0 {
		missing = append(missing, fmt.Sprintf("%d rest on metrics that nothing exposes in this runtime: %s", len(absent), strings.Join(evidence.Few(absent, 3), "; ")))
	}
	if direct {
		missing = append(missing, "no Grafana here: the data sources were asked directly")
	}
	switch {
	case len(wrong) > 0:
		return c.set(Fail, "%d of %d dashboard queries show a blind spot: %s", len(wrong), n, strings.Join(evidence.Few(wrong, 8), "; ")).unlessBusy(j, j.phaseOf(j.s.Dashboards))
	case len(missing) > 0:
		return c.set(Inconclusive, "%s; %s", said, strings.Join(missing, "; "))
	}
	return c.set(Pass, "%s, through one Grafana", said)
}

// phaseOf is the phase in which a time of the scenario lies; empty for none.
func (j *judge) phaseOf(t *scenario.Time) string {
	if t == nil {
		return ""
	}
	at := j.s.Phases.Resolve(*t)
	for _, w := range j.s.Phases.Windows() {
		if at >= w.From && at < w.To {
			return w.Name
		}
	}
	return ""
}
