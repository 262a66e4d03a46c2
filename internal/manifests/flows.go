package manifests

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// End is one end of a flow.
type End struct {
	Cluster   string `yaml:"cluster" json:"cluster"`     // a cluster, "outside", "harness" or the added one
	Component string `yaml:"component" json:"component"` // as in ComponentLabel
}

// Via is how the source names the target: a Service of its own namespace without a selector.
type Via struct {
	Service  string `yaml:"service" json:"service"`
	Port     int    `yaml:"port" json:"port"`           // the Service's port, the same everywhere
	NodePort int    `yaml:"node_port" json:"node_port"` // on kind: the port on the target's nodes
	Host     string `yaml:"host" json:"host"`           // on EKS: the name in the private zone
}

// Ports are the ports of a flow where a packet filter sees them.
type Ports struct {
	Kind []int `yaml:"kind" json:"kind"` // on the target's nodes
	EKS  []int `yaml:"eks" json:"eks"`   // on the target's load balancer
}

// Flow is one allowed link between clusters.
type Flow struct {
	Name  string `yaml:"name" json:"name"`
	From  End    `yaml:"from" json:"from"`
	To    End    `yaml:"to" json:"to"`
	Ports Ports  `yaml:"ports" json:"ports"`
	Via   *Via   `yaml:"via" json:"via,omitempty"`
	Why   string `yaml:"why" json:"why"`
}

// On returns the flow's ports on an overlay, "kind" or "eks".
func (f Flow) On(overlay string) []int {
	if overlay == "eks" {
		return f.Ports.EKS
	}
	return f.Ports.Kind
}

// String names the flow's ends.
func (f Flow) String() string {
	return fmt.Sprintf("%s (%s/%s -> %s/%s)", f.Name, f.From.Cluster, f.From.Component, f.To.Cluster, f.To.Component)
}

// Flows reads flows.yaml and the flows that the named components add (components/<name>/flows.yaml), and checks them: names are
// unique, ends are known, ports valid, every flow says why.
func (s Set) Flows(components ...string) ([]Flow, error) {
	files := []string{"flows.yaml"}
	for _, c := range components {
		rel := filepath.Join("components", c, "flows.yaml")
		if _, err := s.read(filepath.Join(s.dir, rel)); err == nil {
			files = append(files, rel)
		}
	}
	var out []Flow
	var errs []error
	for _, f := range files {
		var doc struct {
			Flows []Flow `yaml:"flows"`
		}
		if err := s.strictFile(f, &doc); err != nil {
			return nil, err
		}
		for i, flow := range doc.Flows {
			if err := flow.check(); err != nil {
				errs = append(errs, fmt.Errorf("manifests/%s: flows[%d]: %w", f, i, err))
			}
			if slices.ContainsFunc(out, func(o Flow) bool { return o.Name == flow.Name }) {
				errs = append(errs, fmt.Errorf("manifests/%s: flows[%d]: the name %q is used twice", f, i, flow.Name))
			}
			out = append(out, flow)
		}
	}
	return out, errors.Join(errs...)
}

func (f Flow) check() error {
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{f.Name}, args...)...))
	}
	if f.Name == "" {
		fail("a flow has a name")
	}
	if strings.TrimSpace(f.Why) == "" {
		fail("a flow says why it is there")
	}
	if !slices.Contains(append(rendered(), "outside", "harness"), f.From.Cluster) {
		fail("from.cluster %q is neither a cluster nor outside nor harness", f.From.Cluster)
	}
	if !slices.Contains(Clusters(), f.To.Cluster) {
		fail("to.cluster %q is not a cluster", f.To.Cluster)
	}
	if f.From.Cluster == f.To.Cluster {
		fail("both ends are in %s: traffic inside a cluster is a NetworkPolicy's affair", f.To.Cluster)
	}
	if f.From.Component == "" || f.To.Component == "" {
		fail("both ends name a component")
	}
	for _, p := range append(slices.Clone(f.Ports.Kind), f.Ports.EKS...) {
		if p < 1 || p > 65535 {
			fail("%d is not a port", p)
		}
	}
	if len(f.Ports.EKS) == 0 {
		fail("ports.eks is empty")
	}
	if v := f.Via; v != nil {
		if v.Service == "" || v.Host == "" || v.Port < 1 || !slices.Contains(f.Ports.Kind, v.NodePort) || !slices.Contains(f.Ports.EKS, v.Port) {
			fail("via needs a service, a host, a port of ports.eks and a node_port of ports.kind")
		}
	}
	return errors.Join(errs...)
}
