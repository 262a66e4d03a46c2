package connect

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"triad/internal/model/jmx"
	"triad/internal/model/promtext"
)

// taskMetrics are the counters of one run of a task.
type taskMetrics struct {
	read, sent                                                  atomic.Int64
	commits, commitSkips, commitFailed, seq                     atomic.Int64
	failures, errors, skipped, logged, dlqRequests, dlqFailures atomic.Int64
	lastError, rebalances                                       atomic.Int64
	put, commit                                                 span

	mu      sync.Mutex
	topics  map[string]int64         // records read, by topic
	spent   map[string]time.Duration // by state
	batches [3]int64                 // count, sum, highest
}

func newTaskMetrics() *taskMetrics {
	return &taskMetrics{topics: map[string]int64{}, spent: map[string]time.Duration{}}
}

// took counts records of a topic that a poll has brought.
func (m *taskMetrics) took(topic string, n int) {
	m.read.Add(int64(n))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.topics[topic] += int64(n)
}

func (m *taskMetrics) spend(state string, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spent[state] += d
}

func (m *taskMetrics) batch(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.batches[0]++
	m.batches[1] += int64(n)
	m.batches[2] = max(m.batches[2], int64(n))
}

// spanWindow is half the time over which Kafka's metrics average: two samples of 30 s.
const spanWindow = 30 * time.Second

// span averages durations over the last one to two windows.
type span struct {
	mu   sync.Mutex
	cur  sample
	prev sample
	at   time.Time // start of cur
}

type sample struct {
	n    int64
	sum  time.Duration
	high time.Duration
}

func (s *span) roll(now time.Time) {
	switch d := now.Sub(s.at); {
	case d < spanWindow:
	case d < 2*spanWindow:
		s.prev, s.cur, s.at = s.cur, sample{}, s.at.Add(spanWindow)
	default:
		s.prev, s.cur, s.at = sample{}, sample{}, now
	}
}

func (s *span) add(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roll(time.Now())
	s.cur.n++
	s.cur.sum += d
	s.cur.high = max(s.cur.high, d)
}

// millis returns the mean and the maximum in milliseconds.
func (s *span) millis() (mean, high float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roll(time.Now())
	if n := s.cur.n + s.prev.n; n > 0 {
		mean = float64(s.cur.sum+s.prev.sum) / float64(n) / float64(time.Millisecond)
	}
	return mean, float64(max(s.cur.high, s.prev.high)) / float64(time.Millisecond)
}

func (m *Model) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", promtext.ContentType)
		_, _ = w.Write(m.cfg.Metrics.Render(m.beans()))
	})
	return mux
}

// beans returns every bean of the worker, those of a kind together.
func (m *Model) beans() []*jmx.Bean {
	worker := jmx.NewBean("kafka.connect", "type", "connect-worker-metrics")
	all := []*jmx.Bean{worker}
	var connectors, tasks, sinks, errs, clients, parts []*jmx.Bean
	var starts, live, failures int
	names := make([]string, 0, len(m.connectors))
	for n := range m.connectors {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, name := range names {
		c := m.connectors[name]
		list := c.list()
		c.mu.Lock()
		starts += c.starts
		state := strings.ToLower(c.state)
		c.mu.Unlock()
		cb := jmx.NewBean("kafka.connect", "type", "connector-metrics", "connector", name)
		cb.Str("connector-class", SinkClass)
		cb.Str("connector-type", "sink")
		cb.Str("status", state)
		connectors = append(connectors, cb)
		byState := map[string]int{}
		for _, t := range list {
			st, _ := t.status()
			byState[st]++
			live++
			tasks = append(tasks, t.taskBean(st))
			sinks = append(sinks, t.sinkBean())
			errs = append(errs, t.errorBean())
			if st != stateFailed {
				cl, p := t.consumerBeans()
				clients = append(clients, cl)
				parts = append(parts, p...)
			}
		}
		failures += byState[stateFailed]
		wb := jmx.NewBean("kafka.connect", "type", "connect-worker-metrics", "connector", name)
		wb.Count("connector-total-task-count", int64(len(list)))
		wb.Count("connector-running-task-count", int64(byState[stateRunning]))
		wb.Count("connector-paused-task-count", int64(byState[statePaused]))
		wb.Count("connector-failed-task-count", int64(byState[stateFailed]))
		wb.Num("connector-unassigned-task-count", 0)
		wb.Num("connector-destroyed-task-count", 0)
		wb.Num("connector-restarting-task-count", 0)
		all = append(all, wb)
	}
	worker.Count("connector-count", int64(len(names)))
	worker.Count("connector-startup-attempts-total", int64(len(names)))
	worker.Count("connector-startup-success-total", int64(len(names)))
	worker.Num("connector-startup-failure-total", 0)
	worker.Count("task-count", int64(live))
	worker.Count("task-startup-attempts-total", int64(starts))
	worker.Count("task-startup-success-total", int64(starts))
	worker.Num("task-startup-failure-total", 0)
	return slices.Concat(all, connectors, tasks, sinks, errs, clients, parts)
}

func (t *task) bean(typ string) *jmx.Bean {
	return jmx.NewBean("kafka.connect", "type", typ, "connector", t.c.Name, "task", strconv.Itoa(t.id))
}

func (t *task) taskBean(state string) *jmx.Bean {
	b := t.bean("connector-task-metrics")
	b.Str("status", strings.ToLower(state))
	t.mu.Lock()
	cur, since := t.state, t.since
	t.mu.Unlock()
	t.m.mu.Lock()
	running, paused, all := t.m.spent[stateRunning], t.m.spent[statePaused], time.Since(since)
	for _, d := range t.m.spent {
		all += d
	}
	batches := t.m.batches
	t.m.mu.Unlock()
	switch cur {
	case stateRunning:
		running += time.Since(since)
	case statePaused:
		paused += time.Since(since)
	}
	b.Num("running-ratio", ratio(float64(running), float64(all)))
	b.Num("pause-ratio", ratio(float64(paused), float64(all)))
	b.Num("batch-size-avg", ratio(float64(batches[1]), float64(batches[0])))
	b.Count("batch-size-max", batches[2])
	mean, high := t.m.commit.millis()
	b.Num("offset-commit-avg-time-ms", mean)
	b.Num("offset-commit-max-time-ms", high)
	good, bad := float64(t.m.commits.Load()), float64(t.m.commitFailed.Load())
	b.Num("offset-commit-success-percentage", ratio(good, good+bad))
	b.Num("offset-commit-failure-percentage", ratio(bad, good+bad))
	return b
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func (t *task) sinkBean() *jmx.Bean {
	b := t.bean("sink-task-metrics")
	b.Count("sink-record-read-total", t.m.read.Load())
	b.Count("sink-record-send-total", t.m.sent.Load())
	b.Count("sink-record-active-count", t.offsets.active())
	b.Count("partition-count", int64(t.offsets.count()))
	b.Count("offset-commit-seq-no", t.m.seq.Load())
	b.Count("offset-commit-completion-total", t.m.commits.Load())
	b.Count("offset-commit-skip-total", t.m.commitSkips.Load())
	mean, high := t.m.put.millis()
	b.Num("put-batch-avg-time-ms", mean)
	b.Num("put-batch-max-time-ms", high)
	return b
}

func (t *task) errorBean() *jmx.Bean {
	b := t.bean("task-error-metrics")
	b.Count("total-record-failures", t.m.failures.Load())
	b.Count("total-record-errors", t.m.errors.Load())
	b.Count("total-records-skipped", t.m.skipped.Load())
	b.Num("total-retries", 0) // the framework's own retries; those of the sink have no metric
	b.Count("total-errors-logged", t.m.logged.Load())
	b.Count("deadletterqueue-produce-requests", t.m.dlqRequests.Load())
	b.Count("deadletterqueue-produce-failures", t.m.dlqFailures.Load())
	b.Count("last-error-timestamp", t.m.lastError.Load())
	return b
}

func (t *task) consumerBeans() (client *jmx.Bean, parts []*jmx.Bean) {
	client = jmx.NewBean("kafka.consumer", "type", "consumer-fetch-manager-metrics", "client-id", t.clientID())
	client.Count("records-consumed-total", t.m.read.Load())
	t.m.mu.Lock()
	for _, topic := range slices.Sorted(maps.Keys(t.m.topics)) {
		b := jmx.NewBean("kafka.consumer", "type", "consumer-fetch-manager-metrics", "client-id", t.clientID(), "topic", strings.ReplaceAll(topic, ".", "_"))
		b.Count("records-consumed-total", t.m.topics[topic])
		parts = append(parts, b)
	}
	t.m.mu.Unlock()
	lags := t.offsets.lags()
	tps := make([]topicPartition, 0, len(lags))
	for tp := range lags {
		tps = append(tps, tp)
	}
	slices.SortFunc(tps, func(a, b topicPartition) int {
		if c := strings.Compare(a.topic, b.topic); c != 0 {
			return c
		}
		return int(a.partition - b.partition)
	})
	for _, tp := range tps {
		b := jmx.NewBean("kafka.consumer", "type", "consumer-fetch-manager-metrics", "client-id", t.clientID(),
			"topic", strings.ReplaceAll(tp.topic, ".", "_"), "partition", strconv.Itoa(int(tp.partition)))
		b.Count("records-lag", lags[tp])
		parts = append(parts, b)
	}
	return client, parts
}
