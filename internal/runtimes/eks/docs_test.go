//go:build !embedded_only

package eks

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"triad/internal/kube"
	"triad/internal/scenario"
)

// TestTheDocsGrantWhatIsAsked: the rights on the page are those that the program asks for, no more and no less, and the file on it is one that
// it takes.
func TestTheDocsGrantWhatIsAsked(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "production-safety.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(b), -1)
	// The tests' contexts have other names, and their store has no users.
	const login = "    login: {user: canary, passwordFile: store-password, caFile: store-ca.crt} # only where the store has users, as in the shipped overlay\n"
	if len(blocks) != 4 || strings.Replace(strings.ReplaceAll(blocks[1][1], "context: triad-", "context: ctx-"), login, "", 1) != shipped || !strings.Contains(blocks[1][1], login) {
		t.Fatalf("%d blocks; the second is not the file that the tests use", len(blocks))
	}
	dir := t.TempDir()
	for _, f := range []string{"kubeconfig", "password", "ca.crt", "store-password", "store-ca.crt"} {
		write(t, dir, f, "x")
	}
	if c, err := LoadContexts(write(t, dir, "eks.yaml", blocks[1][1]+blocks[2][1]), false); err != nil || c.Faults == nil {
		t.Errorf("the limits on the page: %v", err)
	}
	for kind, k := range strikes {
		row := regexp.MustCompile("(?m)^\\|.*`" + kind + "`.*\\|.*$").FindString(string(b))
		for _, r := range k.rights {
			resource := r.Resource
			if r.Group != "" {
				resource += "." + r.Group
			}
			if r == readPod {
				continue // granted to look
			}
			if !strings.Contains(row, "`"+r.Verb+"`") || !strings.Contains(row, "`"+resource+"`") {
				t.Errorf("the page does not say that %s takes %s: %q", kind, r, row)
			}
		}
	}
	var role rbacv1.Role
	first, _, _ := strings.Cut(blocks[0][1], "\n---\n")
	if err := yaml.UnmarshalStrict([]byte(first), &role); err != nil {
		t.Fatal(err)
	}
	extra := regexp.MustCompile("`({apiGroups: .*?})`").FindStringSubmatch(string(b))
	if extra == nil {
		t.Fatal("the rights of a run are not on the page")
	}
	var more rbacv1.PolicyRule
	if err := yaml.UnmarshalStrict([]byte(extra[1]), &more); err != nil {
		t.Fatal(err)
	}
	granted := rightsIn(append(role.Rules, more))
	tr := newTrio(t)
	s, _ := tr.system(t, Options{}, nil)
	var asked []kube.Right
	for _, actions := range [][]action{s.contexts.running(canary(t), false), s.contexts.running(canary(t), true), s.contexts.removing(), s.contexts.listing()} {
		for _, r := range scenario.ClusterNames {
			for _, right := range rightsOf(actions, r) {
				right.Namespace = ""
				if !slices.Contains(asked, right) {
					asked = append(asked, right)
				}
				if !slices.Contains(granted, right) {
					t.Errorf("%s: the page does not grant %s", r, right)
				}
			}
		}
	}
	for _, g := range granted {
		if !slices.Contains(asked, g) {
			t.Errorf("the page grants %s, which nothing asks for", g)
		}
	}
}

func rightsIn(rules []rbacv1.PolicyRule) []kube.Right {
	var out []kube.Right
	for _, rule := range rules {
		for _, res := range rule.Resources {
			for _, v := range rule.Verbs {
				out = append(out, kube.Right{Group: rule.APIGroups[0], Resource: res, Verb: v})
			}
		}
	}
	return out
}
