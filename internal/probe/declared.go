package probe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"triad/internal/manifests"
)

// observerComponent is the component with everything that exists for the harness.
const observerComponent = "observer"

// Declared is what the manifests say about who may reach and do what.
type Declared struct {
	Clusters   []string
	Flows      []manifests.Flow // those of flows.yaml: between clusters and from outside
	Overlay    string
	NodePorts  map[string][]int // by cluster: what its Services and listeners open on its nodes, sorted
	Principals []Principal
	Topics     []string
	Groups     []string // that ACLs name, literally
}

// Principal is a user of the brokers with its rights.
type Principal struct {
	Name    string
	Super   bool
	Harness bool // exists only with components/observer
	Rules   []Rule
}

// Rule is one ACL: it allows or denies operations on a resource, or on all whose name begins like it.
type Rule struct {
	Type       string // topic, group, cluster, transactionalId
	Name       string // "*" as a literal is every one
	Prefix     bool
	Operations []string
	Deny       bool
}

// Read renders the manifests twice, with components/observer and without it, and collects what they declare.
func Read(set manifests.Set, overlay string) (Declared, error) {
	d := Declared{Clusters: manifests.Clusters(), Overlay: overlay, NodePorts: map[string][]int{}}
	var err error
	if d.Flows, err = set.Flows(); err != nil {
		return d, err
	}
	production := map[string]bool{}
	for _, component := range [][]string{nil, {observerComponent}} {
		for _, c := range d.Clusters {
			objects, err := set.Render(c, overlay, component...)
			if err != nil {
				return d, err
			}
			if component == nil {
				for _, o := range objects {
					if o.Kind() == "KafkaUser" {
						production[o.Name()] = true
					}
				}
				continue
			}
			if err := d.add(c, objects); err != nil {
				return d, fmt.Errorf("declared in %s/%s: %w", overlay, c, err)
			}
		}
	}
	for i := range d.Principals {
		d.Principals[i].Harness = !production[d.Principals[i].Name]
	}
	if len(d.Principals) == 0 || len(d.Topics) == 0 {
		return d, fmt.Errorf("declared: %d KafkaUsers and %d KafkaTopics in the manifests", len(d.Principals), len(d.Topics))
	}
	slices.Sort(d.Topics)
	slices.Sort(d.Groups)
	d.Groups = slices.Compact(d.Groups)
	slices.SortFunc(d.Principals, func(a, b Principal) int { return strings.Compare(a.Name, b.Name) })
	for c := range d.NodePorts {
		slices.Sort(d.NodePorts[c])
		d.NodePorts[c] = slices.Compact(d.NodePorts[c])
	}
	return d, nil
}

// add reads the objects of one cluster.
func (d *Declared) add(cluster string, objects []manifests.Object) error {
	var errs []error
	var super []string
	for _, o := range objects {
		switch o.Kind() {
		case "KafkaTopic":
			name := o.Name()
			if v, ok := o.Field("spec", "topicName"); ok {
				name = fmt.Sprint(v)
			}
			d.Topics = append(d.Topics, name)
		case "KafkaUser":
			p, err := principal(o)
			if err != nil {
				errs = append(errs, err)
			}
			d.Principals = append(d.Principals, p)
			for _, r := range p.Rules {
				if r.Type == "group" && !r.Prefix && r.Name != "*" {
					d.Groups = append(d.Groups, r.Name)
				}
			}
		case "Kafka":
			super = append(super, texts(field(o, "spec", "kafka", "authorization", "superUsers"))...)
			d.NodePorts[cluster] = append(d.NodePorts[cluster], listenerPorts(o)...)
		case "Service":
			ports, _ := field(o, "spec", "ports").([]any)
			for _, p := range ports {
				if n := number(p, "nodePort"); n > 0 {
					d.NodePorts[cluster] = append(d.NodePorts[cluster], n)
				}
			}
		}
	}
	for i, p := range d.Principals {
		d.Principals[i].Super = p.Super || slices.Contains(super, p.Name)
	}
	return errors.Join(errs...)
}

// listenerPorts are the node ports of the brokers' listeners, which the operator makes Services of.
func listenerPorts(o manifests.Object) []int {
	var out []int
	listeners, _ := field(o, "spec", "kafka", "listeners").([]any)
	for _, l := range listeners {
		m, _ := l.(map[string]any)
		cfg, _ := m["configuration"].(map[string]any)
		if n := number(cfg["bootstrap"], "nodePort"); n > 0 {
			out = append(out, n)
		}
		brokers, _ := cfg["brokers"].([]any)
		for _, b := range brokers {
			if n := number(b, "nodePort"); n > 0 {
				out = append(out, n)
			}
		}
	}
	return out
}

// principal reads one KafkaUser. What it does not know is an error: a right that is overlooked would be found open and called
// undeclared.
func principal(o manifests.Object) (Principal, error) {
	p := Principal{Name: o.Name()}
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("KafkaUser %s: "+format, append([]any{o.Name()}, args...)...))
	}
	if t, ok := o.Field("spec", "authentication", "type"); !ok || t != "scram-sha-512" {
		bad("authentication %v: only scram-sha-512 can be probed", t)
	}
	if t, ok := o.Field("spec", "authorization", "type"); ok && t != "simple" {
		bad("authorization %v: only simple is known", t)
	}
	acls, _ := field(o, "spec", "authorization", "acls").([]any)
	for i, a := range acls {
		m, _ := a.(map[string]any)
		res, _ := m["resource"].(map[string]any)
		r := Rule{Operations: texts(m["operations"])}
		for k, v := range m {
			switch k {
			case "resource", "operations":
			case "type":
				r.Deny = v == "deny"
			case "host":
				if v != "*" {
					bad("acls[%d].host %v: every probe comes from one place, so only * can be judged", i, v)
				}
			default:
				bad("acls[%d].%s: unknown", i, k)
			}
		}
		for k, v := range res {
			switch k {
			case "type":
				r.Type = fmt.Sprint(v)
			case "name":
				r.Name = fmt.Sprint(v)
			case "patternType":
				r.Prefix = v == "prefix"
			default:
				bad("acls[%d].resource.%s: unknown", i, k)
			}
		}
		if !slices.Contains([]string{"topic", "group", "cluster", "transactionalId"}, r.Type) {
			bad("acls[%d].resource.type %q: unknown", i, r.Type)
		}
		if len(r.Operations) == 0 {
			bad("acls[%d]: no operations", i)
		}
		for _, op := range r.Operations {
			if op != opAll && !slices.Contains(operations, op) {
				bad("acls[%d].operations: %q is unknown", i, op)
			}
		}
		p.Rules = append(p.Rules, r)
	}
	return p, errors.Join(errs...)
}

func field(o manifests.Object, keys ...string) any {
	v, _ := o.Field(keys...)
	return v
}

func texts(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		out = append(out, fmt.Sprint(e))
	}
	return out
}

func number(v any, key string) int {
	m, _ := v.(map[string]any)
	n, _ := m[key].(int64)
	return int(n)
}
