//go:build !embedded_only

package kind

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"triad/internal/kube"
	"triad/internal/runtimes"
)

// transport is what a client sends its requests with, in a test.
type transport struct {
	last   *http.Request
	closed bool
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.last = r
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}

func (t *transport) CloseIdleConnections() { t.closed = true }

// Every Prometheus is read too, seldom, because it shows much; the central one with its password, which no agent is sent.
func TestPrometheusIsRead(t *testing.T) {
	e := &env{clients: map[string]*kube.Client{}}
	e.prom.user, e.prom.password = "agent", "secret"
	for cluster, pods := range map[string][]kube.Object{
		Datacenter: {component(Datacenter, "prometheus-agent-0", "prometheus"), component(Datacenter, "fluentd-0", "fluentd"), component(Datacenter, "generator", "inputgen")},
		Kafka:      {component(Kafka, "prometheus-agent-0", "prometheus")},
		Monitoring: {component(Monitoring, "prometheus-0", "prometheus"), component(Monitoring, "sink-connect-0", "kafka-connect")},
	} {
		api, c := newFakeAPI(t, "v1 pods Pod")
		for _, p := range pods {
			api.put(p)
		}
		e.clients[cluster] = c
	}
	if err := e.findTargets(t.Context()); err != nil {
		t.Fatal(err)
	}
	every := map[string]time.Duration{
		"http://prometheus-agent-0.datacenter.pod:9090/metrics": prometheusEvery, "http://prometheus-agent-0.kafka.pod:9090/metrics": prometheusEvery,
		"http://prometheus-0.monitoring.pod:9090/metrics": prometheusEvery, "http://fluentd-0.datacenter.pod:24231/metrics": readEvery,
		"http://sink-connect-0.monitoring.pod:9404/metrics": readEvery,
	}
	if len(e.targets) != len(every) {
		t.Errorf("targets: %+v", e.targets)
	}
	for _, x := range e.targets {
		if x.Every != every[x.URL] {
			t.Errorf("%s is read every %v, want %v", x.URL, x.Every, every[x.URL])
		}
		if _, ok := x.Client.Transport.(*basicAuth); ok != (x.Cluster == Monitoring && x.Component == "prometheus") {
			t.Errorf("%s: with a password: %v", x.URL, ok)
		}
	}
	central := e.targets[slices.IndexFunc(e.targets, func(x runtimes.Target) bool { return x.Cluster == Monitoring && x.Component == "prometheus" })]
	wire := &transport{}
	central.Client.Transport.(*basicAuth).next = wire
	if _, err := central.Scrape(t.Context(), central.Client); err != nil {
		t.Fatal(err)
	}
	if user, password, ok := wire.last.BasicAuth(); !ok || user != "agent" || password != "secret" {
		t.Errorf("asked as %q with %q", user, password)
	}
	if central.Client.CloseIdleConnections(); !wire.closed {
		t.Error("its connections outlive the run")
	}
}
