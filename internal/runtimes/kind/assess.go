//go:build !embedded_only

package kind

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"triad/internal/images"
)

// clusterLabel is the label that kind puts on the containers of a cluster.
const clusterLabel = "io.x-k8s.kind.cluster"

// roleLabel is the label that kind puts on a node's container: control-plane, worker or external-load-balancer.
const roleLabel = "io.x-k8s.kind.role"

// Condition is what a look at a cluster's containers says about it.
type Condition string

// The conditions of a cluster.
const (
	Absent    Condition = "absent"    // no containers of that name
	Running   Condition = "running"   // complete, all nodes run
	Stopped   Condition = "stopped"   // complete, some nodes do not run: start them
	Frozen    Condition = "frozen"    // complete, some nodes are paused: unpause them
	HalfMade  Condition = "half-made" // Triad's, but its making did not end: make it again
	Different Condition = "different" // Triad's, of another node image or configuration
	Foreign   Condition = "foreign"   // of the same name and not Triad's, or of another state folder: left alone
)

// Node is one node's container.
type Node struct {
	Name      string // of the container and of the Kubernetes node
	Role      string // control-plane or worker
	State     string // running, paused, exited, created, ...
	IPv4      string // in the kind network; it can change when a node is started again
	IPv6      string
	Gateway   string
	ImageID   string
	Started   time.Time      // when it was started last; zero: not told
	Owned     bool           // carries the mark of a state folder of Triad's
	Elsewhere string         // another state folder that lives and has this node; "" when it is this one's, or its folder is lost
	HostPorts map[int]string // node port -> address on this machine

	mark string // the folder on this machine that is mounted as the mark
}

// Assessment is a cluster's condition, in a word and in a sentence.
type Assessment struct {
	Cluster   string
	Condition Condition
	Detail    string
	Nodes     []Node
}

// foreign is the refusal of a cluster that is not Triad's; nil: it is, or is not there.
func (a Assessment) foreign() error {
	if a.Condition != Foreign {
		return nil
	}
	return fmt.Errorf("cluster %s: %w: %s", a.Cluster, ErrForeign, a.Detail)
}

// engineContainer is the part of an engine's inspect answer that is read; Docker and Podman agree on it.
type engineContainer struct {
	Name   string
	Image  string
	State  struct{ Status, StartedAt string }
	Config struct{ Labels map[string]string }
	Mounts []struct{ Destination, Source string }

	NetworkSettings struct {
		Networks map[string]struct{ IPAddress, GlobalIPv6Address, Gateway string }
		Ports    map[string][]struct{ HostIp, HostPort string }
	}
}

// Nodes returns the node containers of a cluster, the control plane first.
func (r *Runtime) Nodes(ctx context.Context, cluster string) ([]Node, error) {
	out, err := r.engine.Run(ctx, "ps", "-aq", "--filter", "label="+clusterLabel+"="+NamePrefix+r.host(cluster))
	if err != nil {
		return nil, fmt.Errorf("nodes of %s: %w", cluster, err)
	}
	ids := strings.Fields(out)
	if len(ids) == 0 {
		return nil, nil
	}
	nodes, err := inspectNodes(ctx, r.engine, ids)
	for i := range nodes {
		nodes[i].Elsewhere = elsewhere(nodes[i].mark, filepath.Join(r.clusterDir(cluster), "mark"))
	}
	return nodes, err
}

// elsewhere returns the state folder that a mark belongs to when it is another than ours and still knows its cluster. A folder
// without the cluster's state is a lost one: nobody can use that cluster any more, and it may be made again.
func elsewhere(mark, ours string) string {
	// Engines in a virtual machine show paths of this machine below a prefix.
	mark = strings.TrimPrefix(strings.TrimPrefix(mark, "/host_mnt"), "/private")
	if mark == "" || mark == strings.TrimPrefix(ours, "/private") {
		return ""
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(mark), "state.json")); err != nil {
		return ""
	}
	return filepath.Dir(filepath.Dir(mark))
}

func inspectNodes(ctx context.Context, e images.Engine, ids []string) ([]Node, error) {
	out, err := e.Run(ctx, append([]string{"container", "inspect"}, ids...)...)
	if err != nil {
		return nil, fmt.Errorf("node containers: %w", err)
	}
	return parseNodes([]byte(out))
}

func parseNodes(b []byte) ([]Node, error) {
	var cs []engineContainer
	if err := json.Unmarshal(b, &cs); err != nil {
		return nil, fmt.Errorf("node containers: %w", err)
	}
	nodes := make([]Node, 0, len(cs))
	for _, c := range cs {
		n := Node{
			Name: strings.TrimPrefix(c.Name, "/"), Role: c.Config.Labels[roleLabel], State: c.State.Status, ImageID: c.Image, HostPorts: map[int]string{},
		}
		n.Started, _ = time.Parse(time.RFC3339Nano, c.State.StartedAt)
		for _, net := range c.NetworkSettings.Networks {
			n.IPv4, n.IPv6, n.Gateway = net.IPAddress, net.GlobalIPv6Address, net.Gateway
		}
		for _, m := range c.Mounts {
			if m.Destination == ownerMark {
				n.Owned, n.mark = true, m.Source
			}
		}
		for port, binds := range c.NetworkSettings.Ports {
			var p int
			if _, err := fmt.Sscanf(port, "%d/tcp", &p); err == nil && len(binds) > 0 {
				n.HostPorts[p] = binds[0].HostIp + ":" + binds[0].HostPort
			}
		}
		nodes = append(nodes, n)
	}
	sort.Slice(nodes, func(i, j int) bool {
		if (nodes[i].Role == "control-plane") != (nodes[j].Role == "control-plane") {
			return nodes[i].Role == "control-plane"
		}
		return nodes[i].Name < nodes[j].Name
	})
	return nodes, nil
}

// Assess looks at a cluster without changing it. want is the fingerprint that the cluster should have, "" to accept any.
func (r *Runtime) assess(ctx context.Context, cluster, want string, wantNodes int) (Assessment, error) {
	nodes, err := r.Nodes(ctx, cluster)
	if err != nil {
		return Assessment{}, err
	}
	st, known, err := r.readState(cluster)
	if err != nil {
		return Assessment{}, err
	}
	a := Assessment{Cluster: cluster, Nodes: nodes}
	a.Condition, a.Detail = judge(cluster, nodes, st, known, want, wantNodes)
	return a, nil
}

// judge turns what was found into a condition. It is a function of its arguments alone.
func judge(cluster string, nodes []Node, st clusterState, known bool, want string, wantNodes int) (Condition, string) {
	if len(nodes) == 0 {
		return Absent, "is not there"
	}
	counts := map[string]int{}
	for _, n := range nodes {
		if !n.Owned {
			return Foreign, fmt.Sprintf("a cluster named %s is there that Triad did not make; delete it with `kind delete cluster --name %s` or rename it", NamePrefix+cluster, NamePrefix+cluster)
		}
		if n.Elsewhere != "" {
			return Foreign, fmt.Sprintf("it belongs to another state folder, %s, and may be in use: set TRIAD_STATE_DIR=%s to work with it, or take it down from there", n.Elsewhere, n.Elsewhere)
		}
		counts[n.State]++
	}
	switch {
	case !known:
		return HalfMade, "its nodes are Triad's, but nothing is known about it (its state folder is lost): it has to be made again"
	case st.Phase != phaseReady:
		return HalfMade, "its making was interrupted: it has to be made again"
	case len(nodes) != st.Nodes:
		return HalfMade, fmt.Sprintf("it has %d of its %d nodes: it has to be made again", len(nodes), st.Nodes)
	case want != "" && st.Fingerprint != want:
		return Different, fmt.Sprintf("it was made of %s with %d nodes, and another node image, number of nodes (%d) or configuration is asked for", st.NodeImage, st.Nodes, wantNodes)
	case counts["paused"] > 0:
		return Frozen, fmt.Sprintf("%d of %d nodes are paused", counts["paused"], len(nodes))
	case counts["running"] != len(nodes):
		return Stopped, fmt.Sprintf("%d of %d nodes run", counts["running"], len(nodes))
	}
	return Running, fmt.Sprintf("%d of %d nodes run", len(nodes), len(nodes))
}

// Status looks at every cluster without changing anything, and does not judge its configuration.
func (r *Runtime) Status(ctx context.Context) ([]Assessment, error) {
	hosts := r.hosts()
	out := make([]Assessment, 0, len(hosts))
	for _, c := range hosts {
		a, err := r.assess(ctx, c, "", 0)
		if err != nil {
			return nil, err
		}
		if a.Condition == Running {
			client, err := r.Client(c)
			if err == nil {
				err = client.Ready(ctx)
			}
			if err != nil {
				a.Detail += "; " + err.Error()
			} else {
				a.Detail += "; its API server answers"
			}
		}
		out = append(out, a)
	}
	return out, nil
}
