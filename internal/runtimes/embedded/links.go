package embedded

import (
	"context"
	"fmt"
	"time"

	"triad/internal/fault"
	"triad/internal/link"
	"triad/internal/manifests"
	"triad/internal/scenario"
)

// network is the links between clusters and, for each cluster, the gate that everything in it passes: a frozen cluster
// neither sends nor receives.
type network struct {
	links map[[2]string]*link.Link
	gates map[string]*link.Link
}

func newNetwork() *network {
	n := &network{links: map[[2]string]*link.Link{}, gates: map[string]*link.Link{}}
	for _, a := range scenario.ClusterNames {
		n.gates[a] = link.New(a)
		for _, b := range scenario.ClusterNames {
			if a != b {
				n.links[[2]string{a, b}] = link.New(a + "->" + b)
			}
		}
	}
	// The one way of the cluster that may be added.
	n.gates[manifests.Added] = link.New(manifests.Added)
	n.links[[2]string{manifests.Added, scenario.Monitoring}] = link.New(manifests.Added + "->" + scenario.Monitoring)
	return n
}

// dialer is how a component of one cluster reaches one in another, or in its own.
func (n *network) dialer(from, to string) dialer {
	dial := n.gates[to].Dial
	if from == to {
		return dial
	}
	return n.gates[from].DialVia(n.links[[2]string{from, to}].DialVia(dial))
}

// outside is how the harness reaches a cluster.
func (n *network) outside(to string) dialer { return n.gates[to].Dial }

func (n *network) close() {
	for _, l := range n.links {
		l.Close()
	}
	for _, g := range n.gates {
		g.Close()
	}
}

// linkFault is a cut or shaped link.
type linkFault struct {
	name   string
	link   *link.Link
	before uint64
	shaped bool
}

var (
	_ fault.Active = (*linkFault)(nil)
	_ fault.Target = (*linkFault)(nil)
)

func (f *linkFault) Target() string { return f.name }

func (f *linkFault) Hits(context.Context) (uint64, string, error) {
	s := f.link.Stats()
	n := s.Hits() - f.before
	return n, fmt.Sprintf("the link touched %d dials, reads and writes", n), nil
}

func (f *linkFault) Heal(context.Context) error {
	if f.shaped {
		f.link.Shape(0, 0, 0)
	} else {
		f.link.Heal()
	}
	return nil
}

func (f *linkFault) Gone(context.Context) (bool, error) { return true, nil }

func (s *system) link(from, to string) (*link.Link, error) {
	l := s.net.links[[2]string{from, to}]
	if l == nil {
		return nil, fmt.Errorf("no link from %s to %s", from, to)
	}
	return l, nil
}

// CutLink cuts a link between clusters.
func (s *system) CutLink(_ context.Context, from, to, direction, mode string, _ time.Duration) (fault.Active, error) {
	l, err := s.link(from, to)
	if err != nil {
		return nil, err
	}
	f := &linkFault{name: "link " + from + " -> " + to, link: l, before: l.Stats().Hits()}
	dir := map[string]link.Direction{"both": link.Both, "forward": link.Forward, "back": link.Back}[direction]
	m := link.Drop
	if mode == "reject" {
		m = link.Reject
	}
	l.Cut(dir, m)
	return f, nil
}

// ShapeLink delays a link or limits its bandwidth.
func (s *system) ShapeLink(_ context.Context, from, to string, delay time.Duration, bandwidth int64, _ time.Duration) (fault.Active, error) {
	l, err := s.link(from, to)
	if err != nil {
		return nil, err
	}
	f := &linkFault{name: "link " + from + " -> " + to, link: l, before: l.Stats().Hits(), shaped: true}
	l.Shape(delay, 0, bandwidth)
	return f, nil
}

// FreezeCluster stops a cluster: its generators stop, its brokers and its Connect worker are stopped, and nothing it sends or is sent moves.
func (s *system) FreezeCluster(_ context.Context, cluster string, _ time.Duration) (fault.Active, error) {
	gate := s.net.gates[cluster]
	if gate == nil {
		return nil, fmt.Errorf("no cluster %q", cluster)
	}
	f := &freezeFault{s: s, cluster: cluster, before: gate.Stats().Hits()}
	gate.Cut(link.Both, link.Hold)
	switch cluster {
	case scenario.Datacenter:
		s.freezeGenerators(true)
	case scenario.Kafka:
		for _, b := range s.brokers.State() {
			if err := s.brokers.Freeze(b.ID); err != nil {
				s.logger.Warn("freeze", "broker", b.ID, "error", err)
			}
		}
	case scenario.Monitoring:
		s.freezeSink(true)
	}
	return f, nil
}

// freezeSink stops the clock of the worker's place in its group.
func (s *system) freezeSink(on bool) {
	if w := s.sink.get(); w != nil {
		w.Freeze(on)
	}
}

type freezeFault struct {
	s       *system
	cluster string
	before  uint64
	healed  bool
}

func (f *freezeFault) Target() string { return "cluster " + f.cluster }

func (f *freezeFault) Hits(context.Context) (uint64, string, error) {
	n := f.s.net.gates[f.cluster].Stats().Hits() - f.before
	return n, fmt.Sprintf("%d dials, reads and writes of the frozen cluster stood still", n), nil
}

func (f *freezeFault) Heal(context.Context) error {
	if f.healed {
		return nil
	}
	f.healed = true
	f.s.net.gates[f.cluster].Heal()
	switch f.cluster {
	case scenario.Datacenter:
		f.s.freezeGenerators(false)
	case scenario.Kafka:
		for _, b := range f.s.brokers.State() {
			if err := f.s.brokers.Unfreeze(b.ID); err != nil {
				f.s.logger.Warn("unfreeze", "broker", b.ID, "error", err)
			}
		}
	case scenario.Monitoring:
		f.s.freezeSink(false)
	}
	return nil
}

func (f *freezeFault) Gone(context.Context) (bool, error) {
	if f.cluster == scenario.Kafka {
		return f.s.brokersWhole(), nil
	}
	return true, nil
}
