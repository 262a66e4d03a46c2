package argocd

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"triad/internal/manifests"
)

func doc(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What a reader would apply from the page is what the API server takes, and gives no right to change anything.
func TestTheRoleInTheDocs(t *testing.T) {
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(doc(t, "production-safety.md"))
	if block == nil {
		t.Fatal("no YAML in production-safety.md")
	}
	parts := strings.Split(block[1], "\n---\n")
	if len(parts) != 2 {
		t.Fatalf("%d documents", len(parts))
	}
	var role rbacv1.Role
	var binding rbacv1.RoleBinding
	if err := yaml.UnmarshalStrict([]byte(parts[0]), &role); err != nil {
		t.Error(err)
	}
	if err := yaml.UnmarshalStrict([]byte(parts[1]), &binding); err != nil {
		t.Error(err)
	}
	for _, r := range role.Rules {
		for _, verb := range r.Verbs {
			portForward := verb == "create" && slices.Equal(r.Resources, []string{"pods/portforward"})
			if !portForward && !slices.Contains([]string{"get", "list", "watch"}, verb) {
				t.Errorf("%v may %s", r.Resources, verb)
			}
		}
	}
	if binding.RoleRef.Name != role.Name || binding.Namespace != role.Namespace || binding.Subjects[0].Name != "triad-observers" {
		t.Errorf("the binding does not bind the role: %+v", binding)
	}
}

// Files and folders that the three pages name exist.
func TestPathsInTheDocs(t *testing.T) {
	path := regexp.MustCompile("`((?:eks|manifests|internal)/[a-zA-Z0-9_./-]+)`")
	for _, page := range []string{"eks.md", "gitops.md", "production-safety.md"} {
		found := 0
		for _, m := range path.FindAllStringSubmatch(doc(t, page), -1) {
			found++
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
		if found == 0 {
			t.Errorf("%s: no path found", page)
		}
	}
}

// The table of secrets in eks.md and what the clusters bring from outside are the same, those aside that kafka hands on.
func TestSecretsInTheDocs(t *testing.T) {
	brought, pushed := map[string]bool{}, map[string]bool{}
	for _, cluster := range manifests.Clusters() {
		for _, o := range built(t, cluster) {
			for _, m := range remoteRef.FindAllStringSubmatch(text(t, o), -1) {
				switch o.Kind() {
				case "ExternalSecret":
					brought[m[1]] = true
				case "PushSecret":
					pushed[m[1]] = true
				}
			}
		}
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `triad/.*?\\|").FindAllString(doc(t, "eks.md"), -1) {
		for _, s := range regexp.MustCompile("`triad/([a-z-]+)`").FindAllStringSubmatch(m, -1) {
			listed[s[1]] = true
		}
	}
	for name := range brought {
		if !pushed[name] && !listed[name] {
			t.Errorf("eks.md does not say that %s has to be made", name)
		}
	}
	made := regexp.MustCompile(`(?m)^mkdir (remote-write-.*)$`).FindStringSubmatch(doc(t, "eks.md"))
	for name := range listed {
		if made == nil || !slices.Contains(strings.Fields(made[1]), name) {
			t.Errorf("the commands of eks.md do not make %s", name)
		}
		if !brought[name] {
			t.Errorf("eks.md lists %s, which nothing brings", name)
		}
	}
	for name := range pushed {
		if !brought[name] {
			t.Errorf("kafka hands on %s to nobody", name)
		}
	}
}
