package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/scenario"
)

// latencyGroup are the rows of one metric.
type latencyGroup struct {
	Name string
	Rows []latencyRow
}

type latencyRow struct {
	Source, Phase, Count string
	Figures              []string
}

// latency lists every metric by phase: over all sources first, and by source behind it.
func (p *page) latency(res *check.Result) {
	add := func(to *[]latencyGroup, l check.Latency) {
		name := metricName(l.Metric)
		if k := len(*to); k == 0 || (*to)[k-1].Name != name {
			*to = append(*to, latencyGroup{Name: name})
		}
		g := &(*to)[len(*to)-1]
		phase := l.Phase
		if phase == scenario.WarmUp {
			phase += " (not judged)"
		}
		g.Rows = append(g.Rows, latencyRow{l.Source, phase, count(l.Count), []string{
			interval(l.P50, l.P50Upper), interval(l.P90, l.P90Upper),
			interval(l.P99, l.P99Upper), interval(l.P999, l.P999Upper), interval(l.Max, l.MaxUpper),
		}})
	}
	sorted := slices.Clone(res.Latency)
	slices.SortStableFunc(sorted, func(a, b check.Latency) int { return metricRank(a.Metric) - metricRank(b.Metric) })
	for _, l := range sorted {
		switch {
		case l.Phase == check.PhaseAll || l.Source == "":
		case l.Source == check.PhaseAll:
			add(&p.Latency, l)
		default:
			add(&p.LatencyBy, l)
			p.LatencyRows++
		}
	}
	for _, g := range p.LatencyBy {
		order := map[string]int{}
		for _, r := range g.Rows {
			if _, ok := order[r.Source]; !ok {
				order[r.Source] = len(order)
			}
		}
		slices.SortStableFunc(g.Rows, func(a, b latencyRow) int { return order[a.Source] - order[b.Source] })
	}
}

type rangeRow struct{ What, Segment, Hop, Source, Stream, Records, Seqs, Due, Samples string }

// ranges lists the longest ranges of lost and duplicated records.
func (p *page) ranges(res *check.Result) {
	const each = 20
	all, listed := 0, 0
	for _, s := range res.Segments {
		all += len(s.Ranges)
		p.addRanges("lost", s.Name, s.Ranges[:min(len(s.Ranges), each)])
	}
	for _, s := range res.Segments {
		all += len(s.Duplicates)
		p.addRanges("duplicate", s.Name, s.Duplicates[:min(len(s.Duplicates), each)])
	}
	listed = len(p.Ranges)
	p.RangesCaption = fmt.Sprintf("%d %s", all, noteIf(all == 1, "range", "ranges"))
	if listed < all {
		p.RangesCaption = fmt.Sprintf("The %d longest of %d ranges; result.json has more", listed, all)
	}
	c := res.Totals
	var parts []string
	var unknown uint64
	for _, s := range res.Segments {
		if s.Name != "generate" {
			unknown += s.Unknown
		}
		if s.Lost > 0 {
			parts = append(parts, fmt.Sprintf("%s of %s records were lost between %s", count(s.Lost), count(s.In), segmentEnds[s.Name]))
		}
	}
	switch {
	case c.Acknowledged == 0:
		p.LossLead = "No record was acknowledged, so none could get lost."
	case len(parts) == 0 && unknown > 0:
		p.LossLead = fmt.Sprintf("No record is known to be lost; of %s written, what became of %s is not known.", count(c.Attempted), count(unknown))
	case len(parts) == 0:
		p.LossLead = fmt.Sprintf("No acknowledged record was lost: of %s written, %s are accounted for.", count(c.Acknowledged), count(c.Acknowledged))
	default:
		p.LossLead = strings.Join(parts, "; ") + "."
	}
}

func (p *page) addRanges(what, segment string, list []check.Range) {
	for _, g := range list {
		seqs := count(g.Lo)
		if g.Hi > g.Lo {
			seqs += " – " + count(g.Hi)
		}
		due := instant(g.From)
		if g.To > g.From {
			due += " – " + instant(g.To)
		}
		hop := g.Hop
		if hop == "" && what == "lost" {
			hop = "not told apart"
		}
		p.Ranges = append(p.Ranges, rangeRow{what, segmentName(segment), hop, g.Source, fmt.Sprint(g.Stream), count(g.Hi - g.Lo + 1), seqs, due, strings.Join(g.Samples, " ")})
	}
}

// classes are the totals by class.
func (p *page) classes(res *check.Result) {
	c := res.Totals
	for _, x := range []struct {
		name string
		n    uint64
		note string
		zero bool // worth saying when there are none
	}{
		{"scheduled", c.Scheduled, "in the schedule until sending stopped", true},
		{"attempted", c.Attempted, "the write was begun", true},
		{"acknowledged", c.Acknowledged, "the write returned without error", true},
		{"unknown", c.Unknown, "attempted, outcome not known; never counted as lost", false},
		{"dropped", c.Dropped, "due and never attempted by the generator", false},
		{"dropped by a fault", c.Frozen, "due and never attempted, because a declared fault froze the generator", false},
		{"seen in Kafka", c.SeenKafka, "different records", true},
		{"seen in the store", c.Seen, "different records, by the final reconciliation", true},
		{"dead-lettered", c.DeadLettered, "set aside by the sink", false},
		{"lost", c.Lost, "acknowledged and absent at the next observation point after the drain", true},
		{"broker duplicates", c.BrokerDup, "at two offsets", false},
		{"visible duplicates", c.VisibleDup, "in two documents", false},
		{"sink rewrites", c.SinkRewrite, "a document written again under the same id; nobody sees it", false},
		{"misordered", c.Misordered, "behind a later record of their stream and partition", false},
		{"corrupt", c.Corrupt, "other bytes than were sent", false},
		{"foreign", c.Foreign, "in a topic or index that is not their own", false},
		{"of other runs", c.ForeignRun, "seen and left out", false},
		{"phantom", c.Phantom, "arrived and never sent", false},
		{"unreadable", c.Unreadable, "lines without a readable tag", false},
	} {
		if x.n > 0 || x.zero {
			p.Classes = append(p.Classes, fact{x.name, count(x.n) + " – " + x.note})
		}
	}
}

type matrixRow struct {
	Fault string
	Cells []matrixCell
}

type matrixCell struct {
	Victim string
	Self   bool
	Rows   []influenceRow
}

type influenceRow struct {
	Verdict        check.Verdict
	Effect, Detail string
}

// matrix arranges the influences: a row for each suffering cluster, a column for each cluster.
func (p *page) matrix(res *check.Result) {
	if len(res.Influence) == 0 {
		return
	}
	p.Victims = slices.Clone(scenario.ClusterNames)
	var faults []string
	for _, x := range res.Influence {
		if !slices.Contains(p.Victims, x.Victim) {
			p.Victims = append(p.Victims, x.Victim)
		}
		if !slices.Contains(faults, x.Fault) {
			faults = append(faults, x.Fault)
		}
	}
	for _, f := range faults {
		row := matrixRow{Fault: f, Cells: make([]matrixCell, len(p.Victims))}
		for i, v := range p.Victims {
			row.Cells[i].Victim, row.Cells[i].Self = v, v == f
		}
		for _, x := range res.Influence {
			if x.Fault != f {
				continue
			}
			i := slices.Index(p.Victims, x.Victim)
			effect := "effect not known"
			if x.Effect != nil {
				effect = effectWords(*x.Effect)
			}
			detail := x.Detail
			if detail == "" {
				detail = x.Metric
			}
			row.Cells[i].Self = false
			row.Cells[i].Rows = append(row.Cells[i].Rows, influenceRow{x.Verdict, effect, detail})
		}
		p.Matrix = append(p.Matrix, row)
	}
}

type checkTable struct {
	First  string
	Claims bool
	Rows   []checkRow
}

type checkRow struct {
	Verdict              check.Verdict
	Name, Claim          string
	Code                 bool
	Value, Limit, Detail string
	Rests                string
}

// checks splits checks and thresholds.
func (p *page) checks(res *check.Result) {
	p.Checks, p.Thresholds = checkTable{First: "Check", Claims: true}, checkTable{First: "Threshold"}
	n := map[check.Verdict]int{}
	for _, c := range res.Checks {
		row := checkRow{Verdict: c.Verdict, Name: c.Name, Claim: c.Claim, Detail: c.Detail, Rests: restsWords(c.Rests)}
		if c.Value != nil {
			row.Value = quantity(*c.Value, c.Unit)
		}
		if c.Limit != nil {
			row.Limit = quantity(*c.Limit, c.Unit)
		}
		if c.Gate {
			row.Code = true
			p.Thresholds.Rows = append(p.Thresholds.Rows, row)
			continue
		}
		n[c.Verdict]++
		p.Checks.Rows = append(p.Checks.Rows, row)
	}
	var parts []string
	for _, v := range []check.Verdict{check.Fail, check.Invalid, check.Inconclusive, check.Pass, check.Skipped} {
		if n[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[v], v))
		}
	}
	p.ChecksLead = "The verdict of the run is the worst of its checks and thresholds. " + capital(strings.Join(parts, ", ")) + "."
	if len(parts) == 0 {
		p.ChecksLead = ""
	}
}

// restsWords names what a verdict rests on by how real it was, each component once; check.Check has them as
// cluster/name (fidelity).
func restsWords(rests []string) string {
	var order []string
	by := map[string][]string{}
	for _, r := range rests {
		name, how, ok := strings.Cut(r, " (")
		if !ok {
			how = "not real"
		}
		how = strings.TrimSuffix(how, ")")
		if _, part, ok := strings.Cut(name, "/"); ok {
			name = part
		}
		if by[how] == nil {
			order = append(order, how)
		}
		if !slices.Contains(by[how], name) {
			by[how] = append(by[how], name)
		}
	}
	var parts []string
	for _, how := range order {
		plural := ""
		if len(by[how]) > 1 && how != "not real" && how != evidence.Absent {
			plural = "s"
		}
		parts = append(parts, how+plural+": "+strings.Join(by[how], ", "))
	}
	return strings.Join(parts, "; ")
}

type faultRow struct {
	Number                                         int
	Name, Doc, Target, Injected, Bit, Healed, Gone string
	Hits, Detail                                   string
}

func (p *page) faults(res *check.Result) {
	for i, f := range res.Faults {
		row := faultRow{
			Number: i + 1, Name: f.Name, Target: f.Target, Injected: instantOr(f.InjectedAt), Bit: instantOr(f.BitAt), Healed: instantOr(f.HealedAt),
			Gone: instantOr(f.GoneAt), Hits: count(f.Hits), Detail: f.Detail,
		}
		if row.Target == "" {
			row.Target = f.Cluster
		}
		row.Target = strings.ReplaceAll(row.Target, "->", " → ")
		if k, ok := scenario.FindFault(f.Kind); ok {
			row.Doc = k.Doc
		}
		p.Faults = append(p.Faults, row)
	}
}

// restartRow is a restart that a reader must hear of.
type restartRow struct{ Where, Component, Between, How, Fault string }

func restartRows(res *check.Result) []restartRow {
	var out []restartRow
	for _, x := range res.Restarts {
		if !x.Told() {
			continue
		}
		row := restartRow{Where: x.Where(), Component: x.Component, How: x.How(), Fault: x.Fault}
		row.Between = instant(time.Duration(x.After)) + " to " + instant(time.Duration(x.At))
		if x.Finished != "" {
			row.How += ", at " + x.Finished
		}
		if row.Fault == "" {
			row.Fault = "no fault"
		}
		out = append(out, row)
	}
	return out
}

func (p *page) recovery(res *check.Result) {
	r := res.Recovery
	if len(res.Faults) == 0 || r.Noticed == nil && r.FirstGood == nil && r.Drained == nil && r.InBand == nil {
		return
	}
	p.Recovery = []tile{
		{Label: "Noticed", Value: spanOr(r.Noticed), Note: "after injection"},
		{Label: "First good record", Value: spanOr(r.FirstGood), Note: "after the fault was healed"},
		{Label: "Backlog drained", Value: spanOr(r.Drained), Note: "after the fault was healed"},
		{Label: "Back in the before-band", Value: spanOr(r.InBand), Note: "after the fault was healed"},
	}
	p.RecoveryFaults = recoveryRows(res)
	p.RecoveryLead = fmt.Sprintf("Four times, known to %s; back in band to %s.", span(time.Duration(r.Resolution)), span(time.Duration(r.InBandResolution))) + clockWords(r)
	if r.Fault != "" {
		p.RecoveryLead = fmt.Sprintf("The worst of %d faults, %s. ", len(r.Faults), r.Fault) + p.RecoveryLead
	}
	if r.DrainRate != nil {
		p.RecoveryLead += fmt.Sprintf(" The backlog shrank by %s records/s", number(*r.DrainRate))
		if r.LiveRate != nil {
			p.RecoveryLead += fmt.Sprintf(" beside a live rate of %s/s", number(*r.LiveRate))
		}
		p.RecoveryLead += "."
	}
	if r.PeakRate != nil {
		p.RecoveryLead += fmt.Sprintf(" The highest rate after the heal was %s/s.", number(*r.PeakRate))
	}
}

// recoveryRow is how the system came back after one of several faults.
type recoveryRow struct {
	Verdict                                    check.Verdict
	Number                                     int
	Fault, Noticed, FirstGood, Drained, InBand string
	Detail                                     string
	Worst                                      bool
}

func recoveryRows(res *check.Result) []recoveryRow {
	if len(res.Recovery.Faults) < 2 {
		return nil
	}
	number := map[string]int{}
	for i, f := range res.Faults {
		number[f.Name] = i + 1
	}
	var out []recoveryRow
	for _, x := range res.Recovery.Faults {
		row := recoveryRow{
			Verdict: x.Verdict, Number: number[x.Fault], Fault: x.Fault, Noticed: spanOr(x.Noticed), FirstGood: spanOr(x.FirstGood), Drained: spanOr(x.Drained), InBand: spanOr(x.InBand),
			Worst: x.Fault == res.Recovery.Fault,
		}
		switch {
		case x.Before != "" && x.AtLeast != nil && *x.AtLeast > 0:
			row.Detail = fmt.Sprintf("%s struck after %s, before it was back: the times are those of both", x.Before, spanOr(x.AtLeast))
		case x.Before != "":
			row.Detail = x.Before + " was acting still: the times are those of both"
		case x.Verdict != check.Pass:
			row.Detail = x.Detail
		}
		out = append(out, row)
	}
	return out
}

type bufferRow struct{ Hop, Component, Limit, Peak, Rate, Horizon, Certainty, Sentence string }

func (p *page) buffers(res *check.Result) {
	for _, b := range res.Buffers {
		row := bufferRow{Hop: b.Hop, Component: b.Component, Limit: b.Limit, Peak: quantityOr(b.Peak, b.Unit), Rate: none, Horizon: spanOr(b.Horizon), Certainty: b.Certainty, Sentence: b.Sentence}
		if b.FillRate != nil {
			row.Rate = quantity(*b.FillRate, b.Unit) + "/s"
		}
		p.Buffers = append(p.Buffers, row)
	}
}

// charts draws everything over time, and the distributions.
func (p *page) charts(r *evidence.Run, res *check.Result, t *timeline, d *distributions, a axis) {
	add := func(to *[]figure, c timeChart) {
		a.narrow = to == &p.Small
		if f, ok := c.figure(a); ok {
			*to = append(*to, f)
		}
	}
	step := span(t.rateStep())
	add(&p.TimeCharts, timeChart{id: "c-rate", title: "Throughput", lead: "Records a second at each observation point, counted over " + step + ".", unit: "records/s", curves: t.throughput()})
	add(&p.TimeCharts, timeChart{id: "c-backlog", title: "Backlog", lead: "Records that passed one observation point and not yet the next.", unit: "records", curves: t.backlog(), peaks: true})
	window := ""
	if d.window > r.Header.HistWindow {
		window = " Each point stands for " + span(d.window) + "."
	}
	quantiles := func(metric string) []*curve {
		return []*curve{d.overTime(metric, "p50", 0, .5, t.end), d.overTime(metric, "p99", 2, .99, t.end), d.overTime(metric, "maximum", 1, 1, t.end)}
	}
	add(&p.TimeCharts, timeChart{id: "c-kafka", title: "Latency to Kafka", lead: "From scheduled to readable in Kafka, by scheduled time, logarithmic." + window, unit: "s", log: true, peaks: true, curves: quantiles("kafka_latency")})
	add(&p.TimeCharts, timeChart{id: "c-e2e", title: "Latency to searchable", lead: "From scheduled to searchable, found by polling: the bands reach from the last miss to the first hit. Logarithmic." + window, unit: "s", log: true, peaks: true, curves: quantiles("e2e_latency")})
	add(&p.TimeCharts, timeChart{
		id: "c-block", title: "What the services feel", lead: "Target block: how long the system held up a write. Generator lag: how late the harness itself was." + window, unit: "s", log: true, peaks: true,
		curves: []*curve{d.overTime("target_block", "target block, p99", 0, .99, t.end), d.overTime("target_block", "target block, maximum", 1, 1, t.end), d.overTime("generator_lag", "generator lag, p99", 2, .99, t.end)},
	})
	for i, b := range r.Header.Buffers {
		vals := t.buffers[i].values(t.gaugeStep(), t.end)
		if !slices.ContainsFunc(vals, func(v float64) bool { return v > 0 }) {
			continue // never filled, or not measured: the table says so
		}
		name := b.Component
		if i < len(res.Buffers) && res.Buffers[i].Hop == b.Hop {
			name = res.Buffers[i].Component // the judge tells the buffers of one component apart
		}
		c := timeChart{id: fmt.Sprintf("c-buffer%d", i), title: "Buffer of " + name, unit: "bytes", peaks: true, curves: []*curve{newCurve("filled", 0, vals, t.gaugeStep())}}
		n := int64(max(b.Instances, 1))
		switch {
		case b.Bytes > 0:
			c.limit, c.limitName = float64(b.Bytes*n), "limit "+size(float64(b.Bytes*n))
		case b.Records > 0:
			c.unit, c.limit, c.limitName = "records", float64(b.Records*n), "limit "+count(uint64(b.Records*n))
		}
		c.lead = "Hop " + b.Hop
		if c.limitName != "" {
			c.lead += ", " + c.limitName
		}
		if b.Full != "" {
			c.lead += ", when full: " + b.Full
		}
		c.lead += "."
		add(&p.Small, c)
	}
	if v := t.query.values(t.gaugeStep(), t.end); v != nil {
		add(&p.Small, timeChart{id: "c-query", title: "Search queries", lead: "Time of one probe search in Elasticsearch.", unit: "s", peaks: true, curves: []*curve{newCurve("query", 0, v, t.gaugeStep())}})
	}
	if v := t.stall.values(t.gaugeStep(), t.end); v != nil {
		add(&p.Small, timeChart{id: "c-stall", title: "The harness itself", lead: "Longest wait of the harness for a processor in each second.", unit: "s", peaks: true, curves: []*curve{newCurve("stall", 0, v, t.gaugeStep())}})
	}
	rank := func(c rankChart) {
		if f, ok := c.figure(); ok {
			p.RankCharts = append(p.RankCharts, f)
		}
	}
	rank(rankChart{"c-dk", "Distribution to Kafka", "One line for each phase.", d.byPhase("kafka_latency")})
	rank(rankChart{"c-de", "Distribution to searchable", "One band for each phase: from the last miss to the first hit.", d.byPhase("e2e_latency")})
	rank(rankChart{
		"c-ds", "Sending, corrected and uncorrected", "The same writes, counted from their scheduled time and from the moment they were attempted. The distance between the lines is what a tool that waits for the system does not see.",
		append(d.judged("send_corrected", "corrected: from the scheduled time", 0), d.judged("send_uncorrected", "uncorrected: from the attempt", 1)...),
	})
}

// clockWords says by how much more the clocks of other clusters put the times of recovery off.
func clockWords(r check.Recovery) string {
	switch {
	case r.ClockUnknown != "":
		return " No limit on them is decided: " + r.ClockUnknown + "."
	case r.ClockBound != nil:
		return fmt.Sprintf(" The clocks of the clusters put them off by at most %s more.", span(time.Duration(*r.ClockBound)))
	}
	return ""
}
