package manifests

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is kept of a run has no secret in it, whichever field it stood in, and everything else comes back as it was.
func TestStreamLeavesSecretsOut(t *testing.T) {
	in := []Object{
		{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "c", "namespace": "kafka"}, "data": map[string]any{"a.yaml": "x: 1\ny: two\n"}},
		{
			"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
			"metadata": map[string]any{"name": "s", "namespace": "kafka", "annotations": map[string]any{"kubectl.kubernetes.io/last-applied-configuration": "aHVudGVyMg=="}},
			"data":     map[string]any{"password": "aHVudGVyMg=="}, "stringData": map[string]any{"user": "hunter2"},
		},
	}
	b, err := Stream(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"aHVudGVyMg", "hunter2"} {
		if strings.Contains(string(b), secret) {
			t.Errorf("%q is in the stream:\n%s", secret, b)
		}
	}
	got, err := ParseStream(b)
	if err != nil {
		t.Fatal(err)
	}
	want := []Object{in[0], {
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "s", "namespace": "kafka"},
		"data": map[string]any{"password": "(left out)"}, "stringData": map[string]any{"user": "(left out)"},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("objects (-want +got):\n%s", d)
	}
	if _, err := ParseStream([]byte("a: [")); err == nil {
		t.Error("half a stream is read")
	}
}

// Every object of the kind overlay survives being kept.
func TestStreamOfTheManifests(t *testing.T) {
	set := open(t)
	for _, cluster := range Clusters() {
		objects, err := set.Render(cluster, "kind", "observer")
		if err != nil {
			t.Fatal(err)
		}
		b, err := Stream(objects)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseStream(b)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(objects) {
			t.Errorf("%s: %d objects, %d came back", cluster, len(objects), len(got))
		}
		// Two runs are compared by what was kept of both.
		if again, err := Stream(got); err != nil || len(b) == 0 {
			t.Errorf("%s: kept again: %v", cluster, err)
		} else if second, err := ParseStream(again); err != nil || len(Compare(cluster, got, second)) > 0 {
			t.Errorf("%s: kept twice is not the same: %v, %v", cluster, Compare(cluster, got, second), err)
		}
	}
}
