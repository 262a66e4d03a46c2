package embedded

import (
	"time"

	"triad/internal/evidence"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// limits is what the embedded runtime cannot show, in words for the report.
var limits = []string{
	"Latency and throughput are those of models in one Go process that share its processors; they are not those of Kafka, Fluent Bit, Fluentd, Connect or Elasticsearch.",
	"Brokers have no replication: loss of acknowledged records inside Kafka (unclean election, a shrunken in-sync set) cannot happen here and is not tested.",
	"A frozen cluster is one whose traffic stands still; its timers go on, which those of stopped processes would not.",
	"There is one node and one instance of each agent; what several instances do to each other is not shown.",
	"Links between clusters and network policies (C4; the brokers' rights are probed), that one Grafana shows it all (C7; rules and dashboard queries are evaluated) and the processor share of neighbours (C5) need real clusters.",
}

// Held is the memory that the brokers' index of their logs takes.
func (s *system) Held() int64 { return s.brokers.Held() }

// Describe says what is modelled, and what the report must say about it.
func (s *system) Describe() runtimes.Description {
	d := runtimes.Description{NotModelled: s.cfg.notModelled, Limits: limits, Metrics: s.metricsPath(), Buffers: s.buffers(), HeadStart: 500 * time.Millisecond, Manifests: s.cfg.rendered}
	if s.store.InMemory() {
		d.InProcess = "the documents of the store"
	}
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
	for _, cluster := range []string{scenario.Datacenter, scenario.Kafka, scenario.Monitoring} {
		d.Components = append(d.Components, evidence.Component{Cluster: cluster, Name: "node-exporter", Fidelity: evidence.Absent, Note: "no model"})
	}
	return d
}

// buffers are the limits of every hop, as configured.
func (s *system) buffers() []evidence.Buffer {
	out := []evidence.Buffer{{
		Hop: "generate", Component: "kubelet log rotation", Bytes: s.cfg.logMaxBytes * int64(s.cfg.logMaxFiles), Instances: s.serviceFiles(),
		Full: "delete", Source: "kind/datacenter.yaml containerLogMaxSize x containerLogMaxFiles",
	}}
	out = append(out, runtimes.FluentBitBuffers(s.fluentBit, 1)...)
	out = append(out, runtimes.FluentdBuffers(s.fluentd, 1)...)
	for _, t := range s.cfg.brokers.Topics {
		if keep, err := time.ParseDuration(t.Config["retention.ms"] + "ms"); err == nil && t.Name == "service-topic" {
			out = append(out, evidence.Buffer{Hop: "broker", Component: "kafka", For: keep, Instances: 1, Full: "delete", Source: "KafkaTopic service-topic retention.ms"})
		}
	}
	return out
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
