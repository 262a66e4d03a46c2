package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"

	"triad/internal/scenario"
)

// svg collects the text of a drawing. Widths are percentages and heights pixels, so that a chart fills whatever width
// the page has while its text keeps its size: only the curves, in an inner drawing of plotWidth units, are stretched.
type svg struct{ strings.Builder }

const plotWidth = 1000

func (s *svg) f(format string, args ...any) { fmt.Fprintf(&s.Builder, format, args...) }

func (s *svg) html() template.HTML { return template.HTML(s.String()) }

// esc escapes text for an element or an attribute.
func esc(s string) string { return html.EscapeString(s) }

// pct prints a share of the width.
func pct(x float64) string { return strconv.FormatFloat(math.Round(x*1e5)/1e3, 'f', -1, 64) + "%" }

// num prints a coordinate with at most one decimal.
func num(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// scale maps values to the height of a plot: 0 is the top.
type scale struct {
	lo, hi float64
	log    bool
	height float64
}

func (s scale) y(v float64) float64 {
	lo, hi := s.lo, s.hi
	if s.log {
		v, lo, hi = math.Log10(math.Max(v, s.lo)), math.Log10(lo), math.Log10(hi)
	}
	if hi <= lo {
		return s.height
	}
	return s.height * (1 - math.Min(math.Max((v-lo)/(hi-lo), 0), 1))
}

// tick is one labelled place on an axis; minor ones go first where there is little room.
type tick struct {
	at    float64
	label string
	minor bool
}

// linearScale covers 0 to the next round figure above top, with its ticks.
func linearScale(top, height float64, binary bool) (scale, []float64) {
	if !(top > 0) {
		top = 1
	}
	step := niceStep(top/4, binary)
	hi := math.Ceil(top/step*1.02) * step
	var at []float64
	for v := 0.0; v <= hi+step/2; v += step {
		at = append(at, v)
	}
	return scale{lo: 0, hi: hi, height: height}, at
}

// niceStep is the smallest of 1, 2, 2.5 and 5 times a power of ten (of two for bytes) that is not below v.
func niceStep(v float64, binary bool) float64 {
	if binary {
		return math.Pow(2, math.Ceil(math.Log2(math.Max(v, 1))))
	}
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if m*p >= v*(1-1e-9) {
			return m * p
		}
	}
	return 10 * p
}

// logScale covers [lo, hi] from a 1, 2 or 5 times a power of ten to another, with a tick at each power, or at each of
// the three where there are few powers.
func logScale(lo, hi, height float64) (scale, []float64) {
	if !(lo > 0) || math.IsInf(lo, 0) {
		lo = 1e-3
	}
	hi = math.Max(hi, lo)
	var marks []float64 // 1, 2, 5, 10, ... around both ends
	for e := math.Floor(math.Log10(lo)) - 1; e <= math.Ceil(math.Log10(hi))+1; e++ {
		for _, m := range []float64{1, 2, 5} {
			marks = append(marks, m*math.Pow(10, e))
		}
	}
	const slack = 1e-6
	a, b := 0, len(marks)-1
	for a+1 < len(marks) && marks[a+1] <= lo*(1+slack) {
		a++
	}
	for b > 0 && marks[b-1] >= hi*(1-slack) {
		b--
	}
	if b-a < 2 {
		a, b = max(a-1, 0), min(a+2, len(marks)-1)
	}
	s := scale{lo: marks[a], hi: marks[b], log: true, height: height}
	decades := math.Log10(s.hi / s.lo)
	every := math.Max(1, math.Ceil(decades/6))
	var at []float64
	for i, v := range marks[a : b+1] {
		power := (i + a) % 3
		if decades <= 2 || power == 0 && math.Mod(math.Round(math.Log10(v)), every) == 0 {
			at = append(at, v)
		}
	}
	return s, at
}

// timeTicks are about six round times from 0 to end.
func timeTicks(end time.Duration) []tick {
	steps := []time.Duration{
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute,
		5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
	}
	step := steps[len(steps)-1]
	for _, s := range steps {
		if end/s <= 8 {
			step = s
			break
		}
	}
	for end/step > 12 {
		step *= 2
	}
	var out []tick
	for i, t := 0, time.Duration(0); t <= end; i, t = i+1, t+step {
		out = append(out, tick{float64(t) / float64(end), timeLabel(t, step), i%2 == 1})
	}
	return out
}

func timeLabel(t, step time.Duration) string {
	switch {
	case t == 0:
		return "0"
	case step < time.Minute && t < 2*time.Minute:
		return fmt.Sprintf("%d s", t/time.Second)
	case t < time.Hour:
		return fmt.Sprintf("%d:%02d", t/time.Minute, t%time.Minute/time.Second)
	case t < 72*time.Hour:
		return fmt.Sprintf("%d:%02d h", t/time.Hour, t%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d d", t/(24*time.Hour))
}

// shade is a fault on the time line of the charts.
type shade struct {
	number   int
	name     string
	from, to time.Duration
	open     bool // not seen to be over
}

// axis is what all charts over time share.
type axis struct {
	end     time.Duration
	windows []scenario.Window
	faults  []shade
	narrow  bool // the chart stands beside another
}

func (a axis) x(t time.Duration) float64 {
	if a.end <= 0 {
		return 0
	}
	return math.Min(math.Max(float64(t)/float64(a.end), 0), 1)
}

// Heights in pixels of the parts of a chart over time.
const (
	headHeight = 20 // names of the phases
	footHeight = 22 // times
)

// back draws phases and fault windows behind a plot of the given height, and the times below it.
func (a axis) back(s *svg, height float64) {
	for i, w := range a.windows {
		x, wd := a.x(w.From), a.x(w.To)-a.x(w.From)
		s.f(`<rect class="ph ph%d" x="%s" y="0" width="%s" height="%s"/>`, i%2, pct(x), pct(wd), num(height+headHeight))
		if class, ok := a.roomFor(w.Name, wd); ok {
			s.f(`<text class="phn%s" x="%s" dx="5" y="13.5">%s</text>`, class, pct(x), esc(w.Name))
		}
	}
	for _, f := range a.faults {
		x, wd := a.x(f.from), a.x(f.to)-a.x(f.from)
		s.f(`<rect class="fw" x="%s" y="%d" width="%s" height="%s"><title>%s</title></rect>`, pct(x), headHeight, pct(math.Max(wd, 0.001)), num(height),
			esc(fmt.Sprintf("fault %d: %s, from %s to %s", f.number, f.name, instant(f.from), instant(f.to))))
		s.f(`<line class="fl" x1="%s" x2="%s" y1="%d" y2="%s"/>`, pct(x), pct(x), headHeight, num(height+headHeight))
		if !f.open {
			s.f(`<line class="fl fe" x1="%s" x2="%s" y1="%d" y2="%s"/>`, pct(x+wd), pct(x+wd), headHeight, num(height+headHeight))
		}
	}
	for _, t := range timeTicks(a.end) {
		class, anchor := "", "middle"
		if t.minor {
			class = " t2"
		}
		switch {
		case t.at < 0.01:
			anchor = "start"
		case t.at > 0.97:
			anchor = "end"
		}
		s.f(`<line class="tk" x1="%s" x2="%s" y1="%s" y2="%s"/>`, pct(t.at), pct(t.at), num(height+headHeight), num(height+headHeight+4))
		s.f(`<text class="xl%s" x="%s" y="%s" text-anchor="%s">%s</text>`, class, pct(t.at), num(height+headHeight+17), anchor, esc(t.label))
	}
}

// front draws the numbers of the faults over the plot.
func (a axis) front(s *svg) {
	for _, f := range a.faults {
		x := pct(a.x(f.from))
		s.f(`<svg x="%s" y="%d" overflow="visible"><circle class="fm" cx="0" cy="9" r="8"/><text class="fmn" x="0" y="13" text-anchor="middle">%d</text></svg>`, x, headHeight, f.number)
	}
}

// roomFor says from which width of the page on a label fits into a share of it; the figures are the widths of a plot on
// a phone, a tablet and a desk.
func (a axis) roomFor(label string, share float64) (class string, ok bool) {
	need := float64(len(label))*6.8 + 10
	tablet, desk := 660.0, 960.0
	if a.narrow {
		tablet, desk = 370, 370
	}
	switch {
	case share*270 >= need:
		return "", true
	case share*tablet >= need:
		return " w2", true
	case share*desk >= need:
		return " w3", true
	}
	return "", false
}
