package claims

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
)

// Verdict of a claim.
type Verdict string

// Verdicts of a claim. Unproven is a claim that no run is about.
const (
	Proven       Verdict = "pass"
	OnTheModel   Verdict = "pass on the model" // by the embedded runtime alone: models, not the real programs
	Failed       Verdict = "fail"
	Invalid      Verdict = "invalid"
	Inconclusive Verdict = "inconclusive"
	Unproven     Verdict = "unproven"
)

// Claim is one row: a claim, its verdict and the runs that it rests on.
type Claim struct {
	Claim   string  `json:"claim"` // C1 to C8
	Title   string  `json:"title"`
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail"` // why, in words; for an unproven claim, what would prove it
	Runs    []Proof `json:"runs"`   // newest of each scenario and runtime
}

// Proof is what one run says about one claim.
type Proof struct {
	Run      string        `json:"run"`
	Scenario string        `json:"scenario"`
	Runtime  string        `json:"runtime"`
	Verdict  check.Verdict `json:"verdict"`
	Expected bool          `json:"expected_to_fail,omitempty"` // documents a known weakness, and is not held against the claim
	Checks   []string      `json:"checks"`                     // that it rests on
	Models   []string      `json:"rests_on,omitempty"`         // models and stand-ins, and what is absent of what its checks would look at
	Detail   string        `json:"detail"`
}

// Run is one run as it was judged, with what its scenario says it tests.
type Run struct {
	Result   *check.Result
	Claims   []string // declared by its scenario
	Requires []string // checks that its scenario does not let be skipped
	Created  time.Time
}

// row is the fixed part of a claim.
type row struct {
	claim, title, proof string
	scenarios           []string
}

// rows are the eight claims, and what proves each.
var rows = []row{
	{"C1", "fault isolation: a datacenter failure does not reach monitoring", "", []string{"datacenter-outage", "metrics-outage", "partition"}},
	{"C2", "services keep running when monitoring is down", "", []string{"monitoring-outage"}},
	{"C3", "Kafka decouples the two: asynchronous, buffered", "", []string{"broker-failover", "broker-loss", "kafka-outage", "monitoring-outage", "burst"}},
	{"C4", "security isolation: least access, a closed datacenter, only dashboards outside", "probes of every path and principal on real clusters", []string{"security-isolation"}},
	{"C5", "performance isolation: the heavy parts do not compete", "at least five paired repetitions on real clusters, three clusters against one, under the same processor and memory caps", []string{"topology-compare", "noisy-neighbour"}},
	{"C6", "independent scalability: a new cluster needs only a Prometheus Agent", "a fourth cluster beside three real ones", []string{"add-cluster"}},
	{"C7", "one view: one Grafana sees every cluster", "every dashboard query and alert on real clusters", []string{"alerts"}},
	{"C8", "infrastructure as code: deploy and roll back consistently", "rolling forward and back on real clusters; that kind and EKS differ only as declared, sim check says without a run", []string{"rollback"}},
}

// Names are the claims in order.
func Names() []string {
	var out []string
	for _, r := range rows {
		out = append(out, r.claim)
	}
	return out
}

// Judge returns the eight rows from any number of runs. known are the scenarios that can be run, so that an unproven
// claim names only what exists; nil: all that the claim knows.
func Judge(runs []Run, known []string) []Claim {
	newest := latest(runs)
	out := make([]Claim, 0, len(rows))
	for _, r := range rows {
		c := Claim{Claim: r.claim, Title: r.title, Runs: []Proof{}}
		for _, run := range newest {
			if p, ok := prove(run, r.claim); ok {
				c.Runs = append(c.Runs, p)
			}
		}
		c.judge()
		if c.Verdict == Unproven {
			c.Detail = r.hint(known)
		}
		out = append(out, c)
	}
	return out
}

// latest are the newest runs of each scenario and runtime, by scenario and runtime.
func latest(runs []Run) []Run {
	by := map[[2]string]Run{}
	for _, r := range runs {
		k := [2]string{r.Result.Scenario, r.Result.Runtime}
		old, ok := by[k]
		if !ok || r.Created.After(old.Created) || r.Created.Equal(old.Created) && r.Result.Run > old.Result.Run {
			by[k] = r
		}
	}
	out := make([]Run, 0, len(by))
	for _, r := range by {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Run) int {
		return strings.Compare(a.Result.Scenario+"\x00"+a.Result.Runtime, b.Result.Scenario+"\x00"+b.Result.Runtime)
	})
	return out
}

// prove says what a run proves about a claim. A run counts when its scenario is about the claim and it judged a check
// of that claim; a failed check of the claim counts in any run.
func prove(r Run, claim string) (Proof, bool) {
	res := r.Result
	p := Proof{Run: res.Run, Scenario: res.Scenario, Runtime: res.Runtime, Expected: res.Expected == "fail", Checks: []string{}}
	about := slices.Contains(r.Claims, claim)
	var failed, skipped []string
	others := false // a check that failed and belongs to no other claim
	for _, c := range res.Checks {
		if c.Claim == claim && c.Verdict != check.Skipped {
			p.Checks = append(p.Checks, c.Name)
			for _, m := range c.Rests {
				if !slices.Contains(p.Models, m) {
					p.Models = append(p.Models, m)
				}
			}
			if c.Verdict == check.Fail {
				failed = append(failed, c.Name+": "+c.Detail)
			}
		} else if c.Claim == claim {
			skipped = append(skipped, c.Name+": skipped: "+c.Detail)
		} else if c.Verdict == check.Fail && (c.Claim == "" || c.Gate) {
			others = true
		}
	}
	switch {
	case len(failed) > 0:
		p.Verdict, p.Detail = check.Fail, strings.Join(failed, "; ")
	case !about:
		return p, false
	case len(p.Checks) == 0 && len(skipped) > 0:
		p.Verdict, p.Detail = check.Inconclusive, strings.Join(skipped, "; ")
	case len(p.Checks) == 0:
		p.Verdict, p.Detail = check.Inconclusive, "none of its checks is about this claim"
	case res.Verdict == check.Fail && !others:
		// What failed is another claim's: this one's checks passed or could not be judged.
		p.Verdict, p.Detail = worst(r, claim)
	default:
		p.Verdict, p.Detail = res.Verdict, res.Summary
	}
	return p, true
}

// worst is the worst verdict of a claim's own checks, and of those that all claims rest on. A check that was skipped is none that passed where
// the scenario requires it, and faults that did not strike prove nothing.
func worst(r Run, claim string) (check.Verdict, string) {
	v, detail := check.Pass, "the checks of this claim passed; others of the run did not"
	for _, c := range r.Result.Checks {
		if c.Claim != claim && c.Claim != "" && !c.Gate {
			continue
		}
		open := c.Verdict == check.Inconclusive
		if c.Verdict == check.Skipped {
			open = slices.Contains(r.Requires, c.Name) || c.Name == "faults" && len(r.Result.Faults) > 0
			c.Detail = "skipped: " + c.Detail
		}
		switch {
		case c.Verdict == check.Invalid && v != check.Invalid:
			v, detail = check.Invalid, c.Name+": "+c.Detail
		case open && v == check.Pass:
			v, detail = check.Inconclusive, c.Name+": "+c.Detail
		}
	}
	return v, detail
}

// runtimes in the order of how much they prove.
var runtimes = []string{"eks", "kind", "embedded"}

// judge gives the row its verdict. One fail anywhere is a fail; else the most real runtime that has runs decides.
func (c *Claim) judge() {
	weak := 0
	var counted []Proof
	for _, p := range c.Runs {
		if p.Expected && p.Verdict == check.Fail {
			weak++
			continue
		}
		counted = append(counted, p)
	}
	c.Verdict = Unproven
	for _, p := range counted {
		if p.Verdict == check.Fail {
			c.Verdict, c.Detail = Failed, fmt.Sprintf("%s on %s: %s", p.Scenario, p.Runtime, p.Detail)
			return
		}
	}
	for _, rt := range runtimes {
		v, said := verdictOn(rt, counted)
		if v == "" {
			continue
		}
		c.Verdict, c.Detail = v, said
		break
	}
	if c.Verdict != Unproven && weak > 0 {
		c.Detail += fmt.Sprintf("; %d documented weakness(es) fail as expected", weak)
	}
}

func verdictOn(runtime string, proofs []Proof) (Verdict, string) {
	var good []string
	for _, want := range []check.Verdict{check.Invalid, check.Inconclusive} {
		for _, p := range proofs {
			if p.Runtime == runtime && p.Verdict == want {
				return Verdict(want), fmt.Sprintf("%s on %s: %s", p.Scenario, p.Runtime, p.Detail)
			}
		}
	}
	models := false
	for _, p := range proofs {
		if p.Runtime == runtime {
			good = append(good, p.Scenario)
			models = models || slices.ContainsFunc(p.Models, func(m string) bool { return !strings.HasSuffix(m, "("+evidence.Absent+")") })
		}
	}
	if len(good) == 0 {
		return "", ""
	}
	said := fmt.Sprintf("%s on %s", strings.Join(good, ", "), runtime)
	switch {
	case runtime == "embedded":
		return OnTheModel, said + ": models in one process, not the real programs"
	case models:
		said += ", some parts of which were models or stand-ins"
	}
	return Proven, said
}

// hint says what would prove a claim that no run is about.
func (r row) hint(known []string) string {
	var names []string
	for _, s := range r.scenarios {
		if known == nil || slices.Contains(known, s) {
			names = append(names, s)
		}
	}
	said := "no run is about it"
	switch {
	case len(names) > 0:
		said += "; to prove it: sim run " + names[0]
		if len(names) > 1 {
			said += " (and " + strings.Join(names[1:], ", ") + ")"
		}
		if r.proof != "" {
			said += ": " + r.proof
		}
	case r.proof != "":
		said += "; to prove it takes " + r.proof
	}
	return said
}
