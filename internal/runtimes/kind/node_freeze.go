//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// unfreezeScript unfreezes nodes: a frozen one cannot undo anything itself. An engine that does not answer has not said that none is paused.
const unfreezeScript = `for try in 1 2 3 4 5 6 7 8 9 10; do
  left=0
  for n in "$@"; do "$engine" unpause "$n" >/dev/null 2>&1 || left=1; done
  if [ $left = 0 ]; then break; fi
  paused=$("$engine" ps --filter status=paused --format '{{.Names}}' 2>/dev/null) || { sleep 3; continue; }
  if ! printf '%s\n' "$paused" | grep -qxF "$(printf '%s\n' "$@")"; then break; fi
  sleep 3
done
`

// pauseGap is the time between two tries to pause a node.
const pauseGap = 200 * time.Millisecond

func (r *Runtime) leaseDir() string { return filepath.Join(r.opts.StateDir, "leases") }

// FreezeCluster pauses every node of a cluster: nothing in it runs, and its connections stay open. The nodes go on by themselves when
// last has passed, and 15 s after the harness has died, by a watchdog process on the host that does not need the harness.
func (r *Runtime) FreezeCluster(ctx context.Context, cluster string, last time.Duration) (*Fault, error) {
	if last <= 0 || last > maxFault {
		return nil, fmt.Errorf("freeze %s: duration %s: want more than 0 and at most %s", cluster, last, maxFault)
	}
	nodes, err := r.runningNodes(ctx, cluster)
	if err != nil {
		return nil, fmt.Errorf("freeze: %w", err)
	}
	id, err := newFaultID()
	if err != nil {
		return nil, err
	}
	lease := filepath.Join(r.leaseDir(), id)
	// The watchdog is there before the first node is paused: there is no moment in which a dead harness leaves it paused.
	stop, err := r.lease(lease, last, unfreezeScript, names(nodes))
	if err != nil {
		return nil, fmt.Errorf("freeze %s: %w", cluster, err)
	}
	f := &Fault{ID: id, Kind: "freeze", Target: cluster, Nodes: names(nodes)}
	f.heal = r.unfreeze(f.Nodes, lease, stop)
	paused := func(ctx context.Context) (Proof, error) {
		now, err := r.Nodes(ctx, cluster)
		count := int64(0)
		for _, n := range now {
			if n.State == "paused" {
				count++
			}
		}
		return Proof{count, fmt.Sprintf("%d of %d nodes are paused", count, len(now))}, err
	}
	f.hits, f.gone = paused, paused
	for _, n := range f.Nodes {
		if err := r.pause(ctx, n); err != nil {
			uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nodeTimeout)
			defer cancel()
			return nil, errors.Join(fmt.Errorf("freeze %s: %w", cluster, err), f.heal(uctx))
		}
	}
	f.Started = time.Now()
	f.Until = f.Started.Add(last)
	return f, nil
}

// unfreeze unpauses nodes and takes the watchdog's lease away: not before all of them go on, for else the watchdog tries as well.
func (r *Runtime) unfreeze(nodes []string, lease string, stop func()) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		stop()
		var errs []error
		for _, n := range nodes {
			if _, err := r.engine.Run(ctx, "unpause", n); err != nil && !strings.Contains(err.Error(), "is not paused") {
				errs = append(errs, err)
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		if err := os.Remove(lease); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
}

// pause pauses a node. A cgroup of version 1 freezes only when each of its threads gets to a place where it can stop, and the engine gives
// up after a quarter of a second (runc says "unable to freeze", and lets all of them run again); one of the hundreds of threads of a node
// whose disk is busy may need longer. So it is tried again for undoGrace, which is what the watchdog has to spare.
func (r *Runtime) pause(ctx context.Context, node string) error {
	for began := time.Now(); ; {
		_, err := r.engine.Run(ctx, "pause", node)
		if err == nil || !strings.Contains(err.Error(), "unable to freeze") {
			return err
		}
		if time.Since(began) > undoGrace {
			return fmt.Errorf("%w (tried for %s)", err, undoGrace)
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-time.After(pauseGap):
		}
	}
}

// dropLeases removes every lease: the watchdogs see that and end. The nodes have to be unpaused before.
func (r *Runtime) dropLeases() error {
	if err := os.RemoveAll(r.leaseDir()); err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	return nil
}
