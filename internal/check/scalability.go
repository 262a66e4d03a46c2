package check

import (
	"fmt"
	"strings"

	"triad/internal/evidence"
)

// scalabilityCheck is claim C6: a cluster that was added with an agent alone is seen in the central Prometheus, and
// nothing in the other clusters had to change for it but what is declared: one flow, and the credential that is there.
func scalabilityCheck(j *judge) *judged {
	c := &judged{files: []string{evidence.EventsFile}, interim: true}
	c.Unit = "s"
	found := j.byFault(evidence.EventAdded)
	var wrong, unclear, skipped, good []string
	longest, n := 0.0, 0
	for _, f := range j.faults {
		if f.Kind != "cluster-add" {
			continue
		}
		n++
		if f.skipped != "" {
			skipped = append(skipped, f.Name+": "+f.skipped)
			continue
		}
		why := ""
		if f.failed != "" {
			why = " (" + f.failed + ")"
		}
		series, seen := found[f.Name][evidence.AddedSeries]
		said := ""
		switch {
		case !seen:
			unclear = append(unclear, f.Name+": nobody looked for the series of the added cluster"+why)
		case series.State != evidence.AddedAnswered || attr(series, "targets") == 0:
			wrong = append(wrong, fmt.Sprintf("the series of %s did not answer in the central Prometheus: %s", series.Attrs["cluster"], series.Detail))
		default:
			longest = max(longest, attr(series, "seconds"))
			said = fmt.Sprintf("the series of %.0f targets of %s answered %.1f s after its agent was deployed (%.0f s after the cluster was begun)", attr(series, "targets"), series.Attrs["cluster"], attr(series, "seconds"), attr(series, "total"))
		}
		elsewhere, seen := found[f.Name][evidence.AddedElsewhere]
		switch {
		case seen && elsewhere.State == evidence.AddedChanged:
			wrong = append(wrong, fmt.Sprintf("%.0f things changed in the other clusters: %s", attr(elsewhere, "changed"), elsewhere.Detail))
		case seen && elsewhere.State == evidence.AddedUnchanged && attr(elsewhere, "objects") > 0:
			good = append(good, fmt.Sprintf("%s; none of %.0f objects and packet filters of the other clusters changed, the declared flow is %s", said, attr(elsewhere, "objects"), elsewhere.Attrs["flows"]))
		case seen && elsewhere.Detail != "":
			unclear = append(unclear, strings.TrimPrefix(said+"; "+elsewhere.Detail, "; "))
		default:
			unclear = append(unclear, strings.TrimPrefix(said+"; whether anything changed in the other clusters was not looked at"+why, "; "))
		}
	}
	if n == 0 {
		return nil
	}
	if longest > 0 {
		c.Value = &longest
	}
	switch {
	case len(wrong) > 0:
		return c.set(Fail, "%s", strings.Join(wrong, "; "))
	case len(skipped) > 0:
		return c.skip(strings.Join(skipped, "; "))
	case len(unclear) > 0:
		return c.set(Inconclusive, "%s", strings.Join(unclear, "; "))
	}
	return c.set(Pass, "%s", strings.Join(good, "; "))
}
