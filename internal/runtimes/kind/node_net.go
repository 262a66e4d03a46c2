//go:build !embedded_only

package kind

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"triad/internal/manifests"
)

// flowsChain is the chain with the declared flows in every node. ruleMark starts the comment of every rule that is Triad's.
const (
	flowsChain = "TRIAD-FLOWS"
	flowsMark  = "/run/triad-flows" // says in the node which rules are in place
	ruleMark   = "triad:"
)

// The subnets of every kind cluster, by kind's defaults, which the files in kind/ do not change.
const (
	serviceSubnet = "10.96.0.0/16"
	podSubnet     = "10.244.0.0/16"
)

// EnforceFlows puts the packet filter rules for the declared flows into every running node: what a pod sends to another cluster, or
// out of the container network at all, is rejected unless a flow allows it; what a node itself sends to another cluster likewise.
// Rules are on the source's side and marked with a comment; where the same ones are in place
// they stay with their counters, others are replaced in one step. Flows from outside and
// from the harness are not the nodes' affair: they come in through ports of this machine. The rules do not outlive a restart of the
// node: call it after one.
func (r *Runtime) EnforceFlows(ctx context.Context, flows []manifests.Flow) error {
	return r.enforceFlows(ctx, flows, func(string) bool { return true })
}

// enforceFlows is EnforceFlows on some of the clusters.
func (r *Runtime) enforceFlows(ctx context.Context, flows []manifests.Flow, on func(cluster string) bool) error {
	if r.opts.Topology == TopologyOne {
		return nil // no link leaves the cluster
	}
	clusters, err := r.presentClusters(ctx)
	if err != nil {
		return err
	}
	for name, nodes := range clusters {
		if !on(name) {
			continue
		}
		rules, rules6 := flowRules(name, clusters, flows), flowRules6(name, clusters)
		sum := sha256.Sum256([]byte(rules + rules6))
		mark := hex.EncodeToString(sum[:8])
		var script strings.Builder
		script.WriteString("set -eu\n")
		// What is in place stays, with its counters: they are the record of what was used and refused.
		fmt.Fprintf(&script, "if [ \"$(cat %[1]s 2>/dev/null)\" = %[2]s ] && iptables -w 5 -S FORWARD | sed -n 2p | grep -q %[3]s && iptables -w 5 -S OUTPUT | sed -n 2p | grep -q %[3]s && [ \"$(iptables -w 5 -S %[3]s | wc -l)\" = %[4]d ]; then exit 0; fi\n",
			flowsMark, mark, flowsChain, strings.Count(rules, "-A ")+1)
		script.WriteString("iptables-restore -w 5 --noflush <<'RULES'\n" + rules + "RULES\n")
		script.WriteString("if command -v ip6tables-restore >/dev/null 2>&1; then ip6tables-restore -w 5 --noflush <<'RULES'\n" + rules6 + "RULES\nfi\n")
		for _, table := range []string{"iptables", "ip6tables"} {
			for _, chain := range []string{"FORWARD", "OUTPUT"} {
				// Taken out and put in at the top: rules that kube-proxy has added since must not come first.
				fmt.Fprintf(&script, "%[1]s -w 5 -D %[2]s -m comment --comment '%[3]sflows' -j %[4]s 2>/dev/null || true\n", table, chain, ruleMark, flowsChain)
				fmt.Fprintf(&script, "%[1]s -w 5 -I %[2]s 1 -m comment --comment '%[3]sflows' -j %[4]s\n", table, chain, ruleMark, flowsChain)
			}
		}
		fmt.Fprintf(&script, "echo %s > %s\n", mark, flowsMark)
		for _, n := range nodes {
			if _, err := r.sh(ctx, n.Name, script.String()); err != nil {
				return fmt.Errorf("flows: %w", err)
			}
		}
	}
	return nil
}

// presentClusters returns the running clusters of Triad's with their nodes.
func (r *Runtime) presentClusters(ctx context.Context) (map[string][]Node, error) {
	own, err := r.ownClusters(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range r.opts.Clusters {
		if !slices.Contains(own, c) {
			own = append(own, c) // its parts stand in another
		}
	}
	out := map[string][]Node{}
	for _, c := range own {
		nodes, err := r.Nodes(ctx, c)
		if err != nil {
			return nil, err
		}
		nodes = slices.DeleteFunc(nodes, func(n Node) bool { return !n.Owned || n.Elsewhere != "" || n.State != "running" })
		if len(nodes) > 0 {
			out[c] = nodes
		}
	}
	return out, nil
}

// flowRules returns the rules of one cluster's nodes in the format of iptables-restore.
func flowRules(cluster string, clusters map[string][]Node, flows []manifests.Flow) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*filter\n:%s - [0:0]\n", flowsChain)
	// Answers first: what the harness asks through a mapped port, and everything that has been allowed once.
	rule := func(match, comment, action string) {
		fmt.Fprintf(&b, "-A %s %s -m comment --comment \"%s%s\" -j %s\n", flowsChain, match, ruleMark, comment, action)
	}
	rule("! -o eth0", "inside", "RETURN")
	rule("-m conntrack --ctstate ESTABLISHED,RELATED", "answers", "RETURN")
	for _, n := range clusters[cluster] {
		rule("-d "+n.IPv4, "own-nodes", "RETURN")
	}
	// A Service without endpoints is not translated and would leave by the default route: kube-proxy refuses it, it is no link to
	// anywhere.
	rule("-d "+serviceSubnet, "own-services", "RETURN")
	rule("-d "+podSubnet, "own-pods", "RETURN")
	// What the cluster's DNS does not know it asks the network's own, at the gateway. Docker answers inside of the node, so nothing gets here; Podman
	// answers there.
	var gateways []string
	for _, n := range clusters[cluster] {
		if n.Gateway != "" && !slices.Contains(gateways, n.Gateway) {
			gateways = append(gateways, n.Gateway)
			rule("-d "+n.Gateway+" -p udp --dport 53", "names", "RETURN")
			rule("-d "+n.Gateway+" -p tcp --dport 53", "names", "RETURN")
		}
	}
	for _, f := range flows {
		ports := f.On(overlay)
		if f.From.Cluster != cluster || len(ports) == 0 {
			continue
		}
		list := make([]string, len(ports))
		for i, p := range ports {
			list[i] = strconv.Itoa(p)
		}
		for _, n := range clusters[f.To.Cluster] {
			rule(fmt.Sprintf("-d %s -p tcp -m multiport --dports %s", n.IPv4, strings.Join(list, ",")), "flow-"+f.Name, "RETURN")
		}
	}
	others := make([]string, 0, len(clusters))
	for c := range clusters {
		if c != cluster {
			others = append(others, c)
		}
	}
	slices.Sort(others)
	for _, c := range others {
		for _, n := range clusters[c] {
			rule("-d "+n.IPv4, "undeclared-"+c, "REJECT")
		}
	}
	// What is left in FORWARD comes from pods and goes out of the container network: closed. A node's own packets (OUTPUT) have no
	// incoming interface, and may answer the host.
	rule("-i veth+", "closed", "REJECT")
	rule("-i cni+", "closed", "REJECT")
	b.WriteString("COMMIT\n")
	return b.String()
}

// flowRules6 closes the way around: pods have no IPv6 here, but pods in the host's network could use the nodes'.
func flowRules6(cluster string, clusters map[string][]Node) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*filter\n:%s - [0:0]\n", flowsChain)
	fmt.Fprintf(&b, "-A %s -m conntrack --ctstate ESTABLISHED,RELATED -m comment --comment \"%sanswers\" -j RETURN\n", flowsChain, ruleMark)
	others := make([]string, 0, len(clusters))
	for c := range clusters {
		if c != cluster {
			others = append(others, c)
		}
	}
	slices.Sort(others)
	for _, c := range others {
		for _, n := range clusters[c] {
			if n.IPv6 != "" {
				fmt.Fprintf(&b, "-A %s -d %s -m comment --comment \"%sundeclared-%s\" -j REJECT\n", flowsChain, n.IPv6, ruleMark, c)
			}
		}
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// RuleCount is one packet filter rule of Triad's with its counter.
type RuleCount struct {
	Node    string
	Rule    string // the comment behind triad:, such as flow-logs, undeclared-kafka or closed
	Packets int64
}

// FlowCounts returns the counters of the rules for flows, of all nodes: how much each declared flow was used, and what was refused.
// An error names a node on which the rules are not in place.
func (r *Runtime) FlowCounts(ctx context.Context) ([]RuleCount, error) {
	clusters, err := r.presentClusters(ctx)
	if err != nil {
		return nil, err
	}
	var out []RuleCount
	for _, nodes := range clusters {
		for _, n := range nodes {
			text, err := r.sh(ctx, n.Name, "set -e\niptables -w 5 -C FORWARD -m comment --comment '"+ruleMark+"flows' -j "+flowsChain+"\niptables -w 5 -nvxL "+flowsChain)
			if err != nil {
				return nil, fmt.Errorf("rules for flows are not in place: %w", err)
			}
			counts := countRules(text)
			for i := range counts {
				counts[i].Node = n.Name
			}
			out = append(out, counts...)
		}
	}
	return out, nil
}

// countRules reads the table of iptables -nvxL: packets, bytes, ..., /* comment */.
func countRules(table string) []RuleCount {
	var out []RuleCount
	for line := range strings.SplitSeq(table, "\n") {
		_, rest, ok := strings.Cut(line, "/* "+ruleMark)
		if !ok {
			continue
		}
		comment, _, _ := strings.Cut(rest, " ")
		n, err := strconv.ParseInt(strings.Fields(line)[0], 10, 64)
		if err != nil {
			continue
		}
		out = append(out, RuleCount{Rule: comment, Packets: n})
	}
	return out
}

// Way is one of the two ways of a link, or both.
type Way string

// The ways.
const (
	Both    Way = "both"
	Forward Way = "forward" // what From sends
	Back    Way = "back"    // what To answers
)

// Link is what one cluster has open to another. Packets of either way are treated on the nodes of the sender.
type Link struct {
	From, To string
	// Ports limits it to connections to these ports of To's nodes. Empty takes everything that goes from one to the other, whoever opened it.
	Ports []int
	Way   Way
}

// linkPorts are the ports of a link: of the flows from one cluster to the other, not of those that the other opens.
func linkPorts(flows []manifests.Flow, from, to string) ([]int, error) {
	var out []int
	for _, f := range flows {
		if f.From.Cluster == from && f.To.Cluster == to {
			out = append(out, f.On(overlay)...)
		}
	}
	slices.Sort(out)
	if out = slices.Compact(out); len(out) == 0 {
		return nil, fmt.Errorf("no flow leads from %s to %s (manifests/flows.yaml)", from, to)
	}
	return out, nil
}

// String returns "from -> to", "from <- to" or "from <-> to".
func (l Link) String() string {
	arrow := map[Way]string{Both: "<->", Forward: "->", Back: "<-"}[l.Way]
	s := l.From + " " + arrow + " " + l.To
	if len(l.Ports) > 0 {
		s += fmt.Sprintf(" ports %v", l.Ports)
	}
	return s
}

// way is one way of a link: who sends it to whom, and whether that is answers.
type way struct {
	senders, receivers []Node
	answers            bool
}

// ways are the ways of a link that are treated, and the nodes that send them.
func (r *Runtime) ways(ctx context.Context, l Link) (out []way, senders []string, err error) {
	from, to, err := r.linkEnds(ctx, l)
	if err != nil {
		return nil, nil, err
	}
	if l.Way != Back {
		out = append(out, way{from, to, false})
		senders = append(senders, names(from)...)
	}
	if l.Way != Forward {
		out = append(out, way{to, from, true})
		senders = append(senders, names(to)...)
	}
	return out, senders, nil
}

// Cut cuts a link for a time by packet filter rules on the sender's nodes, for established connections too: reject answers with a
// reset, otherwise packets vanish. Hits counts the packets that were refused.
func (r *Runtime) Cut(ctx context.Context, l Link, reject bool, last time.Duration) (*Fault, error) {
	id, err := newFaultID()
	if err != nil {
		return nil, err
	}
	ways, senders, err := r.ways(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("cut %s: %w", l, err)
	}
	f := &Fault{ID: id, Kind: "cut", Target: l.String(), Nodes: senders}
	f.heal = func(ctx context.Context) error { return r.disarmAll(ctx, f.Nodes, id) }
	f.gone = func(ctx context.Context) (Proof, error) { return r.cutGone(ctx, f.Nodes, id) }
	f.hits = func(ctx context.Context) (Proof, error) { return r.cutHits(ctx, f.Nodes, id) }
	for _, w := range ways {
		inject, undo := cutScripts(id, w.receivers, l.Ports, w.answers, reject)
		for _, n := range w.senders {
			if err := r.armed(ctx, n.Name, id, inject, undo, last); err != nil {
				uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nodeTimeout)
				defer cancel()
				return nil, errors.Join(fmt.Errorf("cut %s: %w", l, err), f.heal(uctx))
			}
		}
	}
	f.Started = time.Now()
	f.Until = f.Started.Add(last)
	return f, nil
}

func (r *Runtime) linkEnds(ctx context.Context, l Link) (from, to []Node, err error) {
	if l.From == l.To {
		return nil, nil, errors.New("both ends are the same cluster")
	}
	if from, err = r.runningNodes(ctx, l.From); err != nil {
		return nil, nil, err
	}
	to, err = r.runningNodes(ctx, l.To)
	return from, to, err
}

func cutChain(id string) string { return "TRIAD-CUT-" + id }

// cutScripts returns what puts a cut in place on a sender's node, and what takes it away. Answers to a node port are known by what their
// connection was opened to: in FORWARD they have the pod's own address and port still.
func cutScripts(id string, receivers []Node, ports []int, answers, reject bool) (inject, undo string) {
	chain := cutChain(id)
	comment := "-m comment --comment '" + ruleMark + "cut-" + id + "'"
	var in strings.Builder
	fmt.Fprintf(&in, "iptables -w 5 -N %s\n", chain)
	for _, n := range receivers {
		match := "-d " + n.IPv4
		tcps := []string{match + " -p tcp"}
		if len(ports) > 0 {
			tcps = nil
			for _, p := range ports {
				which := fmt.Sprintf("--dport %d", p)
				if answers {
					which = fmt.Sprintf("-m conntrack --ctdir REPLY --ctorigdstport %d", p)
				}
				tcps = append(tcps, match+" -p tcp "+which)
			}
		}
		for _, tcp := range tcps {
			if reject {
				fmt.Fprintf(&in, "iptables -w 5 -A %s %s %s -j REJECT --reject-with tcp-reset\n", chain, tcp, comment)
			} else {
				fmt.Fprintf(&in, "iptables -w 5 -A %s %s %s -j DROP\n", chain, tcp, comment)
			}
		}
		if len(ports) == 0 {
			fmt.Fprintf(&in, "iptables -w 5 -A %s %s %s -j DROP\n", chain, match, comment)
		}
	}
	var un strings.Builder
	for _, hook := range []string{"FORWARD", "OUTPUT"} {
		fmt.Fprintf(&in, "iptables -w 5 -I %s 1 %s -j %s\n", hook, comment, chain)
		fmt.Fprintf(&un, "iptables -w 5 -D %s %s -j %s 2>/dev/null || true\n", hook, comment, chain)
	}
	fmt.Fprintf(&un, "iptables -w 5 -F %[1]s 2>/dev/null || true\niptables -w 5 -X %[1]s 2>/dev/null || true", chain)
	return in.String(), un.String()
}

func (r *Runtime) cutHits(ctx context.Context, nodes []string, id string) (Proof, error) {
	total := int64(0)
	var parts []string
	for _, n := range nodes {
		out, err := r.sh(ctx, n, "iptables -w 5 -nvxL "+cutChain(id))
		if err != nil {
			return Proof{}, err
		}
		sum := int64(0)
		for _, c := range countRules(out) {
			sum += c.Packets
		}
		total += sum
		parts = append(parts, fmt.Sprintf("%d packets on %s", sum, n))
	}
	return Proof{total, "refused " + strings.Join(parts, ", ")}, nil
}

func (r *Runtime) cutGone(ctx context.Context, nodes []string, id string) (Proof, error) {
	left := int64(0)
	for _, n := range nodes {
		out, err := r.sh(ctx, n, "iptables-save -t filter | grep -c -- '"+cutChain(id)+"' || true")
		if err != nil {
			return Proof{1, err.Error()}, err
		}
		c, _ := strconv.ParseInt(out, 10, 64)
		left += c
	}
	return Proof{left, fmt.Sprintf("%d rules left on %d nodes", left, len(nodes))}, nil
}
