package embedded

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/load"
	"triad/internal/model"
	prom "triad/internal/model/prometheus"
	"triad/internal/observe/connect"
	"triad/internal/observe/scrape"
	"triad/internal/runtimes"
	"triad/internal/scenario"
	"triad/internal/view"
)

// writeOutcomes writes what the generators of a cluster say of themselves, as those in pods do.
func (s *system) writeOutcomes(w io.Writer, cluster string) {
	s.genMu.Lock()
	defer s.genMu.Unlock()
	var p load.Progress
	for _, g := range s.gens {
		if g.Cluster() == cluster {
			p.Add(g.Progress())
		}
	}
	fmt.Fprintln(w, "# TYPE triad_inputgen_records gauge")
	for outcome, n := range p.Outcomes() {
		fmt.Fprintf(w, "triad_inputgen_records{outcome=%q} %d\n", outcome, n)
	}
	if s.struck == nil {
		return
	}
	fmt.Fprintln(w, "# TYPE triad_fault_active gauge")
	for _, f := range s.struck() {
		fmt.Fprintf(w, "triad_fault_active{fault=%q} 1\n", f)
	}
}

// absent are the metrics that nothing exposes here: there is no kubelet and no node exporter, and the brokers' model has no times of
// its own to tell.
var absent = regexp.MustCompile(`^(container|machine|node)_|^kafka_network_requestmetrics_|^kafka_server_kafkarequesthandlerpool_`)

func (s *system) startReceiver(_, run context.Context) error {
	if err := s.secrets(scenario.Monitoring); err != nil {
		return err
	}
	jobs := map[string][]prom.Target{}
	for i, j := range s.cfg.receiver.Jobs {
		if i == 0 {
			jobs[j.Name] = s.targetsOf(scenario.Monitoring)
		} else if j.Discovered {
			jobs[j.Name] = nil // nodes and containers: there are none here
		}
	}
	inside := s.net.dialer(scenario.Monitoring, scenario.Monitoring)
	self := s.ports.via("prometheus", inside)
	var notes []model.NotModelled
	var err error
	s.receiver, notes, err = prom.NewReceiver(s.cfg.receiver, prom.ReceiverOptions{
		Options: prom.Options{
			Root: s.dir(scenario.Monitoring), Listen: s.ports.listen("prometheus"), Logger: s.logger.With("component", "prometheus"), Targets: jobs,
			Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if host, _, err := net.SplitHostPort(addr); err == nil && host == "localhost" {
					return self(ctx, network, addr)
				}
				return s.scrapeDialer(inside)(ctx, network, addr)
			},
		},
		Rules: s.cfg.mounted, Absent: absent.MatchString,
	})
	s.cfg.skip("central prometheus", notes)
	if err != nil {
		return err
	}
	s.wg.Go(func() {
		if err := s.receiver.Run(run); err != nil && run.Err() == nil {
			s.logger.Error("central prometheus ended", "error", err)
		}
	})
	select {
	case <-s.receiver.Ready():
		return nil
	case <-time.After(readyTime):
		return fmt.Errorf("not ready after %v", readyTime)
	}
}

// startSynthetic serves, in each cluster that has an agent, a counter that rises by one each second.
func (s *system) startSynthetic(_, run context.Context) error {
	for _, c := range []string{scenario.Datacenter, scenario.Kafka} {
		l, err := s.ports.listen("synthetic-"+c)("tcp", ":9400")
		if err != nil {
			return err
		}
		began := time.Now()
		srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			fmt.Fprintf(w, "# TYPE triad_synthetic_total counter\ntriad_synthetic_total %d\n", int64(time.Since(began)/time.Second))
			s.writeOutcomes(w, c)
		})}
		s.wg.Go(func() { _ = srv.Serve(l) }) // ends with Close below
		s.wg.Go(func() {
			<-run.Done()
			_ = srv.Close() // nothing to lose
		})
	}
	return nil
}

// startAgents starts the agents of datacenter and kafka. They scrape what is in their own cluster.
func (s *system) startAgents(_, _ context.Context) error {
	for cluster, cfg := range s.cfg.agents {
		if err := s.secrets(cluster); err != nil {
			return err
		}
		targets := s.targetsOf(cluster)
		jobs := map[string][]prom.Target{}
		for i, j := range cfg.Jobs {
			if i == 0 {
				jobs[j.Name] = targets
			} else {
				jobs[j.Name] = nil // nodes and containers: there are none here
			}
		}
		// A dialer that knows the central Prometheus by its port, and everything else as it is.
		dial := s.ports.via("prometheus", s.net.dialer(cluster, scenario.Monitoring))
		own := s.scrapeDialer(s.net.dialer(cluster, cluster))
		route := func(ctx context.Context, network, addr string) (net.Conn, error) {
			if host, port, err := net.SplitHostPort(addr); err == nil && port == "9090" && !strings.HasPrefix(host, "prometheus-agent-") {
				return dial(ctx, network, addr)
			}
			return own(ctx, network, addr)
		}
		name := "prometheus-agent-" + cluster
		err := s.add(name, func() (runner, error) {
			return prom.New(cfg, prom.Options{
				Root: s.dir(cluster), Listen: s.ports.listen(name), Dial: route, Targets: jobs, Env: map[string]string{"TRIAD_CLUSTER": cluster},
				Logger: s.logger.With("component", name),
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// components are the names that the manifests' pods carry, where judging has another.
var components = map[string]string{"connect": "kafka-connect"}

// targetsOf are the endpoints of a cluster as discovery would have found them: relabelling is the configuration's own. They are named,
// not numbered, because a component may open its port later than the scraper starts, and again after a kill; see scrapeDialer.
func (s *system) targetsOf(cluster string) []prom.Target {
	var out []prom.Target
	for _, t := range s.endpoints() {
		if t.cluster != cluster {
			continue
		}
		addr := t.fixed
		if addr == "" {
			addr = t.owner + ":" + t.port
		}
		out = append(out, prom.Target{Address: addr, Labels: map[string]string{
			"__meta_kubernetes_pod_container_port_name": "metrics", "__meta_kubernetes_pod_phase": "Running",
			"__meta_kubernetes_pod_annotation_triad_dev_metrics_path": t.path, "__meta_kubernetes_pod_name": t.instance,
			"__meta_kubernetes_pod_label_triad_dev_component": cmp.Or(components[t.component], t.component), "__meta_kubernetes_pod_node_name": cluster + "-0",
			"instance": t.instance,
		}})
	}
	return out
}

// scrapeDialer resolves the names of targets.
func (s *system) scrapeDialer(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		for _, t := range s.endpoints() {
			if t.fixed != "" || t.owner != host || t.port != port {
				continue
			}
			if addr = s.ports.addr(t.owner, t.port); addr == "" {
				return nil, fmt.Errorf("%s does not listen yet", t.owner)
			}
			break
		}
		return dial(ctx, network, addr)
	}
}

// listed is one metrics endpoint of the system: of a component by its configured port, or at a fixed address.
type listed struct {
	cluster, component, instance, path string
	owner, port                        string
	fixed                              string
}

// endpoints lists every endpoint, whether it listens yet or not.
func (s *system) endpoints() []listed {
	out := []listed{
		{scenario.Datacenter, "fluent-bit", "fluent-bit-0", "/api/v2/metrics/prometheus", "fluent-bit", "2020", ""},
		{scenario.Datacenter, "fluentd", "fluentd-0", "/metrics", "fluentd", "24231", ""},
		{scenario.Datacenter, "inputgen", "inputgen-0", "/metrics", "synthetic-" + scenario.Datacenter, "9400", ""},
		{scenario.Kafka, "inputgen", "inputgen-kafka", "/metrics", "synthetic-" + scenario.Kafka, "9400", ""},
	}
	for i, addr := range s.brokers.MetricsAddrs() {
		out = append(out, listed{scenario.Kafka, "kafka", fmt.Sprintf("triad-broker-%d", i), "/metrics", "", "", addr})
	}
	return append(
		out, listed{scenario.Monitoring, "connect", "sink-connect-0", "/metrics", "connect", "9404", ""},
		listed{scenario.Datacenter, "prometheus", "prometheus-agent-datacenter", "/metrics", "prometheus-agent-" + scenario.Datacenter, "9090", ""},
		listed{scenario.Kafka, "prometheus", "prometheus-agent-kafka", "/metrics", "prometheus-agent-" + scenario.Kafka, "9090", ""},
	)
}

// Targets are the endpoints that the harness reads.
func (s *system) Targets() []runtimes.Target {
	clients := map[string]*http.Client{}
	var out []runtimes.Target
	for _, t := range s.endpoints() {
		addr := t.fixed
		if addr == "" {
			addr = s.ports.addr(t.owner, t.port)
		}
		if addr == "" {
			continue
		}
		if clients[t.cluster] == nil {
			clients[t.cluster] = s.httpClient(t.cluster)
		}
		out = append(out, runtimes.Target{Target: scrape.Target{Cluster: t.cluster, Component: t.component, Instance: t.instance, URL: "http://" + addr + t.path}, Client: clients[t.cluster]})
	}
	return out
}

// ConnectWorkers is the one worker that there is.
func (s *system) ConnectWorkers() []connect.Worker {
	addr := s.ports.addr("connect", "8083")
	if addr == "" {
		return nil
	}
	return []connect.Worker{{URL: "http://" + addr, Client: s.httpClient(scenario.Monitoring)}}
}

// Prometheus says how the central Prometheus is queried.
func (s *system) Prometheus() *runtimes.PrometheusAccess {
	return &runtimes.PrometheusAccess{URL: "http://" + s.ports.addr("prometheus", "9090"), Client: s.httpClient(scenario.Monitoring)}
}

var (
	_ view.Source  = (*system)(nil)
	_ view.Lacking = (*system)(nil)
)

// Shown is what the dashboards of the manifests show.
func (s *system) Shown() (view.Shown, error) { return s.cfg.shown, nil }

// Lacks says which metrics have no program here.
func (s *system) Lacks(metric string) bool { return absent.MatchString(metric) }

// metricsPath is what the horizon of the metrics path rests on.
func (s *system) metricsPath() *evidence.MetricsPath {
	agent := s.cfg.agents[scenario.Datacenter]
	m := &evidence.MetricsPath{ReceiverWindow: s.cfg.receiver.AcceptanceWindow()}
	m.AgentRetention, m.AgentReason = agent.Retention(prom.QuietLog)
	if len(agent.Jobs) > 0 {
		m.ScrapeInterval = agent.Jobs[0].Interval
	}
	return m
}
