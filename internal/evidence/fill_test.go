package evidence

import "testing"

func TestFillGauge(t *testing.T) {
	const room = "fluentbit_output_chunk_available_capacity_percent"
	for _, c := range []struct {
		name   string
		buffer Buffer
		sample Sample
		want   float64
		ok     bool
		bytes  bool
	}{
		{"bytes", Buffer{Gauge: "used_bytes", Bytes: 100}, Sample{Name: "used_bytes", Value: 7}, 7, true, true},
		{"another series", Buffer{Gauge: "used_bytes", Bytes: 100}, Sample{Name: "used", Value: 7}, 0, false, true},
		{"no gauge", Buffer{Bytes: 100}, Sample{Name: "", Value: 7}, 0, false, false},
		{"labels", Buffer{Gauge: `x_size{a="b", c="d"}`}, Sample{Name: "x_size", Labels: Labels{"a": "b", "c": "d", "e": "f"}, Value: 7}, 7, true, true},
		{"other labels", Buffer{Gauge: `x_size{a="b"}`}, Sample{Name: "x_size", Labels: Labels{"a": "c"}, Value: 7}, 0, false, true},
		{"chunks", Buffer{Gauge: "queue_length", Bytes: 100}, Sample{Name: "queue_length", Value: 7}, 7, true, false},
		{"room left", Buffer{Gauge: room, Bytes: 200}, Sample{Name: room, Value: 75}, 50, true, true},
		{"more room than there is", Buffer{Gauge: room, Bytes: 200}, Sample{Name: room, Value: 101}, 0, true, true},
		{
			"the output of its limit",
			Buffer{Gauge: "fluentd_output_status_buffer_total_bytes", Source: "fluentd.yaml out_service total_limit_size"},
			Sample{Name: "fluentd_output_status_buffer_total_bytes", Labels: Labels{"plugin_id": "out_service"}, Value: 7},
			7, true, true,
		},
		{
			"another output",
			Buffer{Gauge: "fluentd_output_status_buffer_total_bytes", Source: "fluentd.yaml out_service total_limit_size"},
			Sample{Name: "fluentd_output_status_buffer_total_bytes", Labels: Labels{"plugin_id": "out_canary"}, Value: 7},
			0, false, true,
		},
	} {
		g := c.buffer.FillGauge()
		if v, ok := g.Fill(c.sample); v != c.want || ok != c.ok || g.InBytes() != c.bytes {
			t.Errorf("%s: %v %v, in bytes %v; want %v %v, %v", c.name, v, ok, g.InBytes(), c.want, c.ok, c.bytes)
		}
	}
}

// TestOfNodeMetrics: a buffer is of figures of nodes where its output bears their name, and not where it only begins or ends like it.
func TestOfNodeMetrics(t *testing.T) {
	for _, c := range []struct {
		buffer Buffer
		want   bool
	}{
		{Buffer{Gauge: `fluentbit_output_chunk_available_capacity_percent{name="system-metrics"}`}, true},
		{Buffer{Gauge: `fluentbit_output_chunk_available_capacity_percent{name="fluentd"}`}, false},
		{Buffer{Gauge: "fluentd_output_status_buffer_total_bytes", Source: "fluentd.yaml out_system_metrics total_limit_size"}, true},
		{Buffer{Gauge: "fluentd_output_status_buffer_total_bytes", Source: "fluentd.yaml out_system_auth total_limit_size"}, false},
		{Buffer{Source: "KafkaTopic system-metrics-topic retention.ms"}, false},
	} {
		if got := c.buffer.OfNodeMetrics(); got != c.want {
			t.Errorf("%+v: %v", c.buffer, got)
		}
	}
}
