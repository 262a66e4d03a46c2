package brokers

import (
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"triad/internal/model"
	"triad/internal/model/jmx"
)

// kafka reads spec of a Kafka resource.
func (p *strimziParser) kafka(spec *yaml.Node) {
	fields(spec, func(k string, v *yaml.Node) {
		switch k {
		case "kafka":
			p.kafkaKafka(v)
		case "entityOperator":
			// Topics and users are read from their resources, which is what it does.
		default:
			p.skip(v, "spec."+k, "not part of the brokers")
		}
	})
}

func (p *strimziParser) kafkaKafka(n *yaml.Node) {
	fields(n, func(k string, v *yaml.Node) {
		key := "spec.kafka." + k
		switch k {
		case "config":
			fields(v, p.setting)
		case "listeners":
			p.listeners(v)
		case "authorization":
			if text(field(v, "type")) != "simple" {
				p.skip(v, key, "only simple authorization is modelled: everything is allowed")
				return
			}
			p.cfg.Authorize = true
			if su := field(v, "superUsers"); su != nil {
				for _, u := range su.Content {
					p.superUsers = append(p.superUsers, strings.TrimPrefix(strings.TrimPrefix(u.Value, "User:"), "CN="))
				}
			}
		case "version", "metadataVersion":
			p.skip(v, key, "the protocol versions are those of the fake brokers")
		case "metricsConfig":
			p.metrics = v
		case "rack":
			p.skip(v, key, "racks are not modelled: replicas are placed without them")
		case "replicas":
			p.skip(v, key, "the node pools say how many brokers there are")
		default:
			p.skip(v, key, "pods and their resources are not modelled")
		}
	})
}

// listeners takes the first listener that is not internal, else the first: a modelled broker has one.
func (p *strimziParser) listeners(n *yaml.Node) {
	var chosen *yaml.Node
	for _, l := range n.Content {
		if chosen == nil || text(field(chosen, "type")) == "internal" && text(field(l, "type")) != "internal" {
			chosen = l
		}
	}
	for _, l := range n.Content {
		name := "spec.kafka.listeners." + text(field(l, "name"))
		if l != chosen {
			p.skip(l, name, "a modelled broker has one listener, the one for other clusters")
			continue
		}
		p.cfg.Encrypt = text(field(l, "tls")) == "true"
		auth := field(l, "authentication")
		switch text(field(auth, "type")) {
		case "":
		case "scram-sha-512":
			p.cfg.Authenticate = true
		default:
			p.skip(auth, name+".authentication", "clients are not authenticated: only scram-sha-512 is modelled")
		}
		if conf := field(l, "configuration"); conf != nil {
			p.skip(conf, name+".configuration", "brokers listen on loopback, on ports of their own")
		}
	}
}

// setting reads one key of spec.kafka.config.
func (p *strimziParser) setting(k string, v *yaml.Node) {
	key := "spec.kafka.config." + k
	millis := func(d *time.Duration) { *d = time.Duration(p.number(v, key)) * time.Millisecond }
	seconds := func(d *time.Duration) { *d = time.Duration(p.number(v, key)) * time.Second }
	num := func(i *int) { *i = p.number(v, key) }
	c := &p.cfg
	switch k {
	case "broker.session.timeout.ms":
		millis(&c.SessionTimeout)
	case "broker.heartbeat.interval.ms":
		millis(&c.HeartbeatInterval)
	case "replica.lag.time.max.ms":
		millis(&c.ReplicaLagMax)
	case "controller.quorum.fetch.timeout.ms":
		millis(&c.FetchTimeout)
	case "controller.quorum.election.timeout.ms":
		millis(&c.ElectionTimeout)
	case "leader.imbalance.check.interval.seconds":
		seconds(&c.ImbalanceInterval)
	case "auto.leader.rebalance.enable":
		c.NoAutoRebalance = v.Value == "false"
	case "auto.create.topics.enable":
		c.AutoCreate = v.Value != "false"
	case "min.insync.replicas":
		num(&c.MinISR)
	case "default.replication.factor":
		num(&c.DefaultReplicas)
	case "num.partitions":
		num(&c.DefaultPartitions)
	case "offsets.topic.num.partitions":
		num(&c.OffsetsPartitions)
	case "offsets.topic.replication.factor":
		num(&c.OffsetsReplicas)
	case "offsets.commit.timeout.ms":
		millis(&c.OffsetsCommitTimeout)
	case "group.initial.rebalance.delay.ms":
		if millis(&c.GroupDelay); c.GroupDelay == 0 {
			c.GroupDelay = -1
		}
	case "transaction.state.log.num.partitions":
		num(&c.TxnPartitions)
	case "transaction.state.log.replication.factor":
		num(&c.TxnReplicas)
	case "transaction.state.log.min.isr":
		num(&c.TxnMinISR)
	case "log.retention.check.interval.ms":
		millis(&c.RetentionCheck)
	case "log.retention.ms", "log.retention.minutes", "log.retention.hours":
		if p.retention == nil {
			p.retention = map[string]string{}
		}
		p.retention[k] = v.Value
	case "compression.type", "fetch.max.bytes", "max.incremental.fetch.session.cache.slots", "group.consumer.heartbeat.interval.ms",
		"group.consumer.session.timeout.ms", "group.max.size", "group.min.session.timeout.ms", "group.max.session.timeout.ms",
		"log.message.timestamp.type", "transaction.max.timeout.ms", "transactional.id.expiration.ms", "log.retention.bytes",
		"log.segment.bytes", "log.roll.ms", "message.max.bytes", "offsets.retention.minutes", "offsets.retention.check.interval.ms":
		c.BrokerConfig[k] = v.Value
	case "unclean.leader.election.enable":
		if v.Value != "false" {
			p.skip(v, key, "elections are clean: a partition without in-sync replica stays offline")
		}
	case "num.network.threads", "num.io.threads", "num.replica.fetchers", "background.threads", "log.cleaner.dedupe.buffer.size":
		p.skip(v, key, "threads and memory of the broker are not modelled")
	default:
		p.skip(v, key, "unknown to the model")
	}
}

// exporter reads the rules of the JMX exporter from the ConfigMap that metricsConfig names.
func (p *strimziParser) exporter() {
	if p.metrics == nil {
		return
	}
	p.file = "Kafka"
	ref := field(p.metrics, "valueFrom", "configMapKeyRef")
	if typ := text(field(p.metrics, "type")); typ != "jmxPrometheusExporter" || ref == nil {
		p.skip(p.metrics, "spec.kafka.metricsConfig", "only rules of the JMX exporter in a ConfigMap are modelled: the usual names are given")
		return
	}
	name, key := text(field(ref, "name")), text(field(ref, "key"))
	for _, cm := range p.configMaps {
		if text(field(cm, "metadata", "name")) != name {
			continue
		}
		data := field(cm, "data", key)
		if data == nil {
			continue
		}
		p.file = "ConfigMap/" + name
		rules, unknown, err := jmx.ParseRules([]byte(data.Value))
		if err != nil {
			p.bad(data, "%s: %v", key, err)
			return
		}
		// Not only listed: each could change the names that the observers read.
		for _, k := range slices.Sorted(maps.Keys(unknown)) {
			p.bad(data, "%s: %s: a setting of the exporter that the model does not have", key, k)
		}
		p.cfg.Exporter = rules
		known := knownBeans()
		for _, r := range rules.Rules {
			if !r.Matches(known) {
				p.not = append(p.not, model.NotModelled{File: p.file, Line: data.Line, Key: key + " pattern", Value: r.Pattern, Why: "the modelled brokers have no such MBean: the metric is absent"})
			}
		}
		return
	}
	p.bad(p.metrics, "no ConfigMap %s with the key %s", name, key)
}

// knownBeans is one bean of each kind that beans returns; a test keeps the two together.
func knownBeans() []*jmx.Bean {
	known := []*jmx.Bean{jmx.NewBean("kafka.server", "type", "raft-metrics").Num("current-leader", 0).Num("current-epoch", 0)}
	add := func(domain, typ, attr string, names []string, more ...string) {
		for _, n := range names {
			known = append(known, jmx.NewBean(domain, append([]string{"type", typ, "name", n}, more...)...).Num(attr, 0))
		}
	}
	add("kafka.server", "ReplicaManager", "Value", []string{"LeaderCount", "PartitionCount", "UnderReplicatedPartitions", "UnderMinIsrPartitionCount", "AtMinIsrPartitionCount", "OfflineReplicaCount"})
	add("kafka.server", "ReplicaManager", "Count", []string{"IsrShrinksPerSec", "IsrExpandsPerSec"})
	traffic := []string{"MessagesInPerSec", "BytesInPerSec", "FailedProduceRequestsPerSec"}
	add("kafka.server", "BrokerTopicMetrics", "Count", traffic, "topic", "t")
	add("kafka.server", "BrokerTopicMetrics", "Count", append(traffic, "BytesOutPerSec"))
	add("kafka.controller", "KafkaController", "Value", []string{"ActiveControllerCount", "OfflinePartitionsCount", "PreferredReplicaImbalanceCount", "GlobalPartitionCount", "GlobalTopicCount", "ActiveBrokerCount", "FencedBrokerCount"})
	add("kafka.log", "Log", "Value", []string{"LogStartOffset", "LogEndOffset", "Size"}, "topic", "t", "partition", "0")
	return known
}
