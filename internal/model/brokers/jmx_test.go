package brokers

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExporterRules(t *testing.T) {
	rules, err := ParseExporterRules([]byte(`
lowercaseOutputName: true
rules:
  - pattern: kafka.server<type=BrokerTopicMetrics, name=(MessagesIn|BytesIn)PerSec, topic=(.+)><>Count
    name: kafka_server_brokertopicmetrics_$1_total
    labels: {topic: $2}
    type: COUNTER
  - pattern: kafka.server<type=BrokerTopicMetrics, name=(MessagesIn|BytesIn)PerSec><>Count
    name: kafka_server_brokertopicmetrics_all_$1_total
    type: COUNTER
  - {pattern: 'kafka.server<type=raft-metrics><>(current-leader)', name: kafka_server_raft_metrics_$1, type: GAUGE}
`))
	if err != nil {
		t.Fatal(err)
	}
	got := string(rules.export([]attribute{
		{"kafka.server", "type=BrokerTopicMetrics, name=MessagesInPerSec, topic=b.c", "Count", 3},
		{"kafka.server", "type=BrokerTopicMetrics, name=MessagesInPerSec, topic=a", "Count", 2e9},
		{"kafka.server", "type=BrokerTopicMetrics, name=MessagesInPerSec", "Count", 5},
		{"kafka.server", "type=ReplicaManager, name=LeaderCount", "Value", 5},
		{"kafka.server", "type=raft-metrics", "current-leader", -1},
	}))
	want := `# TYPE kafka_server_brokertopicmetrics_all_messagesin_total counter
kafka_server_brokertopicmetrics_all_messagesin_total 5
# TYPE kafka_server_brokertopicmetrics_messagesin_total counter
kafka_server_brokertopicmetrics_messagesin_total{topic="a"} 2000000000
kafka_server_brokertopicmetrics_messagesin_total{topic="b.c"} 3
# TYPE kafka_server_raft_metrics_current_leader gauge
kafka_server_raft_metrics_current_leader -1
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestExporterRulesErrors(t *testing.T) {
	for name, tc := range map[string]struct{ yaml, want string }{
		"pattern":   {"rules: [{pattern: '(', name: a}]", "rule 1"},
		"no name":   {"rules: [{pattern: a}]", "no name"},
		"type":      {"rules: [{pattern: a, name: b, type: HISTOGRAM}]", "HISTOGRAM"},
		"key":       {"rules: [{pattern: a, name: b, attrNameSnakeCase: true}]", "attrNameSnakeCase"},
		"not rules": {"- a", "exporter rules"},
	} {
		if _, err := ParseExporterRules([]byte(tc.yaml)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
	}
}

// TestKnownAttributes: what ParseStrimzi believes the model has is what a broker exports.
func TestKnownAttributes(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.Topics = []Topic{{Name: "t", Partitions: 1}}
	c, _ := startCluster(t, cfg, Options{})
	attrs, _ := c.attributes(c.Leader("t", 0))
	kind := func(a attribute) string { return a.domain + "<" + a.props + "><>" + a.name }
	var got, want []string
	for _, a := range attrs {
		got = append(got, kind(a))
	}
	for _, a := range knownAttributes() {
		want = append(want, kind(a))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseStrimziExporter(t *testing.T) {
	stream := strings.Replace(strimziStream, "    config:\n", `    metricsConfig:
      type: jmxPrometheusExporter
      valueFrom: {configMapKeyRef: {name: kafka-metrics, key: rules.yaml}}
    config:
`, 1) + `---
apiVersion: v1
kind: ConfigMap
metadata: {name: kafka-metrics}
data:
  rules.yaml: |
    lowercaseOutputName: true
    rules:
      - {pattern: 'kafka.server<type=ReplicaManager, name=(UnderMinIsrPartitionCount)><>Value', name: short_$1, type: GAUGE}
      - {pattern: 'kafka.network<type=RequestMetrics, name=(.+)><>Mean', name: absent_$1}
`
	cfg, not, err := ParseStrimzi([]byte(stream))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Exporter.Rules) != 2 {
		t.Fatalf("rules %+v", cfg.Exporter)
	}
	var absent []string
	for _, n := range not {
		if n.File == "ConfigMap/kafka-metrics" {
			absent = append(absent, n.Value)
		}
	}
	if len(absent) != 1 || !strings.Contains(absent[0], "RequestMetrics") {
		t.Errorf("not modelled: %v", absent)
	}
	cfg.Authenticate, cfg.Authorize, cfg.Encrypt, cfg.Topics, cfg.Users = false, false, false, nil, nil
	c, _ := startCluster(t, cfg, Options{})
	if body := scrape(t, c, 0); !strings.Contains(body, "short_underminisrpartitioncount 0") || strings.Contains(body, "kafka_server") {
		t.Errorf("exported:\n%s", body)
	}
	if _, _, err := ParseStrimzi([]byte(strings.Replace(stream, "name: kafka-metrics, key", "name: other, key", 1))); err == nil {
		t.Error("a ConfigMap that does not exist was accepted")
	}
}

// What the shipped object names leave out, no shipped rule is for.
func TestShippedObjectNames(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "manifests", "base", "kafka", "config", "kafka-metrics.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := ParseExporterRules(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(rules.IncludeObjectNames) == 0 {
		t.Fatal("the exporter reads all beans")
	}
	with := string(rules.export(knownAttributes()))
	rules.IncludeObjectNames = nil
	if err := rules.compile(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(rules.export(knownAttributes())), with); diff != "" {
		t.Error(diff)
	}
}
