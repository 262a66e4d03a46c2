//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The lease of a freeze: the harness renews it while it lives, and the watchdog unfreezes the nodes when it runs out. A frozen node
// cannot undo anything itself.
const (
	leaseTTL   = 15 * time.Second
	leaseEvery = 5 * time.Second
)

// watchdogScript unfreezes the nodes ($3...) by the engine ($2) when the deadline in the lease file ($1) has passed. A lease that is
// gone was healed: the nodes are not touched, another freeze may have begun since. It reads the clock, not a countdown: a machine that slept wakes up late and acts at once.
const watchdogScript = `lease=$1; engine=$2; shift 2
while until=$(cat "$lease" 2>/dev/null); do
  if [ "$(date +%s)" -ge "$until" ]; then break; fi
  sleep 1
done
[ -f "$lease" ] || exit 0
for n in "$@"; do "$engine" unpause "$n" >/dev/null 2>&1; done
rm -f "$lease"
`

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
	end := time.Now().Add(last + undoGrace)
	lease := filepath.Join(r.leaseDir(), id)
	renew := func() error {
		until := time.Now().Add(leaseTTL)
		if until.After(end) {
			until = end
		}
		return writeFileAtomic(lease, []byte(strconv.FormatInt(until.Unix(), 10)), 0o600)
	}
	if err := renew(); err != nil {
		return nil, fmt.Errorf("freeze %s: %w", cluster, err)
	}
	// The watchdog is there before the first node is paused: there is no moment in which a dead harness leaves it paused.
	if err := startDetached("sh", append([]string{"-c", watchdogScript, "triad-watchdog", lease, r.engine.Bin}, names(nodes)...)...); err != nil {
		_ = os.Remove(lease)
		return nil, fmt.Errorf("freeze %s: watchdog: %w", cluster, err)
	}
	stop := make(chan struct{})
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		for {
			select {
			case <-stop:
				return
			case <-time.After(leaseEvery):
				if _, err := os.Stat(lease); err != nil || renew() != nil {
					return
				}
			}
		}
	}()
	f := &Fault{ID: id, Kind: "freeze", Target: cluster, Nodes: names(nodes)}
	var once sync.Once
	f.heal = func(ctx context.Context) error {
		once.Do(func() { close(stop) })
		<-renewed
		var errs []error
		for _, n := range f.Nodes {
			if _, err := r.engine.Run(ctx, "unpause", n); err != nil && !strings.Contains(err.Error(), "is not paused") {
				errs = append(errs, err)
			}
		}
		if err := os.Remove(lease); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
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
		if _, err := r.engine.Run(ctx, "pause", n); err != nil {
			uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nodeTimeout)
			defer cancel()
			return nil, errors.Join(fmt.Errorf("freeze %s: %w", cluster, err), f.heal(uctx))
		}
	}
	f.Started = time.Now()
	f.Until = f.Started.Add(last)
	return f, nil
}

// dropLeases removes every lease: the watchdogs see that and end. The nodes have to be unpaused before.
func (r *Runtime) dropLeases() error {
	if err := os.RemoveAll(r.leaseDir()); err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	return nil
}
