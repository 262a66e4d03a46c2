package manifests

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// right is one verb on one resource: in the namespace that is watched, or everywhere.
type right struct{ scope, resource, verb string }

func (r right) String() string { return r.verb + " " + r.resource + " (" + r.scope + ")" }

// published is testdata/strimzi-roles.yaml.
type published struct {
	Version string                       `yaml:"version"`
	Granted map[string]map[string]string `yaml:"granted"` // scope -> group/resource -> verbs
	LeftOut []struct {
		In        []string `yaml:"in"` // clusters
		Scope     string   `yaml:"scope"`
		Resources []string `yaml:"resources"`
		Verbs     string   `yaml:"verbs"`
		Why       string   `yaml:"why"`
	} `yaml:"left_out"`
}

func readPublished(t *testing.T) (published, map[right]bool) {
	t.Helper()
	const file = "testdata/strimzi-roles.yaml"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var p published
	if err := strict(file, content, &p); err != nil {
		t.Fatal(err)
	}
	granted := map[right]bool{}
	for scope, resources := range p.Granted {
		for resource, verbs := range resources {
			for v := range strings.FieldsSeq(verbs) {
				granted[right{scope, resource, v}] = true
			}
		}
	}
	return p, granted
}

// grants adds what the rules of a role grant in a scope.
func grants(into map[right]bool, scope string, role Object) {
	texts := func(v any) []string {
		list, _ := v.([]any)
		out := make([]string, len(list))
		for i, e := range list {
			out[i] = e.(string)
		}
		return out
	}
	rules, _ := role.Field("rules")
	for _, e := range rules.([]any) {
		rule := e.(map[string]any)
		names := texts(rule["resourceNames"])
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range texts(rule["apiGroups"]) {
			if group == "" {
				group = "core"
			}
			for _, resource := range texts(rule["resources"]) {
				for _, name := range names {
					if name != "" {
						name = "=" + name
					}
					for _, verb := range texts(rule["verbs"]) {
						into[right{scope, group + "/" + resource + name, verb}] = true
					}
				}
			}
		}
	}
}

// bound is what the roles bound to a service account grant it.
func bound(t *testing.T, objects []Object, account string) map[right]bool {
	t.Helper()
	out := map[right]bool{}
	for _, o := range objects {
		scope := map[string]string{"RoleBinding": "namespace", "ClusterRoleBinding": "cluster"}[o.Kind()]
		subjects, _ := o.Field("subjects")
		list, _ := subjects.([]any)
		if scope == "" || !slices.ContainsFunc(list, func(e any) bool { return Object(e.(map[string]any)).text("name") == account }) {
			continue
		}
		role, err := Find(objects, o.text("roleRef", "kind"), o.text("roleRef", "name"))
		if err != nil {
			t.Errorf("%s: %v", o, err)
			continue
		}
		grants(out, scope, role)
	}
	return out
}

func TestOperatorHasWhatStrimziPublishes(t *testing.T) {
	s := open(t)
	p, granted := readPublished(t)
	list, err := s.Images()
	if err != nil {
		t.Fatal(err)
	}
	if ref := list.References()["strimzi-operator"]; !strings.HasSuffix(ref, ":"+p.Version) {
		t.Errorf("%s runs, testdata/strimzi-roles.yaml is of %s: read the roles of its version again", ref, p.Version)
	}
	for _, cluster := range []string{"kafka", "monitoring"} {
		out := map[right]string{}
		for _, l := range p.LeftOut {
			if l.Why == "" || len(l.In) == 0 {
				t.Errorf("left out without a reason, or nowhere: %v", l.Resources)
			}
			if !slices.Contains(l.In, cluster) {
				continue
			}
			for _, resource := range l.Resources {
				for v := range strings.FieldsSeq(l.Verbs) {
					r := right{l.Scope, resource, v}
					if out[r] != "" || !granted[r] {
						t.Errorf("%s: %s is left out twice, or nothing published grants it", cluster, r)
					}
					out[r] = l.Why
				}
			}
		}
		for _, overlay := range Overlays() {
			have := bound(t, render(t, s, cluster, overlay).Objects, "strimzi-cluster-operator")
			for r := range have {
				switch {
				case !granted[r]:
					t.Errorf("%s/%s: the operator may %s, which no published role grants", cluster, overlay, r)
				case out[r] != "":
					t.Errorf("%s/%s: the operator may %s, which is left out: %s", cluster, overlay, r, out[r])
				}
			}
			for r := range granted {
				if !have[r] && out[r] == "" {
					t.Errorf("%s/%s: the operator may not %s, and no reason is given", cluster, overlay, r)
				}
			}
		}
	}
}

// The list is ours; this compares it with what it was read from, where that is at hand.
func TestPublishedRolesAreAsListed(t *testing.T) {
	dir := os.Getenv("TRIAD_STRIMZI_ROLES")
	if dir == "" {
		t.Skip("TRIAD_STRIMZI_ROLES names no folder with install/cluster-operator of Strimzi's repository")
	}
	_, granted := readPublished(t)
	files, err := filepath.Glob(filepath.Join(dir, "0[23]*-ClusterRole-*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no roles below %s: %v", dir, err)
	}
	have := map[right]bool{}
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		objects, err := ParseStream(content)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			scope := "namespace"
			if slices.Contains([]string{"strimzi-cluster-operator-global", "strimzi-kafka-broker", "strimzi-kafka-client"}, o.Name()) {
				scope = "cluster"
			}
			grants(have, scope, o)
		}
	}
	for r := range have {
		if !granted[r] {
			t.Errorf("published, not listed: %s", r)
		}
	}
	for r := range granted {
		if !have[r] {
			t.Errorf("listed, not published: %s", r)
		}
	}
}
