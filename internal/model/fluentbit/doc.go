// Package fluentbit models Fluent Bit as the agent of a node: tail inputs with an offset database and rotation, CRI
// lines joined, cpu and mem inputs with figures of the node, a record_modifier filter, chunks in filesystem or memory
// storage, and forward outputs with acknowledgement, retries and a limit of their storage. It takes its parameters from the YAML configuration of the real
// program and exposes its metrics on /api/v2/metrics/prometheus.
//
// The one rule: what was read from a file is in a chunk before its offset is in the database, and the chunk stays until
// the output has an acknowledgement. So a kill repeats and does not lose (the parts of a CRI line that is not complete
// excepted, as in the real program).
//
// Files are polled, 50 times per second, where the real program is told by inotify.
package fluentbit
