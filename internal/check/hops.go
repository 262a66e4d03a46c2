package check

import (
	"math"
	"slices"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

// loss is what is known of the loss of a hop.
type loss struct {
	lo, hi    float64
	value     *float64 // a single figure, proven or guessed
	certainty string
}

// loss adds up parts of the path from the ledger to Kafka.
func (at *attribution) loss(vars []int) loss {
	lo, hi := at.sys.bounds(vars)
	l := loss{lo: lo, hi: hi, certainty: Bounded}
	if lo == hi {
		l.value, l.certainty = &lo, ExactC
		return l
	}
	if lo, hi := at.guessed.bounds(vars); lo == hi {
		l.value, l.certainty = &lo, Inferred
	}
	return l
}

// sinkLoss is the same for the two hops behind Kafka.
func (at *attribution) sinkLoss(hop string) loss {
	k := &at.sink
	v := k.sink
	if hop == "search" {
		v = k.search
	}
	l := loss{lo: k.sys.lo[v], hi: k.sys.hi[v], certainty: Bounded}
	switch {
	case l.lo == l.hi:
		l.value, l.certainty = &l.lo, ExactC
	case k.guess == hop:
		l.value, l.certainty = &l.hi, Inferred
	case k.guess != "":
		l.value, l.certainty = &l.lo, Inferred
	}
	return l
}

func (h *Hop) setLoss(l loss) {
	h.Certainty = l.certainty
	if l.value != nil {
		h.Lost = new(uint64(math.Round(*l.value)))
	}
	if l.certainty != ExactC {
		h.LostMin = new(uint64(math.Ceil(l.lo)))
		h.LostMax = new(uint64(math.Floor(l.hi)))
	}
}

// hops are the accounts of the six hops in the order of the path.
func (at *attribution) hops(r *evidence.Run, a *account) []Hop {
	var total Counts
	for _, s := range a.streams {
		total.add(s.counts())
	}
	drained := drainState(r) == "done"
	settled := drained && total.Lost == 0 && total.Unknown == 0
	var out []Hop
	for _, name := range scenario.HopNames {
		h := Hop{Name: name, Certainty: ExactC, Evidence: []string{}}
		if settled {
			h.Buffered = new(uint64(0)) // everything is accounted for behind it
		}
		switch name {
		case "generate":
			h.In, h.Out, h.Lost, h.Duplicated = new(total.Attempted), new(total.Acknowledged), new(uint64(0)), new(uint64(0))
			h.Evidence = append(h.Evidence, "ledgers of the generators, before and after each write")
		case "collect", "forward", "broker":
			at.pathHop(&h)
		case "sink":
			h.In = new(total.SeenKafka)
			h.setLoss(at.sinkLoss(name))
			h.DeadLettered = new(total.DeadLettered)
			if h.Lost != nil && h.Certainty == ExactC {
				h.Out = new(total.SeenKafka - *h.Lost - total.DeadLettered)
			}
			h.Duplicated = at.sink.rewrite
			h.Evidence = append(h.Evidence, append([]string{"Kafka observer", "dead-letter observer"}, at.sink.notes...)...)
		case "search":
			h.setLoss(at.sinkLoss(name))
			h.Out, h.Duplicated = new(total.Seen), new(total.VisibleDup)
			if h.Lost != nil && h.Certainty == ExactC {
				h.In = new(total.Seen + *h.Lost)
			}
			h.Evidence = append(h.Evidence, "final reconciliation of the store")
		}
		out = append(out, h)
	}
	return out
}

// pathHop fills a hop between the ledger and Kafka: what entered it, less what it lost, left it.
func (at *attribution) pathHop(h *Hop) {
	part := map[string]int{"collect": partAgent, "forward": partFwd, "broker": partBroker}[h.Name]
	all := func(*group) bool { return true }
	parts := []int{part}
	if h.Name == "collect" {
		parts = []int{partFile, partAgent}
	}
	here := at.loss(at.vars(all, parts...))
	h.setLoss(here)
	// What is lost behind this hop came out of it. Unknown records that never arrived may have got lost anywhere.
	var arrived, away uint64
	var behind []int
	for _, g := range at.groups {
		if g.vars[part] < 0 {
			continue
		}
		arrived += g.arrived
		away += g.unknownAway
		for p := part + 1; p <= partBroker; p++ {
			behind = append(behind, g.vars[p])
		}
	}
	if rest := at.loss(behind); away == 0 && rest.certainty == ExactC {
		out := arrived + uint64(*rest.value)
		h.Out = &out
		if here.certainty == ExactC {
			h.In = new(out + uint64(*here.value))
		}
	}
	var dup uint64
	for _, g := range at.groups {
		dup += g.dup
	}
	switch {
	case h.Name == "broker":
		h.Duplicated = new(dup)
		h.Evidence = append(h.Evidence, "Kafka observer reading every partition")
	case dup == 0:
		h.Duplicated = new(uint64(0))
	case h.Name == "collect":
		h.Duplicated = at.resentIn
	case h.Name == "forward":
		h.Duplicated = at.resentBy
	}
	h.Evidence = append(h.Evidence, at.notes[h.Name]...)
}

// nameHops says for each range of lost records in which hop it was, when only one can be.
func (at *attribution) nameHops(segs []Segment, a *account) {
	for i := range segs {
		for k := range segs[i].Ranges {
			g := &segs[i].Ranges[k]
			s := a.byID[g.Stream]
			switch segs[i].Name {
			case segLedgerKafka:
				g.Hop = at.only(s)
			case segKafkaSearch:
				for _, h := range segs[i].Hops {
					if l := at.sinkLoss(h); l.value != nil && *l.value > 0 {
						if other := at.sinkLoss(segs[i].Hops[1-slices.Index(segs[i].Hops, h)]); other.value != nil && *other.value == 0 {
							g.Hop = h
						}
					}
				}
			}
		}
	}
}

// only is the one hop in which the stream's group lost records; empty when there may be more than one.
func (at *attribution) only(s *streamAccount) string {
	hop := ""
	for _, g := range at.groups {
		if g.source != s.Source || g.enter != s.Enter {
			continue
		}
		byHop := map[string][]int{}
		for p, v := range g.vars {
			if v >= 0 {
				byHop[partHops[p]] = append(byHop[partHops[p]], v)
			}
		}
		for h, vars := range byHop {
			if _, hi := at.guessed.bounds(vars); hi == 0 {
				continue
			}
			if hop != "" {
				return ""
			}
			hop = h
		}
	}
	return hop
}

// drainState is the last state of the drain: begin, done, deadline or empty.
func drainState(r *evidence.Run) string {
	state := ""
	for _, e := range r.Events {
		if e.Kind == evidence.EventDrain {
			state = e.State
		}
	}
	return state
}
