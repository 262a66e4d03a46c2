package report

import (
	"fmt"
	"html/template"
	"slices"
	"strings"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/scenario"
)

// stop is one hop in the picture of the clusters.
type stop struct {
	hop, cluster string
	component    string   // what does it, for people
	names        []string // of components in run.json
}

// stops are the hops in the order of the path.
var stops = []stop{
	{"generate", scenario.Datacenter, "log generators", []string{"inputgen", "service-inputgen", "system-inputgen"}},
	{"collect", scenario.Datacenter, "Fluent Bit", []string{"fluent-bit"}},
	{"forward", scenario.Datacenter, "Fluentd", []string{"fluentd"}},
	{"broker", scenario.Kafka, "Kafka brokers", []string{"kafka", "brokers", "strimzi"}},
	{"sink", scenario.Monitoring, "Kafka Connect", []string{"kafka-connect", "connect"}},
	{"search", scenario.Monitoring, "Elasticsearch", []string{"elasticsearch"}},
}

// picture is what the drawing of the three clusters needs.
type picture struct {
	hops    map[string]check.Hop
	real    map[string]string // hop -> fidelity, when it is not real
	segs    map[string]check.Segment
	faults  map[string][]int // place (a hop, a cluster, "a->b", "metrics") -> numbers
	control string           // what became of the control stream; empty: there is none
	metrics map[string]string
}

func newPicture(r *evidence.Run, res *check.Result, t *timeline) picture {
	p := picture{hops: map[string]check.Hop{}, real: map[string]string{}, segs: map[string]check.Segment{}, faults: map[string][]int{}, metrics: map[string]string{}}
	for _, h := range res.Hops {
		p.hops[h.Name] = h
	}
	for _, s := range res.Segments {
		p.segs[s.Name] = s
	}
	for _, s := range stops {
		for _, c := range r.Header.Components {
			if c.Cluster == s.cluster && slices.Contains(s.names, c.Name) && c.Fidelity != evidence.Real {
				p.real[s.hop] = c.Fidelity
			}
		}
	}
	for i, f := range res.Faults {
		at := faultPlace(r, f)
		p.faults[at] = append(p.faults[at], i+1)
	}
	for _, st := range r.Header.Streams {
		if st.Cluster == scenario.Kafka {
			p.control = "control stream"
		}
	}
	for _, c := range []string{scenario.Datacenter, scenario.Kafka} {
		p.metrics[c] = metricsWords(t, c)
	}
	return p
}

// metricsWords says what the metrics of a cluster went through.
func metricsWords(t *timeline, cluster string) string {
	var longest gap
	for _, g := range t.gaps {
		if g.cluster == cluster && g.length > longest.length {
			longest = g
		}
	}
	lost, known := t.lostInc[cluster]
	switch {
	case longest.length > 0 && lost > 0:
		return fmt.Sprintf("hole of %s, %s increments lost", span(longest.length), number(lost))
	case longest.length > 0:
		return "longest hole " + span(longest.length)
	case lost > 0:
		return number(lost) + " increments lost"
	case known:
		return "no hole"
	}
	return "not measured"
}

// faultPlace is where in the picture a fault strikes.
func faultPlace(r *evidence.Run, f check.Fault) string {
	if i := slices.IndexFunc(r.Scenario.Faults, func(d scenario.Fault) bool { return d.Name == f.Name }); i >= 0 {
		if d := r.Scenario.Faults[i]; d.From != "" {
			return d.From + "->" + d.To
		}
		if d := r.Scenario.Faults[i]; f.Kind == "forwarder-kill" {
			return map[bool]string{true: "collect", false: "forward"}[d.Target == "fluent-bit"]
		}
	}
	switch {
	case strings.HasPrefix(f.Kind, "broker-"):
		return "broker"
	case strings.HasPrefix(f.Kind, "es-"):
		return "search"
	case strings.HasPrefix(f.Kind, "connect-"):
		return "sink"
	case f.Kind == "receiver-down":
		return "metrics"
	}
	return f.Cluster
}

// Measures of the drawings in their own units.
const (
	nodeW, nodeH = 134, 126
	nodeGap      = 20
	panelPad     = 14
	panelGap     = 40
	wideW        = 1028
	wideH        = 352
	panelY       = 46
	nodeY        = panelY + 34
)

// wide draws the clusters beside each other.
func (p picture) wide() template.HTML {
	s := &svg{}
	s.f(`<svg class="pic wide" viewBox="0 0 %d %d" width="100%%" aria-hidden="true">`, wideW, wideH)
	arrowHead(s, "aw")
	x := 0
	left := map[string]int{} // of each hop
	edge := map[string][2]int{}
	for _, c := range scenario.ClusterNames {
		n := 0
		for _, st := range stops {
			if st.cluster == c {
				left[st.hop] = x + panelPad + n*(nodeW+nodeGap)
				n++
			}
		}
		w := 2*panelPad + n*nodeW + (n-1)*nodeGap
		edge[c] = [2]int{x, x + w}
		s.f(`<rect class="pn" x="%d" y="%d" width="%d" height="252" rx="10"/><text class="pnn" x="%d" y="%d">%s</text>`, x, panelY, w, x+panelPad, panelY+22, c)
		markers(s, p.faults[c], x+w-panelPad-8, panelY+18, -20)
		x += w + panelGap
	}
	mid := nodeY + nodeH/2
	for i, st := range stops {
		if i > 0 {
			from := left[stops[i-1].hop] + nodeW
			s.f(`<path class="fx" d="M%d %dH%d" marker-end="url(#aw)"/>`, from+2, mid, left[st.hop]-4)
			if a, b := stops[i-1].cluster, st.cluster; a != b {
				markers(s, append(slices.Clone(p.faults[a+"->"+b]), p.faults[b+"->"+a]...), (from+left[st.hop])/2, mid-16, 18)
			}
		}
		p.node(s, st, left[st.hop], nodeY)
	}
	p.bracket(s, "ledger-kafka", left["generate"]+nodeW/2, left["broker"]+nodeW/2-8)
	p.bracket(s, "kafka-search", left["broker"]+nodeW/2+8, left["search"]+nodeW/2)
	if p.control != "" {
		bx := left["broker"]
		s.f(`<path class="fx" d="M%d %dV%d" marker-end="url(#aw)"/>`, bx+nodeW/2, nodeY+nodeH+18, nodeY+nodeH+5)
		chip(s, bx, nodeY+nodeH+18, nodeW, p.control)
	}
	p.metricsWide(s, edge)
	s.f(`</svg>`)
	return s.html()
}

func (p picture) metricsWide(s *svg, edge map[string][2]int) {
	const agentY, rail = panelY + 216, panelY + 272
	for _, c := range []string{scenario.Datacenter, scenario.Kafka} {
		x := edge[c][0] + panelPad
		chip(s, x, agentY, nodeW, "Prometheus agent")
		s.f(`<path class="mx" d="M%d %dV%d"/>`, x+nodeW/2, agentY+24, rail)
		s.f(`<text class="mt" x="%d" y="%d">%s: %s</text>`, x+nodeW/2+6, rail+16, c, esc(p.metrics[c]))
	}
	cx := edge[scenario.Monitoring][0] + panelPad
	chip(s, cx, agentY, nodeW, "central Prometheus")
	s.f(`<path class="mx" d="M%d %dH%dV%d" marker-end="url(#awm)"/>`, edge[scenario.Datacenter][0]+panelPad+nodeW/2, rail, cx+nodeW/2, agentY+27)
	s.f(`<text class="mt" x="%d" y="%d">metrics, by remote_write</text>`, cx+nodeW/2+8, rail-4)
	markers(s, p.faults["metrics"], cx+nodeW-2, agentY, -18)
	markers(s, append(slices.Clone(p.faults[scenario.Datacenter+"->"+scenario.Monitoring]), p.faults[scenario.Monitoring+"->"+scenario.Datacenter]...), edge[scenario.Datacenter][1]+panelGap/2, rail, 18)
}

func arrowHead(s *svg, id string) {
	s.f(`<defs><marker id="%s" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" orient="auto"><path class="ah" d="M0 0L8 4L0 8Z"/></marker>`, id)
	s.f(`<marker id="%sm" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" orient="auto"><path class="ahm" d="M0 0L8 4L0 8Z"/></marker></defs>`, id)
}

func chip(s *svg, x, y, w int, text string) {
	s.f(`<rect class="cp" x="%d" y="%d" width="%d" height="24" rx="12"/><text class="cpt" x="%d" y="%d" text-anchor="middle">%s</text>`, x, y, w, x+w/2, y+16, esc(text))
}

// markers draws the numbers of faults beside each other.
func markers(s *svg, numbers []int, x, y, dx int) {
	for i, n := range numbers {
		s.f(`<circle class="fm" cx="%d" cy="%d" r="8.5"/><text class="fmn" x="%d" y="%d" text-anchor="middle">%d</text>`, x+i*dx, y, x+i*dx, y+4, n)
	}
}

// node is one hop: what entered, what left, what waits in it and what it lost.
func (p picture) node(s *svg, st stop, x, y int) {
	h, known := p.hops[st.hop]
	class := "nd"
	if known && lossy(h) {
		class = "nd bad"
	}
	s.f(`<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="7"/>`, class, x, y, nodeW, nodeH)
	s.f(`<text class="ndn" x="%d" y="%d">%s</text><text class="ndc" x="%d" y="%d">%s</text>`, x+10, y+20, st.hop, x+10, y+35, esc(st.component))
	if !known {
		s.f(`<text class="ndc" x="%d" y="%d">not in this run</text>`, x+10, y+70)
		return
	}
	for i, row := range hopRows(h) {
		cls := ""
		if row.bad {
			cls = " badt"
		}
		ry := y + 56 + i*16
		s.f(`<text class="ndl%s" x="%d" y="%d">%s</text><text class="ndv%s" x="%d" y="%d" text-anchor="end">%s</text>`, cls, x+10, ry, row.name, cls, x+nodeW-10, ry, esc(row.value))
	}
	s.f(`<text class="ndk" x="%d" y="%d">%s</text>`, x+10, y+nodeH-6, esc(h.Certainty))
	p.fidelity(s, st, x+nodeW-10, y+nodeH-6, "end")
	markers(s, p.faults[st.hop], x+nodeW-12, y+2, -20)
}

// fidelity says when the component of a hop was not real.
func (p picture) fidelity(s *svg, st stop, x, y int, anchor string) {
	if f := p.real[st.hop]; f != "" {
		s.f(`<text class="ndf" x="%d" y="%d" text-anchor="%s">%s</text>`, x, y, anchor, esc(f))
	}
}

type hopRow struct {
	name, value string
	bad         bool
}

func hopRows(h check.Hop) []hopRow {
	lost := lostOf(h)
	if h.Lost != nil {
		lost = count(*h.Lost)
	}
	rows := []hopRow{{"in", countOr(h.In), false}, {"out", countOr(h.Out), false}, {"waiting", countOr(h.Buffered), false}, {"lost", lost, lossy(h)}}
	if h.DeadLettered != nil && *h.DeadLettered > 0 {
		rows[2] = hopRow{"dead-lettered", count(*h.DeadLettered), false}
	}
	return rows
}

// bracket draws the exact account of a segment above its hops.
func (p picture) bracket(s *svg, name string, x1, x2 int) {
	g, ok := p.segs[name]
	if !ok {
		return
	}
	class := ""
	if g.Lost > 0 {
		class = " badt"
	}
	s.f(`<path class="br" d="M%d 40V30H%dV40"/><text class="brt%s" x="%d" y="20" text-anchor="middle">%s</text>`, x1, x2, class, (x1+x2)/2, esc(segmentWords(g)))
}

func segmentWords(g check.Segment) string {
	text := fmt.Sprintf("%s of %s arrived, %s lost", count(g.Out), count(g.In), count(g.Lost))
	if g.Unknown > 0 {
		text += fmt.Sprintf(", %s unknown", count(g.Unknown))
	}
	if g.DeadLettered > 0 {
		text += fmt.Sprintf(", %s dead-lettered", count(g.DeadLettered))
	}
	return text
}

// tall draws the clusters below each other, for a narrow screen.
func (p picture) tall() template.HTML {
	const w, rowH, gapH, x0 = 340, 74, 20, 20
	s := &svg{}
	y := 0
	agent := map[string]int{}
	for i := 0; i < len(stops); {
		c := stops[i].cluster
		top := y
		y += 34
		for first := true; i < len(stops) && stops[i].cluster == c; i++ {
			if !first {
				s.f(`<path class="fx" d="M180 %dV%d" marker-end="url(#at)"/>`, y+1, y+gapH-4)
				y += gapH
			}
			first = false
			p.row(s, stops[i], x0+10, y, w-x0-20, rowH)
			y += rowH
			if stops[i].hop == "broker" && p.control != "" {
				s.f(`<path class="fx" d="M180 %dV%d" marker-end="url(#at)"/>`, y+16, y+5)
				chip(s, 100, y+16, 160, p.control)
				y += 40
			}
		}
		y += 12
		name := "Prometheus agent"
		if c == scenario.Monitoring {
			name = "central Prometheus"
		}
		chip(s, x0+10, y, nodeW, name)
		if c != scenario.Monitoring {
			hole, lost, two := strings.Cut(p.metrics[c], ", ")
			if two {
				s.f(`<text class="mt" x="%d" y="%d">%s,</text><text class="mt" x="%d" y="%d">%s</text>`, x0+nodeW+18, y+10, esc(hole), x0+nodeW+18, y+24, esc(lost))
			} else {
				s.f(`<text class="mt" x="%d" y="%d">%s</text>`, x0+nodeW+18, y+16, esc(hole))
			}
		} else {
			markers(s, p.faults["metrics"], x0+nodeW+20, y+12, 20)
		}
		agent[c] = y + 12
		y += 36
		b := &svg{}
		b.f(`<rect class="pn" x="%d" y="%d" width="%d" height="%d" rx="10"/><text class="pnn" x="%d" y="%d">%s</text>`, x0, top, w-x0, y-top, x0+12, top+22, c)
		markers(b, p.faults[c], w-20, top+17, -20)
		rest := s.String()
		// Panels lie behind what is in them.
		s = &svg{}
		s.f("%s", b.String()+rest)
		if i < len(stops) {
			s.f(`<path class="fx" d="M180 %dV%d" marker-end="url(#at)"/>`, y+1, y+28)
			d := stops[i].cluster
			markers(s, append(slices.Clone(p.faults[c+"->"+d]), p.faults[d+"->"+c]...), 202, y+15, 20)
			y += 32
		}
	}
	s.f(`<path class="mx" d="M%d %dH8V%dH%d" marker-end="url(#atm)"/><path class="mx" d="M%d %dH8"/>`, x0+8, agent[scenario.Datacenter], agent[scenario.Monitoring], x0+8, x0+8, agent[scenario.Kafka])
	out := &svg{}
	out.f(`<svg class="pic tall" viewBox="0 0 %d %d" width="100%%" aria-hidden="true">`, w, y+2)
	arrowHead(out, "at")
	out.f("%s</svg>", s.String())
	return out.html()
}

// row is a node of the tall drawing.
func (p picture) row(s *svg, st stop, x, y, w, h int) {
	hop, known := p.hops[st.hop]
	class := "nd"
	if known && lossy(hop) {
		class = "nd bad"
	}
	s.f(`<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="7"/>`, class, x, y, w, h)
	s.f(`<text class="ndn" x="%d" y="%d">%s</text><text class="ndc" x="%d" y="%d">%s</text>`, x+10, y+21, st.hop, x+10, y+37, esc(st.component))
	if !known {
		s.f(`<text class="ndc" x="%d" y="%d">not in this run</text>`, x+170, y+30)
		return
	}
	s.f(`<text class="ndk" x="%d" y="%d">%s</text>`, x+10, y+h-9, esc(hop.Certainty))
	p.fidelity(s, st, x+148, y+h-9, "end")
	for i, row := range hopRows(hop) {
		cls := ""
		if row.bad {
			cls = " badt"
		}
		ry := y + 18 + i*16
		s.f(`<text class="ndl%s" x="%d" y="%d">%s</text><text class="ndv%s" x="%d" y="%d" text-anchor="end">%s</text>`, cls, x+168, ry, row.name, cls, x+w-10, ry, esc(row.value))
	}
	markers(s, p.faults[st.hop], x+w-6, y+2, -20)
}

// words tells the picture.
func (p picture) words() string {
	var parts []string
	for _, st := range stops {
		h, ok := p.hops[st.hop]
		if !ok {
			parts = append(parts, st.hop+" is not part of this run")
			continue
		}
		parts = append(parts, fmt.Sprintf("%s (%s, %s): %s in, %s out, %s lost (%s)", st.hop, st.component, st.cluster, countOr(h.In), countOr(h.Out), lostOf(h), h.Certainty))
	}
	return strings.Join(parts, "; ") + "."
}
