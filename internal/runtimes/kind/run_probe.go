//go:build !embedded_only

package kind

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"triad/internal/kube"
	"triad/internal/manifests"
	"triad/internal/probe"
)

// Everything of C4 can be probed on real clusters.
var (
	_ probe.Declarer     = (*env)(nil)
	_ probe.LinkProber   = (*env)(nil)
	_ probe.KafkaProber  = (*env)(nil)
	_ probe.PolicyProber = (*env)(nil)
)

const (
	// probeNamespace is where the probes' pods run. No policy of the manifests is about it, so what a pod there cannot reach is
	// closed between the clusters, not inside its own.
	probeNamespace = "default"
	probeName      = "triad-probe"
	probeID        = "triad.dev/probe" // label: one attempt's pods and policy
	probePort      = 8080
	// podTime bounds one pod from its creation to its end: starting takes a second or two, the attempts at most some twenty.
	podTime = 90 * time.Second
	// enforceTime is how long a policy may take until it holds.
	enforceTime = 10 * time.Second
	podPoll     = 250 * time.Millisecond
)

// Declared reads the manifests as they are committed, not as the scenario's settings changed them for this run.
func (e *env) Declared() (probe.Declared, error) {
	set, err := manifests.Open(e.opts.Manifests)
	if err != nil {
		return probe.Declared{}, err
	}
	return probe.Read(set, overlay)
}

// KafkaAs logs in through the listener for other clusters.
func (e *env) KafkaAs(user, password string) ([]string, []kgo.Opt, error) {
	opts := []kgo.Opt{kgo.Dialer(e.kafkaDial)}
	if user != "" {
		opts = append(opts, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()))
	}
	return e.bootstrap(), opts, nil
}

// kafkaDialTime is what connecting to a broker may take, TLS included: milliseconds as a rule, a second where processors are scarce. A broker that
// starts accepts connections many seconds before it answers on them, and a client that waits for it does not ask who leads its partitions now:
// behind the kill of a broker the harness saw records up to 20 s later than the store had them.
const kafkaDialTime = 3 * time.Second

// kafkaDial speaks TLS to a broker through a local port: its authority is verified, its name cannot be.
func (e *env) kafkaDial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, kafkaDialTime)
	defer cancel()
	raw, err := e.local(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, verifyChain(e.ca))
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return c, nil
}

// KafkaPassword reads the Secret that the user operator made.
func (e *env) KafkaPassword(ctx context.Context, user string) (string, error) {
	data, err := e.clients[Kafka].SecretData(ctx, Kafka, user)
	if err != nil {
		return "", fmt.Errorf("principal %s: %w", user, err)
	}
	if len(data["password"]) == 0 {
		return "", fmt.Errorf("principal %s: its secret has no password", user)
	}
	return string(data["password"]), nil
}

// ProbeLinks runs one pod in the cluster from that tries every address: its packets take the way of every other pod's, through
// the node's forward path.
func (e *env) ProbeLinks(ctx context.Context, from string, to []string, ports []int) ([]probe.Connect, error) {
	type target struct {
		cluster string
		port    int
	}
	var addrs []string
	where := map[string]target{}
	for _, cluster := range to {
		nodes, err := e.runningNodes(ctx, cluster)
		if err != nil {
			return nil, err
		}
		for _, n := range nodes {
			for _, p := range ports {
				a := net.JoinHostPort(n.IPv4, strconv.Itoa(p))
				addrs, where[a] = append(addrs, a), target{cluster, p}
			}
		}
	}
	if err := e.loadOwn(ctx, from); err != nil {
		return nil, err
	}
	id, err := newFaultID()
	if err != nil {
		return nil, err
	}
	tries, err := e.dialPod(ctx, from, e.probePod(probeNamespace, "links-"+id, id, addrs...))
	if err != nil {
		return nil, fmt.Errorf("links from %s: %w", from, err)
	}
	for i := range tries {
		t, ok := where[tries[i].Addr]
		if !ok {
			return nil, fmt.Errorf("links from %s: the pod answered for %s, which nobody asked for", from, tries[i].Addr)
		}
		tries[i].From, tries[i].To, tries[i].Port = from, t.cluster, t.port
	}
	if len(tries) != len(addrs) {
		return nil, fmt.Errorf("links from %s: %d answers for %d addresses", from, len(tries), len(addrs))
	}
	return tries, nil
}

// ProbePolicies lets one pod reach another, forbids it by a policy, and looks whether that made a difference. Where it did, a pod
// of the cluster's namespace to which no policy gives anything tries every port of every other pod there.
func (e *env) ProbePolicies(ctx context.Context, cluster string) (probe.Enforcement, error) {
	if err := e.loadOwn(ctx, cluster); err != nil {
		return probe.Enforcement{}, err
	}
	id, err := newFaultID()
	if err != nil {
		return probe.Enforcement{}, err
	}
	c := e.clients[cluster]
	server := e.probePod(probeNamespace, "server-"+id, id, "--listen", ":"+strconv.Itoa(probePort))
	policy := kube.Object{Object: map[string]any{
		"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta(probeNamespace, probeName+"-"+id, id),
		"spec": map[string]any{"podSelector": map[string]any{"matchLabels": map[string]any{probeID: id}}, "policyTypes": []any{"Ingress", "Egress"}},
	}}
	defer e.cleanUp(ctx, c, kube.RefOf(&server), kube.RefOf(&policy))
	if err := c.Apply(ctx, []kube.Object{server}, nil); err != nil {
		return probe.Enforcement{}, err
	}
	addr, err := podAddress(ctx, c, kube.RefOf(&server))
	if err != nil {
		return probe.Enforcement{}, err
	}
	free, err := e.dialPod(ctx, cluster, e.probePod(probeNamespace, "before-"+id, id, addr))
	if err != nil {
		return probe.Enforcement{}, err
	}
	if len(free) != 1 || !free[0].Open {
		return probe.Enforcement{}, fmt.Errorf("policies of %s: two pods without any policy do not reach each other, so closing the way would mean nothing: %+v", cluster, free)
	}
	if err := c.Apply(ctx, []kube.Object{policy}, nil); err != nil {
		return probe.Enforcement{}, err
	}
	shut, err := e.dialPod(ctx, cluster, e.probePod(probeNamespace, "behind-"+id, id, "--while-open", enforceTime.String(), addr))
	if err != nil {
		return probe.Enforcement{}, err
	}
	if len(shut) != 1 || shut[0].Open {
		return probe.Enforcement{Detail: fmt.Sprintf("a policy that denies everything between two pods left the way open for %v", enforceTime)}, nil
	}
	out := probe.Enforcement{Enforced: true, Detail: "a policy that denies everything between two pods closed the way: " + shut[0].Detail}
	out.Reached, err = e.unlabelled(ctx, cluster, id)
	return out, err
}

// unlabelled tries every pod of the cluster's namespace, and the cluster's DNS, from a pod that no policy but the namespace's own
// two is about: deny everything, allow DNS.
func (e *env) unlabelled(ctx context.Context, cluster, id string) ([]probe.PodConnect, error) {
	c := e.clients[cluster]
	pods, err := c.List(ctx, "v1", "Pod", cluster, "")
	if err != nil {
		return nil, err
	}
	dns, err := c.List(ctx, "v1", "Pod", "kube-system", "k8s-app=kube-dns")
	if err != nil {
		return nil, err
	}
	targets := podTargets(pods)
	for _, t := range podTargets(dns) {
		if t.Port == 53 {
			t.DNS = true
			targets = append(targets, t)
		}
	}
	var addrs []string
	for _, t := range targets {
		addrs = append(addrs, t.Addr)
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("policies of %s: no pod to try", cluster)
	}
	tries, err := e.dialPod(ctx, cluster, e.probePod(cluster, "inside-"+id, id, append([]string{"--while-open", enforceTime.String()}, addrs...)...))
	if err != nil {
		return nil, err
	}
	if len(tries) != len(targets) {
		return nil, fmt.Errorf("policies of %s: %d answers for %d addresses", cluster, len(tries), len(targets))
	}
	for i := range targets {
		targets[i].From, targets[i].Open, targets[i].Detail = cluster, tries[i].Open, tries[i].Detail
	}
	return targets, nil
}

// podTargets are the TCP ports that the containers of running pods declare. Pods in the network of their node are left out:
// policies are not about them.
func podTargets(pods []kube.Object) []probe.PodConnect {
	var out []probe.PodConnect
	for i := range pods {
		o := pods[i].Object
		ip, _, _ := unstructured.NestedString(o, "status", "podIP")
		phase, _, _ := unstructured.NestedString(o, "status", "phase")
		host, _, _ := unstructured.NestedBool(o, "spec", "hostNetwork")
		if ip == "" || phase != "Running" || host {
			continue
		}
		containers, _, _ := unstructured.NestedSlice(o, "spec", "containers")
		for _, ct := range containers {
			m, _ := ct.(map[string]any)
			ports, _, _ := unstructured.NestedSlice(m, "ports")
			for _, p := range ports {
				pm, _ := p.(map[string]any)
				n, _ := pm["containerPort"].(int64)
				if proto, _ := pm["protocol"].(string); n == 0 || proto != "" && proto != "TCP" {
					continue
				}
				out = append(out, probe.PodConnect{Pod: pods[i].GetName(), Connect: probe.Connect{Addr: net.JoinHostPort(ip, strconv.FormatInt(n, 10)), Port: int(n)}})
			}
		}
	}
	return out
}

// loadOwn puts Triad's own image into the nodes of a cluster: one without generators or models has no use for it otherwise.
func (e *env) loadOwn(ctx context.Context, cluster string) error {
	p := &Plan{Clusters: []string{cluster}, Images: map[string][]string{cluster: {e.plan.Own.Ref}}, Own: e.plan.Own}
	if err := e.LoadImages(ctx, p); err != nil {
		return fmt.Errorf("Triad's own image in %s: %w", cluster, err)
	}
	return nil
}

func meta(namespace, name, id string) map[string]any {
	return map[string]any{"name": name, "namespace": namespace, "labels": map[string]any{
		"app.kubernetes.io/name": probeName, "app.kubernetes.io/part-of": "triad", "app.kubernetes.io/managed-by": "triad", probeID: id,
	}}
}

// probePod is a pod that runs sim probe with args and ends by itself, whatever becomes of the harness.
func (e *env) probePod(namespace, name, id string, args ...string) kube.Object {
	command := []any{"/usr/local/bin/sim", "probe"}
	for _, a := range args {
		command = append(command, a)
	}
	container := map[string]any{
		"name": "probe", "image": e.plan.Own.Ref, "imagePullPolicy": "IfNotPresent", "command": command,
		"securityContext": map[string]any{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": map[string]any{"drop": []any{"ALL"}}},
		"resources":       map[string]any{"requests": map[string]any{"cpu": "10m", "memory": "16Mi"}, "limits": map[string]any{"memory": "128Mi"}},
	}
	if slices.Contains(args, "--listen") {
		container["readinessProbe"] = map[string]any{"tcpSocket": map[string]any{"port": int64(probePort)}, "periodSeconds": int64(1)}
	}
	return kube.Object{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": meta(namespace, probeName+"-"+name, id),
		"spec": e.ranked(map[string]any{
			"restartPolicy": "Never", "activeDeadlineSeconds": int64(2 * podTime / time.Second), "terminationGracePeriodSeconds": int64(1),
			"automountServiceAccountToken": false, "enableServiceLinks": false,
			"securityContext": map[string]any{"runAsNonRoot": true, "runAsUser": int64(65532), "seccompProfile": map[string]any{"type": "RuntimeDefault"}},
			"containers":      []any{container},
		}),
	}}
}

// dialPod runs a pod to its end and reads what it tried.
func (e *env) dialPod(ctx context.Context, cluster string, pod kube.Object) ([]probe.Connect, error) {
	c, ref := e.clients[cluster], kube.RefOf(&pod)
	limited, cancel := context.WithTimeoutCause(ctx, podTime, fmt.Errorf("pod %s did not end within %v", ref.Name, podTime))
	defer cancel()
	defer e.cleanUp(ctx, c, ref)
	if err := c.Apply(limited, []kube.Object{pod}, nil); err != nil {
		return nil, err
	}
	phase, err := podEnds(limited, c, ref)
	if err != nil {
		return nil, err
	}
	r, err := c.Logs(limited, ref.Namespace, ref.Name, kube.LogOptions{})
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(r, 8<<20))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("log of pod %s: %w", ref.Name, err)
	}
	var out []probe.Connect
	if phase != "Succeeded" {
		return nil, fmt.Errorf("pod %s is %s: %.300s", ref.Name, phase, text)
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("pod %s: %w in %.300q", ref.Name, err, text)
	}
	return out, nil
}

// podEnds waits until a pod has ended, and says how.
func podEnds(ctx context.Context, c *kube.Client, ref kube.Ref) (phase string, err error) {
	last := "not made"
	for {
		o, err := c.Get(ctx, ref)
		if err == nil {
			last, _, _ = unstructured.NestedString(o.Object, "status", "phase")
			if last == "Succeeded" || last == "Failed" {
				return last, nil
			}
		}
		select {
		case <-time.After(podPoll):
		case <-ctx.Done():
			return "", fmt.Errorf("%w (it is %s; %s)", context.Cause(ctx), last, c.Diagnose(context.WithoutCancel(ctx), ref.Namespace, "").Cause)
		}
	}
}

// podAddress waits until a listening pod is ready.
func podAddress(ctx context.Context, c *kube.Client, ref kube.Ref) (string, error) {
	if err := c.WaitReady(ctx, []kube.Ref{ref}, podTime, nil); err != nil {
		return "", err
	}
	o, err := c.Get(ctx, ref)
	if err != nil {
		return "", err
	}
	ip, _, _ := unstructured.NestedString(o.Object, "status", "podIP")
	if ip == "" {
		return "", fmt.Errorf("pod %s is ready and has no address", ref.Name)
	}
	return net.JoinHostPort(ip, strconv.Itoa(probePort)), nil
}

// cleanUp deletes what a probe made, even when the run was interrupted. What stays behind does nothing and ends by itself.
func (e *env) cleanUp(ctx context.Context, c *kube.Client, refs ...kube.Ref) {
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if err := c.Delete(after, refs, 15*time.Second); err != nil {
		e.log.Warn("a probe's objects are left behind", "cluster", c.Name(), "error", err)
	}
}
