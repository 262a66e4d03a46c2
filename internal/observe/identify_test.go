package observe

import "testing"

// TestNodeMetrics: figures of a node are told by what they are and where they are. A line that lost its field, or a record of them in another topic,
// is none: it is damage, or went astray.
func TestNodeMetrics(t *testing.T) {
	const topic = "system-metrics-topic"
	for _, c := range []struct {
		doc, topic string
		want       bool
	}{
		{`{"cpu_p":12.5,"user_p":10.0,"system_p":2.5,"host":"n1","@timestamp":"2026-01-02T03:04:05.000000000Z"}`, topic, true},
		{`{"Mem.total":1000,"Mem.used":700,"Mem.free":600,"host":"n1"}`, topic, true},
		{`{"cpu_p":12.5,"host":"n1"}`, "service-topic", false},
		{`{"cpu_p":12.5,"host":"n1"}`, "dead-letter-topic", false},
		{`{"cpu_p":12.5}`, topic, false},
		{`{"host":"n1","file":"/var/log/syslog"}`, topic, false},
		{`{"cpu_p":12.5,"host":"n1","log":"tq_1_0_0"}`, topic, false},
		{`{"cpu_p":"much","host":"n1"}`, topic, false},
		{`{"cpu_p":12.5,"host":"n1"`, topic, false},
	} {
		if got := NodeMetrics([]byte(c.doc), c.topic); got != c.want {
			t.Errorf("%s in %s: %v", c.doc, c.topic, got)
		}
	}
}
