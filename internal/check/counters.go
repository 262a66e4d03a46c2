package check

import (
	"math"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
)

// scraped are the counter families that judging accumulates; of every other component series only what buffers name is kept.
// They are names of the real programs; a model exposes the same.
var scraped = map[string]bool{
	"fluentbit_input_records_total":                    true,
	"fluentbit_input_bytes_total":                      true,
	"fluentbit_filter_drop_records_total":              true,
	"fluentbit_input_long_line_skipped_total":          true,
	"fluentbit_output_proc_records_total":              true,
	"fluentbit_output_proc_bytes_total":                true,
	"fluentbit_output_dropped_records_total":           true,
	"fluentbit_output_retries_total":                   true,
	"fluentd_output_status_emit_records":               true,
	"fluentd_output_status_rollback_count":             true,
	"fluentd_output_status_num_errors":                 true,
	"kafka_server_brokertopicmetrics_messagesin_total": true,
	appendedSeries: true,
	"kafka_connect_sink_task_sink_record_read_total": true,
	"kafka_connect_sink_task_sink_record_send_total": true,
	consumedSeries: true,
	"kafka_connect_task_error_total_record_failures":            true,
	"kafka_connect_task_error_total_records_skipped":            true,
	"kafka_connect_task_error_deadletterqueue_produce_requests": true,
}

// consumedSeries is what the consumers of the sink's tasks read, by topic. The tasks themselves count all topics together.
const consumedSeries = "kafka_consumer_fetch_manager_records_consumed_total"

// ofNodeMetrics reports whether a series of the agent or the aggregator counts figures of nodes, which are no records of a run. They pass both by
// inputs and outputs of their own, whose names begin with the source's.
func ofNodeMetrics(l evidence.Labels) bool {
	return strings.HasPrefix(l["name"], evidence.NodeMetrics) || l["plugin_id"] == aggregatorOutput(evidence.NodeMetrics)
}

// aggregatorOutput is the name of the aggregator's output for a source.
func aggregatorOutput(source string) string { return "out_" + strings.ReplaceAll(source, "-", "_") }

// starts are the families that date the start of a process, so that a reset is seen even when the counter has overtaken
// its old value.
var starts = map[string]bool{"fluentbit_process_start_time_seconds": true, "process_start_time_seconds": true}

// increase is what a counter, or a sum of counters, grew by during the run: certainly Lo, at most Hi.
type increase struct {
	lo, hi float64
	known  bool
	resets int
	dead   bool // an instance was not scraped at the end: what it counted then is not known
	names  []string
}

func (i increase) exact() bool { return i.known && i.lo == i.hi }

func (i increase) plus(o increase) increase {
	if !o.known {
		return i
	}
	if !i.known {
		return o
	}
	return increase{i.lo + o.lo, i.hi + o.hi, true, i.resets + o.resets, i.dead || o.dead, append(slices.Clone(i.names), o.names...)}
}

// counter accumulates one series of one instance.
type counter struct {
	labels   evidence.Labels
	instance *instance
	seen     bool
	value    float64
	base     float64 // counted before the first reading, that may belong to the run
	sum      float64
	resets   int
	epoch    int
}

// instance is one scraped process.
type instance struct {
	first   time.Duration // of any of its series
	epoch   int           // counts starts seen
	start   float64
	started bool // its first start time is inside the run
	up      float64
	hasUp   bool
}

// counters are the accumulated counters of a run.
type counters struct {
	byName    map[string]map[string]*counter
	instances map[string]*instance
	written   line            // bytes appended to all brokers' logs, by when it was seen
	ended     map[string]bool // instances that restarted, as their API server tells: a new process may have overtaken its counters unseen
	origin    float64         // unix seconds at which the run was made: what started later has counted for nobody else
}

func newCounters(start time.Time) *counters {
	return &counters{byName: map[string]map[string]*counter{}, instances: map[string]*instance{}, ended: map[string]bool{}, origin: float64(start.UnixNano()) / 1e9}
}

func instanceKey(l evidence.Labels) string {
	return l["cluster"] + "/" + l["component"] + "/" + l["instance"]
}

// batch takes the samples of one moment: first what says whether a process is there and when it started, because a
// counter is read in the light of that.
func (c *counters) batch(at time.Duration, samples []evidence.Sample) {
	for _, s := range samples {
		if s.Name == evidence.UpSeries || starts[s.Name] {
			c.add(at, s)
		}
	}
	for _, s := range samples {
		if s.Name != evidence.UpSeries && !starts[s.Name] {
			c.add(at, s)
		}
	}
}

func (c *counters) add(at time.Duration, s evidence.Sample) {
	up := s.Name == evidence.UpSeries
	if !up && !starts[s.Name] && !scraped[s.Name] {
		return
	}
	key := instanceKey(s.Labels)
	in := c.instances[key]
	if in == nil {
		in = &instance{first: forever}
		c.instances[key] = in
	}
	if !up || s.Value != 0 {
		in.first = min(in.first, at)
	}
	switch {
	case up:
		in.up, in.hasUp = s.Value, true
		return
	case starts[s.Name]:
		if in.start != 0 && s.Value != in.start {
			in.epoch++
		}
		if in.start == 0 && s.Value > c.origin {
			in.started = true
		}
		in.start = s.Value
		return
	}
	if math.IsNaN(s.Value) || math.IsInf(s.Value, 0) || s.Value < 0 || ofNodeMetrics(s.Labels) {
		return
	}
	series := c.byName[s.Name]
	if series == nil {
		series = map[string]*counter{}
		c.byName[s.Name] = series
	}
	k := s.Labels.String()
	x := series[k]
	if x == nil {
		x = &counter{labels: s.Labels, instance: in, epoch: in.epoch}
		series[k] = x
	}
	before := x.sum
	x.observe(at, s.Value)
	if s.Name == appendedSeries {
		c.written.add(at, x.sum-before)
	}
}

func (x *counter) observe(at time.Duration, v float64) {
	switch {
	case !x.seen:
		x.seen = true
		if at > 0 {
			// A series that its instance did not have when it was first read began at zero. An instance that came
			// later and started before the load may have counted for it or not.
			if x.instance.first < at || x.instance.started {
				x.sum += v
			} else {
				x.base = v
			}
		}
	case v < x.value || x.epoch != x.instance.epoch:
		x.resets++
		x.sum += v
	default:
		x.sum += v - x.value
	}
	x.value, x.epoch = v, x.instance.epoch
}

// increase returns the growth over all instances of the series of a family that has all the given labels.
func (c *counters) increase(name string, want evidence.Labels) increase {
	out := c.increaseOf(name, func(l evidence.Labels) bool { return l.Match(want) })
	if out.known {
		out.names = []string{name + selector(want)}
	}
	return out
}

// increaseOf is the same of the series that pick takes.
func (c *counters) increaseOf(name string, pick func(evidence.Labels) bool) increase {
	var out increase
	for _, x := range c.byName[name] {
		if !pick(x.labels) {
			continue
		}
		i := increase{lo: x.sum, hi: x.sum + x.base, known: true, resets: x.resets}
		i.dead = x.instance.hasUp && x.instance.up == 0
		if x.resets > 0 || i.dead || c.ended[instanceKey(x.labels)] {
			i.hi = math.Inf(1) // what was counted between the last reading and the end of the process is gone
		}
		out = out.plus(i)
	}
	return out
}

func selector(l evidence.Labels) string {
	if len(l) == 0 {
		return ""
	}
	return l.String()
}

// restart takes what an API server told. An instance is a pod, or the node of one that a DaemonSet runs.
func (c *counters) restart(e evidence.Event) {
	for _, instance := range []string{e.Attrs["pod"], e.Attrs["node"]} {
		c.ended[instanceKey(evidence.Labels{"cluster": e.Attrs["cluster"], "component": e.Name, "instance": instance})] = true
	}
}

// restarted reports whether an instance of a component was seen to restart or was away at the end.
func (c *counters) restarted(component string) bool {
	for k := range c.ended {
		if strings.Contains(k, "/"+component+"/") {
			return true
		}
	}
	for k, in := range c.instances {
		if strings.Contains(k, "/"+component+"/") && (in.epoch > 0 || in.hasUp && in.up == 0) {
			return true
		}
	}
	for _, series := range c.byName {
		for _, x := range series {
			if x.resets > 0 && x.labels["component"] == component {
				return true
			}
		}
	}
	return false
}
