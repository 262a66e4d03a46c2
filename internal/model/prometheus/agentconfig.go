package prometheus

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	triad "triad/internal/model"
)

// ScrapeJob is one entry of scrape_configs.
type ScrapeJob struct {
	Name            string
	Interval        time.Duration // between scrapes of one target
	Timeout         time.Duration // of one scrape, <= Interval
	Path            string        // metrics_path
	Scheme          string
	Params          url.Values
	HonorLabels     bool // labels of the exposition win over those of the target
	HonorTimestamps bool // explicit timestamps are kept
	SampleLimit     int  // samples after relabelling above which the scrape fails; 0 means no limit
	Static          []StaticGroup
	Discovered      bool // has a *_sd_configs: targets come from Options.Targets
	HTTP            HTTPConfig

	relabel       []relabelRule
	metricRelabel []relabelRule
}

// StaticGroup is one entry of static_configs.
type StaticGroup struct {
	Targets []string
	Labels  map[string]string
}

// RemoteWrite is one entry of remote_write.
type RemoteWrite struct {
	Name    string // label remote_name of the metrics; the real program takes a hash of the entry when it is not given
	URL     string
	Timeout time.Duration // of one attempt
	Headers map[string]string
	Queue   QueueConfig
	HTTP    HTTPConfig

	relabel []relabelRule
}

// QueueConfig is queue_config. Defaults are those of Prometheus 3.16 (config.DefaultQueueConfig).
type QueueConfig struct {
	Capacity          int           // samples that one shard holds
	MinShards         int           // >= 1
	MaxShards         int           // >= MinShards
	MaxSamplesPerSend int           // > 0
	BatchSendDeadline time.Duration // longest time that a sample waits for its batch to fill
	MinBackoff        time.Duration // first wait after a recoverable error; doubles
	MaxBackoff        time.Duration
	RetryOnRateLimit  bool          // retry_on_http_429
	SampleAgeLimit    time.Duration // samples older than this are dropped before sending; 0 means never
}

// AgentConfig is what the agent model takes from prometheus.yml and the container's arguments.
type AgentConfig struct {
	Jobs           []ScrapeJob
	ExternalLabels map[string]string // ${NAME} is expanded by New from Options.Env
	RemoteWrites   []RemoteWrite

	StoragePath       string        // --storage.agent.path
	ListenAddress     string        // --web.listen-address
	RetentionMin      time.Duration // --storage.agent.retention.min-time
	RetentionMax      time.Duration // --storage.agent.retention.max-time
	TruncateFrequency time.Duration // --storage.agent.wal-truncate-frequency (hidden)
	SegmentSize       int64         // --storage.agent.wal-segment-size (hidden), bytes
	FlushDeadline     time.Duration // --storage.remote.flush-deadline
}

// defaults of Prometheus 3.16: tsdb/agent/db.go, config/config.go, cmd/prometheus/main.go.
const (
	defaultScrapeInterval    = time.Minute
	defaultScrapeTimeout     = 10 * time.Second
	defaultRemoteTimeout     = 30 * time.Second
	defaultTruncateFrequency = 2 * time.Hour
	defaultRetentionMin      = 5 * time.Minute
	defaultRetentionMax      = 4 * time.Hour
	defaultSegmentSize       = 128 << 20
	defaultFlushDeadline     = time.Minute
)

func itoa(i int) string { return strconv.Itoa(i) }

// ParseAgent reads prometheus.yml and the arguments of a container that runs Prometheus with --agent. Everything that the model does
// not honour is listed; what the real program refuses to start with is an error, all faults joined.
func ParseAgent(config []byte, args []string) (AgentConfig, []triad.NotModelled, error) {
	c := AgentConfig{
		StoragePath: "data-agent/", ListenAddress: "0.0.0.0:9090", RetentionMin: defaultRetentionMin,
		RetentionMax: defaultRetentionMax, TruncateFrequency: defaultTruncateFrequency, SegmentSize: defaultSegmentSize,
		FlushDeadline: defaultFlushDeadline,
	}
	a := parseArguments(args)
	if !a.flag("agent") {
		a.errs = append(a.errs, errors.New("args: --agent is not set; this is a server"))
	}
	a.text("storage.agent.path", &c.StoragePath)
	a.text("web.listen-address", &c.ListenAddress)
	a.duration("storage.agent.retention.min-time", &c.RetentionMin)
	a.duration("storage.agent.retention.max-time", &c.RetentionMax)
	a.duration("storage.agent.wal-truncate-frequency", &c.TruncateFrequency)
	a.bytes("storage.agent.wal-segment-size", &c.SegmentSize)
	a.duration("storage.remote.flush-deadline", &c.FlushDeadline)
	a.accept("config.file", "log.level", "log.format", "web.enable-lifecycle", "storage.agent.no-lockfile", "auto-gomemlimit", "auto-gomaxprocs",
		"storage.agent.wal-compression")
	a.rest("flag is not modelled")
	if c.TruncateFrequency <= 0 {
		c.TruncateFrequency = defaultTruncateFrequency
	}
	if c.RetentionMin > c.RetentionMax {
		a.errs = append(a.errs, fmt.Errorf("args: retention.min-time %v is above retention.max-time %v", c.RetentionMin, c.RetentionMax))
	}

	p := &parser{file: "prometheus.yml"}
	root := p.document(config)
	c.Jobs, c.ExternalLabels, _ = parseScrape(root)
	for i, n := range root.list("remote_write") {
		c.RemoteWrites = append(c.RemoteWrites, parseRemoteWrite(p.section("remote_write["+itoa(i)+"]", n), i))
	}
	if len(c.RemoteWrites) == 0 {
		p.fault(root.node.Line, "remote_write", "at least one remote_write target must be specified in agent mode")
	}
	for _, k := range []string{"alerting", "rule_files", "remote_read"} {
		if n := root.take(k); n != nil {
			p.fault(n.Line, k, "field %s is not allowed in agent mode", k)
		}
	}
	if st, ok := root.child("storage"); ok {
		st.rest("the agent model refuses every sample that is not newer than the last of its series")
	}
	root.note("tracing", "traces are not sent")
	root.rest("unknown to the model")
	notes, err := p.result()
	return c, append(notes, a.notes...), errors.Join(append([]error{err}, a.errs...)...)
}

// parseScrape reads global and scrape_configs, which the agent and the receiver share.
func parseScrape(root section) ([]ScrapeJob, map[string]string, time.Duration) {
	interval, timeout := defaultScrapeInterval, defaultScrapeTimeout
	evaluation := time.Minute // DefaultGlobalConfig
	g, _ := root.child("global")
	g.duration("scrape_interval", &interval)
	_, timeoutSet := g.scalar("scrape_timeout")
	g.duration("scrape_timeout", &timeout)
	if timeoutSet == nil {
		timeout = min(timeout, interval)
	}
	external := g.labels("external_labels")
	g.duration("evaluation_interval", &evaluation)
	g.accept("query_log_file")
	g.note("scrape_protocols", "the text format is asked for first, then OpenMetrics")
	g.rest("not modelled; the default holds")
	var jobs []ScrapeJob
	names := map[string]bool{}
	for i, n := range root.list("scrape_configs") {
		j := parseJob(root.p.section("scrape_configs["+itoa(i)+"]", n), interval, timeout)
		if names[j.Name] {
			root.p.fault(n.Line, "scrape_configs", "found multiple scrape configs with job name %q", j.Name)
		}
		names[j.Name] = true
		jobs = append(jobs, j)
	}
	root.note("scrape_config_files", "jobs in other files are not read")
	return jobs, external, evaluation
}

func parseJob(s section, interval, timeout time.Duration) ScrapeJob {
	j := ScrapeJob{Interval: interval, Timeout: timeout, Path: "/metrics", Scheme: "http", HonorTimestamps: true}
	s.text("job_name", &j.Name)
	if j.Name == "" {
		s.p.fault(s.node.Line, s.join("job_name"), "job_name is empty")
	}
	_, intervalSet := s.scalar("scrape_interval")
	s.duration("scrape_interval", &j.Interval)
	_, timeoutSet := s.scalar("scrape_timeout")
	s.duration("scrape_timeout", &j.Timeout)
	if timeoutSet == nil && intervalSet != nil {
		j.Timeout = min(j.Timeout, j.Interval)
	}
	if j.Interval <= 0 {
		s.p.fault(s.node.Line, s.join("scrape_interval"), "must be > 0")
	}
	if j.Timeout > j.Interval {
		s.p.fault(s.node.Line, s.join("scrape_timeout"), "scrape timeout greater than scrape interval for scrape config with job name %q", j.Name)
	}
	s.text("metrics_path", &j.Path)
	s.text("scheme", &j.Scheme)
	s.flag("honor_labels", &j.HonorLabels)
	s.flag("honor_timestamps", &j.HonorTimestamps)
	s.count("sample_limit", &j.SampleLimit)
	if ps, ok := s.child("params"); ok {
		j.Params = url.Values{}
		for k := range ps.keys {
			j.Params[k] = ps.strings(k)
		}
	}
	j.HTTP = parseHTTPConfig(s)
	j.relabel = parseRelabel(s, "relabel_configs")
	j.metricRelabel = parseRelabel(s, "metric_relabel_configs")
	for i, n := range s.list("static_configs") {
		g := s.p.section(s.join("static_configs")+"["+itoa(i)+"]", n)
		j.Static = append(j.Static, StaticGroup{Targets: g.strings("targets"), Labels: g.labels("labels")})
		g.rest("unknown key of static_configs")
	}
	for k, n := range s.keys {
		if strings.HasSuffix(k, "_sd_configs") && s.take(k) != nil {
			j.Discovered = true
			s.p.note(scalarOf(n, "service discovery"), s.join(k), "targets are not discovered; the runtime gives them")
		}
	}
	s.note("scrape_protocols", "the text format is asked for first, then OpenMetrics")
	s.note("fallback_scrape_protocol", "an unknown content type is read as text")
	s.accept("enable_compression", "always_scrape_classic_histograms", "metric_name_validation_scheme")
	s.rest("not modelled; the default holds")
	return j
}

// scalarOf stands for a long node in the list of what is not modelled.
func scalarOf(n *yaml.Node, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: value, Line: n.Line}
}

func parseRemoteWrite(s section, i int) RemoteWrite {
	w := RemoteWrite{Name: "remote-" + itoa(i), Timeout: defaultRemoteTimeout, Queue: QueueConfig{
		Capacity: 10000, MinShards: 1, MaxShards: 50,
		MaxSamplesPerSend: 2000, BatchSendDeadline: 5 * time.Second, MinBackoff: 30 * time.Millisecond, MaxBackoff: 5 * time.Second,
	}}
	s.text("name", &w.Name)
	s.text("url", &w.URL)
	if u, err := url.Parse(w.URL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		s.p.fault(s.node.Line, s.join("url"), "%q is not an http URL", w.URL)
	}
	s.duration("remote_timeout", &w.Timeout)
	w.Headers = s.labels("headers")
	w.relabel = parseRelabel(s, "write_relabel_configs")
	w.HTTP = parseHTTPConfig(s)
	if m, ok := s.child("metadata_config"); ok {
		m.accept("send", "send_interval", "max_samples_per_send")
		m.rest("unknown key of metadata_config")
	}
	s.note("protobuf_message", "remote write 1.0 is sent")
	for _, k := range []string{"send_exemplars", "send_native_histograms"} {
		s.note(k, "only float samples are sent")
	}
	q, _ := s.child("queue_config")
	q.count("capacity", &w.Queue.Capacity)
	q.count("min_shards", &w.Queue.MinShards)
	q.count("max_shards", &w.Queue.MaxShards)
	q.count("max_samples_per_send", &w.Queue.MaxSamplesPerSend)
	q.duration("batch_send_deadline", &w.Queue.BatchSendDeadline)
	q.duration("min_backoff", &w.Queue.MinBackoff)
	q.duration("max_backoff", &w.Queue.MaxBackoff)
	q.flag("retry_on_http_429", &w.Queue.RetryOnRateLimit)
	q.duration("sample_age_limit", &w.Queue.SampleAgeLimit)
	q.rest("unknown key of queue_config")
	if w.Queue.MaxSamplesPerSend < 1 || w.Queue.MinShards < 1 || w.Queue.MaxShards < w.Queue.MinShards || w.Queue.BatchSendDeadline <= 0 ||
		w.Queue.MinBackoff <= 0 || w.Queue.MaxBackoff < w.Queue.MinBackoff {
		s.p.fault(s.node.Line, s.join("queue_config"), "shards and max_samples_per_send must be >= 1, deadline and back-offs > 0, min not above max")
	}
	s.rest("not modelled; the default holds")
	return w
}
