// Package connect models one Kafka Connect worker that runs Confluent's Elasticsearch sink connector under Strimzi: it
// consumes with a real consumer group over real TCP, writes bulk requests over real HTTP, commits offsets at the flush
// interval, fails tasks as the connector does, and restarts them as Strimzi's operator does. The embedded runtime runs it,
// and a pod can run it in place of the image.
//
// The one rule: everything it does follows from the KafkaConnect and KafkaConnector resources, and everything in them
// that it does not honour is listed.
//
// Behaviour taken from the connector and the framework, because it decides what is lost, repeated or stuck:
//   - A bulk request that fails as a whole (connection, timeout, any status but 200) is tried max.retries+1 times with
//     full jitter: before retry n it waits between 0 and retry.backoff.ms * 2^n. A failed item is never retried: a
//     mapping error goes the way of behavior.on.malformed.documents, a version conflict is passed over, and anything
//     else (429 and blocks included) fails the task, whatever max.retries says.
//   - A task notices a failure at its next put, which is when records come or a commit is due. It then waits for its
//     other requests in flight, commits what is safe, leaves the group and stays FAILED until something restarts it.
//   - Offsets are committed every offset.flush.interval.ms up to the first record that is not indexed. What was indexed
//     beyond that is indexed again after a rebalance, a restart or a crash: the same document ids, higher versions.
//   - The operator looks at the connector every 2 minutes (its default reconciliation interval), restarts a failed one
//     at once the first time and then n*n+n minutes after the n-th restart, at most 60, and forgets the count when the
//     connector stays healthy for as long.
//   - A worker that cannot reach the coordinator of its group stops its tasks, and gets them back late: see membership.go.
//
// Metrics are the attributes of these beans, passed through the rules of the JMX exporter that metricsConfig names:
// kafka.connect: connect-worker-metrics, connector-metrics, connector-task-metrics, sink-task-metrics, task-error-metrics;
// kafka.consumer: consumer-fetch-manager-metrics (records-lag per partition, records-consumed-total per client). They begin
// at zero with each start of a task; a failed task keeps the first group and loses its consumer. Rates, averages of lags
// and the network beans of the clients are not there.
//
// Not modelled: further workers and the internal topics (one worker runs every task, and has its connectors when it
// starts), transforms, schemas registered as mappings, memory, the member that is thrown out because put took longer
// than max.poll.interval.ms, and the operator's memory of restarts across a restart of this process.
package connect
