package check

import (
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
)

// maxBins bounds the bins of one pulse line; a longer run is judged at a coarser resolution, which Recovery says.
const maxBins = 1 << 18

// line counts records in bins of a fixed length from the start of the load.
type line struct {
	step time.Duration
	bins []float64
}

func (l *line) add(at time.Duration, v float64) {
	i := int(max(at, 0) / l.step)
	if i > 4*maxBins { // a time far behind the run's end can only be damage
		return
	}
	for len(l.bins) <= i {
		l.bins = append(l.bins, 0)
	}
	l.bins[i] += v
}

// sum is the number of records in [from, to); bins that are not wholly inside do not count.
func (l *line) sum(from, to time.Duration) float64 {
	if l == nil {
		return 0
	}
	var n float64
	for i := int((max(from, 0) + l.step - 1) / l.step); i < len(l.bins) && time.Duration(i+1)*l.step <= to; i++ {
		n += l.bins[i]
	}
	return n
}

// whole is the shortest length of at least d that is a whole number of bins: a window of another length leaves out what lies in bins on its border.
func (l *line) whole(d time.Duration) time.Duration {
	return (d + l.step - 1) / l.step * l.step
}

// rates returns the records a second in every window of about d inside [from, to), from the first border of a bin on.
func (l *line) rates(from, to, d time.Duration) []float64 {
	var out []float64
	if l == nil {
		return nil
	}
	d = l.whole(d)
	for s := l.whole(max(from, 0)); s+d <= to; s += d {
		out = append(out, l.sum(s, s+d)/d.Seconds())
	}
	return out
}

// perSecond returns the records of every whole second of [from, to), or of each bin where bins are longer, a second.
func (l *line) perSecond(from, to time.Duration) []float64 { return l.rates(from, to, time.Second) }

func (l *line) total() float64 {
	var n float64
	if l != nil {
		for _, b := range l.bins {
			n += b
		}
	}
	return n
}

// reading is one sample of a gauge.
type reading struct {
	at time.Duration
	v  float64
}

// parts are the last values of what makes one figure together, by labels.
type parts map[string]float64

// set takes a new value of one part and returns the sum of all.
func (p parts) set(labels evidence.Labels, v float64) float64 {
	p[labels.String()] = v
	var sum float64
	for _, x := range p {
		sum += x
	}
	return sum
}

// gauge is the sum over the instances of a series, as readings in the order of time.
type gauge struct {
	readings []reading
	last     parts
}

func (g *gauge) add(at time.Duration, labels evidence.Labels, v float64) {
	if g.last == nil {
		g.last = parts{}
	}
	sum := g.last.set(labels, v)
	if k := len(g.readings); k > 0 && at-g.readings[k-1].at < time.Second && at/time.Second == g.readings[k-1].at/time.Second {
		g.readings[k-1].v = sum // one reading a second is enough; the last of it counts
		return
	}
	g.readings = append(g.readings, reading{at, sum})
}

// series is what judging keeps of series.tsf.
type series struct {
	step     time.Duration
	pulses   map[string]map[string]*line // by point and source
	counters *counters
	stall    []reading
	cpu      map[string][]reading    // by part
	cpuTotal map[[2]string][]reading // by part and cluster
	query    map[string][]reading    // by cluster
	lag      gauge
	buffers  []gauge // beside Header.Buffers
	gaps     map[string][]reading
	lostInc  map[string]map[string]float64 // by cluster and instance: the last value
	tracks   map[string]*track             // what the check trend looks at, by series and whose it is
	away     map[string][]Span             // when an instance did not answer, by process
	silent   map[string]time.Duration      // since when one does not
	restarts map[string]*restarts          // by process
	any      bool
	end      time.Duration // of the last sample
}

func newSeries(r *evidence.Run) *series {
	s := &series{
		step: r.Header.PulseEvery, pulses: map[string]map[string]*line{}, counters: newCounters(r.Header.Created), cpu: map[string][]reading{}, cpuTotal: map[[2]string][]reading{},
		query: map[string][]reading{}, gaps: map[string][]reading{}, tracks: map[string]*track{}, away: map[string][]Span{}, silent: map[string]time.Duration{}, restarts: map[string]*restarts{}, lostInc: map[string]map[string]float64{}, buffers: make([]gauge, len(r.Header.Buffers)),
	}
	p := r.Scenario.Phases
	for (p.LoadTime()+p.Drain.D())/s.step > maxBins {
		s.step *= 2
	}
	s.counters.written.step = max(s.step, time.Second)
	gauges := make([]evidence.FillGauge, len(r.Header.Buffers))
	for i, b := range r.Header.Buffers {
		gauges[i] = b.FillGauge()
	}
	var batch []evidence.Sample
	var at time.Duration
	r.Series(func(t time.Duration, x evidence.Sample) error {
		s.any, s.end = true, max(s.end, t)
		if t != at {
			s.counters.batch(at, batch)
			batch, at = batch[:0], t
		}
		batch = append(batch, x)
		for i, g := range gauges {
			if v, ok := g.Fill(x); ok {
				s.buffers[i].add(t, x.Labels, v)
			}
		}
		s.own(t, x)
		s.track(t, x)
		return nil
	})
	s.counters.batch(at, batch)
	for _, e := range r.Events {
		if e.Kind == evidence.EventRestart {
			s.counters.restart(e)
		}
	}
	for process, from := range s.silent {
		s.away[process] = append(s.away[process], Span{from, forever})
	}
	return s
}

// answered notes since when an instance does not answer, or that it does again. Only changes are written.
func (s *series) answered(at time.Duration, process string, up bool) {
	from, silent := s.silent[process]
	switch {
	case !up && !silent:
		s.silent[process] = at
	case up && silent:
		delete(s.silent, process)
		s.away[process] = append(s.away[process], Span{from, at})
	}
}

// searchFailed reports whether a probe search that began in [from, to) failed: those from the first that did to the first that did not again.
func (s *series) searchFailed(from, to time.Duration) bool {
	for process, spans := range s.away {
		if !strings.HasSuffix(process, "/elasticsearch/search") {
			continue
		}
		for _, x := range spans {
			lo, hi := max(from, x.From), min(to, x.To)
			if x.From >= from && x.From < to {
				return true
			}
			for _, qs := range s.query {
				if slices.ContainsFunc(qs, func(q reading) bool { return q.at >= lo && q.at < hi }) {
					return true
				}
			}
		}
	}
	return false
}

// own takes the series that Triad itself writes.
func (s *series) own(t time.Duration, x evidence.Sample) {
	switch x.Name {
	case evidence.PulseSeries:
		p := s.pulses[x.Labels["point"]]
		if p == nil {
			p = map[string]*line{}
			s.pulses[x.Labels["point"]] = p
		}
		l := p[x.Labels["source"]]
		if l == nil {
			l = &line{step: s.step}
			p[x.Labels["source"]] = l
		}
		l.add(t, x.Value)
	case evidence.StallSeries:
		s.stall = append(s.stall, reading{t, x.Value})
	case evidence.CPUSeries:
		s.cpu[x.Labels["part"]] = append(s.cpu[x.Labels["part"]], reading{t, x.Value})
	case evidence.CPUTotalSeries:
		k := [2]string{x.Labels["part"], x.Labels["cluster"]}
		s.cpuTotal[k] = append(s.cpuTotal[k], reading{t, x.Value})
	case evidence.QuerySeries:
		s.query[x.Labels["cluster"]] = append(s.query[x.Labels["cluster"]], reading{t, x.Value})
	case evidence.LagSeries:
		if x.Labels["topic"] != "" {
			s.lag.add(t, x.Labels, x.Value)
		}
	case evidence.GapSeries:
		c := x.Labels["cluster"]
		s.gaps[c] = append(s.gaps[c], reading{t, x.Value})
	case evidence.IncrementsSeries:
		c := x.Labels["cluster"]
		if s.lostInc[c] == nil {
			s.lostInc[c] = map[string]float64{}
		}
		s.lostInc[c][x.Labels["instance"]] = x.Value
	}
}

// pulse is the line of a point over the given sources; nil sources means all. It is nil when there is no pulse at all.
func (s *series) pulse(point string, sources []string) *line {
	all := s.pulses[point]
	var out *line
	take := func(l *line) {
		if l == nil {
			return
		}
		if out == nil {
			out = &line{step: s.step}
		}
		for i, v := range l.bins {
			if v != 0 {
				out.add(time.Duration(i)*s.step, v)
			}
		}
	}
	if sources == nil {
		for _, l := range all {
			take(l)
		}
		return out
	}
	for _, src := range sources {
		take(all[src])
	}
	return out
}
