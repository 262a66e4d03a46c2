package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

// faultState is what became of one declared fault.
type faultState struct {
	scenario.Fault
	injecting, injected *time.Duration // one that goes through API servers takes a while to be made
	bit, healed, gone   *time.Duration
	hits                uint64
	state               string
	skipped, failed     string
	detail              string
	unwatched           string // it was due or acted while the harness was dead
	attrs               map[string]string
}

// newFaults follows every declared fault through the events.
func newFaults(r *evidence.Run) []*faultState {
	byName := map[string]*faultState{}
	var out []*faultState
	for _, f := range r.Scenario.Faults {
		s := &faultState{Fault: f, attrs: map[string]string{}}
		byName[f.Name] = s
		out = append(out, s)
	}
	for _, e := range r.Events {
		f := byName[e.Name]
		if e.Kind != evidence.EventFault || f == nil {
			continue
		}
		f.state = e.State
		f.hits = max(f.hits, e.Hits)
		maps.Copy(f.attrs, e.Attrs)
		switch e.State {
		case evidence.FaultInjecting:
			if f.injecting == nil {
				f.injecting = new(e.At)
			}
		case evidence.FaultInjected:
			f.injected = new(e.At)
		case evidence.FaultBit:
			f.bit = new(e.At)
			f.detail = e.Detail
		case evidence.FaultHealed:
			f.healed = new(e.At)
		case evidence.FaultGone:
			f.gone = new(e.At)
		case evidence.FaultSkipped:
			f.skipped = e.Detail
			if f.skipped == "" {
				f.skipped = "the runtime cannot do it"
			}
		case evidence.FaultUnwatched:
			f.unwatched = e.Detail
			if f.unwatched == "" {
				f.unwatched = "the harness was dead"
			}
		case evidence.FaultFailed:
			f.failed = e.Detail
			if f.failed == "" {
				f.failed = "it failed"
			}
		}
	}
	return out
}

// invalid says why a fault proves nothing; empty when it bit and is gone.
func (f *faultState) invalid() string {
	switch {
	case f.skipped != "" || f.unwatched != "":
		return ""
	case f.failed != "":
		return fmt.Sprintf("%s failed: %s", f.Name, f.failed)
	case f.injected == nil:
		return f.Name + " was never injected"
	case f.bit == nil || f.hits == 0:
		return f.Name + " was injected and had no effect that anything saw"
	case f.gone == nil:
		return f.Name + " was not seen to be over"
	}
	return ""
}

// from is when it began to act, to when it was over; ok is false when it never acted.
func (f *faultState) active() (from, to time.Duration, ok bool) {
	if f.injected == nil {
		return 0, 0, false
	}
	from = *f.injected
	switch {
	case f.gone != nil:
		to = *f.gone
	case f.healed != nil:
		to = *f.healed
	default:
		to = from + f.For.D()
	}
	return from, max(to, from), true
}

// relief is the moment from which recovery is counted: healed, or, for an instant, its effect.
func (f *faultState) relief() (time.Duration, bool) {
	switch {
	case f.For > 0 && f.healed != nil:
		return *f.healed, true
	case f.For > 0 && f.gone != nil:
		return *f.gone, true
	case f.For == 0 && f.injected != nil:
		return *f.injected, true
	}
	return 0, false
}

// touches reports whether the fault strikes a cluster or a link that ends at it.
func (f *faultState) touches(cluster string) bool {
	return f.Cluster == cluster || f.From == cluster || f.To == cluster
}

// result is the row of the fault in result.json.
func (f *faultState) result() Fault {
	ns := func(d *time.Duration) *int64 {
		if d == nil {
			return nil
		}
		return new(int64(*d))
	}
	target := f.Target
	if f.From != "" {
		target = f.From + "->" + f.To
	}
	if struck := f.attrs["struck"]; struck != "" {
		target = struck
	}
	x := Fault{
		Name: f.Name, Kind: f.Kind, Target: target, Cluster: f.Cluster, InjectedAt: ns(f.injected), BitAt: ns(f.bit), HealedAt: ns(f.healed),
		GoneAt: ns(f.gone), Hits: f.hits, Detail: f.detail, Attrs: f.attrs,
	}
	switch {
	case f.skipped != "":
		x.Detail = "skipped: " + f.skipped
	case f.unwatched != "":
		x.Detail = "not watched: " + f.unwatched
	case f.failed != "":
		x.Detail = "failed: " + f.failed
	}
	return x
}

// unsound says which faults prove nothing, and why: they did not happen, nobody watched them, or they did not do what they were to do.
func (j *judge) unsound() (skipped, unwatched, bad []string) {
	for _, f := range j.faults {
		if f.skipped != "" {
			skipped = append(skipped, f.Name+": "+f.skipped)
		} else if f.unwatched != "" {
			unwatched = append(unwatched, f.Name+": "+f.unwatched)
		} else if why := f.invalid(); why != "" {
			bad = append(bad, why)
		}
	}
	return skipped, unwatched, bad
}

// faultsCheck judges that every fault bit and is gone.
func faultsCheck(j *judge) *judged {
	c := &judged{files: []string{evidence.EventsFile}}
	if len(j.faults) == 0 {
		return c.skip("the scenario declares no fault")
	}
	skipped, unwatched, bad := j.unsound()
	hits := uint64(0)
	for _, f := range j.faults {
		hits += f.hits
	}
	c.Value = new(float64(hits))
	c.Unit = "hits"
	switch {
	case len(bad) > 0 && j.short() != "":
		return c.set(Inconclusive, "%s; %s", j.short(), strings.Join(bad, "; "))
	case len(bad) > 0:
		return c.set(Invalid, "%s; what the run shows is not what it was to show", strings.Join(bad, "; "))
	case len(skipped) > 0:
		return c.skip(strings.Join(skipped, "; "))
	case len(unwatched) > 0:
		return c.set(Inconclusive, "%d of %d faults were not watched: %s", len(unwatched), len(j.faults), strings.Join(unwatched, "; "))
	}
	names := make([]string, len(j.faults))
	for i, f := range j.faults {
		names[i] = f.Name
	}
	return c.set(Pass, "%s: bit and gone, %d hits", strings.Join(names, ", "), hits)
}

// outage is the span from the first injection to the last end of faults, and whether there is one.
func (j *judge) outage() (from, to time.Duration, ok bool) {
	for _, f := range j.faults {
		a, b, acted := f.active()
		if !acted {
			continue
		}
		if !ok {
			from, to, ok = a, b, true
		}
		from, to = min(from, a), max(to, b)
	}
	return from, to, ok
}

// faultClusters are the clusters that faults strike, without repetition.
func (j *judge) faultClusters() []string {
	var out []string
	for _, f := range j.faults {
		if _, _, acted := f.active(); acted && f.Cluster != "" && !slices.Contains(out, f.Cluster) {
			out = append(out, f.Cluster)
		}
	}
	return out
}
