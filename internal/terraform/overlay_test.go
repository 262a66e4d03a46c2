package terraform

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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

// own is the Terraform of the repository and its manifests.
func own(t *testing.T) (Tree, manifests.Set) {
	t.Helper()
	tree, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	set, err := manifests.Open("../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	return tree, set
}

// The overlays ask for pools by label; Terraform makes them, and taints them, so that they are for who asks. Agents tolerate every pool.
func TestPoolsOfTheOverlaysExist(t *testing.T) {
	tree, set := own(t)
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

// found is what the expression calls, by the one group of a pattern.
func found(expr, pattern string) []string {
	var out []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(expr, -1) {
		out = append(out, m[1])
	}
	return out
}

// balancer is a load balancer that the overlay asks for: what for, in front of which component, and its annotations.
type balancer struct {
	what, component string
	annotations     map[string]string
	prefix          string // of the annotations
}

func balancers(t *testing.T, objects []manifests.Object) []balancer {
	t.Helper()
	const service, ingress = "service.beta.kubernetes.io/aws-load-balancer-", "alb.ingress.kubernetes.io/"
	texts := func(v any) map[string]string {
		out := map[string]string{}
		m, _ := v.(map[string]any)
		for k, e := range m {
			out[k], _ = e.(string)
		}
		return out
	}
	var out []balancer
	for _, o := range objects {
		switch o.Kind() {
		case "Service":
			if typ, _ := o.Field("spec", "type"); typ == "LoadBalancer" {
				out = append(out, balancer{o.String(), o.Component(), o.Annotations(), service})
			}
		case "Ingress":
			out = append(out, balancer{o.String(), o.Component(), o.Annotations(), ingress})
		case "Kafka":
			v, _ := o.Field("spec", "kafka", "listeners")
			listeners, _ := v.([]any)
			for _, v := range listeners {
				l, _ := v.(map[string]any)
				if l["type"] != "loadbalancer" {
					continue
				}
				c, _ := l["configuration"].(map[string]any)
				boot, _ := c["bootstrap"].(map[string]any)
				out = append(out, balancer{o.String() + " bootstrap", o.Component(), texts(boot["annotations"]), service})
				// Strimzi makes a Service for each broker, said here or not.
				pool, err := manifests.Find(objects, "KafkaNodePool", "broker")
				if err != nil {
					t.Fatal(err)
				}
				n, _ := pool.Field("spec", "replicas")
				brokers, _ := c["brokers"].([]any)
				if fmt.Sprint(len(brokers)) != fmt.Sprint(n) {
					t.Errorf("%s: %d brokers have settings of their load balancer, and there are %v", o, len(brokers), n)
				}
				for _, v := range brokers {
					b, _ := v.(map[string]any)
					out = append(out, balancer{fmt.Sprintf("%s broker %v", o, b["broker"]), o.Component(), texts(b["annotations"]), service})
				}
			}
		}
	}
	return out
}

// Every load balancer that the overlays ask for is internal and carries the group that Terraform makes for what is behind it, by the tag Name under
// which the controller looks for it; without one it would make a group, and has no right to.
func TestLoadBalancersAreInternalAndCarryTheirGroup(t *testing.T) {
	tree, set := own(t)
	fronts := map[string]string{}
	for _, m := range regexp.MustCompile(`(\w+)\s+= \{ name = "(\w+)", port = \d+ \}`).FindAllStringSubmatch(tree.Modules["modules/plan"].Locals["fronts"], -1) {
		fronts[m[1]] = m[2]
	}
	tags, _ := tree.Modules["modules/cluster"].Resources["aws_security_group.front"].Attribute("tags")
	tag := found(tags.Expr, `^\{ Name = "(.*)" \}$`)
	name := found(tree.Modules["modules/cluster"].Locals["name"], `^"(.*)"$`)
	if len(tag) != 1 || len(name) != 1 || len(fronts) < 4 {
		t.Fatalf("tag %q, name %q, fronts %v", tags.Expr, name, fronts)
	}
	for cluster, want := range map[string]int{"datacenter": 0, "kafka": 4, "monitoring": 3} {
		objects, err := set.Render(cluster, "eks")
		if err != nil {
			t.Fatal(err)
		}
		all := balancers(t, objects)
		if len(all) != want {
			t.Errorf("%s: %d load balancers, want %d", cluster, len(all), want)
		}
		for _, b := range all {
			if got := b.annotations[b.prefix+"scheme"]; got != "internal" {
				t.Errorf("%s: %s: scheme %q: not said to be internal", cluster, b.what, got)
			}
			group := strings.NewReplacer("${local.name}", strings.ReplaceAll(name[0], "${var.cluster}", cluster), "${each.value}", fronts[b.component]).Replace(tag[0])
			if got := b.annotations[b.prefix+"security-groups"]; fronts[b.component] == "" || got != group {
				t.Errorf("%s: %s: group %q, Terraform makes %q", cluster, b.what, got, group)
			}
		}
	}
}

// Volumes of pods are encrypted with the key that Terraform makes for them, and those of brokers take more than a gp3 volume does for nothing.
func TestVolumesOfTheOverlays(t *testing.T) {
	tree, set := own(t)
	alias, _ := tree.Modules["modules/cluster"].Resources["aws_kms_alias.volumes"].Attribute("name")
	name := found(tree.Modules["modules/cluster"].Locals["name"], `^"(.*)"$`)
	if len(name) != 1 || alias.Expr == "" {
		t.Fatalf("alias %q, name %q", alias.Expr, name)
	}
	account, region := place(t, set)
	for _, cluster := range append(manifests.Clusters(), manifests.Added) {
		objects, err := set.Render(cluster, "eks")
		if err != nil {
			t.Fatal(err)
		}
		key := "arn:aws:kms:" + region + ":" + account + ":" + strings.NewReplacer(`"`, "", "${local.name}", strings.ReplaceAll(name[0], "${var.cluster}", cluster)).Replace(alias.Expr)
		classes := 0
		for _, o := range objects {
			if o.Kind() != "StorageClass" {
				continue
			}
			classes++
			if got, _ := o.Field("parameters", "encrypted"); got != "true" {
				t.Errorf("%s: %s: encrypted is %v", cluster, o, got)
			}
			if got, _ := o.Field("parameters", "kmsKeyId"); got != key && cluster != manifests.Added { // which has no root yet
				t.Errorf("%s: %s: key %v, Terraform makes %s", cluster, o, got, key)
			}
		}
		if classes == 0 {
			t.Errorf("%s: no storage class", cluster)
		}
	}
	objects, err := set.Render("kafka", "eks")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := manifests.Find(objects, "KafkaNodePool", "broker")
	if err != nil {
		t.Fatal(err)
	}
	v, _ := pool.Field("spec", "storage", "volumes")
	volumes, _ := v.([]any)
	for _, v := range volumes {
		m, _ := v.(map[string]any)
		class, err := manifests.Find(objects, "StorageClass", fmt.Sprint(m["class"]))
		if err != nil {
			t.Fatal(err)
		}
		// The driver takes both as text. gp3 allows a quarter of a MiB/s for each operation (Amazon EBS User Guide).
		parameter := func(key string, free int) int {
			v, _ := class.Field("parameters", key)
			text, _ := v.(string)
			n, err := strconv.Atoi(text)
			if err != nil || n <= free {
				t.Errorf("%s: %s %v: no more than a gp3 volume has for nothing (%d)", class, key, v, free)
			}
			return n
		}
		if iops, rate := parameter("iops", 3000), parameter("throughput", 125); iops > 16000 || rate > 1000 || rate*4 > iops {
			t.Errorf("%s: %d operations and %d MiB/s are more than a gp3 volume can have", class, iops, rate)
		}
	}
	if len(volumes) == 0 {
		t.Error("brokers have no volume")
	}
}

// imagesIn are the references in an object: of containers and Strimzi's resources, and those from which its operator starts pods.
func imagesIn(v any) []string {
	var out []string
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["image"].(string); ok {
			out = append(out, ref)
		}
		if name, _ := v["name"].(string); regexp.MustCompile(`_IMAGES?$`).MatchString(name) {
			text, _ := v["value"].(string)
			for w := range strings.FieldsSeq(text) {
				_, ref, ok := strings.Cut(w, "=")
				if !ok {
					ref = w
				}
				out = append(out, ref)
			}
		}
		for _, e := range v {
			out = append(out, imagesIn(e)...)
		}
	case []any:
		for _, e := range v {
			out = append(out, imagesIn(e)...)
		}
	}
	return out
}

var ecr = regexp.MustCompile(`^([0-9]{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com/`)

// place is the account and the region that the overlays name.
func place(t *testing.T, set manifests.Set) (account, region string) {
	t.Helper()
	objects, err := set.Render("kafka", "eks")
	if err != nil {
		t.Fatal(err)
	}
	o, err := manifests.Find(objects, "Kafka", "triad")
	if err != nil {
		t.Fatal(err)
	}
	ref, _ := o.Field("spec", "kafka", "image")
	m := ecr.FindStringSubmatch(fmt.Sprint(ref))
	if m == nil {
		t.Fatalf("the image of Kafka is %v", ref)
	}
	return m[1], m[2]
}

// Nodes of a closed network pull from the account's registry alone: every image is in a cache that the registry's root makes, under the name that it
// has in the cache's upstream, or in a repository that it makes.
func TestImagesAreInTheRegistry(t *testing.T) {
	tree, set := own(t)
	list, err := set.Images()
	if err != nil {
		t.Fatal(err)
	}
	caches := map[string]string{}
	for _, m := range regexp.MustCompile(`(\w+) = \{ url = "([^"]+)"`).FindAllStringSubmatch(tree.Modules["registry"].Locals["caches"], -1) {
		caches[m[1]] = m[2]
	}
	repositories := found(tree.Modules["registry"].Locals["repositories"], `"([^"]+)"`)
	if len(caches) != 2 || len(repositories) < 5 {
		t.Fatalf("caches %v, repositories %v", caches, repositories)
	}
	// upstream/path:tag of what is cached
	cached := map[string]bool{}
	pinned := append([]string(nil), list.Mentioned...)
	for _, i := range list.Images {
		pinned = append(pinned, i.Reference)
	}
	for _, ref := range pinned {
		host, path, ok := strings.Cut(ref, "/")
		switch {
		case !strings.Contains(host, "."):
			ref = "registry-1.docker.io/" + ref
		case ok && host == "docker.io":
			ref = "registry-1.docker.io/" + path
		}
		cached[ref] = true
	}
	account, region := place(t, set)
	registry := account + ".dkr.ecr." + region + ".amazonaws.com/"
	judge := func(where, ref string) {
		t.Helper()
		name, ok := strings.CutPrefix(ref, registry)
		if !ok {
			t.Errorf("%s: %s does not come from %s", where, ref, registry)
			return
		}
		repository, _, _ := strings.Cut(name, ":")
		prefix, rest, _ := strings.Cut(name, "/")
		if !slices.Contains(repositories, repository) && !cached[caches[prefix]+"/"+rest] {
			t.Errorf("%s: nothing fills %s: neither a repository of eks/terraform/registry nor a pinned image behind one of its caches", where, ref)
		}
	}
	for _, cluster := range manifests.Clusters() {
		objects, err := set.Render(cluster, "eks")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, o := range objects {
			for _, ref := range imagesIn(map[string]any(o)) {
				n++
				judge(cluster+": "+o.String(), ref)
			}
		}
		if n < 4 {
			t.Errorf("%s: %d images", cluster, n)
		}
	}
	apps, err := filepath.Glob("../../eks/argocd/apps/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	charts := 0
	for _, file := range apps {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, repository := range found(string(b), `image: \{repository: ([^,}]+)`) {
			charts++
			judge(filepath.Base(file), repository)
		}
	}
	if charts < 6 {
		t.Errorf("%d images of charts", charts)
	}
}
