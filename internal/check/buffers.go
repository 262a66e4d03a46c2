package check

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

// fill is the row of one buffer with what the horizon of the path needs.
type fill struct {
	BufferFill
	buffer  evidence.Buffer
	horizon time.Duration // 0: not known; forever: it never overflows
	aside   string        // what it holds in place of records of the run; empty: these
}

// hopRank orders hops along the path.
func hopRank(hop string) int { return slices.Index(scenario.HopNames, hop) }

// newFills measures how fast each buffer fills when nothing leaves it, and how long it lasts at that rate.
func newFills(j *judge) []fill {
	var out []fill
	for i, b := range j.r.Header.Buffers {
		out = append(out, j.fill(b, &j.ser.buffers[i]))
	}
	return append(out, j.metricsFills()...)
}

// sourceOf is the one source whose records a buffer holds, as its gauge, its component or the place of its limit names
// it; empty: all that pass.
func (j *judge) sourceOf(b evidence.Buffer) string {
	labels := b.FillGauge().Labels
	for _, s := range j.acc.streams {
		if labels["name"] == s.Source || labels["plugin_id"] == aggregatorOutput(s.Source) || labels["topic"] == s.Topic ||
			strings.HasSuffix(b.Component, "/"+s.Source) || slices.Contains(strings.Fields(b.Source), s.Topic) {
			return s.Source
		}
	}
	return ""
}

// passes are the sources whose records go through a hop.
func (j *judge) passes(hop, only string) []string {
	set := []string{}
	for _, s := range j.acc.streams {
		if only != "" && s.Source != only || slices.Contains(set, s.Source) {
			continue
		}
		hops := append(hopsOf(s.Enter), "sink", "search")
		if s.Enter == "file" {
			hops = append(hops, "generate")
		}
		if slices.Contains(hops, hop) {
			set = append(set, s.Source)
		}
	}
	return set
}

// bytesPerRecord is the size of a record as a hop stores it, and where the figure comes from.
func (j *judge) bytesPerRecord(hop string, sources []string) (size float64, from string) {
	c := j.ser.counters
	ratio := func(bytes, records string) float64 {
		// Brokers tell the same twice, in total and by topic; the total has no topic.
		b, n := c.increase(bytes, evidence.Labels{"topic": ""}), c.increase(records, evidence.Labels{"topic": ""})
		if !b.known || !n.known || n.lo <= 0 {
			return 0
		}
		return b.lo / n.lo
	}
	switch hop {
	case "collect":
		if v := ratio("fluentbit_input_bytes_total", "fluentbit_input_records_total"); v > 0 {
			return v, Bounded
		}
	case "forward":
		// The aggregator tells chunks and bytes, not records; what the agent sends it is the nearest figure.
		if v := ratio("fluentbit_output_proc_bytes_total", "fluentbit_output_proc_records_total"); v > 0 {
			return v, Bounded
		}
	case "broker":
		if v := ratio("kafka_server_brokertopicmetrics_bytesin_total", "kafka_server_brokertopicmetrics_messagesin_total"); v > 0 {
			return v, Bounded
		}
	}
	var bytes, rate float64
	for _, l := range j.s.Load {
		if slices.Contains(sources, l.Source) {
			bytes += float64(l.Rate) * float64(l.Size)
			rate += float64(l.Rate)
		}
	}
	if rate == 0 {
		return 0, ""
	}
	return bytes / rate, Inferred // the line alone, without what the hop adds to it
}

// liveRate is the records a second that entered the path from the given sources, outside the warm-up.
func (j *judge) liveRate(sources []string) float64 {
	l := j.ser.pulse("ledger", sources)
	if l == nil {
		return 0
	}
	var n float64
	var d time.Duration
	for _, w := range j.lat.phases {
		if judgedPhase(w.Name) {
			n += l.sum(w.From, w.To)
			d += w.To - w.From
		}
	}
	if d == 0 {
		return 0
	}
	return n / d.Seconds()
}

// slope is the steady rise of a gauge while faults acted: of the rising run that rose most, what it rose in the time in which it did. A buffer that
// is full rises too, for long and by little: readings in which it rose by less than a tenth of its fastest do not count.
func (j *judge) slope(g *gauge) float64 {
	from, to, ok := j.outage()
	if !ok {
		return 0
	}
	type step struct{ by, in float64 } // seconds
	var best, cur []step
	var most, rise float64
	for i := 1; i < len(g.readings); i++ {
		a, b := g.readings[i-1], g.readings[i]
		if b.at < from || a.at > to || b.v <= a.v {
			cur, rise = nil, 0
			continue
		}
		cur = append(cur, step{b.v - a.v, (b.at - a.at).Seconds()})
		if rise += b.v - a.v; rise > most {
			best, most = slices.Clone(cur), rise
		}
	}
	fastest := 0.0
	for _, s := range best {
		fastest = max(fastest, s.by/s.in)
	}
	var by, in float64
	for _, s := range best {
		if s.by/s.in >= fastest/10 {
			by, in = by+s.by, in+s.in
		}
	}
	if in < steady.Seconds() {
		return 0
	}
	return by / in
}

// steady is how long a rise is one: what is shorter than the flush intervals of the path is an ordinary batch.
const steady = 3 * time.Second

// aside is what a buffer holds in place of records of the run: figures of nodes, or those of an output or a topic that no source of the load takes
// where others of its hop are.
func (j *judge) aside(b evidence.Buffer) string {
	if b.OfNodeMetrics() {
		return "figures of nodes"
	}
	labels := b.FillGauge().Labels
	if labels["plugin_id"]+labels["topic"] == "" || j.sourceOf(b) != "" {
		return ""
	}
	for _, o := range j.r.Header.Buffers {
		if o.Hop == b.Hop && j.sourceOf(o) != "" {
			return "what is not in this load"
		}
	}
	return ""
}

func (j *judge) fill(b evidence.Buffer, g *gauge) fill {
	f := fill{buffer: b, BufferFill: BufferFill{Hop: b.Hop, Component: b.Component, Certainty: Inferred}}
	n := max(b.Instances, 1)
	only := j.sourceOf(b)
	sources := j.passes(b.Hop, only)
	if f.aside = j.aside(b); f.aside != "" {
		sources = []string{}
		if only = strings.TrimPrefix(b.FillGauge().Labels["plugin_id"], "out_"); b.OfNodeMetrics() {
			only = evidence.NodeMetrics
		}
	}
	if only != "" && !strings.Contains(b.Component, only) {
		f.Component += ", " + only
	}
	rate := j.liveRate(sources)
	// Some programs tell the fill of a buffer in chunks only, which is no share of a limit in bytes.
	if b.Bytes > 0 && !b.FillGauge().InBytes() {
		g = &gauge{}
	}
	if len(g.readings) > 0 {
		peak := 0.0
		for _, x := range g.readings {
			peak = max(peak, x.v)
		}
		f.Peak = &peak
	}
	var spans []time.Duration
	var limits []string
	last := func(amount, speed float64) {
		if speed > 0 {
			spans = append(spans, clampDuration(amount/speed*float64(time.Second)))
		}
	}
	if b.Bytes > 0 {
		limits = append(limits, fmt.Sprintf("%s in %d instances", sizeWords(b.Bytes), n))
		f.Unit = "bytes"
		size, certainty := j.bytesPerRecord(b.Hop, sources)
		speed := rate * size
		if s := j.slope(g); s > 0 {
			speed, certainty = s, Bounded // seen filling: what really came in, less what still went out
		}
		if speed > 0 {
			f.FillRate, f.Certainty = &speed, certainty
		}
		last(float64(b.Bytes)*float64(n), speed)
	}
	if b.Records > 0 {
		limits = append(limits, fmt.Sprintf("%d records in %d instances", b.Records, n))
		if f.Unit == "" {
			f.Unit = "records"
			if rate > 0 {
				f.FillRate = &rate
			}
		}
		last(float64(b.Records)*float64(n), rate)
	}
	if b.For > 0 {
		limits = append(limits, b.For.String())
		if f.Unit == "" {
			f.Unit, f.Certainty = "seconds", ExactC
		}
		spans = append(spans, b.For)
	}
	f.Limit = strings.Join(limits, " or ")
	if f.aside != "" {
		f.Sentence = fmt.Sprintf("The buffer of %s (hop %s, %s; when full: %s) holds %s and no record of the run.", f.Component, b.Hop, f.Limit, b.Full, f.aside)
		return f
	}
	if len(spans) == 0 {
		f.Sentence = fmt.Sprintf("How long the buffer of hop %s (%s) lasts is not known: there is no limit or no measured rate.", b.Hop, f.Component)
		return f
	}
	f.horizon = slices.Min(spans)
	f.Horizon = new(int64(f.horizon))
	verb := "the first record is lost"
	if b.Full == "block" {
		verb = "it is full and holds back what is in front of it"
	}
	f.Sentence = fmt.Sprintf("When nothing leaves it, at %.0f records a second %s after %s, in the buffer of %s (hop %s, %s; when full: %s).", rate, verb, spanWords(f.horizon), f.Component, b.Hop, f.Limit, b.Full)
	return f
}

func clampDuration(ns float64) time.Duration {
	if ns >= math.MaxInt64 {
		return forever
	}
	return time.Duration(ns)
}

// spanWords prints a span in its two largest units.
func spanWords(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d d %d h", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d m", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%d m %d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func sizeWords(n int64) string { return scenario.Size(n).String() }

// pathHorizon is how long the path bears that nothing passes a hop: buffers in front of it fill one after the other
// from behind as long as a full one blocks, until one loses records. last is the hop where that happens; empty when the
// generator itself is held back and nothing is lost. ok is false when some buffer on the way has no figure.
func (j *judge) pathHorizon(stopped string) (total time.Duration, last string, ok bool) {
	for k := hopRank(stopped); k >= 0; k-- {
		var here []fill
		for _, f := range j.fills {
			if f.Hop == scenario.HopNames[k] && f.buffer.Full != "" && f.aside == "" {
				here = append(here, f)
			}
		}
		if len(here) == 0 {
			continue
		}
		// Several buffers of a hop stand side by side; the first to be full decides.
		slices.SortFunc(here, func(a, b fill) int { return int(min(max(a.horizon-b.horizon, -1), 1)) })
		if here[0].horizon == 0 {
			return 0, "", false
		}
		if total > forever-here[0].horizon {
			return forever, here[0].Hop, true
		}
		total += here[0].horizon
		if here[0].buffer.Full != "block" {
			return total, here[0].Hop, true
		}
	}
	return total, "", total > 0
}

// horizonSlack is the share by which a computed horizon may be wrong before it is called wrong: rates vary and the bytes of a
// record are an average.
const horizonSlack = 0.25

// stoppedHop is the last hop that still takes records while a fault acts; empty when the fault stops no hop.
func stoppedHop(f *faultState) string {
	switch {
	case f.Kind == "link-cut" && f.From == scenario.Datacenter && f.To == scenario.Kafka, f.Kind == "cluster-freeze" && f.Cluster == scenario.Kafka:
		return "forward"
	case f.Kind == "link-cut" && f.touches(scenario.Monitoring) && f.touches(scenario.Kafka), f.Kind == "cluster-freeze" && f.Cluster == scenario.Monitoring,
		f.Kind == "es-down", f.Kind == "es-read-only", f.Kind == "es-disk-full", f.Kind == "connect-pause", f.Kind == "es-throttle" && f.Ratio >= 1:
		return "broker"
	case f.Kind == "forwarder-kill" && f.Target == "fluentd":
		return "collect"
	case f.Kind == "forwarder-kill" && f.Target == "fluent-bit":
		return "generate"
	case strings.HasPrefix(f.Kind, "broker-") && f.For > 0:
		return "forward" // at most: other partitions may go on
	}
	return ""
}

// horizonCheck judges the computed horizon against what the faults really did.
func horizonCheck(j *judge) *judged {
	if len(j.fills) == 0 || len(j.faults) == 0 {
		return nil
	}
	c := &judged{files: append([]string{evidence.SeriesName}, ledgerFiles...), onFaults: true, interim: true, phases: []string{scenario.Before, scenario.During}}
	c.Unit = "s"
	var worst *faultState
	var horizon time.Duration
	var hop string
	for _, f := range j.faults {
		stopped := stoppedHop(f)
		if stopped == "" {
			continue
		}
		h, where, ok := j.pathHorizon(stopped)
		if ok && (worst == nil || h < horizon) {
			worst, horizon, hop = f, h, where
		}
	}
	if worst == nil {
		return nil // no fault stopped a hop whose buffers have a figure
	}
	from, to, acted := worst.active()
	if !acted {
		return c.set(Inconclusive, "%s never acted", worst.Name)
	}
	outage := to - from
	var lost uint64
	for _, s := range j.segs {
		lost += s.Lost
	}
	c.Value, c.Limit = new(outage.Seconds()), new(horizon.Seconds())
	place := "in hop " + hop
	if hop == "" {
		place = "nowhere: the generator itself is held back"
	}
	text := fmt.Sprintf("%s lasted %s; at the measured rate the path bears %s, and the first record is lost %s", worst.Name, spanWords(outage), spanWords(horizon), place)
	near := math.Abs(outage.Seconds()-horizon.Seconds()) <= horizonSlack*horizon.Seconds()
	open := j.unread()
	switch {
	case open != "":
		return c.set(Inconclusive, "%s; what was lost is not known: %s", text, open)
	case lost > 0 && hop == "":
		return c.set(Fail, "%s; yet %d records were lost", text, lost)
	case near:
		return c.set(Inconclusive, "%s; the outage is within %.0f %% of the horizon, too near to tell", text, 100*horizonSlack)
	case outage < horizon && lost > 0:
		return c.set(Fail, "%s; %d records were lost inside it", text, lost)
	case outage > horizon && hop != "" && lost == 0 && worst.Kind != "es-throttle" && !strings.HasPrefix(worst.Kind, "broker-"):
		return c.set(Fail, "%s; the outage was longer and nothing was lost: the horizon is wrong", text)
	case outage > horizon && lost > 0:
		return c.set(Pass, "%s; the outage was longer, and %d records were lost as computed", text, lost)
	}
	return c.set(Pass, "%s; nothing was lost inside it", text)
}
