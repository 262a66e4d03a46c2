package check

import (
	"cmp"
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
	known   bool             // there were faults and something to see them by
	faults  []*faultRecovery // beside judge.faults
}

func (rec *recovery) result() Recovery {
	out := rec.res
	for _, x := range rec.faults {
		if x.Verdict == "" {
			x.Verdict, x.Detail = Inconclusive, "it never acted, or nothing was counted to see its end by"
		}
		out.Faults = append(out.Faults, x.FaultRecovery)
	}
	return out
}

// faultRecovery is how the system came back after one fault.
type faultRecovery struct {
	FaultRecovery
	f        *faultState
	res      Recovery
	point    string
	from     time.Duration // injection
	relief   time.Duration
	acted    bool // it was injected and there was something to see it by
	relieved bool
	untold   string      // why a time that was not seen could not have been; empty when it could
	next     *faultState // the next to strike behind relief; nil: none
	nextAt   time.Duration
}

// took is how long recovery took: the slowest of the three times behind the relief. ok is false when one was not seen.
func (x *faultRecovery) took() (time.Duration, bool) {
	if x.res.FirstGood == nil || x.res.Drained == nil || x.res.InBand == nil {
		return 0, false
	}
	return x.latest(), true
}

// latest is the slowest of the times that were seen.
func (x *faultRecovery) latest() time.Duration {
	slowest := int64(0)
	for _, v := range []*int64{x.res.FirstGood, x.res.Drained, x.res.InBand} {
		if v != nil {
			slowest = max(slowest, *v)
		}
	}
	return time.Duration(slowest)
}

// least is a time that recovery took for certain: where another fault struck before it was over, only what lies before that
// one is this fault's alone.
func (x *faultRecovery) least() time.Duration {
	took, ok := x.took()
	if x.next != nil && (!ok || x.relief+took > x.nextAt) {
		return x.nextAt - x.relief
	}
	return took
}

// stay is how long the backlog must stay down, or the figures in their band, before the system counts as back.
const stay = 3 * time.Second

// newRecovery derives the four times of every fault from the pulses. It looks at the first observation point behind a fault:
// Kafka for faults in front of it or in it, the store for faults behind it. The times of the run are those of the worst fault.
func newRecovery(j *judge) *recovery {
	rec := &recovery{point: evidence.PointKafka, backlog: map[string]*line{}}
	rec.res.Resolution, rec.res.InBandResolution = int64(j.ser.step), int64(max(j.lat.window, time.Second))
	switch spread, crosses, why := j.spread(); {
	case why != "":
		rec.res.ClockUnknown = why
	case crosses:
		rec.res.ClockBound = new(int64(spread))
	}
	ledger, kafka, search := j.ser.pulse("ledger", nil), j.ser.pulse(evidence.PointKafka, nil), j.ser.pulse(evidence.PointSearch, nil)
	kafka = lifted(kafka, search)
	rec.backlog[segLedgerKafka] = backlog(ledger, kafka, float64(j.total.SeenKafka))
	rec.backlog[segKafkaSearch] = backlog(kafka, search, float64(j.total.Seen))
	before, ok := j.phase(scenario.Before)
	for _, f := range j.faults {
		x := &faultRecovery{f: f, point: evidence.PointKafka, res: rec.res}
		x.Fault = f.Name
		rec.faults = append(rec.faults, x)
		arrivals := kafka
		if f.touches(scenario.Monitoring) && search != nil {
			x.point, arrivals = evidence.PointSearch, search
			x.res.Resolution = max(x.res.Resolution, int64(searchStep(search)))
		}
		from, _, acted := f.active()
		if !acted || !ok || ledger == nil || arrivals == nil {
			continue
		}
		x.from, x.acted = from, true
		x.relief, x.relieved = f.relief()
		x.next, x.nextAt = j.nextFault(x)
		rec.noticed(j, x, before, ledger, arrivals)
		if x.relieved {
			rec.firstGood(x, arrivals)
			rec.drained(j, x, before)
			rec.inBand(j, x, before, ledger, arrivals)
		}
		x.judge(j, j.s.RecoverIn.D())
	}
	if w := rec.worst(); w != nil {
		rec.res, rec.point, rec.known = w.res, w.point, true
		if len(rec.faults) > 1 {
			rec.res.Fault = w.Fault
		}
		if !w.relieved {
			rec.why = "no fault was healed"
		}
	} else {
		rec.why = "no fault acted, or nothing was counted at " + rec.point
	}
	return rec
}

// nextFault is the first other fault that acts behind the relief of x, and from when.
func (j *judge) nextFault(x *faultRecovery) (*faultState, time.Duration) {
	var next *faultState
	var at time.Duration
	for _, f := range j.faults {
		from, to, acted := f.active()
		if f == x.f || !acted || to <= x.relief {
			continue
		}
		if from = max(from, x.relief); next == nil || from < at {
			next, at = f, from
		}
	}
	return next, at
}

// worst is the fault whose recovery counts: the one with the worst verdict; of equal ones the one after which more was not seen
// again, then the one that certainly took longest, then the longest. nil when no fault acted.
func (rec *recovery) worst() *faultRecovery {
	var out *faultRecovery
	for _, x := range rec.faults {
		if x.acted && (out == nil || x.worse(out)) {
			out = x
		}
	}
	return out
}

func (x *faultRecovery) worse(than *faultRecovery) bool {
	missing := func(f *faultRecovery) int {
		n := 0
		for _, v := range []*int64{f.res.FirstGood, f.res.Drained, f.res.InBand} {
			if v == nil {
				n++
			}
		}
		return n
	}
	a, _ := x.took()
	b, _ := than.took()
	return cmp.Or(cmp.Compare(rank[x.Verdict], rank[than.Verdict]), cmp.Compare(missing(x), missing(than)), cmp.Compare(x.least(), than.least()), cmp.Compare(a, b)) > 0
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

// lifted is what had come to a point by what was counted there, or at the next where that was more: what is searchable was in Kafka before,
// whether its observer had seen it or not. Behind the kill of a broker an observer on kind was 20 s late.
func lifted(at, next *line) *line {
	if at == nil || next == nil {
		return at
	}
	l := &line{step: at.step, bins: make([]float64, max(len(at.bins), len(next.bins)))}
	total := at.total()
	var a, b, was float64
	for i := range l.bins {
		if i < len(at.bins) {
			a += at.bins[i]
		}
		if i < len(next.bins) {
			b += next.bins[i]
		}
		is := min(max(a, b), total)
		l.bins[i], was = is-was, is
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
func (rec *recovery) noticed(j *judge, x *faultRecovery, before scenario.Window, lines ...*line) {
	from, first := x.from, x.f.bit
	_, to, _ := x.f.active()
	to = min(to+stay, j.s.Phases.LoadTime())
	if x.next != nil && x.nextAt > from {
		to = min(to, max(x.nextAt, from+time.Second))
	}
	for _, l := range lines {
		band := stats.BandOf(l.perSecond(before.From, before.To))
		if math.IsNaN(band.Lo) || band.Lo <= 0 {
			continue // the rate falls to nothing by itself
		}
		second := l.whole(time.Second)
		start := from
		if second > time.Second {
			start = l.whole(from) // bins are longer than a second: what is not on their borders is no whole one
		}
		for t := start; t+second <= to; t += l.step {
			if l.sum(t, t+second)/second.Seconds() < band.Lo/2 {
				// The last bin with records in this second is where the flow stopped.
				at := t
				for k := t; k < t+second; k += l.step {
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
		x.res.Noticed = new(int64(max(*first-from, 0)))
	}
}

func (rec *recovery) firstGood(x *faultRecovery, arrivals *line) {
	relief := x.relief
	for i := int(relief / arrivals.step); i < len(arrivals.bins); i++ {
		if arrivals.bins[i] > 0 {
			// Seen somewhere in this bin; its end is the time at which it is certain.
			x.res.FirstGood = new(int64(max(time.Duration(i+1)*arrivals.step-relief, 0)))
			return
		}
	}
}

// drained is the first moment after which the backlog stays in its before-band. Records that were lost never leave the
// backlog, so the band is raised by them.
func (rec *recovery) drained(j *judge, x *faultRecovery, before scenario.Window) {
	relief := x.relief
	b, lost := rec.backlog[segLedgerKafka], j.segs[1].Lost+j.segs[1].Unknown
	if j.incomplete(evidence.PointKafka) != "" {
		lost = 0 // not proven: the backlog has to go, or it is not known when it went
	}
	if x.point == evidence.PointSearch {
		b, lost = rec.backlog[segKafkaSearch], j.total.DeadLettered
		if j.hasStore() && j.incomplete(evidence.PointSearch) == "" {
			lost += j.segs[2].Lost
		}
	}
	vals := b.slice(before.From, before.To)
	if len(vals) == 0 {
		x.untold = "the phase before has no backlog to compare with"
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
	x.res.Drained = new(int64(max(d-relief, 0)))
	if top < at && high > limit {
		span := (time.Duration(at-top) * b.step).Seconds()
		x.res.DrainRate = new((high - b.bins[at]) / span)
	}
}

// inBand is the first second from which, for the time of stay, the share of records that arrive and their latency are in
// their before-bands. The rate is judged against what was acknowledged in the same time, so that a changing load is not
// a sickness, and over the whole of stay, because flush intervals and batches make single seconds uneven.
func (rec *recovery) inBand(j *judge, x *faultRecovery, before scenario.Window, ledger, arrivals *line) {
	relief, stay := x.relief, arrivals.whole(stay)
	ratio := func(s time.Duration) (float64, bool) {
		in := ledger.sum(s, s+stay)
		return arrivals.sum(s, s+stay) / max(in, 1), in > 0
	}
	metric := "kafka_latency"
	if x.point == evidence.PointSearch {
		metric = "e2e_latency"
	}
	all := func(string) bool { return true }
	end := j.s.Phases.LoadTime()
	start := relief.Truncate(time.Second)
	if start < relief {
		start += time.Second
	}
	if per := arrivals.perSecond(start, end); len(per) > 0 {
		x.res.PeakRate = new(slices.Max(per))
		x.res.LiveRate = new(ledger.sum(start, end) / (end - start).Seconds())
	}
	var ratios []float64
	for s := before.From; s+stay <= before.To; s += time.Second {
		if v, ok := ratio(s); ok {
			ratios = append(ratios, v)
		}
	}
	lat := stats.BandOf(values(j.lat.perWindow(metric, all, before.From, before.To, 0.9, j.calmUntil(before.To))))
	told := x.res.FirstGood != nil && (x.res.Drained != nil || x.untold != "") // what is missing besides could have been seen
	switch {
	case start+stay > end:
		x.untold = fmt.Sprintf("the load ended %.1f s after the relief, and to be in band takes %v", (end - relief).Seconds(), stay)
		return
	case len(ratios) == 0:
		if told {
			x.untold = fmt.Sprintf("the phase before has no %v in which records were sent and seen, so there is no band to compare with", stay)
		}
		return
	case lat.N == 0:
		if told {
			x.untold = fmt.Sprintf("the phase before has no whole window of %v whose records had all arrived, so there is no band to compare with", j.lat.window)
		}
		return
	}
	rate := stats.BandOf(ratios)
	// However uneven the time before was: half of what comes in is never in band, a quarter more or less always is.
	low, high := min(max(rate.Lo, 0.5*rate.Median), 0.75*rate.Median), max(rate.Hi, 1.25*rate.Median)
	slow := map[time.Duration]bool{}
	for _, w := range j.lat.perWindow(metric, all, start-j.lat.window, end, 0.9, forever) {
		if w.v > lat.Hi*1.1 {
			for s := w.at.Truncate(time.Second); s < w.at+j.lat.window; s += time.Second {
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
			x.res.InBand = new(int64(s - relief))
			return
		}
	}
	x.untold = "" // this could have been seen
}

// recoveryCheck judges recovery against recoverWithin, or that there was one at all.
func recoveryCheck(j *judge) *judged {
	if len(j.faults) == 0 {
		return nil
	}
	c := &judged{
		files: []string{evidence.SeriesName, evidence.EventsFile, evidence.HistsName}, onFaults: true, interim: true, ownGaps: true,
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
	if why := j.incomplete(evidence.PointKafka); why != "" {
		return c.set(Inconclusive, "recovery cannot be told: %s", why) // what nobody saw arrive looks like what did not arrive
	}
	worst, n := j.rec.worst(), 0
	by := map[Verdict]int{}
	for _, x := range j.rec.faults {
		if x.acted {
			n++
			by[x.Verdict]++
		}
	}
	if took, ok := worst.took(); ok {
		c.Value = new(took.Seconds())
		if worst.next != nil && worst.Before != "" {
			c.Value = new(worst.least().Seconds())
		}
	}
	if n == 1 {
		return c.set(worst.Verdict, "%s", worst.Detail)
	}
	var others string
	if by[Pass] < n {
		others = fmt.Sprintf(" (%d of %d faults: pass)", by[Pass], n)
	} else {
		others = fmt.Sprintf(" (the slowest of %d faults)", n)
	}
	return c.set(worst.Verdict, "%s: %s%s", worst.Fault, worst.Detail, others)
}

// clock is by how much the clocks may put the times off; 0 where there is one clock.
func (r *Recovery) clock() time.Duration {
	if r.ClockBound == nil {
		return 0
	}
	return time.Duration(*r.ClockBound)
}

// judge compares the recovery of one fault with the time that it has.
func (x *faultRecovery) judge(j *judge, limit time.Duration) {
	res := x.res
	x.Noticed, x.FirstGood, x.Drained, x.InBand = res.Noticed, res.FirstGood, res.Drained, res.InBand
	if x.relieved {
		x.Relief = new(int64(x.relief))
	}
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
	took, seen := x.took()
	least := took
	if x.next != nil && (!seen || x.relief+took > x.nextAt) {
		least = x.least()
		x.Before, x.AtLeast = x.next.Name, new(int64(least))
		if least == 0 {
			text += fmt.Sprintf("; %s was acting still, so this is the time of both", x.Before)
		} else {
			text += fmt.Sprintf("; %s struck %.1f s after the heal, before it was back, so this is the time of both", x.Before, least.Seconds())
		}
	}
	set := func(v Verdict, format string, args ...any) {
		x.Verdict, x.Detail = v, fmt.Sprintf(format, args...)
	}
	clock := res.clock()
	resolution := time.Duration(res.InBandResolution) + clock
	// How long it could be watched: a limit beyond that cannot be missed, only not reached.
	watched := j.s.Phases.LoadTime() - x.relief
	end := j.s.Phases.LoadTime()
	if seen {
		end = x.relief + took + stay
	}
	before, _ := j.phase(scenario.Before)
	_, blind := j.unseen(before.From, before.To)
	gap, away := j.unseen(x.from, end)
	switch {
	case blind:
		set(Inconclusive, "%s; the harness was dead in the phase before, with which it is compared", text)
	case away:
		set(Inconclusive, "%s; the harness was dead from %s to %s, before it was seen to be back", text, spanWords(gap.From), spanWords(gap.To))
	case !seen && limit > 0 && watched < limit:
		set(Inconclusive, "%s; it was watched for %.1f s under load, less than the %v it has", text, watched.Seconds(), limit)
	case !seen && x.Before != "" && limit > 0 && least <= limit:
		// Nothing was seen to the end of the run, but only the first seconds are this fault's: the ones behind it are judged by their own.
		set(Inconclusive, "%s; %v is what it has", text, limit)
	case !seen && x.untold != "" && (limit == 0 || x.Before != "" || x.latest()-resolution <= limit):
		set(Inconclusive, "%s; %s", text, x.untold)
	case limit > 0 && res.ClockUnknown != "":
		set(Inconclusive, "%s; it has %v, and %s", text, limit, res.ClockUnknown)
	case !seen:
		set(Fail, "%s; it was watched for %.1f s under load", text, watched.Seconds())
	case limit > 0 && least-resolution > limit:
		set(Fail, "%s; it has %v", text, limit)
	case limit > 0 && took > limit && x.Before != "":
		set(Inconclusive, "%s; it has %v", text, limit)
	case limit > 0 && took+clock > limit:
		set(Inconclusive, "%s; it has %v, and the figure is only known to %v", text, limit, resolution)
	default:
		set(Pass, "%s", text)
	}
}
