package report

import (
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"
)

// figure is a finished chart as the page shows it.
type figure struct {
	ID, Title, Lead string
	Legend          []key
	Plot            template.HTML
	Said            string      // the same in words
	Data            template.JS // for the values under the pointer
	Marks           bool        // it has an axis on the left and no curves
}

// key is one entry of a legend.
type key struct {
	Style int
	Name  string
	Band  bool
}

// timeChart is a chart of curves over the time of the run.
type timeChart struct {
	id, title, lead string
	unit            string // as of quantity
	log             bool
	curves          []*curve
	limit           float64 // a line to stay below; 0: none
	limitName       string
	peaks           bool // say the peaks in words, and not the range
}

const chartHeight = 180

// figure renders the chart; ok is false when it has no data.
func (c timeChart) figure(a axis) (figure, bool) {
	var live []*curve
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, l := range c.curves {
		if l.empty() {
			continue
		}
		live = append(live, l)
		for i, b := range l.pts {
			bs := []bucket{b}
			if l.upper != nil {
				bs = append(bs, l.upper[i])
			}
			for _, b := range bs {
				if !b.empty() {
					hi = math.Max(hi, b.hi)
					if !c.log || b.lo > 0 {
						lo = math.Min(lo, b.lo)
					}
				}
			}
		}
	}
	if len(live) == 0 || a.end <= 0 {
		return figure{}, false
	}
	showLimit := c.limit > 0 && c.limit < 4*hi
	if showLimit {
		hi = math.Max(hi, c.limit)
	}
	sc, ticks := linearScale(hi, chartHeight, c.unit == "bytes")
	if c.log {
		sc, ticks = logScale(lo, hi, chartHeight)
	}
	out := figure{ID: c.id, Title: c.title, Lead: c.lead}
	s := &svg{}
	s.f(`<svg class="ch" role="img" aria-labelledby="%s-t %s-s" width="100%%" height="%d">`, c.id, c.id, headHeight+chartHeight+footHeight)
	a.back(s, chartHeight)
	for _, v := range ticks {
		y := headHeight + sc.y(v)
		s.f(`<line class="gr" x1="0" x2="100%%" y1="%s" y2="%s"/><text class="yl" x="-8" y="%s">%s</text>`, num(y), num(y), num(y+4), esc(axisLabel(v, c.unit)))
	}
	s.f(`<svg x="0" y="%d" width="100%%" height="%d" viewBox="0 0 %d %d" preserveAspectRatio="none" class="pl">`, headHeight, chartHeight, plotWidth, chartHeight)
	for _, l := range live {
		if l.upper != nil {
			s.f(`<path class="bd s%d" d="%s"/>`, l.style, bandPath(l, a, sc))
			s.f(`<path class="ln s%d" d="%s"/>`, l.style, linePath(l.upper, l.step, a, sc))
			s.f(`<path class="ln lo s%d" d="%s"/>`, l.style, linePath(l.pts, l.step, a, sc))
		} else {
			s.f(`<path class="ln s%d" d="%s"/>`, l.style, linePath(l.pts, l.step, a, sc))
		}
	}
	s.f(`</svg>`)
	if showLimit {
		y := headHeight + sc.y(c.limit)
		s.f(`<line class="lim" x1="0" x2="100%%" y1="%s" y2="%s"/><text class="limn" x="100%%" dx="-4" y="%s" text-anchor="end">%s</text>`, num(y), num(y), num(y-5), esc(c.limitName))
	}
	a.front(s)
	s.f(`<line class="cur" y1="%d" y2="%d" x1="0" x2="0"/></svg>`, headHeight, headHeight+chartHeight)
	out.Plot = s.html()
	var said []string
	for _, l := range live {
		out.Legend = append(out.Legend, key{l.style, l.name, l.upper != nil})
		said = append(said, c.words(l, a))
	}
	out.Said = strings.Join(said, " ")
	out.Data = hoverData(live, c.unit, a.end)
	return out, true
}

// axisLabel prints a value of an axis as short as it can be.
func axisLabel(v float64, unit string) string {
	switch unit {
	case "s":
		if v >= 60 && v < 1e5 {
			return number(v) + " s"
		}
		return span(time.Duration(math.Round(v * 1e9)))
	case "bytes":
		return size(v)
	}
	if v >= 1e6 {
		return number(v/1e6) + "M"
	}
	if v >= 1e4 {
		return number(v/1e3) + "k"
	}
	return number(v)
}

// words says what a curve does.
func (c timeChart) words(l *curve, a axis) string {
	name := capital(l.name)
	if c.peaks {
		lo, hi, _, at, ok := l.extremes(0, a.end+1)
		if !ok {
			return name + ": no figures."
		}
		_ = lo
		text := fmt.Sprintf("%s: at most %s at %s", name, quantity(hi, c.unit), instant(at))
		if p := a.phase(at); p != "" {
			text += " (" + p + ")"
		}
		if v := l.last(); l.upper == nil && !math.IsNaN(v) && !c.log {
			text += ", " + quantity(v, c.unit) + " at the end"
		}
		return text + "."
	}
	var parts []string
	for _, w := range a.windows {
		lo, hi, _, _, ok := l.extremes(w.From, w.To)
		switch {
		case !ok:
		case number(lo) == number(hi):
			parts = append(parts, fmt.Sprintf("%s %s", w.Name, number(hi)))
		default:
			parts = append(parts, fmt.Sprintf("%s %s to %s", w.Name, number(lo), number(hi)))
		}
	}
	return fmt.Sprintf("%s, in %s: %s.", name, c.unit, strings.Join(parts, ", "))
}

func (a axis) phase(at time.Duration) string {
	for _, w := range a.windows {
		if at >= w.From && at < w.To {
			return w.Name
		}
	}
	return ""
}

// linePath is the path of a curve: each bucket gives its two ends in the order in which they came.
func linePath(pts []bucket, step time.Duration, a axis, sc scale) string {
	var b strings.Builder
	pen := false
	dx := plotWidth * float64(step) / float64(a.end)
	lastX, lastY := "", ""
	point := func(x, v float64) {
		xs, ys := num(math.Min(x, plotWidth)), num(sc.y(v))
		if pen && xs == lastX && ys == lastY {
			return
		}
		if pen {
			b.WriteByte('L')
		} else {
			b.WriteByte('M')
		}
		b.WriteString(xs + " " + ys)
		if !pen {
			b.WriteString("h0") // a point alone is a dot, thanks to round ends
		}
		pen, lastX, lastY = true, xs, ys
	}
	for i, p := range pts {
		if p.empty() {
			pen = false
			continue
		}
		x := (float64(i) + 0.5) * dx
		switch {
		case p.lo == p.hi:
			point(x, p.lo)
		case p.rising:
			point(x-dx/4, p.lo)
			point(x+dx/4, p.hi)
		default:
			point(x-dx/4, p.hi)
			point(x+dx/4, p.lo)
		}
	}
	return b.String()
}

// bandPath is the area between the two ends of an interval.
func bandPath(l *curve, a axis, sc scale) string {
	var b strings.Builder
	dx := plotWidth * float64(l.step) / float64(a.end)
	for i := 0; i < len(l.pts); {
		if l.pts[i].empty() || l.upper[i].empty() {
			i++
			continue
		}
		k := i
		for k < len(l.pts) && !l.pts[k].empty() && !l.upper[k].empty() {
			k++
		}
		for j := i; j < k; j++ {
			b.WriteString(map[bool]string{true: "M", false: "L"}[j == i] + num((float64(j)+0.5)*dx) + " " + num(sc.y(l.upper[j].hi)))
		}
		for j := k - 1; j >= i; j-- {
			b.WriteString("L" + num((float64(j)+0.5)*dx) + " " + num(sc.y(l.pts[j].lo)))
		}
		b.WriteByte('Z')
		i = k
	}
	return b.String()
}

// hover is what the page's script shows under the pointer: values with four significant digits by bucket. Curves with
// another step than the finest carry their own.
type hover struct {
	Unit  string      `json:"u"`
	End   sig         `json:"e"` // s
	Lines []hoverLine `json:"l"`
	X     []string    `json:"x,omitempty"` // labels of the positions, when it is not time
}

type hoverLine struct {
	Name  string `json:"n"`
	Style int    `json:"c"`
	Step  sig    `json:"d"` // s
	Hi    []sig  `json:"h"`
	Lo    []sig  `json:"l,omitempty"` // where it differs from Hi anywhere
}

// sig is a number that is written with four significant digits; NaN is null.
type sig float64

// MarshalJSON writes the number short.
func (v sig) MarshalJSON() ([]byte, error) {
	if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
		return []byte("null"), nil
	}
	if math.Abs(float64(v)) >= 1e4 {
		return strconv.AppendFloat(nil, math.Round(float64(v)), 'f', -1, 64), nil
	}
	b := strconv.AppendFloat(nil, float64(v), 'g', 4, 64)
	return []byte(strings.Replace(string(b), "e-0", "e-", 1)), nil
}

func hoverData(curves []*curve, unit string, end time.Duration) template.JS {
	h := hover{Unit: unit, End: sig(end.Seconds())}
	for _, l := range curves {
		x := hoverLine{Name: l.name, Style: l.style, Step: sig(l.step.Seconds())}
		top, differ := l.pts, false
		if l.upper != nil {
			top = l.upper
		}
		for i, b := range l.pts {
			x.Hi = append(x.Hi, sig(top[i].hi))
			x.Lo = append(x.Lo, sig(b.lo))
			differ = differ || b.lo != top[i].hi && !b.empty()
		}
		if !differ {
			x.Lo = nil
		}
		h.Lines = append(h.Lines, x)
	}
	return h.js()
}

// js is the JSON of h; encoding/json escapes <, > and &, so that it can stand in a script element.
func (h hover) js() template.JS {
	b, err := json.Marshal(h)
	if err != nil {
		return "null" // cannot happen: sig writes every number
	}
	return template.JS(b)
}
