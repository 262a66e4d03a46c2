//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/kind/pkg/cluster"

	"triad/internal/kube"
)

// Deadlines of the steps. A cluster takes 20 to 40 s on two cores; the figures leave room for a busy laptop, not for a stuck one.
const (
	createTimeout   = 8 * time.Minute
	nodesTimeout    = 3 * time.Minute
	startTimeout    = 90 * time.Second
	pullTimeout     = 15 * time.Minute
	undoTimeout     = 60 * time.Second // for deleting what a cancelled create made
	collectTimeout  = 30 * time.Second // for reading the logs of nodes that did not come up
	deleteTimeout   = 60 * time.Second
	failedLogsLines = "40"
)

// ErrForeign says that a cluster of the wanted name is not Triad's. ErrDifferent says that it is, and not as asked for.
var (
	ErrForeign   = errors.New("cluster is not Triad's")
	ErrDifferent = errors.New("cluster is of another version or configuration")
)

// EnsureClusters brings every cluster up: it makes the absent ones, starts and unpauses what is stopped, makes half-made ones
// again, and refuses foreign ones and, without Options.Recreate, different ones. It works on all clusters at once, and returns when
// every node of all of them is Ready. Calling it again changes nothing. When ctx ends, clusters that were being made are deleted
// before it returns; those that were complete stay.
func (r *Runtime) EnsureClusters(ctx context.Context) error {
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.ensureNodeImage(ctx); err != nil {
		return err
	}
	profile, err := r.chooseProfile(ctx)
	if err != nil {
		return err
	}
	word := "three Kafka workers in three zones"
	if profile.Single {
		word = "one node a cluster"
	}
	r.progress("profile", kube.StateInfo, word+": "+profile.Why)
	imageID, err := r.engine.ImageID(ctx, r.opts.NodeImage)
	if err != nil {
		return err
	}
	// All are looked at before any is touched: a cluster that has to be refused must not cost the making of the others.
	hosts := r.hosts()
	jobs := make([]clusterJob, len(hosts))
	for i, c := range hosts {
		if jobs[i], err = r.prepareCluster(ctx, c, profile, imageID); err != nil {
			r.progress("cluster "+c, kube.StateFail, err.Error())
			return err
		}
	}
	// One that fails does not take the others with it: the next up begins where this one ended.
	errs := make([]error, len(jobs))
	var wg sync.WaitGroup
	for i, j := range jobs {
		wg.Go(func() {
			if errs[i] = r.ensureCluster(ctx, j); errs[i] != nil {
				r.progress("cluster "+j.name, kube.StateFail, errs[i].Error())
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// clusterJob is what has to be done about one cluster.
type clusterJob struct {
	name  string
	cfg   *v1alpha4.Cluster
	state clusterState
	found Assessment
}

// prepareCluster looks at a cluster and refuses what must not be touched.
func (r *Runtime) prepareCluster(ctx context.Context, name string, profile Profile, imageID string) (clusterJob, error) {
	cfg, err := r.clusterConfig(name, profile)
	if err != nil {
		return clusterJob{}, err
	}
	print, err := fingerprint(cfg, imageID)
	if err != nil {
		return clusterJob{}, err
	}
	a, err := r.assess(ctx, name, print, len(cfg.Nodes))
	if err != nil {
		return clusterJob{}, err
	}
	if err := a.foreign(); err != nil {
		return clusterJob{}, err
	}
	switch {
	case a.Condition == Different && !r.opts.Recreate:
		return clusterJob{}, fmt.Errorf("cluster %s: %w: %s (`sim up --recreate` makes it anew, and what is in it is lost)", name, ErrDifferent, a.Detail)
	case a.Condition == Absent:
		if err := r.nameIsFree(ctx, name); err != nil {
			return clusterJob{}, err
		}
	}
	st := clusterState{Phase: phaseCreating, NodeImage: r.opts.NodeImage, ImageID: imageID, Fingerprint: print, Nodes: len(cfg.Nodes), Created: time.Now().UTC()}
	return clusterJob{name, cfg, st, a}, nil
}

func (r *Runtime) ensureNodeImage(ctx context.Context) error {
	id, err := r.engine.ImageID(ctx, r.opts.NodeImage)
	if err != nil || id != "" {
		return err
	}
	// kind would pull it too, but cannot be stopped while it does.
	ctx, cancel := context.WithTimeoutCause(ctx, pullTimeout, fmt.Errorf("not pulled within %s", pullTimeout))
	defer cancel()
	r.progress("node image", kube.StateStart, "pulling "+r.opts.NodeImage)
	if _, err := r.engine.Run(ctx, "pull", r.opts.NodeImage); err != nil {
		return fmt.Errorf("node image %s: %w (set TRIAD_NODE_IMAGE to one that this engine has)", r.opts.NodeImage, err)
	}
	r.progress("node image", kube.StateDone, r.opts.NodeImage)
	return nil
}

func (r *Runtime) ensureCluster(ctx context.Context, j clusterJob) error {
	name, cfg, a := j.name, j.cfg, j.found
	step, started := "cluster "+name, time.Now()
	did := ""
	switch a.Condition {
	case Different, HalfMade:
		r.progress(step, kube.StateInfo, a.Detail)
		if err := r.deleteCluster(ctx, name, a.Nodes); err != nil {
			return err
		}
		fallthrough
	case Absent:
		r.progress(step, kube.StateStart, fmt.Sprintf("creating %d nodes", len(cfg.Nodes)))
		if err := r.create(ctx, name, cfg, j.state); err != nil {
			return err
		}
		did = "created"
	case Frozen, Stopped:
		r.progress(step, kube.StateStart, a.Detail+": starting them")
		if err := r.startNodes(ctx, a.Nodes); err != nil {
			return fmt.Errorf("cluster %s: %w", name, err)
		}
		err := r.ensureKubeconfig(name)
		if err == nil {
			err = r.awaitHeartbeats(ctx, name)
		}
		if err != nil {
			return fmt.Errorf("cluster %s: %w", name, err)
		}
		did = "started"
	}
	if err := r.awaitNodes(ctx, name, len(cfg.Nodes)); err != nil {
		return err
	}
	nodes := a.Nodes
	if did != "" {
		var err error
		if nodes, err = r.Nodes(ctx, name); err != nil {
			return err
		}
	}
	if err := r.awaitPods(ctx, name, nodes); err != nil {
		return err
	}
	if did == "" {
		r.progress(step, kube.StateSkip, a.Detail)
	} else {
		r.progress(step, kube.StateDone, fmt.Sprintf("%s in %s", did, time.Since(started).Round(100*time.Millisecond)))
	}
	return nil
}

// ensureKubeconfig writes a kubeconfig file that was lost again.
func (r *Runtime) ensureKubeconfig(name string) error {
	if _, err := os.Stat(r.KubeconfigPath(name)); err == nil {
		return nil
	}
	if err := r.provider().ExportKubeConfig(NamePrefix+name, r.KubeconfigPath(name), false); err != nil {
		return fmt.Errorf("kubeconfig of %s: %w", name, err)
	}
	r.dropClient(name)
	return nil
}

// awaitHeartbeats waits until the kubelets of nodes that were started again have written what is so now.
func (r *Runtime) awaitHeartbeats(ctx context.Context, name string) error {
	c, err := r.Client(name)
	if err != nil {
		return err
	}
	return c.WaitHeartbeats(ctx, nodesTimeout)
}

// lately is how long after the start of a node, by whomever, its pods may still be told of as they were before.
const lately = 10 * time.Minute

// awaitPods waits, where nodes were started a moment ago, until what the API tells of their pods is of now. Pods that are told of as ready are not
// there, and their addresses lead nowhere, or out of the cluster.
func (r *Runtime) awaitPods(ctx context.Context, name string, nodes []Node) error {
	started := map[string]time.Time{}
	for _, n := range nodes {
		if time.Since(n.Started) < lately {
			started[n.Name] = n.Started
		}
	}
	if len(started) == 0 {
		return nil
	}
	c, err := r.Client(name)
	if err != nil {
		return err
	}
	if err := c.WaitStarted(ctx, started, nodesTimeout); err != nil {
		return fmt.Errorf("cluster %s: %w", name, err)
	}
	return nil
}

// awaitNodes waits for the nodes of a cluster itself, because kind's own wait only warns.
func (r *Runtime) awaitNodes(ctx context.Context, name string, n int) error {
	if err := r.ensureKubeconfig(name); err != nil {
		return err
	}
	c, err := r.Client(name)
	if err != nil {
		return err
	}
	if err := c.WaitNodes(ctx, n, nodesTimeout); err != nil {
		return fmt.Errorf("cluster %s: %w", name, err)
	}
	refs := []kube.Ref{
		{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "kube-system", Name: "coredns"},
		{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "local-path-storage", Name: "local-path-provisioner"},
	}
	return c.WaitReady(ctx, refs, nodesTimeout, nil)
}

// create makes a cluster that is not there. kind's library takes no context: it runs in a goroutine, and when ctx ends its nodes are
// deleted under it until it has returned.
func (r *Runtime) create(ctx context.Context, name string, cfg *v1alpha4.Cluster, st clusterState) error {
	if err := r.prepareDir(name); err != nil {
		return err
	}
	// Written before the first container is there: what a kill leaves behind is known as half-made.
	if err := r.writeState(name, st); err != nil {
		return err
	}
	r.dropClient(name)
	ctx, cancel := context.WithTimeoutCause(ctx, createTimeout, fmt.Errorf("not created within %s", createTimeout))
	defer cancel()
	p := r.provider()
	done := make(chan error, 1)
	go func() {
		done <- p.Create(NamePrefix+name, cluster.CreateWithV1Alpha4Config(cfg), cluster.CreateWithKubeconfigPath(r.KubeconfigPath(name)),
			// On failure the nodes are kept until their logs are read; the runtime deletes them itself.
			cluster.CreateWithRetain(true), cluster.CreateWithDisplayUsage(false), cluster.CreateWithDisplaySalutation(false))
	}()
	var err error
	select {
	case err = <-done:
		if err == nil {
			err = r.awaitNodes(ctx, name, st.Nodes)
		}
		if err == nil {
			st.Phase = phaseReady
			return r.writeState(name, st)
		}
		if ctx.Err() == nil {
			err = fmt.Errorf("cluster %s: %w%s", name, err, r.collectNodeLogs(ctx, name))
			if r.opts.Keep {
				// It stays marked as being made: the next up knows it as half-made and makes it anew.
				return fmt.Errorf("%w\n  its nodes are kept as they are: %s exec -it %s%s-control-plane bash", err, r.engine.Bin, NamePrefix, name)
			}
		}
	case <-ctx.Done():
		err = fmt.Errorf("cluster %s: %w", name, context.Cause(ctx))
		r.abandon(ctx, name, done)
	}
	uctx, ucancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer ucancel()
	nodes, nerr := r.ownNodes(uctx, name)
	return errors.Join(err, nerr, r.deleteCluster(uctx, name, nodes))
}

// abandon ends a create that nobody wants any more: it takes the nodes away until kind's library gives up and returns.
func (r *Runtime) abandon(ctx context.Context, name string, done <-chan error) {
	uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	for {
		if nodes, err := r.ownNodes(uctx, name); err == nil && len(nodes) > 0 {
			_ = r.removeContainers(uctx, nodes)
		}
		select {
		case <-done: //nolint:errcheck // the error is that it was abandoned
			return
		case <-uctx.Done():
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// ownNodes returns the nodes of a cluster that this state folder made: between the look and the making another harness can have
// taken the name, and what is undone then must not be its.
func (r *Runtime) ownNodes(ctx context.Context, name string) ([]Node, error) {
	nodes, err := r.Nodes(ctx, name)
	return slices.DeleteFunc(nodes, func(n Node) bool { return !n.Owned || n.Elsewhere != "" }), err
}

// nameIsFree finds containers that have the names of nodes to be and are of no kind cluster: kind would fail on them half way.
func (r *Runtime) nameIsFree(ctx context.Context, name string) error {
	out, err := r.engine.Run(ctx, "ps", "-a", "--filter", "name=^/?"+NamePrefix+name+"-", "--format", "{{.Names}}")
	if err != nil {
		return err
	}
	if out != "" {
		return fmt.Errorf("cluster %s: %w: containers of its name are there: %s (remove them with `%s rm -f`)", name, ErrForeign, strings.Join(strings.Fields(out), " "), r.engine.Bin)
	}
	return nil
}

func (r *Runtime) startNodes(ctx context.Context, nodes []Node) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not started within %s", startTimeout))
	defer cancel()
	for _, n := range nodes {
		var err error
		switch n.State {
		case "running":
		case "paused":
			_, err = r.engine.Run(ctx, "unpause", n.Name)
		default:
			_, err = r.engine.Run(ctx, "start", n.Name)
		}
		if err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	return nil
}

// collectNodeLogs writes the logs of a cluster's nodes to LogDir and returns the end of the kubelet's for the error message.
func (r *Runtime) collectNodeLogs(ctx context.Context, name string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), collectTimeout)
	defer cancel()
	nodes, err := r.Nodes(ctx, name)
	if err != nil || len(nodes) == 0 {
		return ""
	}
	var b strings.Builder
	for _, n := range nodes {
		dir := filepath.Join(r.opts.LogDir, n.Name)
		if os.MkdirAll(dir, 0o755) != nil {
			continue
		}
		out, _ := r.engine.Run(ctx, "logs", n.Name)
		_ = os.WriteFile(filepath.Join(dir, "container.log"), []byte(out), 0o644)
		for _, unit := range []string{"kubelet", "containerd"} {
			out, _ := r.engine.Run(ctx, "exec", n.Name, "journalctl", "--no-pager", "-u", unit)
			_ = os.WriteFile(filepath.Join(dir, unit+".log"), []byte(out), 0o644)
		}
		if last, err := r.engine.Run(ctx, "exec", n.Name, "journalctl", "--no-pager", "-p", "err", "-n", failedLogsLines, "-u", "kubelet", "-o", "cat"); err == nil && last != "" {
			fmt.Fprintf(&b, "\n  errors of the kubelet on %s:\n  %s", n.Name, strings.ReplaceAll(last, "\n", "\n  "))
		}
	}
	fmt.Fprintf(&b, "\n  logs of its nodes: %s", r.opts.LogDir)
	return b.String()
}
