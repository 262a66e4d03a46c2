package manifests

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T) Set {
	t.Helper()
	s, err := Open("../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func render(t *testing.T, s Set, cluster, overlay string, components ...string) Rendered {
	t.Helper()
	objects, err := s.Render(cluster, overlay, components...)
	if err != nil {
		t.Fatal(err)
	}
	return Rendered{Cluster: cluster, Overlay: overlay, Objects: objects}
}

func TestRenderReadsTheParametersOfTheModels(t *testing.T) {
	s := open(t)
	dc, k, m := render(t, s, "datacenter", "kind"), render(t, s, "kafka", "kind"), render(t, s, "monitoring", "kind")

	for _, c := range []struct {
		r         Rendered
		name, key string
		want      string
	}{
		{dc, "fluent-bit", "fluent-bit.yaml", "require_ack_response"},
		{dc, "fluentd", "fluentd.yaml", "total_limit_size"},
		{k, "kafka-metrics", "metrics-config.yaml", "ActiveControllerCount"},
		{m, "prometheus", "prometheus.yaml", "out_of_order_time_window: 4h"},
	} {
		text, err := c.r.ConfigFile(c.name, c.key)
		if err != nil || !strings.Contains(text, c.want) {
			t.Errorf("%s/%s: %v, has %q: %v", c.name, c.key, err, c.want, strings.Contains(text, c.want))
		}
	}
	if n := len(k.Resources("KafkaTopic")); n != 10 {
		t.Errorf("%d topics, want 7 of records and 3 of Connect", n)
	}
	y, err := k.ResourcesYAML("Kafka", "KafkaNodePool")
	if err != nil || strings.Count(y, "\n---\n") != 1 || !strings.Contains(y, "broker.session.timeout.ms: 9000") {
		t.Errorf("Strimzi resources: %v\n%s", err, y)
	}
	if _, err := k.ResourcesYAML("KafkaBridge"); err == nil {
		t.Error("a kind that is not there must be an error")
	}
	config, args, err := dc.Prometheus()
	if err != nil || !strings.Contains(config, "cluster: datacenter") || !slices.Contains(args, "--storage.agent.retention.max-time=4h") {
		t.Errorf("agent: %v %q", err, args)
	}
	tpl, err := m.IndexTemplateFor("service-topic")
	if err != nil || tpl.RefreshInterval != time.Second || !strings.Contains(string(tpl.Mappings), `"log"`) {
		t.Errorf("index template: %+v %v", tpl, err)
	}
	if _, err := m.IndexTemplateFor("somebody-else"); err == nil {
		t.Error("an index without a template must be an error")
	}
	w, err := dc.Workload("fluentd")
	if err != nil || w.Replicas != 1 || w.Command[0] != "fluentd" {
		t.Errorf("fluentd: %+v %v", w, err)
	}
}

func TestEveryObjectNamesItsComponentAndNamespace(t *testing.T) {
	s := open(t)
	images, err := s.Images()
	if err != nil {
		t.Fatal(err)
	}
	clusterKinds := []string{"Namespace", "PriorityClass", "ClusterRole", "ClusterRoleBinding", "StorageClass"}
	for _, overlay := range Overlays() {
		for _, c := range rendered() {
			for _, o := range render(t, s, c, overlay).Objects {
				if _, ok := images.Images[o.Component()]; !ok && o.Component() != Platform {
					t.Errorf("%s/%s %s: component %q is not in images.yaml", overlay, c, o, o.Component())
				}
				if wantNone := slices.Contains(clusterKinds, o.Kind()); (o.Namespace() == "") != wantNone || !wantNone && o.Namespace() != c {
					t.Errorf("%s/%s %s: namespace %q", overlay, c, o, o.Namespace())
				}
			}
		}
	}
}

func TestImagesArePinnedOnceAndSwapped(t *testing.T) {
	s := open(t)
	list, err := s.Images()
	if err != nil {
		t.Fatal(err)
	}
	var objects []Object
	for _, c := range Clusters() {
		objects = append(objects, render(t, s, c, "kind").Objects...)
	}
	pinned := list.References()
	used := Used(objects)
	for component, refs := range used {
		if len(refs) != 1 || refs[0] != pinned[component] {
			t.Errorf("%s runs %v, images.yaml pins %q", component, refs, pinned[component])
		}
	}
	for component := range pinned {
		if used[component] == nil {
			t.Errorf("images.yaml pins %s, which nothing runs", component)
		}
	}

	set := ImageSet{Images: map[string]string{"kafka": "mirror.example/kafka:1", "strimzi-operator": "mirror.example/op:2", "unknown": "x:1"}}
	swapped, changed := Swap(objects, list, set)
	if len(changed) != 2 {
		t.Errorf("changed: %q", changed)
	}
	after := Used(swapped)
	if after["kafka"][0] != "mirror.example/kafka:1" || after["strimzi-operator"][0] != "mirror.example/op:2" || after["fluentd"][0] != pinned["fluentd"] {
		t.Errorf("after the swap: %v", after)
	}
	if Used(objects)["kafka"][0] != pinned["kafka"] {
		t.Error("Swap changed its argument")
	}
	d, err := Find(swapped, "Deployment", "strimzi-cluster-operator")
	if err != nil {
		t.Fatal(err)
	}
	y, _ := d.YAML()
	if !strings.Contains(string(y), "4.3.1=mirror.example/kafka:1") || !strings.Contains(string(y), "value: mirror.example/op:2") || strings.Contains(string(y), "4.3.1=quay.io") {
		t.Errorf("the operator's environment keeps the pinned image:\n%s", y)
	}
}

func TestSettingsReplaceTextForOneRun(t *testing.T) {
	s := open(t)
	changed, err := s.Replace("fluentd.yaml", "total_limit_size: 4g", "total_limit_size: 1m")
	if err != nil {
		t.Fatal(err)
	}
	after, _ := render(t, changed, "datacenter", "kind").ConfigFile("fluentd", "fluentd.yaml")
	before, _ := render(t, s, "datacenter", "kind").ConfigFile("fluentd", "fluentd.yaml")
	if !strings.Contains(after, "total_limit_size: 1m") || strings.Contains(before, "total_limit_size: 1m") {
		t.Error("the setting is not in the run's objects, or it leaked into the others")
	}
	for _, c := range []struct{ file, old, want string }{
		{"fluentd.yaml", "no such text", "is not in the file"},
		{"fluentd.yaml", "", "is not in the file"},
		{"nothing.yaml", "x", "0 files of that name"},
		{"kustomization.yaml", "x", "files of that name"},
	} {
		if _, err := s.Replace(c.file, c.old, "y"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Replace(%s, %q): %v, want %q", c.file, c.old, err, c.want)
		}
	}
}

func TestBadInputs(t *testing.T) {
	s := open(t)
	for _, c := range []struct{ cluster, overlay, component, want string }{
		{"mars", "kind", "", "unknown cluster"},
		{"kafka", "gke", "", "unknown overlay"},
		{"kafka", "kind", "nothing", `unknown component "nothing", there are`},
		{"kafka", "kind", "-nothing", `unknown component "nothing"`},
	} {
		var components []string
		if c.component != "" {
			components = []string{c.component}
		}
		if _, err := s.Render(c.cluster, c.overlay, components...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not the folder of manifests") {
		t.Errorf("Open of an empty folder: %v", err)
	}
	file := func(text string) string {
		f := filepath.Join(t.TempDir(), "set.yaml")
		if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return f
	}
	for text, want := range map[string]string{
		"":                              "empty",
		"images: {kafka: x:1}\n---\n{}": "second document",
		"imagez: {}":                    "imagez",
		"images: {kafka: x}":            "not repository:tag",
		"images: {kafka: 'x:1'}\nabsent: [kafka]": "absent too",
	} {
		if _, err := LoadImageSet(file(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("image set %q: %v, want %q", text, err, want)
		}
	}
	set, err := LoadImageSet(file("images: {kafka: 'lab.local/kafka:4.3.1'}\nstand_ins: [strimzi-operator]\nabsent: [grafana]\nlacks: [elasticsearch-security]\n"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.Images()
	if err != nil {
		t.Fatal(err)
	}
	red := list.Reductions(set, func(_, file string) bool { return !strings.Contains(file, "ilm") })
	if len(red) != 2 || red[0].LeavesOut != "elasticsearch-security" || red[1].LeavesOut != "elasticsearch-lifecycle" {
		t.Errorf("reductions: %+v", red)
	}
}

func TestFlowFaultsAreNamed(t *testing.T) {
	good := Flow{Name: "f", From: End{"kafka", "kafka"}, To: End{"monitoring", "prometheus"}, Ports: Ports{EKS: []int{1}}, Why: "because"}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Flow){
		"has a name":    func(f *Flow) { f.Name = "" },
		"says why":      func(f *Flow) { f.Why = " " },
		"neither":       func(f *Flow) { f.From.Cluster = "moon" },
		"not a cluster": func(f *Flow) { f.To.Cluster = "outside" },
		"both ends are": func(f *Flow) { f.To.Cluster = "kafka" },
		"name a compon": func(f *Flow) { f.To.Component = "" },
		"is not a port": func(f *Flow) { f.Ports.Kind = []int{70000} },
		"ports.eks":     func(f *Flow) { f.Ports.EKS = nil },
		"via needs":     func(f *Flow) { f.Via = &Via{Service: "s", Host: "h", Port: 1, NodePort: 30000} },
	} {
		f := good
		change(&f)
		if err := f.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
