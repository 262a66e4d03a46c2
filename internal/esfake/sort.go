package esfake

import (
	"slices"
	"strconv"
	"time"
)

func parseSort(v any) ([]sortKey, *apiError) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []sortKey
	for _, e := range list {
		switch e := e.(type) {
		case string:
			out = append(out, sortKey{field: e, desc: e == "_score", missing: "_last"})
		case map[string]any:
			for name, o := range e {
				k := sortKey{field: name, missing: "_last"}
				switch o := o.(type) {
				case string:
					k.desc = o == "desc"
				case map[string]any:
					for opt, ov := range o {
						switch opt {
						case "order":
							k.desc = jsonText(ov) == "desc"
						case "missing":
							k.missing = jsonText(ov)
						case "unmapped_type", "format", "numeric_type":
						default:
							return nil, errParsing("[sort] does not support [%s]", opt)
						}
					}
				}
				out = append(out, k)
			}
		default:
			return nil, errParsing("malformed sort")
		}
	}
	return out, nil
}

// keep adds a hit of a field-sorted search if it may be among the first.
func (r *request) keep(hits []hit, sh shard, d uint32) ([]hit, *apiError) {
	h := hit{sh: sh, doc: d, keys: make([]any, len(r.sort))}
	for i, k := range r.sort {
		h.keys[i] = sh.sortValue(k, sh.ord, d)
	}
	if len(r.after) > 0 {
		c := 0
		for i, v := range r.after {
			a, err := sh.afterValue(r.sort[i], v)
			if err != nil {
				return hits, err
			}
			if c = r.sort[i].order(h.keys[i], a); c != 0 {
				break
			}
		}
		if c <= 0 {
			return hits, nil
		}
	}
	hits = append(hits, h)
	// Twice the window is sorted and cut, so memory stays bounded and each hit costs O(log window).
	if limit := max(2*(r.from+r.size), 64); len(hits) > limit {
		slices.SortStableFunc(hits, r.compare)
		hits = hits[:r.from+r.size]
	}
	return hits, nil
}

func (r *request) compare(a, b hit) int {
	for i, k := range r.sort {
		if c := k.order(a.keys[i], b.keys[i]); c != 0 {
			return c
		}
	}
	if a.sh.ord != b.sh.ord {
		return a.sh.ord - b.sh.ord
	}
	return int(int64(a.doc) - int64(b.doc))
}

// order compares two sort values in the direction of the key; nil is a document without the field.
func (k sortKey) order(a, b any) int {
	if a == nil || b == nil {
		c := 0
		switch {
		case a == nil && b != nil:
			c = 1
		case a != nil && b == nil:
			c = -1
		}
		if k.missing == "_first" {
			return -c
		}
		return c
	}
	c := compare(a, b)
	if k.desc {
		return -c
	}
	return c
}

// sortValue reads the value that a document sorts by: dates in the unit of their type (milliseconds or nanoseconds).
func (s *snapshot) sortValue(k sortKey, ord int, d uint32) any {
	switch k.field {
	case "_doc", "_shard_doc":
		return int64(ord)<<32 | int64(d)
	case "_score":
		return 1.0
	case "_id":
		return string(s.id(d))
	}
	path, f, ok := (compiler{s: s}).fieldOf(k.field)
	if !ok {
		return nil
	}
	var best any
	view := docView{s: s, num: d}
	view.each(path, func(_ kind, text []byte) bool {
		v, ok := f.value(string(text))
		if !ok {
			return false
		}
		if n, isDate := v.(int64); isDate && f.typ == "date" {
			v = n / int64(time.Millisecond)
		}
		// Of several values the lowest counts ascending and the highest descending.
		if best == nil || compare(v, best) < 0 != k.desc && compare(v, best) != 0 {
			best = v
		}
		return false
	})
	return best
}

// afterValue reads a value of search_after as sortValue would give it.
func (s *snapshot) afterValue(k sortKey, v any) (any, *apiError) {
	if v == nil {
		return nil, nil
	}
	bad := errIllegal("Failed to parse search_after value for field [%s]: [%s]", k.field, jsonText(v))
	switch k.field {
	case "_doc", "_shard_doc":
		n, err := strconv.ParseInt(jsonText(v), 10, 64)
		if err != nil {
			return nil, bad
		}
		return n, nil
	case "_score":
		f, ok := parseFloat(jsonText(v))
		if !ok {
			return nil, bad
		}
		return f, nil
	case "_id":
		return jsonText(v), nil
	}
	_, f, ok := (compiler{s: s}).fieldOf(k.field)
	if !ok {
		return nil, nil
	}
	if f.date() {
		if n, err := strconv.ParseInt(jsonText(v), 10, 64); err == nil {
			return n, nil
		}
		ns, ok := parseDate(jsonText(v))
		if !ok {
			return nil, bad
		}
		if f.typ == "date" {
			return ns / int64(time.Millisecond), nil
		}
		return ns, nil
	}
	out, ok := f.value(jsonText(v))
	if !ok {
		return nil, bad
	}
	return out, nil
}
