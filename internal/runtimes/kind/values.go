//go:build !embedded_only

package kind

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"triad/internal/kube"
	"triad/internal/manifests"
)

const (
	// valuesAnnotation carries, on the template of pods, the checksum of the values from outside of the manifests that a program takes when it
	// starts. Values that have changed change it, and pods with the old ones are replaced; as long as they have not, nothing is.
	valuesAnnotation = "triad.dev/values"
	// followsAnnotation names, on a workload, the Secrets and ConfigMaps, separated by commas, whose mounted files its program reads again by
	// itself. What it takes out of them as environment counts all the same.
	followsAnnotation = "triad.dev/follows"
)

// source is a Secret or a ConfigMap, or one key of it, that pods take values from. An empty key is all of them.
type source struct{ kind, name, key string }

// templateOf returns the path to the metadata of the pods that an object makes, and the path below which stands what they take; nil: it makes none
// that can be replaced. Jobs run once, and take what is there then.
func templateOf(o *kube.Object) (metadata, takes []string) {
	switch o.GetKind() {
	case "Deployment", "StatefulSet", "DaemonSet":
		return []string{"spec", "template", "metadata"}, []string{"spec", "template", "spec"}
	case "KafkaConnect":
		// Strimzi's operator looks at passwords and authorities by itself, but only every two minutes, and at other volumes never. A change of the
		// resource is seen at once, and can be waited for.
		return []string{"spec", "template", "pod", "metadata"}, []string{"spec"}
	}
	return nil, nil
}

// sources are what the pods of an object take when they start, sorted, but for objects of the plan: what is rendered carries its content in its name.
func sources(o *kube.Object, planned map[source]bool) []source {
	_, takes := templateOf(o)
	if takes == nil {
		return nil
	}
	spec, _, _ := unstructured.NestedFieldNoCopy(o.Object, takes...)
	follows := strings.FieldsFunc(o.GetAnnotations()[followsAnnotation], func(r rune) bool { return r == ',' || r == ' ' })
	var found []source
	add := func(kind, name, key string) {
		if name != "" && !planned[source{kind: kind, name: name}] {
			found = append(found, source{kind, name, key})
		}
	}
	files := func(kind, name string, items any) {
		if slices.Contains(follows, name) {
			return
		}
		list, _ := items.([]any)
		for _, i := range list {
			item, _ := i.(map[string]any)
			add(kind, name, str(item["key"]))
		}
		if len(list) == 0 {
			add(kind, name, "")
		}
	}
	walk(spec, func(field string, v map[string]any) {
		switch field {
		case "secretKeyRef":
			add("Secret", str(v["name"]), str(v["key"]))
		case "configMapKeyRef":
			add("ConfigMap", str(v["name"]), str(v["key"]))
		case "secretRef":
			add("Secret", str(v["name"]), "")
		case "configMapRef":
			add("ConfigMap", str(v["name"]), "")
		case "configMap":
			files("ConfigMap", str(v["name"]), v["items"])
		case "secret":
			// A volume says secretName, a projected one name.
			files("Secret", str(v["secretName"])+str(v["name"]), v["items"])
		case "trustedCertificates", "passwordSecret":
			add("Secret", str(v["secretName"]), "")
		}
	})
	slices.SortFunc(found, func(a, b source) int {
		return strings.Compare(a.kind+"/"+a.name+"/"+a.key, b.kind+"/"+b.name+"/"+b.key)
	})
	return slices.Compact(found)
}

func str(v any) string { s, _ := v.(string); return s }

// walk calls fn with every map below v and the field that it, or the list that it is in, stands in.
func walk(v any, fn func(field string, m map[string]any)) {
	m, _ := v.(map[string]any)
	for field, e := range m {
		list, ok := e.([]any)
		if !ok {
			list = []any{e}
		}
		for _, x := range list {
			if m, ok := x.(map[string]any); ok {
				fn(field, m)
			}
			walk(x, fn)
		}
	}
}

// stamp returns the objects, those whose pods take values from outside of the plan with the checksum of these values as they are in the cluster. The
// given objects stay as they are: they are what was rendered.
func stamp(ctx context.Context, c *kube.Client, planned []manifests.Object, objects []kube.Object) ([]kube.Object, error) {
	rendered := map[source]bool{}
	for _, o := range planned {
		rendered[source{kind: o.Kind(), name: o.Name()}] = true
	}
	read := map[source]map[string]any{}
	out := slices.Clone(objects)
	for i := range out {
		taken := sources(&out[i], rendered)
		if len(taken) == 0 {
			continue
		}
		h := sha256.New()
		enc := json.NewEncoder(h) // which sorts keys
		for _, s := range taken {
			of := source{kind: s.kind, name: s.name}
			data, ok := read[of]
			if !ok {
				live, err := c.Get(ctx, kube.Ref{APIVersion: "v1", Kind: s.kind, Namespace: out[i].GetNamespace(), Name: s.name})
				if err != nil && !kube.IsNotFound(err) {
					return nil, err
				}
				if err == nil {
					data, _ = live.Object["data"].(map[string]any)
				}
				read[of] = data
			}
			var value any = data
			if s.key != "" {
				value = data[s.key]
			}
			if err := enc.Encode([]any{s.kind, s.name, s.key, value}); err != nil {
				return nil, fmt.Errorf("values of %s: %w", kube.RefOf(&out[i]), err)
			}
		}
		o := out[i].DeepCopy()
		metadata, _ := templateOf(o)
		if err := unstructured.SetNestedField(o.Object, hex.EncodeToString(h.Sum(nil)[:8]), append(slices.Clone(metadata), "annotations", valuesAnnotation)...); err != nil {
			return nil, fmt.Errorf("values of %s: %w", kube.RefOf(o), err)
		}
		out[i] = *o
	}
	return out, nil
}

// apply puts objects on a cluster: first what pods take values from, then everything else, which carries the checksum of them.
func (d *deployment) apply(ctx context.Context, c *kube.Client, name string, objects []kube.Object) error {
	var first, rest []kube.Object
	for _, o := range objects {
		switch o.GetKind() {
		case "Namespace", "ConfigMap", "Secret":
			first = append(first, o)
		default:
			rest = append(rest, o)
		}
	}
	if err := c.Apply(ctx, first, d.progress); err != nil {
		return err
	}
	rest, err := stamp(ctx, c, d.plan.Objects[name], rest)
	if err != nil {
		return err
	}
	return c.Apply(ctx, rest, d.progress)
}
