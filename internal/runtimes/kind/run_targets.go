//go:build !embedded_only

package kind

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"triad/internal/evidence"
	"triad/internal/kube"
	"triad/internal/manifests"
	"triad/internal/model/fluentbit"
	"triad/internal/model/fluentd"
	prom "triad/internal/model/prometheus"
	"triad/internal/observe/connect"
	"triad/internal/observe/pods"
	"triad/internal/observe/scrape"
	"triad/internal/runtimes"
)

// endpoints says on which port and path a component's pods show their metrics. Generators are not among them: what they did stands in their
// ledgers.
var endpoints = map[string]struct {
	port int
	path string
}{
	"fluent-bit":    {2020, "/api/v2/metrics/prometheus"},
	"fluentd":       {24231, "/metrics"},
	"kafka":         {9404, "/metrics"},
	"kafka-connect": {9404, "/metrics"},
	"prometheus":    {9090, "/metrics"}, // agents and the central one
}

// readEvery lies between two readings of a pod's metrics: each goes through an API server, a kubelet and a container's network.
const readEvery = 2 * time.Second

// prometheusEvery lies between two readings of a Prometheus: it shows more than a thousand series of its own, of which twenty are kept, and
// what they count waits in its log anyway.
const prometheusEvery = 15 * time.Second

// findTargets finds the pods of every component that is measured. They are reached through the API server: nothing in
// the clusters has to be opened for it.
func (e *env) findTargets(ctx context.Context) error {
	for cluster, c := range e.clients {
		pods, err := c.List(ctx, "v1", "Pod", cluster, "triad.dev/component")
		if err != nil {
			return fmt.Errorf("pods of %s: %w", cluster, err)
		}
		for i := range pods {
			component := pods[i].GetLabels()["triad.dev/component"]
			ep, ok := endpoints[component]
			if !ok {
				continue
			}
			if component == "kafka-connect" {
				component = "connect" // what judging calls its counters
			}
			t := runtimes.Target{Target: scrape.Target{Cluster: cluster, Component: component, Instance: pods[i].GetName()}, Client: c.HTTP(5 * time.Second), Every: readEvery}
			t.URL = kube.PodURL(t.Instance, cluster, ep.port) + ep.path
			if component == "prometheus" {
				t.Every = prometheusEvery
				if cluster == Monitoring { // the central one, every path of which asks for a password
					t.Client.Transport = &basicAuth{next: t.Client.Transport, user: e.prom.user, password: e.prom.password}
				}
			}
			if node, ok := daemonOf(&pods[i]); ok {
				t.Instance = node
				t.Locate = func(ctx context.Context) (string, error) {
					name, err := daemonPod(ctx, c, cluster, component, node)
					return kube.PodURL(name, cluster, ep.port) + ep.path, err
				}
			}
			e.targets = append(e.targets, t)
		}
	}
	slices.SortFunc(e.targets, func(a, b runtimes.Target) int {
		if a.URL < b.URL {
			return -1
		}
		return 1
	})
	return nil
}

// daemonOf says on which node a DaemonSet runs a pod. Its counters are the node's: the pod that takes its place has another name.
func daemonOf(pod *kube.Object) (node string, ok bool) {
	if !slices.ContainsFunc(pod.GetOwnerReferences(), func(o metav1.OwnerReference) bool { return o.Kind == "DaemonSet" }) {
		return "", false
	}
	node, _, err := unstructured.NestedString(pod.Object, "spec", "nodeName")
	return node, err == nil && node != ""
}

// daemonPod finds the pod that a DaemonSet runs on a node now; one that is being deleted is not it.
func daemonPod(ctx context.Context, c *kube.Client, cluster, component, node string) (string, error) {
	pods, err := c.List(ctx, "v1", "Pod", cluster, "triad.dev/component="+component)
	if err != nil {
		return "", err
	}
	for i := range pods {
		if on, ok := daemonOf(&pods[i]); ok && on == node && pods[i].GetDeletionTimestamp() == nil {
			return pods[i].GetName(), nil
		}
	}
	return "", fmt.Errorf("no pod of %s is on %s", component, node)
}

// connectPort is that of Connect's REST interface.
const connectPort = 8083

// ConnectWorkers are the workers of Kafka Connect, reached as their metrics are.
func (e *env) ConnectWorkers() []connect.Worker {
	var out []connect.Worker
	for _, t := range e.targets {
		if t.Component == "connect" {
			out = append(out, connect.Worker{URL: kube.PodURL(t.Instance, t.Cluster, connectPort), Client: t.Client})
		}
	}
	return out
}

// Pods says how the pods of each cluster are listed.
func (e *env) Pods() map[string]pods.List {
	out := map[string]pods.List{}
	for cluster, c := range e.clients {
		out[cluster] = func(ctx context.Context) ([]pods.Pod, error) { return c.Pods(ctx, cluster) }
	}
	return out
}

// Targets are the metrics endpoints that the harness reads.
func (e *env) Targets() []runtimes.Target { return e.targets }

// A call to every generator pod through the API server takes tenths of a second, and seconds on a busy machine of two cores. The connections are there:
// the load that warms the path went over them. headStart is for such a call that was not timed; one that was is given ten times as long.
const (
	headStart      = 6 * time.Second
	leastHeadStart = 3 * time.Second
)

// head is how long before the load generators are told of it.
func (e *env) head() time.Duration {
	if e.told == 0 {
		return headStart
	}
	return min(leastHeadStart+10*e.told, headStart)
}

// Describe says what is real, what is a stand-in, a model or absent.
func (e *env) Describe() runtimes.Description {
	d := runtimes.Description{HeadStart: e.head(), Manifests: map[string][]byte{}, Limits: []string{"Several clusters share one machine and its processors: latencies under load are an upper bound of what separate machines show."}}
	d.Limits = append(d.Limits, e.plan.Lines()...)
	e.plan.applied.Range(func(cluster, y any) bool {
		d.Manifests[cluster.(string)] = y.([]byte)
		return true
	})
	seen := map[[2]string]bool{}
	for _, cluster := range e.plan.Clusters {
		for _, o := range e.plan.Objects[cluster] {
			name := o.Component()
			if name == "" || seen[[2]string{cluster, name}] {
				continue
			}
			seen[[2]string{cluster, name}] = true
			d.Components = append(d.Components, evidence.Component{Cluster: cluster, Name: name, Fidelity: e.fidelity(name), Image: e.image(cluster, name)})
		}
	}
	for _, name := range e.plan.LeftOut {
		for _, cluster := range e.plan.places[name] {
			seen[[2]string{cluster, name}] = true
			d.Components = append(d.Components, evidence.Component{Cluster: cluster, Name: name, Fidelity: evidence.Absent})
		}
	}
	for _, name := range e.plan.StandIns {
		for _, cluster := range e.plan.standsIn(name) {
			if !seen[[2]string{cluster, name}] {
				d.Components = append(d.Components, evidence.Component{Cluster: cluster, Name: name, Fidelity: evidence.StandIn})
			}
		}
	}
	for _, c := range e.plan.Reductions {
		d.Reduced = append(d.Reduced, c.Component+" without "+c.Name)
	}
	e.configured(&d)
	return d
}

func (e *env) fidelity(component string) string {
	switch {
	case slices.Contains(e.plan.Models, component):
		return evidence.Model
	case slices.Contains(e.plan.StandIns, component):
		return evidence.StandIn
	}
	return evidence.Real
}

// image is the first image of a component in a cluster.
func (e *env) image(cluster, component string) string {
	used := manifests.Used(manifests.Of(e.plan.Objects[cluster], component))
	for _, refs := range used {
		if len(refs) > 0 {
			return refs[0]
		}
	}
	return ""
}

// configured reads buffers and the metrics path from the deployed configuration, as the embedded runtime does.
func (e *env) configured(d *runtimes.Description) {
	dc := manifests.Rendered{Cluster: Datacenter, Overlay: overlay, Objects: e.plan.Objects[Datacenter]}
	if text, err := dc.ConfigFile("fluent-bit", "fluent-bit.yaml"); err == nil {
		if cfg, _, err := fluentbit.Parse([]byte(text), "fluent-bit.yaml", map[string]string{"NODE_NAME": "node", "FLUENTD_HOST": "fluentd"}); err == nil {
			d.Buffers = append(d.Buffers, runtimes.FluentBitBuffers(cfg, len(e.podsOf("fluent-bit")))...)
		}
	}
	if text, err := dc.ConfigFile("fluentd", "fluentd.yaml"); err == nil {
		if cfg, _, err := fluentd.Parse([]byte(text), "fluentd.yaml", map[string]string{"KAFKA_BROKERS": "x:1"}); err == nil {
			d.Buffers = append(d.Buffers, runtimes.FluentdBuffers(cfg, len(e.podsOf("fluentd")))...)
		}
	}
	kafka := manifests.Rendered{Cluster: Kafka, Overlay: overlay, Objects: e.plan.Objects[Kafka]}
	for _, t := range kafka.Resources("KafkaTopic") {
		if v, ok := t.Field("spec", "config", "retention.ms"); ok && t.Name() == "service-topic" {
			if keep, err := time.ParseDuration(fmt.Sprint(v) + "ms"); err == nil {
				d.Buffers = append(d.Buffers, evidence.Buffer{Hop: "broker", Component: "kafka", For: keep, Instances: 1, Full: "delete", Source: "KafkaTopic service-topic retention.ms"})
			}
		}
	}
	d.Metrics = e.metricsPath(dc)
}

func (e *env) metricsPath(dc manifests.Rendered) *evidence.MetricsPath {
	text, args, err := dc.Prometheus()
	if err != nil {
		return nil
	}
	agent, _, err := prom.ParseAgent([]byte(text), args)
	if err != nil || len(agent.Jobs) == 0 {
		return nil
	}
	mon := manifests.Rendered{Cluster: Monitoring, Overlay: overlay, Objects: e.plan.Objects[Monitoring]}
	text, args, err = mon.Prometheus()
	if err != nil {
		return nil
	}
	rec, _, err := prom.ParseReceiver([]byte(text), args)
	if err != nil {
		return nil
	}
	m := &evidence.MetricsPath{ReceiverWindow: rec.AcceptanceWindow(), ScrapeInterval: agent.Jobs[0].Interval}
	m.AgentRetention, m.AgentReason = agent.Retention(prom.QuietLog)
	return m
}

// podsOf lists the instances of a component among the targets.
func (e *env) podsOf(component string) []string {
	var out []string
	for _, t := range e.targets {
		if t.Component == component {
			out = append(out, t.Instance)
		}
	}
	return out
}
