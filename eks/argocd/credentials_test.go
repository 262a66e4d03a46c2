package argocd

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"triad/internal/manifests"
	"triad/internal/terraform"
)

var (
	secretRef = regexp.MustCompile(`secretName: ([a-z0-9-]+)|secretKeyRef:\s+(?:key: \S+\s+)?name: ([a-z0-9-]+)`)
	remoteRef = regexp.MustCompile(`(?:remoteKey|key): triad/([a-z0-9-]+)`)
)

func text(t *testing.T, o manifests.Object) string {
	t.Helper()
	b, err := o.YAML()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Every Secret that a pod names is brought by a reference, and every reference is used.
func TestEverySecretHasAReference(t *testing.T) {
	for _, cluster := range manifests.Clusters() {
		var brought, named []string
		for _, o := range built(t, cluster) {
			if o.Kind() == "ExternalSecret" {
				brought = append(brought, o.Name())
				if !strings.Contains(text(t, o), "deletionPolicy: Retain") {
					t.Errorf("%s: %s takes the Secret with it", cluster, o)
				}
				continue
			}
			if o.Kind() == "PushSecret" || o.Kind() == "CustomResourceDefinition" {
				continue
			}
			for _, m := range secretRef.FindAllStringSubmatch(text(t, o), -1) {
				named = append(named, m[1]+m[2])
			}
		}
		slices.Sort(named)
		named = slices.Compact(named)
		slices.Sort(brought)
		if !slices.Equal(named, brought) {
			t.Errorf("%s: pods name %v, brought are %v", cluster, named, brought)
		}
	}
}

// A cluster reads and writes in AWS exactly what Terraform gives it the right to.
func TestCredentialsAndRightsAgree(t *testing.T) {
	tree, err := terraform.Load(filepath.Join(root, "eks", "terraform"))
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile(`"([a-z-]+)"`)
	list := func(cluster, name string) []string {
		a, _ := tree.Modules[cluster].Calls["rights"].Attribute(name)
		var out []string
		for _, m := range quoted.FindAllStringSubmatch(a.Expr, -1) {
			out = append(out, m[1])
		}
		slices.Sort(out)
		return out
	}
	for _, cluster := range manifests.Clusters() {
		got := map[string][]string{}
		for _, o := range built(t, cluster) {
			if slices.Contains(credentials, o.Kind()) {
				for _, m := range remoteRef.FindAllStringSubmatch(text(t, o), -1) {
					got[o.Kind()] = append(got[o.Kind()], m[1])
				}
			}
		}
		for kind, right := range map[string]string{"ExternalSecret": "reads", "PushSecret": "writes"} {
			slices.Sort(got[kind])
			if want := list(cluster, right); !slices.Equal(slices.Compact(got[kind]), want) {
				t.Errorf("%s: %s names %v, Terraform gives the right to %v", cluster, kind, got[kind], want)
			}
		}
	}
}

// What kafka pushes arrives under the keys that pods ask for. External Secrets takes a property for a path (sjson) when it writes: a dot in it makes
// an object inside of an object, and extract gives the outer one's key.
func TestPushedSecretsArrive(t *testing.T) {
	type object = map[string]any
	list := func(o manifests.Object, keys ...string) []any {
		v, _ := o.Field(keys...)
		l, _ := v.([]any)
		return l
	}
	pushed := map[string][]string{}
	for _, o := range built(t, "kafka") {
		if o.Kind() != "PushSecret" {
			continue
		}
		for _, d := range list(o, "spec", "data") {
			ref := d.(object)["match"].(object)["remoteRef"].(object)
			property, _ := ref["property"].(string)
			if !regexp.MustCompile(`^[a-z-]+$`).MatchString(property) {
				t.Errorf("%s: the property %q is a path of more than one step, or none", o, property)
			}
			pushed[ref["remoteKey"].(string)] = append(pushed[ref["remoteKey"].(string)], property)
		}
	}
	want := map[string]string{"triad-kafka-ca": "ca.crt", "triad-kafka-user": "password username"} // manifests/README.md
	for _, cluster := range []string{"datacenter", "monitoring"} {
		got := map[string]string{}
		for _, o := range built(t, cluster) {
			if o.Kind() != "ExternalSecret" {
				continue
			}
			var keys []string
			for _, e := range list(o, "spec", "dataFrom") {
				keys = append(keys, pushed[e.(object)["extract"].(object)["key"].(string)]...)
			}
			for _, e := range list(o, "spec", "data") {
				ref := e.(object)["remoteRef"].(object)
				if p, _ := ref["property"].(string); slices.Contains(pushed[ref["key"].(string)], p) {
					keys = append(keys, e.(object)["secretKey"].(string))
				} else {
					t.Errorf("%s: %s reads %s of %s, pushed are %v", cluster, o, p, ref["key"], pushed[ref["key"].(string)])
				}
			}
			if len(keys) == 0 {
				continue // none of what is pushed
			}
			if v, ok := o.Field("spec", "target", "template", "data"); ok {
				keys = slices.Collect(maps.Keys(v.(object)))
			}
			slices.Sort(keys)
			got[o.Name()] = strings.Join(keys, " ")
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: of what kafka pushes arrives %v, want %v", cluster, got, want)
		}
	}
}

// Service accounts of the controllers are those that Terraform binds roles to, and their pools exist.
func TestControllersAreBound(t *testing.T) {
	apps, _ := all(t)
	for _, cluster := range manifests.Clusters() {
		b, err := os.ReadFile(filepath.Join(root, "eks", "terraform", cluster, "main.tf"))
		if err != nil {
			t.Fatal(err)
		}
		bound := map[string]string{}
		for _, m := range regexp.MustCompile(`(\w+)\s+= \{ namespace = "([a-z-]+)", service_account = "([a-z-]+)"`).FindAllStringSubmatch(string(b), -1) {
			bound[m[1]] = m[2] + "/" + m[3]
		}
		for name, account := range bound {
			a, ok := apps[name+"-"+cluster]
			if !ok {
				t.Errorf("%s: rights of %s, and no Application of that name", cluster, name)
				continue
			}
			sa, _ := a.Spec.Source.Helm.ValuesObject["serviceAccount"].(map[string]any)
			if got := a.Spec.Destination.Namespace + "/" + sa["name"].(string); got != account {
				t.Errorf("%s: runs as %s, the role is bound to %s", a.Metadata.Name, got, account)
			}
			pool, _ := a.Spec.Source.Helm.ValuesObject["nodeSelector"].(map[string]any)
			if p, _ := pool["triad.dev/pool"].(string); !strings.Contains(string(b), "    "+p+" ") {
				t.Errorf("%s: pool %q is not one of %s", a.Metadata.Name, p, cluster)
			}
		}
		for name := range apps {
			kind, c, _ := strings.Cut(name, "-")
			if c == cluster && kind != "definitions" && bound[kind] == "" {
				t.Errorf("%s: has no rights in AWS", name)
			}
		}
	}
}
