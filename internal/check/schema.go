package check

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

// ResultJSONSchema returns the JSON Schema of result.json. Figures that cannot be known are null, and the schema says
// which may be. Keys that are not in it may be added by later versions of the same schema_version; none is taken away.
func ResultJSONSchema() ([]byte, error) {
	r := &jsonschema.Reflector{
		Anonymous: true, AllowAdditionalProperties: true, ExpandedStruct: true,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			if t == reflect.TypeFor[Verdict]() {
				return &jsonschema.Schema{Type: "string", Enum: []any{Pass, Fail, Inconclusive, Skipped, Invalid}}
			}
			return nil
		},
	}
	s := r.Reflect(&Result{})
	s.Title = "Triad result.json"
	s.Description = "Verdict of one run. Times are nanoseconds from the start of the load unless their name says otherwise."
	nullable(reflect.TypeFor[Result](), s, s.Definitions, map[reflect.Type]bool{})
	return json.MarshalIndent(s, "", "  ")
}

// nullable lets every key be null that is a pointer in Go and always written: that is how an unknown figure is told.
func nullable(t reflect.Type, s *jsonschema.Schema, defs jsonschema.Definitions, done map[reflect.Type]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || done[t] {
		return
	}
	done[t] = true
	if s == nil {
		s = defs[t.Name()]
	}
	if s == nil || s.Properties == nil {
		return // a type with a form of its own, as a time
	}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if p, ok := s.Properties.Get(name); ok && f.Type.Kind() == reflect.Pointer && !strings.Contains(options, "omitempty") {
			s.Properties.Set(name, &jsonschema.Schema{OneOf: []*jsonschema.Schema{p, {Type: "null"}}})
		}
		nullable(f.Type, nil, defs, done)
	}
}
