package schedule

import (
	"math"
	"math/rand/v2"
	"time"

	"triad/internal/scenario"
)

// Schedule yields the due times of one stream, in order. It is not safe for concurrent use.
type Schedule struct {
	segs []segment
	end  float64 // expected number of records in all segments
	at   int     // segment of the last time
	n    uint64  // next record
	next float64 // cumulative number at which it is due
	rng  *rand.Rand
}

// segment is a piece of the time line on which the rate changes linearly.
type segment struct {
	from, to float64 // s
	r0, r1   float64 // records/s at its ends
	cum      float64 // expected records before it
}

// New returns the schedule of one stream of s: its load's rate shared by all streams of that load, over the load time
// of s. With uniform arrivals the streams of a load are offset against each other, so that together they are evenly
// spaced; with poisson arrivals the gaps are exponential (PCG seeded with seed and stream id).
func New(s *scenario.Scenario, st scenario.Stream) *Schedule {
	in := s.Load[st.Load]
	sc := &Schedule{}
	share := 1 / float64(in.Streams)
	rate, at := float64(in.Rate), 0.0
	add := func(to, r0, r1 float64) {
		if to > at {
			g := segment{at, to, r0 * share, r1 * share, sc.end}
			sc.segs = append(sc.segs, g)
			sc.end += (g.r0 + g.r1) / 2 * (to - at)
			at = to
		}
	}
	for _, stage := range in.Shape {
		from := s.Phases.Resolve(stage.At).Seconds()
		add(from, rate, rate)
		add(from+stage.Over.D().Seconds(), rate, float64(stage.Rate))
		rate = float64(stage.Rate)
	}
	add(s.Phases.LoadTime().Seconds(), rate, rate)
	if in.Arrivals == "poisson" {
		sc.rng = rand.New(rand.NewPCG(s.Seed, uint64(st.ID)+1))
		sc.next = sc.rng.ExpFloat64()
	} else {
		sc.next = offset(s, st)
	}
	return sc
}

// offset spreads the streams of a load evenly over the gap between two records of one stream.
func offset(s *scenario.Scenario, st scenario.Stream) float64 {
	first := 0
	for i := range st.Load {
		first += s.Load[i].Streams
	}
	return float64(int(st.ID)-first) / float64(s.Load[st.Load].Streams)
}

// Next returns the due time of the next record from the start of the load; ok is false after the last.
func (s *Schedule) Next() (due time.Duration, ok bool) {
	const slack = 1e-9 // rounding of sums must not lose the last record of a whole number
	if s.next >= s.end-slack {
		return 0, false
	}
	for s.at+1 < len(s.segs) && s.segs[s.at+1].cum <= s.next {
		s.at++
	}
	g := s.segs[s.at]
	due = time.Duration(math.Round((g.from + g.solve(s.next-g.cum)) * 1e9))
	s.n++
	if s.rng != nil {
		s.next += s.rng.ExpFloat64()
	} else {
		s.next++
	}
	return due, true
}

// Seq is the sequence number of the record that Next returns next.
func (s *Schedule) Seq() uint64 { return s.n }

// solve returns the time after g.from at which n records are due: the root of r0*t + (r1-r0)/(2*len)*t^2 = n.
func (g segment) solve(n float64) float64 {
	a := (g.r1 - g.r0) / (2 * (g.to - g.from))
	if math.Abs(a) < 1e-12 {
		if g.r0 == 0 {
			return g.to - g.from
		}
		return n / g.r0
	}
	// The form without cancellation, for a of either sign.
	root := math.Sqrt(math.Max(g.r0*g.r0+4*a*n, 0))
	return 2 * n / (g.r0 + root)
}

// Count returns how many records are due before t; t at or after the end of the load gives all of them.
func Count(s *scenario.Scenario, st scenario.Stream, t time.Duration) uint64 {
	sc := New(s, st)
	for {
		due, ok := sc.Next()
		if !ok || due >= t {
			if ok {
				return sc.n - 1
			}
			return sc.n
		}
	}
}

// Mean returns the records a second of all loads together, over the whole time in which there is load.
func Mean(s *scenario.Scenario) float64 {
	var records float64
	for i, l := range s.Load {
		records += New(s, scenario.Stream{Load: i}).end * float64(l.Streams)
	}
	return records / s.Phases.LoadTime().Seconds()
}

// Rate returns the scheduled rate of a whole load at t in records a second.
func Rate(s *scenario.Scenario, load int, t time.Duration) float64 {
	sc := New(s, scenario.Stream{Load: load, ID: 0})
	x := t.Seconds()
	for _, g := range sc.segs {
		if x < g.to {
			return (g.r0 + (g.r1-g.r0)*(x-g.from)/(g.to-g.from)) * float64(s.Load[load].Streams)
		}
	}
	return 0
}
