package check

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/stats"
)

// recovery is how the system came back after the faults.
type recovery struct {
	res     Recovery
	point   string
	why     string // why a time is missing
	backlog map[string]*line
	known   bool // there were faults and something to see them by
}

func (rec *recovery) result() Recovery { return rec.res }

// stay is how long the backlog must stay down, or the figures in their band, before the system counts as back.
const stay = 3 * time.Second

// newRecovery derives the four times from the pulses. It looks at the first observation point behind the faults: Kafka
// for faults in front of it or in it, the store for faults behind it.
func newRecovery(j *judge) *recovery {
	rec := &recovery{point: evidence.PointKafka, backlog: map[string]*line{}}
	rec.res.Resolution, rec.res.InBandResolution = int64(j.ser.step), int64(max(j.lat.window, time.Second))
	ledger, kafka, search := j.ser.pulse("ledger", nil), j.ser.pulse(evidence.PointKafka, nil), j.ser.pulse(evidence.PointSearch, nil)
	rec.backlog[segLedgerKafka] = backlog(ledger, kafka, float64(j.total.SeenKafka))
	rec.backlog[segKafkaSearch] = backlog(kafka, search, float64(j.total.Seen))
	behind := len(j.faults) > 0
	for _, f := range j.faults {
		behind = behind && f.touches(scenario.Monitoring)
	}
	arrivals := kafka
	if behind && search != nil {
		rec.point, arrivals = evidence.PointSearch, search
		rec.res.Resolution = max(rec.res.Resolution, int64(searchStep(search)))
	}
	from, _, acted := j.outage()
	relief, relieved := time.Duration(0), false
	for _, f := range j.faults {
		if t, ok := f.relief(); ok {
			relief, relieved = max(relief, t), true
		}
	}
	before, ok := j.phase(scenario.Before)
	if !acted || !ok || ledger == nil || arrivals == nil {
		rec.why = "no fault acted, or nothing was counted at " + rec.point
		return rec
	}
	rec.known = true
	rec.noticed(j, from, before, ledger, arrivals)
	if !relieved {
		rec.why = "no fault was healed"
		return rec
	}
	rec.firstGood(relief, arrivals)
	rec.drained(j, relief, before)
	rec.inBand(j, relief, before, ledger, arrivals)
	return rec
}

// phase is the window of a phase.
func (j *judge) phase(name string) (scenario.Window, bool) {
	for _, w := range j.lat.phases {
		if w.Name == name {
			return w, true
		}
	}
	return scenario.Window{}, false
}

// searchStep is how often the store's pulse was really taken: the most common distance of its non-empty bins.
func searchStep(l *line) time.Duration {
	counts := map[int]int{}
	last := -1
	for i, v := range l.bins {
		if v > 0 {
			if last >= 0 {
				counts[i-last]++
			}
			last = i
		}
	}
	best, n := 1, 0
	for d, c := range counts {
		if c > n || c == n && d < best {
			best, n = d, c
		}
	}
	return time.Duration(best) * l.step
}

// backlog is, for each bin, what was counted at one point and not yet at the next. The second line is scaled to the
// exact number of different records that arrived, so that what it counts twice does not hide what is missing.
func backlog(in, out *line, exact float64) *line {
	if in == nil || out == nil {
		return nil
	}
	scale := 1.0
	if t := out.total(); t > exact && exact > 0 {
		scale = exact / t
	}
	l := &line{step: in.step}
	var a, b float64
	for i := range max(len(in.bins), len(out.bins)) {
		if i < len(in.bins) {
			a += in.bins[i]
		}
		if i < len(out.bins) {
			b += out.bins[i] * scale
		}
		l.bins = append(l.bins, a-b)
	}
	return l
}

// slice returns the values of the bins in [from, to).
func (l *line) slice(from, to time.Duration) []float64 {
	if l == nil {
		return nil
	}
	lo, hi := int(max(from, 0)/l.step), int(max(to, 0)/l.step)
	if lo > len(l.bins) {
		lo = len(l.bins)
	}
	return l.bins[lo:max(lo, min(hi, len(l.bins)))]
}

// noticed is the first effect: what the fault's own watch saw, or the first moment at which the rate at the ledger or
// behind it fell out of its band.
func (rec *recovery) noticed(j *judge, from time.Duration, before scenario.Window, lines ...*line) {
	var first *time.Duration
	for _, f := range j.faults {
		if f.bit != nil && (first == nil || *f.bit < *first) {
			first = f.bit
		}
	}
	_, to, _ := j.outage()
	for _, l := range lines {
		band := stats.BandOf(l.perSecond(before.From, before.To))
		if math.IsNaN(band.Lo) || band.Lo <= 0 {
			continue // the rate falls to nothing by itself
		}
		for t := from; t+time.Second <= min(to+stay, j.s.Phases.LoadTime()); t += l.step {
			if l.sum(t, t+time.Second) < band.Lo/2 {
				// The last bin with records in this second is where the flow stopped.
				at := t
				for k := t; k < t+time.Second; k += l.step {
					if l.sum(k, k+l.step) > 0 {
						at = k + l.step
					} else if k > t {
						break
					}
				}
				if at >= from && (first == nil || at < *first) {
					first = new(at)
				}
				break
			}
		}
	}
	if first != nil {
		rec.res.Noticed = new(int64(max(*first-from, 0)))
	}
}

func (rec *recovery) firstGood(relief time.Duration, arrivals *line) {
	for i := int(relief / arrivals.step); i < len(arrivals.bins); i++ {
		if arrivals.bins[i] > 0 {
			// Seen somewhere in this bin; its end is the time at which it is certain.
			rec.res.FirstGood = new(int64(max(time.Duration(i+1)*arrivals.step-relief, 0)))
			return
		}
	}
}

// drained is the first moment after which the backlog stays in its before-band. Records that were lost never leave the
// backlog, so the band is raised by them.
func (rec *recovery) drained(j *judge, relief time.Duration, before scenario.Window) {
	b, lost := rec.backlog[segLedgerKafka], j.segs[1].Lost+j.segs[1].Unknown
	if rec.point == evidence.PointSearch {
		b, lost = rec.backlog[segKafkaSearch], j.total.DeadLettered
		if j.hasStore() {
			lost += j.segs[2].Lost
		}
	}
	vals := b.slice(before.From, before.To)
	if len(vals) == 0 {
		return
	}
	limit := 1.25*stats.BandOf(vals).Hi + float64(lost) // flushes at other moments make the peaks a quarter higher
	at, high, top := -1, 0.0, 0
	for i := int(relief / b.step); i < len(b.bins); i++ {
		if b.bins[i] > high {
			high, top = b.bins[i], i
		}
		if b.bins[i] > limit {
			at = -1
		} else if at < 0 {
			at = i
		}
		if at >= 0 && time.Duration(i-at)*b.step >= stay {
			break
		}
	}
	if at < 0 {
		return
	}
	d := time.Duration(at) * b.step
	rec.res.Drained = new(int64(max(d-relief, 0)))
	if top < at && high > limit {
		span := (time.Duration(at-top) * b.step).Seconds()
		rec.res.DrainRate = new((high - b.bins[at]) / span)
	}
}

// inBand is the first second from which, for the time of stay, the share of records that arrive and their latency are in
// their before-bands. The rate is judged against what was acknowledged in the same time, so that a changing load is not
// a sickness, and over the whole of stay, because flush intervals and batches make single seconds uneven.
func (rec *recovery) inBand(j *judge, relief time.Duration, before scenario.Window, ledger, arrivals *line) {
	ratio := func(s time.Duration) (float64, bool) {
		in := ledger.sum(s, s+stay)
		return arrivals.sum(s, s+stay) / max(in, 1), in > 0
	}
	metric := "kafka_latency"
	if rec.point == evidence.PointSearch {
		metric = "e2e_latency"
	}
	all := func(string) bool { return true }
	end := j.s.Phases.LoadTime()
	start := relief.Truncate(time.Second)
	if start < relief {
		start += time.Second
	}
	if per := arrivals.perSecond(start, end); len(per) > 0 {
		rec.res.PeakRate = new(slices.Max(per))
		rec.res.LiveRate = new(ledger.sum(start, end) / float64(len(per)))
	}
	var ratios []float64
	for s := before.From; s+stay <= before.To; s += time.Second {
		if v, ok := ratio(s); ok {
			ratios = append(ratios, v)
		}
	}
	lat := stats.BandOf(values(j.lat.perWindow(metric, all, before.From, before.To, 0.9, j.calmUntil(before.To))))
	if len(ratios) == 0 || lat.N == 0 {
		return
	}
	rate := stats.BandOf(ratios)
	// However uneven the time before was: half of what comes in is never in band, a quarter more or less always is.
	low, high := min(max(rate.Lo, 0.5*rate.Median), 0.75*rate.Median), max(rate.Hi, 1.25*rate.Median)
	slow := map[time.Duration]bool{}
	for _, x := range j.lat.perWindow(metric, all, start-j.lat.window, end, 0.9, forever) {
		if x.v > lat.Hi*1.1 {
			for s := x.at.Truncate(time.Second); s < x.at+j.lat.window; s += time.Second {
				slow[s] = true
			}
		}
	}
	for s := start; s+stay <= end; s += time.Second {
		v, ok := ratio(s)
		good := ok && v >= low && v <= high
		for k := s; k < s+stay; k += time.Second {
			good = good && !slow[k]
		}
		if good {
			rec.res.InBand = new(int64(s - relief))
			return
		}
	}
}

// recoveryCheck judges recovery against recoverWithin, or that there was one at all.
func recoveryCheck(j *judge) *judged {
	if len(j.faults) == 0 {
		return nil
	}
	c := &judged{
		files: []string{evidence.SeriesName, evidence.EventsFile, evidence.HistsName}, onFaults: true, interim: true,
		phases: []string{scenario.Before, scenario.During, scenario.After},
	}
	c.Unit = "s"
	limit := j.s.RecoverIn.D()
	if limit > 0 {
		c.Limit = new(limit.Seconds())
	}
	if !j.rec.known {
		return c.set(Inconclusive, "recovery cannot be told: %s", j.rec.why)
	}
	res := j.rec.res
	var parts []string
	for _, p := range []struct {
		name string
		v    *int64
	}{{"noticed", res.Noticed}, {"first good record", res.FirstGood}, {"drained", res.Drained}, {"in band", res.InBand}} {
		if p.v == nil {
			parts = append(parts, p.name+" not seen")
		} else {
			parts = append(parts, fmt.Sprintf("%s after %.1f s", p.name, time.Duration(*p.v).Seconds()))
		}
	}
	text := strings.Join(parts, ", ")
	slowest := int64(-1)
	for _, v := range []*int64{res.FirstGood, res.Drained, res.InBand} {
		if v == nil {
			slowest = -1
			break
		}
		slowest = max(slowest, *v)
	}
	// How long it could be watched: a limit beyond that cannot be missed, only not reached.
	var relief time.Duration
	for _, f := range j.faults {
		if t, ok := f.relief(); ok {
			relief = max(relief, t)
		}
	}
	watched := j.s.Phases.LoadTime() - relief
	if slowest < 0 {
		if limit > 0 && watched < limit {
			return c.set(Inconclusive, "%s; it was watched for %.1f s under load, less than the %v it has", text, watched.Seconds(), limit)
		}
		return c.set(Fail, "%s; it was watched for %.1f s under load", text, watched.Seconds())
	}
	took := time.Duration(slowest)
	c.Value = new(took.Seconds())
	switch {
	case limit > 0 && took-time.Duration(res.InBandResolution) > limit:
		return c.set(Fail, "%s; it has %v", text, limit)
	case limit > 0 && took > limit:
		return c.set(Inconclusive, "%s; it has %v, and the figure is only known to %v", text, limit, time.Duration(res.InBandResolution))
	}
	return c.set(Pass, "%s", text)
}
