package manifests

import (
	"maps"
	"strings"
	"testing"
)

func TestOverlaysDifferByExactlyTheAllowedList(t *testing.T) {
	r, err := open(t).Diff()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if len(r.Allowed) < 50 {
		t.Errorf("only %d differences: the overlays were not rendered", len(r.Allowed))
	}
	// The allowed list, each entry with its reason: what go test -v prints is the whole of it.
	allowed, err := open(t).Allowances()
	if err != nil {
		t.Fatal(err)
	}
	var named int
	for _, e := range r.Entries() {
		named += len(e.Differences)
		t.Logf("%s: %d differences: %s", e.Allowance, len(e.Differences), e.Why)
		if strings.Contains(e.Why, "above") {
			t.Errorf("%s: %q points to a neighbour that is not there when entries are sorted", e.Allowance, e.Why)
		}
	}
	if n := len(r.Entries()); n != len(allowed) || named != len(r.Allowed) {
		t.Errorf("%d entries explain %d differences; the list has %d, for %d differences", n, named, len(allowed), len(r.Allowed))
	}
}

func TestUndeclaredDifferencesAndUnusedAllowancesAreReported(t *testing.T) {
	object := func(image string, extra map[string]any) Object {
		o := Object{"kind": "Deployment", "metadata": map[string]any{"name": "a"}, "spec": map[string]any{
			"replicas": int64(1), "containers": []any{map[string]any{"name": "c", "image": image}, map[string]any{"name": "d"}},
		}}
		maps.Copy(o["spec"].(map[string]any), extra)
		return o
	}
	kind := []Object{object("quay.io/x:1", nil), {"kind": "ConfigMap", "metadata": map[string]any{"name": "cfg-h7m45c9cdf"}}}
	eks := []Object{object("mirror/quay/x:2", map[string]any{"replicas": int64(3), "paused": true}), {"kind": "ConfigMap", "metadata": map[string]any{"name": "cfg-95bt6f86kk"}}}
	allowed := []Allowance{
		{"*/*/*", "spec/replicas", "replicas", "w"},
		{"*/Deployment/*", "spec/containers/*/image", "registry", "w"},
		{"kafka/Service/x", "", "exposure", "w"},
	}
	r := Judge(Compare("kafka", kind, eks), allowed)
	if len(r.Allowed) != 1 || r.Allowed[0].Path[1] != "replicas" {
		t.Errorf("allowed: %v", r.Allowed)
	}
	text := r.Err().Error()
	for _, want := range []string{
		`kafka/Deployment/a: spec/containers/c/image: kind "quay.io/x:1", eks "mirror/quay/x:2" (more than the registry differs)`,
		`spec/paused: kind (none), eks "true"`,
		`metadata/name`,
		`nothing uses the allowance kafka/Service/x (exposure)`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("not reported: %s\nin:\n%s", want, text)
		}
	}
}

func TestPathPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"spec/replicas", "spec/replicas", true},
		{"spec/replicas", "spec/replicas/x", false},
		{"spec/*", "spec/a/b", false},
		{"spec/**", "spec/a/b", true},
		{"spec/**", "spec", true},
		{"spec/**/image", "spec/image", true},
		{"spec/**/image", "spec/a/b/image", true},
		{"spec/**/image", "spec/a/b/images", false},
		{"env/STRIMZI_*/value", "env/STRIMZI_X/value", true},
	} {
		if got := fitsPath(strings.Split(c.pattern, "/"), strings.Split(c.path, "/")); got != c.want {
			t.Errorf("%s fits %s: %v", c.pattern, c.path, got)
		}
	}
}
