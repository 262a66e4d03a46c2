package esfake

import (
	"strconv"
	"strings"
)

// check walks a document, finds its tag tokens and refuses it when it does not fit the mapping. It returns the mapping
// to use from now on: with the fields that the document brought.
func (m *mapping) check(source []byte, tags *[]posting) (*mapping, *apiError) {
	out := m
	var refused *apiError
	err := walk(source, func(path []byte, k kind, start, end int, _ bool) error {
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
	if len(m.fields) >= m.limit {
		return f, false, errIllegal("Limit of total fields [%d] has been exceeded while adding new fields [1]", m.limit)
	}
	typ, def := "object", field{typ: "object"}
	switch k {
	case kindString:
		typ, def = "string", field{typ: "text", keyword: true, above: keywordLimit}
		if _, ok := parseDate(string(raw)); ok && !m.noDates {
			typ, def = "date", field{typ: "date"}
		}
	case kindNumber:
		typ, def = "double", field{typ: "float"}
		if _, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
			typ, def = "long", field{typ: "long"}
		}
	case kindTrue, kindFalse:
		typ, def = "boolean", field{typ: "boolean"}
	}
	for _, t := range m.templates {
		if t.fits(string(path), typ) {
			return t.def, true, t.def.accepts(string(path), k, raw)
		}
	}
	return def, true, nil
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
