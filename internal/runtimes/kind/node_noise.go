//go:build !embedded_only

package kind

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Kinds of noise.
const (
	noiseCPU = "cpu"
	noiseIO  = "io"
)

// noiseScripts are what one loop does. A pass of io writes and syncs 64 MiB over the same file, so it fills no disk.
var noiseScripts = map[string]string{
	noiseCPU: "while :; do :; done",
	noiseIO:  "while dd if=/dev/zero of=/var/lib/triad-noise-%[1]s.$n bs=1M count=64 conv=fsync 2>/dev/null; do echo 64 >> %[2]s/written; done",
}

// Noise runs busy loops in the first node of a cluster: a neighbour that asks for nothing and takes what it gets. They are a slice of
// their own beside all pods, with the weight of all of them, and end by themselves: the service manager of the node kills them when
// their time is over, and the undo does so before.
func (r *Runtime) Noise(ctx context.Context, cluster, kind string, loops int, last time.Duration) (*Fault, error) {
	script, ok := noiseScripts[kind]
	if !ok || loops < 1 {
		return nil, fmt.Errorf("noise in %s: %d loops of %q: want one or more of cpu or io", cluster, loops, kind)
	}
	nodes, err := r.runningNodes(ctx, cluster)
	if err != nil {
		return nil, err
	}
	node := names(nodes)[0]
	id, err := newFaultID()
	if err != nil {
		return nil, err
	}
	unit, dir := "triad-noise-"+id, faultDir+"/"+id
	if kind == noiseIO {
		script = fmt.Sprintf(script, id, dir)
	}
	inject := fmt.Sprintf(`cat > %[1]s/noise <<'NOISE'
n=0
while [ $n -lt %[2]d ]; do
  ( %[3]s ) &
  n=$((n+1))
done
wait
NOISE
systemd-run --quiet --unit=%[4]s --slice=triadnoise.slice --property=RuntimeMaxSec=%[5]d /bin/sh %[1]s/noise`,
		dir, loops, script, unit, int((last+undoGrace)/time.Second))
	undo := fmt.Sprintf(`systemctl kill --signal=KILL %[1]s.service 2>/dev/null || true
systemctl stop %[1]s.service 2>/dev/null || true
systemctl reset-failed %[1]s.service 2>/dev/null || true
rm -f /var/lib/triad-noise-%[2]s.*`, unit, id)
	if err := r.armed(ctx, node, id, inject, undo, last); err != nil {
		return nil, fmt.Errorf("noise in %s: %w", cluster, err)
	}
	now := time.Now()
	f := &Fault{ID: id, Kind: "noise", Target: fmt.Sprintf("node %s, %d loops of %s", node, loops, kind), Nodes: []string{node}, Started: now, Until: now.Add(last)}
	f.hits = func(ctx context.Context) (Proof, error) {
		if kind == noiseIO {
			out, err := r.sh(ctx, node, "cat "+dir+"/written 2>/dev/null | wc -l")
			n, _ := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
			return Proof{n, fmt.Sprintf("%d MiB written and synced by %d loops on %s", 64*n, loops, node)}, err
		}
		// Not from the service manager: on control groups of version 1 it does not know.
		out, err := r.sh(ctx, node, ticksScript+"ticks $(grep -slz '^"+dir+"/noise$' /proc/[0-9]*/cmdline | cut -d/ -f3)")
		n, _ := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
		used := time.Duration(n) * procTick
		return Proof{int64(used / (100 * time.Millisecond)), fmt.Sprintf("%.1f s of processor time burned by %d loops on %s", used.Seconds(), loops, node)}, err
	}
	f.heal = func(ctx context.Context) error { return r.disarm(ctx, node, id) }
	f.gone = func(ctx context.Context) (Proof, error) {
		left, err := r.leftIn(ctx, []string{node}, id)
		if err != nil || left.Hits > 0 {
			return left, err
		}
		out, err := r.sh(ctx, node, "systemctl show -p ActiveState --value "+unit+".service; ls /var/lib/triad-noise-"+id+".* 2>/dev/null | wc -l")
		if err == nil && out != "inactive\n0" {
			return Proof{1, "unit and files: " + strings.ReplaceAll(out, "\n", ", ")}, nil
		}
		return Proof{0, "no loop and no file left"}, err
	}
	return f, nil
}
