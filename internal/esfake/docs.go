package esfake

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

func (s *Server) putDoc(w http.ResponseWriter, r *http.Request) (any, *apiError) {
	body, err := s.body(r)
	if err != nil {
		return nil, err
	}
	op := bulkOp{act: actIndex, index: r.PathValue("index"), source: body}
	if id := r.PathValue("id"); id != "" {
		op.id = []byte(id)
	}
	if r.URL.Query().Get("op_type") == "create" || strings.Contains(r.URL.Path, "/_create/") {
		op.act = actCreate
	}
	return s.single(w, r, op)
}

func (s *Server) deleteDoc(w http.ResponseWriter, r *http.Request) (any, *apiError) {
	return s.single(w, r, bulkOp{act: actDelete, index: r.PathValue("index"), id: []byte(r.PathValue("id"))})
}

// single does one write outside a bulk request.
func (s *Server) single(w http.ResponseWriter, r *http.Request, op bulkOp) (any, *apiError) {
	if err := s.clusterBlock(); err != nil {
		return nil, err
	}
	results := s.apply([]bulkOp{op})
	res := &results[0]
	if res.err != nil {
		return nil, res.err
	}
	s.refreshAfter(r, results)
	writeJSON(w, res.status, map[string]any{
		"_index": op.index, "_id": string(res.op.id), "_version": res.out.version, "result": res.verb(),
		"_shards": map[string]any{"total": 1, "successful": 1, "failed": 0}, "_seq_no": res.out.seq, "_primary_term": 1,
	})
	return nil, nil
}

// document returns one document in the form of the get API.
func (s *Server) document(index, id string, filter sourceFilter) (map[string]any, bool, *apiError) {
	s.mu.RLock()
	ix := s.indices[index]
	s.mu.RUnlock()
	if ix == nil {
		return nil, false, errNoIndex(index)
	}
	out := map[string]any{"_index": index, "_id": id, "found": false}
	src, ref, seq, ok := ix.get([]byte(id))
	if !ok {
		return out, false, nil
	}
	out["found"], out["_version"], out["_seq_no"], out["_primary_term"] = true, ref.version, seq, 1
	if v := filter.apply(src); v != nil {
		out["_source"] = v
	}
	return out, true, nil
}

func (s *Server) getDoc(w http.ResponseWriter, r *http.Request) (any, *apiError) {
	filter, err := sourceFromQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	doc, found, err := s.document(r.PathValue("index"), r.PathValue("id"), filter)
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if !found {
		status = http.StatusNotFound
	}
	writeJSON(w, status, doc)
	return nil, nil
}

func (s *Server) getSource(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	doc, found, err := s.document(r.PathValue("index"), r.PathValue("id"), sourceFilter{})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, &apiError{
			status: http.StatusNotFound, typ: "resource_not_found_exception",
			reason: "Document not found [" + r.PathValue("index") + "]/[" + r.PathValue("id") + "]",
		}
	}
	return doc["_source"], nil
}

func (s *Server) mget(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	raw, err := s.body(r)
	if err != nil {
		return nil, err
	}
	var body struct {
		Docs []struct {
			Index  string `json:"_index"`
			ID     string `json:"_id"`
			Source any    `json:"_source"`
		} `json:"docs"`
		IDs []string `json:"ids"`
	}
	if e := json.Unmarshal(raw, &body); e != nil {
		return nil, errParsing("%v", e)
	}
	all, err := sourceFromQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	out := make([]any, 0, len(body.Docs)+len(body.IDs))
	one := func(index, id string, filter sourceFilter) {
		if index == "" {
			index = r.PathValue("index")
		}
		doc, _, err := s.document(index, id, filter)
		if err != nil {
			doc = map[string]any{"_index": index, "_id": id, "error": err.response()["error"]}
		}
		out = append(out, doc)
	}
	for _, d := range body.Docs {
		filter := all
		if d.Source != nil {
			if filter, err = parseSource(d.Source); err != nil {
				return nil, err
			}
		}
		one(d.Index, d.ID, filter)
	}
	for _, id := range body.IDs {
		one("", id, all)
	}
	if len(out) == 0 {
		return nil, errBadRequest("action_request_validation_exception", "Validation Failed: 1: no documents to get;")
	}
	return map[string]any{"docs": out}, nil
}

// sourceFilter says which part of a document's source is returned; the zero value returns all of it.
type sourceFilter struct {
	none               bool
	includes, excludes []string
}

func (f sourceFilter) all() bool { return !f.none && len(f.includes) == 0 && len(f.excludes) == 0 }

// parseSource reads the _source parameter of a request body.
func parseSource(v any) (sourceFilter, *apiError) {
	names := func(v any) []string {
		switch v := v.(type) {
		case string:
			return []string{v}
		case []any:
			out := make([]string, len(v))
			for i := range v {
				out[i] = jsonText(v[i])
			}
			return out
		}
		return nil
	}
	switch v := v.(type) {
	case nil:
		return sourceFilter{}, nil
	case bool:
		return sourceFilter{none: !v}, nil
	case string, []any:
		return sourceFilter{includes: names(v)}, nil
	case map[string]any:
		f := sourceFilter{}
		for k, e := range v {
			switch k {
			case "includes", "include":
				f.includes = names(e)
			case "excludes", "exclude":
				f.excludes = names(e)
			default:
				return f, errParsing("Unknown key for a value in [_source]: [%s]", k)
			}
		}
		return f, nil
	}
	return sourceFilter{}, errParsing("[_source] must be a boolean, a name, a list or an object")
}

func sourceFromQuery(q url.Values) (sourceFilter, *apiError) {
	f := sourceFilter{}
	switch v := q.Get("_source"); v {
	case "", "true":
	case "false":
		f.none = true
	default:
		f.includes = strings.Split(v, ",")
	}
	for _, k := range []string{"_source_includes", "_source_include"} {
		if v := q.Get(k); v != "" {
			f.includes = append(f.includes, strings.Split(v, ",")...)
		}
	}
	for _, k := range []string{"_source_excludes", "_source_exclude"} {
		if v := q.Get(k); v != "" {
			f.excludes = append(f.excludes, strings.Split(v, ",")...)
		}
	}
	return f, nil
}

// apply returns the filtered source, nil for none.
func (f sourceFilter) apply(src []byte) any {
	if f.none {
		return nil
	}
	return json.RawMessage(f.append(nil, src))
}

// plain reports whether the filter is a list of names of top-level members.
func (f sourceFilter) plain() bool {
	if len(f.excludes) > 0 {
		return false
	}
	for _, n := range f.includes {
		if strings.ContainsAny(n, ".*") {
			return false
		}
	}
	return true
}

// append appends the filtered source; f.none is not looked at.
func (f sourceFilter) append(b, src []byte) []byte {
	switch {
	case len(f.includes) == 0 && len(f.excludes) == 0:
		return append(b, src...)
	case f.plain():
		b = append(b, '{')
		empty := true
		members(src, func(name, raw []byte) {
			if !slices.Contains(f.includes, string(name)) {
				return
			}
			if !empty {
				b = append(b, ',')
			}
			empty = false
			b = appendString(b, string(name))
			b = append(b, ':')
			b = append(b, raw...)
		})
		return append(b, '}')
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(src, &doc); err != nil {
		return append(b, src...)
	}
	return appendJSON(b, f.filter("", doc))
}

func (f sourceFilter) filter(prefix string, doc map[string]json.RawMessage) map[string]any {
	out := map[string]any{}
	for name, raw := range doc {
		path := prefix + name
		if matchAny(f.excludes, path) {
			continue
		}
		whole := len(f.includes) == 0 || matchAny(f.includes, path)
		if whole && !hasBelow(f.excludes, path) {
			out[name] = raw
			continue
		}
		if !whole && !hasBelow(f.includes, path) {
			continue
		}
		var sub map[string]json.RawMessage
		if json.Unmarshal(raw, &sub) != nil || sub == nil {
			if whole {
				out[name] = raw
			}
			continue
		}
		inner := f
		if whole {
			inner.includes = nil
		}
		if m := inner.filter(path+".", sub); len(m) > 0 {
			out[name] = m
		}
	}
	return out
}

func matchAny(patterns []string, path string) bool {
	for _, p := range patterns {
		if matchName(p, path) {
			return true
		}
	}
	return false
}

// hasBelow reports whether a pattern may match something below path.
func hasBelow(patterns []string, path string) bool {
	for _, p := range patterns {
		if strings.HasPrefix(p, path+".") || strings.Contains(p, "*") {
			return true
		}
	}
	return false
}
