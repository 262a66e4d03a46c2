// Package fluentd models Fluentd as the aggregator of the log path: forward input, record_transformer, one file buffer
// per match with chunks in stage and queue, retries, overflow actions, and an rdkafka2 or kafka2 output that produces
// with franz-go. It takes its parameters from the YAML configuration of the real program and exposes the metrics of
// fluent-plugin-prometheus.
//
// The one rule: a chunk is acknowledged to the sender when write(2) to the buffer file has returned, as in the real
// program (its files are opened with sync=true, which means no buffering in the process, not fsync). So a kill loses
// nothing that was acknowledged, and a crash of the node can.
package fluentd
