package runtimes

import (
	"fmt"

	"triad/internal/evidence"
	"triad/internal/model/fluentbit"
	"triad/internal/model/fluentd"
)

// FluentBitBuffers are the limits of Fluent Bit's storage, as configured: one for each output.
func FluentBitBuffers(c fluentbit.Config, instances int) []evidence.Buffer {
	var out []evidence.Buffer
	for _, o := range c.Outputs {
		if o.TotalLimit <= 0 {
			continue
		}
		out = append(out, evidence.Buffer{
			Hop: "collect", Component: "fluent-bit", Bytes: o.TotalLimit, Instances: instances, Full: "drop-oldest",
			Gauge:  fmt.Sprintf("fluentbit_output_chunk_available_capacity_percent{name=%q}", o.Name),
			Source: "fluent-bit.yaml " + o.Name + " storage.total_limit_size",
		})
	}
	return out
}

// FluentdBuffers are the limits of Fluentd's buffers, as configured: one for each output, because a topic's records have
// only their own output's buffer.
func FluentdBuffers(c fluentd.Config, instances int) []evidence.Buffer {
	var out []evidence.Buffer
	for _, o := range c.Outputs {
		if o.Buffer.TotalLimit <= 0 {
			continue
		}
		full := "block"
		switch o.Buffer.Overflow {
		case "drop_oldest_chunk":
			full = "drop-oldest"
		case "throw_exception":
			full = "drop-newest"
		}
		out = append(out, evidence.Buffer{
			Hop: "forward", Component: "fluentd", Bytes: o.Buffer.TotalLimit, Instances: instances, Full: full,
			Gauge: "fluentd_output_status_buffer_total_bytes", Source: "fluentd.yaml " + o.ID + " total_limit_size",
		})
	}
	return out
}
