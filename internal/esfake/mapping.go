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
}

// mapping says how the fields of an index are typed. It is immutable once in use.
type mapping struct {
	fields  map[string]field
	dynamic string // true, false or strict
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

func newMapping() *mapping { return &mapping{fields: map[string]field{}, dynamic: "true"} }

func (m *mapping) clone() *mapping {
	return &mapping{fields: maps.Clone(m.fields), dynamic: m.dynamic}
}

func (m *mapping) add(path string, f field) {
	f.num = uint16(len(m.fields))
	m.fields[path] = f
}

// merge adds the definitions of a mappings object ({"dynamic":..., "properties":{...}}) and returns the result. Types
// of existing fields cannot change.
func (m *mapping) merge(def map[string]any) (*mapping, *apiError) {
	out := m.clone()
	if d, ok := def["dynamic"]; ok {
		switch s := jsonText(d); s {
		case "true", "false", "strict":
			out.dynamic = s
		default:
			return nil, errBadRequest("mapper_parsing_exception", "dynamic [%s] is not supported", s)
		}
	}
	props, _ := def["properties"].(map[string]any)
	if err := out.properties("", props); err != nil {
		return nil, err
	}
	return out, nil
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
		typ, _ := def["type"].(string)
		sub, hasSub := def["properties"].(map[string]any)
		if typ == "" {
			typ = "object"
			if !hasSub && len(def) > 0 && def["dynamic"] == nil && def["enabled"] == nil {
				return errBadRequest("mapper_parsing_exception", "No type specified for field [%s]", prefix+name)
			}
		}
		f := field{typ: typ}
		if multi, ok := def["fields"].(map[string]any); ok {
			kw, _ := multi["keyword"].(map[string]any)
			f.keyword = kw["type"] == "keyword"
		}
		old, exists := m.fields[prefix+name]
		if exists && old.typ != typ {
			return errIllegal("mapper [%s] cannot be changed from type [%s] to [%s]", prefix+name, old.typ, typ)
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

// check walks a document, finds its tag tokens and refuses it when it does not fit the mapping. It returns the mapping
// to use from now on: with the fields that the document brought.
func (m *mapping) check(source []byte, tags *[]posting) (*mapping, *apiError) {
	out := m
	var refused *apiError
	err := walk(source, func(path []byte, k kind, start, end int, escaped bool) error {
		if k == kindNull {
			return nil
		}
		f, known := out.fields[string(path)]
		if !known {
			var add bool
			if f, add, refused = out.infer(path, k, source[start:end]); refused != nil {
				return refused
			}
			if !add {
				return nil
			}
			if out == m {
				out = m.clone()
			}
			out.add(string(path), f)
			f = out.fields[string(path)]
		} else if refused = f.accepts(string(path), k, source[start:end]); refused != nil {
			return refused
		}
		if k == kindString && f.typ == "text" {
			tagTokens(source[start:end], func(off, n int) {
				*tags = append(*tags, posting{off: uint32(start + off), n: uint8(n), field: f.num})
			})
		}
		return nil
	})
	if refused != nil {
		return nil, refused
	}
	if err != nil {
		return nil, &apiError{
			status: 400, typ: "document_parsing_exception", reason: "failed to parse",
			cause: errBadRequest("x_content_parse_exception", "%s", err.Error()),
		}
	}
	return out, nil
}

// infer types a field that is not mapped, by dynamic mapping.
func (m *mapping) infer(path []byte, k kind, raw []byte) (f field, add bool, refused *apiError) {
	switch m.dynamic {
	case "strict":
		return f, false, errBadRequest("strict_dynamic_mapping_exception",
			"mapping set to strict, dynamic introduction of [%s] within [_doc] is not allowed", path)
	case "false":
		return f, false, nil
	}
	// A dotted name makes objects of its parents: a parent that is a plain value refuses it.
	for i, c := range path {
		if c != '.' {
			continue
		}
		if p, ok := m.fields[string(path[:i])]; ok && p.typ != "object" {
			if p.typ == "flattened" || p.typ == "nested" {
				return f, false, nil
			}
			return f, false, errBadRequest("document_parsing_exception",
				"failed to parse field [%s] of type [%s]", path[:i], p.typ)
		}
	}
	if len(m.fields) >= fieldsLimit {
		return f, false, errIllegal("Limit of total fields [%d] has been exceeded while adding new fields [1]", fieldsLimit)
	}
	switch k {
	case kindString:
		if _, ok := parseDate(string(raw)); ok {
			return field{typ: "date"}, true, nil
		}
		return field{typ: "text", keyword: true}, true, nil
	case kindNumber:
		if _, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
			return field{typ: "long"}, true, nil
		}
		return field{typ: "float"}, true, nil
	case kindTrue, kindFalse:
		return field{typ: "boolean"}, true, nil
	}
	return field{typ: "object"}, true, nil
}

// accepts reports why a value does not fit a mapped field, nil when it does.
func (f field) accepts(path string, k kind, raw []byte) *apiError {
	if f.typ == "object" && k != kindObject {
		return errBadRequest("document_parsing_exception",
			"object mapping for [%s] tried to parse field [%s] as object, but found a concrete value", path, path)
	}
	fail := func(reason string) *apiError {
		e := errBadRequest("document_parsing_exception", "failed to parse field [%s] of type [%s]", path, f.typ)
		e.cause = errIllegal("%s", reason)
		return e
	}
	if k == kindObject {
		switch f.typ {
		case "object", "nested", "flattened", "geo_point":
			return nil
		}
		return fail("Expected a value but found an object")
	}
	switch {
	case f.numeric():
		if k == kindTrue || k == kindFalse {
			return fail("Current token is no number")
		}
		if _, err := strconv.ParseFloat(strings.TrimSpace(string(raw)), 64); err != nil {
			return fail("For input string: \"" + string(raw) + "\"")
		}
	case f.typ == "boolean":
		if s := string(raw); s != "true" && s != "false" && s != "" {
			return fail("Failed to parse value [" + s + "] as only [true] or [false] are allowed.")
		}
	case f.date():
		if k == kindNumber {
			return nil
		}
		if _, ok := parseDate(string(raw)); !ok {
			if _, err := strconv.ParseInt(string(raw), 10, 64); err != nil || k != kindString {
				return fail("failed to parse date field [" + string(raw) + "] with format [strict_date_optional_time||epoch_millis]")
			}
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
		if f.keyword {
			def["fields"] = map[string]any{"keyword": map[string]any{"type": "keyword", "ignore_above": keywordLimit}}
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
