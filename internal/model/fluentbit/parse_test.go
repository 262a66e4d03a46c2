package fluentbit

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseShipped(t *testing.T) {
	c, notes, err := Parse([]byte(shipped(t)), "fluent-bit.yaml", map[string]string{"NODE_NAME": "n1", "FLUENTD_HOST": "fluentd"})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range notes {
		t.Errorf("not modelled: %s", n)
	}
	var inputs []string
	for _, in := range c.Inputs {
		inputs = append(inputs, in.Tag+" "+strings.Join(in.Paths, ","))
	}
	want := []string{
		"service.* /var/log/containers/*_datacenter_service-inputgen-*.log", "canary.* /var/log/containers/*_datacenter_canary-inputgen-*.log", "system.auth /var/log/auth.log",
		"system.kmsg /var/log/kern.log", "system.syslog /var/log/syslog",
	}
	if d := cmp.Diff(want, inputs); d != "" {
		t.Error(d)
	}
	in := Tail{
		Name: "service", Tag: "service.*", Paths: []string{"/var/log/containers/*_datacenter_service-inputgen-*.log"}, Key: "log", PathKey: "file", CRI: true,
		DB: "/var/lib/fluent-bit/tail-service.db", FromHead: true, NewFromHead: true, Refresh: 2 * time.Second, RotateWait: 30 * time.Second,
		BufferSize: 256000, BufferMax: 1000000, SkipLong: true, Storage: Storage{Filesystem: true, MemLimit: 50e6},
	}
	if d := cmp.Diff(in, c.Inputs[0]); d != "" {
		t.Error(d)
	}
	out := Forward{
		Name: "fluentd", MatchRegex: `^(service|canary)\.|^system\.(auth|kmsg|syslog)$`, Host: "fluentd", Port: 24224, RequireAck: true, RetryLimit: Unlimited, TotalLimit: 2e9, ConnectTimeout: 5 * time.Second,
		IOTimeout: time.Minute, Keepalive: true, KeepaliveIdle: 30 * time.Second, MaxRecycle: 2000, SelfHostname: "localhost",
	}
	metrics := out
	metrics.Name, metrics.Match, metrics.MatchRegex, metrics.TotalLimit = "system-metrics", "system.metrics.*", "", 32e6
	if d := cmp.Diff([]Forward{out, metrics}, c.Outputs); d != "" {
		t.Error(d)
	}
	node := Storage{Filesystem: true, MemLimit: 1e6}
	if d := cmp.Diff([]Collector{
		{Name: "system-metrics-cpu", Kind: "cpu", Tag: "system.metrics.cpu", Interval: 10 * time.Second, Storage: node},
		{Name: "system-metrics-mem", Kind: "mem", Tag: "system.metrics.mem", Interval: 10 * time.Second, Storage: node},
	}, c.Collectors); d != "" {
		t.Error(d)
	}
	c.Inputs, c.Collectors, c.Filters, c.Outputs = nil, nil, nil, nil
	svc := Config{
		File: "fluent-bit.yaml", Flush: time.Second, Grace: 30 * time.Second, HTTP: true, HTTPListen: "0.0.0.0", HTTPPort: 2020,
		Health:      Health{On: true, Errors: 5, RetryFailures: 5, Period: time.Minute},
		StoragePath: "/var/lib/fluent-bit/storage", StorageMetrics: true, MaxChunksUp: 128, BacklogLimit: 16e6, SchedulerBase: 1, SchedulerCap: 30,
	}
	if d := cmp.Diff(svc, c); d != "" {
		t.Error(d)
	}
}

func TestParseNotes(t *testing.T) {
	text := strings.Replace(shipped(t), "  flush: 1\n", "  flush: 1\n  coro_stack_size: 1\n", 1)
	text = strings.Replace(text, "net.keepalive: true", "tls: on\n      Surprise: 1", 1)
	_, notes, err := Parse([]byte(text), "f.yaml", nil)
	if err == nil || !strings.Contains(err.Error(), "host is empty") {
		t.Errorf("error %v: the host comes from the environment, and it is empty", err)
	}
	var keys []string
	for _, n := range notes {
		if n.Line == 0 || n.Why == "" {
			t.Errorf("incomplete note %+v", n)
		}
		keys = append(keys, n.Key)
	}
	if d := cmp.Diff([]string{"service.coro_stack_size", "pipeline.outputs[0].tls", "pipeline.outputs[0].surprise"}, keys); d != "" {
		t.Error(d)
	}
}

func TestParseFaults(t *testing.T) {
	for change, want := range map[[2]string]string{
		{"flush: 1\n", "flush: soon\n"}:                                       "service.flush",
		{"mem_buf_limit: 50M", "mem_buf_limit: 50MiB"}:                        "is no size",
		{"retry_limit: no_limits", "retry_limit: -3"}:                         "retry_limit",
		{"scheduler.cap: 30", "scheduler.cap: 0"}:                             "above 0",
		{"scheduler.base: 1", "scheduler.base: 60"}:                           "below scheduler.base",
		{"rotate_wait: 30", "rotate_wait: 0"}:                                 "more than 0",
		{"require_ack_response: true", "require_ack_response: maybe"}:         "is no boolean",
		{"- host ${NODE_NAME}", "- host"}:                                     "no key and value",
		{"  storage.path: /var/lib/fluent-bit/storage\n", ""}:                 "needs service.storage.path",
		{"alias: system-auth", "alias: service"}:                              "two inputs",
		{"- name: forward", "- name: kafka"}:                                  "no output matches the tag service.*",
		{"  outputs:\n", "  exits:\n"}:                                        "no output of type forward",
		{"path: /var/log/auth.log", "path: ''"}:                               "needs a path",
		{"tag: service.*", "tag: '*.*'"}:                                      "more than one star",
		{"tag: system.auth", "tag: system.audit"}:                             "no output matches the tag system.audit of the input system-auth",
		{"match: 'system.metrics.*'\n      host", "match: other\n      host"}: "no output matches the tag system.metrics.cpu",
		{"alias: system-metrics-mem", "alias: system-auth"}:                   "two inputs",
		{"alias: system-metrics\n      match: 'system.metrics.*'\n      host", "alias: fluentd\n      match: 'system.metrics.*'\n      host"}: "two outputs",
		{"match_regex: '^(service", "match_regex: '^(?!service"}:                                                                              "regular expression that the model has not",
		{"interval_sec: 10", "interval_sec: often"}:                                                                                           "interval_sec",
	} {
		text := strings.Replace(shipped(t), change[0], change[1], 1)
		if text == shipped(t) {
			t.Errorf("%q is not in the file", change[0])
			continue
		}
		_, _, err := Parse([]byte(text), "f.yaml", map[string]string{"FLUENTD_HOST": "f"})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "f.yaml:") {
			t.Errorf("%q: error %v, want %q with a line", change[1], err, want)
		}
	}
}

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "1", "EMPTY": ""}
	for in, want := range map[string]string{"${A}": "1", "x${A}y${A}": "x1y1", "${B}": "", "${B:-d}": "d", "${EMPTY:-d}": "d", "${A:-d}": "1", "$A": "$A", "${": "${"} {
		if got := expand(in, vars); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, tag string
		want         bool
	}{
		{"*", "a.b", true},
		{"a.b", "a.b", true},
		{"a.b", "a.bc", false},
		{"a.*", "a.b.c", true},
		{"*.c", "a.b.c", true},
		{"a.*.d", "a.b.c.d", true},
		{"a.*.d", "a.d", false},
		{"*b*", "abc", true},
		{"*x*", "abc", false},
	} {
		if got := match(c.pattern, c.tag); got != c.want {
			t.Errorf("match(%q, %q) = %v", c.pattern, c.tag, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(shipped(f)))
	f.Add([]byte("pipeline:\n  inputs:\n  - {name: tail, path: /x}\n  outputs:\n  - {name: forward, match: '*'}\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, _, err := Parse(in, "f", map[string]string{"FLUENTD_HOST": "f"})
		if err != nil {
			return
		}
		if len(c.Inputs)+len(c.Collectors) == 0 || c.Flush <= 0 || c.SchedulerBase < 1 || c.SchedulerCap < c.SchedulerBase || c.MaxChunksUp < 1 {
			t.Errorf("accepted %+v", c)
		}
		for _, i := range c.Inputs {
			if i.Refresh <= 0 || i.RotateWait <= 0 || i.BufferSize < 16 || i.BufferMax < i.BufferSize {
				t.Errorf("accepted %+v", i)
			}
		}
	})
}
