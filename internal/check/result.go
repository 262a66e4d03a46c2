package check

import (
	"fmt"
	"time"
)

// ResultSchema is the version of result.json.
const ResultSchema = 1

// Verdict of a check or of a run.
type Verdict string

// Verdicts. Only Pass is pass.
const (
	Pass         Verdict = "pass"
	Fail         Verdict = "fail"
	Inconclusive Verdict = "inconclusive" // not enough data to tell
	Skipped      Verdict = "skipped"      // could not be judged here; says why
	Invalid      Verdict = "invalid"      // an assumption broke in the windows it judges
)

// Certainty of a figure that rests on counters.
const (
	ExactC   = "exact"
	Bounded  = "bounded"
	Inferred = "inferred"
)

// Result is result.json. Numbers that cannot be known are null.
type Result struct {
	SchemaVersion int           `json:"schema_version"`
	Run           string        `json:"run"`
	Scenario      string        `json:"scenario"`
	Title         string        `json:"title"`
	Runtime       string        `json:"runtime"`
	Seed          uint64        `json:"seed"`
	Verdict       Verdict       `json:"verdict"`
	Expected      string        `json:"expected"` // pass or fail, as the scenario says; never changes the verdict
	Summary       string        `json:"summary"`  // one sentence that a manager understands
	Reasons       []string      `json:"reasons"`
	Checks        []Check       `json:"checks"`
	Hops          []Hop         `json:"hops"`
	Segments      []Segment     `json:"segments"`
	Streams       []StreamCount `json:"streams,omitempty"` // streams with anything but clean delivery, at most 100
	Totals        Counts        `json:"totals"`
	Latency       []Latency     `json:"latency"`
	Recovery      Recovery      `json:"recovery"`
	Buffers       []BufferFill  `json:"buffers"`
	Influence     []Influence   `json:"influence"`
	Faults        []Fault       `json:"faults"`
	Restarts      []Restart     `json:"restarts,omitempty"` // containers that ended and pods that were replaced, as API servers told of them
	Skipped       []Skip        `json:"skipped"`
	Limits        []string      `json:"limits"` // what this runtime cannot show
	Damage        []string      `json:"damage,omitempty"`
	Interrupted   string        `json:"interrupted,omitempty"`
	Clocks        []Clock       `json:"clocks,omitempty"`    // of clusters that have clocks of their own
	Resumed       []Resumed     `json:"resumed,omitempty"`   // when the harness was dead, and the run went on without it
	Observing     *Observing    `json:"observing,omitempty"` // what watching cost; absent where the harness and the system are one process
	Judged        time.Time     `json:"judged"`
	// Throughput is by observation point and phase; Config what a comparison of runs calls configuration.
	Throughput []Throughput `json:"throughput"`
	// Capacity is there when the run was a try of a search.
	Capacity *Capacity `json:"capacity,omitempty"`
	// Trends are judged in long runs, and where trend is required.
	Trends []Trend `json:"trends,omitempty"`
	// Intervals are what a later run is compared with, of runs that judge a trend.
	Intervals []Figures         `json:"intervals,omitempty"`
	Config    map[string]string `json:"config"`
}

// Observing is the processor time that the harness took, against that of the system it watched.
type Observing struct {
	Harness    float64 `json:"harness_s"`    // its process, without Faults
	Faults     float64 `json:"faults_s"`     // of its process, for making and undoing faults
	Search     float64 `json:"search_s"`     // searches in the store, all of them the harness's
	Metrics    float64 `json:"metrics_s"`    // answers of JMX exporters to the harness
	System     float64 `json:"system_s"`     // everything in the clusters but the log generators
	Forwarding float64 `json:"forwarding_s"` // of the system: API servers, whose share for the harness cannot be told apart
	Share      float64 `json:"share"`        // (Harness + Search + Metrics) / System
	Limit      float64 `json:"limit"`
}

// Throughput is the records a second at one observation point in one phase, over whole seconds.
type Throughput struct {
	Point string  `json:"point"`
	Phase string  `json:"phase"`
	Mean  float64 `json:"mean"`
	Min   float64 `json:"min"`
	Max   float64 `json:"max"`
}

// Check is one judged statement.
type Check struct {
	Name    string   `json:"name"`
	Claim   string   `json:"claim"`
	Verdict Verdict  `json:"verdict"`
	Value   *float64 `json:"value"`
	Limit   *float64 `json:"limit"`
	Unit    string   `json:"unit,omitempty"`
	Detail  string   `json:"detail"`
	Rests   []string `json:"rests_on,omitempty"`  // models and stand-ins that the verdict rests on, and what is absent of what it would look at
	Gate    bool     `json:"threshold,omitempty"` // it is a threshold of the scenario
	Always  bool     `json:"invariant,omitempty"` // judged in every run
	Windows []Span   `json:"windows,omitempty"`   // what it judged, when not the whole run
}

// Span is a time range from the start of the load.
type Span struct {
	From time.Duration `json:"from_ns"`
	To   time.Duration `json:"to_ns"`
}

// Counts are records by class. In a Hop or Segment the classes that do not apply are zero.
type Counts struct {
	Scheduled    uint64 `json:"scheduled"`
	Attempted    uint64 `json:"attempted"`
	Dropped      uint64 `json:"dropped"`
	Frozen       uint64 `json:"dropped_by_fault"`
	Sent         uint64 `json:"sent"`
	Unknown      uint64 `json:"unknown"`
	Acknowledged uint64 `json:"acknowledged"`
	Buffered     uint64 `json:"buffered"`
	DeadLettered uint64 `json:"dead_lettered"`
	SeenKafka    uint64 `json:"seen_kafka"`
	Seen         uint64 `json:"seen"` // in the store
	Lost         uint64 `json:"lost"`
	BrokerDup    uint64 `json:"broker_duplicate"`
	VisibleDup   uint64 `json:"visible_duplicate"`
	SinkRewrite  uint64 `json:"sink_rewrite"`
	Misordered   uint64 `json:"misordered"`
	Corrupt      uint64 `json:"corrupt"`
	Foreign      uint64 `json:"foreign"`
	ForeignRun   uint64 `json:"foreign_run"`
	Phantom      uint64 `json:"phantom"`
	Unreadable   uint64 `json:"unreadable"`
}

// StreamCount is the account of one stream.
type StreamCount struct {
	Stream uint32 `json:"stream"`
	Source string `json:"source"`
	Topic  string `json:"topic"`
	Counts
}

// Hop is the account of one hop. Inside a segment it rests on counters, and says how sure it is.
type Hop struct {
	Name         string   `json:"name"`
	In           *uint64  `json:"in"`
	Out          *uint64  `json:"out"`
	Buffered     *uint64  `json:"buffered"`
	DeadLettered *uint64  `json:"dead_lettered"`
	Lost         *uint64  `json:"lost"`
	LostMin      *uint64  `json:"lost_min,omitempty"` // with certainty bounded
	LostMax      *uint64  `json:"lost_max,omitempty"`
	Duplicated   *uint64  `json:"duplicated"`
	Certainty    string   `json:"certainty"`
	Evidence     []string `json:"evidence"` // counters and points that it rests on
}

// Segment is the exact account between two observation points.
type Segment struct {
	Name         string   `json:"name"`
	In           uint64   `json:"in"`
	Out          uint64   `json:"out"`
	DeadLettered uint64   `json:"dead_lettered"`
	Unknown      uint64   `json:"unknown"`
	Lost         uint64   `json:"lost"`   // absent from a point that was read whole; of one that was not, what is absent is unknown
	Ranges       []Range  `json:"ranges"` // of lost records, at most 1000, longest first
	Duplicates   []Range  `json:"duplicate_ranges,omitempty"`
	Hops         []string `json:"hops"`
}

// Range is a run of lost (or duplicated) records of one stream with the seconds in which they were scheduled.
type Range struct {
	Stream  uint32        `json:"stream"`
	Source  string        `json:"source"`
	Topic   string        `json:"topic"`
	Lo      uint64        `json:"seq_first"`
	Hi      uint64        `json:"seq_last"`
	From    time.Duration `json:"from_ns"`
	To      time.Duration `json:"to_ns"`
	Hop     string        `json:"hop,omitempty"`     // where, when that can be told
	Samples []string      `json:"samples,omitempty"` // identities of up to three records, as the tag has them
}

// Latency is one distribution. Where it was found by polling it is an interval: the plain figures are lower ends and
// the _upper figures upper ends.
type Latency struct {
	Metric    string `json:"metric"`
	Hop       string `json:"hop"`
	Phase     string `json:"phase"`
	Source    string `json:"source"`
	Topic     string `json:"topic,omitempty"`
	Count     uint64 `json:"count"`
	P50       int64  `json:"p50_ns"`
	P90       int64  `json:"p90_ns"`
	P99       int64  `json:"p99_ns"`
	P999      int64  `json:"p999_ns"`
	Max       int64  `json:"max_ns"`
	P50Upper  *int64 `json:"p50_ns_upper,omitempty"`
	P90Upper  *int64 `json:"p90_ns_upper,omitempty"`
	P99Upper  *int64 `json:"p99_ns_upper,omitempty"`
	P999Upper *int64 `json:"p999_ns_upper,omitempty"`
	MaxUpper  *int64 `json:"max_ns_upper,omitempty"`
	// A latency that begins by the clock of another cluster: the figures above plus the offset, give or take the bound, is what it was.
	// Limits are judged so. Unknown: why neither is known; then no limit is decided.
	ClockOffset  *int64 `json:"clock_offset_ns,omitempty"`
	ClockBound   *int64 `json:"clock_bound_ns,omitempty"`
	ClockUnknown string `json:"clock_unknown,omitempty"`
}

// Clock is how a cluster's clock stood to the harness's, over the whole run.
type Clock struct {
	Cluster  string `json:"cluster"`
	Offset   *int64 `json:"offset_ns"` // the cluster's minus the harness's
	Bound    *int64 `json:"bound_ns"`
	Readings int    `json:"readings"`
	Sees     bool   `json:"sees,omitempty"` // records are seen in Kafka by it, and not by the harness's
	Unknown  string `json:"unknown,omitempty"`
}

// String is the sentence for the report.
func (c Clock) String() string {
	of := "that begins there"
	if c.Sees {
		of = "that ends there, where records are seen in Kafka,"
	}
	if c.Offset == nil || c.Bound == nil {
		return fmt.Sprintf("The clock of %s is not known to the harness (%s), so no limit on a latency %s is decided.", c.Cluster, c.Unknown, of)
	}
	offset, way := time.Duration(*c.Offset).Round(time.Microsecond), "ahead of"
	if offset < 0 {
		offset, way = -offset, "behind"
	}
	return fmt.Sprintf("The clock of %s was %v %s the harness's, give or take %v, by %d readings; a limit on a latency %s is judged with that.",
		c.Cluster, offset, way, time.Duration(*c.Bound).Round(time.Microsecond), c.Readings, of)
}

// Recovery are the four times of a run with faults, each after injection (noticed) or heal (the rest); null when it was
// not seen.
type Recovery struct {
	Noticed    *int64 `json:"noticed_ns"`
	FirstGood  *int64 `json:"first_good_ns"`
	Drained    *int64 `json:"drained_ns"`
	InBand     *int64 `json:"in_band_ns"`
	Resolution int64  `json:"resolution_ns"`
	// DrainRate is the records a second at which the backlog shrank, beside the live rate; PeakRate the highest rate
	// seen behind it (thundering herd).
	DrainRate *float64 `json:"drain_rate"`
	LiveRate  *float64 `json:"live_rate"`
	PeakRate  *float64 `json:"peak_rate"`
	// InBandResolution is coarser than Resolution: the band is made of whole windows.
	InBandResolution int64 `json:"in_band_resolution_ns"`
	// ClockBound is by how much more the times may be off, because records are sent by the clocks of other clusters and seen by the harness's; it is
	// not in the resolutions. ClockUnknown says why it is not known.
	ClockBound   *int64 `json:"clock_bound_ns,omitempty"`
	ClockUnknown string `json:"clock_unknown,omitempty"`
	// Fault is the fault that these times are of: the worst where there were several. Faults has the times of each.
	Fault  string          `json:"fault,omitempty"`
	Faults []FaultRecovery `json:"faults,omitempty"`
}

// FaultRecovery is how the system came back after one fault. Where another struck before it was back, its times are those of
// both and therefore at most so long.
type FaultRecovery struct {
	Fault     string  `json:"fault"`
	Relief    *int64  `json:"relief"` // ns from the start of the load from which its times are counted
	Noticed   *int64  `json:"noticed_ns"`
	FirstGood *int64  `json:"first_good_ns"`
	Drained   *int64  `json:"drained_ns"`
	InBand    *int64  `json:"in_band_ns"`
	Before    string  `json:"struck_again,omitempty"` // the fault that struck before it was back
	AtLeast   *int64  `json:"at_least_ns,omitempty"`  // with struck_again: recovery took at least so long
	Verdict   Verdict `json:"verdict"`
	Detail    string  `json:"detail"`
}

// BufferFill is the fill of one hop's buffer and its survival horizon.
type BufferFill struct {
	Hop       string   `json:"hop"`
	Component string   `json:"component"`
	Limit     string   `json:"limit"`
	Peak      *float64 `json:"peak"` // in the buffer's unit
	Unit      string   `json:"unit"`
	FillRate  *float64 `json:"fill_rate"` // per second while filling
	Horizon   *int64   `json:"survival_horizon_ns"`
	Certainty string   `json:"certainty"`
	Sentence  string   `json:"sentence"` // at this rate the first record is lost after ..., in ...
}

// Influence is one cell of the matrix fault cluster x victim cluster.
type Influence struct {
	Fault   string   `json:"fault"`
	Victim  string   `json:"victim"`
	Metric  string   `json:"metric"`
	Before  *float64 `json:"before"`
	While   *float64 `json:"during"`
	Effect  *float64 `json:"effect"` // share of before; positive is worse
	P       *float64 `json:"p_value"`
	Verdict Verdict  `json:"verdict"`
	Detail  string   `json:"detail"`
}

// Fault is what became of a declared fault.
type Fault struct {
	Name       string            `json:"name"`
	Kind       string            `json:"kind"`
	Target     string            `json:"target"`
	Cluster    string            `json:"cluster,omitempty"`
	InjectedAt *int64            `json:"injected_at"` // ns from the start of the load
	BitAt      *int64            `json:"bit_at"`
	HealedAt   *int64            `json:"healed_at"`
	GoneAt     *int64            `json:"gone_at"`
	Hits       uint64            `json:"hits"`
	Detail     string            `json:"detail,omitempty"`
	Attrs      map[string]string `json:"attrs,omitempty"`
}

// Skip is one thing that was not done or not judged.
type Skip struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// What bounds a search from above.
const (
	UpperGate    = "gate"    // a rate failed a gate
	UpperHarness = "harness" // the generator or the machine could not do more
	UpperNoData  = "no data" // a rate could not be judged
	UpperBound   = "bound"   // the highest rate of the search passed
	UpperOpen    = "open"    // the search did not get that far
)

// Capacity is what a search found up to this run: the capacity lies in [passed, failed).
type Capacity struct {
	Source    string   `json:"source"`
	Passed    *float64 `json:"passed"` // highest rate that passed, records a second; null: none did
	Failed    *float64 `json:"failed"` // lowest rate that failed; null: none did
	Upper     string   `json:"upper" jsonschema:"enum=gate,enum=harness,enum=no data,enum=bound,enum=open"`
	Next      *float64 `json:"next"` // the rate that the search tries next; null: it is over
	Why       string   `json:"why"`
	AtLeast   float64  `json:"at_least"`
	Precision float64  `json:"precision"`
	Step      int64    `json:"step_ns"`
	Tries     []Try    `json:"tries"` // in the order in which they were made; the last is this run's
}

// Try is one rate held for one step.
type Try struct {
	Run     string    `json:"run"`
	Rate    float64   `json:"rate"`
	Verdict Verdict   `json:"verdict"`
	Why     string    `json:"why,omitempty"` // what decided, when it did not pass
	Gates   []TryGate `json:"gates"`
}

// TryGate is one gate of a try; its figure lies in [lo, hi].
type TryGate struct {
	Gate    string   `json:"gate"`
	Verdict Verdict  `json:"verdict"`
	Lo      *float64 `json:"lo"`
	Hi      *float64 `json:"hi"`
	Limit   float64  `json:"limit"`
	Unit    string   `json:"unit"`
	Detail  string   `json:"detail"`
}

// Trend is how much one series grew over what was judged: a slope times the span, in [growth_lo, growth_hi] with 95 % confidence.
type Trend struct {
	What     string   `json:"what"` // memory, heap, open files, backlog, evidence
	Of       string   `json:"of"`   // harness, cluster/instance of a component, or a segment
	Unit     string   `json:"unit"`
	Points   int      `json:"points"` // intervals whose medians the slope rests on
	Span     int64    `json:"span_ns"`
	Level    *float64 `json:"level"` // median
	Growth   *float64 `json:"growth"`
	GrowthLo *float64 `json:"growth_lo"`
	GrowthHi *float64 `json:"growth_hi"`
	PerHour  *float64 `json:"per_hour"`
	Limit    *float64 `json:"limit"` // growth that is allowed over the span
	Verdict  Verdict  `json:"verdict"`
	Detail   string   `json:"detail"`
}
