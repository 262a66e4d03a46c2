//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"triad/internal/fault"
	"triad/internal/kube"
)

// What the nodes can do to the real systems.
var (
	_ fault.BrokerKiller    = (*env)(nil)
	_ fault.BrokerFreezer   = (*env)(nil)
	_ fault.BrokerRoller    = (*env)(nil)
	_ fault.ClusterFreezer  = (*env)(nil)
	_ fault.LinkCutter      = (*env)(nil)
	_ fault.LinkShaper      = (*env)(nil)
	_ fault.StoreStopper    = (*env)(nil)
	_ fault.StoreKiller     = (*env)(nil)
	_ fault.ConnectKiller   = (*env)(nil)
	_ fault.ForwarderKiller = (*env)(nil)
	_ fault.ReceiverStopper = (*env)(nil)
	_ fault.Neighbour       = (*env)(nil)
)

// brokerSelector finds what belongs to the Kafka cluster.
const brokerSelector = "strimzi.io/cluster=triad"

// nodeFault is a node-level fault as a run knows it, with an optional further condition for being gone.
type nodeFault struct {
	f    *Fault
	gone func(ctx context.Context) (bool, error)
	seen Proof // the last proof: figures may be gone with the fault
}

func (n *nodeFault) Target() string { return n.f.Target }

func (n *nodeFault) Hits(ctx context.Context) (uint64, string, error) {
	p, err := n.f.Hits(ctx)
	if err == nil && p.Hits >= n.seen.Hits {
		n.seen = p
	}
	return uint64(max(n.seen.Hits, 0)), n.seen.Detail, err
}

func (n *nodeFault) Heal(ctx context.Context) error {
	// The proof is taken while the fault is still on.
	_, _, _ = n.Hits(ctx)
	return n.f.Heal(ctx)
}

func (n *nodeFault) Gone(ctx context.Context) (bool, error) {
	left, err := n.f.Gone(ctx)
	if err != nil || left.Hits > 0 {
		return false, err
	}
	if n.gone == nil {
		return true, nil
	}
	return n.gone(ctx)
}

// kafkaAdmin asks the brokers, as the observer.
func (e *env) kafkaAdmin(ctx context.Context, fn func(ctx context.Context, c *kgo.Client) error) error {
	cl, err := kgo.NewClient(append(e.kafkaOpts(observerUser), kgo.SeedBrokers(e.bootstrap()...))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	ask, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return fn(ask, cl)
}

// activeController is the leader of the metadata quorum. Metadata does not tell: the controller that KRaft brokers name there is any broker that
// is alive, which passes on what is meant for the real one.
func activeController(ctx context.Context, cl *kgo.Client) (int32, error) {
	const topic = "__cluster_metadata"
	req, part, t := kmsg.NewPtrDescribeQuorumRequest(), kmsg.NewDescribeQuorumRequestTopicPartition(), kmsg.NewDescribeQuorumRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return -1, fmt.Errorf("quorum of the controllers: %w", err)
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return -1, errors.New("quorum of the controllers: the answer does not speak of it")
	}
	p := resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
		return -1, fmt.Errorf("quorum of the controllers: %w", err)
	}
	if p.LeaderID < 0 {
		return -1, errors.New("quorum of the controllers: it has no leader now")
	}
	return p.LeaderID, nil
}

// broker resolves a target to a broker id.
func (e *env) broker(ctx context.Context, target string) (id int32, err error) {
	err = e.kafkaAdmin(ctx, func(ctx context.Context, c *kgo.Client) (err error) {
		topic, part := "service-topic", int32(0)
		switch {
		case target == "controller":
			id, err = activeController(ctx, c)
			return err
		case strings.HasPrefix(target, "leader:"):
			t, p, _ := strings.Cut(strings.TrimPrefix(target, "leader:"), "/")
			n, err := strconv.Atoi(p)
			if err != nil {
				return fmt.Errorf("broker %q: want leader:TOPIC/PARTITION", target)
			}
			topic, part = t, int32(n)
		case target != "leader":
			n, err := strconv.Atoi(target)
			id = int32(n)
			return err
		}
		m, err := kadm.NewClient(c).Metadata(ctx, topic)
		if err != nil {
			return err
		}
		p, ok := m.Topics[topic].Partitions[part]
		if !ok || p.Leader < 0 {
			return fmt.Errorf("topic %s partition %d has no leader now", topic, part)
		}
		id = p.Leader
		return nil
	})
	return id, err
}

// inSync reports whether every partition of the run's topics has all its replicas in sync.
func (e *env) inSync(ctx context.Context) (bool, error) {
	ok := true
	err := e.kafkaAdmin(ctx, func(ctx context.Context, c *kgo.Client) error {
		m, err := kadm.NewClient(c).Metadata(ctx)
		if err != nil {
			return err
		}
		for _, t := range m.Topics {
			for _, p := range t.Partitions {
				if len(p.ISR) < len(p.Replicas) || p.Leader < 0 {
					ok = false
				}
			}
		}
		return nil
	})
	return ok, err
}

func (e *env) brokerContainer(ctx context.Context, id int32) (Container, error) {
	pods, err := e.clients[Kafka].List(ctx, "v1", "Pod", Kafka, brokerSelector)
	if err != nil {
		return Container{}, err
	}
	for i := range pods {
		if strings.HasSuffix(pods[i].GetName(), "-"+strconv.Itoa(int(id))) && slices.Contains(containerNames(&pods[i]), "kafka") {
			return Container{Cluster: Kafka, Namespace: Kafka, Pod: pods[i].GetName(), Name: "kafka"}, nil
		}
	}
	return Container{}, fmt.Errorf("broker %d: no pod of it", id)
}

// KillBroker kills one broker with SIGKILL; the kubelet restarts it, or it is killed again until hold is over.
func (e *env) KillBroker(ctx context.Context, target string, hold time.Duration) (fault.Active, error) {
	return e.onBroker(ctx, target, func(c Container) (*Fault, error) {
		if hold > 0 {
			return e.HoldDown(ctx, c, hold)
		}
		return e.Kill(ctx, c)
	})
}

// FreezeBroker stops one broker's process with SIGSTOP.
func (e *env) FreezeBroker(ctx context.Context, target string, d time.Duration) (fault.Active, error) {
	return e.onBroker(ctx, target, func(c Container) (*Fault, error) { return e.Stop(ctx, c, d) })
}

func (e *env) onBroker(ctx context.Context, target string, fn func(Container) (*Fault, error)) (fault.Active, error) {
	id, err := e.broker(ctx, target)
	if err != nil {
		return nil, err
	}
	c, err := e.brokerContainer(ctx, id)
	if err != nil {
		return nil, err
	}
	f, err := fn(c)
	if err != nil {
		return nil, err
	}
	return &nodeFault{f: f, gone: e.inSync}, nil
}

// FreezeCluster pauses the nodes of a cluster.
func (e *env) FreezeCluster(ctx context.Context, cluster string, d time.Duration) (fault.Active, error) {
	f, err := e.Runtime.FreezeCluster(ctx, cluster, d)
	if err != nil {
		return nil, err
	}
	n := &nodeFault{f: f}
	if cluster == Kafka {
		n.gone = e.inSync
	}
	return n, nil
}

// CutLink cuts a link on the nodes.
func (e *env) CutLink(ctx context.Context, from, to, direction, mode string, d time.Duration) (fault.Active, error) {
	ports, err := linkPorts(e.plan.Flows, from, to)
	if err != nil {
		return nil, err
	}
	l := Link{From: from, To: to, Ports: ports, Way: Way(direction)}
	f, err := e.Cut(ctx, l, mode == "reject", d)
	if err != nil {
		return nil, err
	}
	return &nodeFault{f: f}, nil
}

// ShapeLink makes a link slow. Without netem in the kernel a delay is not to be had.
func (e *env) ShapeLink(ctx context.Context, from, to string, delay time.Duration, bandwidth int64, d time.Duration) (fault.Active, error) {
	ports, err := linkPorts(e.plan.Flows, from, to)
	if err != nil {
		return nil, err
	}
	f, err := e.Slow(ctx, Link{From: from, To: to, Ports: ports, Way: Both}, Shape{BytesPerSecond: bandwidth, Delay: delay}, d)
	if errors.Is(err, ErrNoDelay) {
		return nil, &fault.UnavailableError{Kind: "slow-link", Why: err.Error()}
	}
	if err != nil {
		return nil, err
	}
	return &nodeFault{f: f}, nil
}

// pod finds the container of a component's pod.
func (e *env) pod(ctx context.Context, cluster, selector, container string) (Container, error) {
	pods, err := e.clients[cluster].List(ctx, "v1", "Pod", cluster, selector)
	if err != nil {
		return Container{}, err
	}
	for i := range pods {
		names := containerNames(&pods[i])
		if container == "" && len(names) > 0 {
			container = names[0]
		}
		if pods[i].GetDeletionTimestamp() == nil && slices.Contains(names, container) {
			return Container{Cluster: cluster, Namespace: cluster, Pod: pods[i].GetName(), Name: container}, nil
		}
	}
	return Container{}, fmt.Errorf("no pod %s in %s", selector, cluster)
}

// strike kills a pod's process, or holds it dead for a time.
func (e *env) strike(ctx context.Context, cluster, selector string, hold time.Duration) (fault.Active, error) {
	c, err := e.pod(ctx, cluster, selector, "")
	if err != nil {
		return nil, err
	}
	if hold == 0 {
		f, err := e.Kill(ctx, c)
		if err != nil {
			return nil, err
		}
		return &nodeFault{f: f}, nil
	}
	f, err := e.HoldDown(ctx, c, hold)
	if err != nil {
		return nil, err
	}
	// Let go it is not back yet: a kubelet may wait for minutes before it starts what has died so often. The pod may be another by then.
	return &nodeFault{f: f, gone: func(ctx context.Context) (bool, error) {
		pods, err := e.clients[cluster].List(ctx, "v1", "Pod", cluster, selector)
		return len(pods) > 0 && !slices.ContainsFunc(pods, func(p kube.Object) bool { return !kube.PodReady(&p) }), err
	}}, nil
}

// KillForwarder kills fluent-bit or fluentd.
func (e *env) KillForwarder(ctx context.Context, name string, hold time.Duration) (fault.Active, error) {
	return e.strike(ctx, Datacenter, "app.kubernetes.io/name="+name, hold)
}

// KillConnect kills a Connect worker.
func (e *env) KillConnect(ctx context.Context) (fault.Active, error) {
	return e.strike(ctx, Monitoring, "strimzi.io/kind=KafkaConnect", 0)
}

// StopStore keeps Elasticsearch's process dead.
func (e *env) StopStore(ctx context.Context, d time.Duration) (fault.Active, error) {
	return e.strike(ctx, Monitoring, "app.kubernetes.io/name=elasticsearch", d)
}

// KillStore kills Elasticsearch's process; the kubelet restarts it, and it is gone when the server answers again.
func (e *env) KillStore(ctx context.Context) (fault.Active, error) {
	c, err := e.pod(ctx, Monitoring, "app.kubernetes.io/name=elasticsearch", "")
	if err != nil {
		return nil, err
	}
	f, err := e.Kill(ctx, c)
	if err != nil {
		return nil, err
	}
	return &nodeFault{f: f, gone: func(ctx context.Context) (bool, error) {
		status, _, err := e.ask(ctx, http.MethodGet, "/", "")
		return err == nil && status == http.StatusOK, err
	}}, nil
}

// StopReceiver keeps the central Prometheus's process stopped.
func (e *env) StopReceiver(ctx context.Context, d time.Duration) (fault.Active, error) {
	return e.strike(ctx, Monitoring, "app.kubernetes.io/name=prometheus", d)
}

// RollBrokers asks the operator to restart every broker, as an administrator does.
func (e *env) RollBrokers(ctx context.Context) (fault.Active, error) {
	c := e.clients[Kafka]
	sets, err := c.List(ctx, kube.PodSetAPI, kube.PodSetKind, Kafka, brokerSelector)
	if err != nil {
		return nil, err
	}
	if len(sets) == 0 {
		return nil, errors.New("no StrimziPodSet of the brokers")
	}
	before, err := e.brokerPods(ctx)
	if err != nil {
		return nil, err
	}
	for i := range sets {
		o := kube.Object{Object: map[string]any{"apiVersion": sets[i].GetAPIVersion(), "kind": sets[i].GetKind(), "metadata": map[string]any{
			"namespace": Kafka, "name": sets[i].GetName(), "annotations": map[string]any{"strimzi.io/manual-rolling-update": "true"},
		}}}
		if err := c.Apply(ctx, []kube.Object{o}, nil); err != nil {
			return nil, err
		}
	}
	return &roll{e: e, before: before}, nil
}

// brokerPods returns the identity of every broker's pod.
func (e *env) brokerPods(ctx context.Context) (map[string]string, error) {
	pods, err := e.clients[Kafka].List(ctx, "v1", "Pod", Kafka, brokerSelector)
	out := map[string]string{}
	for i := range pods {
		if slices.Contains(containerNames(&pods[i]), "kafka") {
			out[pods[i].GetName()] = string(pods[i].GetUID())
		}
	}
	return out, err
}

// roll is a rolling restart by the operator. It bites with the first pod that was replaced and is gone with the last.
type roll struct {
	e      *env
	before map[string]string
}

func (r *roll) Target() string { return "every broker, by the operator" }

func (r *roll) Hits(ctx context.Context) (uint64, string, error) {
	now, err := r.e.brokerPods(ctx)
	if err != nil {
		return 0, "", err
	}
	var n uint64
	for name, uid := range now {
		if r.before[name] != uid {
			n++
		}
	}
	return n, fmt.Sprintf("%d of %d brokers were replaced", n, len(r.before)), nil
}

func (r *roll) Heal(context.Context) error { return nil }

func (r *roll) Gone(ctx context.Context) (bool, error) {
	n, _, err := r.Hits(ctx)
	if err != nil || n < uint64(len(r.before)) {
		return false, err
	}
	return r.e.inSync(ctx)
}

// MakeNoise runs busy loops in a cluster's node.
func (e *env) MakeNoise(ctx context.Context, cluster, kind string, loops int, d time.Duration) (fault.Active, error) {
	f, err := e.Noise(ctx, cluster, kind, loops, d)
	if err != nil {
		return nil, err
	}
	return &nodeFault{f: f}, nil
}
