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

// searchTable is the tries of a search: a column for each gate.
type searchTable struct {
	Lead  string
	Gates []string // names of the columns
	Rows  []searchRow
}

type searchRow struct {
	Try     int
	Rate    string
	Verdict check.Verdict
	Figures []searchFigure
	Why     string
	Run     string
	This    bool
}

type searchFigure struct {
	Value string
	Bad   bool
}

// gateNames are short names of the gates: what each measures, without its labels and limit as long as that tells them apart.
func gateNames(c *check.Capacity) []string {
	if len(c.Tries) == 0 {
		return nil
	}
	var out []string
	for _, g := range c.Tries[len(c.Tries)-1].Gates {
		name := g.Gate
		if t, err := scenario.ParseThreshold(g.Gate); err == nil {
			name = t.Metric.Name
			switch t.Agg {
			case "value":
			case "p":
				name += fmt.Sprintf(" p%v", t.Percentile)
			default:
				name += " " + t.Agg
			}
		}
		if slices.Contains(out, name) {
			name = g.Gate
		}
		out = append(out, name)
	}
	return out
}

// gateFigure is the figure of a gate, an interval where it is one.
func gateFigure(g check.TryGate) string {
	if g.Lo == nil || g.Hi == nil {
		return none
	}
	unit := g.Unit
	if unit == "records" {
		unit = ""
	}
	if *g.Lo == *g.Hi {
		return quantity(*g.Lo, unit)
	}
	if unit == "s" {
		return interval(int64(*g.Lo*1e9), new(int64(*g.Hi*1e9)))
	}
	return quantity(*g.Lo, unit) + " to " + quantity(*g.Hi, unit)
}

func newSearchTable(c *check.Capacity) searchTable {
	t := searchTable{Gates: gateNames(c)}
	for i, x := range c.Tries {
		row := searchRow{Try: i + 1, Rate: perSecond(x.Rate), Verdict: x.Verdict, Why: x.Why, Run: x.Run, This: i == len(c.Tries)-1}
		for k := range t.Gates {
			f := searchFigure{Value: none}
			if k < len(x.Gates) {
				f = searchFigure{gateFigure(x.Gates[k]), x.Gates[k].Verdict == check.Fail}
			}
			row.Figures = append(row.Figures, f)
		}
		t.Rows = append(t.Rows, row)
	}
	t.Lead = fmt.Sprintf("Each try is a run of its own that holds one rate of %s for %s; the last is this one. Wanted is the highest rate that passes, to %s, and at least %s.",
		c.Source, span(time.Duration(c.Step)), number(100*c.Precision)+" %", perSecond(c.AtLeast))
	return t
}

func perSecond(v float64) string { return number(v) + "/s" }

// searchWords is the result of a search in one sentence.
func searchWords(c *check.Capacity) string {
	passed := "No rate passed"
	if c.Passed != nil {
		passed = "Highest rate that passed: " + perSecond(*c.Passed)
	}
	switch {
	case c.Failed != nil:
		return passed + "; lowest that failed: " + perSecond(*c.Failed) + "."
	case c.Upper == check.UpperHarness:
		return passed + "; above it the harness was the limit, so the system’s own is not known."
	case c.Upper == check.UpperBound:
		return passed + ", the highest of the search; what is above it is not known."
	case c.Upper == check.UpperNoData:
		return passed + "; above it a rate could not be judged."
	}
	return passed + "; the search did not come to its end."
}

// gateChart draws the figures of one gate over the rate; ok is false where there is nothing to compare.
func gateChart(id string, c *check.Capacity, gate int, name string) (figure, bool) {
	type dot struct {
		rate, lo, hi float64
		v            check.Verdict
		title        string
	}
	var dots []dot
	lo, hi, from, to := math.Inf(1), math.Inf(-1), math.Inf(1), 0.0
	limit, unit, text := 0.0, "", ""
	for i, t := range c.Tries {
		if gate >= len(t.Gates) || t.Gates[gate].Lo == nil || t.Gates[gate].Hi == nil {
			continue
		}
		g := t.Gates[gate]
		limit, unit, text = g.Limit, g.Unit, g.Gate
		dots = append(dots, dot{t.Rate, *g.Lo, *g.Hi, g.Verdict, fmt.Sprintf("try %d, %s: %s, %s", i+1, perSecond(t.Rate), gateFigure(g), g.Verdict)})
		lo, hi = math.Min(lo, *g.Lo), math.Max(hi, *g.Hi)
		from, to = math.Min(from, t.Rate), math.Max(to, t.Rate)
	}
	if len(dots) < 2 || hi <= lo {
		return figure{}, false
	}
	showLimit := limit > 0 && limit < 20*hi
	if showLimit {
		hi = math.Max(hi, limit)
	}
	sc, ticks := linearScale(hi, chartHeight, unit == "bytes")
	if unit == "s" && lo > 0 {
		sc, ticks = logScale(lo, hi, chartHeight)
	}
	from, to = from/1.15, to*1.15
	x := func(rate float64) float64 { return math.Log(rate/from) / math.Log(to/from) }
	s := &svg{}
	s.f(`<svg class="ch" role="img" aria-labelledby="%s-t %s-s" width="100%%" height="%d">`, id, id, chartHeight+footHeight+8)
	s.f(`<rect class="ph ph0" x="0" y="0" width="100%%" height="%d"/>`, chartHeight)
	for _, v := range ticks {
		y := sc.y(v)
		label := axisLabel(v, unit)
		if unit == "ratio" {
			label = quantity(v, unit)
		}
		s.f(`<line class="gr" x1="0" x2="100%%" y1="%s" y2="%s"/><text class="yl" x="-8" y="%s">%s</text>`, num(y), num(y), num(y+4), esc(label))
	}
	rates := map[float64]bool{}
	last := -1.0
	for _, d := range slices.SortedFunc(slices.Values(dots), func(a, b dot) int { return int(math.Copysign(1, a.rate-b.rate)) }) {
		if at := x(d.rate); !rates[d.rate] && at-last > 0.12 {
			anchor := "middle"
			if at > 0.93 {
				anchor = "end"
			}
			s.f(`<line class="gr" x1="%s" x2="%s" y1="0" y2="%d"/><text class="xl" x="%s" y="%d" text-anchor="%s">%s</text>`, pct(at), pct(at), chartHeight, pct(at), chartHeight+17, anchor, esc(perSecond(d.rate)))
			last = at
		}
		rates[d.rate] = true
	}
	if showLimit {
		y := sc.y(limit)
		s.f(`<line class="lim" x1="0" x2="100%%" y1="%s" y2="%s"/><text class="limn" x="4" y="%s">%s</text>`, num(y), num(y), num(y-5), esc(quantity(limit, unit)))
	}
	var said []string
	for _, d := range dots {
		a, b := math.Max(d.lo, sc.lo), math.Max(d.hi, sc.lo)
		s.f(`<g class="try %s"><title>%s</title><line x1="%s" x2="%s" y1="%s" y2="%s"/>`, d.v, esc(d.title), pct(x(d.rate)), pct(x(d.rate)), num(sc.y(a)), num(sc.y(b)))
		mid := (sc.y(a) + sc.y(b)) / 2
		s.f(`<circle cx="%s" cy="%s" r="8"/><text x="%s" y="%s" text-anchor="middle">%s</text></g>`, pct(x(d.rate)), num(mid), pct(x(d.rate)), num(mid+4), esc(trySign(d.v)))
		said = append(said, d.title)
	}
	s.f(`</svg>`)
	return figure{
		ID: id, Title: capital(name) + " by rate", Lead: "Gate: " + text + ". ✓ passed, ✗ failed, ! the harness was the limit, ? could not be told. The line of a mark is the interval in which the figure lies.",
		Marks: true, Plot: s.html(), Said: capital(strings.Join(said, "; ")) + ".",
	}, true
}

func trySign(v check.Verdict) string {
	word := verdictWord(v)
	sign, _, _ := strings.Cut(word, " ")
	return sign
}

// search fills the section of a search.
func (p *page) search(res *check.Result) {
	c := res.Capacity
	if c == nil {
		return
	}
	t := newSearchTable(c)
	p.Search, p.SearchWords = &t, searchWords(c)
	for i, name := range t.Gates {
		if f, ok := gateChart(fmt.Sprintf("c-gate%d", i), c, i, name); ok {
			p.SearchCharts = append(p.SearchCharts, f)
		}
	}
}

// trendRow is one series of a long run.
type trendRow struct {
	Verdict                          check.Verdict
	What, Of, Level, Growth, Between string
	Limit, Span, PerHour, Detail     string
}

// grown prints a change with its sign.
func grown(v *float64, unit string) string {
	if v == nil {
		return none
	}
	if unit != "bytes" {
		unit = ""
	}
	if *v >= 0 {
		return "+" + quantity(*v, unit)
	}
	return "−" + quantity(-*v, unit)
}

func trendRows(res *check.Result) []trendRow {
	var out []trendRow
	for _, t := range res.Trends {
		of := t.Of
		if n, ok := segmentNames[of]; ok {
			of = n
		}
		unit := t.Unit
		if unit != "bytes" {
			unit = ""
		}
		r := trendRow{
			Verdict: t.Verdict, What: t.What, Of: of, Level: quantityOr(t.Level, unit), Growth: grown(t.Growth, unit), Limit: grown(t.Limit, unit),
			Span: span(time.Duration(t.Span)),
		}
		if t.GrowthLo != nil && t.GrowthHi != nil {
			r.Between = grown(t.GrowthLo, unit) + " to " + grown(t.GrowthHi, unit)
		}
		if t.Verdict != check.Pass && t.Verdict != check.Fail || t.Growth == nil {
			r.Detail = t.Detail
		}
		out = append(out, r)
	}
	return out
}
