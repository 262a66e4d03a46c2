package check

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

// judge holds everything that is read from a run directory, once.
type judge struct {
	r      *evidence.Run
	s      *scenario.Scenario
	acc    *account
	ser    *series
	lat    *latencies
	att    *attribution
	total  Counts
	segs   []Segment
	faults []*faultState
	late   map[string]string // phases in which the generator was late, and how
	busy   map[string]string // phases in which the machine was saturated, and how
	rec    *recovery
	fills  []fill
	infl   []Influence
	// capacity is nil when the run is no try of a search.
	capacity *Capacity
	trends   []Trend
	clocks   map[string]*clock // by cluster; none: the harness's own
	gaps     []Span            // in which nobody watched, because the harness was dead
}

// judged is a check with what its verdict depends on.
type judged struct {
	Check
	files    []string // evidence that it rests on, by prefix
	onFaults bool     // it says something about the faults
	phases   []string // phases whose timing it rests on; nil: none
	ownGaps  bool     // it knows itself what of it rests on a gap
	interim  bool     // a fail could still have become a pass had the run gone on
}

func (c *judged) set(v Verdict, format string, args ...any) *judged {
	c.Verdict, c.Detail = v, fmt.Sprintf(format, args...)
	return c
}

func (c *judged) skip(why string) *judged { return c.set(Skipped, "%s", why) }

// Judge reads a run directory and gives its verdict. now is written into the result and influences nothing else. The
// error is for evidence that leaves nothing to judge; damage is part of the result.
func Judge(r *evidence.Run, now time.Time) (*Result, error) {
	j, err := newJudge(r)
	if err != nil {
		return nil, err
	}
	j.rec = newRecovery(j)
	j.fills = newFills(j)
	j.infl = newInfluence(j)
	j.capacity = newCapacity(j)
	if j.judgesTrends() {
		j.trends = newTrends(j)
	}
	checks := j.checks()
	res := j.result(now)
	for _, c := range checks {
		res.Checks = append(res.Checks, c.Check)
	}
	j.verdict(res)
	return res, nil
}

// newJudge reads what every figure rests on: the account, the series, the faults, and the phases that the harness spoilt.
func newJudge(r *evidence.Run) (*judge, error) {
	j := &judge{r: r, s: r.Scenario, late: map[string]string{}, busy: map[string]string{}}
	var err error
	if j.acc, err = newAccount(r, j.hasStore()); err != nil {
		return nil, err
	}
	j.ser, j.lat, j.clocks = newSeries(r), newLatencies(r), newClocks(r)
	j.faults = newFaults(r)
	j.gaps = gapsOf(r)
	j.att = attribute(r, j.acc, j.ser.counters)
	j.account()
	j.timing()
	return j, nil
}

// account fills totals and segments.
func (j *judge) account() {
	j.total = j.acc.total()
	for _, n := range unreadable(j.r, evidence.PointKafka) {
		j.total.Unreadable += n
	}
	j.total.ForeignRun = foreignRun(j.r)
	if n := j.att.sink.rewrite; n != nil {
		j.total.SinkRewrite = *n
	}
	j.segs = j.acc.segments()
	for i := range j.segs {
		switch j.segs[i].Name {
		case segLedgerKafka:
			j.segs[i].Ranges = j.acc.longest(j.r, lostInKafka)
			j.segs[i].Duplicates = j.acc.longest(j.r, dupInKafka)
		case segKafkaSearch:
			j.segs[i].Ranges = j.acc.longest(j.r, lostInSearch)
			j.segs[i].Duplicates = j.acc.longest(j.r, dupInSearch)
		}
	}
	if !j.hasStore() {
		j.segs = j.segs[:2]
	}
	j.att.nameHops(j.segs, j.acc)
}

// foreignRun is the number of records of other runs seen, at the point that saw most.
func foreignRun(r *evidence.Run) uint64 {
	points := map[string]bool{}
	for _, e := range r.Events {
		if e.Kind == evidence.EventForeignRun {
			points[e.Attrs["point"]] = true
		}
	}
	var most uint64
	for point := range points {
		var n uint64
		for _, x := range counted(r, evidence.EventForeignRun, func(p string) bool { return p == point }) {
			n += x
		}
		most = max(most, n)
	}
	return most
}

// short says why the run ended early; empty when it ran to its end.
func (j *judge) short() string {
	switch {
	case j.r.CutShort():
		return "the run was cut short: its evidence was never closed"
	case j.r.Seal.Interrupted != "":
		return "the run ended early: " + j.r.Seal.Interrupted
	}
	return ""
}

// hasStore reports whether the run has a store to look into: it is not declared absent or skipped.
func (j *judge) hasStore() bool {
	for _, c := range j.r.Header.Components {
		if c.Name == "elasticsearch" && c.Fidelity == evidence.Absent {
			return false
		}
	}
	return j.skipped(evidence.PointSearch) == ""
}

// skipped is the reason of a skip event of that name; empty when there is none.
func (j *judge) skipped(what string) string {
	for _, e := range j.r.Events {
		if e.Kind == evidence.EventSkip && e.Name == what {
			if e.Detail == "" {
				return "skipped"
			}
			return e.Detail
		}
	}
	return ""
}

// kinds are the checks in the order of the catalogue. A function returns nil when the check does not apply to the run.
var kinds = map[string]func(*judge) *judged{
	"evidence": evidenceCheck, "load": loadCheck, "faults": faultsCheck, "loss": lossCheck, "duplicates": duplicatesCheck,
	"corruption": corruptionCheck, "order": orderCheck, "isolation": isolationCheck, "phantom": phantomCheck, "saturation": saturationCheck,
	"recovery": recoveryCheck, "fault-isolation": faultIsolationCheck, "services-unaffected": servicesCheck, "horizon": horizonCheck,
	"capacity": capacityCheck, "trend": trendCheck, "baseline": baselineCheck, "metrics-continuity": metricsCheck, "security-isolation": securityCheck, "one-view": oneViewCheck, "alerts": alertsCheck,
	"performance-isolation": performanceCheck, "scalability": scalabilityCheck, "purge": purgeCheck, "rollback": rollbackCheck,
}

// checks judges everything, then applies what verdicts depend on.
func (j *judge) checks() []*judged {
	var out []*judged
	rests := j.rests()
	for _, k := range scenario.Checks {
		c := kinds[k.Name](j)
		if c == nil && slices.Contains(j.s.Requires, k.Name) {
			c = (&judged{}).skip("the run has no evidence about it")
		}
		if c == nil {
			continue
		}
		c.Name, c.Claim, c.Always = k.Name, k.ClaimIn(j.s), k.Always
		j.depend(c)
		if k.Name != "evidence" && k.Name != "load" && k.Name != "faults" {
			c.Rests = append(slices.Clip(rests), j.missing(k.Name)...)
		}
		out = append(out, c)
	}
	for _, text := range j.s.Thresholds {
		c := thresholdCheck(j, text)
		c.Name, c.Gate = text, true
		j.depend(c)
		c.Rests = rests
		out = append(out, c)
	}
	return out
}

// rests are the parts that were not real.
func (j *judge) rests() []string {
	var out []string
	for _, c := range j.r.Header.Components {
		if c.Fidelity == evidence.Model || c.Fidelity == evidence.StandIn {
			out = append(out, c.Cluster+"/"+c.Name+" ("+c.Fidelity+")")
		}
	}
	return out
}

// looksAt are the components that a check would look at or through, of those that a system can be without.
var looksAt = map[string][]string{
	"loss": {"elasticsearch"}, "duplicates": {"elasticsearch"}, "corruption": {"elasticsearch"}, "order": {"elasticsearch"}, "isolation": {"elasticsearch"},
	"phantom": {"elasticsearch"}, "recovery": {"elasticsearch"},
	"metrics-continuity": {"prometheus", "node-exporter"},
	"one-view":           {"grafana", "prometheus", "node-exporter"},
	"alerts":             {"alertmanager", "prometheus", "node-exporter"},
}

// missing are the absent components that a check would look at.
func (j *judge) missing(check string) []string {
	var out []string
	for _, c := range j.r.Header.Components {
		if c.Fidelity == evidence.Absent && slices.Contains(looksAt[check], c.Name) {
			out = append(out, c.Cluster+"/"+c.Name+" ("+c.Fidelity+")")
		}
	}
	return out
}

// depend changes a verdict when something that it depends on does not hold. The order matters: what was not done is
// skipped, before it is invalid, before it is inconclusive.
func (j *judge) depend(c *judged) {
	if why := j.skipped(c.Name); why != "" {
		c.skip(why)
		return
	}
	if c.Verdict == Skipped {
		return
	}
	if c.onFaults {
		skipped, unwatched, bad := j.unsound()
		switch {
		case len(skipped) > 0:
			c.skip("it depends on a fault that was skipped: " + strings.Join(skipped, "; "))
			return
		case len(bad) > 0 && j.short() == "":
			c.set(Invalid, "it depends on a fault: %s (else: %s)", strings.Join(bad, "; "), c.Detail)
			return
		case len(unwatched) > 0:
			c.set(Inconclusive, "it depends on a fault: %s (else: %s)", strings.Join(unwatched, "; "), c.Detail)
			return
		}
	}
	if why := j.gapIn(c); why != "" && (c.Verdict == Pass || c.Verdict == Fail) {
		c.set(Inconclusive, "%s (else: %s)", why, c.Detail)
		return
	}
	for _, p := range c.phases {
		if why := j.late[p]; why != "" {
			c.set(Invalid, "in phase %s %s (else: %s)", p, why, c.Detail)
			return
		}
		if why := j.busy[p]; why != "" {
			c.set(Invalid, "in phase %s %s (else: %s)", p, why, c.Detail)
			return
		}
	}
	if c.Verdict == Pass || c.Verdict == Fail && c.interim {
		if why := j.short(); why != "" && (c.interim || j.r.CutShort()) {
			c.set(Inconclusive, "%s (so far: %s)", why, c.Detail)
			return
		}
	}
	if d := j.damage(c.files); d != "" && (c.Verdict == Pass || c.Verdict == Fail && c.interim) {
		c.set(Inconclusive, "it rests on damaged evidence: %s (else: %s)", d, c.Detail)
	}
}

// damage is the first damage in a file that begins with one of the prefixes, or in what everything rests on.
func (j *judge) damage(files []string) string {
	for _, d := range j.r.Damage {
		for _, p := range append([]string{evidence.HeaderFile, evidence.ScenarioFile, evidence.SealFile}, files...) {
			if strings.HasPrefix(d.File, p) {
				return d.String()
			}
		}
	}
	return ""
}

// told is the account as it is told: what is absent from a point that was not read whole is not lost. What became of it is unknown.
func (j *judge) told() (segs []Segment, streams []StreamCount, total Counts) {
	segs, total = slices.Clone(j.segs), j.total
	open := map[string]bool{
		segLedgerKafka: j.incomplete(evidence.PointKafka) != "",
		segKafkaSearch: j.hasStore() && j.incomplete(evidence.PointSearch) != "",
	}
	for i := range segs {
		if s := &segs[i]; open[s.Name] {
			total.Lost -= s.Lost
			s.Unknown, s.Lost, s.Ranges = s.Unknown+s.Lost, 0, []Range{}
		}
	}
	streams = j.acc.unclean(func(s *streamAccount) (n uint64) {
		if open[segLedgerKafka] {
			n += s.lostKafka.Len()
		}
		if open[segKafkaSearch] {
			n += s.lostSearch.Len()
		}
		return n
	})
	return segs, streams, total
}

// result fills everything but checks and verdict.
func (j *judge) result(now time.Time) *Result {
	h := j.r.Header
	segs, streams, total := j.told()
	res := &Result{
		SchemaVersion: ResultSchema, Run: h.ID, Scenario: j.s.Name, Title: j.s.Title, Runtime: h.Runtime, Seed: h.Seed, Expected: j.s.Expect,
		Reasons: []string{}, Checks: []Check{}, Hops: j.att.hops(j.r, j.acc), Segments: segs, Streams: streams, Totals: total,
		Latency: j.crossed(j.lat.table()), Clocks: j.clockTable(), Recovery: j.rec.result(), Buffers: []BufferFill{}, Influence: j.infl, Faults: []Fault{}, Skipped: []Skip{},
		Limits: slices.Clone(h.Limits), Judged: now, Config: j.config(), Throughput: j.throughput(), Capacity: j.capacity, Trends: j.trends,
	}
	if res.Expected == "" {
		res.Expected = "pass"
	}
	if res.Limits == nil {
		res.Limits = []string{}
	}
	if res.Observing = j.observing(); res.Observing != nil {
		res.Limits = append(res.Limits, res.Observing.String())
	}
	for _, c := range res.Clocks {
		res.Limits = append(res.Limits, c.String())
	}
	if res.Influence == nil {
		res.Influence = []Influence{}
	}
	for _, f := range j.fills {
		res.Buffers = append(res.Buffers, f.BufferFill)
	}
	for _, f := range j.faults {
		res.Faults = append(res.Faults, f.result())
	}
	res.Restarts = newRestarts(j)
	for _, d := range j.r.Damage {
		res.Damage = append(res.Damage, d.String())
	}
	if j.r.Seal != nil {
		res.Interrupted = j.r.Seal.Interrupted
	}
	for _, e := range j.r.Events {
		if e.Kind == evidence.EventSkip {
			res.Skipped = append(res.Skipped, Skip{e.Name, e.Detail})
		}
	}
	if !j.hasStore() {
		res.Hops = res.Hops[:4]
	}
	if j.judgesTrends() {
		res.Intervals = j.intervals()
	}
	res.Resumed = j.resumed()
	return res
}

// rank orders verdicts; the highest of all checks is the run's.
var rank = map[Verdict]int{Pass: 0, Skipped: 0, Inconclusive: 1, Invalid: 2, Fail: 3}

// verdict gives the run its verdict, its reasons and one sentence.
func (j *judge) verdict(res *Result) {
	res.Verdict = Pass
	for _, c := range res.Checks {
		if rank[c.Verdict] > rank[res.Verdict] {
			res.Verdict = c.Verdict
		}
	}
	for _, v := range []Verdict{Fail, Invalid, Inconclusive} {
		for _, c := range res.Checks {
			if c.Verdict == v {
				res.Reasons = append(res.Reasons, fmt.Sprintf("%s: %s: %s", c.Name, c.Verdict, c.Detail))
			}
		}
	}
	for _, c := range res.Checks {
		if c.Verdict != Skipped {
			continue
		}
		if !slices.ContainsFunc(res.Skipped, func(s Skip) bool { return s.What == c.Name }) {
			res.Skipped = append(res.Skipped, Skip{c.Name, c.Detail})
		}
		if slices.Contains(j.s.Requires, c.Name) {
			if rank[res.Verdict] < rank[Inconclusive] {
				res.Verdict = Inconclusive
			}
			res.Reasons = append(res.Reasons, fmt.Sprintf("%s: skipped, and the scenario requires it: %s", c.Name, c.Detail))
		}
	}
	res.Summary = j.summary(res) + restartWords(res.Restarts)
}

// summary is one sentence without words of the trade.
func (j *judge) summary(res *Result) string {
	n := j.total.Acknowledged
	switch res.Verdict {
	case Pass:
		s := fmt.Sprintf("All %d log records that were written arrived in %s, none was damaged or misplaced", n, j.lastPlace())
		if j.total.DeadLettered > 0 {
			s = fmt.Sprintf("All %d log records that were written are accounted for; %d of them were set aside as unreadable by the search store", n, j.total.DeadLettered)
		} else if j.total.Lost > 0 {
			s = fmt.Sprintf("%d of %d log records were lost where the scenario allows it, none was damaged or misplaced", j.total.Lost, n)
		}
		if len(j.faults) > 0 {
			s += ", although " + j.faultWords()
		}
		if c := j.capacity; c != nil && c.Passed != nil && c.Failed != nil {
			return fmt.Sprintf("Up to %s records are carried as they should be, and %s are too many. %s.", number(*c.Passed, "/s"), number(*c.Failed, "/s"), s)
		}
		return s + "."
	case Fail:
		return fmt.Sprintf("The system did not keep its promise: %s.", firstOf(res, Fail))
	case Invalid:
		return fmt.Sprintf("This run proves nothing, because the test itself did not hold: %s.", firstOf(res, Invalid))
	}
	if len(res.Reasons) > 0 && !slices.ContainsFunc(res.Checks, func(c Check) bool { return c.Verdict == Inconclusive }) {
		return "There is not enough to judge by: " + res.Reasons[0] + "."
	}
	return fmt.Sprintf("There is not enough to judge by: %s.", firstOf(res, Inconclusive))
}

func firstOf(res *Result, v Verdict) string {
	for _, c := range res.Checks {
		if c.Verdict == v {
			return strings.TrimSuffix(c.Detail, ".")
		}
	}
	return "no reason recorded"
}

func (j *judge) lastPlace() string {
	if j.hasStore() {
		return "the search store"
	}
	return "Kafka"
}

func (j *judge) faultWords() string {
	if len(j.faults) == 1 {
		f := j.faults[0]
		if row, ok := scenario.FindFault(f.Kind); ok {
			return "this was done to it: " + row.Doc
		}
		return f.Name + " struck"
	}
	return fmt.Sprintf("%d faults struck", len(j.faults))
}
