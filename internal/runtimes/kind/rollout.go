//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	"triad/internal/revision"
)

const (
	// rollComponent is the component that holds the change that is rolled out unless a revision is asked for.
	rollComponent = "roll-forward"
	// rollLabel is on everything that was rolled forward, and on nothing else: what a harness that died has left is found by it,
	// whatever became of the state folder.
	rollLabel = "triad.dev/roll"
	rollValue = "forward"
	rollMark  = rollLabel + "=" + rollValue
	// strimziGroup is of the resources on which it is an annotation; see mark.
	strimziGroup = "kafka.strimzi.io"
	// pruneTimeout is for deleting what rolling back leaves no place for.
	pruneTimeout = time.Minute
)

// rollout is a change that was rolled out to every cluster.
type rollout struct {
	fault.Findings

	e        *env
	from, to *Plan
	toOpts   DeployOptions
	words    string
	release  func()
	owned    map[string]bool // objects with a field of Triad's, before

	mu     sync.Mutex
	hits   int
	seen   string
	healed bool
}

var (
	_ fault.Roller   = (*env)(nil)
	_ fault.Reporter = (*rollout)(nil)
)

// Manifests are those of this run, without the scenario's settings.
func (e *env) Manifests() manifests.Set { return e.commit }

// RollOut compares the clusters with what is rendered, deploys the change as any deployment is made, and waits until it is ready.
// Healing deploys what was there before and deletes what that leaves no place for.
func (e *env) RollOut(ctx context.Context, to string, _ time.Duration) (fault.Active, error) {
	r := &rollout{e: e, from: e.plan, toOpts: e.deploy, words: "component " + rollComponent, release: func() {}}
	switch rev, ok := strings.CutPrefix(to, "rev:"); {
	case ok:
		var err error
		if r.toOpts.Set, r.release, err = manifestsAt(ctx, e.opts.Manifests, rev); err != nil {
			return nil, err
		}
		r.words = "revision " + rev
	case to == "":
		r.toOpts.Components = append(slices.Clone(e.deploy.Components), rollComponent)
	default:
		return nil, fmt.Errorf("roll-out to %q: want nothing, or rev:REVISION", to)
	}
	err := r.forward(ctx)
	if err != nil {
		// Part of it may be there. The run's own context may be over, and going back must not be.
		uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fault.Patience("roll-out"))
		defer cancel()
		return nil, errors.Join(err, r.Heal(uctx))
	}
	return r, nil
}

func (r *rollout) forward(ctx context.Context) error {
	var err error
	if r.to, err = r.e.Plan(ctx, r.toOpts); err != nil {
		return err
	}
	var changes []string
	for _, c := range r.from.Clusters {
		for _, d := range manifests.Compare(c, r.from.Objects[c], r.to.Objects[c]) {
			changes = append(changes, place(c, d.Object, d.Path))
		}
		for _, o := range r.to.Objects[c] {
			mark(o)
		}
	}
	if r.owned, err = r.e.owned(ctx); err != nil {
		return err
	}
	drift, n, err := r.e.deviations(ctx, r.from)
	if err != nil {
		return err
	}
	r.report(evidence.RolloutBefore, sameOr(drift), drift, map[string]int{"objects": n, "drift": len(drift)})
	if err := r.e.LoadImages(ctx, r.to); err != nil {
		return err
	}
	if err := r.e.Deploy(ctx, r.to, r.toOpts); err != nil {
		return err
	}
	missing, n, err := r.e.deviations(ctx, r.to)
	if err != nil {
		return err
	}
	state, detail := evidence.RolloutThere, changes
	if len(missing) > 0 {
		state, detail = evidence.RolloutMissing, missing
	} else {
		r.hits, r.seen = len(changes), fmt.Sprintf("%d places changed by %s, %d objects are as it renders them", len(changes), r.words, n)
	}
	r.report(evidence.RolloutForward, state, detail, map[string]int{"objects": n, "changed": len(changes), "missing": len(missing)})
	return nil
}

// Target names the change.
func (r *rollout) Target() string { return "every cluster, by " + r.words }

// Hits are the places that the change changes, once all of it was seen live.
func (r *rollout) Hits(context.Context) (uint64, string, error) { return uint64(r.hits), r.seen, nil }

// Heal rolls back, compares everything again, and looks for what is left over.
func (r *rollout) Heal(ctx context.Context) error {
	r.mu.Lock()
	done := r.healed
	r.mu.Unlock()
	if done {
		return nil
	}
	defer r.release()
	if err := r.e.Deploy(ctx, r.from, r.e.deploy); err != nil {
		return err
	}
	if r.to != nil {
		if err := r.prune(ctx); err != nil {
			return err
		}
	}
	drift, n, err := r.e.deviations(ctx, r.from)
	if err != nil {
		return err
	}
	now, err := r.e.owned(ctx)
	if err != nil {
		return err
	}
	left := 0
	found := slices.Clone(drift)
	for ref := range now {
		if r.owned != nil && !r.owned[ref] {
			left++
			found = append(found, ref+": left over")
		}
	}
	for ref := range r.owned {
		if !now[ref] {
			left++
			found = append(found, ref+": was there before, and is gone")
		}
	}
	slices.Sort(found)
	r.report(evidence.RolloutAfter, sameOr(found), found, map[string]int{"objects": n, "drift": len(drift), "left": left})
	r.mu.Lock()
	r.healed = true
	r.mu.Unlock()
	return nil
}

// prune deletes the objects that only the change has, as a GitOps controller with pruning does.
func (r *rollout) prune(ctx context.Context) error {
	for _, c := range r.from.Clusters {
		keep := map[kube.Ref]bool{}
		for _, o := range kube.FromMaps(manifests.Maps(r.from.Objects[c])) {
			keep[kube.RefOf(&o)] = true
		}
		var gone []kube.Ref
		for _, o := range kube.FromMaps(manifests.Maps(r.to.Objects[c])) {
			if ref := kube.RefOf(&o); !keep[ref] {
				gone = append(gone, ref)
			}
		}
		if err := r.e.clients[c].Delete(ctx, gone, pruneTimeout); err != nil {
			return err
		}
	}
	return nil
}

// Gone looks whether anything still carries the mark of the change, by the ConfigMaps: every change marks them, and the comparison that
// follows rolling back looks at everything else.
func (r *rollout) Gone(ctx context.Context) (bool, error) {
	rolled, err := r.e.rolledClusters(ctx)
	return err == nil && len(rolled) == 0, err
}

func (r *rollout) report(stage, state string, what []string, counts map[string]int) {
	e := evidence.Event{Kind: evidence.EventRollout, Name: stage, State: state, Detail: evidence.Named(what), Attrs: map[string]string{"to": r.words}}
	for k, n := range counts {
		e.Attrs[k] = strconv.Itoa(n)
	}
	r.Note(e)
}

func sameOr(found []string) string {
	if len(found) > 0 {
		return evidence.RolloutDrift
	}
	return evidence.RolloutSame
}

func place(cluster, object string, path []string) string {
	s := cluster + " " + object
	if len(path) > 0 {
		s += ": " + strings.Join(path, "/")
	}
	return s
}

// mark puts the label of the change on an object itself, not on pods that it makes: that would restart them. Strimzi hands the
// labels of its resources down to pods, so there it is an annotation.
func mark(o manifests.Object) {
	meta, _ := o["metadata"].(map[string]any)
	where := "labels"
	if strings.HasPrefix(o.APIVersion(), strimziGroup+"/") {
		where = "annotations"
	}
	m, _ := meta[where].(map[string]any)
	if m == nil {
		m = map[string]any{}
		meta[where] = m
	}
	m[rollLabel] = rollValue
}

// deviations compares every rendered object of a plan with the clusters, but for Jobs: see kept.
func (e *env) deviations(ctx context.Context, p *Plan) (found []string, objects int, err error) {
	lists := make([][]string, len(p.Clusters))
	g, gctx := errgroup.WithContext(ctx)
	for i, c := range p.Clusters {
		var want []kube.Object
		for _, o := range kube.FromMaps(manifests.Maps(p.Objects[c])) {
			if kept(&o) {
				want = append(want, o)
			}
		}
		objects += len(want)
		g.Go(func() error {
			want, err := stamp(gctx, e.clients[c], p.Objects[c], want)
			if err != nil {
				return err
			}
			ds, err := e.clients[c].Deviations(gctx, want)
			for _, d := range ds {
				lists[i] = append(lists[i], deviation(c, d)...)
			}
			return err
		})
	}
	err = g.Wait()
	return slices.Concat(lists...), objects, err
}

// deviation says where an object is not as rendered.
func deviation(cluster string, d kube.Deviation) []string {
	if d.Live == nil {
		return []string{cluster + " " + d.Ref.Kind + "/" + d.Ref.Name + ": not there"}
	}
	var out []string
	for _, x := range manifests.Compare(cluster, []manifests.Object{kube.Content(d.Live)}, []manifests.Object{kube.Content(d.Want)}) {
		out = append(out, place(cluster, x.Object, x.Path))
	}
	return out
}

// kept says whether an object is there to stay: a Job is run, and goes away by itself some time after it has.
func kept(o *kube.Object) bool { return o.GetKind() != "Job" }

// owned returns the names of all objects of the clusters in which Triad owns a field, and which are kept.
func (e *env) owned(ctx context.Context) (map[string]bool, error) {
	out := map[string]bool{}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	for _, c := range e.plan.Clusters {
		g.Go(func() error {
			return e.eachOwned(gctx, c, func(o *kube.Object) error {
				mu.Lock()
				defer mu.Unlock()
				out[c+" "+kube.RefOf(o).String()] = true
				return nil
			})
		})
	}
	return out, g.Wait()
}

// eachOwned calls fn for every object of a cluster in which Triad owns a field, and which is kept.
func (e *env) eachOwned(ctx context.Context, cluster string, fn func(o *kube.Object) error) error {
	objects, err := e.clients[cluster].Owned(ctx)
	if err != nil {
		return err
	}
	for i := range objects {
		if !kept(&objects[i]) {
			continue
		}
		if err := fn(&objects[i]); err != nil {
			return err
		}
	}
	return nil
}

// healRolls rolls back what a harness that died had rolled out: it deploys the manifests and deletes what still carries the mark.
func (r *Runtime) healRolls(ctx context.Context) ([]Healed, error) {
	rolled, err := r.rolledClusters(ctx)
	if err != nil || len(rolled) == 0 {
		return nil, err
	}
	if _, err := r.Up(ctx, DeployOptions{}); err != nil {
		return nil, fmt.Errorf("roll back: %w", err)
	}
	var healed []Healed
	for _, c := range rolled {
		healed = append(healed, Healed{c, "roll-out"})
	}
	return healed, nil
}

// rolledClusters are the running clusters in which something carries the mark. Every roll marks ConfigMaps.
func (r *Runtime) rolledClusters(ctx context.Context) ([]string, error) {
	there, err := r.presentClusters(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range r.opts.Clusters {
		if there[c] == nil {
			continue
		}
		if _, err := os.Stat(r.KubeconfigPath(c)); err != nil {
			continue // half-made: nothing was deployed
		}
		client, err := r.Client(c)
		if err != nil {
			return nil, err
		}
		maps, err := client.List(ctx, "v1", "ConfigMap", "", rollMark)
		if err != nil {
			return nil, err
		}
		if len(maps) > 0 {
			out = append(out, c)
		}
	}
	return out, nil
}

// sweep deletes what a roll-out of a harness that died has left in a cluster, after the manifests were deployed over it.
func (d *deployment) sweep(ctx context.Context, name string) error {
	if slices.ContainsFunc(d.plan.Objects[name], func(o manifests.Object) bool { return o.Labels()[rollLabel] != "" }) {
		return nil // it is being rolled out now
	}
	c, err := d.Client(name)
	if err != nil {
		return err
	}
	// Strimzi's resources first, which carry an annotation: the label of the rest says to whoever comes after a failure that there is something left.
	gone, err := d.leftOfStrimzi(ctx, c, name)
	if err == nil {
		err = c.Delete(ctx, gone, pruneTimeout)
	}
	if err != nil {
		return err
	}
	maps, err := c.List(ctx, "v1", "ConfigMap", "", rollMark)
	if err == nil && len(maps) > 0 {
		var labelled []kube.Ref
		labelled, err = c.DeleteLabelled(ctx, "", rollMark, pruneTimeout)
		gone = append(gone, labelled...)
	}
	if len(gone) > 0 {
		d.progress("deploy "+name, kube.StateInfo, fmt.Sprintf("%d objects that an interrupted roll-out had left are deleted", len(gone)))
	}
	return err
}

// leftOfStrimzi are the resources of Strimzi in a cluster that carry the mark of a roll-out and are in no manifest.
func (d *deployment) leftOfStrimzi(ctx context.Context, c *kube.Client, name string) ([]kube.Ref, error) {
	keep := map[string]bool{}
	for _, o := range kube.FromMaps(manifests.Maps(d.plan.Objects[name])) {
		keep[kube.RefOf(&o).String()] = true
	}
	found, err := c.InGroup(ctx, strimziGroup)
	var left []kube.Ref
	for i := range found {
		if ref := kube.RefOf(&found[i]); found[i].GetAnnotations()[rollLabel] == rollValue && !keep[ref.String()] {
			left = append(left, ref)
		}
	}
	return left, err
}

// manifestsAt unpacks the manifests of a git revision. The caller calls release when it needs them no more.
func manifestsAt(ctx context.Context, dir, rev string) (set manifests.Set, release func(), err error) {
	if rev == "" || strings.HasPrefix(rev, "-") {
		return set, nil, fmt.Errorf("revision %q: not the name of one", rev)
	}
	tmp, err := os.MkdirTemp("", "triad-revision-")
	if err != nil {
		return set, nil, fmt.Errorf("manifests of revision %s: %w", rev, err)
	}
	release = func() { _ = os.RemoveAll(tmp) }
	if err = revision.Unpack(ctx, dir, rev, tmp, "."); err == nil {
		set, err = manifests.Open(tmp)
	}
	if err != nil {
		release()
		return set, nil, fmt.Errorf("manifests of revision %s: %w", rev, err)
	}
	return set, release, nil
}
