package manifests

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A definition of our own in the form of a CustomResourceDefinition.
const widgetDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  group: example.org
  names: {kind: Widget}
  versions:
    - name: v0
      served: false
      schema: {openAPIV3Schema: {type: object}}
    - name: v1
      served: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              required: [size]
              properties:
                size: {type: integer, minimum: 1, maximum: 9}
                mode: {type: string, enum: [fast, slow]}
                name: {type: string, pattern: "^[a-z]+$", maxLength: 5}
                port: {x-kubernetes-int-or-string: true}
                free: {type: object, x-kubernetes-preserve-unknown-fields: true}
                tags: {type: object, additionalProperties: {type: string}}
                parts: {type: array, minItems: 1, items: {type: object, properties: {id: {type: integer}}}}
`

func TestSchemaFaults(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "widget.yaml"), []byte(widgetDefinition), 0o600); err != nil {
		t.Fatal(err)
	}
	defs, err := loadDefinitions(dir)
	if err != nil {
		t.Fatal(err)
	}
	widget := func(spec map[string]any) Object {
		return Object{"apiVersion": "example.org/v1", "kind": "Widget", "metadata": map[string]any{"name": "w"}, "spec": spec}
	}
	for name, c := range map[string]struct {
		spec map[string]any
		want []string
	}{
		"good": {map[string]any{
			"size": int64(3), "mode": "fast", "port": "http", "free": map[string]any{"x": int64(1)}, "tags": map[string]any{"a": "b"},
			"parts": []any{map[string]any{"id": int64(1)}},
		}, nil},
		"missing":       {map[string]any{}, []string{"spec: lacks size"}},
		"range":         {map[string]any{"size": int64(10)}, []string{"spec.size: is 10, out of range"}},
		"type":          {map[string]any{"size": "3"}, []string{"spec.size: is a string, want integer"}},
		"enum":          {map[string]any{"size": int64(1), "mode": "quick"}, []string{"spec.mode: is quick, want one of [fast slow]"}},
		"pattern":       {map[string]any{"size": int64(1), "name": "A"}, []string{`spec.name: is "A", want to match ^[a-z]+$`}},
		"length":        {map[string]any{"size": int64(1), "name": "abcdef"}, []string{"spec.name: has 6 characters"}},
		"unknown":       {map[string]any{"size": int64(1), "moed": "fast"}, []string{"spec.moed: unknown field, did you mean mode?"}},
		"int or string": {map[string]any{"size": int64(1), "port": true}, []string{"spec.port: is a boolean, want an integer or a string"}},
		"values":        {map[string]any{"size": int64(1), "tags": map[string]any{"a": int64(1)}}, []string{"spec.tags.a: is a number, want string"}},
		"elements":      {map[string]any{"size": int64(1), "parts": []any{}}, []string{"spec.parts: has 0 elements, want at least 1"}},
		"in element":    {map[string]any{"size": int64(1), "parts": []any{map[string]any{"idd": int64(1)}}}, []string{"spec.parts.0.idd: unknown field, did you mean id?"}},
		"null":          {map[string]any{"size": nil}, []string{"spec.size: is null, want integer"}},
	} {
		findings, known := defs.check(widget(c.spec))
		var got []string
		for _, f := range findings {
			got = append(got, joinPath(f.path)+": "+f.msg)
		}
		slices.Sort(got)
		if diff := cmp.Diff(c.want, got); diff != "" || !known {
			t.Errorf("%s: known %v\n%s", name, known, diff)
		}
	}
	if _, known := defs.check(Object{"apiVersion": "example.org/v0", "kind": "Widget"}); known {
		t.Error("a version that is not served must not be known")
	}
	if _, err := loadDefinitions(t.TempDir()); err == nil {
		t.Error("an empty folder must be an error")
	}
}

func joinPath(path []string) string {
	out := ""
	for i, p := range path {
		if i > 0 {
			out += "."
		}
		out += p
	}
	return out
}

func FuzzSchemaCheck(f *testing.F) {
	f.Add("type: object\nproperties: {a: {type: string, enum: [x]}}\nrequired: [b]\n", "a: y\nc: [1]\n")
	f.Fuzz(func(_ *testing.T, definition, object string) {
		var s schema
		var v map[string]any
		if strict("schema", []byte(definition), &s) != nil || strict("object", []byte(object), &v) != nil {
			return
		}
		var out []finding
		s.check(nil, normalise(v), &out)
	})
}
