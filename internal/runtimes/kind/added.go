//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"triad/internal/evidence"
	"triad/internal/fault"
	"triad/internal/kube"
	"triad/internal/manifests"
	"triad/internal/observe/promapi"
)

const (
	// answerTimeout is how long the series of an added cluster are waited for once its agent is ready: a scrape is due every 5 s, the
	// kubelet's every 15 s.
	answerTimeout = 3 * time.Minute
	// addedTargets are the pods of the added cluster, agent and node exporter, and its node's kubelet.
	addedTargets = 3
)

// removeScript removes the nodes ($2...) of an added cluster and what is kept about it ($1).
const removeScript = `dir=$1; shift
# Twice: an engine may be in the middle of making one.
for i in 1 2; do for n in "$@"; do "$engine" rm -f -v "$n" >/dev/null 2>&1; done; sleep 3; done
rm -rf "$dir"
`

// addedLease is the lease of the added cluster. It is not among those of frozen nodes, which sim heal drops.
func (r *Runtime) addedLease() string { return filepath.Join(r.opts.StateDir, "added.lease") }

// added is the fourth cluster while it is there.
type added struct {
	fault.Findings

	e    *env
	rt   *Runtime // of the added cluster alone
	stop func()   // ends the renewing of the lease
	hits int
	seen string
}

var (
	_ fault.ClusterAdder = (*env)(nil)
	_ fault.Reporter     = (*added)(nil)
)

// only returns a runtime for other clusters of the same state folder and engine.
func (r *Runtime) only(clusters ...string) *Runtime {
	o := r.opts
	o.Clusters = clusters
	return &Runtime{opts: o, engine: r.engine, info: r.info, log: r.log, progress: r.progress, clients: map[string]*kube.Client{}}
}

// AddCluster makes the added cluster, deploys its agent, and waits until its series answer in the central Prometheus. The other clusters
// are compared, object by object and rule by rule, with what they were before.
func (e *env) AddCluster(ctx context.Context, last time.Duration) (fault.Active, error) {
	a := &added{e: e, rt: e.only(manifests.Added)}
	if err := e.removeAdded(ctx); err != nil {
		return nil, err
	}
	before, err := e.elsewhere(ctx)
	if err != nil {
		return nil, err
	}
	if a.stop, err = e.guardAdded(last + fault.Patience("cluster-add")); err != nil {
		return nil, err
	}
	err = a.add(ctx, before)
	if err != nil {
		uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		return nil, errors.Join(err, a.Heal(uctx))
	}
	return a, nil
}

func (a *added) add(ctx context.Context, before map[string]string) error {
	began := time.Now()
	if err := a.rt.EnsureClusters(ctx); err != nil {
		return err
	}
	o := DeployOptions{Set: a.e.deploy.Set, Clusters: []string{manifests.Added}, Alone: true}
	plan, err := a.rt.Plan(ctx, o)
	if err != nil {
		return err
	}
	if plan.Flows, err = o.Set.Flows(manifests.Added); err != nil {
		return err
	}
	if err := a.rt.LoadImages(ctx, plan); err != nil {
		return err
	}
	applied := time.Now()
	if err := a.rt.Deploy(ctx, plan, o); err != nil {
		return err
	}
	ready := time.Now()
	wait, cancel := context.WithTimeoutCause(ctx, answerTimeout, fmt.Errorf("not within %v of the agent being ready", answerTimeout))
	defer cancel()
	access := a.e.Prometheus()
	up, err := promapi.Client{Base: access.URL, HTTP: access.Client}.AwaitTargets(wait, manifests.Added, addedTargets, applied)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	series := evidence.Event{Kind: evidence.EventAdded, Name: evidence.AddedSeries, State: evidence.AddedAnswered, Attrs: map[string]string{
		"cluster": manifests.Added, "targets": strconv.Itoa(up), "seconds": seconds(time.Since(applied)), "ready": seconds(ready.Sub(applied)), "total": seconds(time.Since(began)),
	}}
	if err != nil {
		series.State, series.Detail = evidence.AddedSilent, err.Error()
	} else {
		a.hits, a.seen = up, fmt.Sprintf("%d targets of %s answer in the central Prometheus", up, manifests.Added)
	}
	a.Note(series)
	now, err := a.e.elsewhere(ctx)
	if err != nil {
		return err
	}
	changed := changes(before, now)
	var flows []string
	for _, f := range plan.Flows {
		if f.From.Cluster == manifests.Added {
			flows = append(flows, f.Name)
		}
	}
	state := evidence.AddedUnchanged
	if len(changed) > 0 {
		state = evidence.AddedChanged
	}
	a.Note(evidence.Event{Kind: evidence.EventAdded, Name: evidence.AddedElsewhere, State: state, Detail: evidence.Named(changed), Attrs: map[string]string{
		"objects": strconv.Itoa(len(before)), "changed": strconv.Itoa(len(changed)), "flows": strings.Join(flows, ", "),
	}})
	return nil
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }

// Target names the cluster.
func (a *added) Target() string { return "cluster " + manifests.Added }

// Hits are the targets of the added cluster that the central Prometheus knows.
func (a *added) Hits(context.Context) (uint64, string, error) { return uint64(a.hits), a.seen, nil }

// Heal removes the cluster. The lease is renewed until then: a watchdog that removes it at the same time would be in the way.
func (a *added) Heal(ctx context.Context) error {
	defer a.stop()
	return a.e.removeAdded(ctx)
}

// Gone looks for containers of the cluster, and for what is kept about it.
func (a *added) Gone(ctx context.Context) (bool, error) {
	nodes, err := a.rt.Nodes(ctx, manifests.Added)
	if err != nil || len(nodes) > 0 {
		return false, err
	}
	_, err = os.Stat(a.rt.clusterDir(manifests.Added))
	return errors.Is(err, os.ErrNotExist), nil
}

// guardAdded starts the watchdog that removes the added cluster when the harness has died, and renews its lease.
func (r *Runtime) guardAdded(longest time.Duration) (stop func(), err error) {
	node := NamePrefix + manifests.Added + "-control-plane"
	return r.lease(r.addedLease(), longest, removeScript, []string{r.clusterDir(manifests.Added), node})
}

// removeAdded removes the added cluster, whoever made it, and ends its watchdog. One that is not there is no error, and neither is one
// that is not Triad's: it is left alone.
func (r *Runtime) removeAdded(ctx context.Context) error {
	if err := r.remove(ctx, manifests.Added); err != nil {
		return err
	}
	// Last: until here the watchdog would have done it.
	if err := os.Remove(r.addedLease()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cluster %s: %w", manifests.Added, err)
	}
	return nil
}

// remove removes a cluster that runs made for themselves, if it is there and Triad's.
func (r *Runtime) remove(ctx context.Context, name string) error {
	nodes, err := r.Nodes(ctx, name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(r.clusterDir(name)); err != nil && len(nodes) == 0 {
		return nil
	}
	one := r.only(name)
	unlock, err := one.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := one.downOne(ctx, name); err != nil {
		return err
	}
	r.dropClient(name)
	return nil
}

// leftOver says whether an added cluster is there that no living harness holds: its lease is gone or has run out.
func (r *Runtime) leftOver(ctx context.Context) (bool, error) {
	if slices.Contains(r.opts.Clusters, manifests.Added) {
		return false, nil
	}
	nodes, err := r.Nodes(ctx, manifests.Added)
	if err != nil {
		return false, err
	}
	nodes = slices.DeleteFunc(nodes, func(n Node) bool { return !n.Owned || n.Elsewhere != "" })
	if _, err := os.Stat(r.clusterDir(manifests.Added)); err != nil && len(nodes) == 0 {
		return false, nil
	}
	b, err := os.ReadFile(r.addedLease())
	if err != nil {
		return true, nil //nolint:nilerr // no lease, no holder
	}
	until, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return true, nil //nolint:nilerr // a lease that cannot be read has no holder either
	}
	return time.Now().Unix() >= until, nil
}

// dropLeftOver removes an added cluster that a harness which died has left.
func (r *Runtime) dropLeftOver(ctx context.Context) error {
	left, err := r.leftOver(ctx)
	if err != nil || !left {
		return err
	}
	r.progress("cluster "+manifests.Added, kube.StateInfo, "left over by a run that was killed: it is removed")
	return r.removeAdded(ctx)
}

// elsewhere returns what the clusters of the environment consist of as far as Triad made it: the content of every object in which it owns
// a field, and the packet filter rules of every node.
func (e *env) elsewhere(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	var mu sync.Mutex
	put := func(k, v string) {
		mu.Lock()
		defer mu.Unlock()
		out[k] = v
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, c := range e.opts.Clusters {
		g.Go(func() error {
			return e.eachOwned(gctx, c, func(live *kube.Object) error {
				o := kube.Object{Object: kube.Content(live)}
				b, err := o.MarshalJSON()
				put(c+" "+o.GetKind()+"/"+o.GetName(), string(b))
				return err
			})
		})
		g.Go(func() error {
			nodes, err := e.runningNodes(gctx, c)
			for _, n := range nodes {
				rules, err := e.sh(gctx, n.Name, "iptables -w 5 -S "+flowsChain)
				if err != nil {
					return err
				}
				put(c+" packet filter of "+n.Name, rules)
			}
			return err
		})
	}
	return out, g.Wait()
}

// changes names what differs between two looks.
func changes(before, now map[string]string) []string {
	var out []string
	for k, v := range before {
		switch w, ok := now[k]; {
		case !ok:
			out = append(out, k+": gone")
		case v != w:
			out = append(out, k)
		}
	}
	for k := range now {
		if _, ok := before[k]; !ok {
			out = append(out, k+": new")
		}
	}
	slices.Sort(out)
	return out
}
