package scenario

import (
	"math"
	"slices"
	"time"
)

// APIVersion is the only version that Load accepts.
const APIVersion = "triad/v1"

// Names of the phases of a run, in order. The drain has no load.
const (
	WarmUp = "warm-up"
	Before = "before"
	During = "during"
	After  = "after"
	Drain  = "drain"
)

// PhaseNames are the phases in order.
var PhaseNames = []string{WarmUp, Before, During, After, Drain}

func validPhase(s string) bool { return slices.Contains(PhaseNames, s) }

// Names of the clusters, which are also the names of their roles.
const (
	Datacenter = "datacenter"
	Kafka      = "kafka"
	Monitoring = "monitoring"
)

// ClusterNames are the three clusters in the order of the data path.
var ClusterNames = []string{Datacenter, Kafka, Monitoring}

// HopNames are the hops in the order of the data path.
var HopNames = []string{"generate", "collect", "forward", "broker", "sink", "search"}

// Scenario is one scenario file, decoded, with its defaults filled in.
type Scenario struct {
	APIVersion string      `yaml:"apiVersion" json:"apiVersion" doc:"triad/v1"`
	Name       string      `yaml:"name" json:"name" doc:"lower case, digits and dashes; the file is called name.yaml"`
	Title      string      `yaml:"title" json:"title" doc:"one line: what is shown"`
	Claims     []string    `yaml:"claims,omitempty" json:"claims,omitempty" doc:"claims that the scenario tests: C1 to C8"`
	Runtimes   []string    `yaml:"runtimes,omitempty" json:"runtimes,omitempty" doc:"runtimes on which it says something honest; default embedded, kind"`
	Elsewhere  string      `yaml:"elsewhere,omitempty" json:"elsewhere,omitempty" doc:"why it says nothing on embedded or kind, when one is left out and every step is possible there"`
	Seed       uint64      `yaml:"seed,omitempty" json:"seed,omitempty" doc:"seed of everything random; default 1"`
	Phases     Phases      `yaml:"phases" json:"phases" doc:"lengths of the phases"`
	Observers  int         `yaml:"observers,omitempty" json:"observers,omitempty" doc:"pods made for the run that read Kafka, each its share of the partitions, and as many that read the store at the end, each a slice of it, as Indexed Jobs; default 0: the harness reads all of them"`
	Load       []Input     `yaml:"load" json:"load" doc:"what is sent"`
	Cap        *Cap        `yaml:"cap,omitempty" json:"cap,omitempty" doc:"the most that the load may ever send; a file that asks for more is refused. Needed on eks"`
	Faults     []Fault     `yaml:"faults,omitempty" json:"faults,omitempty" doc:"what is broken, when and for how long"`
	Rotate     Duration    `yaml:"rotate,omitempty" json:"rotate,omitempty" doc:"the faults strike in turn, one each so long, round after round while the phase during has room; at is then the place of a fault in its turn, as if each were the first"`
	Thresholds []string    `yaml:"thresholds,omitempty" json:"thresholds,omitempty" doc:"gates on measured figures"`
	Guarantees []Guarantee `yaml:"guarantees,omitempty" json:"guarantees,omitempty" doc:"declared delivery guarantee of a segment; default no loss and at-least-once"`
	Requires   []string    `yaml:"requires,omitempty" json:"requires,omitempty" doc:"checks that must not be skipped"`
	Expect     string      `yaml:"expect,omitempty" json:"expect,omitempty" doc:"fail documents a known weakness"`
	Because    string      `yaml:"because,omitempty" json:"because,omitempty" doc:"why it is expected to fail"`
	Settings   []Setting   `yaml:"settings,omitempty" json:"settings,omitempty" doc:"changes to configuration files of the manifests for this run"`
	Compare    *Compare    `yaml:"compare,omitempty" json:"compare,omitempty" doc:"repetitions in two topologies: three clusters, and the same parts in one"`
	Search     *Search     `yaml:"search,omitempty" json:"search,omitempty" doc:"search for the highest rate that still passes; every try is a run"`
	Isolation  *Isolation  `yaml:"isolation,omitempty" json:"isolation,omitempty" doc:"which victims are watched while a cluster suffers"`
	Probes     []string    `yaml:"probes,omitempty" json:"probes,omitempty" doc:"what is probed before the load, for security-isolation: links, acls, policies"`
	Alerts     []Alert     `yaml:"alerts,omitempty" json:"alerts,omitempty" doc:"alerts that the faults must raise, and no others"`
	Dashboards *Time       `yaml:"dashboards,omitempty" json:"dashboards,omitempty" doc:"when every query of every dashboard is asked, for one-view; nothing is broken then"`
	RecoverIn  Duration    `yaml:"recoverWithin,omitempty" json:"recoverWithin,omitempty" doc:"the system must be back in its before-band this long after the last fault is gone"`
	File       string      `yaml:"-" json:"-"`

	places map[string]Position // of every path of the file
}

// Phases are the lengths of the phases; a scenario without faults may leave during and after away.
type Phases struct {
	WarmUp Duration `yaml:"warm-up,omitempty" json:"warm-up,omitempty" doc:"not judged for latency and throughput; default 5s"`
	Before Duration `yaml:"before" json:"before" doc:"the figures to compare with"`
	During Duration `yaml:"during,omitempty" json:"during,omitempty" doc:"faults"`
	After  Duration `yaml:"after,omitempty" json:"after,omitempty" doc:"recovery under load"`
	Drain  Duration `yaml:"drain,omitempty" json:"drain,omitempty" doc:"longest wait for acknowledged records to arrive; default 120s"`
}

// Window is one phase on the time line: [From, To) from the start of the load.
type Window struct {
	Name string        `json:"name"`
	From time.Duration `json:"from_ns"`
	To   time.Duration `json:"to_ns"`
}

// Windows returns the phases with a length above zero, in order; the drain is the last and ends at its deadline.
func (p Phases) Windows() []Window {
	var out []Window
	var at time.Duration
	for i, d := range []Duration{p.WarmUp, p.Before, p.During, p.After, p.Drain} {
		if d > 0 {
			out = append(out, Window{PhaseNames[i], at, at + d.D()})
			at += d.D()
		}
	}
	return out
}

// LoadTime is the time during which records are scheduled: all phases but the drain.
func (p Phases) LoadTime() time.Duration {
	return (p.WarmUp + p.Before + p.During + p.After).D()
}

// Resolve returns t as an offset from the start of the load. A phase of no length stands where it would begin.
func (p Phases) Resolve(t Time) time.Duration {
	if t.Phase == "" {
		return t.Offset
	}
	var at time.Duration
	for i, d := range []Duration{p.WarmUp, p.Before, p.During, p.After} {
		if PhaseNames[i] == t.Phase {
			break
		}
		at += d.D()
	}
	return at + t.Offset
}

// Input is one source with its rate.
type Input struct {
	Source    string `yaml:"source" json:"source" doc:"see sim list sources"`
	Rate      Rate   `yaml:"rate" json:"rate" doc:"records a second of all streams together"`
	Streams   int    `yaml:"streams,omitempty" json:"streams,omitempty" doc:"ordered streams; default as many as instances"`
	Instances int    `yaml:"instances,omitempty" json:"instances,omitempty" doc:"generators that share the streams, each with a log file of its own; default 1"`
	// Parallelism is Instances with pods made for the run. A shard owns its streams: none of them is sent by two.
	Parallelism int     `yaml:"parallelism,omitempty" json:"parallelism,omitempty" doc:"shards: pods made for the run that share the streams, as one Indexed Job; default 0: the generators that are there"`
	Size        Size    `yaml:"size,omitempty" json:"size,omitempty" doc:"bytes of a line; default 256B"`
	Enter       string  `yaml:"enter,omitempty" json:"enter,omitempty" doc:"where it enters: file, forward or kafka, as its source can; the first in sim list sources when left out"`
	Arrivals    string  `yaml:"arrivals,omitempty" json:"arrivals,omitempty" doc:"uniform (default) or poisson"`
	Shape       []Stage `yaml:"shape,omitempty" json:"shape,omitempty" doc:"changes of the rate: ramps and steps"`
}

// Cap is the most that a scenario may send, whatever its load says. A load is the figure that people change; a cap is the one
// that they have agreed on.
type Cap struct {
	Rate  Rate `yaml:"rate" json:"rate" doc:"records a second of all sources together"`
	Total int  `yaml:"total" json:"total" doc:"records of the whole run"`
}

// Most is the highest rate that the load reaches, and a bound of the records that it sends: each source at its own highest
// rate for as long as there is load.
func (s *Scenario) Most() (rate float64, total int) {
	for _, l := range s.Load {
		top := float64(l.Rate)
		for _, st := range l.Shape {
			top = max(top, float64(st.Rate))
		}
		rate += top
		total += int(math.Ceil(top * s.Phases.LoadTime().Seconds()))
	}
	return rate, total
}

// Stage changes the rate of a load at a place on the time line.
type Stage struct {
	At   Time     `yaml:"at" json:"at" doc:"when the change begins"`
	Over Duration `yaml:"over,omitempty" json:"over,omitempty" doc:"length of the ramp; 0 is a step"`
	Rate Rate     `yaml:"rate" json:"rate" doc:"rate at its end"`
}

// Fault is one declared fault. Which fields it takes depends on its kind: see Faults.
type Fault struct {
	Kind      string   `yaml:"kind" json:"kind" doc:"see sim list faults"`
	Name      string   `yaml:"name,omitempty" json:"name,omitempty" doc:"default the kind, numbered"`
	At        Time     `yaml:"at" json:"at" doc:"when it is injected"`
	For       Duration `yaml:"for,omitempty" json:"for,omitempty" doc:"until it is healed"`
	Target    string   `yaml:"target,omitempty" json:"target,omitempty" doc:"what it hits, see the kind"`
	Cluster   string   `yaml:"cluster,omitempty" json:"cluster,omitempty" doc:"datacenter, kafka or monitoring"`
	From      string   `yaml:"from,omitempty" json:"from,omitempty" doc:"link: cluster that opens it"`
	To        string   `yaml:"to,omitempty" json:"to,omitempty" doc:"link: cluster that is reached"`
	Direction string   `yaml:"direction,omitempty" json:"direction,omitempty" doc:"link: both (default), forward, back"`
	Mode      string   `yaml:"mode,omitempty" json:"mode,omitempty" doc:"link: drop (default) or reject; noisy-neighbour: cpu (default) or io"`
	Delay     Duration `yaml:"delay,omitempty" json:"delay,omitempty" doc:"slow-link: added one-way delay"`
	Bandwidth Size     `yaml:"bandwidth,omitempty" json:"bandwidth,omitempty" doc:"slow-link: bytes a second"`
	Ratio     float64  `yaml:"ratio,omitempty" json:"ratio,omitempty" doc:"es-throttle: share of items refused, 0 to 1; default 1"`
	Count     int      `yaml:"count,omitempty" json:"count,omitempty" doc:"noisy-neighbour: busy loops"`
}

// Alert declares an alert that a fault must raise. What is declared for no fault must not fire.
type Alert struct {
	Name   string            `yaml:"name" json:"name" doc:"name of an alerting rule of the manifests"`
	Fault  string            `yaml:"fault,omitempty" json:"fault,omitempty" doc:"name of the fault that raises it; needed when there is more than one"`
	Labels map[string]string `yaml:"labels,omitempty" json:"labels,omitempty" doc:"labels that it must have"`
	Fires  Duration          `yaml:"fires" json:"fires" doc:"it fires this long after the injection at the latest"`
	Clears Duration          `yaml:"clears" json:"clears" doc:"it has cleared this long after the fault was healed at the latest"`
	// Optional is for what depends on how long a recovery takes.
	Optional bool `yaml:"optional,omitempty" json:"optional,omitempty" doc:"it may also stay silent; when it fires, fires and clears hold"`
}

// Guarantee declares what a segment promises.
type Guarantee struct {
	Segment  string `yaml:"segment" json:"segment" doc:"generate, ledger-kafka or kafka-search"`
	Delivery string `yaml:"delivery,omitempty" json:"delivery,omitempty" doc:"at-least-once (default), exactly-once, best-effort"`
	Order    string `yaml:"order,omitempty" json:"order,omitempty" doc:"ledger-kafka: kept (default) or best-effort, where records of a stream may overtake one another"`
}

// Setting replaces text in one configuration file of the manifests for this run only, in every runtime.
type Setting struct {
	Config  string `yaml:"config" json:"config" doc:"file name in the manifests, e.g. fluentd.yaml"`
	Replace string `yaml:"replace" json:"replace" doc:"text that must be there"`
	With    string `yaml:"with" json:"with" doc:"text in its place"`
}

// Search looks for the highest rate of one source that passes. Every try is a run of its own, with the phase during at the
// rate that is tried, so that its schedule is a function of scenario and seed alone and it begins without the backlog of
// the try before it.
type Search struct {
	Source    string   `yaml:"source" json:"source" doc:"the load whose rate is searched; the others stay as they are"`
	From      Rate     `yaml:"from" json:"from" doc:"first rate tried"`
	To        Rate     `yaml:"to" json:"to" doc:"highest rate tried"`
	AtLeast   Rate     `yaml:"atLeast,omitempty" json:"atLeast,omitempty" doc:"the check capacity fails when a rate up to this one fails; default from"`
	Step      Duration `yaml:"step,omitempty" json:"step,omitempty" doc:"how long a rate is held: the phase during of each try; default 60s"`
	Precision Share    `yaml:"precision,omitempty" json:"precision,omitempty" doc:"how far apart the highest rate that passed and the lowest that failed may stay; default 10%"`
	Tries     int      `yaml:"tries,omitempty" json:"tries,omitempty" doc:"most runs made; default 16"`
	Within    Duration `yaml:"within,omitempty" json:"within,omitempty" doc:"no try begins later than this after the first; default 30m"`
	Gate      []string `yaml:"gate,omitempty" json:"gate,omitempty" doc:"thresholds that each try must meet, judged over its step; default p(99) of e2e_latency below 10s, no loss, and a backlog_growth below 0.05"`
	Rate      Rate     `yaml:"rate,omitempty" json:"rate,omitempty" doc:"the one rate that this run tries; the search sets it, and a file that has it makes this one run"`
}

// Probe returns the run that tries one rate.
func (s *Scenario) Probe(rate Rate) *Scenario {
	out := *s
	search := *s.Search
	search.Rate = rate
	out.Search = &search
	out.Phases.During = search.Step
	out.Load = slices.Clone(s.Load)
	for i := range out.Load {
		if out.Load[i].Source == search.Source {
			stages := []Stage{{At: Time{Phase: During}, Rate: rate}}
			if s.Phases.After > 0 {
				stages = append(stages, Stage{At: Time{Phase: After}, Rate: out.Load[i].Rate})
			}
			out.Load[i].Shape = stages
		}
	}
	return &out
}

// Compare repeats the run in pairs: in three clusters, and with the same parts in one, under the same caps in all.
type Compare struct {
	Pairs     int     `yaml:"pairs,omitempty" json:"pairs,omitempty" doc:"repetitions; default 5, fewer give no verdict"`
	CPUs      float64 `yaml:"cpus" json:"cpus" doc:"processors of all nodes together, in either topology"`
	Memory    Size    `yaml:"memory" json:"memory" doc:"memory of all nodes together, in either topology"`
	Tolerance float64 `yaml:"tolerance,omitempty" json:"tolerance,omitempty" doc:"how much slower, as a share, a neighbour may get in three clusters than in one; default 0.25"`
}

// Isolation names the cluster that suffers and the clusters that must not notice.
type Isolation struct {
	Fault     string   `yaml:"fault" json:"fault" doc:"cluster in which the fault is"`
	Victims   []string `yaml:"victims" json:"victims" doc:"clusters that must not get worse"`
	Tolerance float64  `yaml:"tolerance,omitempty" json:"tolerance,omitempty" doc:"minimum effect as a share of the before-band; default 0.25"`
}

// Stream is an ordered unit of records: one source, one topic, one instance.
type Stream struct {
	ID       uint32 `json:"id"`
	Source   string `json:"source"`
	Kind     string `json:"kind"`  // log format, a kind of package source
	Topic    string `json:"topic"` // where its records must arrive
	Cluster  string `json:"cluster"`
	Enter    string `json:"enter"`
	Instance int    `json:"instance"` // generator that writes it, from 0
	Load     int    `json:"load"`     // index in Scenario.Load
}

// Streams returns the streams of s, numbered from 0 in the order of its loads.
func (s *Scenario) Streams() []Stream {
	var out []Stream
	for i, l := range s.Load {
		src, _ := FindSource(l.Source)
		for k := range l.Streams {
			out = append(out, Stream{
				ID: uint32(len(out)), Source: l.Source, Kind: src.Kind, Topic: src.Topic,
				Cluster: src.Cluster, Enter: l.Enter, Instance: k % l.Instances, Load: i,
			})
		}
	}
	return out
}
