package report

import (
	"math"
	"slices"
	"time"
)

// maxPoints bounds the buckets of a curve on the page: two for each pixel of a wide screen are no use, and eight curves
// of this length take some 100 kB.
const maxPoints = 480

// bucket is what a curve did in one piece of the time line: its smallest and largest value and which came first. NaN
// where it has none. Keeping both ends keeps every spike, however long the run.
type bucket struct {
	lo, hi float64
	rising bool // lo came before hi
}

var noBucket = bucket{lo: math.NaN(), hi: math.NaN()}

func (b bucket) empty() bool { return math.IsNaN(b.lo) }

func (b *bucket) add(v float64) {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
	case b.empty():
		*b = bucket{v, v, true}
	default:
		if v < b.lo {
			b.lo, b.rising = v, false
		}
		if v > b.hi {
			b.hi, b.rising = v, true
		}
	}
}

// curve is one line of a chart over time: bucket i covers [i*step, (i+1)*step).
type curve struct {
	name  string
	style int // colour and dash, fixed by what is shown so that it is the same in every chart
	step  time.Duration
	pts   []bucket
	upper []bucket // with pts the two ends of a band, when the curve is an interval
}

// thin merges values into at most maxPoints buckets.
func thin(vals []float64, step time.Duration) ([]bucket, time.Duration) {
	per := (len(vals) + maxPoints - 1) / maxPoints
	per = max(per, 1)
	out := make([]bucket, 0, len(vals)/per+1)
	for i := 0; i < len(vals); i += per {
		b := noBucket
		for _, v := range vals[i:min(i+per, len(vals))] {
			b.add(v)
		}
		out = append(out, b)
	}
	return out, step * time.Duration(per)
}

func newCurve(name string, style int, vals []float64, step time.Duration) *curve {
	c := &curve{name: name, style: style}
	c.pts, c.step = thin(vals, step)
	return c
}

func (c *curve) empty() bool {
	return c == nil || !slices.ContainsFunc(c.pts, func(b bucket) bool { return !b.empty() })
}

// extremes are the smallest and the largest value in [from, to) with their times; ok is false when there is none.
func (c *curve) extremes(from, to time.Duration) (lo, hi float64, loAt, hiAt time.Duration, ok bool) {
	lo, hi = math.Inf(1), math.Inf(-1)
	top := c.pts
	if c.upper != nil {
		top = c.upper
	}
	for i, b := range c.pts {
		at := time.Duration(i) * c.step
		if at < from || at >= to || b.empty() {
			continue
		}
		ok = true
		if b.lo < lo {
			lo, loAt = b.lo, at
		}
		if t := top[i]; !t.empty() && t.hi > hi {
			hi, hiAt = t.hi, at
		}
	}
	return lo, hi, loAt, hiAt, ok && !math.IsInf(hi, 0)
}

// last is the last value; NaN when there is none.
func (c *curve) last() float64 {
	for _, v := range slices.Backward(c.pts) {
		if b := v; !b.empty() {
			if b.rising {
				return b.hi
			}
			return b.lo
		}
	}
	return math.NaN()
}

// reading is one sample of a gauge, which holds until the next.
type reading struct {
	at time.Duration
	v  float64
}

// gauge is the sum over the instances of a series.
type gauge struct {
	readings []reading
	last     map[string]float64
}

func (g *gauge) add(at time.Duration, instance string, v float64) {
	if g.last == nil {
		g.last = map[string]float64{}
	}
	g.last[instance] = v
	var sum float64
	for _, x := range g.last {
		sum += x
	}
	if k := len(g.readings); k > 0 && g.readings[k-1].at == at {
		g.readings[k-1].v = sum
		return
	}
	g.readings = append(g.readings, reading{at, sum})
}

// values samples the gauge at every step up to end: the largest reading within the step, else the one that holds.
func (g *gauge) values(step, end time.Duration) []float64 {
	if len(g.readings) == 0 || step <= 0 {
		return nil
	}
	out := make([]float64, 0, end/step+1)
	k, held := 0, math.NaN()
	for t := time.Duration(0); t < end; t += step {
		v := math.NaN()
		for k < len(g.readings) && g.readings[k].at < t+step {
			held = g.readings[k].v
			if math.IsNaN(v) || held > v {
				v = held
			}
			k++
		}
		if math.IsNaN(v) {
			v = held
		}
		out = append(out, v)
	}
	return out
}
