package prometheus

import (
	"sync"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
)

// Metric names, labels and types are those that Prometheus 3.16 exposed in testdata/real/agent-metrics.txt and
// receiver-metrics.txt; a test compares.

// maxGauge shows the highest millisecond timestamp seen, in whole seconds.
type maxGauge struct {
	client.Gauge
	mu  sync.Mutex
	top int64
}

func (g *maxGauge) raise(ms int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := ms / 1000; s > g.top {
		g.top = s
		g.Set(float64(s))
	}
}

type queueMetrics struct {
	samples, failed, retried, enqueueRetries, bytes client.Counter
	dropped                                         *client.CounterVec
	pending, shards, desired                        client.Gauge
	capacity, maxShards, minShards, maxSamples      client.Gauge
	highest, highestSent                            *maxGauge
	duration                                        client.Histogram
}

// factory registers collectors with constant labels; a name that exists already is a fault of the program.
type factory struct {
	reg    client.Registerer
	labels client.Labels
}

func (f factory) counter(name, help string) client.Counter {
	c := client.NewCounter(client.CounterOpts{Name: name, Help: help, ConstLabels: f.labels})
	f.reg.MustRegister(c)
	return c
}

func (f factory) gauge(name, help string) client.Gauge {
	g := client.NewGauge(client.GaugeOpts{Name: name, Help: help, ConstLabels: f.labels})
	f.reg.MustRegister(g)
	return g
}

func (f factory) counters(name, help string, labels ...string) *client.CounterVec {
	c := client.NewCounterVec(client.CounterOpts{Name: name, Help: help, ConstLabels: f.labels}, labels)
	f.reg.MustRegister(c)
	return c
}

func newQueueMetrics(reg client.Registerer, cfg RemoteWrite) *queueMetrics {
	f := factory{reg, client.Labels{"remote_name": cfg.Name, "url": cfg.URL}}
	const p = "prometheus_remote_storage_"
	m := &queueMetrics{
		samples:        f.counter(p+"samples_total", "Samples sent to remote storage, counted once for each attempt."),
		failed:         f.counter(p+"samples_failed_total", "Samples given up after an error that is not recoverable."),
		retried:        f.counter(p+"samples_retried_total", "Samples sent again after a recoverable error."),
		dropped:        f.counters(p+"samples_dropped_total", "Samples dropped after they were read from the log and before they were sent.", "reason"),
		enqueueRetries: f.counter(p+"enqueue_retries_total", "Enqueueing that failed because a shard was full."),
		bytes:          f.counter(p+"bytes_total", "Bytes of samples sent, compressed."),
		pending:        f.gauge(p+"samples_pending", "Samples in the shards."),
		shards:         f.gauge(p+"shards", "Shards that send in parallel."),
		desired:        f.gauge(p+"shards_desired", "Shards that the calculation asks for."),
		capacity:       f.gauge(p+"shard_capacity", "Samples that one shard holds."),
		maxShards:      f.gauge(p+"shards_max", "Highest number of shards."),
		minShards:      f.gauge(p+"shards_min", "Lowest number of shards."),
		maxSamples:     f.gauge(p+"max_samples_per_send", "Highest number of samples in one request."),
		highest:        &maxGauge{Gauge: f.gauge(p+"queue_highest_timestamp_seconds", "Newest timestamp put into the queue.")},
		highestSent:    &maxGauge{Gauge: f.gauge(p+"queue_highest_sent_timestamp_seconds", "Newest timestamp sent.")},
	}
	m.duration = client.NewHistogram(client.HistogramOpts{
		Name: p + "sent_batch_duration_seconds", Help: "Duration of attempts to send.",
		ConstLabels: f.labels, Buckets: append(client.DefBuckets, 25, 60, 120, 300),
	})
	reg.MustRegister(m.duration)
	q := cfg.Queue
	m.capacity.Set(float64(q.Capacity))
	m.maxShards.Set(float64(q.MaxShards))
	m.minShards.Set(float64(q.MinShards))
	m.desired.Set(float64(q.MinShards))
	m.maxSamples.Set(float64(q.MaxSamplesPerSend))
	return m
}

type watcherMetrics struct {
	segment                            client.Gauge
	skipped, failures, series, samples client.Counter
}

// watcherFamilies are shared by the watchers of one process: one family, one child per queue.
type watcherFamilies struct {
	segment           *client.GaugeVec
	skipped, failures *client.CounterVec
	records           *client.CounterVec
}

func newWatcherFamilies(reg client.Registerer) watcherFamilies {
	f := factory{reg: reg}
	const p = "prometheus_wal_watcher_"
	w := watcherFamilies{
		skipped:  f.counters(p+"notifications_skipped_total", "Write notifications that found the watcher busy.", "consumer"),
		failures: f.counters(p+"record_decode_failures_total", "Records that could not be read.", "consumer"),
		records:  f.counters(p+"records_read_total", "Records read.", "consumer", "type"),
		segment:  client.NewGaugeVec(client.GaugeOpts{Name: p + "current_segment", Help: "Segment being read."}, []string{"consumer"}),
	}
	reg.MustRegister(w.segment)
	return w
}

func (w watcherFamilies) of(consumer string) *watcherMetrics {
	return &watcherMetrics{
		segment: w.segment.WithLabelValues(consumer), skipped: w.skipped.WithLabelValues(consumer),
		failures: w.failures.WithLabelValues(consumer), series: w.records.WithLabelValues(consumer, "series"),
		samples: w.records.WithLabelValues(consumer, "samples"),
	}
}

type agentMetrics struct {
	active, deleted, replay, clean        client.Gauge
	appended                              *client.CounterVec
	outOfOrder, corruptions, checkpoints  client.Counter
	checkpointsFailed, checkpointsDeleted client.Counter
	samplesIn                             client.Counter
	highest                               *maxGauge
	truncation                            client.Summary
}

func newAgentMetrics(reg client.Registerer) *agentMetrics {
	f := factory{reg: reg}
	const p = "prometheus_agent_"
	m := &agentMetrics{
		active:             f.gauge(p+"active_series", "Series that the log tracks."),
		deleted:            f.gauge(p+"deleted_series", "Series that wait for deletion from the log."),
		replay:             f.gauge(p+"data_replay_duration_seconds", "Time that reading the log at the start took."),
		clean:              f.gauge(p+"clean_start", "1 when the last process ended in order, 0 when not."),
		appended:           f.counters(p+"samples_appended_total", "Samples appended to the log.", "type"),
		outOfOrder:         f.counter(p+"out_of_order_samples_total", "Samples refused because their series has a newer one."),
		corruptions:        f.counter(p+"corruptions_total", "Corruptions found in the log."),
		checkpoints:        f.counter(p+"checkpoint_creations_total", "Checkpoints tried."),
		checkpointsFailed:  f.counter(p+"checkpoint_creations_failed_total", "Checkpoints that failed."),
		checkpointsDeleted: f.counter(p+"checkpoint_deletions_total", "Deletions of old checkpoints tried."),
		samplesIn:          f.counter("prometheus_remote_storage_samples_in_total", "Samples meant for remote storage."),
		highest:            &maxGauge{Gauge: f.gauge("prometheus_remote_storage_highest_timestamp_in_seconds", "Newest timestamp appended.")},
	}
	m.truncation = client.NewSummary(client.SummaryOpts{Name: p + "truncate_duration_seconds", Help: "Duration of truncations of the log."})
	reg.MustRegister(m.truncation)
	m.appended.WithLabelValues("float")
	return m
}

type scrapeMetrics struct {
	duplicates, outOfOrder, overLimit client.Counter
	targets                           *client.GaugeVec
}

func newScrapeMetrics(reg client.Registerer) *scrapeMetrics {
	f := factory{reg: reg}
	const p = "prometheus_target_"
	m := &scrapeMetrics{
		duplicates: f.counter(p+"scrapes_sample_duplicate_timestamp_total", "Samples refused because of a duplicate timestamp."),
		outOfOrder: f.counter(p+"scrapes_sample_out_of_order_total", "Samples refused as out of order."),
		overLimit:  f.counter(p+"scrapes_exceeded_sample_limit_total", "Scrapes that had more samples than the limit."),
		targets:    client.NewGaugeVec(client.GaugeOpts{Name: p + "scrape_pool_targets", Help: "Targets of the pool."}, []string{"scrape_job"}),
	}
	reg.MustRegister(m.targets)
	return m
}

// processMetrics are the few that say which process and how old; CPU and memory of the harness are not the component's.
func processMetrics(reg client.Registerer, started time.Time) {
	f := factory{reg: reg}
	f.gauge("process_start_time_seconds", "Start of the process since the epoch.").Set(float64(started.UnixMilli()) / 1000)
	f.gauge("prometheus_ready", "1 when the process answers.").Set(1)
	b := factory{reg, client.Labels{"version": "3.16.0", "revision": "model"}}
	b.gauge("prometheus_build_info", "Always 1; the revision says that this is a model.").Set(1)
}

type headMetrics struct {
	series, maxTime, maxTimeSec, minTime              client.Gauge
	created, appended, outOfOrder, outOfBound, tooOld client.Counter
	oooAppended, invalid, corruptions                 client.Counter
	requests                                          *client.CounterVec
}

func newHeadMetrics(reg client.Registerer) *headMetrics {
	f := factory{reg: reg}
	const p = "prometheus_tsdb_"
	float := func(name, help string) client.Counter {
		return f.counters(p+name, help, "type").WithLabelValues("float")
	}
	return &headMetrics{
		series:      f.gauge(p+"head_series", "Series in the head."),
		maxTime:     f.gauge(p+"head_max_time", "Newest timestamp of the head in milliseconds."),
		maxTimeSec:  f.gauge(p+"head_max_time_seconds", "Newest timestamp of the head."),
		minTime:     f.gauge(p+"head_min_time", "Oldest timestamp of the head in milliseconds."),
		created:     f.counter(p+"head_series_created_total", "Series created in the head."),
		appended:    float("head_samples_appended_total", "Samples stored."),
		outOfOrder:  float("out_of_order_samples_total", "Samples refused as out of order."),
		outOfBound:  float("out_of_bound_samples_total", "Samples refused as out of bounds."),
		tooOld:      float("too_old_samples_total", "Samples refused as older than the out-of-order window."),
		oooAppended: float("head_out_of_order_samples_appended_total", "Samples stored out of order."),
		corruptions: f.counter(p+"wal_corruptions_total", "Corruptions found in the log."),
		invalid:     f.counter("prometheus_api_remote_write_invalid_labels_samples_total", "Samples refused because of their labels."),
		requests:    f.counters("prometheus_http_requests_total", "HTTP requests.", "handler", "code"),
	}
}
