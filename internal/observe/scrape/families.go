package scrape

import (
	"strings"
	"time"
)

// Role says what judging does with a family.
type Role string

// The roles of families. Loss attribution rests on RoleIn, RoleOut and RoleLost; RoleBuffer gives fill and horizon; RoleRetry
// and RoleError are witnesses; RoleStart is the process start time that dates counter resets; RoleInfo is printed only.
const (
	RoleIn     Role = "in"
	RoleOut    Role = "out"
	RoleLost   Role = "lost"
	RoleBuffer Role = "buffer"
	RoleRetry  Role = "retry"
	RoleError  Role = "error"
	RoleStart  Role = "start"
	RoleInfo   Role = "info"
)

// Family is one metric family that judging reads.
type Family struct {
	Name string // as exposed, of flattened samples
	Role Role
	Unit string // of the value: records, chunks, bytes, samples, seconds, count, milliseconds
	Kind Kind   // as the real program declares it; some declare counters as gauges
	Why  string // what it is for, one clause
}

// Families returns the families of a component that judging uses, nil for a component it does not know. Evidence keeps these and
// nothing else of a component's exposition. Names are those of the real programs:
// Fluent Bit administration/monitoring (v2 metrics), fluent-plugin-prometheus README (prometheus_output_monitor), the names
// that Strimzi's example JMX rules give Kafka and Connect MBeans, Prometheus 3.16 and node exporter as exposed.
func Families(component string) []Family {
	switch component {
	case "fluent-bit":
		return []Family{
			{"fluentbit_input_records_total", RoleIn, "records", KindCounter, "records read from files"},
			{"fluentbit_input_bytes_total", RoleIn, "bytes", KindCounter, "bytes read from files"},
			{"fluentbit_filter_drop_records_total", RoleLost, "records", KindCounter, "records removed by filters"},
			{"fluentbit_output_proc_records_total", RoleOut, "records", KindCounter, "records whose chunk was acknowledged"},
			{"fluentbit_output_proc_bytes_total", RoleOut, "bytes", KindCounter, "bytes whose chunk was acknowledged"},
			{"fluentbit_output_dropped_records_total", RoleLost, "records", KindCounter, "records of chunks given up"},
			{"fluentbit_output_retries_total", RoleRetry, "chunks", KindCounter, "chunk retries"},
			{"fluentbit_output_retried_records_total", RoleRetry, "records", KindCounter, "records of retried chunks"},
			{"fluentbit_output_retries_failed_total", RoleLost, "chunks", KindCounter, "chunks whose retries ran out"},
			{"fluentbit_output_errors_total", RoleError, "chunks", KindCounter, "chunk errors"},
			{"fluentbit_input_storage_chunks", RoleBuffer, "chunks", KindGauge, "chunks held per input"},
			{"fluentbit_input_storage_memory_bytes", RoleBuffer, "bytes", KindGauge, "memory held per input"},
			{"fluentbit_input_storage_overlimit", RoleBuffer, "count", KindGauge, "input paused at its limit"},
			{"fluentbit_storage_fs_chunks", RoleBuffer, "chunks", KindGauge, "chunks on disk"},
			{"fluentbit_output_chunk_available_capacity_percent", RoleBuffer, "percent", KindGauge, "room left below the output's limit"},
			{"fluentbit_process_start_time_seconds", RoleStart, "seconds", KindGauge, "start of the process"},
			{"fluentbit_uptime", RoleInfo, "seconds", KindCounter, "age of the process"},
		}
	case "fluentd":
		return []Family{
			{"fluentd_input_status_num_records_total", RoleIn, "records", KindCounter, "records received (counted by a prometheus filter)"},
			{"fluentd_output_status_emit_records", RoleIn, "records", KindCounter, "records emitted into the output's buffer"},
			{"fluentd_output_status_emit_count", RoleIn, "count", KindCounter, "emits into the output's buffer"},
			{"fluentd_output_status_num_records_total", RoleOut, "records", KindCounter, "records written (counted by a prometheus output)"},
			{"fluentd_output_status_write_count", RoleOut, "chunks", KindCounter, "chunk writes tried"},
			{"fluentd_output_status_rollback_count", RoleRetry, "chunks", KindGauge, "chunks put back into the queue"},
			{"fluentd_output_status_retry_count", RoleRetry, "count", KindCounter, "errors of the output, refused emits and chunks put aside among them"},
			{"fluentd_output_status_retry_wait", RoleRetry, "seconds", KindGauge, "from the first failure to the next retry"},
			{"fluentd_output_status_num_errors", RoleError, "count", KindCounter, "the same"},
			{"fluentd_output_status_slow_flush_count", RoleError, "count", KindCounter, "flushes slower than the threshold"},
			{"fluentd_output_status_buffer_total_bytes", RoleBuffer, "bytes", KindGauge, "stage and queue"},
			{"fluentd_output_status_buffer_stage_length", RoleBuffer, "chunks", KindGauge, "chunks being filled"},
			{"fluentd_output_status_buffer_stage_byte_size", RoleBuffer, "bytes", KindGauge, "bytes being filled"},
			{"fluentd_output_status_buffer_queue_length", RoleBuffer, "chunks", KindGauge, "chunks waiting"},
			{"fluentd_output_status_buffer_queue_byte_size", RoleBuffer, "bytes", KindGauge, "bytes waiting"},
			{"fluentd_output_status_buffer_available_space_ratio", RoleBuffer, "percent", KindGauge, "room left below the total limit"},
		}
	case "connect":
		return []Family{
			{"kafka_connect_sink_task_sink_record_read_total", RoleIn, "records", KindGauge, "records read from Kafka"},
			{"kafka_connect_sink_task_sink_record_send_total", RoleOut, "records", KindGauge, "records put to the sink"},
			{"kafka_consumer_fetch_manager_records_consumed_total", RoleIn, "records", KindCounter, "records read from Kafka, by topic"},
			{"kafka_connect_sink_task_sink_record_active_count", RoleBuffer, "records", KindGauge, "records read and not committed"},
			{"kafka_connect_sink_task_offset_commit_completion_total", RoleInfo, "count", KindGauge, "offset commits"},
			{"kafka_connect_task_error_total_record_errors", RoleError, "records", KindGauge, "record errors"},
			{"kafka_connect_task_error_total_record_failures", RoleError, "records", KindGauge, "record failures"},
			{"kafka_connect_task_error_total_records_skipped", RoleLost, "records", KindGauge, "records skipped because of errors"},
			{"kafka_connect_task_error_total_retries", RoleRetry, "count", KindGauge, "retried operations"},
			{"kafka_connect_task_error_deadletterqueue_produce_requests", RoleLost, "records", KindGauge, "records sent to the dead-letter topic"},
			{"kafka_connect_task_error_deadletterqueue_produce_failures", RoleLost, "records", KindGauge, "dead letters that failed"},
			{"kafka_connect_connector_task_status", RoleError, "count", KindGauge, "1 for the task's present status"},
			{"kafka_connect_worker_task_count", RoleInfo, "count", KindGauge, "tasks on the worker"},
			{"process_start_time_seconds", RoleStart, "seconds", KindGauge, "start of the process"},
			{"process_resident_memory_bytes", RoleInfo, "bytes", KindGauge, "memory of the process, for the trend"},
			{"process_open_fds", RoleInfo, "count", KindGauge, "open file descriptors, for the trend"},
		}
	case "kafka":
		return []Family{
			{"kafka_server_brokertopicmetrics_messagesin_total", RoleIn, "records", KindCounter, "records appended"},
			{"kafka_server_brokertopicmetrics_bytesin_total", RoleIn, "bytes", KindCounter, "bytes appended"},
			{"kafka_server_brokertopicmetrics_bytesout_total", RoleOut, "bytes", KindCounter, "bytes fetched"},
			{"kafka_server_brokertopicmetrics_failedproducerequests_total", RoleError, "count", KindCounter, "refused produce requests"},
			{"kafka_server_brokertopicmetrics_failedfetchrequests_total", RoleError, "count", KindCounter, "refused fetch requests"},
			{"kafka_server_replicamanager_underreplicatedpartitions", RoleInfo, "count", KindGauge, "partitions with a short ISR"},
			{"kafka_server_replicamanager_underminisrpartitioncount", RoleError, "count", KindGauge, "partitions that refuse acks=all"},
			{"kafka_controller_kafkacontroller_offlinepartitionscount", RoleError, "count", KindGauge, "partitions without leader"},
			{"kafka_controller_kafkacontroller_activecontrollercount", RoleInfo, "count", KindGauge, "1 on the active controller"},
			{"kafka_log_log_size", RoleBuffer, "bytes", KindGauge, "bytes per partition"},
			{"process_start_time_seconds", RoleStart, "seconds", KindGauge, "start of the process"},
			{"process_resident_memory_bytes", RoleInfo, "bytes", KindGauge, "memory of the process, for the trend"},
			{"process_open_fds", RoleInfo, "count", KindGauge, "open file descriptors, for the trend"},
		}
	case "prometheus":
		return []Family{
			{"prometheus_agent_samples_appended_total", RoleIn, "samples", KindCounter, "samples appended to the agent's log"},
			{"prometheus_agent_out_of_order_samples_total", RoleLost, "samples", KindCounter, "samples the agent's log refused"},
			{"prometheus_remote_storage_samples_in_total", RoleIn, "samples", KindCounter, "samples meant for remote storage"},
			{"prometheus_remote_storage_samples_total", RoleOut, "samples", KindCounter, "samples sent, failed ones included"},
			{"prometheus_remote_storage_samples_pending", RoleBuffer, "samples", KindGauge, "samples in the shards"},
			{"prometheus_remote_storage_samples_retried_total", RoleRetry, "samples", KindCounter, "samples sent again"},
			{"prometheus_remote_storage_samples_failed_total", RoleLost, "samples", KindCounter, "samples given up; an upper bound of the loss, as a repeated request is refused though it is stored"},
			{"prometheus_remote_storage_samples_dropped_total", RoleLost, "samples", KindCounter, "samples dropped before sending"},
			{"prometheus_remote_storage_enqueue_retries_total", RoleRetry, "count", KindCounter, "full shards"},
			{"prometheus_remote_storage_highest_timestamp_in_seconds", RoleInfo, "seconds", KindGauge, "newest sample appended"},
			{"prometheus_remote_storage_queue_highest_sent_timestamp_seconds", RoleInfo, "seconds", KindGauge, "newest sample sent"},
			{"prometheus_wal_watcher_current_segment", RoleInfo, "count", KindGauge, "segment being read"},
			{"prometheus_tsdb_head_samples_appended_total", RoleIn, "samples", KindCounter, "samples stored"},
			{"prometheus_tsdb_head_max_time_seconds", RoleInfo, "seconds", KindGauge, "newest sample stored"},
			{"prometheus_tsdb_out_of_order_samples_total", RoleLost, "samples", KindCounter, "samples refused as out of order"},
			{"prometheus_tsdb_out_of_bound_samples_total", RoleLost, "samples", KindCounter, "samples refused as out of bounds"},
			{"prometheus_tsdb_too_old_samples_total", RoleLost, "samples", KindCounter, "samples refused as too old"},
			{"process_start_time_seconds", RoleStart, "seconds", KindGauge, "start of the process"},
			{"process_resident_memory_bytes", RoleInfo, "bytes", KindGauge, "memory of the process, for the trend"},
			{"process_open_fds", RoleInfo, "count", KindGauge, "open file descriptors, for the trend"},
		}
	case "node":
		return []Family{
			{"node_cpu_seconds_total", RoleInfo, "seconds", KindCounter, "CPU time per mode"},
			{"node_memory_MemAvailable_bytes", RoleInfo, "bytes", KindGauge, "memory left"},
			{"node_filesystem_avail_bytes", RoleInfo, "bytes", KindGauge, "disk left"},
			{"node_disk_io_time_seconds_total", RoleInfo, "seconds", KindCounter, "disk busy time"},
			{"node_network_transmit_drop_total", RoleInfo, "count", KindCounter, "packets dropped on the way out"},
			{"node_boot_time_seconds", RoleStart, "seconds", KindGauge, "boot of the node"},
		}
	}
	return nil
}

// Components returns the components that have a table, in the order of the data path.
func Components() []string {
	return []string{"fluent-bit", "fluentd", "kafka", "connect", "prometheus", "node"}
}

// Select keeps the samples of the families that judging uses for the component. The result shares the label maps. A
// counter to whose name the JMX exporter has appended _total (it does so since 1.0) keeps the name of its family.
func Select(component string, samples []Sample) []Sample {
	want := map[string]bool{}
	for _, f := range Families(component) {
		want[f.Name] = true
	}
	var out []Sample
	for _, s := range samples {
		if base := strings.TrimSuffix(s.Name, "_total"); !want[s.Name] && want[base] {
			s.Name = base
		}
		if want[s.Name] {
			out = append(out, s)
		}
	}
	return out
}

// Beans is how long a JMX exporter took to read its beans for this exposition, or 0 for anything else. It is time on the clock, and next
// to all of it is a processor's.
func Beans(samples []Sample) time.Duration {
	for _, s := range samples {
		if s.Name == "jmx_scrape_duration_seconds" {
			return time.Duration(s.Value * float64(time.Second))
		}
	}
	return 0
}

// Start returns the process start time, in seconds since the epoch, that an exposition of the component carries, or 0.
func Start(component string, samples []Sample) float64 {
	for _, f := range Families(component) {
		if f.Role != RoleStart {
			continue
		}
		for _, s := range samples {
			if s.Name == f.Name {
				return s.Value
			}
		}
	}
	return 0
}
