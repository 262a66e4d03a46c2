package embedded

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"triad/internal/esfake"
	"triad/internal/load"
	"triad/internal/model/brokers"
	"triad/internal/model/connect"
	"triad/internal/model/fluentbit"
	"triad/internal/model/fluentd"
	prom "triad/internal/model/prometheus"
	"triad/internal/observe/elastic"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// Principals of the harness, beside those of the manifests.
const (
	observer  = "observer"        // components/observer
	generator = "triad-generator" // produces for sources that enter at the broker
)

// readyTime bounds the start of each part.
const readyTime = 30 * time.Second

// system is the embedded system of one run.
type system struct {
	cfg     *config
	session runtimes.Session
	logger  *slog.Logger
	root    string
	net     *network
	ports   *ports

	brokers   *brokers.Cluster
	store     *esfake.Server
	receiver  *prom.Receiver
	procs     map[string]*proc
	order     []string // of procs, as started
	sink      *sinkHolder
	wg        sync.WaitGroup
	cancel    context.CancelFunc
	fluentBit fluentbit.Config
	fluentd   fluentd.Config

	addMu  sync.Mutex
	added  *proc // the agent of the added cluster, while it is there
	genMu  sync.Mutex
	gens   []*load.Generator
	struck func() []string // faults that act
	closed sync.Once
}

var (
	_ runtimes.Env            = (*system)(nil)
	_ runtimes.ConnectWorkers = (*system)(nil)
)

func newSystem(cfg *config, s runtimes.Session) (*system, error) {
	sys := &system{cfg: cfg, session: s, logger: s.Logger, root: filepath.Join(s.Dir, "system"), net: newNetwork(), ports: newPorts(), procs: map[string]*proc{}, sink: &sinkHolder{}}
	for _, c := range scenario.ClusterNames {
		if err := os.MkdirAll(sys.dir(c), 0o755); err != nil {
			return nil, fmt.Errorf("scratch folder: %w", err)
		}
	}
	return sys, nil
}

// dir is the root of the file system of a cluster's node.
func (s *system) dir(cluster string) string { return filepath.Join(s.root, cluster) }

// start starts the parts in the order of what they need.
func (s *system) start(ctx context.Context) error {
	run, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	for _, step := range []struct {
		name string
		fn   func(ctx, run context.Context) error
	}{
		{"brokers", s.startBrokers},
		{"store", s.startStore},
		{"connect", s.startConnect},
		{"fluentd", s.startFluentd},
		{"fluent bit", s.startFluentBit},
		{"synthetic counters", s.startSynthetic},
		{"central prometheus", s.startReceiver}, // it scrapes connect
		{"prometheus agents", s.startAgents},
	} {
		if err := step.fn(ctx, run); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func (s *system) startBrokers(ctx, _ context.Context) error {
	cfg := s.cfg.brokers
	// The harness's producer stands in for programs of the kafka cluster, whose principals are not in the manifests.
	cfg.Users = append(cfg.Users, brokers.User{Name: generator, Super: true})
	var err error
	s.brokers, err = brokers.New(cfg, brokers.Options{Dir: filepath.Join(s.dir(scenario.Kafka), "logs"), Logger: s.logger.With("component", "kafka"), Seed: s.session.Scenario.Seed})
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	return s.brokers.WaitHealthy(wait)
}

// kafkaOpts are the options of a client of the given principal.
func (s *system) kafkaOpts(user string, dial dialer) ([]kgo.Opt, error) {
	dial, err := s.kafkaDialer(dial)
	if err != nil {
		return nil, err
	}
	opts := []kgo.Opt{kgo.Dialer(dial)}
	if s.cfg.brokers.Authenticate {
		opts = append(opts, kgo.SASL(scram.Auth{User: user, Pass: s.brokers.Password(user)}.AsSha512Mechanism()))
	}
	return opts, nil
}

// kafkaDialer makes a dialer speak what the brokers' listeners do.
func (s *system) kafkaDialer(dial dialer) (dialer, error) {
	if !s.cfg.brokers.Encrypt {
		return dial, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(s.brokers.CA()) {
		return nil, errors.New("the brokers' authority cannot be read")
	}
	return tlsOver(dial, pool), nil
}

// tlsOver makes a dialer speak TLS.
func tlsOver(dial dialer, pool *x509.CertPool) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		raw, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		c := tls.Client(raw, &tls.Config{RootCAs: pool, ServerName: host, MinVersion: tls.VersionTLS12})
		if err := c.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		return c, nil
	}
}

func (s *system) startStore(ctx, run context.Context) error {
	s.store = esfake.New(esfake.Options{Dir: s.dir(scenario.Monitoring), Seed: s.session.Scenario.Seed, Logger: s.logger.With("component", "elasticsearch")})
	l, err := s.ports.listen("elasticsearch")("tcp", ":9200")
	if err != nil {
		return err
	}
	s.wg.Go(func() {
		if err := s.store.Serve(run, l); err != nil && run.Err() == nil {
			s.logger.Error("store ended", "error", err)
		}
	})
	for _, call := range s.cfg.setup {
		if call.Alias != "" || strings.Contains(call.Path, "_ilm") {
			continue
		}
		if err := s.putStore(ctx, call.Path, call.Body); err != nil {
			return err
		}
	}
	return nil
}

// putStore sends a request of an administrator to the store.
func (s *system) putStore(ctx context.Context, path, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+s.ports.addr("elasticsearch", "9200")+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	client := s.httpClient(scenario.Monitoring)
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("PUT %s: HTTP %d", path, res.StatusCode)
	}
	return nil
}

// httpClient reaches a cluster from outside; a frozen cluster does not answer it.
func (s *system) httpClient(cluster string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: s.net.outside(cluster), MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second}}
}

// add registers a process and starts it.
func (s *system) add(name string, make func() (runner, error)) error {
	p := &proc{name: name, make: make, logger: s.logger}
	s.procs[name] = p
	s.order = append(s.order, name)
	return p.start()
}

// secrets writes what a pod mounts: the brokers' authority and the remote_write credentials.
func (s *system) secrets(cluster string) error {
	root := s.dir(cluster)
	for file, content := range map[string][]byte{
		"etc/triad/kafka/ca.crt": s.brokers.CA(), "etc/triad/remote-write/username": []byte(cluster),
		"etc/triad/remote-write/password": []byte("embedded"),
	} {
		path := filepath.Join(root, file)
		if _, err := os.Stat(path); err == nil {
			continue // another part that mounts it may be reading it, and it does not change
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (s *system) startFluentd(_, _ context.Context) error {
	if err := s.secrets(scenario.Datacenter); err != nil {
		return err
	}
	var err error
	s.fluentd, err = s.cfg.parseFluentd(map[string]string{"KAFKA_BROKERS": strings.Join(s.brokers.Addrs(), ","), "KAFKA_USERNAME": "fluentd", "KAFKA_PASSWORD": s.brokers.Password("fluentd"), "NODE_NAME": node, "POD_NAME": "fluentd-0"})
	if err != nil {
		return err
	}
	var hook func(*kgo.Record) []*kgo.Record
	if s.session.Sabotage != nil {
		hook = s.session.Sabotage.Produce
	}
	return s.add("fluentd", func() (runner, error) {
		return fluentd.New(s.fluentd, fluentd.Options{
			Root: s.dir(scenario.Datacenter), Listen: s.ports.listen("fluentd"), Dial: s.net.dialer(scenario.Datacenter, scenario.Kafka),
			Logger: s.logger.With("component", "fluentd"), Produce: hook,
		})
	})
}

// node is the name of the one node of the datacenter.
const node = "datacenter-0"

func (s *system) startFluentBit(_, _ context.Context) error {
	cfg, skipped, err := fluentbit.Parse([]byte(s.cfg.fluentBit), "fluent-bit.yaml", map[string]string{"NODE_NAME": node, "FLUENTD_HOST": "fluentd"})
	s.cfg.skip("fluent-bit", skipped)
	if err != nil {
		return err
	}
	s.fluentBit = cfg
	if err := os.MkdirAll(filepath.Join(s.dir(scenario.Datacenter), "var/log/containers"), 0o755); err != nil {
		return err
	}
	if err := s.openLogs(); err != nil {
		return err
	}
	dial := s.ports.via("fluentd", s.net.dialer(scenario.Datacenter, scenario.Datacenter))
	return s.add("fluent-bit", func() (runner, error) {
		return fluentbit.New(s.fluentBit, fluentbit.Options{Root: s.dir(scenario.Datacenter), Listen: s.ports.listen("fluent-bit"), Dial: dial, Logger: s.logger.With("component", "fluent-bit")})
	})
}

func (s *system) startConnect(_, run context.Context) error {
	// Connect speaks TLS and SASL by options of its own; the dialer knows both of its ways.
	toKafka, toStore := s.net.dialer(scenario.Monitoring, scenario.Kafka), s.ports.via("elasticsearch", s.net.dialer(scenario.Monitoring, scenario.Monitoring))
	brokerAt := map[string]bool{}
	for _, a := range s.brokers.Addrs() {
		brokerAt[a] = true
	}
	o := connect.Options{
		Brokers: s.brokers.Addrs(), Listen: s.ports.listen("connect"), Seed: s.session.Scenario.Seed, Logger: s.logger.With("component", "kafka-connect"),
		Secret:     func(string) (string, error) { return "embedded", nil }, // the store has no users here
		ElasticURL: "http://" + s.ports.addr("elasticsearch", "9200"),
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if brokerAt[addr] {
				return toKafka(ctx, network, addr)
			}
			return toStore(ctx, network, addr)
		},
	}
	if s.cfg.brokers.Encrypt {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(s.brokers.CA())
		o.KafkaTLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	if s.cfg.brokers.Authenticate {
		o.KafkaOpts = []kgo.Opt{kgo.SASL(scram.Auth{User: "connect", Pass: s.brokers.Password("connect")}.AsSha512Mechanism())}
	}
	if s.session.Sabotage != nil && s.session.Sabotage.Document != nil {
		url, err := s.interpose(run, s.session.Sabotage.Document)
		if err != nil {
			return err
		}
		o.ElasticURL = url
	}
	return s.add("connect", func() (runner, error) {
		w, err := connect.New(s.cfg.connect, o)
		if err == nil {
			s.sink.set(w)
		}
		return w, err
	})
}

// interpose puts a saboteur between the sink and the store.
func (s *system) interpose(run context.Context, document func(index, id string, doc []byte) ([]byte, int)) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a loopback listener opens at once
	if err != nil {
		return "", err
	}
	target := &url.URL{Scheme: "http", Host: s.ports.addr("elasticsearch", "9200")}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &saboteur{next: &http.Transport{DialContext: s.net.dialer(scenario.Monitoring, scenario.Monitoring)}, document: document}
	srv := &http.Server{Handler: proxy, ReadHeaderTimeout: 5 * time.Second}
	s.wg.Go(func() { _ = srv.Serve(l) }) // ends with Close below
	s.wg.Go(func() {
		<-run.Done()
		_ = srv.Close() // nothing to lose
	})
	return "http://" + l.Addr().String(), nil
}

// sinkHolder keeps the running worker, so that a fault can strike its tasks.
type sinkHolder struct {
	mu sync.Mutex
	m  *connect.Model
}

func (h *sinkHolder) set(m *connect.Model) {
	h.mu.Lock()
	h.m = m
	h.mu.Unlock()
}

func (h *sinkHolder) get() *connect.Model {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.m
}

// Kafka says how the brokers are reached.
func (s *system) Kafka() runtimes.KafkaAccess {
	opts, err := s.kafkaOpts(observer, s.net.outside(scenario.Kafka))
	if err != nil {
		s.logger.Error("kafka access", "error", err)
	}
	return runtimes.KafkaAccess{Brokers: s.brokers.Addrs(), Opts: opts, DeadLetter: s.cfg.deadLetter, SinkGroup: s.cfg.sinkGroup}
}

// Search says how the store is reached.
func (s *system) Search() elastic.Access {
	return elastic.Access{URL: "http://" + s.ports.addr("elasticsearch", "9200"), Transport: s.httpClient(scenario.Monitoring).Transport}
}

// Close stops every part, those that send before those that receive.
func (s *system) Close(context.Context) error {
	s.closed.Do(func() {
		s.removeAdded()
		for _, v := range slices.Backward(s.order) {
			s.procs[v].stop()
		}
		if s.cancel != nil {
			s.cancel()
		}
		if s.brokers != nil {
			s.brokers.Close()
		}
		s.wg.Wait()
		s.net.close()
	})
	return nil
}
