package esfake

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

func parseInt(text string) (any, bool) {
	text = strings.TrimSpace(text)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return nil, false
	}
	return int64(f), true
}

func parseFloat(text string) (any, bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	return f, err == nil
}

// compare orders two values of field.value; numbers of both kinds compare with each other.
func compare(a, b any) int {
	switch x := a.(type) {
	case int64:
		switch y := b.(type) {
		case int64:
			return cmp.Compare(x, y)
		case float64:
			return cmp.Compare(float64(x), y)
		}
	case float64:
		switch y := b.(type) {
		case int64:
			return cmp.Compare(x, float64(y))
		case float64:
			return cmp.Compare(x, y)
		}
	case string:
		if y, ok := b.(string); ok {
			return cmp.Compare(x, y)
		}
	case bool:
		if y, ok := b.(bool); ok && x != y {
			if y {
				return -1
			}
			return 1
		}
	}
	return 0
}

// compile turns {"term":{...}} and its like into a node.
func (c compiler) compile(q map[string]any) (node, *apiError) {
	if len(q) != 1 {
		return nil, errParsing("a query must have exactly one name, found %d", len(q))
	}
	for name, v := range q {
		body, ok := v.(map[string]any)
		if !ok {
			return nil, errParsing("[%s] query malformed, no start_object after query name", name)
		}
		switch name {
		case "match_all":
			return matchAll{}, nil
		case "match_none":
			return matchNone{}, nil
		case "bool":
			return c.boolean(body)
		case "constant_score":
			inner, _ := body["filter"].(map[string]any)
			return c.compile(inner)
		case "ids":
			list, _ := body["values"].([]any)
			n := idsNode{}
			for _, e := range list {
				n.ids = append(n.ids, jsonText(e))
			}
			return n, nil
		case "exists":
			return existsNode{path: strings.TrimSuffix(jsonText(body["field"]), ".keyword")}, nil
		case "term", "terms", "prefix", "range", "match", "match_phrase":
			return c.leaf(name, body)
		}
		return nil, errParsing("unknown query [%s]", name)
	}
	return nil, nil
}

func (c compiler) boolean(body map[string]any) (node, *apiError) {
	n := boolNode{}
	minGiven := false
	for key, v := range body {
		var clauses []any
		switch v := v.(type) {
		case []any:
			clauses = v
		case map[string]any:
			clauses = []any{v}
		}
		var list []node
		for _, e := range clauses {
			m, ok := e.(map[string]any)
			if !ok {
				return nil, errParsing("[bool] malformed query, expected an object in [%s]", key)
			}
			sub, err := c.compile(m)
			if err != nil {
				return nil, err
			}
			list = append(list, sub)
		}
		switch key {
		case "must", "filter":
			n.and = append(n.and, list...)
		case "must_not":
			n.not = list
		case "should":
			n.should = list
		case "minimum_should_match":
			m, err := strconv.Atoi(jsonText(v))
			if err != nil || m < 0 {
				return nil, errParsing("[minimum_should_match] must be a whole number here, found [%s]", jsonText(v))
			}
			n.min, minGiven = m, true
		case "boost", "_name":
		default:
			return nil, errParsing("[bool] query does not support [%s]", key)
		}
	}
	if !minGiven && len(n.should) > 0 && len(n.and) == 0 {
		n.min = 1
	}
	return n, nil
}

// leaf compiles a query that names one field.
func (c compiler) leaf(name string, body map[string]any) (node, *apiError) {
	var fieldName string
	var arg any
	for k, v := range body {
		if k == "boost" || k == "_name" {
			continue
		}
		if fieldName != "" {
			return nil, errParsing("[%s] query doesn't support multiple fields, found [%s] and [%s]", name, fieldName, k)
		}
		fieldName, arg = k, v
	}
	if fieldName == "" {
		return nil, errParsing("[%s] query needs a field", name)
	}
	if fieldName == "_id" && (name == "term" || name == "terms") {
		n := idsNode{}
		list, ok := arg.([]any)
		if !ok {
			list = []any{unwrap(arg, "value")}
		}
		for _, e := range list {
			n.ids = append(n.ids, jsonText(e))
		}
		return n, nil
	}
	path, f, ok := c.fieldOf(fieldName)
	if !ok {
		return matchNone{}, nil // an unmapped field matches nothing
	}
	switch name {
	case "term":
		return c.terms(path, f, []any{unwrap(arg, "value")})
	case "terms":
		list, ok := arg.([]any)
		if !ok {
			return nil, errParsing("[terms] query requires an array of values for [%s]", fieldName)
		}
		return c.terms(path, f, list)
	case "prefix":
		p := jsonText(unwrap(arg, "value"))
		if f.typ != "text" && f.typ != "keyword" {
			return nil, errIllegal("Can only use prefix queries on keyword and text fields - not on [%s] which is of type [%s]", fieldName, f.typ)
		}
		return prefixNode{path: path, f: f, text: f.typ == "text", prefix: p}, nil
	case "range":
		return c.ranges(path, f, arg)
	}
	// match and match_phrase analyse their text; on anything but text they are a term query.
	text := jsonText(unwrap(arg, "query"))
	if f.typ != "text" {
		return c.terms(path, f, []any{text})
	}
	list := tokenList(text)
	if len(list) == 0 {
		return matchNone{}, nil
	}
	if name == "match_phrase" {
		if len(list) == 1 {
			return tokenNode{path: path, f: f, terms: list}, nil
		}
		return phraseNode{path: path, tokens: list}, nil
	}
	if m, ok := arg.(map[string]any); ok && strings.EqualFold(jsonText(m["operator"]), "and") {
		return matchNode{path: path, tokens: list}, nil
	}
	return tokenNode{path: path, f: f, terms: list}, nil
}

// unwrap takes the value out of {"value": v}.
func unwrap(arg any, key string) any {
	if m, ok := arg.(map[string]any); ok {
		return m[key]
	}
	return arg
}

func (c compiler) terms(path string, f field, values []any) (node, *apiError) {
	if f.typ == "text" {
		n := tokenNode{path: path, f: f}
		for _, v := range values {
			n.terms = append(n.terms, jsonText(v))
		}
		return n, nil
	}
	var want []any
	for _, v := range values {
		w, ok := f.value(jsonText(v))
		if !ok {
			return nil, errBadRequest("query_shard_exception", "failed to create query: cannot read [%s] as [%s]", jsonText(v), f.typ)
		}
		want = append(want, w)
	}
	return valueNode{path: path, f: f, test: func(v any) bool {
		if s, ok := v.(string); ok && f.above > 0 && utf8.RuneCountInString(s) > f.above {
			return false // longer values are not in the index
		}
		return slices.Contains(want, v)
	}}, nil
}

func (c compiler) ranges(path string, f field, arg any) (node, *apiError) {
	m, ok := arg.(map[string]any)
	if !ok {
		return nil, errParsing("[range] query malformed, no start_object after field name")
	}
	type bound struct {
		v    any
		keep func(c int) bool
	}
	var bounds []bound
	for k, v := range m {
		var keep func(int) bool
		switch k {
		case "gt":
			keep = func(c int) bool { return c > 0 }
		case "gte", "from":
			keep = func(c int) bool { return c >= 0 }
		case "lt":
			keep = func(c int) bool { return c < 0 }
		case "lte", "to":
			keep = func(c int) bool { return c <= 0 }
		case "format", "boost", "time_zone", "relation":
			if k == "time_zone" || k == "format" && !knownFormat(jsonText(v)) {
				return nil, errParsing("[range] query: [%s] is not supported", k)
			}
			continue
		default:
			return nil, errParsing("[range] query does not support [%s]", k)
		}
		if v == nil {
			continue
		}
		b := bound{keep: keep}
		var ok bool
		if f.date() {
			b.v, ok = dateMath(jsonText(v), c.now)
		} else {
			b.v, ok = f.value(jsonText(v))
			if fl, isFloat := parseFloat(jsonText(v)); f.whole() && isFloat {
				b.v = fl // 1.5 is a fine bound for whole numbers
				if n, err := strconv.ParseInt(jsonText(v), 10, 64); err == nil {
					b.v = n
				}
			}
		}
		if !ok {
			return nil, errBadRequest("query_shard_exception", "failed to create query: cannot read [%s] as [%s]", jsonText(v), f.typ)
		}
		bounds = append(bounds, b)
	}
	in := func(v any) bool {
		for _, b := range bounds {
			if !b.keep(compare(v, b.v)) {
				return false
			}
		}
		return true
	}
	if f.typ == "text" {
		return textRange{path: path, in: in}, nil
	}
	return valueNode{path: path, f: f, test: in}, nil
}

// textRange matches a text field with a token inside the range.
type textRange struct {
	scanAll
	path string
	in   func(any) bool
}

func (n textRange) match(d *docView) bool {
	return d.each(n.path, func(_ kind, text []byte) bool {
		hit := false
		tokens(text, func(tok []byte) bool {
			hit = n.in(string(tok))
			return !hit
		})
		return hit
	})
}

func knownFormat(f string) bool {
	for part := range strings.SplitSeq(f, "||") {
		switch part {
		case "epoch_millis", "strict_date_optional_time", "date_optional_time", "strict_date_optional_time_nanos":
		default:
			return false
		}
	}
	return true
}

// decodeNumbers decodes JSON keeping numbers as written, so that 64-bit values of search_after and term survive.
func decodeNumbers(b []byte, v any) error {
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.UseNumber()
	return dec.Decode(v)
}
