package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/stats"
)

// Where a figure is from.
const (
	Measured   = "measured"   // arithmetic on measured figures and on the manifests
	AtLeast    = "at least"   // a measured part of it; the rest is unknown
	AtMost     = "at most"    // it rests on what was carried, not on what could be
	Assumed    = "assumed"    // it rests on an assumption, which is named
	Configured = "configured" // as the manifests say
	Unknown    = "unknown"    // nothing measured it
)

// System is what the manifests say about the platform.
type System struct {
	Overlay     string            `json:"overlay"`
	Brokers     int               `json:"brokers"`
	BrokerCPU   float64           `json:"broker_cpu"`                   // processors that a broker asks for
	BrokerDisk  float64           `json:"broker_volume"`                // bytes of its volume
	DiskRate    float64           `json:"broker_volume_rate,omitempty"` // bytes a second that the storage class buys for it; 0: it says nothing
	DiskClass   string            `json:"broker_volume_class,omitempty"`
	Partitions  int               `json:"partitions"` // of the topic
	Replication int               `json:"replication"`
	Retention   time.Duration     `json:"retention_ns"`
	Topic       string            `json:"topic"`
	Tasks       int               `json:"tasks"`
	Nodes       int               `json:"nodes"`  // of Elasticsearch
	Shards      int               `json:"shards"` // of the index
	Buffers     []evidence.Buffer `json:"buffers"`
}

// Options are what a plan is for.
type Options struct {
	Rate     float64       // lines a second
	Bytes    float64       // of a line
	Duration time.Duration // of a run
	Headroom float64       // share of what was measured that is planned with
	Disk     float64       // bytes a second that a broker's volume takes; 0: what its class says, or the assumption
	Nodes    int           // datacenter nodes, each with its collector; 0: one for each shard
	System   System
	Measured []Measurement
}

// Row is one figure of a plan. Lo and Hi are the same where it is one number.
type Row struct {
	Part  string   `json:"part"`
	What  string   `json:"what"`
	Lo    *float64 `json:"lo"` // null: unknown
	Hi    *float64 `json:"hi"`
	Unit  string   `json:"unit,omitempty"`
	Basis string   `json:"basis"`
	How   string   `json:"how"`            // the arithmetic, or what is missing
	From  []string `json:"from,omitempty"` // measurements and assumptions
	// Beyond is how many times the rate of the measurement the plan's rate is, where it was measured at one.
	Beyond float64 `json:"beyond,omitempty"`
}

// Plan is what a rate takes.
type Plan struct {
	Rate     float64  `json:"rate"`
	Bytes    float64  `json:"bytes"`
	Duration float64  `json:"duration_s"`
	Headroom float64  `json:"headroom"`
	System   System   `json:"system"`
	Rows     []Row    `json:"rows"`
	Limits   []string `json:"limits"`
}

// Assumptions, each with its source.
const (
	// gp3Throughput is what a volume takes if nobody pays for more: Amazon EBS User Guide, "General Purpose SSD volumes": gp3
	// comes with 125 MiB/s and 3,000 IOPS.
	gp3Throughput = 125 << 20
	gp3Source     = "assumption: a gp3 volume takes 125 MiB/s unless more is paid for (Amazon EBS User Guide, General Purpose SSD volumes); the manifests say nothing"
	day           = 86400 // seconds
	// mostBeyond is how far a slope over rates is followed. Further out nothing says that it still holds.
	mostBeyond = 1000
)

// Make works a plan out.
func Make(o Options) *Plan {
	p := &Plan{Rate: o.Rate, Bytes: o.Bytes, Duration: o.Duration.Seconds(), Headroom: o.Headroom, System: o.System, Limits: []string{}}
	m := &maker{Options: o, plan: p}
	m.generators()
	m.brokers()
	m.sink()
	m.buffers()
	m.evidence()
	m.watching()
	slices.SortStableFunc(p.Rows, func(a, b Row) int { return cmp.Compare(slices.Index(parts, a.Part), slices.Index(parts, b.Part)) })
	return p
}

// parts are the parts of a plan in the order of the path.
var parts = []string{"generators", "kafka", "monitoring", "buffers", "evidence", "watching"}

type maker struct {
	Options
	plan   *Plan
	wire   *float64 // bytes of a record in Kafka
	wireOf []string
	shards *float64
}

func (m *maker) add(r Row) { m.plan.Rows = append(m.plan.Rows, r) }

func (m *maker) limit(format string, args ...any) {
	m.plan.Limits = append(m.plan.Limits, fmt.Sprintf(format, args...))
}

func (m *maker) unknown(part, what, unit, missing string) {
	m.add(Row{Part: part, What: what, Unit: unit, Basis: Unknown, How: missing})
}

// one is a figure that is a single number.
func one(part, what string, v float64, unit, basis, how string, from ...string) Row {
	return Row{Part: part, What: what, Lo: &v, Hi: &v, Unit: unit, Basis: basis, How: how, From: from}
}

// best is the measurement with lines nearest to the plan's in size, and of those the one that shows the most cost: with scale -1 the
// smallest value is the dearest.
func (m *maker) best(name string, scale float64) *Measurement {
	var found []Measurement
	for _, x := range m.Measured {
		if x.Name == name {
			found = append(found, x)
		}
	}
	if len(found) == 0 {
		return nil
	}
	slices.SortStableFunc(found, func(a, b Measurement) int {
		far := func(x Measurement) float64 {
			if x.Bytes <= 0 {
				return 0
			}
			return math.Abs(math.Log(x.Bytes / m.Bytes))
		}
		return cmp.Or(cmp.Compare(far(a), far(b)), cmp.Compare(scale*b.Value, scale*a.Value))
	})
	return &found[0]
}

func sized(x *Measurement, bytes float64) string {
	if x.Bytes > 0 && math.Abs(x.Bytes-bytes) > 1 {
		return fmt.Sprintf("%s, with lines of %.0f bytes", x.Source, x.Bytes)
	}
	return x.Source
}

func (m *maker) generators() {
	const part = "generators"
	m.add(one(part, "lines", m.Rate*m.Bytes, "bytes/s", Configured, fmt.Sprintf("%.0f lines a second of %.0f bytes", m.Rate, m.Bytes)))
	if x := m.best(GeneratorFile, -1); x != nil {
		n := ceil(m.Rate / (x.Value * m.Headroom))
		m.shards = &n
		m.add(one(part, "shards that write files", n, "of one core", Measured, fmt.Sprintf("rate / (%.0f lines/s x %.2g)", x.Value, m.Headroom), sized(x, m.Bytes)))
	} else {
		m.unknown(part, "shards that write files", "of one core", "no measurement of a generator: make bench, BenchmarkFile")
	}
	if x := m.best(GeneratorKafka, 1); x != nil {
		n := ceil(m.Rate * x.Value / m.Headroom)
		m.add(one(part, "shards that enter at Kafka", n, "of one core", AtMost, fmt.Sprintf("rate x %.3g us of processor time / %.2g; the figure has the stand-in for the cluster in it", x.Value*1e6, m.Headroom), sized(x, m.Bytes)))
	} else {
		m.unknown(part, "shards that enter at Kafka", "of one core", "no measurement of a generator: make bench, BenchmarkEnterKafka")
	}
	if x := m.best(WireBytes, 1); x != nil {
		v := x.Value + m.Bytes - x.Bytes // what is around a line does not grow with it
		m.wire, m.wireOf = &v, []string{sized(x, m.Bytes)}
	}
}

func (m *maker) brokers() {
	const part = "kafka"
	s := m.System
	if m.wire == nil {
		m.unknown(part, "bytes in", "bytes/s", "no measurement of a record's size in Kafka: make bench, BenchmarkEnterKafka")
	} else {
		in := m.Rate * *m.wire
		m.add(one(part, "bytes in", in, "bytes/s", Measured, fmt.Sprintf("rate x %.0f bytes a record, not compressed", *m.wire), m.wireOf...))
		written := in * float64(s.Replication)
		m.add(one(part, "bytes written", written, "bytes/s", Measured, fmt.Sprintf("%d replicas of each record", s.Replication), m.wireOf...))
		m.add(one(part, "bytes out", in*float64(s.Replication+1), "bytes/s", Measured, fmt.Sprintf("to %d followers, the sink and the observer", s.Replication-1), m.wireOf...))
		m.add(one(part, "bytes kept", written*s.Retention.Seconds(), "bytes", Measured, fmt.Sprintf("%s keeps records for %v", s.Topic, s.Retention), m.wireOf...))
		disk, basis, from := m.Disk, Measured, []string{"given on the command line"}
		switch {
		case disk > 0:
		case s.DiskRate > 0: // what is paid for; whether the node carries as much nothing here says
			disk, basis, from = s.DiskRate, AtLeast, []string{"StorageClass " + s.DiskClass + " throughput; a node that carries less to its volumes is not in it"}
		default:
			disk, basis, from = gp3Throughput, Assumed, []string{gp3Source}
		}
		n := ceil(written / (disk * m.Headroom))
		m.add(one(part, "brokers, by their volumes", n, "", basis, fmt.Sprintf("bytes written / (%.0f MiB/s x %.2g)", disk/(1<<20), m.Headroom), append(from, m.wireOf...)...))
		if int(n) > s.Brokers {
			m.limit("The manifests have %d brokers; their volumes alone ask for %.0f.", s.Brokers, n)
		}
		if kept := written * s.Retention.Seconds(); s.BrokerDisk > 0 && kept > s.BrokerDisk*float64(s.Brokers) {
			m.limit("%v of records are %s; the %d volumes of %s of the manifests are full after %s: shorten retention, compress, or attach more.", s.Retention, bytesText(kept), s.Brokers, bytesText(s.BrokerDisk), spanText(s.BrokerDisk*float64(s.Brokers)/written))
		}
	}
	m.cores(part, "kafka", "brokers, by processor time", s.BrokerCPU, "processors that a broker asks for")
	m.carried(part, "brokers, by what was carried", "brokers")
}

// cores says how many instances the processor time asks for that a cluster took more for each record more, over several runs.
func (m *maker) cores(part, cluster, what string, each float64, eachIs string) {
	slope, beyond, from, why := m.slope(cluster)
	if why != "" {
		m.unknown(part, what, "", why)
		return
	}
	need := slope.At * m.Rate
	how := fmt.Sprintf("%.3g ms of processor time a record over %d runs (95 %%: %.3g to %.3g)", slope.At*1e3, slope.N, slope.Lo*1e3, slope.Hi*1e3)
	unit := "cores"
	lo, hi := slope.Lo*m.Rate, slope.Hi*m.Rate
	if each > 0 {
		lo, hi, unit = ceil(lo/(each*m.Headroom)), ceil(hi/(each*m.Headroom)), ""
		how += fmt.Sprintf(", %.2g %s, x %.2g", each, eachIs, m.Headroom)
	}
	if beyond > mostBeyond {
		m.unknown(part, what, unit, fmt.Sprintf("%s: that would be %.3g cores, but the rate is %.0f times the highest that was measured, and nothing says that it holds so far", how, need, beyond))
		return
	}
	m.add(Row{Part: part, What: what, Lo: &lo, Hi: &hi, Unit: unit, Basis: Measured, How: how, From: from, Beyond: beyond})
}

// slope is how much more processor time a part took for each record more, over runs at different rates.
func (m *maker) slope(of string) (s stats.Slope, beyond float64, from []string, why string) {
	var points []Measurement
	for _, x := range m.Measured {
		if x.Name == Cores+of && x.Rate > 0 {
			points = append(points, x)
		}
	}
	slices.SortFunc(points, func(a, b Measurement) int { return cmp.Compare(a.Rate, b.Rate) })
	var xs, ys []float64
	for _, x := range points {
		xs, ys, from = append(xs, x.Rate), append(ys, x.Value), append(from, x.Source)
	}
	switch {
	case len(points) == 0:
		return s, 0, nil, "no run on real clusters told its processor time: --from a run on kind or eks"
	case len(points) < 4 || xs[len(xs)-1] < 2*xs[0]:
		return s, 0, nil, fmt.Sprintf("%d runs from %.0f to %.0f records/s are too few, or too alike, to tell a record's share from what is idle: at least 4 runs, twice the rate apart", len(points), xs[0], xs[len(xs)-1])
	}
	s = stats.TheilSen(xs, ys)
	if !(s.Lo > 0) || math.IsInf(s.Hi, 0) {
		return s, 0, nil, fmt.Sprintf("over %d runs from %.0f to %.0f records/s a record's share (%.3g ms of processor time) cannot be told from what is idle", len(points), xs[0], xs[len(xs)-1], s.At*1e3)
	}
	return s, m.Rate / xs[len(xs)-1], from, ""
}

// carried says how many of a kind are enough by the most that so many were seen to carry.
func (m *maker) carried(part, what, of string) {
	var top *Measurement
	sure := false
	for i, x := range m.Measured {
		if x.With[of] <= 0 || x.Name != Capacity && (x.Name != Drained || of == "brokers") {
			continue
		}
		switch {
		case x.Name == Capacity && !sure:
			top, sure = &m.Measured[i], true
		case x.Name == Capacity == sure && (top == nil || x.Value/x.With[of] > top.Value/top.With[of]):
			top = &m.Measured[i]
		}
	}
	if top == nil {
		m.unknown(part, what, "", "no run says what they carry: a search for the capacity on clusters of the real size (sim run capacity --runtime kind)")
		return
	}
	each := top.Value / top.With[of]
	n := ceil(m.Rate / (each * m.Headroom))
	how := fmt.Sprintf("rate / (%.0f records/s each x %.2g): a backlog went through %.0f of them at %.0f records/s, which they bore and which need not be all they can", each, m.Headroom, top.With[of], top.Value)
	if sure {
		how = fmt.Sprintf("rate / (%.0f records/s each x %.2g): the search for the capacity ended at %.0f records/s with %.0f of them", each, m.Headroom, top.Value, top.With[of])
	}
	beyond := 0.0
	if top.Value > 0 {
		beyond = m.Rate / top.Value
	}
	m.add(Row{Part: part, What: what, Lo: new(0.0), Hi: &n, Basis: AtMost, How: how, From: []string{sized(top, m.Bytes)}, Beyond: beyond})
}

func (m *maker) sink() {
	const part = "monitoring"
	s := m.System
	m.carried(part, "tasks of the sink", "tasks")
	tasks := m.plan.Rows[len(m.plan.Rows)-1]
	m.add(one("kafka", "partitions of "+s.Topic+" now", float64(s.Partitions), "", Configured, "KafkaTopic"))
	if tasks.Hi == nil {
		m.unknown("kafka", "partitions needed", "", "as many as the sink has tasks, and those are unknown")
	} else {
		brokers := float64(max(s.Brokers, 1))
		n := ceil(*tasks.Hi/brokers) * brokers
		m.add(Row{Part: "kafka", What: "partitions needed", Lo: new(0.0), Hi: &n, Basis: AtMost, How: fmt.Sprintf("one for each task, so many that %d brokers lead alike", s.Brokers), From: tasks.From, Beyond: tasks.Beyond})
	}
	m.limit("A partition is read by one task: with the %d partitions and %d tasks of the manifests no more than %d tasks work on %s.", s.Partitions, s.Tasks, min(s.Partitions, s.Tasks), s.Topic)
	m.carried(part, "nodes of Elasticsearch", "nodes")
	m.cores(part, "monitoring", "processors of monitoring", 0, "")
	m.limit("The index has %d primary shard(s): so many nodes index at a time, whatever the number of nodes (%d in the manifests).", s.Shards, s.Nodes)
	if x := m.best(StoreBytes, 1); x != nil {
		m.add(one(part, "bytes in the store", m.Rate*x.Value*day, "bytes", Measured, fmt.Sprintf("of a day, each shard once: rate x %.0f bytes a document; copies come on top", x.Value), sized(x, m.Bytes)))
	} else {
		m.unknown(part, "bytes in the store", "bytes", "no run on real clusters says how large a document is on disk: --from one that indexed 10,000 records or more")
	}
}

// buffers says how long every buffer lasts when nothing leaves it.
func (m *maker) buffers() {
	const part = "buffers"
	bytes, from, what := m.Bytes, []string{"bytes of a line"}, "the line alone, without what the hop adds"
	if m.wire != nil {
		bytes, from, what = *m.wire, m.wireOf, "as it is sent to Kafka"
	}
	for _, b := range m.System.Buffers {
		n, basis, rate := float64(max(b.Instances, 1)), Measured, m.Rate
		origin := append([]string{b.Source}, from...)
		if b.Hop == "generate" || b.Hop == "collect" { // one on each node
			nodes := float64(m.Nodes)
			if m.Nodes == 0 {
				if m.shards == nil {
					m.unknown(part, b.Component, "s", "how many nodes there are: --nodes")
					continue
				}
				nodes, basis = *m.shards, Assumed
				origin = append(origin, "assumption: one node for each shard that writes files; --nodes says how many there are")
			}
			n = nodes
		}
		if b.OfNodeMetrics() || strings.HasPrefix(b.Source, "fluentd.yaml") && !strings.Contains(b.Source, "out_service ") {
			continue // of another topic
		}
		var spans []float64
		var hows []string
		if b.Bytes > 0 {
			spans = append(spans, float64(b.Bytes)*n/(rate*bytes))
			hows = append(hows, fmt.Sprintf("%s x %.0f / (rate x %.0f bytes, %s)", bytesText(float64(b.Bytes)), n, bytes, what))
		}
		if b.Records > 0 {
			spans = append(spans, float64(b.Records)*n/rate)
			hows = append(hows, fmt.Sprintf("%d records x %.0f / rate", b.Records, n))
		}
		if b.For > 0 {
			spans, basis = append(spans, b.For.Seconds()), Configured
			hows = append(hows, "its retention")
			if v := m.System; b.Hop == "broker" && v.BrokerDisk > 0 && m.wire != nil {
				full := v.BrokerDisk * float64(v.Brokers) / (rate * bytes * float64(v.Replication))
				if full < b.For.Seconds() {
					basis = Measured
				}
				spans = append(spans, full)
				hows = append(hows, fmt.Sprintf("until %d volumes of %s are full", v.Brokers, bytesText(v.BrokerDisk)))
			}
		}
		if len(spans) == 0 {
			continue
		}
		v := slices.Min(spans)
		m.add(one(part, fmt.Sprintf("%s (%s; when full: %s)", b.Component, b.Hop, b.Full), v, "s", basis, strings.Join(hows, "; "), origin...))
		if v < 600 && b.For == 0 {
			m.limit("The buffer of %s lasts %s at this rate when nothing leaves it; when full: %s.", b.Component, spanText(v), b.Full)
		}
	}
}

func (m *maker) evidence() {
	const part = "evidence"
	// Of long runs, whose windows package run makes longer, where they were measured at a rate that is nearer.
	far := func(x *Measurement) float64 { return math.Abs(math.Log(m.Rate / x.Rate)) }
	suffix := ""
	short, long := m.best(HistBytes, 1), m.best(HistBytes+ofLongRuns, 1)
	if m.Duration > evidence.LongRun && long != nil && (short == nil || far(long) < far(short)) {
		suffix = ofLongRuns
	}
	l, h, s := m.best(LedgerBytes+suffix, 1), m.best(HistBytes+suffix, 1), m.best(SeriesBytes+suffix, 1)
	if l == nil || h == nil || s == nil {
		m.unknown(part, "size", "bytes", "no measurement of evidence: make bench, BenchmarkEvidence")
		return
	}
	sec := m.Duration.Seconds()
	// Below the rate that was measured as much a record is the less, above it the more.
	ratio := m.Rate / h.Rate
	size := func(hists float64) *float64 { return new(l.Value*m.Rate*sec + (hists+s.Value)*sec) }
	lo, hi := size(h.Value*min(ratio, 1)), size(h.Value*max(ratio, 1))
	m.add(Row{
		Part: part, What: "size of a run", Lo: lo, Hi: hi, Unit: "bytes", Basis: Measured, Beyond: m.Rate / l.Rate, From: []string{l.Source},
		How: fmt.Sprintf("%v: %.3g bytes of ledger a record, %.3g kB of samples a second, and of histograms between %.3g kB a second (they stay as wide) and as much a record as there (%.2g bytes)", m.Duration, l.Value, s.Value/1e3, h.Value/1e3, h.Value/h.Rate),
	})
	if *hi > 10e9 {
		m.limit("The evidence of a run of %v may reach %s: histograms are the most of it where latencies differ widely.", m.Duration, bytesText(*hi))
	}
}

func (m *maker) watching() {
	const part = "watching"
	j := m.best(Judged, -1)
	if j == nil {
		m.unknown(part, "time to judge", "s", "no measurement of judging: make bench, BenchmarkReach")
		m.unknown(part, "cores of the observer", "cores", "no measurement of observing: make bench, BenchmarkReach")
	} else {
		v := m.Rate * m.Duration.Seconds() / j.Value
		m.add(one(part, "time to read and judge", v, "s", AtMost, fmt.Sprintf("records of %v / %.3g records a second of one core, observing and writing included", m.Duration, j.Value), j.Source))
		c := m.Rate / j.Value
		m.add(one(part, "cores of the observer", c, "cores", AtLeast, fmt.Sprintf("rate / %.3g records a second of one core: its accounting, without what fetches and decodes", j.Value), j.Source))
		if v > m.Duration.Seconds() {
			m.limit("Judging takes %s on one core, longer than the run: judge shards beside each other.", spanText(v))
		}
	}
	switch x := m.best(Merged, -1); {
	case x == nil:
		m.unknown(part, "time to merge the shards", "s", "no measurement of merging: make bench, BenchmarkMerge")
	case m.shards == nil:
		m.unknown(part, "time to merge the shards", "s", "how many there are is not known")
	default:
		v := *m.shards * m.Duration.Seconds() / x.Value
		m.add(one(part, "time to merge the shards", v, "s", Measured, fmt.Sprintf("%.0f shards x %v / %.3g s of a shard a second, without what fetches them", *m.shards, m.Duration, x.Value), x.Source))
	}
	if m.wire != nil {
		m.add(one(part, "bytes that the observer of Kafka reads", m.Rate**m.wire, "bytes/s", Measured, "every record once more out of the brokers", m.wireOf...))
	}
	m.cores(part, "harness", "cores of the harness, as seen in runs", 0, "")
	m.cores(part, "search", "cores of its searches in the store", 0, "")
}

// ceil rounds up what is not a whole number but for the rounding of floating point.
func ceil(v float64) float64 { return math.Ceil(v * (1 - 1e-12)) }

func bytesText(v float64) string {
	for _, u := range []struct {
		name string
		size float64
	}{{"PB", 1e15}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if v >= u.size {
			return fmt.Sprintf("%.3g %s", v/u.size, u.name)
		}
	}
	return fmt.Sprintf("%.0f bytes", v)
}

func spanText(s float64) string {
	d := time.Duration(min(s, 1e9) * float64(time.Second))
	switch {
	case d >= time.Hour:
		return d.Round(time.Minute).String()
	case d >= time.Minute:
		return d.Round(time.Second).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// Text is a figure for people.
func (r Row) Text() string {
	if r.Lo == nil || r.Hi == nil {
		return "unknown"
	}
	f := func(v float64) string {
		switch r.Unit {
		case "bytes":
			return bytesText(v)
		case "bytes/s":
			return bytesText(v) + "/s"
		case "s":
			return spanText(v)
		}
		text := fmt.Sprintf("%.3g", v)
		if v == math.Trunc(v) && v < 1e7 {
			text = fmt.Sprintf("%.0f", v)
		}
		return strings.TrimSpace(text + " " + r.Unit)
	}
	switch {
	case r.Basis == AtMost:
		return "at most " + f(*r.Hi)
	case r.Basis == AtLeast:
		return "at least " + f(*r.Lo)
	case *r.Lo == *r.Hi:
		return f(*r.Lo)
	}
	return f(*r.Lo) + " to " + f(*r.Hi)
}
