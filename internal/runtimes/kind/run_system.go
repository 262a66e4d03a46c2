//go:build !embedded_only

package kind

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"triad/internal/evidence"
	"triad/internal/kube"
	"triad/internal/load/agent"
	"triad/internal/manifests"
	"triad/internal/observe/elastic"
	"triad/internal/pod"
	"triad/internal/runtimes"
	"triad/internal/runtimes/jobs"
)

// Node ports by which the harness reaches the systems from outside, through the host ports of the nodes.
const (
	kafkaPort      = 30094
	storePort      = 30920
	prometheusPort = 30909
)

// System is the kind runtime as a run knows it.
type System struct {
	opts   Options
	logger *slog.Logger

	mu     sync.Mutex
	rt     *Runtime
	unlock func() // lets another run in; from before anything is touched until the environment is closed
	plan   *Plan
	deploy DeployOptions // that the plan was made from
	commit manifests.Set // the manifests without a scenario's settings
	failed error         // why it is not up
}

var _ runtimes.Runtime = (*System)(nil)

// NewSystem returns the runtime of a run. Nothing is touched before Up.
func NewSystem(opts Options, logger *slog.Logger) *System { return &System{opts: opts, logger: logger} }

// Name is kind.
func (s *System) Name() string { return "kind" }

// runtime makes the Runtime at first use, so that its progress goes to the run's.
func (s *System) runtime(ctx context.Context, step func(what, state, detail string)) (*Runtime, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rt != nil {
		return s.rt, nil
	}
	rt, err := New(ctx, s.opts, s.logger, func(what, state, detail string) {
		if step == nil {
			return
		}
		switch state {
		case kube.StateStart:
			step(what, "begin", detail)
		case kube.StateFail:
			step(what, "failed", detail)
		case kube.StateDone, kube.StateSkip:
			step(what, "done", detail)
		}
	})
	s.rt = rt
	return rt, err
}

// Up brings up what is missing and deploys the manifests with the scenario's settings.
func (s *System) Up(ctx context.Context, session runtimes.Session) (err error) {
	rt, err := s.prepare(ctx, session)
	if err != nil {
		return err
	}
	defer s.releaseOn(&err)
	// The run collects what a failed one has left to read, into its own folder.
	s.plan, err = rt.up(ctx, s.deploy)
	if s.failed = err; err != nil && s.plan != nil {
		rt.leaveNoObserver(ctx) // it was being deployed
	}
	return err
}

// releaseOn lets another run in when this one has failed.
func (s *System) releaseOn(err *error) {
	if *err != nil && s.unlock != nil {
		s.unlock()
		s.unlock = nil
	}
}

// prepare keeps other runs away and works out what is to be deployed.
func (s *System) prepare(ctx context.Context, session runtimes.Session) (_ *Runtime, err error) {
	rt, err := s.runtime(ctx, session.Step)
	if err != nil {
		return nil, err
	}
	if s.unlock == nil {
		if s.unlock, err = rt.LockRun(ctx); err != nil {
			return nil, err
		}
	}
	defer s.releaseOn(&err)
	set, err := manifests.Open(rt.Options().Manifests)
	if err != nil {
		return nil, err
	}
	s.commit = set
	for _, c := range session.Scenario.Settings {
		if set, err = set.Replace(c.Config, c.Replace, c.With); err != nil {
			return nil, err
		}
	}
	s.deploy = DeployOptions{Set: set, Components: []string{observerComponent}}
	return rt, nil
}

// Down removes the clusters.
func (s *System) Down(ctx context.Context) error {
	rt, err := s.runtime(ctx, nil)
	if err != nil {
		return err
	}
	return rt.Down(ctx)
}

// CollectLogs writes causes, events and logs of everything in the clusters.
func (s *System) CollectLogs(ctx context.Context, dir string) error {
	rt, err := s.runtime(ctx, nil)
	if err != nil {
		return err
	}
	return rt.collect(ctx, dir, s.failed)
}

// env is the deployed system during one run.
type env struct {
	*Runtime
	session   runtimes.Session
	plan      *Plan
	deploy    DeployOptions
	commit    manifests.Set
	ports     map[int]int
	ca        *x509.CertPool
	users     map[string]string // passwords by principal
	prom      struct{ user, password string }
	elastic   elastic.Access
	clients   map[string]*kube.Client
	targets   []runtimes.Target
	pods      []generatorPod
	shards    map[int][]agent.Remote // by load: pods made for this run
	observers []pod.Remote           // pods that read Kafka for this run; nil: none
	readers   []pod.Remote           // pods that read the store at its end; nil: none
	jobs      jobs.Set               // of this run
	compared  *comparison            // nil: the run compares no topologies
	exporters increases              // of JMX exporters
	meters    meters
	searching searchers
	unlock    func()        // lets another run in
	told      time.Duration // what telling a generator its plan took at most; 0: none was told
}

var (
	_ runtimes.Env            = (*env)(nil)
	_ runtimes.ConnectWorkers = (*env)(nil)
	_ runtimes.PodLister      = (*env)(nil)
)

// Connect looks up addresses and credentials.
func (s *System) Connect(ctx context.Context, session runtimes.Session) (_ runtimes.Env, err error) {
	rt, err := s.runtime(ctx, session.Step)
	if err != nil {
		return nil, err
	}
	defer s.releaseOn(&err)
	if s.plan == nil || s.unlock == nil {
		return nil, errors.New("the system was not brought up")
	}
	defer func() {
		if err != nil && !session.GoesOn { // one that goes on can be tried again
			rt.leaveNoObserver(ctx)
		}
	}()
	e := &env{Runtime: rt, unlock: s.unlock, session: session, plan: s.plan, deploy: s.deploy, commit: s.commit, users: map[string]string{}, clients: map[string]*kube.Client{}, shards: map[int][]agent.Remote{}, ca: x509.NewCertPool()}
	e.jobs = jobs.Set{Session: session, Clients: e.clients, Image: s.plan.Own.Ref, Class: batch(s.plan)}
	if e.ports, err = rt.HostPorts(); err != nil {
		return nil, err
	}
	for _, c := range rt.opts.Clusters {
		if e.clients[c], err = rt.Client(c); err != nil {
			return nil, err
		}
	}
	k := e.clients[Kafka]
	ca, err := k.SecretData(ctx, Kafka, "triad-cluster-ca-cert")
	if err != nil {
		return nil, err
	}
	if !e.ca.AppendCertsFromPEM(ca["ca.crt"]) {
		return nil, errors.New("the brokers' authority cannot be read")
	}
	for _, user := range []string{"canary", "fluentd"} {
		sec, err := k.SecretData(ctx, Kafka, user)
		if err != nil {
			return nil, err
		}
		e.users[user] = string(sec["password"])
	}
	rw, err := e.clients[Monitoring].SecretData(ctx, Monitoring, "triad-remote-write")
	if err != nil {
		return nil, err
	}
	e.prom.user, e.prom.password = string(rw["username"]), string(rw["password"])
	if err := e.storeAccess(ctx); err != nil {
		return nil, err
	}
	for _, find := range []func(context.Context) error{e.awaitObserver, e.sweepJobs, e.makeShards, e.makeObservers, e.findTargets, e.findGenerators, e.underWay} {
		if err := find(ctx); err != nil {
			return nil, errors.Join(err, e.jobs.End(context.WithoutCancel(ctx)))
		}
	}
	if rt.opts.Caps != nil {
		// After everything was found: what is capped is slow to answer.
		if e.compared, err = rt.compare(ctx, jobs.Longest(session.Scenario)); err != nil {
			return nil, errors.Join(err, e.compared.end(context.WithoutCancel(ctx)), e.jobs.End(context.WithoutCancel(ctx)))
		}
	}
	s.unlock = nil // the environment's now
	return e, nil
}

// local maps any address with a node port to the host port that leads there.
func (e *env) local(ctx context.Context, network, addr string) (net.Conn, error) {
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		return nil, err
	}
	if host, ok := e.ports[port]; ok {
		port = host
	}
	var d net.Dialer
	return d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// kafkaOpts are the options of a client of the given principal.
func (e *env) kafkaOpts(user string) []kgo.Opt {
	return []kgo.Opt{kgo.Dialer(e.kafkaDial), kgo.SASL(scram.Auth{User: user, Pass: e.users[user]}.AsSha512Mechanism())}
}

func (e *env) bootstrap() []string {
	return []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(kafkaPort))}
}

// Kafka says how the brokers are reached.
func (e *env) Kafka() runtimes.KafkaAccess {
	return runtimes.KafkaAccess{Brokers: e.bootstrap(), Opts: e.kafkaOpts(observerUser), DeadLetter: deadLetterTopic, SinkGroup: "connect-logs-to-elasticsearch"}
}

// storeAccess finds out how the store is spoken to: with TLS and as the observer, or plainly where the image has no
// security module.
func (e *env) storeAccess(ctx context.Context) error {
	t := &http.Transport{DialContext: e.local, MaxIdleConnsPerHost: 8}
	e.elastic = elastic.Access{URL: "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(storePort)), Transport: t}
	if slices.ContainsFunc(e.plan.Reductions, func(c manifests.Capability) bool { return c.LeavesOut == "elasticsearch-security" }) {
		return nil
	}
	c := e.clients[Monitoring]
	users, err := c.SecretData(ctx, Monitoring, "elasticsearch-users")
	if err != nil {
		return err
	}
	ca, err := c.SecretData(ctx, Monitoring, "elasticsearch-tls")
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca["ca.crt"]) {
		return errors.New("the store's authority cannot be read")
	}
	t.TLSClientConfig = verifyChain(pool)
	e.elastic.URL = "https" + strings.TrimPrefix(e.elastic.URL, "http")
	e.elastic.Username, e.elastic.Password = "observer", string(users["observer"])
	return nil
}

// verifyChain checks a server against an authority of the clusters. Its name is not compared, because the way to it is a
// local port.
func verifyChain(roots *x509.CertPool) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, VerifyConnection: func(cs tls.ConnectionState) error { //nolint:gosec // verified here
		opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, c := range cs.PeerCertificates[1:] {
			opts.Intermediates.AddCert(c)
		}
		_, err := cs.PeerCertificates[0].Verify(opts)
		return err
	}}
}

// Search says how the store is reached.
func (e *env) Search() elastic.Access { return e.elastic }

// Prometheus says how the central Prometheus is queried.
func (e *env) Prometheus() *runtimes.PrometheusAccess {
	t := &basicAuth{next: &http.Transport{DialContext: e.local}, user: e.prom.user, password: e.prom.password}
	return &runtimes.PrometheusAccess{URL: "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(prometheusPort)), Client: &http.Client{Transport: t, Timeout: 20 * time.Second}}
}

type basicAuth struct {
	next           http.RoundTripper
	user, password string
}

// RoundTrip adds the credentials.
func (b *basicAuth) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.SetBasicAuth(b.user, b.password)
	return b.next.RoundTrip(r)
}

// CloseIdleConnections closes those of the transport behind it.
func (b *basicAuth) CloseIdleConnections() {
	if c, ok := b.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Close ends what belongs to the run, component observer too. The clusters stay.
func (e *env) Close(ctx context.Context) error {
	for _, t := range e.targets {
		t.Client.CloseIdleConnections()
	}
	if e.unlock != nil {
		defer e.unlock()
	}
	e.searching.end()
	e.meters.end()
	var wg sync.WaitGroup
	if !e.jobs.TriedAgain() {
		wg.Go(func() { e.leaveNoObserver(ctx) }) // beside the rest, which may take all the time there is
	}
	err := e.jobs.End(ctx)
	if e.compared != nil {
		err = errors.Join(err, e.compared.end(ctx))
	}
	wg.Wait()
	return err
}

// Topology says how the run stands, for one that compares topologies.
func (e *env) Topology() (evidence.Event, bool) {
	if e.compared == nil {
		return evidence.Event{}, false
	}
	return e.compared.event(), true
}
