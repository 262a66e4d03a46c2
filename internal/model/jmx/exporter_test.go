package jmx

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func render(t *testing.T, yaml string, beans ...*Bean) string {
	t.Helper()
	rules, unknown, err := ParseRules([]byte(yaml))
	if err != nil || len(unknown) != 0 {
		t.Fatal(err, unknown)
	}
	return string(rules.Render(beans))
}

// TestBrokerRules: rules and beans as a broker has them. The first rule that matches decides, patterns are not anchored, what no rule
// matches is absent.
func TestBrokerRules(t *testing.T) {
	traffic := func(v float64, more ...string) *Bean {
		return NewBean("kafka.server", append([]string{"type", "BrokerTopicMetrics", "name", "MessagesInPerSec"}, more...)...).Num("Count", v)
	}
	got := render(t, `
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
`,
		traffic(3, "topic", "b.c"), traffic(2e9, "topic", "a"), traffic(5),
		NewBean("kafka.server", "type", "ReplicaManager", "name", "LeaderCount").Num("Value", 5),
		NewBean("kafka.server", "type", "raft-metrics").Num("current-leader", -1))
	want := `# HELP kafka_server_brokertopicmetrics_messagesin_total kafka.server<type=BrokerTopicMetrics, name=MessagesInPerSec, topic=b.c><>Count
# TYPE kafka_server_brokertopicmetrics_messagesin_total counter
kafka_server_brokertopicmetrics_messagesin_total{topic="b.c"} 3
kafka_server_brokertopicmetrics_messagesin_total{topic="a"} 2e+09
# HELP kafka_server_brokertopicmetrics_all_messagesin_total kafka.server<type=BrokerTopicMetrics, name=MessagesInPerSec><>Count
# TYPE kafka_server_brokertopicmetrics_all_messagesin_total counter
kafka_server_brokertopicmetrics_all_messagesin_total 5
# HELP kafka_server_raft_metrics_current_leader kafka.server<type=raft-metrics><>current-leader
# TYPE kafka_server_raft_metrics_current_leader gauge
kafka_server_raft_metrics_current_leader -1
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestWorkerRules: rules and beans as a Connect worker has them, among them a status that is a text.
func TestWorkerRules(t *testing.T) {
	task := func(kind string) *Bean {
		return NewBean("kafka.connect", "type", kind, "connector", "logs", "task", "0")
	}
	got := render(t, `
lowercaseOutputName: true
lowercaseOutputLabelNames: true
rules:
  - pattern: "kafka.connect<type=connector-task-metrics, connector=(.+), task=(.+)><>status: (.+)"
    name: kafka_connect_connector_task_status
    value: 1
    labels: {Connector: $1, task: $2, status: $3}
    type: GAUGE
  - pattern: kafka.connect<type=(.+)-metrics, connector=(.+), task=(.+)><>(.+-total|.+-requests)
    name: kafka_connect_$1_$4
    labels: {connector: $2, task: $3}
    type: COUNTER
`, task("sink-task-metrics").Count("sink-record-read-total", 7).Num("put-batch-avg-time-ms", 1.5), task("connector-task-metrics").Str("status", "running"),
		task("task-error-metrics").Count("deadletterqueue-produce-requests", 2))
	want := `# HELP kafka_connect_sink_task_sink_record_read_total kafka.connect<type=sink-task-metrics, connector=logs, task=0><>sink-record-read-total
# TYPE kafka_connect_sink_task_sink_record_read_total counter
kafka_connect_sink_task_sink_record_read_total{connector="logs",task="0"} 7
# HELP kafka_connect_connector_task_status kafka.connect<type=connector-task-metrics, connector=logs, task=0><>status
# TYPE kafka_connect_connector_task_status gauge
kafka_connect_connector_task_status{connector="logs",status="running",task="0"} 1
# HELP kafka_connect_task_error_deadletterqueue_produce_requests_total kafka.connect<type=task-error-metrics, connector=logs, task=0><>deadletterqueue-produce-requests
# TYPE kafka_connect_task_error_deadletterqueue_produce_requests_total counter
kafka_connect_task_error_deadletterqueue_produce_requests_total{connector="logs",task="0"} 2
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRule(t *testing.T) {
	bean := func() *Bean { return NewBean("d", "type", "T") }
	for name, tc := range map[string]struct {
		rules string
		bean  *Bean
		want  string // without HELP
	}{
		"untyped":          {"[{pattern: a, name: x}]", bean().Num("a", 1.5), "# TYPE x untyped\nx 1.5\n"},
		"number":           {"[{pattern: 'a: 3.0$', name: x, type: gauge}]", bean().Num("a", 3), "# TYPE x gauge\nx 3\n"},
		"factor":           {"[{pattern: a, name: x, valueFactor: 0.001}]", bean().Num("a", 1500), "# TYPE x untyped\nx 1.5\n"},
		"value":            {"[{pattern: 'a: (.+)ms', name: x, value: $1, valueFactor: 2}]", bean().Str("a", "20ms"), "# TYPE x untyped\nx 40\n"},
		"no value of text": {"[{pattern: a, name: x}, {pattern: a, name: y, value: 1}]", bean().Str("a", "t"), ""},
		"value no number":  {"[{pattern: a, name: x, value: t}, {pattern: a, name: y}]", bean().Num("a", 1), ""},
		"unsafe":           {"[{pattern: '(a.*):', name: x__$1_y, labels: {'l-$1': v}}]", bean().Num("a-_.b", 1), "# TYPE x_a_b_y untyped\nx_a_b_y{l_a_b=\"v\"} 1\n"},
		"empty label":      {"[{pattern: 'a(b?)', name: x, labels: {l: $1}}]", bean().Num("a", 1), "# TYPE x untyped\nx 1\n"},
		"twice":            {"[{pattern: a, name: x, type: COUNTER}, {pattern: b, name: x_total, type: COUNTER}]", bean().Num("a", 1).Num("b", 2), "# TYPE x_total counter\nx_total 1\n"},
	} {
		help, got, _ := strings.Cut(render(t, "rules: "+tc.rules, tc.bean), "\n")
		if got != tc.want || tc.want != "" && !strings.HasPrefix(help, "# HELP ") {
			t.Errorf("%s: %q and %q, want %q", name, help, got, tc.want)
		}
	}
	if got := render(t, "rules: [{pattern: (a), name: x, help: of $1}]", bean().Num("a", 1)); !strings.HasPrefix(got, "# HELP x of a\n") {
		t.Errorf("help: %q", got)
	}
	if got := render(t, "excludeObjectNames: ['d:*']\nrules: [{pattern: a, name: x}]", bean().Num("a", 1)); got != "" {
		t.Errorf("an excluded bean: %q", got)
	}
}

func TestMatches(t *testing.T) {
	rules, _, err := ParseRules([]byte("rules: [{pattern: '<>b: 0', name: x}, {pattern: c, name: x}]"))
	if err != nil {
		t.Fatal(err)
	}
	beans := []*Bean{NewBean("d", "type", "T").Num("a", 0).Num("b", 0)}
	if !rules.Rules[0].Matches(beans) || rules.Rules[1].Matches(beans) {
		t.Error("of a and b, the pattern b is to match and c is not")
	}
}

func TestParseRulesErrors(t *testing.T) {
	for name, tc := range map[string]struct{ yaml, want string }{
		"pattern":     {"rules: [{pattern: '(', name: a}]", "rule 1: pattern"},
		"no pattern":  {"rules: [{name: a}]", "no pattern"},
		"no name":     {"rules: [{pattern: a}]", "no name"},
		"type":        {"rules: [{pattern: a, name: b, type: HISTOGRAM}]", "HISTOGRAM"},
		"factor":      {"rules: [{pattern: a, name: b, valueFactor: many}]", "many"},
		"key":         {"rules: [{pattern: a, name: b, attrNameSnakeCase: true}]", "attrNameSnakeCase"},
		"object name": {"includeObjectNames: [kafka.server]", "no colon"},
		"flag":        {"lowercaseOutputName: perhaps", "perhaps"},
		"not rules":   {"- a", "exporter rules"},
		"empty":       {"", "exporter rules"},
	} {
		if _, _, err := ParseRules([]byte(tc.yaml)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
	}
	_, unknown, err := ParseRules([]byte("startDelaySeconds: 5\nrules: []\nautoExcludeObjectNameAttributes: false"))
	if got := slices.Sorted(maps.Keys(unknown)); err != nil || !slices.Equal(got, []string{"autoExcludeObjectNameAttributes", "startDelaySeconds"}) {
		t.Errorf("settings that are unknown: %q, %v", got, err)
	}
}
