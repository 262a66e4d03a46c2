package probe_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triad/internal/probe"
)

// network is a matrix of what is open, by "from->to:port". Two nodes a cluster; what listens answers inside its own cluster.
type network struct {
	open      map[string]bool
	halfOpen  map[string]bool // only the first node answers
	listening map[string]bool // "to:port"
	broken    string          // a cluster from which nothing can be probed
}

func (n network) ProbeLinks(_ context.Context, from string, to []string, ports []int) ([]probe.Connect, error) {
	if from == n.broken {
		return nil, errors.New("the probe's pod does not start")
	}
	var out []probe.Connect
	for _, t := range to {
		for _, p := range ports {
			for node := range 2 {
				key := fmt.Sprintf("%s->%s:%d", from, t, p)
				open := n.open[key] || n.halfOpen[key] && node == 0 || from == t && n.listening[fmt.Sprintf("%s:%d", t, p)]
				c := probe.Connect{From: from, To: t, Addr: fmt.Sprintf("10.0.0.%d:%d", node, p), Port: p, Open: open}
				if !open {
					c.Detail = "refused"
				}
				out = append(out, c)
			}
		}
	}
	return out, nil
}

// flows is the matrix of manifests/flows.yaml on kind, written out: it must not change without somebody noticing here.
func flows() map[string]bool {
	out := map[string]bool{"datacenter->monitoring:30909": true, "kafka->monitoring:30909": true}
	for _, p := range []int{30094, 30100, 30101, 30102} {
		out[fmt.Sprintf("datacenter->kafka:%d", p)] = true
		out[fmt.Sprintf("monitoring->kafka:%d", p)] = true
	}
	return out
}

func TestFlowMatrix(t *testing.T) {
	d, _ := declared(t)
	found := map[string]bool{}
	for _, r := range probe.BetweenClusters(t.Context(), network{open: flows()}, d) {
		if r.Declared {
			found[r.Name] = true
		}
		if !r.AsDeclared() {
			t.Errorf("%s is %s, declared %v: %s", r.Name, r.State, r.Declared, r.Detail)
		}
	}
	if diff := cmp.Diff(flows(), found); diff != "" {
		t.Errorf("declared links: %s", diff)
	}
}

func TestPorts(t *testing.T) {
	d, _ := declared(t)
	ports := d.Ports()
	// Flows, what kind exposes for the harness, and ports that must be closed.
	for _, p := range []int{30094, 30100, 30101, 30102, 30909, 30920, 30993, 22, 6443, 10250, 9092, 5601, 3000} {
		if !slices.Contains(ports, p) {
			t.Errorf("port %d is not probed", p)
		}
	}
	if !slices.IsSorted(ports) || len(slices.Compact(slices.Clone(ports))) != len(ports) {
		t.Errorf("ports %v", ports)
	}
	if n := len(probe.BetweenClusters(t.Context(), network{}, d)); n != 6*len(ports) {
		t.Errorf("%d results for 6 pairs and %d ports", n, len(ports))
	}
}

func TestSabotagedLinks(t *testing.T) {
	d, _ := declared(t)
	with := func(change func(map[string]bool)) map[string]bool {
		m := flows()
		change(m)
		return m
	}
	for _, c := range []struct {
		name string
		net  network
		want []string
	}{
		{"nothing wrong", network{open: flows()}, nil},
		{"an undeclared path is open", network{open: with(func(m map[string]bool) { m["datacenter->monitoring:30920"] = true })}, []string{"datacenter->monitoring:30920 open"}},
		{"the way back", network{open: with(func(m map[string]bool) { m["monitoring->datacenter:22"] = true })}, []string{"monitoring->datacenter:22 open"}},
		{"a declared path is closed", network{open: with(func(m map[string]bool) { delete(m, "kafka->monitoring:30909") })}, []string{"kafka->monitoring:30909 closed"}},
		{
			"one node forgotten in a rule",
			network{open: with(func(m map[string]bool) { delete(m, "datacenter->kafka:30101") }), halfOpen: map[string]bool{"datacenter->kafka:30101": true}},
			[]string{"datacenter->kafka:30101 closed"},
		},
		{"one node without rules", network{open: flows(), halfOpen: map[string]bool{"kafka->datacenter:10250": true}}, []string{"kafka->datacenter:10250 open"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, wrong(probe.BetweenClusters(t.Context(), c.net, d))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLinksSayWhatListens(t *testing.T) {
	d, _ := declared(t)
	results := probe.BetweenClusters(t.Context(), network{open: flows(), listening: map[string]bool{"monitoring:30920": true}}, d)
	for name, want := range map[string]string{"datacenter->monitoring:30920": "true", "datacenter->monitoring:22": "false"} {
		if r := find(t, results, name); r.Attrs["listening"] != want || r.State != probe.Closed {
			t.Errorf("%s: %s, listening %s, want %s", name, r.State, r.Attrs["listening"], want)
		}
	}
	results = probe.BetweenClusters(t.Context(), network{open: flows(), broken: "kafka"}, d)
	for _, r := range results {
		if fromKafka := strings.HasPrefix(r.Name, "kafka->"); (r.State == probe.Unknown) != fromKafka {
			t.Errorf("%s is %s although only kafka could not be probed from: %s", r.Name, r.State, r.Detail)
		}
		if _, said := r.Attrs["listening"]; said == (r.Attrs["to"] == "kafka") {
			t.Errorf("%s: attributes %v", r.Name, r.Attrs)
		}
	}
}

type policies map[string]probe.Enforcement

func (p policies) ProbePolicies(_ context.Context, cluster string) (probe.Enforcement, error) {
	e, ok := p[cluster]
	if !ok {
		return e, errors.New("the probe's pod does not start")
	}
	return e, nil
}

func TestPolicies(t *testing.T) {
	d, _ := declared(t)
	pod := func(name string, port int, open, dns bool) probe.PodConnect {
		return probe.PodConnect{Connect: probe.Connect{Port: port, Open: open}, Pod: name, DNS: dns}
	}
	got := map[string]string{}
	for _, r := range probe.InsideClusters(t.Context(), policies{
		"datacenter": {Detail: "the way stayed open for 10s behind a policy that denies everything"},
		"monitoring": {Enforced: true, Reached: []probe.PodConnect{pod("elasticsearch-0", 9200, true, false), pod("prometheus-0", 9090, false, false), pod("kube-dns", 53, true, true)}},
	}, d) {
		got[r.Name] = fmt.Sprintf("%s, as declared %v", r.State, r.AsDeclared())
		if r.State != probe.Open && r.State != probe.Closed && r.Detail == "" {
			t.Errorf("%s is %s and does not say why", r.Name, r.State)
		}
	}
	want := map[string]string{
		"datacenter: policies": "skipped, as declared false",
		"kafka: policies":      "unknown, as declared false",
		"monitoring/unlabelled->monitoring/elasticsearch-0:9200": "open, as declared false",
		"monitoring/unlabelled->monitoring/prometheus-0:9090":    "closed, as declared true",
		"monitoring/unlabelled->monitoring/kube-dns:53":          "open, as declared true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// bare is an environment with brokers and nothing else.
type bare struct {
	probe.KafkaProber
	d   probe.Declared
	err error
}

func (b bare) Declared() (probe.Declared, error) { return b.d, b.err }

func (b bare) ProbeUnavailable(part string) string {
	return map[string]string{probe.Links: "everything is on loopback"}[part]
}

func TestPartsThatCannotBeProbed(t *testing.T) {
	d, _ := declared(t)
	type seen struct{ kind, state, detail string }
	all := []string{probe.Links, probe.Policies}
	for _, c := range []struct {
		name string
		env  any
		want map[string]seen
	}{
		{"no capability", bare{d: d}, map[string]seen{"links": {"link", "skipped", "everything is on loopback"}, "policies": {"policy", "skipped", "this runtime cannot probe it"}}},
		{"no manifests", struct{}{}, map[string]seen{"links": {"link", "skipped", "this runtime cannot probe it"}, "policies": {"policy", "skipped", "this runtime cannot probe it"}}},
		{"broken manifests", bare{err: errors.New("flows.yaml: no such file")}, map[string]seen{"links": {"link", "unknown", "flows.yaml: no such file"}, "policies": {"policy", "unknown", "flows.yaml: no such file"}}},
	} {
		got := map[string]seen{}
		for _, r := range probe.Run(t.Context(), c.env, all) {
			got[r.Name] = seen{r.Kind, r.State, r.Detail}
			if r.AsDeclared() {
				t.Errorf("%s: %s counts as proof", c.name, r.Name)
			}
		}
		if !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
