package check

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/stats"
)

// Bounds of the check trend.
const (
	// trendStep is the shortest interval whose median is one point: longer than flushes, batches and collections of garbage.
	trendStep = 10 * time.Second
	// maxTrend bounds the points of one series; the slopes of all pairs are looked at.
	maxTrend = 240
	// minTrend is the fewest points that a trend is told from: with fewer, the interval of the slope is wider than any effect.
	minTrend = 12
	// trendHead is the share of the load, behind the warm-up, in which caches and heaps find their size; it is not judged.
	trendHead = 0.2
	// trendSettle is the least time behind a fault that is not judged, even when the system was back at once.
	trendSettle = 10 * time.Second
	// Minimum effects: memory that grows by less than 5 % over what is judged is flat, as issue and docs promise it. The floors
	// are what one collection of garbage, a handful of connections, or a second of load moves.
	trendShare = 0.05
	memoryStep = 16 << 20
	filesStep  = 8
	bufferStep = 4 << 20 // of a forwarder: chunks of every topic that are being filled
	chunkStep  = 16
	diskStep   = 4 << 20 // of a broker: what is written between two readings of its logs and of the counters
	// segmentStep is what a log has to lose between two points to have lost a segment. The two readings differ by a fifth of it.
	segmentStep = 1 << 20
	// shortFactor is how much more these move in a run shorter than growsUp: a heap of half a gigabyte wavers by as much as it may grow, and
	// clients that come back after each fault bring descriptors with them. Five brokers and workers in soaks of 20 minutes: up to 26 MiB
	// and 20 files at the upper bound, in a night nothing of it.
	shortFactor = 2.5
	// evidenceLimit is 100 MB in a night of six hours. Short runs are written in windows ten times as fine.
	evidenceLimit = 100e6 / night
	night         = 6 * 3600 // seconds
	fineEvidence  = 10
	// heldFactor is what a byte that is held may take: the collector of garbage lets a heap grow to twice what lives in it.
	heldFactor = 2
	// growsUp is how long a run must be for floors to be as low as they are, and for its own memory to have none: what one collection of
	// garbage moves, an hour evens out.
	growsUp = time.Hour
)

// tracked are the series that must not grow, and what they are called.
var tracked = map[string]trendKind{
	"process_resident_memory_bytes": {"memory", "bytes", memoryStep},
	"process_open_fds":              {"open files", "files", filesStep},
	"go_memstats_heap_inuse_bytes":  {"heap", "bytes", memoryStep},
	evidence.ResidentSeries:         {"memory", "bytes", memoryStep},
	evidence.FilesSeries:            {"open files", "files", filesStep},
	evidence.EvidenceSeries:         {"evidence", "bytes", 0},
	evidence.LagSeries:              {"lag of the sink", "records", 0},
	// Not judged by themselves: what is held is allowed to the memory, and a document takes its share of the store's bytes.
	evidence.HeldSeries:           {"held", "bytes", 0},
	evidence.StoreBytesSeries:     {"disk", "bytes", 0},
	evidence.StoreDocumentsSeries: {"documents", "", 0},
	// What forwarders hold on disk, and what brokers do: chunks that nobody sends any more, logs beyond what was written.
	"fluentbit_storage_fs_chunks":              {"buffer", "chunks", chunkStep},
	"fluentd_output_status_buffer_total_bytes": {"buffer", "bytes", bufferStep},
	diskSeries: {"disk beyond what was written", "bytes", diskStep},
}

// Of a broker: the size of its logs, and what is appended to all of them. With as many copies as brokers each keeps all of it.
const (
	diskSeries     = "kafka_log_log_size"
	appendedSeries = "kafka_server_brokertopicmetrics_bytesin_total"
)

type trendKind struct {
	what, unit string
	floor      float64
}

// track is the last value of an instance's series in each of its bins, NaN where it was not written again: of a series in several parts, as one
// for each topic, their sum.
type track struct {
	name    string
	who     string
	process string // of a component, as restarts know it
	parts   parts
	line
}

// restarts are the processes of a component's instance: when the last of them was first seen, and how many there were before it.
type restarts struct {
	started float64 // unix time of the process, as it says
	at      time.Duration
	before  int
}

func processOf(l evidence.Labels) string {
	return l["cluster"] + "/" + l["component"] + "/" + l["instance"]
}

// begun notes when the process of an instance began.
func (s *series) begun(at time.Duration, process string, started float64) {
	r := s.restarts[process]
	if r == nil {
		s.restarts[process] = &restarts{started: started}
		return
	}
	if started != r.started {
		*r = restarts{started, at, r.before + 1}
	}
}

func (t *track) set(at time.Duration, labels evidence.Labels, v float64) {
	v = t.parts.set(labels, v)
	i := int(max(at, 0) / t.step)
	if i > 4*maxBins {
		return
	}
	for len(t.bins) <= i {
		t.bins = append(t.bins, math.NaN())
	}
	t.bins[i] = v
}

// trackOf is the key of a track.
func trackOf(series, who string) string { return series + " " + who }

// blocks reports whether a sample follows the blocks of a Prometheus: its memory and its files grow for the two hours, or three, that its head
// grows, so their slope in a run says nothing of what is kept for ever.
func blocks(x evidence.Sample) bool {
	return x.Labels["component"] == "prometheus" && (x.Name == "process_resident_memory_bytes" || x.Name == "process_open_fds")
}

// track keeps a sample that the check trend looks at.
func (s *series) track(at time.Duration, x evidence.Sample) {
	if starts[x.Name] {
		s.begun(at, processOf(x.Labels), x.Value)
		return
	}
	if x.Name == evidence.UpSeries {
		s.answered(at, processOf(x.Labels), x.Value != 0)
		return
	}
	if _, ok := tracked[x.Name]; !ok || blocks(x) {
		return
	}
	who := x.Labels["component"]
	switch {
	case x.Labels["part"] != "":
		who = x.Labels["part"]
	case who != "" && x.Labels["instance"] != "":
		who = x.Labels["cluster"] + "/" + x.Labels["instance"]
	case x.Labels["topic"] != "":
		who = x.Labels["topic"]
	}
	key := trackOf(x.Name, who)
	t := s.tracks[key]
	if t == nil {
		t = &track{name: x.Name, who: who, process: processOf(x.Labels), parts: parts{}, line: line{step: max(s.step, time.Second)}}
		s.tracks[key] = t
	}
	t.set(at, x.Labels, x.Value)
}

// calmSpans are the parts of the load that a trend is told from: behind the warm-up and the time in which heaps and caches
// grow to their size, and without the faults and what followed them.
func (j *judge) calmSpans() []Span {
	end := j.s.Phases.LoadTime()
	if j.short() != "" {
		end = min(end, j.ser.end)
	}
	from := j.s.Phases.WarmUp.D()
	from += time.Duration(trendHead * float64(end-from))
	spans := []Span{{from, end}}
	for i, f := range j.faults {
		a, b, acted := f.active()
		if !acted {
			continue
		}
		b += trendSettle
		if i < len(j.rec.faults) {
			if took, ok := j.rec.faults[i].took(); ok {
				if relief, ok := f.relief(); ok {
					b = max(b, relief+took)
				}
			}
		}
		spans = without(spans, a, b)
	}
	for _, g := range j.gaps {
		// What came in while nobody looked is read in a burst, and counted when it is read.
		spans = without(spans, g.From, g.To+trendSettle)
	}
	return spans
}

// points are the medians of a line over intervals inside the spans. hold says that a bin without a value has that of the one
// before it; otherwise it counts as it is.
func points(l *line, spans []Span, step time.Duration, hold bool) (xs, ys []float64) {
	if l == nil || len(l.bins) == 0 {
		return nil, nil
	}
	vals := l.bins
	if hold {
		vals = make([]float64, len(l.bins))
		last := math.NaN()
		for i, v := range l.bins {
			if !math.IsNaN(v) {
				last = v
			}
			vals[i] = last
		}
	}
	for _, s := range spans {
		for at := s.From; at+step <= s.To; at += step {
			lo, hi := int(at/l.step), int((at+step)/l.step)
			if lo >= len(vals) && hold { // nothing was written again: it stayed as it was
				xs, ys = append(xs, (at+step/2).Seconds()), append(ys, vals[len(vals)-1])
				continue
			}
			in := slices.DeleteFunc(slices.Clone(vals[min(lo, len(vals)):min(hi, len(vals))]), math.IsNaN)
			if len(in) > 0 {
				xs, ys = append(xs, (at+step/2).Seconds()), append(ys, stats.Median(in))
			}
		}
	}
	return xs, ys
}

// thinOut keeps at most n figures, evenly chosen.
func thinOut(xs []float64, n int) []float64 {
	if len(xs) <= n {
		return xs
	}
	out := make([]float64, n)
	for i := range n {
		out[i] = xs[i*len(xs)/n]
	}
	return out
}

// newTrends judges every tracked series and the backlogs of the segments.
//
// Why a slope: what leaks, leaks steadily, and a comparison of the first third with the last (Mann-Whitney) says that they differ
// but not by how much an hour, and calls a slope of nothing significant as soon as there are enough points. The slope of
// Theil and Sen with its interval (stats.TheilSen has the sources) says both; a series fails when all of the interval means a growth
// above the minimum effect, passes when none of it does, and is inconclusive in between.
func newTrends(j *judge) []Trend {
	spans := j.calmSpans()
	var calm time.Duration
	for _, s := range spans {
		calm += s.To - s.From
	}
	step := max(trendStep, (calm/maxTrend).Truncate(time.Second)+time.Second)
	if calm/trendStep <= maxTrend {
		step = trendStep
	}
	second := j.liveRate(j.acc.sources())
	behind := func(level, _ float64) float64 { return max(2*second, 0.25*level) }
	var out []Trend
	held := j.held(spans, step)
	for _, key := range slices.Sorted(maps.Keys(j.ser.tracks)) {
		t := j.ser.tracks[key]
		switch t.name {
		case evidence.HeldSeries, evidence.StoreBytesSeries, evidence.StoreDocumentsSeries:
			continue
		}
		kind := tracked[t.name]
		in := spans
		if n := len(j.gaps); n > 0 && t.who == "harness" && t.name != evidence.EvidenceSeries {
			// A harness that went on is another process, whose memory begins anew and finds its size once more.
			in = without(in, 0, j.gaps[n-1].To+time.Duration(trendHead*float64(j.s.Phases.LoadTime()-j.gaps[n-1].To)))
		}
		for _, away := range j.ser.away[t.process] {
			in = without(in, away.From, away.To) // its last figures are no figures of that time
		}
		restarted, was := "", 0.0
		if r := j.ser.restarts[t.process]; r != nil && r.before > 0 {
			// A new process has a memory of its own, which finds its size first: what lies behind the last restart counts.
			in = without(in, 0, r.at+max(trendSettle, time.Duration(trendHead*float64(j.s.Phases.LoadTime()-r.at))))
			restarted = fmt.Sprintf("restarted %d times, the last %s after the start", r.before, spanWords(r.at))
			if _, ys := points(&t.line, []Span{{0, r.at}}, step, true); len(ys) > 0 {
				was = slices.Max(ys)
			}
		}
		xs, ys := points(&t.line, in, step, true)
		x := Trend{What: kind.what, Of: t.who, Unit: kind.unit}
		limit := func(level, span float64) float64 {
			if t.name == evidence.ResidentSeries && span >= growsUp.Seconds() {
				return trendShare * level
			}
			floor := kind.floor
			if span < growsUp.Seconds() {
				floor *= shortFactor
			}
			return max(trendShare*level, floor)
		}
		if t.name == evidence.LagSeries {
			limit = behind
		}
		if t.name == evidence.EvidenceSeries {
			per := evidenceLimit
			if j.r.Header.HistWindow < 10*time.Second {
				per *= fineEvidence
			}
			limit = func(_, span float64) float64 { return per * span }
		}
		own := t.name == evidence.ResidentSeries && held > 0
		if own {
			alone := limit
			limit = func(level, span float64) float64 { return alone(level, span) + heldFactor*held }
		}
		if t.name == diskSeries {
			beyondWritten(xs, ys, &j.ser.counters.written)
		}
		x = x.judge(xs, ys, limit)
		if own {
			x.Detail += fmt.Sprintf(", %s of it because the system, which is in the same process, needs %s more", amount(heldFactor*held, kind.unit), amount(held, kind.unit))
		}
		if restarted != "" && len(xs) < minTrend {
			x.Verdict, x.Detail = Skipped, restarted+": too little is left behind it to tell a trend, and what was before has ended with its process"
		}
		if x.Verdict == Fail && len(ys) > 0 && *x.GrowthLo <= was-slices.Min(ys) && slices.Max(ys) <= was {
			// A heap that fills for the first time and one that leaks look alike until the size of the process before is passed.
			x.Verdict, x.Detail = Inconclusive, x.Detail+fmt.Sprintf("; it %s, and its process before held %s: it has not passed that yet", restarted, amount(was, kind.unit))
		}
		if why := j.r.Header.InProcess; why != "" && t.name == evidence.ResidentSeries {
			x.Verdict, x.Detail = Skipped, x.Detail+"; not judged, because "+why+" lie in this process, and they grow with every record"
		}
		if t.name == evidence.LagSeries {
			x = j.unlessSpoilt(x)
		}
		out = append(out, x)
	}
	if x, ok := j.storeTrend(spans, step); ok {
		out = append(out, x)
	}
	for _, seg := range []string{segLedgerKafka, segKafkaSearch} {
		l := j.rec.backlog[seg]
		if l == nil {
			continue
		}
		xs, ys := points(l, spans, step, false)
		x := Trend{What: "backlog", Of: seg, Unit: "records"}
		out = append(out, j.unlessSpoilt(x.judge(xs, ys, behind)))
	}
	return out
}

// storeTrend judges what a document takes on the store's disk: segments that are never merged, or are kept when nothing needs them any more,
// let it grow, documents do not. False where the store was not asked.
func (j *judge) storeTrend(spans []Span, step time.Duration) (Trend, bool) {
	bytes, documents := map[float64]float64{}, map[float64]float64{}
	for _, t := range j.ser.tracks {
		sum := bytes
		switch t.name {
		case evidence.StoreDocumentsSeries:
			sum = documents
		case evidence.StoreBytesSeries:
		default:
			continue
		}
		xs, ys := points(&t.line, spans, step, true)
		for i, x := range xs {
			sum[x] += ys[i]
		}
	}
	var xs, ys []float64
	for _, x := range slices.Sorted(maps.Keys(documents)) {
		if documents[x] > 0 {
			xs, ys = append(xs, x), append(ys, bytes[x]/documents[x])
		}
	}
	if len(xs) == 0 {
		return Trend{}, false
	}
	return Trend{What: "disk for each document", Of: "store", Unit: "bytes"}.judge(xs, ys, func(level, span float64) float64 {
		if span < growsUp.Seconds() {
			return shortFactor * trendShare * level
		}
		return trendShare * level
	}), true
}

// beyondWritten takes what was written since the first point away from the size of a broker's logs, and gives back what went in one piece: a
// segment that was old enough is no slope, and the interval of one would be as wide as its step.
func beyondWritten(xs, ys []float64, written *line) {
	given := 0.0
	for i := range ys {
		ys[i] += given - written.sum(time.Duration(xs[0]*float64(time.Second)), time.Duration(xs[i]*float64(time.Second)))
		if i > 0 && ys[i-1]-ys[i] > segmentStep {
			given += ys[i-1] - ys[i]
			ys[i] = ys[i-1]
		}
	}
}

// unlessSpoilt: memory that leaks, leaks on a busy machine too; a backlog there may be the machine's.
func (j *judge) unlessSpoilt(x Trend) Trend {
	if why := j.spoiltTiming(); why != "" && x.Verdict == Fail {
		x.Verdict, x.Detail = Invalid, why+" (else: "+x.Detail+")"
	}
	return x
}

// held is by how much what the system cannot but hold in the harness's process has grown in the judged time.
func (j *judge) held(spans []Span, step time.Duration) float64 {
	for _, t := range j.ser.tracks {
		if t.name == evidence.HeldSeries {
			if _, ys := points(&t.line, spans, step, true); len(ys) > 0 {
				return max(ys[len(ys)-1]-ys[0], 0)
			}
		}
	}
	return 0
}

// spoiltTiming says in which judged phase the harness was not on time; empty when it was.
func (j *judge) spoiltTiming() string {
	for _, w := range j.lat.phases {
		for _, why := range []string{j.late[w.Name], j.busy[w.Name]} {
			if why != "" {
				return "in phase " + w.Name + " " + why
			}
		}
	}
	return ""
}

// judge fills a trend from its points; limit is the growth that is allowed at a level over a span in seconds.
func (t Trend) judge(xs, ys []float64, limit func(level, span float64) float64) Trend {
	xs, ys = thinOut(xs, maxTrend), thinOut(ys, maxTrend)
	t.Points = len(xs)
	if len(xs) < minTrend {
		t.Verdict, t.Detail = Inconclusive, fmt.Sprintf("%d intervals of calm are too few to tell a trend, it takes %d", len(xs), minTrend)
		return t
	}
	span := xs[len(xs)-1] - xs[0]
	level := stats.Median(ys)
	s := stats.TheilSen(xs, ys)
	lim := limit(level, span)
	t.Level, t.Limit = &level, &lim
	t.Span = int64(span * float64(time.Second))
	if math.IsInf(s.Lo, 0) || math.IsInf(s.Hi, 0) {
		t.Verdict, t.Detail = Inconclusive, fmt.Sprintf("%d intervals that hang together are too few to bound the slope", len(xs))
		return t
	}
	t.Growth, t.GrowthLo, t.GrowthHi = new(s.At*span), new(s.Lo*span), new(s.Hi*span)
	t.PerHour = new(s.At * 3600)
	found := fmt.Sprintf("%s at %s: %s in %s (between %s and %s, with 95 %% confidence), allowed are %s", t.What, amount(level, t.Unit), signed(*t.Growth, t.Unit), spanWords(time.Duration(t.Span)),
		signed(*t.GrowthLo, t.Unit), signed(*t.GrowthHi, t.Unit), signed(lim, t.Unit))
	switch {
	case *t.GrowthLo > lim:
		t.Verdict = Fail
	case *t.GrowthHi <= lim:
		t.Verdict = Pass
	default:
		t.Verdict = Inconclusive
		found += ": the limit lies inside"
	}
	t.Detail = found
	return t
}

func amount(v float64, unit string) string {
	if unit == "bytes" {
		switch a := math.Abs(v); {
		case a >= 1<<30:
			return fmt.Sprintf("%.2f GiB", v/(1<<30))
		case a >= 1<<20:
			return fmt.Sprintf("%.1f MiB", v/(1<<20))
		case a >= 1<<10:
			return fmt.Sprintf("%.1f KiB", v/(1<<10))
		}
	}
	return fmt.Sprintf("%.4g %s", v, unit)
}

func signed(v float64, unit string) string {
	if v >= 0 {
		return "+" + amount(v, unit)
	}
	return amount(v, unit)
}

// judgesTrends says whether a run asks for trends, or is long enough to be judged by them unasked.
func (j *judge) judgesTrends() bool {
	return slices.Contains(j.s.Requires, "trend") || j.s.Phases.LoadTime() >= longRun
}

// trendCheck judges that nothing grows.
func trendCheck(j *judge) *judged {
	if !j.judgesTrends() {
		return nil
	}
	c := &judged{files: []string{evidence.SeriesName, evidence.EventsFile}, interim: true}
	c.Unit = "share of limit"
	c.Limit = new(1.0)
	c.Windows = j.calmSpans()
	if len(j.trends) == 0 {
		return c.set(Inconclusive, "no series was recorded that a trend could be told from")
	}
	own := slices.ContainsFunc(j.trends, func(t Trend) bool { return t.Of == "harness" && t.What == "memory" })
	var bad, spoilt, open, out []string
	most, about := math.Inf(-1), ""
	n := 0
	for _, t := range j.trends {
		if t.Growth != nil && t.Verdict != Skipped && *t.Growth / *t.Limit > most {
			most, about = *t.Growth / *t.Limit, fmt.Sprintf("%s of %s", t.What, t.Of)
		}
		switch t.Verdict {
		case Fail:
			bad = append(bad, t.Of+": "+t.Detail)
		case Invalid:
			spoilt = append(spoilt, t.Of+": "+t.Detail)
		case Pass:
			n++
		case Skipped:
			out = append(out, t.Of+": "+t.Detail)
		default:
			open = append(open, t.Of+" "+t.What+": "+t.Detail)
		}
	}
	if !math.IsInf(most, 0) {
		c.Value = &most
	}
	size := j.ownSize()
	with := func(list []string) string {
		if size != "" {
			list = append(list, size)
		}
		return strings.Join(list, "; ")
	}
	switch {
	case len(bad) > 0:
		return c.set(Fail, "%s", with(bad))
	case len(spoilt) > 0:
		return c.set(Invalid, "%s", with(spoilt))
	case !own:
		return c.set(Inconclusive, "the harness's own memory was not recorded")
	case len(open) > 0:
		return c.set(Inconclusive, "%s", with(open))
	}
	text := with([]string{fmt.Sprintf("none of %d series grows; nearest to its limit: %s", n, about)})
	return c.set(Pass, "%s", strings.Join(append([]string{text}, out...), "; "))
}

// ownSize says what the harness itself takes: how flat its memory is, and what its evidence would be in a night.
func (j *judge) ownSize() string {
	var parts []string
	for _, t := range j.trends {
		if t.Of != "harness" || t.Growth == nil || t.Verdict == Skipped {
			continue
		}
		switch t.What {
		case "memory":
			parts = append(parts, fmt.Sprintf("the harness holds %s, %+.1f %% in %s", amount(*t.Level, t.Unit), 100**t.Growth / *t.Level, spanWords(time.Duration(t.Span))))
		case "evidence":
			parts = append(parts, fmt.Sprintf("its evidence grows by %.1f MB in a night of %s at %.0f records/s", *t.PerHour*night/3600/1e6, spanWords(night*time.Second), j.liveRate(j.acc.sources())))
		}
	}
	return strings.Join(parts, ", ")
}

// longRun is the length of load from which a trend is judged unasked.
const longRun = 15 * time.Minute
