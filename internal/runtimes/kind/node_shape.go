//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrNoDelay says that the nodes' kernel cannot delay packets: it has no netem queueing discipline.
var ErrNoDelay = errors.New("the kernel has no netem queueing discipline")

// Shape is what a link is made to be like.
type Shape struct {
	BytesPerSecond int64         // bandwidth; 0 leaves it
	Delay          time.Duration // added to every packet; 0 leaves it; needs netem
	Jitter         time.Duration // around Delay
}

// CanDelay says whether the nodes' kernel has netem. It tries on a device of its own, in the node's network.
func (r *Runtime) CanDelay(ctx context.Context, node string) (bool, error) {
	out, err := r.sh(ctx, node, "ip link add triad-try type veth peer name triad-peer 2>/dev/null; tc qdisc add dev triad-try root netem delay 1ms 2>&1 && echo can; ip link del triad-try 2>/dev/null; true")
	return strings.HasSuffix(out, "can"), err
}

// Slow makes a link slow for a time: what the sender's nodes send to the other cluster's nodes is queued to the given bandwidth (htb)
// and delayed (netem); all other traffic passes as before. One link at a time can be slow on a
// node. The error wraps ErrNoDelay when a delay is asked for and the kernel has none. Hits counts packets that went through the slow
// class.
func (r *Runtime) Slow(ctx context.Context, l Link, s Shape, last time.Duration) (*Fault, error) {
	if s.BytesPerSecond <= 0 && s.Delay <= 0 {
		return nil, fmt.Errorf("slow %s: neither a bandwidth nor a delay", l)
	}
	ways, senders, err := r.ways(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("slow %s: %w", l, err)
	}
	if s.Delay > 0 {
		can, err := r.CanDelay(ctx, senders[0])
		if err != nil {
			return nil, fmt.Errorf("slow %s: %w", l, err)
		}
		if !can {
			return nil, fmt.Errorf("slow %s: %w", l, ErrNoDelay)
		}
	}
	id, err := newFaultID()
	if err != nil {
		return nil, err
	}
	f := &Fault{ID: id, Kind: "shape", Target: l.String(), Nodes: senders}
	f.heal = func(ctx context.Context) error { return r.disarmAll(ctx, f.Nodes, id) }
	f.hits = func(ctx context.Context) (Proof, error) { return r.shapeHits(ctx, f.Nodes) }
	f.gone = func(ctx context.Context) (Proof, error) { return r.shapeLeft(ctx, f.Nodes) }
	for _, w := range ways {
		for _, n := range w.senders {
			if err := r.armed(ctx, n.Name, id, shapeScript(id, w, l.Ports, s), shapeUndo(id), last); err != nil {
				uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nodeTimeout)
				defer cancel()
				return nil, errors.Join(fmt.Errorf("slow %s: %w", l, err), f.heal(uctx))
			}
		}
	}
	f.Started = time.Now()
	f.Until = f.Started.Add(last)
	return f, nil
}

// shapeMark is the file that says that a node's queueing is the fault's own: the undo of one that was refused because another link is
// slow already must not undo that one.
func shapeMark(id string) string { return faultDir + "/" + id + "/own-qdisc" }

func shapeUndo(id string) string {
	return "if [ -f " + shapeMark(id) + " ]; then tc qdisc del dev eth0 root 2>/dev/null || true; fi"
}

// shapeScript makes two classes on the node's interface: everything, and what goes one way of the link. What answers a node port has its number
// again when it is queued.
func shapeScript(id string, w way, ports []int, s Shape) string {
	rate := "10gbit"
	if s.BytesPerSecond > 0 {
		rate = strconv.FormatInt(s.BytesPerSecond*8, 10) + "bit"
	}
	var b strings.Builder
	b.WriteString("if tc qdisc show dev eth0 root | grep -q htb; then echo 'a link of this node is slow already' >&2; exit 1; fi\n")
	fmt.Fprintf(&b, "touch %s\n", shapeMark(id))
	b.WriteString("tc qdisc add dev eth0 root handle 1: htb default 1\n")
	b.WriteString("tc class add dev eth0 parent 1: classid 1:1 htb rate 10gbit quantum 60000\n")
	fmt.Fprintf(&b, "tc class add dev eth0 parent 1: classid 1:10 htb rate %[1]s ceil %[1]s burst 16k quantum 3000\n", rate)
	if s.Delay > 0 {
		fmt.Fprintf(&b, "tc qdisc add dev eth0 parent 1:10 handle 10: netem limit 10000 delay %dus %dus\n", s.Delay.Microseconds(), s.Jitter.Microseconds())
	} else {
		// A short queue: a slow line drops, it does not store seconds of traffic.
		b.WriteString("tc qdisc add dev eth0 parent 1:10 handle 10: pfifo limit 100\n")
	}
	which := []string{""}
	if len(ports) > 0 {
		which = nil
		side := "dport"
		if w.answers {
			side = "sport"
		}
		for _, p := range ports {
			which = append(which, fmt.Sprintf(" match ip protocol 6 0xff match ip %s %d 0xffff", side, p))
		}
	}
	for _, n := range w.receivers {
		for _, match := range which {
			fmt.Fprintf(&b, "tc filter add dev eth0 parent 1: protocol ip prio 1 u32 match ip dst %s/32%s flowid 1:10\n", n.IPv4, match)
		}
	}
	return b.String()
}

func (r *Runtime) shapeHits(ctx context.Context, nodes []string) (Proof, error) {
	total := int64(0)
	var parts []string
	for _, n := range nodes {
		out, err := r.sh(ctx, n, "tc -s class show dev eth0 classid 1:10")
		if err != nil {
			return Proof{}, err
		}
		sent, over := parseClass(out)
		total += sent
		parts = append(parts, fmt.Sprintf("%d packets through the slow class of %s, %d held back", sent, n, over))
	}
	return Proof{total, strings.Join(parts, ", ")}, nil
}

// parseClass reads "Sent <bytes> bytes <packets> pkt (dropped <n>, overlimits <n> requeues <n>)".
func parseClass(text string) (packets, overlimits int64) {
	for line := range strings.SplitSeq(text, "\n") {
		f := strings.Fields(line)
		if len(f) >= 5 && f[0] == "Sent" {
			packets, _ = strconv.ParseInt(f[3], 10, 64)
			for i, w := range f {
				if w == "overlimits" && i+1 < len(f) {
					overlimits, _ = strconv.ParseInt(f[i+1], 10, 64)
				}
			}
		}
	}
	return packets, overlimits
}

func (r *Runtime) shapeLeft(ctx context.Context, nodes []string) (Proof, error) {
	left := int64(0)
	for _, n := range nodes {
		out, err := r.sh(ctx, n, "tc qdisc show dev eth0 root")
		if err != nil {
			return Proof{1, err.Error()}, err
		}
		if strings.Contains(out, "htb") {
			left++
		}
	}
	return Proof{left, fmt.Sprintf("%d of %d nodes are slow", left, len(nodes))}, nil
}
