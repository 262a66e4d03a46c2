package check

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/stats"
)

const (
	// minPairs is the least number of pairs that the claim asks for; with it a bound holds with a confidence of 96.9 %.
	minPairs = 5
	// pairConfidence is that of each bound.
	pairConfidence = 0.95
)

// Neighbour is a figure of what stands beside the burst: before it, and while it lasts.
type Neighbour struct {
	Metric         string
	Before, During float64
}

// Slowdown is how many times slower the neighbour is while the burst lasts.
func (n Neighbour) Slowdown() float64 { return n.During / n.Before }

// Neighbours reads the latencies of the monitoring cluster out of a run: those of one repetition. why says that they tell
// nothing, because the run itself did not hold.
func Neighbours(r *evidence.Run) (n []Neighbour, why string, err error) {
	j, err := newJudge(r)
	if err != nil {
		return nil, "", err
	}
	n, why = j.neighbours()
	return n, why, nil
}

func (j *judge) neighbours() (out []Neighbour, why string) {
	before, okBefore := j.phase(scenario.Before)
	during, okDuring := j.phase(scenario.During)
	if !okBefore || !okDuring {
		return nil, "it has no phase before or during"
	}
	if why := j.short(); why != "" {
		return nil, why
	}
	for _, p := range []string{scenario.Before, scenario.During} {
		if why := cmp.Or(j.late[p], j.lateIn("control", p)); why != "" {
			return nil, "in phase " + p + " " + why
		}
	}
	// A machine without processor time to spare is what is looked for here, inside of the caps; outside of them it is the harness's.
	for _, x := range j.victim(scenario.Monitoring, scenario.Datacenter, bin(before.To-before.From, during.To-during.From)) {
		if !x.higherIsWorse {
			continue
		}
		b, d := x.get(before.From, before.To), x.get(during.From, during.To)
		if len(b) >= minFigures && len(d) >= minFigures && stats.Median(b) > 0 {
			out = append(out, Neighbour{x.name, stats.Median(b), stats.Median(d)})
		}
	}
	if len(out) == 0 {
		return nil, "nothing was measured of monitoring before and during the burst"
	}
	return out, ""
}

// performanceCheck is claim C5: under a burst and the same total caps, the neighbour gets no slower in three clusters than
// with the same parts in one. A run carries its own repetition, and those before it as events.
func performanceCheck(j *judge) *judged {
	cmp := j.s.Compare
	if cmp == nil {
		return nil
	}
	c := &judged{files: []string{evidence.EventsFile, evidence.SeriesName, evidence.HistsName}, interim: true}
	c.Unit, c.Limit = "share slower", new(cmp.Tolerance)
	pairs, notes := j.pairs()
	if len(pairs) == 0 && len(notes) == 0 {
		return c.skip("no topology was compared: it takes real clusters with caps on processors and memory (--runtime kind)")
	}
	logs := map[string][]float64{} // by metric: logarithms of slowdown in three over slowdown in one
	for _, n := range sortedKeys(pairs) {
		p := pairs[n]
		switch {
		case p["three"] == nil && p["one"] == nil:
		case p["three"] == nil || p["one"] == nil:
			notes = append(notes, fmt.Sprintf("pair %d has one topology only", n))
		default:
			for m, three := range p["three"] {
				if one, ok := p["one"][m]; ok {
					logs[m] = append(logs[m], math.Log(three.Slowdown()/one.Slowdown()))
				}
			}
		}
	}
	var wrong, unclear, good []string
	most := math.Inf(-1)
	for _, m := range sortedKeys(logs) {
		i, enough := stats.Paired(logs[m], pairConfidence)
		est, lo, hi := math.Expm1(i.Estimate), math.Expm1(i.Lo), math.Expm1(i.Hi)
		most = max(most, est)
		text := fmt.Sprintf("%s: a burst slows it by %+.0f %% more in three clusters than in one (%+.0f to %+.0f %%, %d pairs)", m, 100*est, 100*lo, 100*hi, i.N)
		switch {
		case !enough || i.N < minPairs:
			unclear = append(unclear, fmt.Sprintf("%s; %d pairs are missing for a verdict, sim run %s --pairs %d", text, minPairs-i.N, j.s.Name, minPairs))
		case lo > cmp.Tolerance:
			wrong = append(wrong, text)
		case hi > cmp.Tolerance:
			unclear = append(unclear, fmt.Sprintf("%s; more pairs have to tell whether it is above the tolerance of %.0f %%", text, 100*cmp.Tolerance))
		default:
			good = append(good, text)
		}
	}
	if !math.IsInf(most, 0) {
		c.Value = &most
	}
	said := strings.Join(slices.Concat(wrong, unclear, good, notes), "; ")
	switch {
	case len(logs) == 0:
		return c.set(Inconclusive, "no pair is whole, %d are needed: %s", minPairs, said)
	case len(wrong) > 0:
		return c.set(Fail, "%s", said)
	case len(unclear) > 0:
		return c.set(Inconclusive, "%s", said)
	}
	return c.set(Pass, "%s", said)
}

// pairs gathers the repetitions: those told by events, and the run's own. notes say which of them tell nothing.
func (j *judge) pairs() (pairs map[int]map[string]map[string]Neighbour, notes []string) {
	pairs = map[int]map[string]map[string]Neighbour{}
	put := func(n int, topology string, figures []Neighbour) {
		if pairs[n] == nil {
			pairs[n] = map[string]map[string]Neighbour{}
		}
		by := map[string]Neighbour{}
		for _, f := range figures {
			if f.Before > 0 && f.During > 0 {
				by[f.Metric] = f
			}
		}
		pairs[n][topology] = by
	}
	for _, e := range j.r.Events {
		n, err := strconv.Atoi(e.Attrs["pair"])
		if err != nil {
			continue
		}
		switch {
		case e.Kind == evidence.EventTopology:
			switch own, why := j.neighbours(); {
			case e.State != evidence.TopologyCapped:
				notes = append(notes, fmt.Sprintf("pair %d, %s: no caps: %s", n, e.Name, e.Detail))
			case why != "":
				notes = append(notes, fmt.Sprintf("pair %d, %s: %s", n, e.Name, why))
			default:
				put(n, e.Name, own)
			}
		case e.Kind == evidence.EventPair && e.State != evidence.PairUsable:
			notes = append(notes, fmt.Sprintf("pair %d, %s (%s): %s", n, e.Name, e.Attrs["run"], e.Detail))
		case e.Kind == evidence.EventPair:
			put(n, e.Name, PairFigures(e))
		}
	}
	return pairs, notes
}

// PairEvent tells of a repetition in the evidence of a later one.
func PairEvent(run string, pair int, topology string, n []Neighbour, why string) evidence.Event {
	e := evidence.Event{Kind: evidence.EventPair, Name: topology, State: evidence.PairUsable, Detail: why, Attrs: map[string]string{"run": run, "pair": strconv.Itoa(pair)}}
	if why != "" {
		e.State = evidence.PairUnusable
	}
	for _, x := range n {
		e.Attrs[pairPrefix+strings.ReplaceAll(x.Metric, " ", "_")] = strconv.FormatFloat(x.Before, 'g', -1, 64) + "/" + strconv.FormatFloat(x.During, 'g', -1, 64)
	}
	return e
}

// pairPrefix stands before the figures among the attributes of a pair's event.
const pairPrefix = "figure."

// PairFigures reads them again.
func PairFigures(e evidence.Event) []Neighbour {
	var out []Neighbour
	for _, k := range sortedKeys(e.Attrs) {
		m, ok := strings.CutPrefix(k, pairPrefix)
		if !ok {
			continue
		}
		before, during, _ := strings.Cut(e.Attrs[k], "/")
		b, err1 := strconv.ParseFloat(before, 64)
		d, err2 := strconv.ParseFloat(during, 64)
		if err1 == nil && err2 == nil {
			out = append(out, Neighbour{strings.ReplaceAll(m, "_", " "), b, d})
		}
	}
	return out
}
