package terraform

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"triad/internal/manifests"
)

// pools returns the names of a root's node pools, and which of them are tainted.
func pools(t *testing.T, tree Tree, root string) map[string]bool {
	t.Helper()
	attr, ok := tree.Modules[root].Calls["cluster"].Attribute("pools")
	if !ok {
		t.Fatalf("%s: no pools", root)
	}
	inner, err := Parse([]byte(strings.TrimSuffix(strings.TrimPrefix(attr.Expr, "{"), "}")))
	if err != nil {
		t.Fatalf("%s: pools: %v", root, err)
	}
	out := map[string]bool{}
	for _, a := range inner.Attributes {
		out[a.Name] = regexp.MustCompile(`tainted\s*=\s*true`).MatchString(a.Expr)
	}
	return out
}

// The overlays ask for pools by label; Terraform makes them, and taints them, so that they are for who asks. Agents tolerate every pool.
func TestPoolsOfTheOverlaysExist(t *testing.T) {
	tree, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	set, err := manifests.Open("../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	selector := regexp.MustCompile(`triad\.dev/pool: ([a-z]+)`)
	tolerates := func(pool string) *regexp.Regexp {
		return regexp.MustCompile(`effect: NoSchedule\s+key: triad\.dev/pool\s+operator: Equal\s+value: ` + pool + `\n`)
	}
	affinity := regexp.MustCompile(`(?s)key: triad\.dev/pool\s+operator: In\s+values:\s+- ([a-z]+)`)
	for cluster, want := range map[string][]string{"datacenter": {"buffers"}, "kafka": {"brokers"}, "monitoring": {"metrics", "search"}} {
		objects, err := set.Render(cluster, "eks")
		if err != nil {
			t.Fatal(err)
		}
		have := pools(t, tree, cluster)
		var asked []string
		for _, o := range objects {
			b, err := o.YAML()
			if err != nil {
				t.Fatal(err)
			}
			found := append(selector.FindAllStringSubmatch(string(b), -1), affinity.FindAllStringSubmatch(string(b), -1)...)
			for _, m := range found {
				asked = append(asked, m[1])
				tainted, ok := have[m[1]]
				if !ok {
					t.Errorf("%s: %s asks for nodes of pool %s, Terraform makes %v", cluster, o, m[1], have)
				}
				if ok && !tainted {
					t.Errorf("%s: %s asks for nodes of pool %s, which is open to all", cluster, o, m[1])
				}
				if !tolerates(m[1]).Match(b) {
					t.Errorf("%s: %s asks for nodes of pool %s and does not tolerate it", cluster, o, m[1])
				}
			}
			if agent := o.Name() == "fluent-bit" || o.Name() == "node-exporter"; o.Kind() == "DaemonSet" && agent && !regexp.MustCompile(`tolerations:\s+- operator: Exists\n`).Match(b) {
				t.Errorf("%s: %s does not run on every node", cluster, o)
			}
		}
		slices.Sort(asked)
		if got := slices.Compact(asked); !slices.Equal(got, want) {
			t.Errorf("%s: pools asked for: %v, want %v", cluster, got, want)
		}
	}
}

// The private zones hold every name that external-dns is asked to make, and each is in the zone of its own cluster.
func TestNamesOfTheOverlaysAreInTheZones(t *testing.T) {
	set, err := manifests.Open("../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	host := regexp.MustCompile(`external-dns\.alpha\.kubernetes\.io/hostname: (\S+)|host: (\S+\.triad\.internal)`)
	seen := map[string]bool{}
	for _, cluster := range manifests.Clusters() {
		objects, err := set.Render(cluster, "eks")
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			b, err := o.YAML()
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range host.FindAllStringSubmatch(string(b), -1) {
				name := m[1] + m[2]
				seen[name] = true
				if !strings.HasSuffix(name, "."+cluster+".triad.internal") {
					t.Errorf("%s: %s is named %s, outside the zone of its cluster", cluster, o, name)
				}
			}
		}
	}
	flows, err := set.Flows()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range flows {
		if f.Via != nil && !seen[f.Via.Host] {
			t.Errorf("%s: nothing in the overlays gets the name %s", f.Name, f.Via.Host)
		}
	}
}

// The ports behind the load balancers, which modules/plan says by component, are those of the rendered Services.
func TestPortsBehindTheLoadBalancers(t *testing.T) {
	src, err := os.ReadFile(filepath.Join(dir, "modules", "plan", "main.tf"))
	if err != nil {
		t.Fatal(err)
	}
	front := regexp.MustCompile(`(\w+)\s+= \{ name = "\w+", port = (\d+) \}`)
	ports := map[string]string{}
	for _, m := range front.FindAllStringSubmatch(string(src), -1) {
		ports[m[1]] = m[2]
	}
	set, err := manifests.Open("../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	flows, err := set.Flows()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range flows {
		port, ok := ports[f.To.Component]
		if !ok {
			t.Errorf("%s: modules/plan does not know what stands in front of %s", f.Name, f.To.Component)
			continue
		}
		objects, err := set.Render(f.To.Cluster, "eks")
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, o := range manifests.Of(objects, f.To.Component) {
			b, err := o.YAML()
			if err != nil {
				t.Fatal(err)
			}
			found = found || regexp.MustCompile(`(?:port|containerPort): `+port+`\b`).Match(b)
		}
		if !found {
			t.Errorf("%s: no object of %s has the port %s", f.Name, f.To.Component, port)
		}
	}
}
