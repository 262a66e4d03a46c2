//go:build !embedded_only

package eks

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"triad/internal/kube"
	"triad/internal/scenario"
)

// shippedFile is the text of a file of the repository.
func shippedFile(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{"..", "..", ".."}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// safety is docs/production-safety.md, and the YAML on it, block by block.
func safety(t *testing.T) (page string, blocks [][]string) {
	t.Helper()
	page = shippedFile(t, "docs", "production-safety.md")
	return page, regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page, -1)
}

// TestTheDocsGrantWhatIsAsked: the rights on the page are those that the program asks for, no more and no less, and the file on it is one that
// it takes.
func TestTheDocsGrantWhatIsAsked(t *testing.T) {
	page, blocks := safety(t)
	// The tests' contexts have other names, and their store has no users.
	const login = "    login: {user: canary, passwordFile: store-password, caFile: store-ca.crt} # only where the store has users, as in the shipped overlay\n"
	if len(blocks) != 6 || strings.Replace(strings.ReplaceAll(blocks[1][1], "context: triad-", "context: ctx-"), login, "", 1) != shipped || !strings.Contains(blocks[1][1], login) {
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
		row := regexp.MustCompile("(?m)^\\|.*`" + kind + "`.*\\|.*$").FindString(page)
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
	extra := regexp.MustCompile("`({apiGroups: .*?})`").FindStringSubmatch(page)
	if extra == nil {
		t.Fatal("the rights of a run are not on the page")
	}
	var more rbacv1.PolicyRule
	if err := yaml.UnmarshalStrict([]byte(extra[1]), &more); err != nil {
		t.Fatal(err)
	}
	granted := rightsIn(append(role.Rules, more))
	asksFor(t, granted, nil, canary(t))
	var jobs rbacv1.Role
	if err := yaml.UnmarshalStrict([]byte(blocks[4][1]), &jobs); err != nil {
		t.Fatal(err)
	}
	asksFor(t, append(granted, rightsIn(jobs.Rules)...), makers, shared(t))
}

// asksFor demands that everything that may be done with s takes the rights that are granted, no more and no less.
func asksFor(t *testing.T, granted []kube.Right, edit func(string) string, sc *scenario.Scenario) {
	t.Helper()
	s, _ := newTrio(t).system(t, Options{}, edit)
	var asked []kube.Right
	for _, actions := range [][]action{s.contexts.running(sc, false), s.contexts.running(sc, true), s.contexts.removing(), s.contexts.listing()} {
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

// The policies on the page are those of component observer, but that the store lets in the pods of the Job alone.
func TestThePoliciesForJobsAreTheObservers(t *testing.T) {
	policies := func(text string) map[string]networkingv1.NetworkPolicy {
		out := map[string]networkingv1.NetworkPolicy{}
		for part := range strings.SplitSeq(text, "\n---\n") {
			var p networkingv1.NetworkPolicy
			if err := yaml.UnmarshalStrict([]byte(part), &p); err != nil {
				t.Fatal(err)
			}
			out[p.Namespace+"/"+p.Name] = p
		}
		return out
	}
	_, blocks := safety(t)
	page := policies(blocks[5][1])
	for name, of := range map[string]string{"kafka/triad-observers": "kafka/observer-pods", "monitoring/triad-readers": "monitoring/observer-pods", "monitoring/triad-readers-in": "monitoring/observer-elasticsearch"} {
		role, _, _ := strings.Cut(of, "/")
		want, ok := policies(shippedFile(t, "manifests", "components", "observer", role, "network.yaml"))[of]
		got, is := page[name]
		if !ok || !is {
			t.Fatalf("%s is on the page: %v; %s is in the component: %v", name, is, of, ok)
		}
		for i := range got.Spec.Ingress {
			if len(got.Spec.Ingress[i].From) != 1 {
				t.Errorf("%s lets in %+v", name, got.Spec.Ingress[i].From)
			}
			got.Spec.Ingress[i].From = nil
		}
		if d := cmp.Diff(want.Spec, got.Spec); d != "" {
			t.Errorf("%s (-component +page):\n%s", name, d)
		}
	}
	if len(page) != 3 {
		t.Errorf("%d policies", len(page))
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

// The policy of the pod on the page lets it to API servers, names, and the brokers by the one address that the page calls possible: the load balancers
// of kafka, whose range Terraform says, on the port that they have.
func TestThePolicyInTheDocsLetsTheAddressOut(t *testing.T) {
	page, blocks := safety(t)
	var policy networkingv1.NetworkPolicy
	for _, block := range blocks {
		for part := range strings.SplitSeq(block[1], "\n---\n") {
			if strings.Contains(part, "\nkind: NetworkPolicy\nmetadata: {name: triad-harness,") {
				if err := yaml.UnmarshalStrict([]byte(part), &policy); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	plan := shippedFile(t, "eks", "terraform", "modules", "plan", "main.tf")
	network := regexp.MustCompile(`(?m)^    kafka += "(\S+)"$`).FindStringSubmatch(plan)
	part := regexp.MustCompile(`links += cidrsubnet\(range, (\d+), (\d+)\)`).FindStringSubmatch(plan)
	if network == nil || part == nil {
		t.Fatalf("the plan says not where the load balancers of kafka are: %q, %q", network, part)
	}
	all := netip.MustParsePrefix(network[1])
	bits, _ := strconv.Atoi(part[1])
	n, _ := strconv.Atoi(part[2])
	at := all.Addr().As4()
	binary.BigEndian.PutUint32(at[:], binary.BigEndian.Uint32(at[:])+uint32(n)<<(32-all.Bits()-bits))
	want := map[string]string{"443": "", "53": "", "9094": netip.PrefixFrom(netip.AddrFrom4(at), all.Bits()+bits).String()}
	got := map[string]string{}
	for _, rule := range policy.Spec.Egress {
		var to []string
		for _, peer := range rule.To {
			if peer.IPBlock == nil {
				t.Fatalf("a rule that is not for a range: %+v", peer)
			}
			to = append(to, peer.IPBlock.CIDR)
		}
		for _, p := range rule.Ports {
			got[p.Port.String()] = strings.Join(to, ",")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ports, and ranges that they are open to (-Terraform +page):\n%s", diff)
	}
	if !strings.Contains(page, "`bootstrap.kafka.triad.internal:9094`") {
		t.Error("the page does not say which address that is")
	}
}
