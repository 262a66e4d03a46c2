package connect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/model"
)

// Options are what the resources do not say: where things are and how to reach them.
type Options struct {
	// Brokers are seed brokers; empty takes those of the configuration.
	Brokers []string
	// KafkaOpts are added to every Kafka client: SASL, mainly. They must not set a dialer; use Dial and KafkaTLS.
	KafkaOpts []kgo.Opt
	// KafkaTLS encrypts connections to brokers; nil does not.
	KafkaTLS *tls.Config
	// ElasticURL replaces connection.url when it is not empty.
	ElasticURL string
	// ElasticTLS is used for https URLs; nil trusts the system's authorities.
	ElasticTLS *tls.Config
	// Secret resolves a value that refers to a configuration provider, such as ${secrets:monitoring/es:password}; nil
	// makes such a value in connection.username or connection.password an error.
	Secret func(ref string) (string, error)
	// Dial opens connections to brokers and Elasticsearch; nil is a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Listen opens the listeners of the REST interface and of the exporter; nil is net.Listen.
	Listen func(network, addr string) (net.Listener, error)
	// RESTAddr and MetricsAddr are given to Listen; empty means :8083 and :9404.
	RESTAddr, MetricsAddr string
	// WorkerID is what the REST interface calls the worker; empty means the REST listener's address.
	WorkerID string
	// StartTime is how long the process needs before its REST interface answers and its tasks start; a real worker was
	// measured at 10 to 18 s. 0 is none.
	StartTime time.Duration
	// Seed makes the jitter of retries repeatable.
	Seed uint64
	// Logger gets what a worker logs; nil discards.
	Logger *slog.Logger
}

// Model is one worker. Create it with New and Run it once.
type Model struct {
	cfg  Config
	opts Options
	log  *slog.Logger
	wire *wire

	connectors map[string]*connector
	frozen     freezer

	mu       sync.Mutex
	ready    chan struct{}
	restAt   string
	metricAt string
	began    time.Time
}

// New checks the configuration against the options. Nothing is opened before Run.
func New(cfg Config, opts Options) (*Model, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Listen == nil {
		opts.Listen = net.Listen
	}
	if opts.RESTAddr == "" {
		opts.RESTAddr = ":8083"
	}
	if opts.MetricsAddr == "" {
		opts.MetricsAddr = ":9404"
	}
	if len(opts.Brokers) == 0 {
		opts.Brokers = cfg.Brokers
	}
	if len(opts.Brokers) == 0 {
		return nil, errors.New("connect: no brokers")
	}
	m := &Model{cfg: cfg, opts: opts, log: opts.Logger, wire: newWire(opts.Dial), connectors: map[string]*connector{}, ready: make(chan struct{})}
	for i := range cfg.Connectors {
		c := cfg.Connectors[i]
		if err := m.resolve(&c.Sink); err != nil {
			return nil, fmt.Errorf("connector %s: %w", c.Name, err)
		}
		m.connectors[c.Name] = newConnector(m, c)
	}
	return m, nil
}

// resolve completes the sink's connection settings from the options.
func (m *Model) resolve(s *Sink) error {
	for _, v := range []*string{&s.Username, &s.Password} {
		if !strings.HasPrefix(*v, "${") {
			continue
		}
		if m.opts.Secret == nil {
			return errors.New("connection.username or connection.password refers to a configuration provider and no secret is given")
		}
		text, err := m.opts.Secret(*v)
		if err != nil {
			return fmt.Errorf("secret %s: %w", *v, err)
		}
		*v = text
	}
	if m.opts.ElasticURL != "" {
		s.URLs = []string{m.opts.ElasticURL}
	}
	if len(s.URLs) == 0 {
		return errors.New("no connection.url")
	}
	for i, u := range s.URLs {
		if !strings.Contains(u, "://") {
			u = "http://" + u
		}
		s.URLs[i] = strings.TrimRight(u, "/")
	}
	return nil
}

// kafkaOpts are the options of every Kafka client of the worker.
func (m *Model) kafkaOpts() []kgo.Opt {
	opts := []kgo.Opt{kgo.SeedBrokers(m.opts.Brokers...)}
	opts = append(opts, m.opts.KafkaOpts...)
	return append(opts, kgo.Dialer(over(m.wire.toBroker, m.opts.KafkaTLS)))
}

// Ready is closed when the REST interface answers and the tasks were started.
func (m *Model) Ready() <-chan struct{} { return m.ready }

// RESTAddr is the address of the REST interface, "" before Ready.
func (m *Model) RESTAddr() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.restAt
}

// MetricsAddr is the address of the exporter, "" before Ready and when the configuration has no metrics.
func (m *Model) MetricsAddr() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.metricAt
}

// Run opens the listeners, starts the tasks and returns when ctx has ended and everything has stopped. A cause of
// model.ErrKilled is a crash: connections break, no offset is committed, no group is left, so that the brokers miss
// the members only after their session timeout. Any other cause is an orderly stop. Nothing survives a run but what
// Kafka and Elasticsearch keep.
func (m *Model) Run(ctx context.Context) error {
	if m.opts.StartTime > 0 {
		t := time.NewTimer(m.opts.StartTime)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
	rest, err := m.opts.Listen("tcp", m.opts.RESTAddr)
	if err != nil {
		return fmt.Errorf("connect rest listener: %w", err)
	}
	servers := []*server{serve(rest, m.restHandler(), m.log)}
	defer func() {
		for _, s := range servers {
			s.close()
		}
	}()
	m.mu.Lock()
	m.restAt, m.began = rest.Addr().String(), time.Now()
	m.mu.Unlock()
	if m.cfg.Metrics != nil {
		ln, err := m.opts.Listen("tcp", m.opts.MetricsAddr)
		if err != nil {
			return fmt.Errorf("connect metrics listener: %w", err)
		}
		servers = append(servers, serve(ln, m.metricsHandler(), m.log))
		m.mu.Lock()
		m.metricAt = ln.Addr().String()
		m.mu.Unlock()
	}
	for _, c := range m.connectors {
		c.begin()
	}
	close(m.ready)
	var group sync.WaitGroup
	group.Go(func() { m.belong(ctx) })
	m.operate(ctx)
	killed := errors.Is(context.Cause(ctx), model.ErrKilled)
	if killed {
		m.wire.kill(m.silence())
	}
	group.Wait()
	m.each(func(c *connector) { c.end(killed) })
	return nil
}

// Freeze stops or continues the clock of the worker's place in its group, as SIGSTOP and SIGCONT do: a worker that was stopped for
// longer than its session goes on with its tasks when it is back, where one that could not reach the brokers gives them up. The
// caller holds its traffic; tasks and their consumers only feel that.
func (m *Model) Freeze(on bool) { m.frozen.set(on) }

// silence is how long the sockets of a killed worker stay open: until the brokers have missed each of its members, which
// takes two sessions when one waited for its join.
func (m *Model) silence() time.Duration {
	longest := time.Duration(0)
	for _, c := range m.cfg.Connectors {
		longest = max(longest, c.Consumer.SessionTimeout)
	}
	return 3*longest + 5*time.Second
}

// server is one HTTP listener of the worker.
type server struct {
	http *http.Server
	done chan struct{}
}

func serve(ln net.Listener, h http.Handler, log *slog.Logger) *server {
	s := &server{
		http: &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)},
		done: make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(ln) // always ends with an error: that of close
	}()
	return s
}

func (s *server) close() {
	_ = s.http.Close()
	<-s.done
}
