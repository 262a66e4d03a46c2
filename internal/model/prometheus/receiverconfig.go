package prometheus

import (
	"errors"
	"strings"
	"time"

	triad "triad/internal/model"
)

// ReceiverConfig is what the receiver model takes from prometheus.yml and the container's arguments.
type ReceiverConfig struct {
	Jobs             []ScrapeJob       // the receiver scrapes its own cluster
	ExternalLabels   map[string]string // not added to stored samples, as in the real program
	OutOfOrderWindow time.Duration     // storage.tsdb.out_of_order_time_window
	Retention        time.Duration     // --storage.tsdb.retention.time or storage.tsdb.retention.time; default 15 d
	BlockDuration    time.Duration     // --storage.tsdb.min-block-duration (hidden), default 2 h; half of it is the in-order append limit
	Lookback         time.Duration     // --query.lookback-delta, default 5 min
	StoragePath      string            // --storage.tsdb.path
	ListenAddress    string            // --web.listen-address
	AcceptWrites     bool              // --web.enable-remote-write-receiver
	RuleFiles        []string          // rule_files: patterns of paths
	// EvaluationInterval is global.evaluation_interval, default 1 min: of rule groups that have none of their own.
	EvaluationInterval time.Duration
}

// AcceptanceWindow is how much older than the newest sample of all series a sample may be and still be accepted, provided that its series
// has nothing newer when the out-of-order window is shorter: the larger of half a block (tsdb.Head.appendableMinValidTime) and
// out_of_order_time_window.
func (c ReceiverConfig) AcceptanceWindow() time.Duration {
	return max(c.BlockDuration/2, c.OutOfOrderWindow)
}

// ParseReceiver reads prometheus.yml and the arguments of a container that runs Prometheus as a server which receives remote writes.
// Everything that the model does not honour is listed, alerting among it.
func ParseReceiver(config []byte, args []string) (ReceiverConfig, []triad.NotModelled, error) {
	c := ReceiverConfig{
		Retention: 15 * 24 * time.Hour, BlockDuration: 2 * time.Hour, Lookback: 5 * time.Minute, StoragePath: "data/",
		ListenAddress: "0.0.0.0:9090",
	}
	p := &parser{file: "prometheus.yml"}
	root := p.document(config)
	c.Jobs, c.ExternalLabels, c.EvaluationInterval = parseScrape(root)
	c.RuleFiles = root.strings("rule_files")
	if st, ok := root.child("storage"); ok {
		if db, ok := st.child("tsdb"); ok {
			db.duration("out_of_order_time_window", &c.OutOfOrderWindow)
			if r, ok := db.child("retention"); ok {
				r.duration("time", &c.Retention)
				r.rest("only retention by time is modelled")
			}
			db.rest("not modelled")
		}
		st.rest("not modelled")
	}
	root.note("alerting", "alerts are evaluated, not sent")
	root.note("remote_write", "the receiver does not forward")
	root.note("remote_read", "nothing is read from elsewhere")
	root.note("otlp", "only remote write 1.0 is received")
	root.note("tracing", "traces are not sent")
	root.rest("unknown to the model")
	notes, err := p.result()

	a := parseArguments(args)
	if a.flag("agent") {
		a.errs = append(a.errs, errors.New("args: --agent is set; this is an agent"))
	}
	c.AcceptWrites = a.flag("web.enable-remote-write-receiver")
	a.text("storage.tsdb.path", &c.StoragePath)
	a.text("web.listen-address", &c.ListenAddress)
	a.duration("storage.tsdb.retention.time", &c.Retention)
	a.duration("storage.tsdb.min-block-duration", &c.BlockDuration)
	a.duration("query.lookback-delta", &c.Lookback)
	a.accept("config.file", "log.level", "log.format", "web.enable-lifecycle", "web.enable-admin-api", "storage.tsdb.no-lockfile",
		"auto-gomemlimit", "auto-gomaxprocs", "web.page-title", "web.external-url", "web.config.file", "storage.tsdb.wal-compression")
	a.rest("flag is not modelled")
	if c.BlockDuration <= 0 || c.Lookback <= 0 || c.Retention <= 0 || strings.TrimSpace(c.ListenAddress) == "" {
		a.errs = append(a.errs, errors.New("args: block duration, look-back and retention must be > 0, the listen address not empty"))
	}
	return c, append(notes, a.notes...), errors.Join(append([]error{err}, a.errs...)...)
}
