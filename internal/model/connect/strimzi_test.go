package connect

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triad/internal/model"
	"triad/internal/model/jmx"
)

func TestParseStrimzi(t *testing.T) {
	cfg, not, err := ParseStrimzi(fmt.Appendf(nil, resources, "true", "    errors.tolerance: all\n    connection.password: secret\n    proxy.password: hush"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Connectors) != 1 {
		t.Fatalf("connectors: %+v", cfg.Connectors)
	}
	c := cfg.Connectors[0]
	sink := defaultSink()
	sink.URLs, sink.KeyIgnore, sink.SchemaIgnore = []string{"http://elasticsearch:9200"}, true, true
	sink.BatchSize, sink.Linger, sink.MaxBuffered, sink.MaxRetries, sink.RetryBackoff = 40, 5*time.Millisecond, 200, 3, 10*time.Millisecond
	sink.Password = "secret"
	if d := cmp.Diff(sink, c.Sink, cmp.AllowUnexported(Sink{})); d != "" {
		t.Errorf("sink (-want +got):\n%s", d)
	}
	consumer := defaultConsumer("logs")
	consumer.SessionTimeout, consumer.Heartbeat, consumer.MaxPollRecords = time.Second, 100*time.Millisecond, 50
	consumer.FetchMaxWait, consumer.Assignor = 50*time.Millisecond, "cooperative-sticky"
	if d := cmp.Diff(consumer, c.Consumer); d != "" {
		t.Errorf("consumer (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"a-topic", "B-topic"}, c.Topics); d != "" {
		t.Error(d)
	}
	if c.Key != (Converter{"string", true}) || c.Value != (Converter{"json", false}) || !c.Errors.TolerateAll || c.TasksMax != 2 || !c.AutoRestart.Enabled {
		t.Errorf("connector: %+v", c)
	}
	if cfg.Worker.OffsetFlushInterval != 200*time.Millisecond || cfg.Metrics == nil || len(cfg.Metrics.Rules) != 5 {
		t.Errorf("worker: %+v", cfg)
	}
	var keys []string
	for _, n := range not {
		keys = append(keys, n.File+" "+n.Key)
		if n.Line == 0 || n.Why == "" || strings.Contains(n.Value, "hush") {
			t.Errorf("entry: %+v", n)
		}
	}
	want := []string{
		"KafkaConnect/sink spec.replicas", "KafkaConnect/sink spec.resources",
		"KafkaConnector/logs spec.config.transforms", "KafkaConnector/logs spec.config.proxy.password",
		"KafkaConnect/sink spec.config.config.storage.replication.factor", "KafkaConnect/sink spec.config.plugin.discovery",
	}
	if d := cmp.Diff(want, keys); d != "" {
		t.Errorf("not modelled (-want +got):\n%s", d)
	}
}

func TestParseStrimziFaults(t *testing.T) {
	good := fmt.Sprintf(resources, "true", "")
	for name, tt := range map[string]struct{ old, new, want string }{
		"class":     {"ElasticsearchSinkConnector", "FileStreamSink", `class "io.confluent.connect.elasticsearch.FileStreamSink"`},
		"version":   {"kafka.strimzi.io/v1\n", "kafka.strimzi.io/v1beta2\n", "want kafka.strimzi.io/v1"},
		"number":    {"batch.size: 40", "batch.size: many", "want a whole number"},
		"range":     {"batch.size: 40", "batch.size: 0", "from 1"},
		"millis":    {"linger.ms: 5", "linger.ms: 5ms", "want milliseconds"},
		"flag":      {"key.ignore: true", "key.ignore: perhaps", "want true or false"},
		"choice":    {"transforms: route", "write.method: replace", "want one of insert, upsert"},
		"topics":    {"topics: a-topic,B-topic", "topic: a", "exactly one of topics"},
		"both":      {"transforms: route", "topics.regex: x.*", "exactly one of topics"},
		"converter": {"json.JsonConverter", "avro.AvroConverter", "the model knows"},
		"configmap": {"key: metrics-config.yaml", "key: other", "no ConfigMap"},
		"rule":      {"(records-lag):", "(records-lag:", "pattern"},
		"no worker": {"kind: KafkaConnect\n", "kind: KafkaBridge\n", "0 KafkaConnect resources"},
	} {
		if !strings.Contains(good, tt.old) {
			t.Fatalf("%s: the resources do not hold %q", name, tt.old)
		}
		_, _, err := ParseStrimzi([]byte(strings.Replace(good, tt.old, tt.new, 1)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
}

// TestShippedResources reads the manifests that the project ships, so that a change of theirs that the model cannot
// follow is seen here.
func TestShippedResources(t *testing.T) {
	base := filepath.Join("..", "..", "..", "manifests", "base", "monitoring")
	res, err := os.ReadFile(filepath.Join(base, "connect.yaml"))
	if err != nil {
		t.Skipf("no manifests beside the code: %v", err)
	}
	rules, err := os.ReadFile(filepath.Join(base, "config", "connect-metrics.yaml"))
	if err != nil {
		t.Skipf("no exporter rules beside the code: %v", err)
	}
	cm := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: connect-metrics}\ndata:\n  metrics-config.yaml: |\n    " +
		strings.ReplaceAll(string(rules), "\n", "\n    ") + "\n---\n"
	cfg, not, err := ParseStrimzi([]byte(cm + string(res)))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Connectors) == 0 || cfg.Metrics == nil || len(cfg.Metrics.Rules) == 0 {
		t.Errorf("%+v", cfg)
	}
	for _, n := range not {
		if strings.Contains(n.Why, "unknown to the model") {
			t.Errorf("a shipped setting is unknown to the model: %s", n)
		}
	}
	// What the shipped object names leave out, no shipped rule is for.
	var beans []*jmx.Bean
	for _, b := range []struct{ domain, kind, attr string }{
		{"kafka.connect", "connector-task-metrics", "pause-ratio"}, {"kafka.connect", "sink-task-metrics", "partition-count"}, {"kafka.connect", "task-error-metrics", "total-retries"},
	} {
		beans = append(beans, jmx.NewBean(b.domain, "type", b.kind, "connector", "c", "task", "0"))
		beans[len(beans)-1].Count(b.attr, 1)
	}
	beans = append(beans, jmx.NewBean("kafka.connect", "type", "connect-worker-metrics"), jmx.NewBean("kafka.consumer", "type", "consumer-fetch-manager-metrics", "client-id", "i", "topic", "t", "partition", "0"),
		jmx.NewBean("kafka.consumer", "type", "consumer-fetch-manager-metrics", "client-id", "i", "topic", "t"),
		jmx.NewBean("kafka.consumer", "type", "consumer-fetch-manager-metrics", "client-id", "i"),
		jmx.NewBean("kafka.connect", "type", "connect-metrics", "client-id", "i"))
	beans[3].Count("task-count", 1)
	beans[4].Count("records-lag", 1)
	beans[5].Count("records-consumed-total", 1)
	beans[6].Count("records-consumed-total", 1)
	beans[7].Count("task-count", 1)
	if got := string(cfg.Metrics.Render(beans)); strings.Count(got, "\n") != 3*6 {
		t.Errorf("the beans that rules are for, and no other, are not there:\n%s", got)
	}
}

// TestUnknownSettings: of the exporter, they are listed at the line where its text begins.
func TestUnknownSettings(t *testing.T) {
	stream := strings.Replace(fmt.Sprintf(resources, "false", ""), "lowercaseOutputName: true", "startDelaySeconds: 5", 1)
	_, not, err := ParseStrimzi([]byte(stream))
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(stream, "metrics-config.yaml: |")
	want := model.NotModelled{
		File: "ConfigMap/connect-metrics", Line: strings.Count(before, "\n") + 1, Key: "startDelaySeconds", Value: "5",
		Why: "a setting of the exporter that the model does not have",
	}
	if !slices.Contains(not, want) {
		t.Errorf("%v is not in %v", want, not)
	}
}

// FuzzParseStrimzi feeds arbitrary streams to the reader: it may refuse them and must not panic, and what it takes must
// be complete enough to be run.
func FuzzParseStrimzi(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(resources, "true", "    errors.tolerance: all")))
	f.Add([]byte("kind: KafkaConnect\napiVersion: kafka.strimzi.io/v1\nmetadata: {name: a}\nspec: [1]\n---\nkind: KafkaConnector\n"))
	f.Add([]byte("---\n---\n[]\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		cfg, _, err := ParseStrimzi(stream)
		if err != nil {
			return
		}
		for _, c := range cfg.Connectors {
			if c.TasksMax < 1 || c.Sink.BatchSize < 1 || c.Sink.InFlight < 1 || len(c.Topics) == 0 == (c.TopicsRegex == "") || c.Consumer.Assignor == "" {
				t.Fatalf("accepted %+v", c)
			}
		}
	})
}
