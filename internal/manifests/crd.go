package manifests

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// schema is the part of a CustomResourceDefinition's schema that is checked here: what a structural schema may say about types,
// presence and values. Rules in CEL (x-kubernetes-validations) are not evaluated; the API server does.
type schema struct {
	Type                 string             `yaml:"type"`
	Properties           map[string]*schema `yaml:"properties"`
	AdditionalProperties *anyOrSchema       `yaml:"additionalProperties"`
	Items                *schema            `yaml:"items"`
	Required             []string           `yaml:"required"`
	Enum                 []any              `yaml:"enum"`
	Pattern              string             `yaml:"pattern"`
	Minimum              *float64           `yaml:"minimum"`
	Maximum              *float64           `yaml:"maximum"`
	MinItems             *int               `yaml:"minItems"`
	MinLength            *int               `yaml:"minLength"`
	MaxLength            *int               `yaml:"maxLength"`
	Nullable             bool               `yaml:"nullable"`
	IntOrString          bool               `yaml:"x-kubernetes-int-or-string"`
	PreserveUnknown      bool               `yaml:"x-kubernetes-preserve-unknown-fields"`
}

// anyOrSchema is additionalProperties: true, or a schema for the values.
type anyOrSchema struct {
	any    bool
	schema *schema
}

func (a *anyOrSchema) UnmarshalYAML(unmarshal func(any) error) error {
	if unmarshal(&a.any) == nil {
		return nil
	}
	a.schema = &schema{}
	return unmarshal(a.schema)
}

// definitions are the schemas of custom resources by "apiVersion/kind".
type definitions map[string]*schema

// loadDefinitions reads every CustomResourceDefinition of a folder.
func loadDefinitions(dir string) (definitions, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("definitions of custom resources: no .yaml file in %s", dir)
	}
	out := definitions{}
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("definitions of custom resources: %w", err)
		}
		var crd struct {
			Kind string `yaml:"kind"`
			Spec struct {
				Group string `yaml:"group"`
				Names struct {
					Kind string `yaml:"kind"`
				} `yaml:"names"`
				Versions []struct {
					Name   string `yaml:"name"`
					Served bool   `yaml:"served"`
					Schema struct {
						OpenAPI *schema `yaml:"openAPIV3Schema"`
					} `yaml:"schema"`
				} `yaml:"versions"`
			} `yaml:"spec"`
		}
		if err := yaml.Unmarshal(content, &crd); err != nil {
			return nil, fmt.Errorf("definition %s: %w", f, err)
		}
		for _, v := range crd.Spec.Versions {
			if crd.Kind == "CustomResourceDefinition" && v.Served && v.Schema.OpenAPI != nil {
				out[crd.Spec.Group+"/"+v.Name+"/"+crd.Spec.Names.Kind] = v.Schema.OpenAPI
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("definitions of custom resources: none in %s", dir)
	}
	return out, nil
}

// A finding is a fault at a path of an object.
type finding struct {
	path []string
	msg  string
}

// check judges an object by its schema. It reports false when there is no definition of the kind in that version.
func (d definitions) check(o Object) ([]finding, bool) {
	s, ok := d[o.APIVersion()+"/"+o.Kind()]
	if !ok {
		return nil, false
	}
	var out []finding
	top := map[string]any{}
	for k, v := range o {
		if k != "apiVersion" && k != "kind" && k != "metadata" {
			top[k] = v
		}
	}
	s.check(nil, top, &out)
	sort.SliceStable(out, func(i, j int) bool { return strings.Join(out[i].path, ".") < strings.Join(out[j].path, ".") })
	return out, true
}

func (s *schema) check(path []string, v any, out *[]finding) {
	fault := func(format string, args ...any) {
		*out = append(*out, finding{slices.Clone(path), fmt.Sprintf(format, args...)})
	}
	if v == nil {
		if !s.Nullable && s.Type != "" {
			fault("is null, want %s", s.Type)
		}
		return
	}
	if s.IntOrString {
		switch v.(type) {
		case int64, string:
		default:
			fault("is %s, want an integer or a string", typeOf(v))
		}
		return
	}
	if s.Type != "" && !s.isType(v) {
		fault("is %s, want %s", typeOf(v), s.Type)
		return
	}
	if len(s.Enum) > 0 && !slices.ContainsFunc(s.Enum, func(e any) bool { return reflect.DeepEqual(normalise(e), v) }) {
		fault("is %v, want one of %v", v, s.Enum)
	}
	switch t := v.(type) {
	case map[string]any:
		s.checkMap(path, t, fault, out)
	case []any:
		if s.MinItems != nil && len(t) < *s.MinItems {
			fault("has %d elements, want at least %d", len(t), *s.MinItems)
		}
		for i, e := range t {
			if s.Items != nil {
				s.Items.check(append(slices.Clone(path), strconv.Itoa(i)), e, out)
			}
		}
	case string:
		if s.Pattern != "" {
			if re, err := regexp.Compile(s.Pattern); err == nil && !re.MatchString(t) {
				fault("is %q, want to match %s", t, s.Pattern)
			}
		}
		if s.MinLength != nil && len(t) < *s.MinLength || s.MaxLength != nil && len(t) > *s.MaxLength {
			fault("has %d characters", len(t))
		}
	case int64, float64:
		n := number(t)
		if s.Minimum != nil && n < *s.Minimum || s.Maximum != nil && n > *s.Maximum {
			fault("is %v, out of range", v)
		}
	}
}

func (s *schema) checkMap(path []string, m map[string]any, fault func(string, ...any), out *[]finding) {
	for _, r := range s.Required {
		if _, ok := m[r]; !ok {
			fault("lacks %s", r)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		at := append(slices.Clone(path), k)
		switch p, known := s.Properties[k]; {
		case known:
			p.check(at, m[k], out)
		case s.AdditionalProperties != nil && s.AdditionalProperties.schema != nil:
			s.AdditionalProperties.schema.check(at, m[k], out)
		case s.PreserveUnknown, s.AdditionalProperties != nil && s.AdditionalProperties.any, len(s.Properties) == 0:
		default:
			// The API server would drop the field without a word.
			near := nearest(k, slices.Collect(maps.Keys(s.Properties)))
			*out = append(*out, finding{at, "unknown field" + near})
		}
	}
}

func (s *schema) isType(v any) bool {
	switch t := v.(type) {
	case map[string]any:
		return s.Type == "object"
	case []any:
		return s.Type == "array"
	case string:
		return s.Type == "string"
	case bool:
		return s.Type == "boolean"
	case int64:
		return s.Type == "integer" || s.Type == "number"
	case float64:
		return s.Type == "number" || s.Type == "integer" && t == math.Trunc(t)
	}
	return false
}

func typeOf(v any) string {
	switch v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case nil:
		return "null"
	}
	return "a number"
}

func number(v any) float64 {
	if i, ok := v.(int64); ok {
		return float64(i)
	}
	f, _ := v.(float64)
	return f
}

// nearest returns ", did you mean x?" for the known word that is at most two changes away, else nothing.
func nearest(word string, known []string) string {
	sort.Strings(known)
	best, at := "", 3
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < at {
			best, at = k, d
		}
	}
	if best == "" {
		return ""
	}
	return ", did you mean " + best + "?"
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j]+1, row[j+1]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
