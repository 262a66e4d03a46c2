package report

import (
	"bytes"
	_ "embed" // for the page's parts
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/scenario"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

// page is everything that page.html shows.
type page struct {
	Res                       *check.Result
	CSS                       template.CSS
	JS                        template.JS
	Word, Heading, Sub        string
	RuntimeShort, RuntimeLead string
	Why, Expectation          string
	Reasons                   []string
	Tiles                     []tile
	LimitsFirst               bool
	Limits                    []string
	Fidelity                  []fact
	Nav                       []link
	PictureWide, PictureTall  template.HTML
	PictureWords              string
	FaultKeys                 []faultKey
	TimeCharts, Small         []figure
	RankCharts, LaneCharts    []figure
	Latency, LatencyBy        []latencyGroup
	LatencyRows               int
	LossLead, RangesCaption   string
	Ranges                    []rangeRow
	Streams                   []check.StreamCount
	Classes                   []fact
	Victims                   []string
	Matrix                    []matrixRow
	ChecksLead                string
	Checks, Thresholds        checkTable
	Faults                    []faultRow
	Restarts                  []restartRow
	RecoveryLead              string
	Recovery                  []tile
	RecoveryFaults            []recoveryRow
	Search                    *searchTable
	SearchWords               string
	SearchCharts              []figure
	Trends                    []trendRow
	Buffers                   []bufferRow
	NotModelled               []string
	Command                   string
	Facts                     []fact
	Components                []evidence.Component
	Config                    []fact
	Judged, Version           string
}

// latencyTable is what the template of a table of latencies takes.
type latencyTable struct {
	Groups []latencyGroup
	By     bool // with a column for the source
}

type (
	tile struct {
		Label, Value, Note string
		Bad                bool
	}
	fact     struct{ Name, Text string }
	link     struct{ ID, Title string }
	faultKey struct {
		Number int
		Text   string
	}
)

// HTML writes the report as one page that needs nothing else: no network, no other file.
func HTML(w io.Writer, r *evidence.Run, res *check.Result) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"count": countOr, "num": count, "lost": lostOf, "lossy": lossy, "verdict": verdictWord,
		"latencies": func(g []latencyGroup, by bool) latencyTable { return latencyTable{g, by} },
	}).Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	p := newPage(r, res)
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

// verdictWord is a verdict for people, with a sign that does not depend on colour.
func verdictWord(v check.Verdict) string {
	switch v {
	case check.Pass:
		return "✓ Pass"
	case check.Fail:
		return "✗ Fail"
	case check.Invalid:
		return "! Invalid"
	case check.Inconclusive:
		return "? Inconclusive"
	case check.Skipped:
		return "– Skipped"
	}
	return string(v)
}

func newPage(r *evidence.Run, res *check.Result) *page {
	h := r.Header
	t := readTimeline(r)
	d := readDistributions(r, t.end)
	a := axis{end: t.end, windows: t.windows, faults: shades(res, t.end)}
	pic := newPicture(r, res, t)
	p := &page{
		Res: res, CSS: template.CSS(pageCSS), JS: template.JS(pageJS), Word: capital(string(res.Verdict)), Heading: capital(res.Title), Why: h.Why,
		Limits: res.Limits, PictureWide: pic.wide(), PictureTall: pic.tall(), PictureWords: pic.words(), Streams: res.Streams, NotModelled: h.NotModelled,
		Components: h.Components, Judged: stamp(res.Judged), Version: h.Version,
	}
	if p.Heading == "" {
		p.Heading = res.Scenario
	}
	for _, reason := range res.Reasons {
		if _, detail, ok := strings.Cut(reason, ": "); ok {
			if _, d, ok := strings.Cut(detail, ": "); ok && strings.Contains(res.Summary, strings.TrimSuffix(d, ".")) {
				continue // the sentence says it already
			}
		}
		p.Reasons = append(p.Reasons, reason)
	}
	if n := len(p.Reasons); n > 12 {
		p.Reasons = append(p.Reasons[:12], fmt.Sprintf("and %d more, in the checks below", n-12))
	}
	p.runtime(r, res)
	p.expectation(r, res)
	p.tiles(res)
	for i, f := range res.Faults {
		text := f.Name
		if f.Target != "" {
			text += " (" + strings.ReplaceAll(f.Target, "->", " → ") + ")"
		}
		if f.InjectedAt == nil {
			text += ", never injected"
		} else {
			text += ", from " + instantOr(f.InjectedAt)
			if f.GoneAt != nil {
				text += " to " + instantOr(f.GoneAt)
			}
		}
		p.FaultKeys = append(p.FaultKeys, faultKey{i + 1, text})
	}
	p.charts(r, res, t, d, a)
	p.lanes(res, t, a)
	p.latency(res)
	p.ranges(res)
	p.classes(res)
	p.matrix(res)
	p.checks(res)
	p.faults(res)
	p.recovery(res)
	p.search(res)
	p.Trends = trendRows(res)
	p.Restarts = restartRows(res)
	p.buffers(res)
	p.again(r, res)
	p.Nav = []link{
		{"path", "Path"},
		{"time", "Over time"},
		{"latency", "Latency"},
		{"loss", "Loss"},
		{"influence", "Influence"},
		{"checks", "Checks"},
		{"thresholds", "Thresholds"},
		{"faults", "Faults"},
		{"recovery", "Recovery"},
		{"buffers", "Buffers"},
		{"skipped", "Not shown"},
		{"again", "Reproduce"},
	}
	if p.Search != nil {
		p.Nav = append([]link{{"search", "Search"}}, p.Nav...)
	}
	if len(p.Trends) > 0 {
		p.Nav = slices.Insert(p.Nav, slices.Index(p.Nav, link{"buffers", "Buffers"}), link{"trend", "Trend"})
	}
	return p
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// shades are the windows of the faults that acted.
func shades(res *check.Result, end time.Duration) []shade {
	var out []shade
	for i, f := range res.Faults {
		if f.InjectedAt == nil {
			continue
		}
		s := shade{number: i + 1, name: f.Name, from: time.Duration(*f.InjectedAt), to: end, open: true}
		if f.GoneAt != nil {
			s.to, s.open = time.Duration(*f.GoneAt), false
		} else if f.HealedAt != nil {
			s.to, s.open = time.Duration(*f.HealedAt), false
		}
		out = append(out, s)
	}
	return out
}

// runtime says what was real.
func (p *page) runtime(r *evidence.Run, res *check.Result) {
	by := map[string][]string{}
	n := map[string]int{}
	for _, c := range r.Header.Components {
		name := c.Cluster + "/" + c.Name
		if c.Note != "" {
			name += " (" + c.Note + ")"
		}
		by[c.Fidelity] = append(by[c.Fidelity], name)
		n[c.Fidelity]++
	}
	for _, f := range []struct{ fidelity, name string }{{evidence.Real, "real"}, {evidence.StandIn, "stand-ins"}, {evidence.Model, "models"}, {evidence.Absent, "absent"}} {
		if by[f.fidelity] != nil {
			p.Fidelity = append(p.Fidelity, fact{f.name, strings.Join(by[f.fidelity], ", ")})
		}
	}
	p.RuntimeShort = res.Runtime
	var mixed []string
	for _, f := range []struct{ fidelity, one, many string }{{evidence.Model, "model", "models"}, {evidence.StandIn, "stand-in", "stand-ins"}, {evidence.Absent, "part absent", "parts absent"}} {
		switch k := n[f.fidelity]; {
		case k == 1:
			mixed = append(mixed, "1 "+f.one)
		case k > 1:
			mixed = append(mixed, fmt.Sprintf("%d %s", k, f.many))
		}
	}
	if len(mixed) == 3 {
		mixed = []string{mixed[0] + ", " + mixed[1], mixed[2]}
	}
	if len(mixed) > 0 {
		p.RuntimeShort += " with " + strings.Join(mixed, " and ")
	}
	switch {
	case res.Runtime == "embedded":
		p.RuntimeLead = "This is an embedded run: models of the components in one process. It proves that the configuration and its accounting behave as modelled; it measures no real Kafka, Fluentd or Elasticsearch."
		p.LimitsFirst = len(p.Limits) > 0
	case len(mixed) > 0:
		p.RuntimeLead = fmt.Sprintf("This is a run on %s in which not everything was real: what is listed as model or stand-in carries Triad’s own program in the place of the product, and what is absent was left out.", res.Runtime)
		p.LimitsFirst = len(p.Limits) > 0
	default:
		p.RuntimeLead = fmt.Sprintf("This is a run on %s.", res.Runtime)
	}
	if p.Why != "" {
		p.Why = strings.TrimSuffix(p.Why, ".")
	}
	parts := []string{fmt.Sprintf("seed %d", res.Seed)}
	if !r.Header.Created.IsZero() {
		parts = append(parts, stamp(r.Header.Created))
	}
	if load := r.Scenario.Phases.LoadTime(); load > 0 {
		parts = append(parts, span(load)+" of load")
	}
	if len(r.Scenario.Claims) > 0 {
		parts = append(parts, "tests "+strings.Join(r.Scenario.Claims, ", "))
	}
	p.Sub = strings.Join(parts, " · ")
}

// expectation says how the verdict stands to what the scenario expects, and whether the run came to its end.
func (p *page) expectation(r *evidence.Run, res *check.Result) {
	var parts []string
	if res.Expected == "fail" {
		text := "The scenario documents a known weakness and expects a fail"
		if r.Scenario.Because != "" {
			text += ": " + strings.TrimSuffix(r.Scenario.Because, ".")
		}
		text += "."
		if res.Verdict == check.Pass {
			text += " It passed: the weakness may be gone."
		}
		parts = append(parts, text)
	}
	switch {
	case r.CutShort():
		parts = append(parts, "The run was cut short: its evidence was never closed.")
	case res.Interrupted != "":
		parts = append(parts, "The run was interrupted: "+strings.TrimSuffix(res.Interrupted, ".")+".")
	}
	for _, x := range res.Resumed {
		parts = append(parts, strings.ToUpper(x.String()[:1])+x.String()[1:]+".")
	}
	p.Expectation = strings.Join(parts, " ")
}

// tiles are the few figures that stand at the top.
func (p *page) tiles(res *check.Result) {
	c := res.Totals
	if c.Attempted == 0 {
		return
	}
	if x := res.Capacity; x != nil {
		t := tile{Label: "Highest rate that passed", Value: none, Note: "no rate failed"}
		if x.Passed != nil {
			t.Value = perSecond(*x.Passed)
		}
		switch {
		case x.Failed != nil:
			t.Note = perSecond(*x.Failed) + " failed"
		case x.Upper == check.UpperHarness:
			t.Note = "the harness was the limit above it"
		}
		p.Tiles = append(p.Tiles, t)
	}
	p.Tiles = append(p.Tiles, tile{Label: "Records written", Value: count(c.Acknowledged), Note: noteIf(c.Unknown > 0, count(c.Unknown)+" with unknown outcome", "every outcome known")})
	arrived := tile{Label: "Searchable", Value: count(c.Seen), Note: fmt.Sprintf("%s in Kafka", count(c.SeenKafka))}
	if !slices.ContainsFunc(res.Segments, func(s check.Segment) bool { return s.Name == "kafka-search" }) {
		arrived = tile{Label: "In Kafka", Value: count(c.SeenKafka), Note: "no store in this run"}
	}
	p.Tiles = append(p.Tiles, arrived, tile{Label: "Lost", Value: count(c.Lost), Note: noteIf(c.DeadLettered > 0, count(c.DeadLettered)+" dead-lettered", "acknowledged and absent"), Bad: c.Lost > 0},
		tile{Label: "Seen twice", Value: count(c.VisibleDup), Note: count(c.BrokerDup) + " twice in Kafka"})
	for _, metric := range []string{"e2e_latency", "kafka_latency"} {
		worst, before := pick(res, metric, scenario.During), pick(res, metric, scenario.Before)
		if worst == nil {
			worst, before = before, nil
		}
		if worst == nil {
			continue
		}
		t := tile{Label: "p99 " + map[string]string{"e2e_latency": "to searchable", "kafka_latency": "to Kafka"}[metric], Value: interval(worst.P99, worst.P99Upper), Note: worst.Phase}
		if before != nil {
			t.Note += ", before " + interval(before.P99, before.P99Upper)
		}
		p.Tiles = append(p.Tiles, t)
		break
	}
	if res.Recovery.Drained != nil {
		p.Tiles = append(p.Tiles, tile{Label: "Backlog drained", Value: spanOr(res.Recovery.Drained), Note: "after the fault was healed"})
	}
}

func noteIf(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}

// pick is the figure over all sources of a metric in a phase.
func pick(res *check.Result, metric, phase string) *check.Latency {
	for i, l := range res.Latency {
		if l.Metric == metric && l.Phase == phase && l.Source == check.PhaseAll {
			return &res.Latency[i]
		}
	}
	return nil
}

// again is what one must know to run it again.
func (p *page) again(r *evidence.Run, res *check.Result) {
	h := r.Header
	for i, a := range h.Command {
		if i > 0 {
			p.Command += " "
		}
		p.Command += quote(a)
	}
	add := func(name, text string) {
		if text != "" {
			p.Facts = append(p.Facts, fact{name, text})
		}
	}
	add("scenario", res.Scenario)
	add("runtime", h.Runtime+noteIf(h.Why != "", " ("+strings.TrimSuffix(h.Why, ".")+")", ""))
	add("seed", fmt.Sprint(res.Seed))
	add("commit", h.Commit)
	add("version", h.Version)
	add("run", h.ID)
	if !h.Created.IsZero() {
		add("made", stamp(h.Created))
	}
	host := strings.TrimSpace(fmt.Sprintf("%s/%s %s", h.Host.OS, h.Host.Arch, h.Host.Kernel))
	if h.Host.CPUs > 0 {
		host += fmt.Sprintf(", %d processors, %s memory", h.Host.CPUs, size(float64(h.Host.MemoryBytes)))
	}
	if h.Host != (evidence.Host{}) {
		add("host", host)
		add("Go", h.Host.Go)
	}
	if b := h.Budget; b != nil {
		add("processors, estimated", fmt.Sprintf("%.1f of %d at %.0f records/s%s", b.Need, b.Cores, b.Peak, noteIf(b.Warn != "", "; "+b.Warn, "")))
	}
	for _, c := range res.Clocks {
		if c.Offset == nil || c.Bound == nil {
			add("clock of "+c.Cluster, "not known: "+c.Unknown)
			continue
		}
		add("clock of "+c.Cluster, fmt.Sprintf("off by %s, known to ± %s", span(time.Duration(*c.Offset)), span(time.Duration(*c.Bound))))
	}
	add("resolution", fmt.Sprintf("%s for counts, %s for latency over time", span(h.PulseEvery), span(h.HistWindow)))
	for _, k := range slices.Sorted(maps.Keys(res.Config)) {
		p.Config = append(p.Config, fact{k, res.Config[k]})
	}
}

// quote prints an argument as a shell takes it.
func quote(a string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,@+%"
	if a != "" && strings.Trim(a, plain) == "" {
		return a
	}
	return "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
}
