//go:build !embedded_only

package eks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"triad/internal/evidence"
	"triad/internal/kube"
	"triad/internal/load/agent"
	"triad/internal/observe/elastic"
	"triad/internal/observe/pods"
	"triad/internal/observe/scrape"
	"triad/internal/pod"
	"triad/internal/runtimes"
	"triad/internal/runtimes/jobs"
	"triad/internal/scenario"
)

// How the brokers are named inside their cluster: Strimzi derives it from the Kafka resource's name.
const (
	bootstrapService = "triad-kafka-bootstrap"
	brokersService   = "triad-kafka-brokers"
	brokerPort       = 9093
	// headStart is for a call to the generator through the API server, seconds on a busy one.
	headStart = 8 * time.Second
)

// env is the clusters during one run.
type env struct {
	*System
	session    runtimes.Session
	mark       Mark
	store      *store
	kafka      []kgo.Opt
	generators []agent.Remote         // pods of the canary's generator that stand
	jobs       jobs.Set               // of the run
	shards     map[int][]agent.Remote // by load: pods made for this run
	observers  []pod.Remote           // pods that read Kafka for this run; nil: the harness does
	components []evidence.Component
	stood      int                     // pods of brokers when the run connected
	scrapers   map[string]*http.Client // of metrics, by role
	readers    []pod.Remote            // pods that read the store at its end; nil: the harness does
	watch      *watch
	gate       gate
	generated  bool          // the generator was told to write
	writing    func() bool   // it may write on, because it could not be told to stop
	purged     bool          // nothing of what it wrote is left
	late       uint64        // records that were acknowledged and had not come when the rest was taken out
	kept       time.Duration // how long they may come still
}

var (
	_ runtimes.Env       = (*env)(nil)
	_ runtimes.PodLister = (*env)(nil)
)

// Connect finds what the run uses and marks it. The mark is the first thing that is written; a run that goes on has it.
func (s *System) Connect(ctx context.Context, session runtimes.Session) (runtimes.Env, error) {
	if err := s.Up(ctx, session); err != nil {
		return nil, err
	}
	e := &env{System: s, session: session, scrapers: map[string]*http.Client{}, shards: map[int][]agent.Remote{}, jobs: s.contexts.jobs(session, s.clients)}
	for _, role := range scenario.ClusterNames {
		e.scrapers[role] = s.clients[role].HTTP(figuresTime)
	}
	if s.contexts.Faults != nil {
		e.watch = newWatch(s.contexts.Faults.Abort)
	}
	var err error
	if e.store, err = s.openStore(); err != nil {
		return nil, err
	}
	if err := e.brokers(); err != nil {
		return nil, err
	}
	if err := e.look(ctx); err != nil {
		return nil, err
	}
	begin := e.begin
	if session.GoesOn {
		begin = e.takeUp
	}
	if err := begin(ctx); err != nil {
		return nil, err
	}
	return e, nil
}

// begin marks the run and makes what it makes. Of a run that does not come to be nothing stays.
func (e *env) begin(ctx context.Context) (err error) {
	if e.mark, err = e.System.mark(ctx, e.session); err != nil {
		return err
	}
	if err := e.makeJobs(ctx); err != nil {
		return errors.Join(err, e.Close(context.WithoutCancel(ctx)))
	}
	return nil
}

// takeUp finds what a run that goes on has made.
func (e *env) takeUp(ctx context.Context) error {
	e.mark = e.found
	if err := e.makeJobs(ctx); err != nil {
		return err
	}
	return e.underWay(ctx)
}

func (e *env) brokers() error {
	t := e.contexts.Clusters[scenario.Kafka]
	roots, err := authority(t.Login.CAFile)
	if err != nil {
		return err
	}
	password, err := t.Login.password()
	if err != nil {
		return err
	}
	dial := brokerDialer(e.clients[scenario.Kafka], t.Namespace, roots)
	if t.Address != "" {
		dial = balancedDialer(t.Address, roots)
	}
	e.kafka = []kgo.Opt{kgo.Dialer(dial), kgo.SASL(scram.Auth{User: canaryUser, Pass: password}.AsSha512Mechanism())}
	return nil
}

// brokerTarget is the pod or Service behind a broker's address, and the name that its certificate has to carry. Any other address is
// refused: whatever a broker may answer, nothing else is dialled.
func brokerTarget(namespace, address string) (t kube.Target, port int, name string, err error) {
	host, p, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(p)
	}
	if err != nil {
		return t, 0, "", fmt.Errorf("broker address %q: %w", address, err)
	}
	parts := strings.Split(host, ".")
	switch {
	case port == brokerPort && len(parts) >= 3 && parts[0] == bootstrapService && parts[1] == namespace && parts[2] == "svc":
		return kube.Target{Namespace: namespace, Service: bootstrapService}, port, host, nil
	case port == brokerPort && len(parts) >= 4 && parts[1] == brokersService && parts[2] == namespace && parts[3] == "svc":
		return kube.Target{Namespace: namespace, Pod: parts[0]}, port, host, nil
	}
	return t, 0, "", fmt.Errorf("broker address %q is not one of the internal listener of %s: not dialled", address, namespace)
}

// look finds the generator's pods, and says what runs.
func (e *env) look(ctx context.Context) error {
	for _, role := range scenario.ClusterNames {
		c, ns := e.clients[role], e.contexts.Clusters[role].Namespace
		pods, err := c.List(ctx, "v1", "Pod", ns, componentLabel)
		if err != nil {
			return c.Explain(err)
		}
		for i := range pods {
			o := &pods[i]
			if o.GetLabels()["app.kubernetes.io/name"] == agent.Application("canary") && o.GetDeletionTimestamp() == nil && kube.PodReady(o) {
				e.generators = append(e.generators, agent.Remote{Name: o.GetName(), URL: kube.PodURL(o.GetName(), ns, jobs.AgentPort), Client: c.HTTP(30 * time.Second)})
				e.like(o)
			}
			if role == scenario.Kafka && slices.Contains(marksOf[role], o.GetLabels()[componentLabel]) {
				e.stood++
			}
			e.describe(role, o)
		}
	}
	app, there := agent.Application("canary"), e.contexts.Clusters[scenario.Datacenter].Namespace
	if len(e.generators) == 0 {
		return fmt.Errorf("no pod of %s is ready in %s: it fails, or the manifests there are older than this program", app, there)
	}
	for _, l := range e.session.Scenario.Load {
		if l.Parallelism > len(e.generators) && !e.contexts.mayMake(scenario.Datacenter) {
			return fmt.Errorf("source %s asks for %d shards, and %d pods of the generator stand in datacenter; the file does not allow jobs there, so nothing is made: kubectl --namespace %s scale deployment/%s --replicas %d",
				l.Source, l.Parallelism, len(e.generators), there, app, l.Parallelism)
		}
	}
	return nil
}

// describe notes the component of a pod. What runs another image than the manifests pin is not called real: nobody here has seen it.
func (e *env) describe(role string, pod *kube.Object) {
	name := pod.GetLabels()[componentLabel]
	if slices.ContainsFunc(e.components, func(c evidence.Component) bool { return c.Cluster == role && c.Name == name }) {
		return
	}
	c := evidence.Component{Cluster: role, Name: name, Fidelity: evidence.Real}
	containers, _, _ := unstructured.NestedSlice(pod.Object, "spec", "containers")
	if len(containers) > 0 {
		first, _ := containers[0].(map[string]any)
		c.Image, _ = first["image"].(string)
	}
	pinned, known := e.pinned.Images[name]
	if known && !sameImage(c.Image, pinned.Reference) {
		c.Fidelity, c.Note = evidence.StandIn, "runs "+c.Image+", the manifests pin "+pinned.Reference
	}
	e.components = append(e.components, c)
}

// sameImage compares name and tag: registries and their caches put what they like before them.
func sameImage(a, b string) bool {
	last := func(ref string) string {
		ref, _, _ = strings.Cut(ref, "@")
		return path.Base(ref)
	}
	return last(a) == last(b)
}

// Describe says what there is and what is not looked at.
func (e *env) Describe() runtimes.Description {
	return runtimes.Description{
		Components: e.components, HeadStart: headStart,
		Limits: []string{
			"The clusters carry other traffic, which is not measured: every figure is the canary's alone, in the time of the run.",
			"Components are called real by the name and tag of their image; nothing here proves what is in it.",
		},
		Unseen: []runtimes.Unseen{
			{What: "isolation", Why: "only " + canaryTopic + " and its index may be read here: a record in another topic or index is not seen, and shows as lost"},
			{What: "dead letters", Why: "the dead-letter topic may not be read here: a record that the sink set aside shows as lost between Kafka and the store"},
			{What: "hops", Why: "counters of shared components count everybody's records: what is lost is told by segment, not by hop, and buffers and horizons are not judged"},
			{What: "lag of the sink", Why: "the canary's principal may not see consumer groups"},
			{What: "metrics-continuity", Why: "the central Prometheus is not asked: that would take a password for everybody's metrics"},
		},
	}
}

// Kafka says how the brokers are reached: as the canary, for its topic, and for no other.
func (e *env) Kafka() runtimes.KafkaAccess {
	t := e.contexts.Clusters[scenario.Kafka]
	seed := t.Address
	if seed == "" {
		seed = fmt.Sprintf("%s.%s.svc:%d", bootstrapService, t.Namespace, brokerPort)
	}
	return runtimes.KafkaAccess{Brokers: []string{seed}, Opts: e.kafka, Only: []string{canaryTopic}}
}

// Search says how the store is reached.
func (e *env) Search() elastic.Access { return e.store.access }

// Targets are the generator's own metrics. What other components count is everybody's.
func (e *env) Targets() []runtimes.Target {
	var out []runtimes.Target
	for _, g := range e.sending() {
		out = append(out, runtimes.Target{Target: scrape.Target{Cluster: scenario.Datacenter, Component: "inputgen", Instance: g.Name, URL: g.URL + "/metrics"}, Client: g.Client})
	}
	return out
}

// Pods says how the pods of each cluster are listed.
func (e *env) Pods() map[string]pods.List {
	out := map[string]pods.List{}
	for _, role := range scenario.ClusterNames {
		c, ns := e.clients[role], e.contexts.Clusters[role].Namespace
		out[role] = func(ctx context.Context) ([]pods.Pod, error) {
			list, err := c.Pods(ctx, ns)
			return list, c.Explain(err)
		}
	}
	return out
}

// Prometheus is not asked.
func (e *env) Prometheus() *runtimes.PrometheusAccess { return nil }

// share gives every stream of a plan to a pod: to one that was made for the run where some were, else to one that stands.
func (e *env) share(whole agent.Plan) ([]agent.Share, error) {
	return agent.Divide(whole, whole.Scenario.Streams(), func(st scenario.Stream) ([]agent.Remote, error) {
		if shards := e.shards[st.Load]; shards != nil {
			return shards, nil
		}
		return e.generators, nil
	})
}

// sending are the pods of generators: those that stand, and those that were made for the run.
func (e *env) sending() []agent.Remote {
	out := slices.Clone(e.generators)
	for _, load := range slices.Sorted(maps.Keys(e.shards)) {
		out = append(out, e.shards[load]...)
	}
	return out
}

// underWay demands that the generators know a run that goes on, before it is decided that it does.
func (e *env) underWay(ctx context.Context) error {
	shares, err := e.share(agent.Plan{Scenario: *e.session.Scenario})
	if err != nil {
		return err
	}
	return agent.UnderWay(ctx, e.session.Run, shares)
}

// Generate tells the generator its plan, or takes up one that has it.
func (e *env) Generate(ctx context.Context, p runtimes.LoadPlan) (runtimes.Generation, error) {
	h := p.Evidence.Header()
	whole := agent.Plan{Scenario: *e.session.Scenario, Run: e.session.Run, Start: p.Start, HistWindow: h.HistWindow, PulseEvery: h.PulseEvery, Struck: p.Struck}
	shares, err := e.share(whole)
	if err != nil {
		return nil, err
	}
	if !p.GoesOn { // what came before took its time
		if err := e.contexts.permit(e.session.Scenario, p.Start, time.Time{}); err != nil {
			return nil, err
		}
	}
	e.generated, e.jobs.Taken = true, true
	begin := agent.Launch
	if p.GoesOn {
		begin = agent.Rejoin
	}
	fleet, err := begin(ctx, whole, shares)
	if err != nil {
		e.writing = func() bool { return errors.Is(err, agent.ErrWriting) }
		return nil, err
	}
	e.writing = fleet.Writing
	return fleet, nil
}

// Purge takes the run's documents out and reads again, and looks how long Kafka keeps its records: the canary's principal has no right to
// take them away, because that right would let it delete the topic.
func (e *env) Purge(ctx context.Context, acknowledged uint64, whole bool) (runtimes.Purged, error) {
	p := runtimes.Purged{Keeps: maxKept}
	out, err := e.store.purge(ctx, e.session.Run)
	p.Removed, p.Left = out.removed, out.left
	if acknowledged > out.records {
		p.Late = acknowledged - out.records
	}
	e.late, e.kept = p.Late, maxKept
	if err != nil {
		return p, err
	}
	if p.Kept, err = e.retention(ctx); err != nil {
		p.Why = err.Error()
	} else {
		e.kept = p.Kept
	}
	e.purged = whole && p.Left == 0 && p.Late == 0
	return p, nil
}

// maxLate bounds how long late records are waited for, where Kafka keeps them for ever.
const maxLate = 24 * time.Hour

// maxKept is the longest that Kafka may keep a canary's record: what the manifests declare.
const maxKept = 2 * time.Hour

// retention is the longest that a record stays in the topic: a segment is closed, and then deleted when its last record is old enough.
func (e *env) retention(ctx context.Context) (time.Duration, error) {
	access := e.Kafka()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(access.Brokers...)}, access.Opts...)...)
	if err != nil {
		return 0, fmt.Errorf("retention of %s: %w", canaryTopic, err)
	}
	defer c.Close()
	got, err := kadm.NewClient(c).DescribeTopicConfigs(ctx, canaryTopic)
	if err != nil {
		return 0, fmt.Errorf("retention of %s: %w", canaryTopic, err)
	}
	topic, err := got.On(canaryTopic, nil)
	if err == nil {
		err = topic.Err
	}
	if err != nil {
		return 0, fmt.Errorf("retention of %s: %w", canaryTopic, err)
	}
	var sum time.Duration
	for _, key := range []string{"retention.ms", "segment.ms"} {
		i := slices.IndexFunc(topic.Configs, func(c kadm.Config) bool { return c.Key == key })
		if i < 0 || topic.Configs[i].Value == nil {
			return 0, fmt.Errorf("retention of %s: the brokers do not say %s", canaryTopic, key)
		}
		ms, err := strconv.ParseInt(*topic.Configs[i].Value, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("retention of %s: %s %q", canaryTopic, key, *topic.Configs[i].Value)
		}
		if ms < 0 { // kept for ever
			return 1<<63 - 1, nil
		}
		sum += time.Duration(ms) * time.Millisecond
	}
	return sum, nil
}

// Close removes the mark when nothing is left that it would have to be found by. A run that could not go on may be tried again, and left its lines
// when it was killed.
func (e *env) Close(ctx context.Context) error {
	for _, g := range e.sending() {
		g.Client.CloseIdleConnections()
	}
	for _, c := range e.scrapers {
		c.CloseIdleConnections()
	}
	if e.session.GoesOn && !e.generated {
		return nil
	}
	gone := e.jobs.End(ctx)
	switch {
	case e.writing != nil && e.writing():
		e.logger.Warn("the canary's generator could not be told to stop and may write to the end of its plan; the run's mark stays until then", "mark", e.mark.Name)
		return gone
	case gone != nil || e.generated && !e.purged: // sim down finds Jobs by their run's mark
		e.logger.Warn("not everything of the run was taken out; its mark stays for sim down", "mark", e.mark.Name)
		if e.late > 0 {
			e.mark.Late, e.mark.Until = e.late, time.Now().Add(min(e.kept, maxLate))
		}
		return errors.Join(gone, e.end(ctx, e.mark))
	}
	return e.unmark(ctx, e.mark)
}
