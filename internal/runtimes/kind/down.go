//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"triad/internal/kube"
)

// Down deletes every cluster of Triad's and everything that was kept about them: containers with their volumes, kubeconfig files,
// state, images made for them, watchdogs. It works after an Up that did not end. A foreign cluster of the same name is left alone
// and is no error. kind's own network stays, as `kind delete cluster` leaves it.
func (r *Runtime) Down(ctx context.Context) error {
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	clusters, err := r.ownClusters(ctx)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(clusters))
	for i, c := range clusters {
		wg.Go(func() { errs[i] = r.downOne(ctx, c) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, sub := range []string{"images", "leases", "logs"} {
		if err := os.RemoveAll(filepath.Join(r.opts.StateDir, sub)); err != nil {
			return fmt.Errorf("state folder: %w", err)
		}
	}
	// Their watchdogs see that and end.
	_ = os.Remove(r.addedLease())
	_ = os.Remove(r.capsLease())
	// The lock file goes last; the folder too when nothing else is in it.
	_ = os.Remove(filepath.Join(r.opts.StateDir, runLock))
	_ = os.Remove(filepath.Join(r.opts.StateDir, "lock"))
	_ = os.Remove(r.opts.StateDir)
	return nil
}

// ownClusters returns the configured clusters and every other one that has a folder in the state folder, such as add-cluster's.
func (r *Runtime) ownClusters(context.Context) ([]string, error) {
	clusters := r.hosts()
	seen := map[string]bool{}
	for _, c := range clusters {
		seen[c] = true
	}
	entries, err := os.ReadDir(r.opts.StateDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // no folder, no entries
		return nil, fmt.Errorf("state folder: %w", err)
	}
	for _, e := range entries {
		if _, err := os.Stat(r.statePath(e.Name())); err == nil && !seen[e.Name()] {
			clusters = append(clusters, e.Name())
		}
	}
	return clusters, nil
}

func (r *Runtime) downOne(ctx context.Context, name string) error {
	started := time.Now()
	step := "cluster " + name
	nodes, err := r.Nodes(ctx, name)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Elsewhere != "" {
			r.progress(step, kube.StateSkip, "it belongs to the state folder "+n.Elsewhere+": left alone")
			return r.forget(name)
		}
		if !n.Owned {
			r.progress(step, kube.StateSkip, "a cluster of that name is not Triad's: left alone")
			return r.forget(name)
		}
	}
	if err := r.deleteCluster(ctx, name, nodes); err != nil {
		r.progress(step, kube.StateFail, err.Error())
		return err
	}
	if len(nodes) == 0 {
		r.progress(step, kube.StateSkip, "was not there")
		return nil
	}
	r.progress(step, kube.StateDone, fmt.Sprintf("deleted in %s", time.Since(started).Round(100*time.Millisecond)))
	return nil
}

// deleteCluster removes nodes and everything that is kept about their cluster.
func (r *Runtime) deleteCluster(ctx context.Context, name string, nodes []Node) error {
	ctx, cancel := context.WithTimeoutCause(ctx, deleteTimeout, fmt.Errorf("not deleted within %s", deleteTimeout))
	defer cancel()
	if err := r.removeContainers(ctx, nodes); err != nil {
		return fmt.Errorf("cluster %s: %w", name, err)
	}
	r.dropClient(name)
	return r.forget(name)
}

func (r *Runtime) removeContainers(ctx context.Context, nodes []Node) error {
	if len(nodes) == 0 {
		return nil
	}
	args := []string{"rm", "-f", "-v"}
	for _, n := range nodes {
		if n.State == "paused" {
			// A paused process does not see the signal, and some engines refuse.
			_, _ = r.engine.Run(ctx, "unpause", n.Name)
		}
		args = append(args, n.Name)
	}
	_, err := r.engine.Run(ctx, args...)
	return err
}
