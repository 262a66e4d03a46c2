package run

import (
	"strconv"

	"triad/internal/evidence"
)

// topologist is an environment that says how its clusters stand, in a run that compares topologies.
type topologist interface {
	Topology() (evidence.Event, bool)
}

// topology writes down how this repetition stands, and what those before it have shown.
func (r *runner) topology() {
	if r.Pair == 0 {
		return
	}
	for _, e := range r.Earlier {
		r.event(e)
	}
	t, ok := r.env.(topologist)
	if !ok {
		return
	}
	if e, ok := t.Topology(); ok {
		e.Attrs["pair"] = strconv.Itoa(r.Pair)
		r.event(e)
	}
}
