package check

import (
	"fmt"
	"time"
)

// maxObserving is the share of the system's processor time that watching it may cost. Above it the figures are those of a system that
// is being watched; no check turns on it, because every record was counted all the same.
const maxObserving = 0.05

// observing is what watching cost from the first reading to the last, or nil when the system's own processor time is not known.
func (j *judge) observing() *Observing {
	used := map[string]float64{}
	known := map[string]bool{}
	for k, rs := range j.ser.cpuTotal {
		if len(rs) < 2 {
			continue
		}
		for i := 1; i < len(rs); i++ {
			// A reading below the one before is of something that was started anew: what it used before is not known.
			used[k[0]] += max(rs[i].v-rs[i-1].v, 0)
		}
		known[k[0]] = true
	}
	faults := min(j.faultWork(), used["harness"])
	o := &Observing{Harness: used["harness"] - faults + used["clients"], Faults: faults, Search: used["search"], Metrics: used["metrics"], System: used["nodes"] - used["generator"], Forwarding: used["apiserver"], Limit: maxObserving}
	// Time on the clock has waiting in it. Where the threads were watched for half of the time or more, they tell.
	if part, ok := j.watched(used["search-watched"]); ok {
		o.Search = min(o.Search, used["search-threads"]/part)
	}
	// Both are upper bounds: time on the clock again, and exporters answer the cluster's own Prometheus too.
	if known["exporters"] {
		o.Metrics = min(o.Metrics, used["exporters"])
	}
	if !known["harness"] || !known["nodes"] || o.System <= 0 {
		return nil
	}
	o.Share = (o.Harness + o.Search + o.Metrics) / o.System
	return o
}

// faultWork is the processor time that the harness used for making and undoing faults, in seconds: what it used in those times beyond what it uses in
// as much other time. Watching goes on meanwhile, and making a cluster or rolling all of them out is no part of it.
func (j *judge) faultWork() float64 {
	at := func(t time.Duration) bool {
		for _, f := range j.faults {
			if f.injecting != nil && f.injected != nil && *f.injecting <= t && t <= *f.injected {
				return true
			}
			if f.injected != nil && f.healed != nil && min(*f.injected+f.For.D(), *f.healed) <= t && t <= *f.healed {
				return true
			}
		}
		return false
	}
	var in, out, inTime, outTime float64
	rs := j.ser.cpu["harness"]
	for i := 1; i < len(rs); i++ { // each is of the time since the one before
		d := (rs[i].at - rs[i-1].at).Seconds()
		if at(rs[i].at) || at(rs[i-1].at) {
			in, inTime = in+rs[i].v*d, inTime+d
		} else {
			out, outTime = out+rs[i].v*d, outTime+d
		}
	}
	if outTime == 0 {
		return 0
	}
	return max(in-out/outTime*inTime, 0)
}

// watched is the part of the time between the first reading and the last in which the store's search threads were watched; false: too little to
// tell by.
func (j *judge) watched(seconds float64) (part float64, ok bool) {
	for k, rs := range j.ser.cpuTotal {
		if k[0] == "search-watched" && len(rs) > 1 {
			part = seconds / (rs[len(rs)-1].at - rs[0].at).Seconds()
		}
	}
	return min(part, 1), part >= 0.5
}

// String is the sentence for the report.
func (o *Observing) String() string {
	s := fmt.Sprintf("Observing took %.1f %% of the system's processor time: %.1f s of the harness, %.1f s of searches and %.1f s of brokers' and workers' metrics against %.1f s in the clusters",
		100*o.Share, o.Harness, o.Search, o.Metrics, o.System)
	if o.Forwarding > 0 {
		s += fmt.Sprintf(", of which %.1f s are API servers, which forward the harness's connections beside their own work", o.Forwarding)
	}
	if o.Faults >= 0.05 {
		s += fmt.Sprintf("; %.1f s more of the harness made and undid faults", o.Faults)
	}
	if o.Share > o.Limit {
		s += fmt.Sprintf(". That is above %.0f %%: latencies are those of a system that is being watched", 100*o.Limit)
	}
	return s + "."
}
