//go:build !embedded_only

package kind

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Container names one container of one pod.
type Container struct {
	Cluster, Namespace, Pod, Name string
}

// String returns cluster/namespace/pod/name.
func (c Container) String() string {
	return c.Cluster + "/" + c.Namespace + "/" + c.Pod + "/" + c.Name
}

// validName is what Kubernetes allows in names of pods, containers and namespaces. Names go into shell scripts.
var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

func (c Container) check() error {
	for _, s := range []string{c.Namespace, c.Pod, c.Name} {
		if !validName.MatchString(s) {
			return fmt.Errorf("container %s: %q is not a name", c, s)
		}
	}
	return nil
}

// task is a running container as the node knows it.
type task struct {
	node, id string
	pid      int
}

// findScript prints "<id> <pid>" of the running tasks of a container. It asks the node, not the API server: it has to work when the
// API server does not answer.
func (c Container) findScript() string {
	return fmt.Sprintf(`triad_find() {
  want=$(ctr -n k8s.io containers ls -q 'labels."io.kubernetes.pod.namespace"==%s,labels."io.kubernetes.pod.name"==%s,labels."io.kubernetes.container.name"==%s')
  [ -n "$want" ] || return 0
  ctr -n k8s.io tasks ls | while read -r id pid state; do
    [ "$state" = RUNNING ] || continue
    for w in $want; do if [ "$w" = "$id" ]; then echo "$id $pid"; fi; done
  done
}
`, quoteFilter(c.Namespace), quoteFilter(c.Pod), quoteFilter(c.Name))
}

// quoteFilter quotes a value for containerd's filter language, in which a bare word may not hold a dash.
func quoteFilter(s string) string { return strconv.Quote(s) }

// find returns the running task of a container.
func (r *Runtime) find(ctx context.Context, c Container) (task, error) {
	if err := c.check(); err != nil {
		return task{}, err
	}
	nodes, err := r.runningNodes(ctx, c.Cluster)
	if err != nil {
		return task{}, err
	}
	for _, n := range nodes {
		out, err := r.sh(ctx, n.Name, c.findScript()+"triad_find\n")
		if err != nil {
			return task{}, err
		}
		line, _, _ := strings.Cut(out, "\n")
		id, pid, ok := strings.Cut(line, " ")
		if !ok {
			continue
		}
		p, err := strconv.Atoi(pid)
		if err != nil {
			return task{}, fmt.Errorf("container %s: process id %q", c, pid)
		}
		return task{n.Name, id, p}, nil
	}
	return task{}, fmt.Errorf("container %s: does not run on any node", c)
}

// Kill sends SIGKILL to a container's first process, in its node: a crash, as the kernel's out-of-memory killer makes one. Everything
// in the container dies with it, and the kubelet starts it again at once (after a back-off when it was killed before). The fault has
// no duration: Heal does nothing, and Gone says whether the container runs again.
func (r *Runtime) Kill(ctx context.Context, c Container) (*Fault, error) {
	t, err := r.find(ctx, c)
	if err != nil {
		return nil, err
	}
	id, err := newFaultID()
	if err != nil {
		return nil, err
	}
	// It waits until the process is gone: the proof is in the same breath, before the kubelet starts the next.
	out, err := r.sh(ctx, t.node, fmt.Sprintf(`set -eu
before=$(cut -d' ' -f22 /proc/%[2]d/stat)
ctr -n k8s.io task kill -s SIGKILL %[1]s
for i in $(seq 100); do
  now=$(cut -d' ' -f22 /proc/%[2]d/stat 2>/dev/null || true)
  state=$(cut -d' ' -f3 /proc/%[2]d/stat 2>/dev/null || true)
  if [ "$now" != "$before" ] || [ "$state" = Z ]; then date -u +%%s.%%N; exit 0; fi
  sleep 0.05
done
exit 1
`, t.id, t.pid))
	if err != nil {
		return nil, fmt.Errorf("kill %s: %w", c, err)
	}
	at := parseUnix(out)
	f := &Fault{ID: id, Kind: "kill", Target: c.String(), Nodes: []string{t.node}, Started: at}
	f.hits = func(context.Context) (Proof, error) {
		return Proof{1, fmt.Sprintf("process %d of container %.12s on %s was gone at %s", t.pid, t.id, t.node, at.UTC().Format("15:04:05.000"))}, nil
	}
	f.heal = func(context.Context) error { return nil }
	f.gone = func(ctx context.Context) (Proof, error) {
		now, err := r.find(ctx, c)
		if err != nil {
			return Proof{1, err.Error()}, nil //nolint:nilerr // a process that is not found is what is left of the kill
		}
		return Proof{0, fmt.Sprintf("runs again as process %d", now.pid)}, nil
	}
	return f, nil
}

func parseUnix(s string) time.Time {
	sec, frac, _ := strings.Cut(strings.TrimSpace(s), ".")
	n, err := strconv.ParseInt(sec, 10, 64)
	if err != nil {
		return time.Now()
	}
	ns, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	return time.Unix(n, ns)
}

// holdScript is the loop that kills what comes up. Containerd is asked only when the processes of the pod have changed, for two seconds from
// then on (a container that is made does not run at once), and every three seconds because the pod may be another one: asking it five times
// a second took 40 % of a processor for as long as the fault lasted. $1 is the fault's folder, $2 the process that is there now.
const holdScript = `
uid=$(grep -o 'pod[0-9a-f]\{8\}[-_][0-9a-f_-]\{27\}' /proc/$2/cgroup | head -n 1)
last=none hot=0 idle=0
while [ -f $1/undo ]; do
  if [ -n "$uid" ]; then now=$(grep -ls -- "$uid" /proc/[0-9]*/cgroup | tr '\n' ' '); else now=any; fi
  if [ "$now" = any ] || [ "$now" != "$last" ]; then hot=10; fi
  if [ $hot -gt 0 ] || [ $idle -ge 15 ]; then
    idle=0
    triad_find | while read -r id pid; do
      ctr -n k8s.io task kill -s SIGKILL $id 2>/dev/null && echo "$(date -u +%s.%N) $pid" >> $1/kills
    done
  fi
  last=$now hot=$((hot - 1)) idle=$((idle + 1))
  sleep 0.2
done
`

// HoldDown keeps a container dead for a time: it is killed with SIGKILL whenever it comes up, by a loop in the node that ends by
// itself. When it ends, by Heal or by its time, the pod is replaced, so that the kubelet's back-off, which the kills have driven up,
// does not lengthen the outage. The pod is replaced by its owner: use it on pods that have one.
func (r *Runtime) HoldDown(ctx context.Context, c Container, last time.Duration) (*Fault, error) {
	t, err := r.find(ctx, c)
	if err != nil {
		return nil, err
	}
	id, err := newFaultID()
	if err != nil {
		return nil, err
	}
	dir := faultDir + "/" + id
	inject := fmt.Sprintf(`cat > %[1]s/loop <<'LOOP'
%[2]s
LOOP
setsid nohup sh %[1]s/loop %[1]s %[3]d >/dev/null 2>&1 &
for i in $(seq 100); do [ -s %[1]s/kills ] && exit 0; sleep 0.05; done
exit 1`, dir, c.findScript()+holdScript, t.pid)
	// The kubelet's own credentials may delete the pods of its node, and every kind node has kubectl.
	undo := fmt.Sprintf("rm -f %s/undo\nsleep 0.3\nkubectl --kubeconfig /etc/kubernetes/kubelet.conf -n %s delete pod %s --grace-period=0 --force --wait=false 2>/dev/null || true", dir, c.Namespace, c.Pod)
	if err := r.armed(ctx, t.node, id, inject, undo, last); err != nil {
		return nil, fmt.Errorf("hold down %s: %w", c, err)
	}
	now := time.Now()
	f := &Fault{ID: id, Kind: "hold-down", Target: c.String(), Nodes: []string{t.node}, Started: now, Until: now.Add(last)}
	f.hits = func(ctx context.Context) (Proof, error) {
		out, err := r.sh(ctx, t.node, "cat "+dir+"/kills 2>/dev/null || true")
		n := int64(len(strings.Fields(out)) / 2)
		return Proof{n, fmt.Sprintf("killed %d times on %s, again whenever it came up", n, t.node)}, err
	}
	f.heal = func(ctx context.Context) error { return r.disarm(ctx, t.node, id) }
	f.gone = func(ctx context.Context) (Proof, error) { return r.leftIn(ctx, []string{t.node}, id) }
	return f, nil
}

// leftIn says on how many nodes a fault is still armed.
func (r *Runtime) leftIn(ctx context.Context, nodes []string, id string) (Proof, error) {
	left := int64(0)
	for _, n := range nodes {
		out, err := r.sh(ctx, n, fmt.Sprintf("ls -d %s/%s 2>/dev/null || true", faultDir, id))
		if err != nil {
			return Proof{1, err.Error()}, err
		}
		if out != "" {
			left++
		}
	}
	return Proof{left, fmt.Sprintf("armed on %d of %d nodes", left, len(nodes))}, nil
}

// pidsScript prints the ids of all processes in the process namespace of a process.
const pidsScript = `triad_pids() {
  ns=$(readlink /proc/$1/ns/pid) || return 0
  for p in /proc/[0-9]*; do if [ "$(readlink $p/ns/pid 2>/dev/null)" = "$ns" ]; then echo ${p#/proc/}; fi; done
}
`

// Stop stops all processes of a container with SIGSTOP: it hangs, its connections stay open. The node sends SIGCONT when the time is
// over. A liveness probe that runs out in between makes the kubelet kill the container, as it would a hanging one in production.
func (r *Runtime) Stop(ctx context.Context, c Container, last time.Duration) (*Fault, error) {
	t, err := r.find(ctx, c)
	if err != nil {
		return nil, err
	}
	id, err := newFaultID()
	if err != nil {
		return nil, err
	}
	// Process ids are used again: the start time, field 22 of stat, tells whether it is still the same. Each is noted before it is stopped: who is
	// ended in between leaves nothing that the undo does not know.
	inject := fmt.Sprintf("%sfor p in $(triad_pids %d); do echo \"$p $(cut -d' ' -f22 /proc/$p/stat 2>/dev/null)\" >> %s/%s/pids; kill -STOP $p 2>/dev/null || true; done", pidsScript, t.pid, faultDir, id)
	undo := fmt.Sprintf(`while read -r p start; do [ "$(cut -d' ' -f22 /proc/$p/stat 2>/dev/null)" = "$start" ] && kill -CONT $p; done < %s/%s/pids || true`, faultDir, id)
	if err := r.armed(ctx, t.node, id, inject, undo, last); err != nil {
		return nil, fmt.Errorf("stop %s: %w", c, err)
	}
	now := time.Now()
	f := &Fault{ID: id, Kind: "stop", Target: c.String(), Nodes: []string{t.node}, Started: now, Until: now.Add(last)}
	stopped := func(ctx context.Context) (Proof, error) {
		out, err := r.sh(ctx, t.node, fmt.Sprintf("%sfor p in $(triad_pids %d); do sed 's/.*) //' /proc/$p/stat 2>/dev/null | cut -c1; done", pidsScript, t.pid))
		n := int64(strings.Count(out, "T"))
		return Proof{n, fmt.Sprintf("%d of %d processes stopped", n, len(strings.Fields(out)))}, err
	}
	f.hits, f.gone = stopped, stopped
	f.heal = func(ctx context.Context) error { return r.disarm(ctx, t.node, id) }
	return f, nil
}
