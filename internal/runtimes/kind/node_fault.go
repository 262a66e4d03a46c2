//go:build !embedded_only

package kind

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"triad/internal/manifests"
)

const (
	nodeTimeout = 20 * time.Second // for one command in a node
	// maxFault bounds how long a fault may last when nobody ends it: the in-node timers are armed with at most this.
	maxFault = 6 * time.Hour
	// undoGrace is added to a fault's duration before the node ends it by itself, so that the harness, when it lives, is first and can
	// take the proof.
	undoGrace = 10 * time.Second
	// undoAgain is how many seconds after an undo that did not come to its end (the store it speaks to was away) it is tried again.
	undoAgain = 15
	// faultDir is where a node keeps the undo of each fault that it is under. It is in memory, as everything is that it undoes: a node
	// that starts again has neither.
	faultDir = "/run/triad"
	// calledOffDir names the faults whose injection was given up: a shell that an engine starts only then does nothing.
	calledOffDir = "/run/triad-called-off"
)

// Proof says that a fault has an effect, or none.
type Proof struct {
	Hits   int64  // packets, processes, kills, nodes: what the fault counts; 0 means that it did not bite
	Detail string // in words, with the figures it rests on
}

// Fault is something that is done to nodes right now. Its undo does not need the harness: it lies in the node with a timer, or, for a
// frozen node, with a watchdog on the host.
type Fault struct {
	ID      string    // letters and digits; marks rules, units and files
	Kind    string    // kill, hold-down, stop, freeze, cut, shape
	Target  string    // what it is done to, in words
	Nodes   []string  // the node containers that carry it
	Started time.Time // when it was in place
	Until   time.Time // when it ends by itself; zero for a kill, which has no duration

	hits func(context.Context) (Proof, error)
	heal func(context.Context) error
	gone func(context.Context) (Proof, error)
}

// Hits returns the proof that the fault bites. It must be asked while the fault is on; afterwards the figures may be gone with it.
func (f *Fault) Hits(ctx context.Context) (Proof, error) { return f.hits(ctx) }

// Heal ends the fault and waits until that is done. Healing twice is no error, nor healing what has ended by itself.
func (f *Fault) Heal(ctx context.Context) error { return f.heal(ctx) }

// Gone looks whether anything of the fault is left. Proof.Hits counts what is left: 0 means gone.
func (f *Fault) Gone(ctx context.Context) (Proof, error) { return f.gone(ctx) }

// newFaultID returns eight hex digits.
func newFaultID() (string, error) {
	b := make([]byte, 4)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("fault id: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// sh runs a shell script in a node and returns what it printed.
func (r *Runtime) sh(ctx context.Context, node, script string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, nodeTimeout, fmt.Errorf("no answer within %s", nodeTimeout))
	defer cancel()
	var out bytes.Buffer
	// The script goes in by standard input: it can be long, and it must not show up in the node's process list as an argument that a
	// process search would find.
	if err := r.engine.Pipe(ctx, strings.NewReader(script), &out, "exec", "-i", node, "sh", "-s"); err != nil {
		return out.String(), fmt.Errorf("node %s: %w", node, err)
	}
	return strings.TrimRight(out.String(), "\n"), nil
}

// armed runs an inject script in a node after putting its undo there with a timer. The order matters: when the harness dies between
// the two, the timer undoes nothing, which is harmless. The shell outlives the client that started it, so it leaves its process id first.
func (r *Runtime) armed(ctx context.Context, node, id, inject, undo string, last time.Duration) error {
	if last <= 0 || last > maxFault {
		return fmt.Errorf("duration %s: want more than 0 and at most %s", last, maxFault)
	}
	script := fmt.Sprintf(`set -eu
dir=%[1]s/%[2]s
mkdir -p $dir
echo "$$ $(cut -d' ' -f22 /proc/$$/stat)" > $dir/shell
if [ -e %[7]s/%[2]s ]; then rm -rf $dir; exit 1; fi
cat > $dir/undo.new <<'UNDO'
%[3]s
rm -rf %[1]s/%[2]s
systemctl stop triad-undo-%[2]s.timer 2>/dev/null || true
UNDO
mv $dir/undo.new $dir/undo
if ! systemd-run --quiet --unit=triad-undo-%[2]s --on-active=%[4]d --on-unit-inactive=%[6]d --timer-property=AccuracySec=100ms /bin/sh $dir/undo 2>/dev/null; then
  setsid nohup sh -c 'sleep %[4]d; [ -f %[1]s/%[2]s/undo ] && sh %[1]s/%[2]s/undo' >/dev/null 2>&1 &
fi
%[5]s
`, faultDir, id, undo, int((last+undoGrace)/time.Second), inject, undoAgain, calledOffDir)
	if _, err := r.sh(ctx, node, script); err != nil {
		// Part of it may be in place, and the shell may run still, or begin only now.
		uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nodeTimeout)
		defer cancel()
		_, off := r.sh(uctx, node, fmt.Sprintf("mkdir -p %[1]s && : > %[1]s/%[2]s", calledOffDir, id))
		return errors.Join(err, off, r.disarm(uctx, node, id))
	}
	return nil
}

// disarmScript ends a shell that injects still, with what it has started, and runs the undo then: what is done behind the undo nobody undoes. A
// process id is used again, so its start has to be the same (field 22 of stat; field 5 is the group, which an engine gives to each command of its own).
const disarmScript = `dir=%s/%s
if read -r p start 2>/dev/null <$dir/shell && [ "$(cut -d' ' -f22 /proc/$p/stat 2>/dev/null)" = "$start" ]; then
  if [ "$(cut -d' ' -f5 /proc/$p/stat)" = "$p" ]; then p=-$p; fi
  kill -s KILL -- $p 2>/dev/null
  for i in $(seq 50); do kill -s 0 -- $p 2>/dev/null || break; sleep 0.1; done
fi
if [ -f $dir/undo ]; then sh $dir/undo; else rm -rf $dir; fi
`

// disarm runs the undo of a fault in a node, if it is still there.
func (r *Runtime) disarm(ctx context.Context, node, id string) error {
	_, err := r.sh(ctx, node, fmt.Sprintf(disarmScript, faultDir, id))
	return err
}

func (r *Runtime) disarmAll(ctx context.Context, nodes []string, id string) error {
	var errs []error
	for _, n := range nodes {
		errs = append(errs, r.disarm(ctx, n, id))
	}
	return errors.Join(errs...)
}

// armedIn returns the ids of the faults that a node carries.
func (r *Runtime) armedIn(ctx context.Context, node string) ([]string, error) {
	out, err := r.sh(ctx, node, "ls "+faultDir+" 2>/dev/null || true")
	return strings.Fields(out), err
}

// Healed says what HealAll ended.
type Healed struct {
	Node string
	What string
}

// HealAll ends every fault of Triad's on every node, whoever made it and whether or not anything remembers it: it unpauses nodes,
// runs the undo of everything that the nodes carry, lifts caps, removes an added cluster that nobody holds any more, and rolls back what was rolled out. Clusters that are not there are passed over.
func (r *Runtime) HealAll(ctx context.Context) ([]Healed, error) {
	var healed []Healed
	var errs []error
	var all []Node
	paused := false
	own, err := r.ownClusters(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range own {
		nodes, err := r.Nodes(ctx, c)
		if err != nil {
			errs = append(errs, err)
			paused = true // for all that is known
			continue
		}
		for _, n := range nodes {
			if !n.Owned || n.Elsewhere != "" {
				continue
			}
			all = append(all, n)
			if n.State == "paused" {
				if _, err := r.engine.Run(ctx, "unpause", n.Name); err != nil {
					errs = append(errs, err)
					paused = true
					continue
				}
				healed = append(healed, Healed{n.Name, "freeze"})
				n.State = "running"
			}
			if n.State != "running" {
				continue
			}
			ids, err := r.armedIn(ctx, n.Name)
			errs = append(errs, err)
			for _, id := range ids {
				if err := r.disarm(ctx, n.Name, id); err != nil {
					errs = append(errs, err)
					continue
				}
				healed = append(healed, Healed{n.Name, "fault " + id})
			}
			what, err := r.healOrphans(ctx, n.Name)
			errs = append(errs, err)
			for _, w := range what {
				healed = append(healed, Healed{n.Name, w})
			}
		}
	}
	if !paused { // else a watchdog has something to do still
		errs = append(errs, r.dropLeases())
	}
	capped, err := r.healCaps(ctx, all)
	healed, errs = append(healed, capped...), append(errs, err)
	left, err := r.leftOver(ctx)
	if err == nil && left {
		if err = r.removeAdded(ctx); err == nil {
			healed = append(healed, Healed{NamePrefix + manifests.Added, "added cluster"})
		}
	}
	errs = append(errs, err)
	rolled, err := r.healRolls(ctx)
	healed, errs = append(healed, rolled...), append(errs, err)
	return healed, errors.Join(errs...)
}

// orphansScript names what a node has of faults of which it has no undo: the chains of cuts, and the queueing of a slow link.
const orphansScript = `for id in $(iptables -w 5 -S | sed -n 's/^-N TRIAD-CUT-//p'); do [ -d %[1]s/$id ] || echo "cut $id"; done
if ! ls %[1]s/*/own-qdisc >/dev/null 2>&1 && tc qdisc show dev eth0 root | grep -q 'htb 1:'; then echo "slow link"; fi
`

// healOrphans takes away what is left in a node of faults of which it has no undo.
func (r *Runtime) healOrphans(ctx context.Context, node string) (healed []string, err error) {
	out, err := r.sh(ctx, node, fmt.Sprintf(orphansScript, faultDir))
	if err != nil || out == "" {
		return nil, err
	}
	for what := range strings.SplitSeq(out, "\n") {
		undo := "tc qdisc del dev eth0 root"
		if id, cut := strings.CutPrefix(what, "cut "); cut {
			_, undo = cutScripts(id, nil, nil, false, false)
		}
		if _, err := r.sh(ctx, node, undo); err != nil {
			return healed, err
		}
		healed = append(healed, what+" without an undo")
	}
	return healed, nil
}

// runningNodes returns the names of a cluster's nodes, all of which must be running.
func (r *Runtime) runningNodes(ctx context.Context, cluster string) ([]Node, error) {
	nodes, err := r.Nodes(ctx, cluster)
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("cluster %s: is not there", cluster)
	}
	for _, n := range nodes {
		if n.State != "running" {
			return nil, fmt.Errorf("cluster %s: node %s is %s", cluster, n.Name, n.State)
		}
		if !n.Owned || n.Elsewhere != "" {
			return nil, fmt.Errorf("cluster %s: %w", cluster, ErrForeign)
		}
	}
	return nodes, nil
}

func names(nodes []Node) []string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = n.Name
	}
	slices.Sort(out)
	return out
}
