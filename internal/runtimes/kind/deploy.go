//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/kind/pkg/cluster/nodes"

	"triad/internal/images"
	"triad/internal/kube"
	"triad/internal/manifests"
)

// Deadlines of the deployment's waits. On two cores everything is ready after three to four minutes.
const (
	readyTimeout  = 6 * time.Minute
	secretTimeout = 60 * time.Second // between a user's Ready and its password being there
)

// up is Up without collecting logs when it fails.
func (r *Runtime) up(ctx context.Context, o DeployOptions) (*Plan, error) {
	// The plan is made while the clusters are: both take time and neither needs the other.
	type planned struct {
		plan *Plan
		err  error
	}
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	if err := r.dropLeftOver(ctx); err != nil {
		return nil, err
	}
	pctx, cancel := context.WithCancel(ctx)
	defer cancel()
	made := make(chan planned, 1)
	go func() {
		p, err := r.Plan(pctx, o)
		made <- planned{p, err}
	}()
	err := r.EnsureClusters(ctx)
	if err != nil {
		cancel()
	}
	p := <-made
	if err := errors.Join(err, p.err); err != nil {
		return nil, err
	}
	if err := r.LoadImages(ctx, p.plan); err != nil {
		return nil, err
	}
	return p.plan, r.Deploy(ctx, p.plan, o)
}

// LoadImages puts the plan's images into the nodes of its clusters, from this machine's engine; what is missing there is pulled
// or made first. Images that a node has with the same content are left alone.
func (r *Runtime) LoadImages(ctx context.Context, p *Plan) error {
	started := time.Now()
	r.progress("images", kube.StateStart, "")
	_, arch := r.platform()
	sources := map[string]images.Source{p.Own.Ref: images.FromOwn(p.Own)}
	var refs []string
	for _, c := range p.Clusters {
		for _, ref := range p.Images[c] {
			src := p.sources[ref]
			if src == "" {
				src = ref
			}
			if _, ok := sources[ref]; !ok && !slices.Contains(refs, src) {
				refs = append(refs, src)
			}
		}
	}
	for _, m := range p.made {
		if slices.Contains(refs, m.Ref) {
			if err := r.ensureMade(ctx, m); err != nil {
				return err
			}
		}
	}
	resolved, err := images.Resolve(ctx, r.engine, arch, refs, r.progress)
	if err != nil {
		return err
	}
	for _, s := range resolved {
		sources[s.NodeRef] = s
	}
	want := map[nodes.Node][]images.Source{}
	known := map[string]nodes.Node{} // one cluster may hold the parts of several
	for _, c := range p.Clusters {
		list, err := r.provider().ListInternalNodes(NamePrefix + r.host(c))
		if err != nil {
			return fmt.Errorf("nodes of %s: %w", c, err)
		}
		for _, n := range list {
			if known[n.String()] == nil {
				known[n.String()] = n
			}
			n = known[n.String()]
			for _, ref := range p.Images[c] {
				if !slices.ContainsFunc(want[n], func(s images.Source) bool { return s.NodeRef == sources[ref].NodeRef }) {
					want[n] = append(want[n], sources[ref])
				}
			}
		}
	}
	loaded, err := images.Load(ctx, r.engine, r.info, want)
	if err != nil {
		return err
	}
	fresh := 0
	for _, l := range loaded {
		fresh += len(l.Loaded)
		r.progress("images", kube.StateInfo, fmt.Sprintf("%s: %d loaded, %d were there, %s", l.Node, len(l.Loaded), l.Present, l.Took.Round(100*time.Millisecond)))
	}
	state := kube.StateDone
	if fresh == 0 {
		state = kube.StateSkip
	}
	if err := images.PruneOwn(p.Own); err != nil {
		r.progress("images", kube.StateInfo, err.Error()) // it costs space and nothing else
	}
	r.progress("images", state, fmt.Sprintf("%d loaded in %s", fresh, time.Since(started).Round(100*time.Millisecond)))
	return nil
}

// errElsewhere ends the work on one cluster when another has failed: its own error would only hide the first.
var errElsewhere = errors.New("the deployment of another cluster has failed")

// deployment is the state of one Deploy, shared by the clusters that are deployed side by side.
type deployment struct {
	*Runtime
	plan    *Plan
	flows   []manifests.Flow // those of the plan whose ends are both there
	set     manifests.Set
	secrets secrets
	kafka   chan struct{} // closed when the brokers, topics and users are ready
}

// Deploy applies the plan to running clusters and waits until everything is ready. All clusters are worked on at once; what needs
// Kafka's certificates and passwords follows when they are there.
func (r *Runtime) Deploy(ctx context.Context, p *Plan, o DeployOptions) error {
	started := time.Now()
	set := o.Set
	var err error
	if set.Dir() == "" {
		if set, err = manifests.Open(r.opts.Manifests); err != nil {
			return err
		}
	}
	if err := r.keepImages(); err != nil {
		return err
	}
	// Rules first: a workload that starts before them has talked already.
	if err := r.enforceFlows(ctx, p.Flows, func(cluster string) bool { return !o.Alone || slices.Contains(p.Clusters, cluster) }); err != nil {
		return err
	}
	d := &deployment{Runtime: r, plan: p, set: set, kafka: make(chan struct{})}
	if d.flows, err = r.presentFlows(ctx, p.Flows); err != nil {
		return err
	}
	if d.secrets, err = r.secrets(ctx, p, o.Alone); err != nil {
		return err
	}
	if !slices.Contains(p.Clusters, Kafka) {
		close(d.kafka)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make([]error, len(p.Clusters))
	var wg sync.WaitGroup
	for i, c := range p.Clusters {
		wg.Go(func() {
			err := d.cluster(ctx, c)
			if err == nil {
				err = d.sweep(ctx, c)
			}
			switch {
			case err == nil:
			case errors.Is(err, errElsewhere):
				r.progress("deploy "+c, kube.StateFail, "given up: "+errElsewhere.Error())
			default:
				r.progress("deploy "+c, kube.StateFail, err.Error())
				errs[i] = fmt.Errorf("deployment of %s: %w", c, err)
				cancel(errElsewhere)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	r.progress("deploy", kube.StateDone, fmt.Sprintf("everything is ready after %s", time.Since(started).Round(time.Second)))
	return nil
}

// presentFlows leaves out the flows to clusters that are not there: a part of the system can be deployed alone.
func (r *Runtime) presentFlows(ctx context.Context, flows []manifests.Flow) ([]manifests.Flow, error) {
	there, err := r.presentClusters(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(flows), func(f manifests.Flow) bool { return there[f.To.Cluster] == nil }), nil
}

// cluster deploys one cluster: what needs nothing from elsewhere, then what needs Kafka, then what needs the store to be set up.
func (d *deployment) cluster(ctx context.Context, name string) error {
	started := time.Now()
	step := "deploy " + name
	d.progress(step, kube.StateStart, "")
	c, err := d.Client(name)
	if err != nil {
		return err
	}
	first, needKafka, connectors, err := d.split(ctx, c, name)
	if err != nil {
		return err
	}
	jobs, first, err := d.jobs(ctx, c, name, first)
	if err != nil {
		return err
	}
	if err := d.apply(ctx, c, name, first); err != nil {
		return err
	}
	d.progress(step, kube.StateInfo, fmt.Sprintf("%d objects applied after %s", len(first), time.Since(started).Round(100*time.Millisecond)))
	if name == Kafka {
		if err := c.WaitReady(ctx, readyRefs(first), readyTimeout, d.progress); err != nil {
			return err
		}
		close(d.kafka)
		d.progress(step, kube.StateDone, fmt.Sprintf("ready after %s", time.Since(started).Round(time.Second)))
		return nil
	}
	if len(needKafka) > 0 {
		if err := d.afterKafka(ctx, c, name, needKafka); err != nil {
			return err
		}
	}
	if err := d.finishJobs(ctx, c, name, jobs, first); err != nil {
		return err
	}
	if err := c.Apply(ctx, connectors, d.progress); err != nil {
		return err
	}
	if err := c.WaitReady(ctx, readyRefs(slices.Concat(first, needKafka, connectors)), readyTimeout, d.progress); err != nil {
		return err
	}
	d.progress(step, kube.StateDone, fmt.Sprintf("ready after %s", time.Since(started).Round(time.Second)))
	return nil
}

// split sorts a cluster's objects, generated ones included, by what they have to wait for. A pod that is applied before a Secret that
// it mounts is retried by the kubelet after up to two minutes; applying it later is faster.
func (d *deployment) split(ctx context.Context, c *kube.Client, name string) (first, needKafka, connectors []kube.Object, err error) {
	if first, err = d.newAssets(ctx, c, d.set, name); err != nil {
		return nil, nil, nil, err
	}
	generated, err := d.generated(ctx, name)
	if err != nil {
		return nil, nil, nil, err
	}
	first = append(first, generated...)
	if err := d.keep(name, generated); err != nil {
		return nil, nil, nil, err
	}
	for _, o := range d.plan.Objects[name] {
		obj := kube.Object{Object: map[string]any(o)}
		switch {
		case o.Kind() == "KafkaConnector":
			connectors = append(connectors, obj)
		case mentions(o, manifests.KafkaCASecret) || mentions(o, manifests.KafkaUserSecret):
			needKafka = append(needKafka, obj)
		default:
			first = append(first, obj)
		}
	}
	return first, needKafka, connectors, nil
}

// keep notes what a cluster gets, for the evidence. Definitions are left out: manifests/assets.yaml pins them.
func (d *deployment) keep(name string, generated []kube.Object) error {
	objects := slices.Clone(d.plan.Objects[name])
	for i := range generated {
		objects = append(objects, manifests.Object(generated[i].Object))
	}
	y, err := manifests.Stream(objects)
	if err == nil {
		d.plan.applied.Store(name, y)
	}
	return err
}

// mentions says whether any text in an object is exactly s.
func mentions(v any, s string) bool {
	switch t := v.(type) {
	case manifests.Object:
		return mentions(map[string]any(t), s)
	case map[string]any:
		for _, e := range t {
			if mentions(e, s) {
				return true
			}
		}
	case []any:
		for _, e := range t {
			if mentions(e, s) {
				return true
			}
		}
	case string:
		return t == s
	}
	return false
}

// afterKafka waits for the brokers and their users, copies what gives access to them, and applies what uses it.
func (d *deployment) afterKafka(ctx context.Context, c *kube.Client, name string, objects []kube.Object) error {
	select {
	case <-d.kafka:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	sctx, cancel := context.WithTimeoutCause(ctx, secretTimeout, fmt.Errorf("kafka's secrets are not there after %s", secretTimeout))
	defer cancel()
	for {
		err := d.copyKafkaAccess(sctx, name)
		if err == nil {
			break
		}
		select {
		case <-sctx.Done():
			return fmt.Errorf("access of %s to kafka: %w", name, errors.Join(context.Cause(sctx), err))
		case <-time.After(time.Second):
		}
	}
	return d.apply(ctx, c, name, objects)
}

// readyRefs returns references to those of the objects whose readiness says something.
func readyRefs(objects []kube.Object) []kube.Ref {
	var refs []kube.Ref
	for i := range objects {
		o := &objects[i]
		switch {
		case slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, o.GetKind()), strings.HasPrefix(o.GetAPIVersion(), "kafka.strimzi.io/"):
			refs = append(refs, kube.RefOf(o))
		}
		// A resource may be called ready while its pods are rolled; the set of them says whether the roll is over.
		set := ""
		switch o.GetKind() {
		case "KafkaNodePool":
			set = o.GetLabels()["strimzi.io/cluster"] + "-" + o.GetName()
		case "KafkaConnect":
			set = o.GetName() + "-connect"
		}
		if set != "" {
			refs = append(refs, kube.Ref{APIVersion: kube.PodSetAPI, Kind: kube.PodSetKind, Namespace: o.GetNamespace(), Name: set})
		}
	}
	return refs
}
