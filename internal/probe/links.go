package probe

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// watchedPorts must be closed between clusters unless a flow names them: the ways into a node and into Kubernetes, and the
// ports of everything that runs in the clusters, should one of them be exposed by mistake.
var watchedPorts = []int{
	22,          // ssh
	2379,        // etcd
	6443, 10250, // Kubernetes API, kubelet
	3000, 5601, // Grafana, Kibana
	8083,       // Kafka Connect
	9090, 9093, // Prometheus; Alertmanager, and Kafka's internal listener
	9092, 9094, // Kafka
	9100,       // node exporter
	9200, 9300, // Elasticsearch
	9400, 24224, // log generators, Fluentd
	30090, 30300, 32000, // node ports that nobody asked for
}

// Ports are the ports that a link probe tries on every cluster: all that a flow names, all that any cluster exposes on its nodes,
// and those that must be closed everywhere.
func (d Declared) Ports() []int {
	out := slices.Clone(watchedPorts)
	for _, f := range d.Flows {
		out = append(out, f.On(d.Overlay)...)
	}
	for _, p := range d.NodePorts {
		out = append(out, p...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Flow returns the name of the flow that lets from reach the port of to, empty when none does.
func (d Declared) Flow(from, to string, port int) string {
	var names []string
	for _, f := range d.Flows {
		if f.From.Cluster == from && f.To.Cluster == to && slices.Contains(f.On(d.Overlay), port) {
			names = append(names, f.Name)
		}
	}
	return strings.Join(names, ", ")
}

// BetweenClusters probes every ordered pair of clusters on every port. A path is open when all nodes of the target can be
// reached for a declared one, and when any node can for the rest: half open is wrong either way.
//
// Whether anything listens is found out from inside the target: its attribute listening tells a path that is closed by the
// network from one that nothing would have answered anyway.
func BetweenClusters(ctx context.Context, env LinkProber, d Declared) []Result {
	ports := d.Ports()
	type try struct {
		all []Connect
		err error
	}
	// Clusters do not get in each other's way, and most of the time is spent waiting for pods.
	tries := map[string]*try{}
	var wg sync.WaitGroup
	for _, from := range d.Clusters {
		t := &try{}
		tries[from] = t
		wg.Go(func() { t.all, t.err = env.ProbeLinks(ctx, from, d.Clusters, ports) })
	}
	wg.Wait()
	// What answers inside a cluster, by cluster and port; a cluster that could not be looked into says nothing.
	listening := map[string]bool{}
	for _, c := range d.Clusters {
		for _, t := range tries[c].all {
			if t.To == c && t.Open {
				listening[c+":"+strconv.Itoa(t.Port)] = true
			}
		}
	}
	var out []Result
	for _, from := range d.Clusters {
		for _, to := range d.Clusters {
			if from == to {
				continue
			}
			for _, port := range ports {
				flow := d.Flow(from, to, port)
				r := Result{
					Kind: KindLink, Name: fmt.Sprintf("%s->%s:%d", from, to, port), Declared: flow != "",
					Attrs: map[string]string{"from": from, "to": to, "port": strconv.Itoa(port)},
				}
				if flow != "" {
					r.Attrs["flow"] = flow
				}
				if err := tries[from].err; err != nil {
					r.State, r.Detail = Unknown, err.Error()
				} else {
					r.State, r.Detail = linkState(tries[from].all, to, port, r.Declared)
				}
				if err := tries[to].err; err == nil {
					r.Attrs["listening"] = strconv.FormatBool(listening[to+":"+strconv.Itoa(port)])
				}
				out = append(out, r)
			}
		}
	}
	return out
}

// linkState puts the attempts on all nodes together.
func linkState(tries []Connect, to string, port int, declared bool) (state, detail string) {
	var open, shut []string
	for _, t := range tries {
		if t.To != to || t.Port != port {
			continue
		}
		if t.Open {
			open = append(open, t.Addr)
		} else {
			shut = append(shut, t.Addr+": "+t.Detail)
		}
	}
	sort.Strings(open)
	sort.Strings(shut)
	switch {
	case len(open)+len(shut) == 0:
		return Unknown, "the probe tried no node of " + to
	case declared && len(shut) > 0:
		return Closed, strings.Join(shut, "; ")
	case len(open) > 0:
		return Open, "connected to " + strings.Join(open, ", ")
	}
	return Closed, strings.Join(shut, "; ")
}
