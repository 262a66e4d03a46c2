package check

import (
	"fmt"
	"strings"

	"triad/internal/evidence"
)

// rollbackCheck is claim C8: the renderings for kind and EKS differ only as declared, the clusters are what is rendered,
// a change rolled forward comes through, and rolled back leaves what is rendered, and nothing else. A run that could not
// roll has shown half of it, which is no pass.
func rollbackCheck(j *judge) *judged {
	// Not onFaults: what a roll left behind is a fail of this check whatever else became of the fault.
	c := &judged{files: []string{evidence.EventsFile}, interim: true}
	c.Unit, c.Limit = "differences", new(0.0)
	events := j.byFault(evidence.EventRollout)
	var rolls []*faultState
	for _, f := range j.faults {
		if f.Kind == "roll-out" {
			rolls = append(rolls, f)
		}
	}
	if len(events) == 0 && len(rolls) == 0 {
		return nil
	}
	var o rollOutcome
	rendered := o.rendered(events[""])
	for _, f := range rolls {
		o.roll(f, events[f.Name])
	}
	c.Value = new(float64(o.differences))
	switch {
	case len(o.wrong) > 0:
		return c.set(Fail, "%s", strings.Join(o.wrong, "; "))
	case len(o.skipped) > 0:
		return c.skip(fmt.Sprintf("%s; %s", rendered, strings.Join(o.skipped, "; ")))
	case len(rolls) == 0:
		return c.set(Inconclusive, "%s; nothing was rolled out", rendered)
	case len(o.unclear) > 0:
		return c.set(Inconclusive, "%s", strings.Join(o.unclear, "; "))
	}
	return c.set(Pass, "%s; %s", rendered, strings.Join(o.good, "; "))
}

// rollOutcome gathers what the stages of all rolls say.
type rollOutcome struct {
	wrong, unclear, skipped, good []string
	differences                   float64
}

// rendered judges the comparison of the two renderings, and says it in words.
func (o *rollOutcome) rendered(stages map[string]evidence.Event) string {
	e, ok := stages[evidence.RolloutRendered]
	said := ""
	switch {
	case !ok:
		said = "the renderings for kind and EKS were not compared"
		o.unclear = append(o.unclear, said)
	case e.State == evidence.RolloutAsDeclared:
		said = fmt.Sprintf("kind and EKS differ in %.0f places, all of them declared", attr(e, "allowed"))
	case e.State == evidence.RolloutUndeclared:
		said = fmt.Sprintf("kind and EKS differ in %.0f places as nothing declares: %s", attr(e, "undeclared"), e.Detail)
		o.differences += attr(e, "undeclared")
		o.wrong = append(o.wrong, said)
	default:
		said = "the renderings for kind and EKS could not be compared: " + e.Detail
		o.unclear = append(o.unclear, said)
	}
	return said
}

// roll judges one roll forward and back.
func (o *rollOutcome) roll(f *faultState, stages map[string]evidence.Event) {
	if f.skipped != "" {
		o.skipped = append(o.skipped, "rolling forward and back was skipped: "+f.skipped)
		return
	}
	before, seenBefore := stages[evidence.RolloutBefore]
	forward, seenForward := stages[evidence.RolloutForward]
	after, seenAfter := stages[evidence.RolloutAfter]
	if seenBefore && before.State != evidence.RolloutSame {
		o.differences += attr(before, "drift")
		o.wrong = append(o.wrong, fmt.Sprintf("before %s the clusters were not what is rendered: %s", f.Name, before.Detail))
	}
	if seenAfter && after.State != evidence.RolloutSame {
		o.differences += attr(after, "drift") + attr(after, "left")
		o.wrong = append(o.wrong, fmt.Sprintf("%s rolled back left something else than what is rendered: %s", f.Name, after.Detail))
	}
	why := ""
	if f.failed != "" {
		why = " (" + f.failed + ")"
	}
	switch {
	case !seenBefore || attr(before, "objects") == 0:
		o.unclear = append(o.unclear, f.Name+": the clusters were not compared with what is rendered before it"+why)
	case !seenForward:
		o.unclear = append(o.unclear, f.Name+": nothing was seen to be rolled forward"+why)
	case forward.State != evidence.RolloutThere:
		o.unclear = append(o.unclear, fmt.Sprintf("%s: the change did not come through, so rolling back shows nothing: %s%s", f.Name, forward.Detail, why))
	case attr(forward, "changed") == 0:
		o.unclear = append(o.unclear, f.Name+": the change changes nothing, so rolling back shows nothing")
	case !seenAfter || attr(after, "objects") == 0:
		o.unclear = append(o.unclear, f.Name+": the clusters were not compared with what is rendered after it"+why)
	default:
		o.good = append(o.good, fmt.Sprintf("%s changed %.0f places by %s, and all %.0f objects are as rendered again, none left over", f.Name, attr(forward, "changed"), forward.Attrs["to"], attr(after, "objects")))
	}
}

// byFault are the events of a kind by the fault that found them and by their names; the last of a name counts.
func (j *judge) byFault(kind string) map[string]map[string]evidence.Event {
	out := map[string]map[string]evidence.Event{}
	for _, e := range j.r.Events {
		if e.Kind != kind {
			continue
		}
		f := e.Attrs["fault"]
		if out[f] == nil {
			out[f] = map[string]evidence.Event{}
		}
		out[f][e.Name] = e
	}
	return out
}

// attr reads a figure of an event, 0 when it has none.
func attr(e evidence.Event, key string) float64 {
	var v float64
	fmt.Sscan(e.Attrs[key], &v)
	return v
}
