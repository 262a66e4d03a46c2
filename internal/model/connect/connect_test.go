package connect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/esfake"
	"triad/internal/model"
)

func TestEverythingArrivesOnce(t *testing.T) {
	r := newRig(t, false)
	r.produce("a-topic", 300)
	w := r.start()
	sum := func(name string) (all float64, both bool) {
		a, _ := w.metric(fmt.Sprintf(`kafka_connect_sink_task_%s{connector="logs",task="0"}`, name))
		b, _ := w.metric(fmt.Sprintf(`kafka_connect_sink_task_%s{connector="logs",task="1"}`, name))
		return a + b, a > 0 && b > 0
	}
	// A group without an initial delay splits its partitions only when the second member has come.
	within(t, 10*time.Second, "partitions split over the tasks", func() bool {
		all, both := sum("partition_count")
		return both && all == 2*parts
	})
	r.produce("B-topic", 500)
	r.produce("a-topic", 700)
	r.exact()
	if n := r.writes("*"); n != 1500 {
		t.Errorf("%d writes for 1500 records: something was written twice", n)
	}
	within(t, 5*time.Second, "everything committed", func() bool { return r.committed() == 1500 })
	for _, name := range []string{"sink_record_read_total", "sink_record_send_total"} {
		if all, both := sum(name); all != 1500 || !both {
			t.Errorf("%s: %v of 1500, by both tasks: %v", name, all, both)
		}
	}
	for topic, want := range map[string]float64{"a_topic": 0, "a-topic": 0, "B-topic": 0} {
		for task := range 2 {
			n, _ := w.metric(fmt.Sprintf(`kafka_consumer_fetch_manager_records_consumed_total{client_id="connector-consumer-logs-%d",topic=%q}`, task, topic))
			want += n
		}
		if is := map[string]float64{"a_topic": 0, "a-topic": 1000, "B-topic": 500}[topic]; want != is {
			t.Errorf("%v records of %s were read, want %v", want, topic, is)
		}
	}
	within(t, 5*time.Second, "no record active", func() bool {
		a, ok := w.metric(`kafka_connect_sink_task_sink_record_active_count{connector="logs",task="0"}`)
		return ok && a == 0
	})
	if lag, ok := w.metric(`kafka_consumer_fetch_manager_records_lag{partition="0",topic="a-topic"}`); !ok || lag != 0 {
		t.Errorf("lag %v %v", lag, ok)
	}
	if s := w.status(); s.Connector.State != "RUNNING" || w.states() != "RUNNING RUNNING" {
		t.Errorf("status %+v", s)
	}
	// An orderly stop and a new worker: nothing is read again.
	w.stop(nil)
	r.start()
	r.produce("a-topic", 10)
	r.exact()
	if n := r.writes("*"); n != 1510 {
		t.Errorf("%d writes for 1510 records after an orderly restart", n)
	}
}

func TestOutageFailsTasksUntilRestarted(t *testing.T) {
	r := newRig(t, false)
	r.produce("a-topic", 100)
	w := r.start()
	r.exact()
	r.es.Down(true)
	r.produce("a-topic", 100)
	// Four attempts within 10*(2+4+8) ms at most, then failure at the next put.
	within(t, 10*time.Second, "both tasks failed", func() bool {
		r.produce("a-topic", parts)
		return w.states() == "FAILED FAILED"
	})
	if tr := w.status().Tasks[0].Trace; !strings.Contains(tr, "after 4 attempt(s)") || !strings.Contains(tr, "ConnectException") {
		t.Errorf("trace: %s", tr)
	}
	if v, ok := w.metric(`kafka_connect_connector_task_status{connector="logs",status="failed",task="1"}`); !ok || v != 1 {
		t.Errorf("status metric: %v %v", v, ok)
	}
	r.es.Down(false)
	time.Sleep(300 * time.Millisecond)
	if s := w.states(); s != "FAILED FAILED" {
		t.Errorf("a failed task came back by itself: %s", s)
	}
	if st, b := get(t, "POST", "http://"+w.RESTAddr()+"/connectors/logs/restart?includeTasks=true&onlyFailed=true", nil); st != 202 {
		t.Errorf("restart: %d %s", st, b)
	}
	r.exact()
	if s := w.states(); s != "RUNNING RUNNING" {
		t.Errorf("after restart: %s", s)
	}
}

func TestAutoRestartRecovers(t *testing.T) {
	r := newRig(t, true)
	r.produce("a-topic", 40)
	w := r.start()
	r.exact()
	r.es.Down(true)
	within(t, 10*time.Second, "a task failed", func() bool {
		r.produce("a-topic", parts)
		return strings.Contains(w.states(), "FAILED")
	})
	time.Sleep(300 * time.Millisecond)
	r.es.Down(false)
	within(t, 15*time.Second, "running again", func() bool { return w.states() == "RUNNING RUNNING" && r.count("a-topic") == r.sent["a-topic"] })
	r.exact()
}

func TestBackoffOfAutoRestart(t *testing.T) {
	var got []time.Duration
	for n := range 10 {
		got = append(got, backoff(n, time.Minute)/time.Minute)
	}
	if d := cmp.Diff([]time.Duration{0, 2, 6, 12, 20, 30, 42, 56, 60, 60}, got); d != "" {
		t.Errorf("minutes (-want +got):\n%s", d)
	}
}

func TestThrottledRequestsAreRetried(t *testing.T) {
	r := newRig(t, false, "max.retries: 40")
	// Overrides the shorter limit of the shared settings.
	r.es.Throttle(esfake.Throttle{Request: 0.5})
	r.produce("a-topic", 2000)
	w := r.start()
	r.exact()
	if h := r.es.Hits(); h.ThrottledRequests == 0 {
		t.Error("the throttle did not bite")
	}
	if s := w.states(); s != "RUNNING RUNNING" {
		t.Errorf("tasks: %s", s)
	}
}

// TestThrottledItemKillsTask holds the model to what the real connector does: a refused item is not retried.
func TestThrottledItemKillsTask(t *testing.T) {
	r := newRig(t, false)
	w := r.start()
	r.es.Throttle(esfake.Throttle{Item: 1})
	within(t, 10*time.Second, "both tasks failed", func() bool {
		r.produce("a-topic", parts)
		return w.states() == "FAILED FAILED"
	})
	if tr := w.status().Tasks[0].Trace; !strings.Contains(tr, "es_rejected_execution_exception") {
		t.Errorf("trace: %s", tr)
	}
	r.es.Throttle(esfake.Throttle{})
	get(t, "POST", "http://"+w.RESTAddr()+"/connectors/logs/restart?includeTasks=true", nil)
	r.exact()
}

func TestMalformedGoesToDeadLetters(t *testing.T) {
	r := newRig(t, false, "errors.tolerance: all", "errors.deadletterqueue.topic.name: dead-letter-topic",
		"errors.deadletterqueue.context.headers.enable: true", "behavior.on.malformed.documents: WARN", "behavior.on.null.values: IGNORE")
	w := r.start()
	r.produce("a-topic", 20)
	r.raw("a-topic", 0, "", `{"log":{"not":"text"}}`) // mapping conflict, found by the store
	r.raw("a-topic", 1, "", `not json`)               // found by the converter
	r.raw("a-topic", 2, "k", "")                      // no value
	r.produce("a-topic", 20)
	r.exact()
	c, err := kgo.NewClient(kgo.SeedBrokers(r.kafka.ListenAddrs()...), kgo.ConsumeTopics("dead-letter-topic"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := map[string]string{}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for len(got) < 3 && ctx.Err() == nil {
		c.PollFetches(ctx).EachRecord(func(rec *kgo.Record) {
			h := map[string]string{}
			for _, kv := range rec.Headers {
				h[kv.Key] = string(kv.Value)
			}
			if h["__connect.errors.topic"] != "a-topic" || h["__connect.errors.exception.message"] == "" {
				t.Errorf("headers %v", h)
			}
			got[string(rec.Value)] = h["__connect.errors.stage"]
		})
	}
	want := map[string]string{`{"log":{"not":"text"}}`: "TASK_PUT", "not json": "VALUE_CONVERTER", "": "TASK_PUT"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("dead letters (-want +got):\n%s", d)
	}
	var n float64
	for task := range 2 {
		v, _ := w.metric(fmt.Sprintf(`kafka_connect_task_error_deadletterqueue_produce_requests_total{connector="logs",task="%d"}`, task))
		n += v
	}
	if n != 3 {
		t.Errorf("dead-letter requests: %v", n)
	}
	if s := w.states(); s != "RUNNING RUNNING" {
		t.Errorf("tasks: %s", s)
	}
}

func TestIntolerantTaskFailsOnBadRecord(t *testing.T) {
	for name, tt := range map[string]struct {
		value string
		want  string
	}{
		"converter": {"not json", "Tolerance exceeded"},
		"mapping":   {`{"log":{"not":"text"}}`, "Indexing record failed"},
		"null":      {"", "has a null value"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, false)
			w := r.start()
			r.produce("a-topic", 4)
			r.exact()
			r.raw("a-topic", 1, "k", tt.value)
			within(t, 10*time.Second, "one task failed", func() bool {
				r.raw("a-topic", 1, "", `{"log":"x"}`)
				return strings.Contains(w.states(), "FAILED")
			})
			trace := ""
			for _, task := range w.status().Tasks {
				trace += task.Trace
			}
			if !strings.Contains(trace, tt.want) {
				t.Errorf("trace: %s", trace)
			}
		})
	}
}

func TestKillLosesNothingAndRewrites(t *testing.T) {
	r := newRig(t, false)
	r.cfg.Worker.OffsetFlushInterval = time.Hour // nothing is committed before the kill,
	r.cfg.Connectors[0].TasksMax = 1             // not for a rebalance either
	r.produce("a-topic", 1000)
	w := r.start()
	within(t, 10*time.Second, "half indexed", func() bool { return r.count("a-topic") > 500 })
	w.stop(model.ErrKilled)
	before := r.writes("a-topic")
	if n := r.committed(); n > 0 {
		t.Errorf("a killed worker committed %d", n)
	}
	r.produce("a-topic", 500)
	start := time.Now()
	r.cfg.Worker.OffsetFlushInterval = 100 * time.Millisecond
	w = r.start()
	within(t, 20*time.Second, "the new worker reads", func() bool {
		n, _ := w.metric(`kafka_connect_sink_task_sink_record_read_total{connector="logs",task="0"}`)
		return n > 0
	})
	// The brokers miss the old members only after their session timeout of 1 s.
	if d := time.Since(start); d < 500*time.Millisecond {
		t.Errorf("partitions were taken over after %v: the killed worker has left its group", d)
	}
	r.exact()
	if n := r.writes("a-topic"); n < before+1500 {
		t.Errorf("%d writes after %d: the new worker did not read everything again", n, before)
	}
}

func TestFailedTasksAndStates(t *testing.T) {
	r := newRig(t, false)
	w := r.start()
	r.produce("a-topic", 40)
	r.exact()
	// An index that refuses writes fails every task that writes to it.
	r.es.FloodStage(true)
	r.produce("a-topic", 40)
	within(t, 5*time.Second, "failed", func() bool { return w.states() == "FAILED FAILED" })
	r.es.FloodStage(false)
	base := "http://" + w.RESTAddr() + "/connectors/logs"
	for task := range 2 {
		if st, _ := get(t, "POST", fmt.Sprintf("%s/tasks/%d/restart", base, task), nil); st != 204 {
			t.Errorf("task restart: %d", st)
		}
	}
	r.exact()
	within(t, 5*time.Second, "running", func() bool { return w.states() == "RUNNING RUNNING" })
	if st, _ := get(t, "PUT", base+"/stop", nil); st != 204 {
		t.Errorf("stop: %d", st)
	}
	// The operator wants it running, and sets it so at its next look.
	within(t, 5*time.Second, "running again", func() bool { return w.states() == "RUNNING RUNNING" })
	var list []string
	get(t, "GET", "http://"+w.RESTAddr()+"/connectors", &list)
	if d := cmp.Diff([]string{"logs"}, list); d != "" {
		t.Error(d)
	}
	var expanded map[string]struct{ Status status }
	get(t, "GET", "http://"+w.RESTAddr()+"/connectors?expand=status", &expanded)
	if s := expanded["logs"].Status; len(s.Tasks) != 2 || s.Connector.State != "RUNNING" {
		t.Errorf("expanded: %+v", expanded)
	}
	if st, b := get(t, "GET", "http://"+w.RESTAddr()+"/connectors/none/status", nil); st != 404 || !strings.Contains(b, "error_code") {
		t.Errorf("unknown connector: %d %s", st, b)
	}
	var tasks []struct {
		ID struct{ Task int } `json:"id"`
	}
	get(t, "GET", base+"/tasks", &tasks)
	if len(tasks) != 2 || tasks[1].ID.Task != 1 {
		t.Errorf("tasks: %+v", tasks)
	}
}

func TestPause(t *testing.T) {
	r := newRig(t, false)
	r.cfg.Operator.Reconcile = time.Hour // the operator would resume it
	w := r.start()
	r.produce("a-topic", 40)
	r.exact()
	base := "http://" + w.RESTAddr() + "/connectors/logs"
	if st, _ := get(t, "PUT", base+"/pause", nil); st != 202 {
		t.Errorf("pause: %d", st)
	}
	within(t, 5*time.Second, "paused", func() bool { return w.states() == "PAUSED PAUSED" })
	r.produce("a-topic", 40)
	time.Sleep(300 * time.Millisecond)
	if n := r.count("a-topic"); n != 40 {
		t.Errorf("%d documents while paused", n)
	}
	get(t, "PUT", base+"/resume", nil)
	r.exact()
}

func TestKeysAsIDs(t *testing.T) {
	r := newRig(t, false, "behavior.on.null.values: delete", "flush.synchronously: true")
	for i := range r.cfg.Connectors {
		r.cfg.Connectors[i].Sink.KeyIgnore = false
	}
	w := r.start()
	r.raw("a-topic", 0, "one", `{"v":1}`)
	r.raw("a-topic", 0, "one", `{"v":2}`)
	r.raw("a-topic", 0, "two", `{"v":1}`)
	r.raw("a-topic", 0, "two", "")
	within(t, 10*time.Second, "committed", func() bool { return r.committed() == 4 })
	var doc struct {
		Source  struct{ V int } `json:"_source"`
		Version int             `json:"_version"`
	}
	get(t, "GET", r.esURL+"/a-topic/_doc/one", &doc)
	if doc.Source.V != 2 || doc.Version != 1 {
		t.Errorf("document %+v: want the second value with its offset as version", doc)
	}
	if st, _ := get(t, "GET", r.esURL+"/a-topic/_doc/two", nil); st != 404 {
		t.Errorf("deleted document: %d", st)
	}
	if s := w.states(); s != "RUNNING RUNNING" {
		t.Errorf("tasks: %s", s)
	}
}

func TestNewRefuses(t *testing.T) {
	cfg := Config{Brokers: []string{"x:1"}, Connectors: []Connector{{Name: "c", Sink: Sink{Password: "${secrets:a:b}", URLs: []string{"x"}}}}}
	if _, err := New(cfg, Options{}); err == nil {
		t.Error("a reference without secrets was taken")
	}
	cfg.Connectors[0].Sink.Password = ""
	cfg.Connectors[0].Sink.URLs = nil
	if _, err := New(cfg, Options{}); err == nil {
		t.Error("no URL was taken")
	}
	if _, err := New(Config{}, Options{}); err == nil {
		t.Error("no brokers were taken")
	}
	if _, err := New(Config{}, Options{Brokers: []string{"a:1"}, Secret: func(string) (string, error) { return "", errors.New("no") }}); err != nil {
		t.Error(err)
	}
}
