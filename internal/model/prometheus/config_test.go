package prometheus

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"
)

func TestParseAgent(t *testing.T) {
	cfg, notes, err := ParseAgent([]byte(readFile(t, "testdata/agent.yml")), []string{
		"--agent", "--config.file=/etc/prometheus/prometheus.yml",
		"--storage.agent.path=/prometheus", "--storage.agent.retention.max-time=2h", "--storage.agent.wal-compression", "--web.listen-address", ":9090",
		"--storage.agent.wal-segment-size=16MB", "--storage.agent.unheard-of=1",
	})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.RetentionMax != 2*time.Hour || cfg.RetentionMin != 5*time.Minute || cfg.TruncateFrequency != 2*time.Hour || cfg.SegmentSize != 16<<20 ||
		cfg.StoragePath != "/prometheus" || cfg.ListenAddress != ":9090" {
		t.Errorf("arguments: %+v", cfg)
	}
	want := QueueConfig{
		Capacity: 5000, MinShards: 1, MaxShards: 4, MaxSamplesPerSend: 1000, BatchSendDeadline: time.Second,
		MinBackoff: 100 * time.Millisecond, MaxBackoff: 5 * time.Second, RetryOnRateLimit: true,
	}
	if d := cmp.Diff(want, cfg.RemoteWrites[0].Queue); d != "" {
		t.Error(d)
	}
	if w := cfg.RemoteWrites[0]; w.Name != "central" || w.Timeout != 10*time.Second || w.HTTP.UserFile == "" || w.HTTP.PasswordFile == "" {
		t.Errorf("remote write: %+v", w)
	}
	if cfg.ExternalLabels["cluster"] != "${CLUSTER}" {
		t.Errorf("external labels %v", cfg.ExternalLabels)
	}
	if j := cfg.Jobs[0]; j.Interval != 5*time.Second || j.Timeout != 4*time.Second || !j.Discovered || len(j.relabel) != 2 {
		t.Errorf("job: %+v", j)
	}
	if j := cfg.Jobs[1]; j.Interval != 15*time.Second || j.Scheme != "https" || !j.HTTP.InsecureSkipVerify || len(j.metricRelabel) != 1 {
		t.Errorf("job: %+v", j)
	}
	var got []string
	for _, n := range notes {
		if n.Why == "" {
			t.Errorf("%v has no reason", n)
		}
		got = append(got, n.Key)
	}
	wantNotes := []string{
		"scrape_configs[0].kubernetes_sd_configs", "scrape_configs[0].body_size_limit", "scrape_configs[1].metric_relabel_configs[1]",
		"scrape_configs[1].no_such_key", "remote_write[0].send_exemplars", "tracing", "--storage.agent.unheard-of",
	}
	if d := cmp.Diff(wantNotes, got); d != "" {
		t.Error(d)
	}
	for _, n := range notes[:len(notes)-1] {
		if n.Line == 0 {
			t.Errorf("%v has no line", n)
		}
	}
}

// TestParseBad: each file in testdata/bad begins with the wanted message.
func TestParseBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		text := readFile(t, f)
		first, _, _ := strings.Cut(text, "\n")
		want, ok := strings.CutPrefix(first, "# want: ")
		if !ok {
			t.Fatalf("%s does not begin with # want:", f)
		}
		parse := func() error { _, _, err := ParseAgent([]byte(text), []string{"--agent"}); return err }
		if strings.HasPrefix(filepath.Base(f), "receiver-") {
			parse = func() error { _, _, err := ParseReceiver([]byte(text), nil); return err }
		}
		if err := parse(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", f, err, want)
		}
	}
	for _, args := range [][]string{
		nil,
		{"--agent", "--storage.agent.retention.max-time=soon"},
		{"--agent", "--storage.agent.wal-segment-size=big"},
		{"--agent", "--storage.agent.retention.max-time=1m"},
	} {
		if _, _, err := ParseAgent([]byte("remote_write: [{url: 'http://x/'}]"), args); err == nil {
			t.Errorf("arguments %v were accepted", args)
		}
	}
	if _, _, err := ParseReceiver(nil, []string{"--agent"}); err == nil {
		t.Error("an agent was accepted as receiver")
	}
}

func TestParseReceiver(t *testing.T) {
	cfg, notes, err := ParseReceiver([]byte("storage: {tsdb: {out_of_order_time_window: 3h, retention: {time: 1d, size: 1GB}}}\nrule_files: [a.yml]\nalerting: {}\n"),
		[]string{"--web.enable-remote-write-receiver", "--storage.tsdb.path=/p", "--storage.tsdb.retention.size=1GB"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.OutOfOrderWindow != 3*time.Hour || cfg.Retention != 24*time.Hour || !cfg.AcceptWrites || cfg.AcceptanceWindow() != 3*time.Hour || cfg.Lookback != 5*time.Minute {
		t.Errorf("%+v", cfg)
	}
	var keys []string
	for _, n := range notes {
		keys = append(keys, n.Key)
	}
	if d := cmp.Diff([]string{"storage.tsdb.retention.size", "alerting", "--storage.tsdb.retention.size"}, keys); d != "" {
		t.Error(d)
	}
	if cfg, _, err = ParseReceiver(nil, nil); err != nil || cfg.AcceptanceWindow() != time.Hour || cfg.AcceptWrites {
		t.Errorf("defaults: %+v %v", cfg, err)
	}
}

func TestRelabel(t *testing.T) {
	cases := []struct{ rules, want string }{
		{`[{source_labels: [a], target_label: d}]`, `{a="x", b="y-1", d="x"}`},
		{`[{source_labels: [a, b], separator: "/", regex: "(.*)/y-(.*)", target_label: "n_$2", replacement: "${1}z"}]`, `{a="x", b="y-1", n_1="xz"}`},
		{`[{source_labels: [a], regex: nothing, target_label: d}]`, `{a="x", b="y-1"}`},
		{`[{target_label: a, replacement: ""}]`, `{b="y-1"}`},
		{`[{source_labels: [a], regex: x, action: keep}]`, `{a="x", b="y-1"}`},
		{`[{source_labels: [a], regex: "[^x]", action: Keep}]`, `gone`},
		{`[{source_labels: [a], regex: x, action: drop}]`, `gone`},
		{`[{regex: "a|c", action: labeldrop}]`, `{b="y-1"}`},
		{`[{regex: "a|c", action: labelkeep}]`, `{a="x"}`},
		{`[{regex: "(.)", replacement: "l_$1", action: labelmap}]`, `{a="x", b="y-1", l_a="x", l_b="y-1"}`},
		{`[{source_labels: [b], target_label: b, action: uppercase}]`, `{a="x", b="Y-1"}`},
		{`[{source_labels: [b], target_label: b, action: uppercase}, {source_labels: [b], target_label: b, action: lowercase}]`, `{a="x", b="y-1"}`},
		{`[{source_labels: [a], target_label: b, action: keepequal}]`, `gone`},
		{`[{source_labels: [a], target_label: b, action: dropequal}]`, `{a="x", b="y-1"}`},
	}
	for _, c := range cases {
		p := &parser{file: "x"}
		rules := parseRelabel(p.document([]byte("r: "+c.rules)), "r")
		if _, err := p.result(); err != nil {
			t.Errorf("%s: %v", c.rules, err)
			continue
		}
		m := map[string]string{"a": "x", "b": "y-1"}
		got := "gone"
		if relabel(m, rules) {
			got = LabelsFrom(m).String()
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.rules, got, c.want)
		}
	}
}

// TestTargetsAndLabels follows targets of three kinds through relabelling, and a clash of labels.
func TestTargetsAndLabels(t *testing.T) {
	t.Parallel()
	tgt := newTarget(t)
	tgt.extra.Store("clash{job=\"mine\",node=\"n\"} 1\ntimed 1 " + "1000" + "\n")
	r, _ := startReceiver(t, t.TempDir(), "")
	config := `
scrape_configs:
  - job_name: pods
    scrape_interval: 50ms
    kubernetes_sd_configs: [{role: pod}]
    relabel_configs:
      - {source_labels: [__meta_port], regex: metrics, action: keep}
      - {source_labels: [__meta_pod], target_label: pod}
    metric_relabel_configs:
      - {source_labels: [__name__], regex: passing, action: drop}
  - job_name: honest
    scrape_interval: 50ms
    honor_labels: true
    static_configs: [{targets: ['` + tgt.addr() + `']}]
    relabel_configs: [{target_label: site, replacement: one}]
remote_write:
  - url: http://` + r.Addr().String() + `/api/v1/write
    write_relabel_configs: [{source_labels: [__name__], regex: scrape_.*, action: drop}]
    queue_config: {batch_send_deadline: 50ms}
`
	cfg, _, err := ParseAgent([]byte(config), []string{"--agent", "--web.listen-address=127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(cfg, Options{Root: t.TempDir(), Timing: quick(), Targets: map[string][]Target{"pods": {
		{Address: tgt.addr(), Labels: map[string]string{"__meta_port": "metrics", "__meta_pod": "p-0", "instance": "i"}},
		{Address: tgt.addr(), Labels: map[string]string{"__meta_port": "http", "__meta_pod": "p-1"}},
		{Address: tgt.addr(), Labels: map[string]string{"pod": "p-2", "instance": "j"}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	start(t, a.Run, a.Ready())
	begin := time.Now().Add(-time.Hour)
	eventually(t, 5*time.Second, "three targets are up", func() bool { return len(raw(t, r, "up", begin, time.Now())) == 3 })
	var names []string
	for _, s := range raw(t, r, `{__name__=~"up|clash|passing|scrape_.*"}`, begin, time.Now()) {
		names = append(names, s.Name())
	}
	slices.Sort(names)
	addr := tgt.addr()
	want := []string{
		`clash{exported_job="mine",instance="i",job="pods",node="n",pod="p-0"}`,
		`clash{exported_job="mine",instance="j",job="pods",node="n",pod="p-2"}`,
		`clash{instance="` + addr + `",job="mine",node="n",site="one"}`,
		`passing{instance="` + addr + `",job="honest",site="one"}`,
		`up{instance="` + addr + `",job="honest",site="one"}`,
		`up{instance="i",job="pods",pod="p-0"}`,
		`up{instance="j",job="pods",pod="p-2"}`,
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
	if n := metric(t, a.Addr(), "prometheus_remote_storage_samples_dropped_total"); n == 0 {
		t.Error("write relabelling dropped nothing")
	}
}

func TestBasicAuth(t *testing.T) {
	t.Parallel()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	cfg, _, err := ParseReceiver(nil, []string{"--web.enable-remote-write-receiver", "--web.listen-address=127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	r, notes, err := NewReceiver(cfg, ReceiverOptions{Options: Options{Root: t.TempDir()}, WebConfig: []byte("basic_auth_users: {agent: '" + string(hash) + "'}\nrate_limit: {}\n")})
	if err != nil || len(notes) != 1 {
		t.Fatal(err, notes)
	}
	start(t, r.Run, r.Ready())
	tgt := newTarget(t)
	root := t.TempDir()
	for name, content := range map[string]string{"user": "agent\n", "pass": "secret\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	yml := strings.Replace(agentYAML("50ms", tgt, r.Addr().String(), ""), "    queue_config", "    basic_auth: {username_file: /user, password_file: /pass}\n    queue_config", 1)
	a, _ := startAgent(t, root, yml, nil)
	eventually(t, 5*time.Second, "something accepted", func() bool { return metric(t, a.Addr(), "prometheus_remote_storage_bytes_total") > 0 })
	if _, err := api(r).Query(context.Background(), "up", time.Now()); err == nil {
		t.Error("a query without password was answered")
	}
	c := api(r)
	c.User, c.Password = "agent", "secret"
	if s, err := c.Query(context.Background(), "up", time.Now()); err != nil || len(s) != 1 {
		t.Errorf("%v %v", s, err)
	}
	c.Password = "wrong"
	if _, err := c.Query(context.Background(), "up", time.Now()); err == nil {
		t.Error("a wrong password was taken")
	}
}

func TestReceiverRefusesWritesUnlessEnabled(t *testing.T) {
	t.Parallel()
	cfg, _, err := ParseReceiver(nil, []string{"--web.listen-address=127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := NewReceiver(cfg, ReceiverOptions{Options: Options{Root: t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	start(t, r.Run, r.Ready())
	c := call{Write: []written{w("__name__=a", 0, "1")}}
	if status, answer := c.do(t, time.Now(), "http://"+r.Addr().String()); status != http.StatusNotFound || !strings.Contains(answer, "--web.enable-remote-write-receiver") {
		t.Errorf("%d %s", status, answer)
	}
}
