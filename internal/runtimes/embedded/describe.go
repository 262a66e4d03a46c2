package embedded

import (
	"time"

	"triad/internal/evidence"
	"triad/internal/model/fluentd"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// limits is what the embedded runtime cannot show, in words for the report.
var limits = []string{
	"Latency and throughput are those of models in one Go process that share its processors; they are not those of Kafka, Fluent Bit, Fluentd, Connect or Elasticsearch.",
	"Brokers have no replication: loss of acknowledged records inside Kafka (unclean election, a shrunken in-sync set) cannot happen here and is not tested.",
	"A frozen cluster is one whose traffic stands still; its timers go on, which those of stopped processes would not.",
	"There is one node and one instance of each agent; what several instances do to each other is not shown.",
	"Security between clusters (C4), dashboards (C7) and the processor share of neighbours (C5) need real clusters.",
}

// Describe says what is modelled, and what the report must say about it.
func (s *system) Describe() runtimes.Description {
	d := runtimes.Description{NotModelled: s.cfg.notModelled, Limits: limits, Metrics: s.metricsPath(), Buffers: s.buffers()}
	for _, c := range []struct{ cluster, name, note string }{
		{scenario.Datacenter, "inputgen", "Triad's own generator, in process"},
		{scenario.Datacenter, "fluent-bit", ""},
		{scenario.Datacenter, "fluentd", ""},
		{scenario.Datacenter, "prometheus", "agent"},
		{scenario.Kafka, "kafka", "kfake with a model of KRaft failover"},
		{scenario.Kafka, "prometheus", "agent"},
		{scenario.Monitoring, "kafka-connect", "with the Elasticsearch sink"},
		{scenario.Monitoring, "elasticsearch", "esfake"},
		{scenario.Monitoring, "prometheus", "receiver"},
	} {
		fidelity := evidence.Model
		if c.name == "inputgen" {
			fidelity = evidence.Real
		}
		d.Components = append(d.Components, evidence.Component{Cluster: c.cluster, Name: c.name, Fidelity: fidelity, Note: c.note})
	}
	for _, name := range []string{"grafana", "kibana", "alertmanager"} {
		d.Components = append(d.Components, evidence.Component{Cluster: scenario.Monitoring, Name: name, Fidelity: evidence.Absent, Note: "no model"})
	}
	return d
}

// buffers are the limits of every hop, as configured.
func (s *system) buffers() []evidence.Buffer {
	out := []evidence.Buffer{{Hop: "generate", Component: "kubelet log rotation", Bytes: s.cfg.logMaxBytes * int64(s.cfg.logMaxFiles), Instances: s.serviceFiles(),
		Full: "delete", Source: "kind/datacenter.yaml containerLogMaxSize x containerLogMaxFiles"}}
	for _, o := range s.fluentBit.Outputs {
		if o.TotalLimit > 0 {
			out = append(out, evidence.Buffer{Hop: "collect", Component: "fluent-bit", Bytes: o.TotalLimit, Instances: 1, Full: "drop-oldest",
				Gauge: "fluentbit_storage_fs_chunks_busy_bytes", Source: "fluent-bit.yaml storage.total_limit_size"})
		}
	}
	var total int64
	full := ""
	for _, o := range s.fluentd.Outputs {
		total += o.Buffer.TotalLimit
		full = overflow(o)
	}
	if total > 0 {
		out = append(out, evidence.Buffer{Hop: "forward", Component: "fluentd", Bytes: total, Instances: 1, Full: full,
			Gauge: "fluentd_output_status_buffer_total_bytes", Source: "fluentd.yaml total_limit_size"})
	}
	for _, t := range s.cfg.brokers.Topics {
		if keep, err := time.ParseDuration(t.Config["retention.ms"] + "ms"); err == nil && t.Name == "service-topic" {
			out = append(out, evidence.Buffer{Hop: "broker", Component: "kafka", For: keep, Instances: 1, Full: "delete", Source: "KafkaTopic service-topic retention.ms"})
		}
	}
	return out
}

// overflow says in the evidence's words what a full buffer does.
func overflow(o fluentd.Output) string {
	switch o.Buffer.Overflow {
	case "drop_oldest_chunk":
		return "drop-oldest"
	case "throw_exception":
		return "drop-newest"
	}
	return "block"
}

// serviceFiles is the number of service log files, each of which the kubelet rotates by itself.
func (s *system) serviceFiles() int {
	n := 0
	for _, g := range groups(s.session.Scenario) {
		if g.streams[0].Enter == "file" {
			n++
		}
	}
	return max(n, 1)
}
