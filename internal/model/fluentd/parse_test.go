package fluentd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// shippedPath is the configuration that is deployed; the model must understand all of it.
const shippedPath = "../../../manifests/base/datacenter/config/fluentd.yaml"

func shipped(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.FromSlash(shippedPath))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseShipped(t *testing.T) {
	env := map[string]string{"KAFKA_BROKERS": "k0:9094,k1:9094", "KAFKA_USERNAME": "fluentd", "KAFKA_PASSWORD": "pw"}
	c, notes, err := Parse(shipped(t), "fluentd.yaml", env)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range notes {
		t.Errorf("not modelled: %s", n)
	}
	var routes []string
	for _, o := range c.Outputs {
		routes = append(routes, o.Tag.String()+" -> "+o.Topic)
	}
	want := []string{
		"service.** -> service-topic", "system.auth -> system-auth-topic",
		"system.kmsg -> system-kmsg-topic", "system.syslog -> system-syslog-topic", "system.metrics.** -> system-metrics-topic", "canary.** -> canary-topic",
	}
	if d := cmp.Diff(want, routes); d != "" {
		t.Error(d)
	}
	got := c.Outputs[0]
	got.Tag, got.Inject.TimeFormat = Pattern{}, timeFormat{}
	wantOut := Output{
		ID: "out_service", Plugin: "rdkafka2", Brokers: []string{"k0:9094", "k1:9094"}, TLS: true, CAFile: "/etc/triad/kafka/ca.crt",
		VerifyHostname: true, Username: "fluentd", Password: "pw", Mechanism: "SCRAM-SHA-512",
		Topic: "service-topic", TopicKey: "topic", MessageKey: "stream_key", ExcludeMessageKey: true,
		Acks: -1, Idempotent: true, Compression: "lz4", Linger: 20 * time.Millisecond, Retries: 2147483647,
		RequestTimeout: 30 * time.Second, DeliveryTimeout: 2 * time.Minute, PollTimeout: 150 * time.Second,
		MaxMessageBytes: 1000000, TooLargeIsFatal: true, Partitioner: "murmur2",
		Inject: Inject{TimeKey: "@timestamp", TimeType: "string", UTC: true},
		Buffer: Buffer{
			File: true, Path: "/var/lib/fluentd/buffer/service", ChunkLimit: 8 << 20, FullThreshold: 0.95, TotalLimit: 4 << 30,
			FlushMode: "interval", FlushInterval: time.Second, FlushThreads: 1, FlushThreadInterval: 100 * time.Millisecond,
			FlushBurstInterval: 10 * time.Millisecond, QueuedChunks: 1, Overflow: "block", SlowFlush: 20 * time.Second,
			Retry: Retry{Wait: time.Second, Base: 2, MaxInterval: 30 * time.Second, Randomize: true, Timeout: 72 * time.Hour, Forever: true},
		},
	}
	if d := cmp.Diff(wantOut, got, cmpopts.IgnoreUnexported(Pattern{}, timeFormat{})); d != "" {
		t.Error(d)
	}
	if c.Metrics.Port != 24231 || c.OutputMonitor.Interval != 2*time.Second || !c.OutputMonitor.Counters || c.Forward[0].Port != 24224 {
		t.Errorf("sources: %+v %+v %+v", c.Metrics, c.OutputMonitor, c.Forward)
	}
}

// TestParseNotes: what is unknown is listed with its line, never dropped.
func TestParseNotes(t *testing.T) {
	text := strings.Replace(string(shipped(t)), "overflow_action: block", "overflow_action: block\n        compress: gzip\n        surprise: 1", 1)
	text += "  - match:\n      $tag: other\n      $type: stdout\n"
	_, notes, err := Parse([]byte(text), "f.yaml", nil)
	if err == nil || !strings.Contains(err.Error(), "no broker") {
		t.Errorf("error %v: brokers come from the environment, and it is empty", err)
	}
	var keys []string
	for _, n := range notes {
		if n.Line == 0 || n.File != "f.yaml" || n.Why == "" {
			t.Errorf("incomplete note %+v", n)
		}
		keys = append(keys, n.Key)
	}
	want := []string{"config[6].match.buffer.compress", "config[6].match.buffer.surprise", "config[12].match.$tag", "config[12].match.$type"}
	if d := cmp.Diff(want, keys); d != "" {
		t.Error(d)
	}
}

func TestParseFaults(t *testing.T) {
	for change, want := range map[[2]string]string{
		{"flush_interval: 1", "flush_interval: 100ms"}:                              "is no time",
		{"chunk_limit_size: 8m", "chunk_limit_size: 8x"}:                            "is no size",
		{"overflow_action: block", "overflow_action: panic"}:                        "is none of",
		{"retry_wait: 1", "retry_wait: often"}:                                      "retry_wait",
		{"required_acks: -1", "required_acks: 1"}:                                   "idempotent",
		{"security.protocol: SASL_SSL", "security.protocol: SSH"}:                   "security.protocol",
		{"sasl.mechanisms: SCRAM-SHA-512", "sasl.mechanisms: GSSAPI"}:               "not modelled",
		{`stream_key: ${record["host"]}`, `stream_key: ${hostname}`}:                "placeholder",
		{"buffer/system-auth\n", "buffer/service\n"}:                                "share the path",
		{"$id: out_system_auth", "$id: out_service"}:                                "used twice",
		{`%Y-%m-%dT%H`, `%Q`}:                                                       "time format",
		{`#{ENV['KAFKA_BROKERS']}`, `#{Socket.gethostname}`}:                        "evaluates only ENV",
		{"$type: forward", "$type: forwarder"}:                                      "no source of type forward",
		{"flush_thread_count: 1", "flush_thread_count: 0"}:                          "above 0",
		{"retry_exponential_backoff_base: 2", "retry_exponential_backoff_base: -1"}: "0 to 1000",
	} {
		text := strings.Replace(string(shipped(t)), change[0], change[1], 1)
		if text == string(shipped(t)) {
			t.Errorf("%q is not in the file", change[0])
			continue
		}
		_, _, err := Parse([]byte(text), "f.yaml", map[string]string{"KAFKA_BROKERS": "k:1"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", change[1], err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "f.yaml:") {
			t.Errorf("%q: error %v without a line", change[1], err)
		}
	}
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"service.**", []string{"service", "service.a", "service.a.b"}, []string{"services", "x.service"}},
		{"system.auth", []string{"system.auth"}, []string{"system.auth.x", "system"}},
		{"a.*", []string{"a.b"}, []string{"a", "a.b.c"}},
		{"**", []string{"", "a", "a.b"}, nil},
		{"{service,system}.**", []string{"service.x", "system.auth"}, []string{"other"}},
		{"a b.c", []string{"a", "b.c"}, []string{"b", "a b.c"}},
		{"**.log", []string{"log", "a.log", "a.b.log"}, []string{"alog"}},
		{"a.**.z", []string{"a.z", "a.b.z", "a.b.c.z"}, []string{"a", "az"}},
		{"/^x\\d$/", []string{"x1"}, []string{"x", "x11"}},
		{"a+b", []string{"a+b"}, []string{"aab"}},
	} {
		p, err := ParsePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		for _, tag := range c.yes {
			if !p.Match(tag) {
				t.Errorf("%s does not match %q", c.pattern, tag)
			}
		}
		for _, tag := range c.no {
			if p.Match(tag) {
				t.Errorf("%s matches %q", c.pattern, tag)
			}
		}
	}
	for _, bad := range []string{"", "{a", "/(/"} {
		if _, err := ParsePattern(bad); err == nil {
			t.Errorf("pattern %q accepted", bad)
		}
	}
}

func TestTimeFormat(t *testing.T) {
	at := time.Date(2026, 11, 5, 4, 3, 2, 1234567, time.FixedZone("", 3600))
	for format, want := range map[string]string{
		"%Y-%m-%dT%H:%M:%S.%NZ":   "2026-11-05T04:03:02.001234567Z",
		"%FT%T.%L%:z":             "2026-11-05T04:03:02.001+01:00",
		"%b %e %H:%M:%S.%6N %% %": "Nov  5 04:03:02.001234 % %",
	} {
		f, err := parseTimeFormat(format)
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		if got := string(f.append(nil, at)); got != want {
			t.Errorf("%s: %q, want %q", format, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(shipped(f))
	f.Add([]byte("config:\n- source: {$type: forward}\n- match: {$tag: a, $type: rdkafka2, brokers: a, buffer: {$type: file, path: /x}}\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, _, err := Parse(in, "f", map[string]string{"KAFKA_BROKERS": "k:1"})
		if err != nil {
			return
		}
		for _, o := range c.Outputs {
			if b := o.Buffer; len(o.Brokers) == 0 || b.ChunkLimit <= 0 || b.TotalLimit <= 0 || b.FlushThreads < 1 || b.File && b.Path == "" {
				t.Errorf("accepted %+v", o)
			}
		}
	})
}
