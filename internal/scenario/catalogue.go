package scenario

import (
	"fmt"
	"strings"
)

// Source is one row of the catalogue of sources.
type Source struct {
	Name    string
	Kind    string // log format
	Topic   string
	Cluster string   // where its records are born
	Enters  []string // where it may enter; the first is the default
	Doc     string
}

// Sources is the catalogue of log types.
var Sources = []Source{
	{"service", "service", "service-topic", Datacenter, []string{"file", "forward", "kafka"}, "JSON events of services, written to stdout (CRI log files)"},
	{"system-auth", "system-auth", "system-auth-topic", Datacenter, []string{"file", "forward", "kafka"}, "sshd, sudo and pam lines in auth.log"},
	{"system-kmsg", "system-kmsg", "system-kmsg-topic", Datacenter, []string{"file", "forward", "kafka"}, "kernel ring buffer lines in kern.log"},
	{"system-syslog", "system-syslog", "system-syslog-topic", Datacenter, []string{"file", "forward", "kafka"}, "lines of daemons in syslog"},
	{"system-metrics", "system-metrics", "system-metrics-topic", Datacenter, []string{"kafka"}, "node metrics as records"},
	{"canary", "service", "canary-topic", Datacenter, []string{"file"}, "a small stream on a route of its own, for runs in production"},
	{"control", "service", "canary-topic", Kafka, []string{"kafka"}, "control stream that does not start in datacenter: produced in the kafka cluster (claim C1)"},
}

// FindSource returns the row of a source.
func FindSource(name string) (Source, bool) {
	for _, s := range Sources {
		if s.Name == name {
			return s, true
		}
	}
	return Source{}, false
}

// FaultKind is one row of the catalogue of faults.
type FaultKind struct {
	Name     string
	Cluster  string   // where it strikes; empty when the file says so
	Needs    []string // fields that must be set besides kind and at
	Takes    []string // fields that may be set
	Target   string   // what target means, empty when it takes none
	Heals    bool     // it lasts for: and is healed; otherwise it is an instant
	Embedded bool
	Kind     bool
	EKS      bool // through an API server alone, and it ends without the harness
	Claims   []string
	Doc      string
}

// WhyNot says why a kind of fault cannot be done on a runtime; empty when it can. It is what a list says beside a step.
func (f FaultKind) WhyNot(runtime string) string {
	switch {
	case runtime == "embedded" && !f.Embedded:
		return notEmbedded[f.Name]
	case runtime == "kind" && !f.Kind:
		return "real clusters have nothing for it"
	}
	return ""
}

// Runtimes are those on which a kind of fault can be done.
func (f FaultKind) Runtimes() []string {
	var out []string
	if f.Embedded {
		out = append(out, "embedded")
	}
	if f.Kind {
		out = append(out, "kind")
	}
	if f.EKS {
		out = append(out, "eks")
	}
	return out
}

// notEmbedded is why faults are possible on real clusters alone. A test holds it against the catalogue.
var notEmbedded = map[string]string{
	"es-kill":         "the store's process is the harness's",
	"es-disk-full":    "the model of the store has no disk",
	"connect-pause":   "the model of Connect has no REST interface that pauses",
	"noisy-neighbour": "everything is one process, and a busy loop in it would measure Go's scheduler",
	"roll-out":        "there are no clusters to roll a change out to",
}

// Faults is the catalogue of faults.
var Faults = []FaultKind{
	{"broker-kill", Kafka, nil, []string{"target"}, "leader (of service-topic, default), controller, leader:TOPIC/PARTITION or a broker id", false, true, true, true, []string{"C3"}, "kill -9 of one broker, which restarts"},
	{"broker-down", Kafka, []string{"for"}, []string{"target"}, "as broker-kill", true, true, true, true, []string{"C3"}, "kill -9 of one broker, held down until healed"},
	{"broker-roll", Kafka, nil, nil, "", false, true, true, false, []string{"C3"}, "graceful restart of every broker, one after another"},
	{"broker-freeze", Kafka, []string{"for"}, []string{"target"}, "as broker-kill", true, true, true, false, []string{"C3"}, "SIGSTOP of one broker, SIGCONT when healed"},
	{"cluster-freeze", "", []string{"cluster", "for"}, nil, "", true, true, true, false, []string{"C1", "C2", "C3"}, "every process of a cluster stops, and goes on when healed"},
	{"link-cut", "", []string{"from", "to", "for"}, []string{"direction", "mode"}, "", true, true, true, false, []string{"C1", "C3"}, "the link between two clusters is cut, one or both directions"},
	{"slow-link", "", []string{"from", "to", "for"}, []string{"delay", "bandwidth"}, "", true, true, true, false, []string{"C3"}, "the link between two clusters gets a delay or a bandwidth limit"},
	{"es-throttle", Monitoring, []string{"for"}, []string{"ratio"}, "", true, true, true, false, []string{"C3"}, "Elasticsearch answers 429 to bulk items (kind: to whole bulk requests, so no ratio)"},
	{"es-read-only", Monitoring, []string{"for"}, nil, "", true, true, true, false, []string{"C3"}, "the read-only block that a full disk sets"},
	{"es-down", Monitoring, []string{"for"}, nil, "", true, true, true, false, []string{"C2", "C3"}, "Elasticsearch is away"},
	{"es-kill", Monitoring, nil, nil, "", false, false, true, false, []string{"C3"}, "kill -9 of Elasticsearch, which restarts"},
	{"es-disk-full", Monitoring, []string{"for"}, nil, "", true, false, true, false, []string{"C3"}, "Elasticsearch takes its disk for full, blocks its indices, and lets go by itself when healed; at least 40s"},
	{"connect-pause", Monitoring, []string{"for"}, nil, "", true, false, true, false, []string{"C3"}, "the sink's connector is paused, and goes on when healed"},
	{"connect-task-fail", Monitoring, nil, []string{"for"}, "", false, true, true, false, []string{"C3"}, "a sink task fails"},
	{"connect-kill", Monitoring, nil, nil, "", false, true, true, true, []string{"C3"}, "kill -9 of the Connect worker, which restarts"},
	{"forwarder-kill", Datacenter, []string{"target"}, []string{"for"}, "fluent-bit or fluentd", false, true, true, true, []string{"C3"}, "kill -9 of a forwarder, which restarts (after for:, when given)"},
	{"receiver-down", Monitoring, []string{"for"}, nil, "", true, true, true, false, []string{"C1", "C2"}, "the remote_write receiver is away"},
	{"noisy-neighbour", "", []string{"cluster", "for"}, []string{"count", "mode"}, "", true, false, true, false, []string{"C5"}, "busy loops in a node of a cluster: mode cpu (default) or io"},
	{"cluster-add", "", []string{"for"}, nil, "", true, true, true, false, []string{"C6"}, "a fourth cluster with a Prometheus agent alone is added, and taken away when healed"},
	{"roll-out", "", []string{"for"}, []string{"target"}, "component roll-forward of the manifests (default), or rev:REVISION: the manifests of a git revision", true, false, true, false, []string{"C8"}, "a change of the manifests is rolled out to all clusters, and rolled back when healed"},
	{"nothing", "", nil, []string{"for"}, "", true, true, true, false, nil, "a fault that does nothing: the run must come out invalid"},
}

// FindFault returns the row of a kind of fault.
func FindFault(name string) (FaultKind, bool) {
	for _, f := range Faults {
		if f.Name == name {
			return f, true
		}
	}
	return FaultKind{}, false
}

// Metric is one row of the catalogue of metrics that a threshold may name.
type Metric struct {
	Name   string
	Unit   string   // s, records, ratio, /s, bytes
	Aggs   []string // aggregations it has
	Labels []string
	Doc    string
}

var (
	distribution = []string{"p", "min", "mean", "max", "count"}
	single       = []string{"value"}
)

// Metrics is the catalogue of metrics.
var Metrics = []Metric{
	{"e2e_latency", "s", distribution, []string{"source", "topic", "phase"}, "scheduled to searchable by polling: an interval (last miss, first hit]"},
	{"kafka_latency", "s", distribution, []string{"source", "topic", "phase"}, "scheduled to readable in Kafka"},
	{"generator_lag", "s", distribution, []string{"source", "phase"}, "scheduled to attempted while no earlier write is blocked"},
	{"target_block", "s", distribution, []string{"source", "phase"}, "attempted to returned, and the queue behind it"},
	{"lost", "records", single, []string{"source", "topic", "segment"}, "acknowledged and absent after the drain"},
	{"unknown", "records", single, []string{"source"}, "attempted, outcome not known"},
	{"dropped", "records", single, []string{"source"}, "in the schedule and never attempted by the generator"},
	{"duplicates", "records", single, []string{"source", "topic", "point"}, "seen again at the same point"},
	{"misordered", "records", single, []string{"source", "topic"}, "behind a later record of their stream and partition"},
	{"throughput", "/s", []string{"min", "mean", "max", "p"}, []string{"source", "phase", "point"}, "records a second at an observation point"},
	{"backlog", "records", []string{"max", "mean", "value"}, []string{"hop", "phase"}, "acknowledged and not yet at the next observation point; without hop, not yet at the last"},
	{"backlog_growth", "ratio", single, []string{"hop", "phase"}, "share of the records of a window by which the backlog grows in it: an interval, the 95 % confidence interval of its slope"},
	{"noticed", "s", single, nil, "injection to the first effect seen"},
	{"first_good", "s", single, nil, "heal to the first good record"},
	{"drained", "s", single, nil, "heal to the end of the backlog"},
	{"in_band", "s", single, nil, "heal to the before-band"},
	{"survival_horizon", "s", single, []string{"hop"}, "time until the hop's buffer loses the first record at the measured rate"},
	{"metrics_gap", "s", []string{"max", "count"}, []string{"cluster"}, "holes in the synthetic counter of a cluster"},
	{"query_latency", "s", distribution, []string{"phase"}, "time of a search in Elasticsearch; one that failed counts as longer than the 5 s that are waited for"},
}

// FindMetric returns the row of a metric.
func FindMetric(name string) (Metric, bool) {
	for _, m := range Metrics {
		if m.Name == name {
			return m, true
		}
	}
	return Metric{}, false
}

// CheckKind is one row of the catalogue of checks.
type CheckKind struct {
	Name   string
	Claim  string
	Always bool // judged in every run
	Doc    string
}

// Checks is the catalogue of checks. Thresholds come beside them under their own text.
var Checks = []CheckKind{
	{"evidence", "", true, "the evidence is whole: closed, checksums right, every observer there to the end"},
	{"load", "", true, "the generator sent what the schedule asked, in time"},
	{"faults", "", true, "every fault bit and is gone"},
	{"loss", "C3", true, "every acknowledged record is in Kafka and in the store, or dead-lettered"},
	{"duplicates", "C3", true, "no record is twice at a point whose guarantee forbids it"},
	{"corruption", "", true, "every record that arrived is what was sent"},
	{"order", "", true, "records of one stream and partition arrive in order"},
	{"isolation", "C4", true, "no record in a topic or index that is not its own"},
	{"phantom", "", true, "nothing arrived that was never sent"},
	{"saturation", "", true, "the harness and its models had processor time to spare"},
	{"recovery", "C3", false, "the system is back in its before-band in time"},
	{"fault-isolation", "C1", false, "victim clusters do not get worse while another suffers"},
	{"services-unaffected", "C2", false, "generators are not blocked while monitoring is away"},
	{"horizon", "C3", false, "the survival horizon of each hop, and whether the outage was inside it"},
	{"capacity", "C3", false, "the highest rate that passes the gates of a search, between the highest that passed and the lowest that failed"},
	{"trend", "", false, "memory, file descriptors, disks of forwarders and brokers, backlogs and evidence do not grow as time goes on"},
	{"baseline", "", false, "latencies and memory in the calm are no worse than in an earlier run on the same class of runner, given with --baseline"},
	{"metrics-continuity", "C1", false, "known counters have no hole in the central Prometheus"},
	{"security-isolation", "C4", false, "every undeclared path is closed and every declared one open"},
	{"one-view", "C7", false, "every dashboard query answers, for every cluster that it is declared for"},
	{"alerts", "C7", false, "the declared alerts fire and clear in time, and no other fires"},
	{"performance-isolation", "C5", false, "a burst slows the neighbour no more in three clusters than in one, under the same caps, over at least five pairs"},
	{"scalability", "C6", false, "the series of an added cluster answer, and nothing else had to change for it"},
	{"purge", "", false, "what the run put into the store was taken out again, and Kafka keeps its records no longer than declared"},
	{"rollback", "C8", false, "kind and EKS differ only as declared, and rolling forward and back restores what is rendered"},
}

// ClaimIn is the claim that a check is about in a scenario. Victims of a failure are C1's; victims of a neighbour that does nothing worse
// than work are C5's.
func (k CheckKind) ClaimIn(s *Scenario) string {
	if k.Name != "fault-isolation" || len(s.Faults) == 0 {
		return k.Claim
	}
	for _, f := range s.Faults {
		if f.Kind != "noisy-neighbour" {
			return k.Claim
		}
	}
	return "C5"
}

// ProbeNames are the parts that security-isolation is judged by: links between clusters, rights of the brokers' principals,
// network policies inside the clusters.
var ProbeNames = []string{"links", "acls", "policies"}

// Nearest returns the candidate that is spelled most like s, or "" when none is near (edit distance above a third of
// its length, at least 2).
func Nearest(s string, candidates []string) string {
	best, at := "", len(s)/3+2
	for _, c := range candidates {
		if d := distance(strings.ToLower(s), strings.ToLower(c)); d < at {
			best, at = c, d
		}
	}
	return best
}

// DidYouMean is the nearest candidate as a question in front of what is allowed; empty when none is near, or nothing was said.
func DidYouMean(got string, candidates []string) string {
	near := Nearest(got, candidates)
	if near == "" || got == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q? ", near)
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost++
			}
			last = row[j+1]
			row[j+1] = min(cost, row[j]+1, last+1)
		}
	}
	return row[len(b)]
}
