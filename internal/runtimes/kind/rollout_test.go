//go:build !embedded_only

package kind

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triad/internal/kube"
	"triad/internal/manifests"
)

// What is rolled forward brings a new object into every cluster, changes a configuration, and restarts nothing but what mounts it.
func TestRollForwardIsOfEverySort(t *testing.T) {
	set, err := manifests.Open("../../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	restarted := []string{}
	for _, c := range manifests.Clusters() {
		from, err := set.Render(c, overlay, "observer")
		if err != nil {
			t.Fatal(err)
		}
		to, err := set.Render(c, overlay, "observer", rollComponent)
		if err != nil {
			t.Fatal(err)
		}
		fresh := false
		for _, d := range manifests.Compare(c, from, to) {
			switch {
			case d.Kind == nil && len(d.Path) == 0:
				fresh = fresh || d.Object == "ConfigMap/triad-revision"
			case d.EKS == nil && len(d.Path) == 0:
				t.Errorf("%s: %s is taken away by rolling forward", c, d.Object)
			case len(d.Path) > 1 && d.Path[0] == "spec" && d.Path[1] == "template":
				restarted = append(restarted, c+" "+d.Object)
			}
		}
		if !fresh {
			t.Errorf("%s: rolling forward makes no object", c)
		}
		for _, o := range to {
			mark(o)
			if o.Labels()[rollLabel] == "" && o.Annotations()[rollLabel] == "" {
				t.Errorf("%s %s: not marked", c, o)
			}
			if tpl, ok := o.Field("spec", "template", "metadata", "labels", rollLabel); ok {
				t.Errorf("%s %s: its pods are marked %v, which restarts them", c, o, tpl)
			}
		}
	}
	if diff := cmp.Diff([]string{"datacenter DaemonSet/node-exporter", "kafka DaemonSet/node-exporter", "monitoring StatefulSet/alertmanager"}, slices.Compact(restarted)); diff != "" {
		t.Errorf("workloads that rolling forward restarts (-want +got):\n%s", diff)
	}
}

// What an interrupted roll-out has left goes with the next deployment, Strimzi's resources too, which carry no label; what is in the manifests, and
// what somebody else made, stays.
func TestSweepTakesStrimziResources(t *testing.T) {
	for _, labelled := range []bool{true, false} { // not every change leaves a ConfigMap behind
		api, c := newFakeAPI(t, "v1 configmaps ConfigMap", "kafka.strimzi.io/v1 kafkatopics KafkaTopic", "kafka.strimzi.io/v1 kafkausers KafkaUser")
		marked, planned := `"annotations":{"`+rollLabel+`":"`+rollValue+`"}`, manifests.Object{}
		for _, o := range []struct{ kind, name, meta string }{
			{"KafkaTopic", "planned", marked}, {"KafkaTopic", "rolled", marked}, {"KafkaUser", "rolled", marked}, {"KafkaUser", "somebodys", `"annotations":{}`},
		} {
			k := object(t, `{"apiVersion":"kafka.strimzi.io/v1","kind":%q,"metadata":{"namespace":"kafka","name":%q,%s}}`, o.kind, o.name, o.meta)
			if api.put(k); o.name == "planned" {
				planned = manifests.Object(k.Object)
			}
		}
		if labelled {
			api.put(object(t, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"kafka","name":"triad-revision","labels":{%q:%q}}}`, rollLabel, rollValue))
		}
		d := &deployment{Runtime: &Runtime{clients: map[string]*kube.Client{Kafka: c}, progress: func(string, string, string) {}}, plan: &Plan{Objects: map[string][]manifests.Object{Kafka: {planned}}}}
		if err := d.sweep(t.Context(), Kafka); err != nil {
			t.Fatal(err)
		}
		var left []string
		for path := range api.objects {
			left = append(left, path[strings.LastIndex(path[:strings.LastIndex(path, "/")], "/")+1:])
		}
		slices.Sort(left)
		if diff := cmp.Diff([]string{"kafkatopics/planned", "kafkausers/somebodys"}, left); diff != "" {
			t.Errorf("beside a ConfigMap %v, left (-want +got):\n%s", labelled, diff)
		}
	}
}

func TestChanges(t *testing.T) {
	before := map[string]string{"a": "1", "b": "1", "c": "1"}
	if got := changes(before, map[string]string{"a": "1", "b": "2", "d": "1"}); !slices.Equal(got, []string{"b", "c: gone", "d: new"}) {
		t.Errorf("changes: %q", got)
	}
	if got := changes(before, before); len(got) != 0 {
		t.Errorf("changes of nothing: %q", got)
	}
}

// What is deployed with the checksum of values from outside of the manifests is as rendered; when a value has changed, what takes it is not.
func TestValuesAreNoDeviation(t *testing.T) {
	api, c := newFakeAPI(t, "v1 secrets Secret", "apps/v1 deployments Deployment")
	api.put(kube.NewSecret("n", "s", map[string][]byte{"a": []byte("1")}))
	takes := object(t, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"n","name":"takes"},"spec":{"template":{"metadata":{"annotations":{"x":"y"}},"spec":{"volumes":[{"secret":{"secretName":"s"}}]}}}}`)
	p := &Plan{Clusters: []string{"n"}, Objects: map[string][]manifests.Object{"n": {manifests.Object(takes.Object)}}}
	d := &deployment{Runtime: &Runtime{progress: func(string, string, string) {}}, plan: p}
	if err := d.apply(t.Context(), c, "n", []kube.Object{takes}); err != nil {
		t.Fatal(err)
	}
	e := &env{clients: map[string]*kube.Client{"n": c}}
	for _, want := range [][]string{nil, {"n Deployment/takes: spec/template/metadata/annotations/" + valuesAnnotation}} {
		found, _, err := e.deviations(t.Context(), p)
		if diff := cmp.Diff(want, found); diff != "" || err != nil {
			t.Errorf("deviations: %v (-want +got):\n%s", err, diff)
		}
		api.put(kube.NewSecret("n", "s", map[string][]byte{"a": []byte("2")}))
	}
}

func TestDeviationNamesThePlace(t *testing.T) {
	live := &kube.Object{Object: map[string]any{"kind": "Deployment", "metadata": map[string]any{"name": "x", "resourceVersion": "1"}, "spec": map[string]any{"replicas": int64(2)}, "status": "old"}}
	want := live.DeepCopy()
	want.Object["spec"].(map[string]any)["replicas"] = int64(1)
	want.Object["status"] = "new"
	if got := deviation("kafka", kube.Deviation{Live: live, Want: want}); !slices.Equal(got, []string{"kafka Deployment/x: spec/replicas"}) {
		t.Errorf("deviation: %q", got)
	}
	if got := deviation("kafka", kube.Deviation{Ref: kube.Ref{Kind: "Deployment", Name: "x"}}); !slices.Equal(got, []string{"kafka Deployment/x: not there"}) {
		t.Errorf("deviation: %q", got)
	}
}

func TestManifestsAtARevision(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git here")
	}
	repo := t.TempDir()
	dir := filepath.Join(repo, "manifests")
	put := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git := func(args ...string) {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", repo, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q")
	for _, c := range manifests.Clusters() {
		put("base/"+c+"/kustomization.yaml", "old")
	}
	git("add", ".")
	git("commit", "-qm", "old")
	put("base/kafka/kustomization.yaml", "new")
	set, release, err := manifestsAt(t.Context(), dir, "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(set.Dir(), "base", "kafka", "kustomization.yaml"))
	if err != nil || string(b) != "old" {
		t.Errorf("manifests at HEAD: %q, %v", b, err)
	}
	release()
	if _, err := os.Stat(set.Dir()); err == nil {
		t.Error("the unpacked manifests are still there")
	}
	for _, rev := range []string{"", "--output=x", "nowhere"} {
		if _, _, err := manifestsAt(t.Context(), dir, rev); err == nil {
			t.Errorf("revision %q: no error", rev)
		}
	}
}
