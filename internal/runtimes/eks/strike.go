//go:build !embedded_only

package eks

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/fault"
	"triad/internal/kube"
	"triad/internal/observe/scrape"
	"triad/internal/scenario"
)

// strike is a kind of fault that an API server can bring about, and that ends without the harness: a pod that is deleted is made again by its
// owner. Nothing that would have to be undone is done to clusters that are not Triad's.
type strike struct {
	role, what string
	rights     []kube.Right // without their namespace
}

var (
	deletePod = kube.Right{Resource: "pods", Verb: "delete"}
	readPod   = kube.Right{Resource: "pods", Verb: "list"}
	strikes   = map[string]strike{
		"broker-kill":    {scenario.Kafka, "delete the pod of one broker, with a second's grace; its operator makes it again", []kube.Right{readPod, deletePod}},
		"broker-down":    {scenario.Kafka, "delete the pod of one broker, again and again until the fault is over; its operator makes it again", []kube.Right{readPod, deletePod}},
		"forwarder-kill": {scenario.Datacenter, "delete the pod of one forwarder, with a second's grace; its owner makes it again", []kube.Right{readPod, deletePod}},
		"connect-kill":   {scenario.Monitoring, "delete the pod of one Connect worker, with a second's grace; its operator makes it again", []kube.Right{readPod, deletePod}},
	}
)

// strikesOf are the kinds of fault of a role, in order.
func strikesOf(role string) []string {
	var out []string
	for kind, s := range strikes {
		if s.role == role {
			out = append(out, kind)
		}
	}
	slices.Sort(out)
	return out
}

var (
	_ fault.BrokerKiller    = (*env)(nil)
	_ fault.ForwarderKiller = (*env)(nil)
	_ fault.ConnectKiller   = (*env)(nil)
)

// gate lets one fault at a time pass, as long as everything that bounds faults holds. The cluster is looked at last.
type gate struct {
	mu   sync.Mutex
	kind string
	last fault.Active
}

// may says why a kind of fault may not strike now; nil: it may. It is asked at the moment of the strike, whatever was true when the run was
// confirmed.
func (e *env) may(ctx context.Context, kind string, last time.Duration) error {
	no := func(format string, args ...any) error {
		return &fault.UnavailableError{Kind: kind, Why: fmt.Sprintf(format, args...)}
	}
	l := e.contexts.Faults
	if l == nil {
		return no("the contexts file has no faults: neither window nor abort conditions")
	}
	if role := strikes[kind].role; !slices.Contains(e.contexts.Clusters[role].Allow, kind) {
		return no("clusters.%s does not allow it", role)
	}
	if err := l.Window.holds(time.Now(), last); err != nil {
		return no("%v", err)
	}
	if why := e.watch.unfit(time.Now()); why != "" {
		return no("%s", why)
	}
	if e.gate.last != nil {
		if gone, err := e.gate.last.Gone(ctx); err != nil || !gone {
			return no("what %s struck has not come back: one thing at a time", e.gate.kind)
		}
	}
	// Whatever is struck, records wait in Kafka for it: it has to be whole as well.
	for _, role := range slices.Compact([]string{strikes[kind].role, scenario.Kafka}) {
		least := 0
		if role == scenario.Kafka {
			least = e.stood
		}
		if err := e.whole(ctx, role, "", least); err != nil {
			return no("%s is not whole, and nothing is struck before it is: %v", role, err)
		}
	}
	return nil
}

// whole says what of a role's components is not as it should be: fewer pods than least, a pod that is not ready, or partitions of which a replica
// is behind, by every broker's own count. except is a pod that is left out of all of it, because it is the one that was struck: what is behind is
// then its own, so the count alone tells of another broker whose pod is gone (evicted, or lost with its node) and stands in no list.
func (e *env) whole(ctx context.Context, role, except string, least int) error {
	pods, err := e.pods(ctx, role, marksOf[role]...)
	if err != nil {
		return err
	}
	pods = slices.DeleteFunc(pods, func(p kube.Object) bool { return p.GetName() == except })
	if len(pods) < least {
		return fmt.Errorf("only %d of %d pods of %s are there", len(pods), least, strings.Join(marksOf[role], ", "))
	}
	for i := range pods {
		p := &pods[i]
		if !kube.PodReady(p) {
			return fmt.Errorf("%s is not ready", p.GetName())
		}
		if role != scenario.Kafka {
			continue
		}
		behind, err := e.underReplicated(ctx, p)
		if err != nil {
			return fmt.Errorf("%s does not say how many partitions are under-replicated: %w", p.GetName(), err)
		}
		if behind > 0 && except == "" {
			return fmt.Errorf("%s leads %g partitions that are under-replicated", p.GetName(), behind)
		}
	}
	return nil
}

// metricsPort is that of the JMX exporter, in brokers and workers.
const metricsPort = 9404

// figures reads the exporter of one pod.
func (e *env) figures(ctx context.Context, role string, pod *kube.Object) ([]scrape.Sample, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, figuresTime, fmt.Errorf("no answer within %v", figuresTime))
	defer cancel()
	t := scrape.Target{URL: kube.PodURL(pod.GetName(), pod.GetNamespace(), metricsPort) + "/metrics"}
	return t.Scrape(ctx, e.scrapers[role])
}

const figuresTime = 5 * time.Second

func (e *env) underReplicated(ctx context.Context, pod *kube.Object) (float64, error) {
	const name = "kafka_server_replicamanager_underreplicatedpartitions"
	samples, err := e.figures(ctx, scenario.Kafka, pod)
	if err != nil {
		return 0, err
	}
	for _, s := range samples {
		if s.Name == name {
			return s.Value, nil
		}
	}
	return 0, fmt.Errorf("its metrics have no %s", name)
}

// pods are those of some components of a role.
func (e *env) pods(ctx context.Context, role string, components ...string) ([]kube.Object, error) {
	c := e.clients[role]
	list, err := c.List(ctx, "v1", "Pod", e.contexts.Clusters[role].Namespace, componentLabel+" in ("+strings.Join(components, ",")+")")
	return list, c.Explain(err)
}

// KillBroker deletes the pod of one broker; with hold it is deleted again whenever it comes back.
func (e *env) KillBroker(ctx context.Context, target string, hold time.Duration) (fault.Active, error) {
	kind := "broker-kill"
	if hold > 0 {
		kind = "broker-down"
	}
	return e.strike(ctx, kind, hold, func(ctx context.Context) (*kube.Object, error) {
		id, err := e.broker(ctx, target)
		if err != nil {
			return nil, err
		}
		return e.find(ctx, scenario.Kafka, "kafka", func(name string) bool { return strings.HasSuffix(name, "-"+strconv.Itoa(int(id))) })
	})
}

// KillForwarder deletes the pod of one forwarder. Nothing holds it down.
func (e *env) KillForwarder(ctx context.Context, name string, _ time.Duration) (fault.Active, error) {
	return e.strike(ctx, "forwarder-kill", 0, func(ctx context.Context) (*kube.Object, error) { return e.find(ctx, scenario.Datacenter, name, nil) })
}

// KillConnect deletes the pod of one Connect worker.
func (e *env) KillConnect(ctx context.Context) (fault.Active, error) {
	return e.strike(ctx, "connect-kill", 0, func(ctx context.Context) (*kube.Object, error) {
		return e.find(ctx, scenario.Monitoring, "kafka-connect", nil)
	})
}

// find returns the first pod of a component whose name fits.
func (e *env) find(ctx context.Context, role, component string, fits func(name string) bool) (*kube.Object, error) {
	pods, err := e.pods(ctx, role, component)
	if err != nil {
		return nil, err
	}
	for i := range pods {
		if fits == nil || fits(pods[i].GetName()) {
			return &pods[i], nil
		}
	}
	return nil, fmt.Errorf("no pod of %s that fits", component)
}

// broker resolves a target to a broker's id. The canary's principal sees the leaders of its own topic and nothing of others; the active
// controller is not told to clients.
func (e *env) broker(ctx context.Context, target string) (int32, error) {
	part := int32(0)
	switch topic, p, ok := strings.Cut(strings.TrimPrefix(target, "leader:"), "/"); {
	case target == "leader" || target == "":
	case strings.HasPrefix(target, "leader:"):
		n, err := strconv.ParseInt(p, 10, 32)
		if !ok || err != nil || topic != canaryTopic {
			return 0, fmt.Errorf("target %q: want leader:%s/PARTITION, the one topic whose leaders may be seen here", target, canaryTopic)
		}
		part = int32(n)
	default:
		n, err := strconv.ParseInt(target, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("target %q: want leader, leader:%s/PARTITION or a broker id; who the active controller is cannot be asked here", target, canaryTopic)
		}
		return int32(n), nil
	}
	access := e.Kafka()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(access.Brokers...)}, access.Opts...)...)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	m, err := kadm.NewClient(c).Metadata(ctx, canaryTopic)
	if err != nil {
		return 0, fmt.Errorf("leader of %s/%d: %w", canaryTopic, part, err)
	}
	p, ok := m.Topics[canaryTopic].Partitions[part]
	if !ok || p.Leader < 0 {
		return 0, fmt.Errorf("%s/%d has no leader now", canaryTopic, part)
	}
	return p.Leader, nil
}

// strike takes one fault through the gate and strikes one pod.
func (e *env) strike(ctx context.Context, kind string, hold time.Duration, choose func(context.Context) (*kube.Object, error)) (fault.Active, error) {
	e.gate.mu.Lock()
	defer e.gate.mu.Unlock()
	if err := e.may(ctx, kind, hold); err != nil {
		return nil, err
	}
	pod, err := choose(ctx)
	if err != nil {
		return nil, err
	}
	role := strikes[kind].role
	before, err := e.pods(ctx, role, pod.GetLabels()[componentLabel])
	if err != nil {
		return nil, err
	}
	if err := e.may(ctx, kind, hold); err != nil { // again: finding out who leads may have taken long
		return nil, err
	}
	s := &struck{e: e, role: role, pod: pod, pods: len(before), ended: make(chan struct{})}
	e.watch.struck(time.Now())
	if err := e.clients[role].Kill(ctx, pod); err != nil {
		return nil, err
	}
	s.times.Add(1)
	e.gate.kind, e.gate.last = kind, s
	held, stop := context.WithTimeout(context.WithoutCancel(ctx), hold)
	s.stop = stop
	go s.hold(held)
	return s, nil
}

// struck is a pod that was deleted.
type struck struct {
	e     *env
	role  string
	pod   *kube.Object // as it was
	pods  int          // of its component, before
	times atomic.Uint64
	why   atomic.Pointer[string] // why it was not held down any longer
	stop  context.CancelFunc
	ended chan struct{} // it is not held down any more
}

// Target is the pod.
func (s *struck) Target() string {
	return "pod " + s.pod.GetNamespace() + "/" + s.pod.GetName() + ", deleted with a second's grace"
}

// holdEvery is how often a pod that is held down is looked for.
const holdEvery = 500 * time.Millisecond

// hold deletes the pod again whenever it has come back, as long as nothing else of its cluster is amiss: a second broker that goes ends it at
// once. When the harness dies nothing holds the pod down any more.
func (s *struck) hold(ctx context.Context) {
	defer close(s.ended)
	t := time.NewTicker(holdEvery)
	defer t.Stop()
	last := s.pod.GetUID()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		pod, err := s.e.find(ctx, s.role, s.pod.GetLabels()[componentLabel], func(name string) bool { return name == s.pod.GetName() })
		if err != nil || pod.GetUID() == last {
			continue // not back, or still going
		}
		if err := s.e.whole(ctx, s.role, s.pod.GetName(), s.pods-1); err != nil {
			if ctx.Err() == nil {
				why := "not held down any longer, because the cluster suffers elsewhere: " + err.Error()
				s.why.Store(&why)
			}
			return
		}
		if err := s.e.clients[s.role].Kill(ctx, pod); err == nil {
			last = pod.GetUID()
			s.times.Add(1)
		}
	}
}

// Hits is how often the pod was deleted, once it is seen not to serve.
func (s *struck) Hits(ctx context.Context) (uint64, string, error) {
	seen := fmt.Sprintf("%s was deleted %d times", s.pod.GetName(), s.times.Load())
	if why := s.why.Load(); why != nil {
		seen += "; " + *why
	}
	pods, err := s.e.pods(ctx, s.role, s.pod.GetLabels()[componentLabel])
	if err != nil {
		return 0, "", err
	}
	for i := range pods {
		if pods[i].GetUID() == s.pod.GetUID() && kube.PodReady(&pods[i]) {
			return 0, "", nil
		}
	}
	return s.times.Load(), seen, nil
}

// Heal stops holding it down.
func (s *struck) Heal(ctx context.Context) error {
	s.stop()
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Gone reports whether there are as many pods as before, all ready, and none of the brokers' partitions is behind.
func (s *struck) Gone(ctx context.Context) (bool, error) {
	select {
	case <-s.ended:
	default:
		return false, nil
	}
	pods, err := s.e.pods(ctx, s.role, s.pod.GetLabels()[componentLabel])
	if err != nil {
		return false, err
	}
	for i := range pods {
		if pods[i].GetUID() == s.pod.GetUID() {
			return false, nil
		}
	}
	return len(pods) >= s.pods && s.e.whole(ctx, s.role, "", 0) == nil, nil
}
