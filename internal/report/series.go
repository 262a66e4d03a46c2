package report

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

// maxBins bounds the bins of one pulse: a longer run is drawn from coarser ones.
const maxBins = 1 << 18

// gap is one hole in the synthetic counter of a cluster.
type gap struct {
	cluster string
	from    time.Duration
	length  time.Duration
}

// outage is a time in which a component did not answer its scrape or probe.
type outage struct {
	component string
	from, to  time.Duration
}

// timeline is what the page draws from series.tsf and events.jsonl.
type timeline struct {
	end     time.Duration // of what happened; 0 when nothing did
	windows []scenario.Window
	step    time.Duration // of the pulses
	pulses  map[string][]float64
	lag     gauge
	query   gauge
	stall   gauge
	cpu     gauge
	buffers []gauge // beside Header.Buffers
	gaps    []gap
	lostInc map[string]float64 // by cluster
	down    []outage
}

// readTimeline reads the series of a run once.
func readTimeline(r *evidence.Run) *timeline {
	t := &timeline{step: r.Header.PulseEvery, pulses: map[string][]float64{}, lostInc: map[string]float64{}, buffers: make([]gauge, len(r.Header.Buffers))}
	p := r.Scenario.Phases
	for i := 0; (p.LoadTime()+p.Drain.D())/t.step > maxBins; i++ {
		t.step = t.step * []time.Duration{4, 5, 4}[i%3] / 2 // 100 ms, 200 ms, 500 ms, 1 s: a second stays a whole number of bins
	}
	t.extent(r)
	gauges := make([]evidence.FillGauge, len(r.Header.Buffers))
	for i, b := range r.Header.Buffers {
		gauges[i] = b.FillGauge()
	}
	since := map[string]time.Duration{} // component that is down, and since when
	inc := map[string]map[string]float64{}
	r.Series(func(at time.Duration, x evidence.Sample) error {
		for i, g := range gauges {
			if v, ok := g.Fill(x); ok {
				t.buffers[i].add(at, x.Labels.String(), v)
			}
		}
		switch c := x.Labels["cluster"]; x.Name {
		case evidence.PulseSeries:
			t.pulse(at, x)
		case evidence.LagSeries:
			if x.Labels["topic"] != "" {
				t.lag.add(at, x.Labels.String(), x.Value)
			}
		case evidence.QuerySeries:
			t.query.add(at, c, x.Value)
		case evidence.StallSeries:
			t.stall.add(at, "", x.Value)
		case evidence.CPUSeries:
			t.cpu.add(at, x.Labels["part"], x.Value)
		case evidence.GapSeries:
			t.gaps = append(t.gaps, gap{c, at, time.Duration(x.Value * 1e9)})
		case evidence.IncrementsSeries:
			if inc[c] == nil {
				inc[c] = map[string]float64{}
			}
			inc[c][x.Labels["instance"]] = x.Value
		case evidence.UpSeries:
			name := strings.Join(slices.DeleteFunc([]string{c, x.Labels["component"], x.Labels["instance"]}, func(s string) bool { return s == "" }), "/")
			if from, was := since[name]; was && x.Value != 0 {
				t.down = append(t.down, outage{name, from, at})
				delete(since, name)
			} else if !was && x.Value == 0 {
				since[name] = at
			}
		}
		return nil
	})
	for name, from := range since {
		if from < t.end {
			t.down = append(t.down, outage{name, from, t.end})
		}
	}
	slices.SortFunc(t.down, func(a, b outage) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.component, b.component))
	})
	for c, by := range inc {
		for _, v := range by {
			t.lostInc[c] += v
		}
	}
	return t
}

// extent finds how far the time line goes: to the last event, at least through the load unless the run was cut short
// before its start. The drain is drawn as long as it really was.
func (t *timeline) extent(r *evidence.Run) {
	if r.Header.Start.IsZero() {
		return
	}
	load := r.Scenario.Phases.LoadTime()
	t.end = load
	for _, e := range r.Events {
		if e.At > t.end && e.At < load+r.Scenario.Phases.Drain.D()+time.Hour {
			t.end = e.At
		}
	}
	for _, w := range r.Scenario.Phases.Windows() {
		if w.From < t.end {
			w.To = min(w.To, t.end)
			if w.Name == scenario.Drain {
				w.To = t.end
			}
			t.windows = append(t.windows, w)
		}
	}
}

func (t *timeline) pulse(at time.Duration, x evidence.Sample) {
	if at >= t.end || at < 0 {
		return
	}
	point := x.Labels["point"]
	bins := t.pulses[point]
	if bins == nil {
		bins = make([]float64, (t.end+t.step-1)/t.step)
		t.pulses[point] = bins
	}
	bins[at/t.step] += x.Value
}

// points are the observation points in the order of the path, with the name and the style of their curves.
var points = []struct {
	point, name string
	style       int
}{
	{"ledger", "written", 0},
	{evidence.PointKafka, "in Kafka", 1},
	{evidence.PointSearch, "searchable", 2},
	{evidence.PointDeadLetter, "dead-lettered", 3},
}

// rateStep is the length over which records are counted to a rate: a second, less for a run of a few seconds.
func (t *timeline) rateStep() time.Duration {
	step := time.Second
	if t.end < 20*time.Second {
		step = 200 * time.Millisecond
	}
	return (step + t.step - 1) / t.step * t.step
}

// throughput returns records a second at each point.
func (t *timeline) throughput() []*curve {
	var out []*curve
	step := t.rateStep()
	per := int(step / t.step)
	for _, p := range points {
		bins := t.pulses[p.point]
		if bins == nil {
			continue
		}
		vals := make([]float64, 0, len(bins)/per+1)
		for i := 0; i+per <= len(bins); i += per {
			var n float64
			for _, v := range bins[i : i+per] {
				n += v
			}
			vals = append(vals, n/step.Seconds())
		}
		out = append(out, newCurve(p.name, p.style, vals, step))
	}
	return out
}

// backlog returns the records between the points: counted at one and not yet at the next.
func (t *timeline) backlog() []*curve {
	between := func(in string, outs ...string) []float64 {
		a := t.pulses[in]
		if a == nil || t.pulses[outs[0]] == nil {
			return nil
		}
		vals := make([]float64, len(a))
		var n float64
		for i := range a {
			n += a[i]
			for _, o := range outs {
				if b := t.pulses[o]; b != nil {
					n -= b[i]
				}
			}
			vals[i] = math.Max(n, 0) // a record is seen before the write that sent it was counted, within one tick
		}
		return vals
	}
	var out []*curve
	if v := between("ledger", evidence.PointKafka); v != nil {
		out = append(out, newCurve("in front of Kafka (written, not in Kafka)", 0, v, t.step))
	}
	if v := between(evidence.PointKafka, evidence.PointSearch, evidence.PointDeadLetter); v != nil {
		out = append(out, newCurve("behind Kafka (in Kafka, not searchable)", 1, v, t.step))
	}
	if v := t.lag.values(t.gaugeStep(), t.end); v != nil {
		out = append(out, newCurve("consumer lag of the sink", 2, v, t.gaugeStep()))
	}
	return out
}

// gaugeStep is the step at which gauges are drawn; components are scraped each second.
func (t *timeline) gaugeStep() time.Duration { return max(time.Second, t.end/maxBins) }
