package esfake

import (
	"encoding/json"
	"maps"
	"sort"
	"strconv"
	"strings"
)

// fieldsLimit is the default of index.mapping.total_fields.limit.
const fieldsLimit = 1000

// keywordLimit is ignore_above of the keyword sub-field that dynamic mapping gives to a string.
const keywordLimit = 256

// field is one mapped field.
type field struct {
	num     uint16 // number of the field in its index
	typ     string // Elasticsearch's name of the type; "object" for one with members
	keyword bool   // has the sub-field .keyword
	above   int    // ignore_above of the keyword or the sub-field: longer values cannot be searched; 0 none
}

// mapping says how the fields of an index are typed. It is immutable once in use.
type mapping struct {
	fields    map[string]field
	dynamic   string // true, false or strict
	templates []dynamicTemplate
	noDates   bool // date_detection is off
	limit     int  // index.mapping.total_fields.limit
}

// dynamicTemplate says how a new field is typed whose value and name match.
type dynamicTemplate struct {
	matchType string // string, long, double, boolean, date, object or *
	match     string // pattern of the last part of the path, "" any
	pathMatch string // pattern of the whole path, "" any
	def       field
}

// numeric types are compared as numbers; whole ones refuse text that is no number.
func (f field) numeric() bool { return f.whole() || f.real() }

func (f field) whole() bool {
	switch f.typ {
	case "long", "integer", "short", "byte", "unsigned_long":
		return true
	}
	return false
}

func (f field) real() bool {
	switch f.typ {
	case "double", "float", "half_float", "scaled_float":
		return true
	}
	return false
}

func (f field) date() bool { return f.typ == "date" || f.typ == "date_nanos" }

func newMapping() *mapping {
	return &mapping{fields: map[string]field{}, dynamic: "true", limit: fieldsLimit}
}

func (m *mapping) clone() *mapping {
	out := *m
	out.fields = maps.Clone(m.fields)
	return &out
}

func (m *mapping) add(path string, f field) {
	f.num = uint16(len(m.fields))
	m.fields[path] = f
}

// merge adds the definitions of a mappings object ({"dynamic":..., "properties":{...}}) and returns the result. Types
// of existing fields cannot change.
func (m *mapping) merge(def map[string]any) (*mapping, *apiError) {
	out := m.clone()
	for k, v := range def {
		switch k {
		case "properties", "_meta":
		case "_source", "_routing":
			return nil, errBadRequest("mapper_parsing_exception", "[%s] is not supported", k)
		case "dynamic":
			switch s := jsonText(v); s {
			case "true", "false", "strict":
				out.dynamic = s
			default:
				return nil, errBadRequest("mapper_parsing_exception", "dynamic [%s] is not supported", s)
			}
		case "date_detection":
			out.noDates = jsonText(v) == "false"
		case "dynamic_templates":
			list, _ := v.([]any)
			out.templates = nil
			for _, e := range list {
				named, _ := e.(map[string]any)
				for name, body := range named {
					b, _ := body.(map[string]any)
					t, err := parseDynamic(name, b)
					if err != nil {
						return nil, err
					}
					out.templates = append(out.templates, t)
				}
			}
		default:
			return nil, errBadRequest("mapper_parsing_exception", "Root mapping definition has unsupported parameters: [%s]", k)
		}
	}
	props, _ := def["properties"].(map[string]any)
	if err := out.properties("", props); err != nil {
		return nil, err
	}
	return out, nil
}

func parseDynamic(name string, body map[string]any) (dynamicTemplate, *apiError) {
	t := dynamicTemplate{matchType: "*"}
	for k, v := range body {
		switch k {
		case "match_mapping_type":
			t.matchType = jsonText(v)
		case "match":
			t.match = jsonText(v)
		case "path_match":
			t.pathMatch = jsonText(v)
		case "mapping":
			def, _ := v.(map[string]any)
			f, err := parseField(name, def)
			if err != nil {
				return t, err
			}
			t.def = f
		default:
			return t, errBadRequest("mapper_parsing_exception", "dynamic template [%s]: [%s] is not supported", name, k)
		}
	}
	if t.def.typ == "" {
		return t, errBadRequest("mapper_parsing_exception", "dynamic template [%s] has no [mapping] with a [type]", name)
	}
	return t, nil
}

func (t dynamicTemplate) fits(path, typ string) bool {
	last := path[strings.LastIndexByte(path, '.')+1:]
	return (t.matchType == "*" || t.matchType == typ) && (t.match == "" || matchName(t.match, last)) &&
		(t.pathMatch == "" || matchName(t.pathMatch, path))
}

// parseField reads the definition of one field without its members.
func parseField(path string, def map[string]any) (field, *apiError) {
	f := field{}
	for k, v := range def {
		switch k {
		case "type":
			f.typ = jsonText(v)
		case "ignore_above":
			n, err := strconv.Atoi(jsonText(v))
			if err != nil {
				return f, errBadRequest("mapper_parsing_exception", "[ignore_above] of [%s] must be a whole number", path)
			}
			f.above = n
		case "fields":
			multi, _ := v.(map[string]any)
			for name, sub := range multi {
				kw, _ := sub.(map[string]any)
				if name != "keyword" || kw["type"] != "keyword" {
					return f, errBadRequest("mapper_parsing_exception", "multi-field [%s] of [%s]: only [keyword] is supported", name, path)
				}
				f.keyword = true
				f.above, _ = strconv.Atoi(jsonText(kw["ignore_above"]))
			}
		case "properties", "dynamic", "enabled", "norms", "doc_values", "index_options", "format", "store", "scaling_factor",
			"ignore_malformed", "coerce", "eager_global_ordinals", "meta", "index":
			// They change cost and precision of real searches; the fake finds what a real index finds by default.
			if k == "ignore_malformed" && jsonText(v) == "true" || k == "index" && jsonText(v) == "false" || k == "enabled" && jsonText(v) == "false" {
				return f, errBadRequest("mapper_parsing_exception", "[%s] of [%s] is not supported", k, path)
			}
		case "analyzer":
			if a := jsonText(v); a != "standard" && a != "default" {
				return f, errBadRequest("mapper_parsing_exception", "analyzer [%s] of [%s] is not supported", a, path)
			}
		default:
			return f, errBadRequest("mapper_parsing_exception", "unknown parameter [%s] on mapper [%s]", k, path)
		}
	}
	return f, nil
}

func (m *mapping) properties(prefix string, props map[string]any) *apiError {
	names := make([]string, 0, len(props))
	for name := range props {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		def, ok := props[name].(map[string]any)
		if !ok {
			return errBadRequest("mapper_parsing_exception", "Expected map for property [%s]", prefix+name)
		}
		f, err := parseField(prefix+name, def)
		if err != nil {
			return err
		}
		sub, hasSub := def["properties"].(map[string]any)
		if f.typ == "" {
			f.typ = "object"
			if !hasSub && len(def) > 0 && def["dynamic"] == nil && def["enabled"] == nil {
				return errBadRequest("mapper_parsing_exception", "No type specified for field [%s]", prefix+name)
			}
		}
		old, exists := m.fields[prefix+name]
		if exists && old.typ != f.typ {
			return errIllegal("mapper [%s] cannot be changed from type [%s] to [%s]", prefix+name, old.typ, f.typ)
		}
		if !exists {
			m.add(prefix+name, f)
		}
		if err := m.properties(prefix+name+".", sub); err != nil {
			return err
		}
	}
	return nil
}

// definition returns the mapping in the form of GET _mapping.
func (m *mapping) definition() map[string]any {
	props := map[string]any{}
	paths := make([]string, 0, len(m.fields))
	for p := range m.fields {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	for _, p := range paths {
		f := m.fields[p]
		at := props
		parts := strings.Split(p, ".")
		for _, part := range parts[:len(parts)-1] {
			parent, ok := at[part].(map[string]any)
			if !ok {
				parent = map[string]any{}
				at[part] = parent
			}
			next, ok := parent["properties"].(map[string]any)
			if !ok {
				next = map[string]any{}
				parent["properties"] = next
			}
			at = next
		}
		leaf := parts[len(parts)-1]
		def, ok := at[leaf].(map[string]any)
		if !ok {
			def = map[string]any{}
			at[leaf] = def
		}
		if f.typ != "object" {
			def["type"] = f.typ
		}
		if f.typ == "keyword" && f.above > 0 {
			def["ignore_above"] = f.above
		}
		if f.keyword {
			def["fields"] = map[string]any{"keyword": map[string]any{"type": "keyword", "ignore_above": f.above}}
		}
	}
	if len(props) == 0 {
		return map[string]any{}
	}
	out := map[string]any{"properties": props}
	if m.dynamic != "true" {
		out["dynamic"] = m.dynamic
	}
	return out
}

// jsonText returns a JSON scalar as settings write it: without quotes.
func jsonText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case nil:
		return ""
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return v.String()
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	b, _ := json.Marshal(v)
	return string(b)
}
