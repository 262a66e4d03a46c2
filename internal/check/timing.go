package check

import (
	"fmt"
	"slices"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/stats"
)

// Bounds of the harness's own timing. A phase in which one is exceeded proves nothing about latency or throughput.
const (
	// lagFloor and lagShare bound the 99th percentile of generator lag: latency counts from the scheduled time, so lag
	// adds to it. It may add 5 % to the phase's own p99 of kafka_latency, and 100 ms in any case, which is the finest
	// step that recovery is told in. A noisy machine of two cores stays below it, a generator that stands still does not.
	lagFloor = 100 * time.Millisecond
	lagShare = 0.05
	// minLag is how many records a source must have sent in a phase to be late by itself: a hundredth of fewer is one of them, or two.
	minLag = 200
	// maxDropped is the share of the schedule that the generator may leave out: above it the load was another one.
	maxDropped = 0.001
	// A second is saturated when the process used this share of all processors, or a goroutine that could run waited
	// this long for one (a tenth of a second is the resolution of every pulse).
	busyCPU   = 0.95
	busyStall = 0.1
	// busyShare of the seconds of a phase may be saturated before the phase is.
	busyShare = 0.1
)

// timing finds the phases in which the generator was late or the machine saturated.
func (j *judge) timing() {
	for _, w := range j.lat.phases {
		if !judgedPhase(w.Name) {
			continue
		}
		if why := j.lateIn("", w.Name); why != "" {
			j.late[w.Name] = why
		}
		if n, all := j.busySeconds(w); all > 0 && n >= 2 && float64(n) > busyShare*float64(all) {
			j.busy[w.Name] = fmt.Sprintf("the machine was saturated in %d of %d seconds", n, all)
		}
	}
}

// lateIn says that the generators of a source were late in a phase, or with "" all of them together; empty when they were not. A source of few
// records is hidden by one of many: figures of it alone would be taken for the system's.
func (j *judge) lateIn(source, phase string) string {
	lag := j.lat.pick("generator_lag", source, "", phase, evidence.Exact)
	if lag.Count() == 0 || source != "" && lag.Count() < minLag {
		return ""
	}
	p99, _ := lag.Quantile(0.99)
	bound := lagFloor
	if d, ok := j.lat.pick("kafka_latency", source, "", phase, evidence.Exact).Quantile(0.99); ok {
		bound = max(bound, time.Duration(lagShare*float64(d)))
	}
	if p99 <= bound {
		return ""
	}
	of := "its records"
	if source != "" {
		of = "the records of " + source
	}
	return fmt.Sprintf("the generator was late: 1 %% of %s by more than %v (bound %v)", of, p99.Round(time.Millisecond), bound.Round(time.Millisecond))
}

// lagP99 is the 99th percentile of the generators' lag in seconds, of a source or of those of a topic or of all, in a phase or in all judged
// ones; 0 when not known.
func (j *judge) lagP99(source, topic, phase string) float64 {
	var all stats.Hist
	for _, s := range j.acc.sources() {
		if (source == "" || s == source) && (topic == "" || slices.ContainsFunc(j.s.Streams(), func(x scenario.Stream) bool { return x.Source == s && x.Topic == topic })) {
			all.Merge(j.lat.pick("generator_lag", s, "", phase, evidence.Exact))
		}
	}
	d, _ := all.Quantile(0.99)
	return d.Seconds()
}

// lagKnown reports whether the generator's lag was recorded in every judged phase.
func (j *judge) lagKnown() bool {
	for _, w := range j.lat.phases {
		if judgedPhase(w.Name) && j.lat.pick("generator_lag", "", "", w.Name, evidence.Exact).Count() == 0 {
			return false
		}
	}
	return true
}

// busySeconds counts the saturated seconds of a phase among those with a reading. Readings that did not change are not
// repeated in the evidence, so each holds until the next; but not while the harness was dead, nor beyond the end of all readings.
func (j *judge) busySeconds(w scenario.Window) (busy, all int) {
	if len(j.ser.stall) == 0 && len(j.ser.cpu) == 0 {
		return 0, 0
	}
	hold := func(rs []reading) func(time.Duration) (float64, bool) {
		i := 0
		return func(t time.Duration) (float64, bool) {
			for i < len(rs) && rs[i].at < t {
				i++
			}
			if i == 0 {
				return 0, false
			}
			return rs[i-1].v, true
		}
	}
	stall := hold(j.ser.stall)
	var parts []func(time.Duration) (float64, bool)
	for _, rs := range j.ser.cpu {
		parts = append(parts, hold(rs))
	}
	for s := w.From; s < w.To && s < j.ser.end; s += time.Second {
		if _, dead := j.unseen(s, s+time.Second); dead {
			continue
		}
		st, known := stall(s + time.Second)
		cores := 0.0
		for _, p := range parts {
			if v, ok := p(s + time.Second); ok {
				cores += v
				known = true
			}
		}
		if !known {
			continue
		}
		all++
		if st >= busyStall || j.r.Header.Host.CPUs > 0 && cores >= busyCPU*float64(j.r.Header.Host.CPUs) {
			busy++
		}
	}
	return busy, all
}

// saturationCheck judges that the harness did not measure itself.
func saturationCheck(j *judge) *judged {
	c := &judged{files: []string{evidence.SeriesName}}
	c.Unit = "share of seconds"
	c.Limit = new(busyShare)
	busy, all := 0, 0
	for _, w := range j.lat.phases {
		if judgedPhase(w.Name) {
			b, a := j.busySeconds(w)
			busy, all = busy+b, all+a
		}
	}
	if all == 0 {
		return c.set(Inconclusive, "how busy the machine was is not recorded")
	}
	c.Value = new(float64(busy) / float64(all))
	for _, w := range j.lat.phases {
		if why := j.busy[w.Name]; why != "" {
			c.Windows = append(c.Windows, Span{w.From, w.To})
			c.Verdict = Invalid
			c.Detail = "in phase " + w.Name + " " + why + ": latency and throughput are the machine's, not the system's"
		}
	}
	if c.Verdict == Invalid {
		return c
	}
	return c.set(Pass, "%d of %d seconds were saturated", busy, all)
}

// throughput is the mean rate at each observation point by phase.
func (j *judge) throughput() []Throughput {
	out := []Throughput{}
	for _, point := range []string{"ledger", evidence.PointKafka, evidence.PointSearch} {
		l := j.ser.pulse(point, nil)
		if l == nil {
			continue
		}
		for _, w := range j.lat.phases {
			per := l.perSecond(w.From, w.To)
			if len(per) == 0 {
				continue
			}
			var sum float64
			low, high := per[0], per[0]
			for _, v := range per {
				sum += v
				low, high = min(low, v), max(high, v)
			}
			out = append(out, Throughput{Point: point, Phase: w.Name, Mean: sum / float64(len(per)), Min: low, Max: high})
		}
	}
	return out
}
