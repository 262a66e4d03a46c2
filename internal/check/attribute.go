package check

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"triad/internal/evidence"
)

// Parts of the path between the ledger and Kafka in which a record can get lost. The first two are one hop (collect),
// but a file that was rotated away before it was read is not the agent's buffer.
const (
	partFile   = iota // written, and never read from the file
	partAgent         // read, and never in the aggregator
	partFwd           // in the aggregator, and never in Kafka
	partBroker        // acknowledged by Kafka, and not readable
)

var partHops = [...]string{"collect", "collect", "forward", "broker"}

// Components whose counters tell what happens inside a hop.
const (
	compAgent      = "fluent-bit"
	compAggregator = "fluentd"
	compSink       = "connect"
)

// group is the streams of one source that enter at the same place.
type group struct {
	source, topic, enter                string
	acked, unknownSeen, unknownAway     uint64
	arrived, lost, dup, foreign, unread uint64
	vars                                [4]int // index of its loss in each part; -1 where it does not pass
}

// attribution says in which hop records got lost.
type attribution struct {
	groups []*group
	sys    system
	notes  map[string][]string // by hop: the evidence
	// guessed is the system with what the numbers leave open filled by rules of thumb.
	guessed  system
	resentIn *uint64 // records that the aggregator took twice from the agent
	resentBy *uint64 // records that the aggregator produced twice

	sink struct {
		sys     system
		sink    int
		search  int
		guess   string // hop that rule of thumb names; empty: none
		rewrite *uint64
		notes   []string
	}
}

func fl(n uint64) float64 { return float64(n) }

// attribute narrows the losses of both segments down to hops.
func attribute(r *evidence.Run, a *account, c *counters) *attribution {
	at := &attribution{notes: map[string][]string{}}
	unread := unreadable(r, evidence.PointKafka)
	byKey := map[string]*group{}
	for _, s := range a.streams {
		k := s.Source + "/" + s.Enter
		g := byKey[k]
		if g == nil {
			g = &group{source: s.Source, topic: s.Topic, enter: s.Enter, unread: unread[s.Topic]}
			byKey[k] = g
			at.groups = append(at.groups, g)
		}
		g.acked += s.acked.Len()
		g.unknownAway += s.unknownAway.Len()
		g.unknownSeen += s.unknown.Len() - s.unknownAway.Len()
		g.arrived += s.arrivedKafka.Len()
		g.lost += s.lostKafka.Len()
		g.dup += s.kafka.dupN
		g.foreign += s.kafka.foreignN
	}
	for _, g := range at.groups {
		g.vars = [4]int{-1, -1, -1, -1}
		var path []int
		first := map[string]int{"file": partFile, "forward": partFwd, "kafka": partBroker}[g.enter]
		for p := first; p <= partBroker; p++ {
			g.vars[p] = at.sys.unknown(fl(g.lost))
			path = append(path, g.vars[p])
		}
		at.sys.know(path, fl(g.lost), fl(g.lost), "")
	}
	at.sys.groups = len(at.sys.facts)
	// Counters are read every few seconds and once more in the end, and some are refreshed every two, so only those of a run that waited for
	// its last records have counted them.
	if d := drainState(r); !r.CutShort() && (d == "done" || d == "deadline") && r.Seal.Interrupted == "" {
		at.brokerFacts(r, c)
		at.agentFacts(c)
	} else {
		c = newCounters(r.Header.Created)
		at.note("collect", "the run did not wait for its last records, so counters bound nothing")
	}
	at.narrow()
	at.guess(r, c)
	at.attributeSink(r, a, c)
	return at
}

// unreadable is the number of records without a readable tag by topic, as a point saw them.
func unreadable(r *evidence.Run, point string) map[string]uint64 {
	return counted(r, evidence.EventUnreadable, func(p string) bool { return p == point || p == "" })
}

// nodeMetrics is the number of records that are figures of nodes, by topic, as the observers of Kafka saw them.
func nodeMetrics(r *evidence.Run) map[string]uint64 {
	return counted(r, evidence.EventNodeMetrics, func(p string) bool { return p == evidence.PointKafka })
}

// counted is what observers of some points counted of a kind, by topic: each of them its own.
func counted(r *evidence.Run, kind string, at func(point string) bool) map[string]uint64 {
	by, out := map[[2]string]uint64{}, map[string]uint64{}
	for _, e := range r.Events {
		if e.Kind == kind && at(e.Attrs["point"]) {
			var n uint64
			fmt.Sscan(e.Attrs["count"], &n)
			key := [2]string{e.Attrs["topic"], e.Attrs["observer"]}
			by[key] = max(by[key], n) // the count is cumulative; the last is the largest
		}
	}
	for key, n := range by {
		out[key[0]] += n
	}
	return out
}

func (at *attribution) note(hop, format string, args ...any) {
	at.notes[hop] = append(at.notes[hop], fmt.Sprintf(format, args...))
}

// vars are the losses of a part over the groups that pick takes.
func (at *attribution) vars(pick func(*group) bool, parts ...int) []int {
	var out []int
	for _, g := range at.groups {
		for _, p := range parts {
			if g.vars[p] >= 0 && pick(g) {
				out = append(out, g.vars[p])
			}
		}
	}
	return out
}

func filed(g *group) bool     { return g.enter == "file" }
func forwarded(g *group) bool { return g.enter != "kafka" }

// sum adds up a figure over groups.
func (at *attribution) sum(pick func(*group) bool, f func(*group) uint64) float64 {
	var n uint64
	for _, g := range at.groups {
		if pick(g) {
			n += f(g)
		}
	}
	return float64(n)
}

// agentFacts are what the counters of the agent and the aggregator say.
func (at *attribution) agentFacts(c *counters) {
	perSource := false
	agentWhole := !c.restarted(compAgent) // after a restart the agent reads again and sends again, so its counters count twice
	for _, g := range at.groups {
		if !filed(g) {
			continue
		}
		// Read from the files. A record that is read twice shows as a duplicate in Kafka; a line without a tag is
		// counted here as well.
		read := c.increase("fluentbit_input_records_total", evidence.Labels{"name": g.source})
		perSource = perSource || read.known
		if read.known && agentWhole {
			hi := math.Inf(1)
			if g.unread == 0 {
				hi = fl(g.acked+g.unknownSeen+g.unknownAway+g.dup) - read.lo
			}
			at.sys.know([]int{g.vars[partFile]}, fl(g.acked+g.unknownSeen)-read.hi, hi, "read "+g.source)
			at.note("collect", "%s: %d acknowledged, %s read (%s)", g.source, g.acked, read, read.names[0])
		}
	}
	read := c.increase("fluentbit_input_records_total", nil)
	done := c.increase("fluentbit_output_proc_records_total", nil)
	emit := c.increase("fluentd_output_status_emit_records", nil)
	dropped := c.increase("fluentbit_output_dropped_records_total", nil)
	away := at.sum(filed, func(g *group) uint64 { return g.unknownAway })
	direct := at.sum(func(g *group) bool { return g.enter == "forward" }, func(g *group) uint64 { return g.acked + g.unknownSeen })
	if !perSource && read.known && agentWhole { // inputs without the names of the sources: together
		all := func(f func(*group) uint64) float64 { return at.sum(filed, f) }
		hi := math.Inf(1)
		if all(func(g *group) uint64 { return g.unread }) == 0 {
			hi = all(func(g *group) uint64 { return g.acked + g.unknownSeen + g.unknownAway + g.dup }) - read.lo
		}
		at.sys.know(at.vars(filed, partFile), all(func(g *group) uint64 { return g.acked + g.unknownSeen })-read.hi, hi, "read")
		at.note("collect", "%s read (%s)", read, read.names[0])
	}
	if dropped.known {
		at.note("collect", "%s counted as dropped (%s)", dropped, dropped.names[0])
	}
	if done.known {
		at.note("collect", "%s handed over and acknowledged (%s)", done, done.names[0])
	}
	if emit.known {
		at.note("forward", "%s taken into the buffers (%s)", emit, emit.names[0])
	}
	if !agentWhole {
		at.note("collect", "the agent restarted or was away: it reads and sends again, so its counters bound nothing")
	}
	if read.known && done.known && agentWhole {
		// Read and never acknowledged by the aggregator: lost here, unless the aggregator has it and only its
		// acknowledgement was lost.
		lo := 0.0
		if emit.known {
			lo = read.lo - done.hi - math.Max(0, emit.hi-direct-done.lo) - away
		}
		at.sys.know(at.vars(filed, partAgent), lo, read.hi-done.lo, "agent")
	}
	if emit.known && done.known && agentWhole && done.exact() && emit.exact() {
		n := uint64(math.Max(0, emit.lo-direct-done.lo))
		at.resentIn = &n
		if b := uint64(at.sum(forwarded, func(g *group) uint64 { return g.dup })); b >= n {
			b -= n
			at.resentBy = &b
		}
	}
	at.aggregatorFacts(c, emit, done, direct, agentWhole)
}

// aggregatorFacts are about what was in the aggregator and is not in Kafka.
func (at *attribution) aggregatorFacts(c *counters, emit, done increase, direct float64, agentWhole bool) {
	arrived := func(g *group) uint64 { return g.arrived }
	dup := at.sum(forwarded, func(g *group) uint64 { return g.dup })
	away := at.sum(forwarded, func(g *group) uint64 { return g.unknownAway })
	behind := at.vars(forwarded, partFwd, partBroker)
	lo, hi := 0.0, math.Inf(1)
	if done.known && agentWhole {
		lo = done.lo + direct - dup - at.sum(forwarded, arrived) - away
	}
	if emit.known {
		hi = emit.hi - at.sum(forwarded, arrived)
	}
	at.sys.know(behind, lo, hi, "aggregator")
	// When nothing was sent twice, each buffer's own count says the same for its source alone.
	once := emit.exact() && done.exact() && agentWhole && emit.lo == done.lo+direct && dup == 0
	bySource := map[string][]*group{}
	for _, g := range at.groups {
		if forwarded(g) {
			bySource[g.source] = append(bySource[g.source], g)
		}
	}
	for _, src := range slices.Sorted(maps.Keys(bySource)) {
		gs := bySource[src]
		e := c.increase("fluentd_output_status_emit_records", evidence.Labels{"plugin_id": aggregatorOutput(src)})
		if !e.known {
			continue
		}
		var vars []int
		var in, gone float64
		for _, g := range gs {
			vars = append(vars, g.vars[partFwd], g.vars[partBroker])
			in += fl(g.arrived)
			gone += fl(g.unknownAway)
		}
		lo := 0.0
		if once {
			lo = e.lo - in - gone
		}
		at.sys.know(vars, lo, e.hi-in, "aggregator "+src)
	}
}

// brokerFacts are what the brokers' own count of appended records says.
func (at *attribution) brokerFacts(r *evidence.Run, c *counters) {
	resent := c.increase("fluentd_output_status_rollback_count", nil)
	figures := nodeMetrics(r)
	bySource := map[string][]*group{}
	for _, g := range at.groups {
		bySource[g.source] = append(bySource[g.source], g)
	}
	for _, src := range slices.Sorted(maps.Keys(bySource)) { // in the same order whenever it is judged
		gs := bySource[src]
		in := c.increase("kafka_server_brokertopicmetrics_messagesin_total", evidence.Labels{"topic": gs[0].topic})
		if !in.known {
			continue
		}
		var vars []int
		seen, foreign, dup := fl(gs[0].unread), uint64(0), uint64(0)
		for _, g := range gs {
			vars = append(vars, g.vars[partBroker])
			seen += fl(g.arrived + g.dup)
			foreign += g.foreign
			dup += g.dup
		}
		at.note("broker", "%s: %s appended, %.0f read (%s)", gs[0].topic, in, seen, in.names[0])
		if foreign > 0 {
			continue // which topic they were counted in is not known here
		}
		if n := figures[gs[0].topic]; n > 0 {
			at.note("broker", "%s: %d records are figures of nodes, which go on coming, so the brokers' count bounds nothing", gs[0].topic, n)
			continue
		}
		lo := 0.0
		if dup == 0 && resent.known && resent.hi == 0 {
			lo = in.lo - seen // each append was another record, so what cannot be read is a record
		}
		at.sys.know(vars, lo, in.hi-seen, "broker "+gs[0].topic)
	}
}

// String prints an increase as a number or as bounds.
func (i increase) String() string {
	switch {
	case !i.known:
		return "unknown"
	case i.exact():
		return fmt.Sprintf("%.0f", i.lo)
	case math.IsInf(i.hi, 1):
		return fmt.Sprintf("at least %.0f", i.lo)
	}
	return fmt.Sprintf("%.0f to %.0f", i.lo, i.hi)
}

// narrow solves the system. When counters contradict the exact account, one of them is left out if that is enough, else
// more and more of them, the last added first: the brokers' figures are closer to an observation point than the agent's.
func (at *attribution) narrow() {
	try := at.sys.clone()
	if try.narrow() {
		at.sys = try
		return
	}
	for k := len(at.sys.facts) - 1; k >= at.sys.groups; k-- {
		one := at.sys.clone()
		one.facts = slices.Delete(one.facts, k, k+1)
		if one.narrow() {
			at.leftOut(at.sys.facts[k])
			at.sys = one
			return
		}
	}
	for len(at.sys.facts) > at.sys.groups {
		last := len(at.sys.facts) - 1
		at.leftOut(at.sys.facts[last])
		at.sys.facts = at.sys.facts[:last]
		try := at.sys.clone()
		if try.narrow() {
			at.sys = try
			return
		}
	}
}

func (at *attribution) leftOut(f fact) {
	for _, v := range f.vars {
		for _, g := range at.groups {
			for p, gv := range g.vars {
				if gv == v {
					at.noteOnce(partHops[p], "a counter contradicts the exact account and was left out ("+f.why+")")
				}
			}
		}
	}
}

func (at *attribution) noteOnce(hop, s string) {
	if !slices.Contains(at.notes[hop], s) {
		at.notes[hop] = append(at.notes[hop], s)
	}
}

// guess fills what the numbers leave open, and says so: certainty "inferred".
func (at *attribution) guess(r *evidence.Run, c *counters) {
	at.guessed = at.sys.clone()
	open := func() bool {
		for v := range at.guessed.lo {
			if at.guessed.lo[v] != at.guessed.hi[v] {
				return true
			}
		}
		return false
	}
	assume := func(hop, why string, vars []int) {
		try := at.guessed.clone()
		changed := false
		for _, v := range vars {
			if try.hi[v] > 0 && try.lo[v] == 0 {
				try.hi[v], changed = 0, true
			}
		}
		if changed && try.narrow() {
			at.guessed = try
			at.noteOnce(hop, why)
		}
	}
	assume("broker", "assumed: what Kafka acknowledged to all in-sync replicas is kept; no broker counter says otherwise", at.vars(forwarded, partBroker))
	agent, aggregator := c.restarted(compAgent) || restartEvent(r, compAgent), c.restarted(compAggregator) || restartEvent(r, compAggregator)
	if open() && agent != aggregator {
		if agent {
			assume("forward", "assumed: lost in the agent, which restarted, not in the aggregator, which did not", at.vars(forwarded, partFwd))
		} else {
			assume("collect", "assumed: lost in the aggregator, which restarted, not in the agent, which did not", at.vars(filed, partFile, partAgent))
		}
	}
}

// restartEvent reports whether a component restarted as its API server tells, or was killed by the harness.
func restartEvent(r *evidence.Run, component string) bool {
	for _, e := range r.Events {
		if e.Kind == evidence.EventRestart && e.Name == component {
			return true
		}
		if e.Kind == evidence.EventFault && e.State == evidence.FaultBit {
			for _, f := range r.Scenario.Faults {
				if f.Name == e.Name && f.Kind == "forwarder-kill" && f.Target == component {
					return true
				}
			}
		}
	}
	return false
}

// attributeSink does the same between Kafka and the store. Connect counts what it read and what it handed to its
// connector, and no counter says what the store took. Both are of all topics together, so what was read of topics in which others' records
// are is taken off; of the run's own records in such a topic the counters then say nothing.
func (at *attribution) attributeSink(r *evidence.Run, a *account, c *counters) {
	k := &at.sink
	read := c.increase("kafka_connect_sink_task_sink_record_read_total", nil)
	sent := c.increase("kafka_connect_sink_task_sink_record_send_total", nil)
	told := []increase{read, sent}
	ours, figures := map[string]bool{}, nodeMetrics(r)
	for _, s := range a.streams {
		ours[strings.ReplaceAll(s.Topic, ".", "_")] = figures[s.Topic] == 0 // as the consumer names it
	}
	others := c.increaseOf(consumedSeries, func(l evidence.Labels) bool { return !ours[l["topic"]] })
	refused := false // what others' records the sink skips is a dead letter without a tag
	for topic, n := range unreadable(r, evidence.PointKafka) {
		_, here := ours[strings.ReplaceAll(topic, ".", "_")]
		refused = refused || !here && n > 0
	}
	if others.known && others.hi > 0 {
		read, sent = lessOthers(read, sent, others, c.increase(consumedSeries, nil), refused)
	} else {
		others = increase{}
		for t := range ours {
			ours[t] = true
		}
	}
	var lost, open, arrived, dup, stored, dead, foreign uint64
	for _, s := range a.streams {
		lost += s.lostSearch.Len()
		foreign += s.kafka.foreignN
		if !ours[strings.ReplaceAll(s.Topic, ".", "_")] {
			open += s.lostSearch.Len()
			continue
		}
		arrived += s.arrivedKafka.Len()
		dup += s.kafka.dupN
		stored += s.arrivedSearch.Len()
		dead += s.deadOnly.Len()
	}
	k.sink, k.search = k.sys.unknown(fl(lost)), k.sys.unknown(fl(lost))
	k.sys.know([]int{k.sink, k.search}, fl(lost), fl(lost), "")
	k.sys.groups = 1
	skipped := c.increase("kafka_connect_task_error_total_records_skipped", nil)
	failed := c.increase("kafka_connect_task_error_total_record_failures", nil)
	for _, i := range append(told, skipped, failed) {
		if i.known {
			k.notes = append(k.notes, fmt.Sprintf("%s %s", i, i.names[0]))
		}
	}
	if others.known {
		k.notes = append(k.notes, fmt.Sprintf("%s of them in topics that hold others' records (%s)", others, consumedSeries))
	}
	whole := !c.restarted(compSink)
	if whole && read.known {
		k.sys.know([]int{k.sink}, fl(arrived)-read.hi, math.Inf(1), "read by the sink")
	}
	if whole && sent.known {
		k.sys.know([]int{k.sink}, fl(arrived)-sent.hi-fl(dead), math.Inf(1), "sent by the sink")
		k.sys.know([]int{k.search}, 0, sent.hi-fl(stored)+fl(open), "sent by the sink")
	}
	if whole && skipped.known && dup == 0 && (!others.known || !refused) {
		k.sys.know([]int{k.sink}, skipped.lo-fl(dead), math.Inf(1), "skipped by the sink")
	}
	try := k.sys.clone()
	if try.narrow() {
		k.sys = try
	} else {
		k.notes = append(k.notes, "a counter contradicts the exact account; none is used")
	}
	if whole && sent.exact() && foreign == 0 {
		if n := sent.lo - fl(arrived+dup); n >= 0 {
			v := uint64(n)
			k.rewrite = &v
		}
	}
	if k.sys.lo[k.sink] == k.sys.hi[k.sink] {
		return
	}
	switch {
	case failed.known && failed.lo > 0 || skipped.known && skipped.lo > 0:
		k.guess = "sink"
		k.notes = append(k.notes, "assumed: lost in the sink, which counted record failures")
	case whole && sent.known && open == 0 && sent.lo >= fl(arrived):
		k.guess = "search"
		k.notes = append(k.notes, "assumed: lost behind the sink, which handed every record on and counted no failure")
	}
}

// lessOthers takes what a sink read of others' topics off what it read and sent in all. Only where its consumers, topic by topic, add up to what
// its tasks read do the two belong to one moment; else all that is left is that the run's records are no more than all. refused says that what was
// read and not sent may be others'.
func lessOthers(read, sent, others, all increase, refused bool) (increase, increase) {
	if !all.exact() || !read.exact() || all.lo != read.lo {
		read.lo, sent.lo = 0, 0
		return read, sent
	}
	unsent := 0.0
	if refused {
		unsent = math.Max(read.lo-sent.lo, 0)
	}
	read.lo, read.hi = read.lo-others.lo, read.hi-others.lo
	sent.lo, sent.hi = math.Max(sent.lo-others.lo, 0), sent.hi-others.lo+unsent
	return read, sent
}
