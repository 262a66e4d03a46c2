package run

import (
	"slices"
	"strconv"

	"triad/internal/evidence"
	"triad/internal/manifests"
	"triad/internal/scenario"
)

// renderer is an environment that says from which manifests it was made, as committed: without a scenario's settings.
type renderer interface{ Manifests() manifests.Set }

// rendered compares the renderings for kind and EKS when the scenario rolls a change out: half of what deploying
// consistently means can be shown without any cluster.
func (r *runner) rendered() error {
	if !slices.ContainsFunc(r.Scenario.Faults, func(f scenario.Fault) bool { return f.Kind == "roll-out" }) {
		return nil
	}
	env, ok := r.env.(renderer)
	if !ok {
		return nil // the check says that this is missing
	}
	return r.step("renderings", func() (string, error) {
		e := compareRenderings(env.Manifests())
		r.event(e)
		return e.State, nil
	})
}

// compareRenderings is the event that says whether kind and EKS differ as differences.yaml says, and only so.
func compareRenderings(set manifests.Set) evidence.Event {
	e := evidence.Event{Kind: evidence.EventRollout, Name: evidence.RolloutRendered, State: evidence.RolloutAsDeclared}
	d, err := set.Diff()
	if err != nil {
		e.State, e.Detail = evidence.RolloutFailed, err.Error()
		return e
	}
	var wrong []string
	for _, x := range d.Undeclared {
		wrong = append(wrong, x.String())
	}
	for _, a := range d.Unused {
		wrong = append(wrong, "nothing uses the allowance "+a.String())
	}
	e.Attrs = map[string]string{"allowed": strconv.Itoa(len(d.Allowed)), "undeclared": strconv.Itoa(len(wrong))}
	if len(wrong) > 0 {
		e.State, e.Detail = evidence.RolloutUndeclared, evidence.Named(wrong)
	}
	return e
}
