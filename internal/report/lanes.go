package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"triad/internal/check"
	"triad/internal/scenario"
)

// lane is one row of a chart of time ranges.
type lane struct {
	name  string
	class string
	spans []laneSpan
	said  string
}

type laneSpan struct {
	from, to time.Duration
	title    string
}

const laneHeight = 34

// laneFigure draws ranges on the time line, one row each.
func laneFigure(id, title, lead string, a axis, lanes []lane) (figure, bool) {
	if len(lanes) == 0 || a.end <= 0 {
		return figure{}, false
	}
	top := headHeight
	if len(a.faults) > 0 {
		top += 20 // the numbers of the faults get a row of their own
	}
	height := float64(laneHeight*len(lanes) + top - headHeight)
	s := &svg{}
	s.f(`<svg class="ch" role="img" aria-labelledby="%s-t %s-s" width="100%%" height="%d">`, id, id, headHeight+int(height)+footHeight)
	a.back(s, height)
	var said []string
	for i, l := range lanes {
		y := top + i*laneHeight
		s.f(`<line class="gr" x1="0" x2="100%%" y1="%d" y2="%d"/><text class="lan" x="6" y="%d">%s</text>`, y, y, y+13, esc(l.name))
		for _, p := range l.spans {
			x, w := a.x(p.from), a.x(p.to)-a.x(p.from)
			s.f(`<rect class="lr %s" x="%s" y="%d" width="%s" height="11" rx="1"><title>%s</title></rect>`, l.class, pct(x), y+18, pct(math.Max(w, 0.002)), esc(p.title))
		}
		said = append(said, capital(l.name)+": "+l.said)
	}
	a.front(s)
	s.f(`</svg>`)
	return figure{ID: id, Title: title, Lead: lead, Plot: s.html(), Said: strings.Join(said, " ")}, true
}

// lanes draws what was lost, doubled, missing or down on the time line.
func (p *page) lanes(res *check.Result, t *timeline, a axis) {
	var lanes []lane
	add := func(name, class, noun string, segment []check.Range, n uint64) {
		l := lane{name: name, class: class}
		if len(segment) == 0 {
			l.said = "none."
		} else {
			first, last := segment[0].From, segment[0].To
			for _, g := range segment {
				first, last = min(first, g.From), max(last, g.To)
			}
			l.said = fmt.Sprintf("%s records due between %s and %s.", count(n), instant(first), instant(last))
			l.spans = mergeSpans(segment, a.end, noun)
		}
		lanes = append(lanes, l)
	}
	for _, s := range res.Segments {
		if s.Name == "generate" {
			continue
		}
		add("lost, "+segmentName(s.Name), "lost", "lost", s.Ranges, s.Lost)
	}
	for _, s := range res.Segments {
		if len(s.Duplicates) > 0 {
			var n uint64
			for _, g := range s.Duplicates {
				n += g.Hi - g.Lo + 1
			}
			add("duplicates, "+segmentName(s.Name), "dup", "duplicate", s.Duplicates, n)
		}
	}
	lanes = append(lanes, gapLanes(t)...)
	if len(t.down) > 0 {
		l := lane{name: "components that did not answer", class: "down"}
		var said []string
		for _, o := range t.down {
			text := fmt.Sprintf("%s from %s to %s", o.component, instant(o.from), instant(o.to))
			l.spans = append(l.spans, laneSpan{o.from, o.to, text})
			if len(said) < 8 {
				said = append(said, text)
			}
		}
		l.said = strings.Join(said, ", ") + "."
		lanes = append(lanes, l)
	}
	if len(res.Segments) == 0 && len(lanes) == 0 {
		return
	}
	if f, ok := laneFigure("c-lanes", "Lost, doubled, missing", "Records stand at the time at which they were due, holes in metrics at the time that they cover.", a, lanes); ok {
		p.LaneCharts = append(p.LaneCharts, f)
	}
}

func gapLanes(t *timeline) []lane {
	var out []lane
	for _, c := range scenario.ClusterNames {
		l := lane{name: "holes in the metrics of " + c, class: "gap"}
		var sum time.Duration
		for _, g := range t.gaps {
			if g.cluster == c && g.length > 0 {
				l.spans = append(l.spans, laneSpan{g.from, g.from + g.length, fmt.Sprintf("%s: no samples for %s from %s", c, span(g.length), instant(g.from))})
				sum += g.length
			}
		}
		if len(l.spans) > 0 {
			l.said = fmt.Sprintf("%d, together %s.", len(l.spans), span(sum))
			out = append(out, l)
		}
	}
	return out
}

// mergeSpans joins ranges that are closer than a pixel or two.
func mergeSpans(list []check.Range, end time.Duration, noun string) []laneSpan {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b check.Range) int { return int(min(max(a.From-b.From, -1), 1)) })
	var out []laneSpan
	var n uint64
	for _, g := range sorted {
		if k := len(out) - 1; k >= 0 && g.From-out[k].to < end/600 {
			out[k].to = max(out[k].to, g.To)
			n += g.Hi - g.Lo + 1
		} else {
			out = append(out, laneSpan{from: g.From, to: g.To})
			n = g.Hi - g.Lo + 1
		}
		k := len(out) - 1
		out[k].title = fmt.Sprintf("%s %s, due %s to %s", count(n), noun, instant(out[k].from), instant(out[k].to))
	}
	return out
}
