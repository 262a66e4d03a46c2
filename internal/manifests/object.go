package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// ComponentLabel is the label that says to which component of an image set an object belongs. Every rendered object has it.
const ComponentLabel = "triad.dev/component"

// Platform is the component of objects that belong to a cluster as a whole: namespaces, priorities, default policies.
const Platform = "platform"

// Object is one Kubernetes object: maps, slices, strings, bools, int64 and float64, as encoding/json and the unstructured
// types of apimachinery have them.
type Object map[string]any

// APIVersion returns the object's apiVersion, empty when it has none.
func (o Object) APIVersion() string { return o.text("apiVersion") }

// Kind returns the object's kind, empty when it has none.
func (o Object) Kind() string { return o.text("kind") }

// Name returns metadata.name.
func (o Object) Name() string { return o.text("metadata", "name") }

// Namespace returns metadata.namespace, empty for objects of the cluster.
func (o Object) Namespace() string { return o.text("metadata", "namespace") }

// Component returns the value of ComponentLabel, empty when the label is missing.
func (o Object) Component() string { return o.text("metadata", "labels", ComponentLabel) }

// Labels returns metadata.labels; changing the result does not change the object.
func (o Object) Labels() map[string]string { return o.texts("metadata", "labels") }

// Annotations returns metadata.annotations; changing the result does not change the object.
func (o Object) Annotations() map[string]string { return o.texts("metadata", "annotations") }

// String names the object as Kind/name, for messages.
func (o Object) String() string { return o.Kind() + "/" + o.Name() }

// YAML returns the object as YAML with sorted keys.
func (o Object) YAML() ([]byte, error) {
	b, err := sigsyaml.Marshal(map[string]any(o))
	if err != nil {
		return nil, fmt.Errorf("yaml of %s: %w", o, err)
	}
	return b, nil
}

// Stream returns objects as one YAML stream. Of a Secret it has the names of its keys and no value: what is kept of a run is
// shown to others.
func Stream(objects []Object) ([]byte, error) {
	var b bytes.Buffer
	for _, o := range objects {
		if o.Kind() == "Secret" {
			o = withoutValues(o)
		}
		y, err := o.YAML()
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "---\n%s", y)
	}
	return b.Bytes(), nil
}

// withoutValues returns a Secret with its values left out. Annotations go too: kubectl keeps a whole copy of the object in one.
func withoutValues(o Object) Object {
	out := Object{"apiVersion": o["apiVersion"], "kind": o["kind"], "metadata": map[string]any{"name": o.Name(), "namespace": o.Namespace()}}
	for _, part := range []string{"data", "stringData"} {
		values, ok := o[part].(map[string]any)
		if !ok {
			continue
		}
		keys := map[string]any{}
		for k := range values {
			keys[k] = "(left out)"
		}
		out[part] = keys
	}
	return out
}

// ParseStream reads what Stream wrote.
func ParseStream(b []byte) ([]Object, error) {
	var out []Object
	dec := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var m map[string]any
		err := dec.Decode(&m)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("stream of objects: %w", err)
		}
		if len(m) > 0 {
			out = append(out, Object(normalise(m).(map[string]any)))
		}
	}
}

// JSON returns the object as JSON with sorted keys.
func (o Object) JSON() ([]byte, error) { return json.Marshal(map[string]any(o)) }

// Field returns the value below the given keys and whether it is there. Lists are not entered.
func (o Object) Field(keys ...string) (any, bool) {
	var v any = map[string]any(o)
	for _, k := range keys {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[k]; !ok {
			return nil, false
		}
	}
	return v, true
}

func (o Object) text(keys ...string) string {
	v, _ := o.Field(keys...)
	s, _ := v.(string)
	return s
}

func (o Object) texts(keys ...string) map[string]string {
	v, _ := o.Field(keys...)
	m, _ := v.(map[string]any)
	out := make(map[string]string, len(m))
	for k, v := range m {
		if s, ok := v.(string); ok {
			out[k] = s
		}
	}
	return out
}

// Maps returns the same objects as plain maps, the form that Kubernetes clients take.
func Maps(objects []Object) []map[string]any {
	out := make([]map[string]any, len(objects))
	for i, o := range objects {
		out[i] = o
	}
	return out
}

// Of returns the objects of one component, in their order.
func Of(objects []Object, component string) []Object {
	var out []Object
	for _, o := range objects {
		if o.Component() == component {
			out = append(out, o)
		}
	}
	return out
}

// Without returns the objects that do not belong to any of the named components, and those that do, both in their order: an
// image set that says "absent: [grafana]" leaves out what only makes sense with Grafana.
func Without(objects []Object, components ...string) (kept, left []Object) {
	gone := map[string]bool{}
	for _, c := range components {
		gone[c] = true
	}
	for _, o := range objects {
		if gone[o.Component()] {
			left = append(left, o)
		} else {
			kept = append(kept, o)
		}
	}
	return kept, left
}

// Find returns the object of a kind whose name is the given one, or the given one with the hash that kustomize appends to
// generated ConfigMaps and Secrets. The error names what is there.
func Find(objects []Object, kind, name string) (Object, error) {
	var names []string
	for _, o := range objects {
		if o.Kind() != kind {
			continue
		}
		if o.Name() == name || hashed(o.Name(), name) {
			return o, nil
		}
		names = append(names, o.Name())
	}
	return nil, fmt.Errorf("%s %q: not in the manifests (there are: %s)", kind, name, strings.Join(names, ", "))
}

// hashed tells whether full is base with kustomize's content hash (ten letters and digits) behind it.
func hashed(full, base string) bool {
	rest, ok := strings.CutPrefix(full, base+"-")
	return ok && len(rest) == 10 && strings.Trim(rest, "0123456789bcdfghkmt") == ""
}

// normalise turns what a YAML library made into the types that Object promises.
func normalise(v any) any {
	switch t := v.(type) {
	case map[string]any:
		for k, e := range t {
			t[k] = normalise(e)
		}
		return t
	case []any:
		for i, e := range t {
			t[i] = normalise(e)
		}
		return t
	case int:
		return int64(t)
	case int32:
		return int64(t)
	case uint64:
		return int64(t)
	case float32:
		return float64(t)
	}
	return v
}

func clone(v any) any {
	switch t := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(t))
		for k, e := range t {
			out[k] = clone(e)
		}
		return out
	case []any:
		out := make([]any, len(t))
		for i, e := range t {
			out[i] = clone(e)
		}
		return out
	}
	return v
}
