package report

import (
	"fmt"
	"math"
	"strings"
)

// rankChart shows distributions: latency on a logarithmic scale over the percentile, which is stretched so that 99 %,
// 99.9 % and so on get equal room.
type rankChart struct {
	id, title, lead string
	lines           []distribution
}

// rankPoints is the number of ranks at which a distribution is drawn.
const rankPoints = 160

func (c rankChart) figure() (figure, bool) {
	var most uint64
	lo, hi := math.Inf(1), 0.0
	for _, l := range c.lines {
		most = max(most, l.hi.Count())
		if l.lo.Count() > 0 { // the few fastest may go out of sight, so that the rest has room
			lo = math.Min(lo, math.Max(newLadder(l.lo).at(0.02).Seconds(), 1e-6))
		}
		hi = math.Max(hi, l.hi.Max().Seconds())
	}
	if most == 0 {
		return figure{}, false
	}
	nines := math.Min(math.Max(math.Ceil(math.Log10(float64(most))), 2), 6)
	sc, ticks := logScale(lo, hi, chartHeight)
	s := &svg{}
	s.f(`<svg class="ch" role="img" aria-labelledby="%s-t %s-s" width="100%%" height="%d">`, c.id, c.id, chartHeight+footHeight+8)
	s.f(`<rect class="ph ph0" x="0" y="0" width="100%%" height="%d"/>`, chartHeight)
	for _, v := range ticks {
		y := sc.y(v)
		s.f(`<line class="gr" x1="0" x2="100%%" y1="%s" y2="%s"/><text class="yl" x="-8" y="%s">%s</text>`, num(y), num(y), num(y+4), esc(axisLabel(v, "s")))
	}
	for _, t := range rankTicks(nines) {
		class, anchor := "", "middle"
		if t.minor {
			class = " t2"
		}
		if t.at < 0.01 {
			anchor = "start"
		}
		if t.at > 0.97 {
			anchor = "end"
		}
		s.f(`<line class="gr" x1="%s" x2="%s" y1="0" y2="%d"/><text class="xl%s" x="%s" y="%d" text-anchor="%s">%s</text>`, pct(t.at), pct(t.at), chartHeight,
			class, pct(t.at), chartHeight+17, anchor, esc(t.label))
	}
	s.f(`<svg x="0" y="0" width="100%%" height="%d" viewBox="0 0 %d %d" preserveAspectRatio="none" class="pl">`, chartHeight, plotWidth, chartHeight)
	h := hover{Unit: "s", End: 1}
	for i := range rankPoints {
		h.X = append(h.X, percentLabel(1-math.Pow(10, -nines*(float64(i)+0.5)/rankPoints)))
	}
	out := figure{ID: c.id, Title: c.title, Lead: c.lead}
	var said []string
	for _, l := range c.lines {
		upper, lower := newLadder(l.hi), newLadder(l.lo)
		up, upN := rankPath(upper, nines, sc)
		if l.lo != l.hi {
			low, lowN := rankPath(lower, nines, sc)
			upN, lowN = min(upN, lowN), min(upN, lowN)
			s.f(`<path class="bd s%d" d="M%sL%sZ"/>`, l.style, strings.Join(up[:upN], "L"), strings.Join(reversed(low[:lowN]), "L"))
			s.f(`<path class="ln lo s%d" d="M%s"/>`, l.style, strings.Join(low[:lowN], "L"))
		}
		s.f(`<path class="ln s%d" d="M%s"/>`, l.style, strings.Join(up[:upN], "L"))
		x := hoverLine{Name: l.name, Style: l.style, Step: 1.0 / rankPoints}
		for i := range rankPoints {
			q := 1 - math.Pow(10, -nines*(float64(i)+0.5)/rankPoints)
			x.Hi = append(x.Hi, sig(upper.at(q).Seconds()))
			if l.lo != l.hi {
				x.Lo = append(x.Lo, sig(lower.at(q).Seconds()))
			}
		}
		h.Lines = append(h.Lines, x)
		out.Legend = append(out.Legend, key{l.style, l.name, l.lo != l.hi})
		figs := func(q float64) string {
			up := int64(upper.at(q))
			return interval(int64(lower.at(q)), &up)
		}
		said = append(said, fmt.Sprintf("%s: half of %s records within %s, 99 %% within %s, all within %s.", capital(l.name), count(l.hi.Count()), figs(.5), figs(.99), figs(1)))
	}
	s.f(`</svg><line class="cur" y1="0" y2="%d" x1="0" x2="0"/></svg>`, chartHeight)
	out.Plot, out.Said, out.Data = s.html(), strings.Join(said, " "), h.js()
	return out, true
}

// rankTicks are the percentiles that have room for their label.
func rankTicks(nines float64) []tick {
	var out []tick
	last := -1.0
	for _, q := range []float64{.5, .9, .99, .999, .9999, .99999, .999999} {
		at := -math.Log10(1-q) / nines
		if at > 1.001 || at-last < 0.1 && last >= 0 {
			continue
		}
		out = append(out, tick{at: at, label: percentLabel(q)})
		last = at
	}
	for i := len(out) - 2; i >= 0; i -= 2 { // the last label stays, whatever the width
		out[i].minor = true
	}
	return out
}

func percentLabel(q float64) string {
	d := int(math.Max(0, math.Ceil(-math.Log10(1-q)-1e-9)-2))
	return trimZeros(fmt.Sprintf("%.*f", d+1, 100*q)) + " %"
}

// rankPath gives the points of a distribution from rank 0 to nines; n is how many of them have at least one record
// behind them, so that the line ends at the maximum and does not go on.
func rankPath(l ladder, nines float64, sc scale) (pts []string, n int) {
	total := float64(l.cum[len(l.cum)-1])
	for i := 0; i <= rankPoints; i++ {
		u := nines * float64(i) / rankPoints
		pts = append(pts, num(plotWidth*float64(i)/rankPoints)+" "+num(sc.y(math.Max(l.at(1-math.Pow(10, -u)).Seconds(), 1e-6))))
		if math.Pow(10, u) <= total || n < 2 {
			n = i + 1
		}
	}
	return pts, n
}

func reversed(in []string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[len(in)-1-i] = s
	}
	return out
}
