package manifests

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// inside are ports on which pods may leave the cluster's pods without a flow: the Kubernetes API and the kubelets, which have no
// pod to select.
var inside = map[int]bool{443: true, 6443: true, 10250: true}

// span is a port or a range of ports.
type span struct{ from, to int }

// ComparePolicies compares the NetworkPolicies of a cluster with the flows that begin or end in it, and returns what does not fit:
// a flow that no policy lets out or in, and an opening towards everything that no flow asks for. Rules that select pods stay
// inside the cluster and are not flows. Brokers are let in by Strimzi's own policies and by the one that stands beside them.
func ComparePolicies(cluster, overlay string, objects []Object, flows []Flow) []string {
	out, in := map[string][]span{}, map[string][]span{}
	for _, o := range objects {
		if o.Kind() != "NetworkPolicy" {
			continue
		}
		for direction, into := range map[string]map[string][]span{"egress": out, "ingress": in} {
			v, _ := o.Field("spec", direction)
			rules, _ := v.([]any)
			for _, r := range rules {
				m, _ := r.(map[string]any)
				if m["to"] != nil || m["from"] != nil {
					continue
				}
				into[o.Component()] = append(into[o.Component()], spans(m["ports"])...)
			}
		}
	}
	var faults []string
	wantOut, wantIn := map[string]map[int]bool{}, map[string]map[int]bool{}
	for _, f := range flows {
		if f.From.Cluster == cluster {
			for _, p := range f.On(overlay) {
				want(wantOut, f.From.Component, p)
				if !covered(out[f.From.Component], p) {
					faults = append(faults, fmt.Sprintf("flow %s: no NetworkPolicy lets %s out on port %d", f, f.From.Component, p))
				}
			}
		}
		if f.To.Cluster == cluster {
			// A policy sees the pod's own port, whatever is in front of it: on EKS a flow names it, unless a load balancer changes it.
			p := podPort(f)
			want(wantIn, f.To.Component, p)
			if !covered(in[f.To.Component], p) {
				faults = append(faults, fmt.Sprintf("flow %s: no NetworkPolicy lets it in to %s on port %d", f, f.To.Component, p))
			}
		}
	}
	for name, side := range map[string]struct {
		have map[string][]span
		want map[string]map[int]bool
	}{"out": {out, wantOut}, "in": {in, wantIn}} {
		for _, c := range slices.Sorted(maps.Keys(side.have)) {
			for _, s := range side.have[c] {
				for p := s.from; p <= s.to; p++ {
					if !side.want[c][p] && (name != "out" || !inside[p]) {
						faults = append(faults, fmt.Sprintf("a NetworkPolicy lets %s %s on port %d to or from anywhere, and no flow asks for it", c, name, p))
					}
				}
			}
		}
	}
	sort.Strings(faults)
	return faults
}

// podPort is the port on which the target's pods listen.
func podPort(f Flow) int {
	switch f.To.Component {
	case "grafana":
		return 3000
	case "kibana":
		return 5601
	}
	return f.Ports.EKS[0]
}

func want(m map[string]map[int]bool, component string, port int) {
	if m[component] == nil {
		m[component] = map[int]bool{}
	}
	m[component][port] = true
}

func covered(s []span, port int) bool {
	return slices.ContainsFunc(s, func(s span) bool { return s.from <= port && port <= s.to })
}

// spans reads the ports of a rule. A rule without ports opens all of them.
func spans(v any) []span {
	list, _ := v.([]any)
	if len(list) == 0 {
		return []span{{1, 65535}}
	}
	var out []span
	for _, e := range list {
		m, _ := e.(map[string]any)
		if protocol, _ := m["protocol"].(string); strings.EqualFold(protocol, "UDP") {
			continue
		}
		from, ok := m["port"].(int64)
		if !ok {
			continue
		}
		to, ok := m["endPort"].(int64)
		if !ok {
			to = from
		}
		out = append(out, span{int(from), int(to)})
	}
	return out
}
