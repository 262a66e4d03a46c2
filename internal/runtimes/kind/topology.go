//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"triad/internal/evidence"
)

// Topologies: three clusters, or the same parts in one.
const (
	TopologyThree = "three"
	TopologyOne   = "one"
)

// oneCluster is the kind cluster that holds the parts of all three, and the component that they need for it.
const (
	oneCluster   = "one"
	oneComponent = "one-cluster"
)

// Caps are limits on all nodes of a topology together.
type Caps struct {
	CPUs   float64
	Memory int64
}

// capShares is how caps are divided between the nodes of the three clusters: by what they need when idle and under load, measured on the
// clusters themselves (Kafka has three brokers, monitoring the store, the sink and Prometheus).
var capShares = map[string]float64{Datacenter: 0.25, Kafka: 0.40, Monitoring: 0.35}

// host is the kind cluster that a cluster's parts stand in.
func (r *Runtime) host(cluster string) string {
	if _, part := capShares[cluster]; part && r.opts.Topology == TopologyOne {
		return oneCluster
	}
	return cluster
}

// hosts are the kind clusters of the configured clusters, each once.
func (r *Runtime) hosts() []string {
	var out []string
	for _, c := range r.opts.Clusters {
		if h := r.host(c); !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

// components adds what a topology needs to the components of a deployment.
func (r *Runtime) components(given []string) []string {
	if r.opts.Topology == TopologyOne {
		return append(slices.Clone(given), oneComponent)
	}
	return slices.Clone(given)
}

// comparison is what a run that compares topologies changes on the nodes: caps on its own, rest for the others.
type comparison struct {
	topology string
	state    string
	why      string
	caps     map[string]string // node: "N cpus, N MiB"
	frozen   []*Fault
	lift     func(context.Context) error
}

// compare lets the other topology rest and puts the caps on, both for longest when nobody ends them. What cannot be capped is said, and judged as no
// comparison.
func (r *Runtime) compare(ctx context.Context, longest time.Duration) (*comparison, error) {
	c := &comparison{topology: r.opts.Topology, state: evidence.TopologyCapped, lift: func(context.Context) error { return nil }}
	others := []string{oneCluster}
	if c.topology == TopologyOne {
		others = []string{Datacenter, Kafka, Monitoring}
	}
	plain := r.only(others...)
	plain.opts.Topology = ""
	for _, o := range others {
		nodes, err := plain.Nodes(ctx, o)
		if err != nil {
			return c, err
		}
		if !slices.ContainsFunc(nodes, func(n Node) bool { return n.State == "running" && n.Owned && n.Elsewhere == "" }) {
			continue
		}
		f, err := plain.FreezeCluster(ctx, o, longest)
		if err != nil {
			return c, err
		}
		c.frozen = append(c.frozen, f)
	}
	var err error
	if c.caps, c.lift, err = r.capNodes(ctx, longest); err != nil {
		c.state, c.why = evidence.TopologyUncapped, err.Error()
	}
	return c, nil
}

func (c *comparison) event() evidence.Event {
	e := evidence.Event{Kind: evidence.EventTopology, Name: c.topology, State: c.state, Detail: c.why, Attrs: map[string]string{}}
	maps.Copy(e.Attrs, c.caps)
	return e
}

// end lifts the caps and wakes the other topology.
func (c *comparison) end(ctx context.Context) error {
	errs := []error{c.lift(ctx)}
	for _, f := range c.frozen {
		errs = append(errs, f.Heal(ctx))
	}
	return errors.Join(errs...)
}

// liftScript lifts the caps of nodes ($2...), to the machine's memory ($1).
const liftScript = `memory=$1; shift
for n in "$@"; do "$engine" update --cpu-quota -1 --memory "$memory" --memory-swap "$memory" "$n" >/dev/null 2>&1; done
`

func (r *Runtime) capsLease() string { return filepath.Join(r.opts.StateDir, "caps.lease") }

// capNodes caps every node of the topology, reads the caps back, and returns what lifts them. They end by themselves when the harness dies, and at
// longest after the given time.
func (r *Runtime) capNodes(ctx context.Context, longest time.Duration) (seen map[string]string, lift func(context.Context) error, err error) {
	nothing := func(context.Context) error { return nil }
	want := map[string]Caps{}
	for _, h := range r.hosts() {
		nodes, err := r.runningNodes(ctx, h)
		if err != nil {
			return nil, nothing, err
		}
		share := 1.0
		if s, part := capShares[h]; part {
			share = s
		}
		for _, n := range nodes {
			want[n.Name] = Caps{r.opts.Caps.CPUs * share / float64(len(nodes)), int64(float64(r.opts.Caps.Memory) * share / float64(len(nodes)))}
		}
	}
	if r.opts.Caps.Memory > r.info.MemoryBytes {
		return nil, nothing, fmt.Errorf("a cap of %d MiB caps nothing: the engine has %d MiB", r.opts.Caps.Memory>>20, r.info.MemoryBytes>>20)
	}
	capped := slices.Sorted(maps.Keys(want))
	stop, err := r.guardCaps(capped, longest)
	if err != nil {
		return nil, nothing, err
	}
	lift = func(ctx context.Context) error {
		stop()
		if err := r.liftCaps(ctx, capped); err != nil {
			return err
		}
		if err := os.Remove(r.capsLease()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	seen = map[string]string{}
	for name, c := range want {
		_, err := r.engine.Run(ctx, "update", "--cpu-period", "100000", "--cpu-quota", strconv.Itoa(int(c.CPUs*100000)), "--memory", strconv.FormatInt(c.Memory, 10), "--memory-swap", strconv.FormatInt(c.Memory, 10), name)
		if err != nil {
			return seen, lift, fmt.Errorf("cap of node %s: %w", name, err)
		}
		got, err := r.capsOf(ctx, name)
		if err != nil {
			return seen, lift, err
		}
		if got.Memory != c.Memory || got.CPUs < c.CPUs-0.01 || got.CPUs > c.CPUs+0.01 {
			return seen, lift, fmt.Errorf("cap of node %s: wanted %.2f CPUs and %d MiB, the engine says %.2f and %d", name, c.CPUs, c.Memory>>20, got.CPUs, got.Memory>>20)
		}
		seen[name] = fmt.Sprintf("%.2f CPUs, %d MiB", got.CPUs, got.Memory>>20)
	}
	return seen, lift, nil
}

// capsOf reads the caps of a node back; zero is none.
func (r *Runtime) capsOf(ctx context.Context, node string) (Caps, error) {
	out, err := r.engine.Run(ctx, "container", "inspect", "--format", "{{.HostConfig.CpuQuota}} {{.HostConfig.CpuPeriod}} {{.HostConfig.Memory}}", node)
	if err != nil {
		return Caps{}, err
	}
	f := strings.Fields(out)
	if len(f) != 3 {
		return Caps{}, fmt.Errorf("caps of node %s: the engine says %q", node, out)
	}
	quota, err1 := strconv.ParseFloat(f[0], 64)
	period, err2 := strconv.ParseFloat(f[1], 64)
	memory, err3 := strconv.ParseInt(f[2], 10, 64)
	c := Caps{Memory: memory}
	if quota > 0 && period > 0 {
		c.CPUs = quota / period
	}
	return c, errors.Join(err1, err2, err3)
}

// liftCaps gives nodes all of the machine again. An engine takes no cap of memory away from a running container: the whole memory is none.
// The limit with swap is a number too: with -1 the engine raises the memory first, and the kernel refuses it (cgroup v1).
func (r *Runtime) liftCaps(ctx context.Context, nodes []string) error {
	var errs []error
	for _, n := range nodes {
		whole := strconv.FormatInt(r.info.MemoryBytes, 10)
		_, err := r.engine.Run(ctx, "update", "--cpu-quota", "-1", "--memory", whole, "--memory-swap", whole, n)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// healCaps lifts every cap that a harness which died has left on the nodes.
func (r *Runtime) healCaps(ctx context.Context, nodes []Node) ([]Healed, error) {
	var healed []Healed
	var errs []error
	for _, n := range nodes {
		c, err := r.capsOf(ctx, n.Name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if c.CPUs == 0 && (c.Memory == 0 || c.Memory >= r.info.MemoryBytes) {
			continue
		}
		if err := r.liftCaps(ctx, []string{n.Name}); err != nil {
			errs = append(errs, err)
			continue
		}
		healed = append(healed, Healed{n.Name, "caps"})
	}
	return healed, errors.Join(errs...)
}

// guardCaps starts the watchdog that lifts the caps when the harness has died, and renews its lease.
func (r *Runtime) guardCaps(nodes []string, longest time.Duration) (stop func(), err error) {
	return r.lease(r.capsLease(), longest, liftScript, append([]string{strconv.FormatInt(r.info.MemoryBytes, 10)}, nodes...))
}

// EndComparison removes the cluster that holds the parts of all three: nothing else uses it, and beside the others it takes half of a processor.
func (r *Runtime) EndComparison(ctx context.Context) error { return r.remove(ctx, oneCluster) }
