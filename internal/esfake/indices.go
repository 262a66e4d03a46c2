package esfake

import (
	"encoding/json"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
)

// idAlphabet is that of Elasticsearch's generated ids (URL-safe base64).
const idAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func (s *Server) newID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newIDLocked()
}

func (s *Server) newIDLocked() string {
	b := make([]byte, 20)
	for i := range b {
		b[i] = idAlphabet[s.rng.IntN(len(idAlphabet))]
	}
	return string(b)
}

// makeIndex creates an index from the templates and the body of a create request; s.mu is held for writing.
func (s *Server) makeIndex(name string, body map[string]any) (*index, *apiError) {
	if why := validIndexName(name); why != "" {
		return nil, &apiError{
			status: http.StatusBadRequest, typ: "invalid_index_name_exception",
			reason: "Invalid index name [" + name + "], " + why, index: name,
		}
	}
	now := time.Now()
	st, m := settings{refresh: defaultRefresh}, newMapping()
	var err *apiError
	if best, ok := bestTemplate(s.templates, name); ok {
		parts := make([]template, 0, len(best.composed)+1)
		for _, c := range best.composed {
			parts = append(parts, s.components[c])
		}
		for _, t := range append(parts, best) {
			if st, err = st.with(t.settings); err != nil {
				return nil, err
			}
			if m, err = m.merge(t.mappings); err != nil {
				return nil, err
			}
		}
	}
	own, _ := body["settings"].(map[string]any)
	if st, err = st.with(own); err != nil {
		return nil, err
	}
	maps, _ := body["mappings"].(map[string]any)
	if m, err = m.merge(maps); err != nil {
		return nil, err
	}
	m.limit = st.limit
	if f := s.opts.ArrivalField; f != "" {
		if _, ok := m.fields[f]; !ok {
			m.add(f, field{typ: "date_nanos"})
		}
	}
	uuid := s.newIDLocked()
	for k, v := range map[string]string{
		"index.uuid": uuid, "index.provided_name": name, "index.creation_date": strconv.FormatInt(now.UnixMilli(), 10),
		"index.number_of_shards": "1", "index.number_of_replicas": "0",
	} {
		if _, ok := st.flat[k]; !ok {
			st.flat[k] = v
		}
	}
	ix := newIndex(name, uuid, now, st, m, s.pages)
	s.indices[name] = ix
	return ix, nil
}

// indexForWrite returns the index a write goes to, creating it when it is not there.
func (s *Server) indexForWrite(name string, act action) (*index, *apiError) {
	s.mu.RLock()
	ix := s.indices[name]
	s.mu.RUnlock()
	if ix != nil {
		return ix, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ix := s.indices[name]; ix != nil {
		return ix, nil
	}
	if act == actDelete || s.cluster.flat["action.auto_create_index"] == "false" {
		return nil, errNoIndex(name)
	}
	return s.makeIndex(name, nil)
}

// resolve returns the indices that an expression names ("a,b*", "_all", "" for all), sorted. A plain name that does
// not exist is an error unless ignore is set.
func (s *Server) resolve(expr string, ignore bool) ([]*index, *apiError) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	chosen := map[string]*index{}
	if expr == "" || expr == "_all" {
		expr = "*"
	}
	for part := range strings.SplitSeq(expr, ",") {
		if name, ok := strings.CutPrefix(part, "-"); ok {
			for n := range chosen {
				if matchName(name, n) {
					delete(chosen, n)
				}
			}
			continue
		}
		if !strings.Contains(part, "*") {
			ix := s.indices[part]
			if ix == nil {
				if ignore {
					continue
				}
				return nil, errNoIndex(part)
			}
			chosen[part] = ix
			continue
		}
		for n, ix := range s.indices {
			if matchName(part, n) {
				chosen[n] = ix
			}
		}
	}
	out := make([]*index, 0, len(chosen))
	for _, ix := range chosen {
		out = append(out, ix)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out, nil
}

func ignoreUnavailable(q url.Values) bool { return q.Get("ignore_unavailable") == "true" }

func (s *Server) createIndex(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	body, err := s.object(r)
	if err != nil {
		return nil, err
	}
	for k := range body {
		switch k {
		case "settings", "mappings":
		case "aliases":
			return nil, errIllegal("aliases are not supported")
		default:
			return nil, errParsing("unknown key [%s] for create index", k)
		}
	}
	name := r.PathValue("index")
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.indices[name]; old != nil {
		return nil, &apiError{
			status: http.StatusBadRequest, typ: "resource_already_exists_exception",
			reason: "index [" + name + "/" + old.uuid + "] already exists", index: name,
		}
	}
	if _, err := s.makeIndex(name, body); err != nil {
		return nil, err
	}
	return map[string]any{"acknowledged": true, "shards_acknowledged": true, "index": name}, nil
}

func (s *Server) getIndex(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	list, err := s.resolve(r.PathValue("index"), ignoreUnavailable(r.URL.Query()))
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for _, ix := range list {
		ix.mu.RLock()
		out[ix.name] = map[string]any{
			"aliases": map[string]any{}, "mappings": ix.mapping.definition(), "settings": ix.settings.nested(),
		}
		ix.mu.RUnlock()
	}
	return out, nil
}

func (s *Server) deleteIndex(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	list, err := s.resolve(r.PathValue("index"), ignoreUnavailable(r.URL.Query()))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ix := range list {
		delete(s.indices, ix.name)
	}
	return map[string]any{"acknowledged": true}, nil
}

func (s *Server) getSettings(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	list, err := s.resolve(r.PathValue("index"), ignoreUnavailable(r.URL.Query()))
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for _, ix := range list {
		ix.mu.RLock()
		out[ix.name] = map[string]any{"settings": ix.settings.nested()}
		ix.mu.RUnlock()
	}
	return out, nil
}

func (s *Server) putSettings(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	body, err := s.object(r)
	if err != nil {
		return nil, err
	}
	if inner, ok := body["settings"].(map[string]any); ok && len(body) == 1 {
		body = inner
	}
	list, err := s.resolve(r.PathValue("index"), ignoreUnavailable(r.URL.Query()))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for _, ix := range list {
		ix.mu.Lock()
		st, err := ix.settings.with(body)
		if err != nil {
			ix.mu.Unlock()
			return nil, err
		}
		ix.settings = st
		if st.limit != ix.mapping.limit {
			ix.mapping = ix.mapping.clone()
			ix.mapping.limit = st.limit
		}
		if st.refresh != ix.interval {
			ix.setInterval(now, st.refresh)
		}
		ix.mu.Unlock()
	}
	return map[string]any{"acknowledged": true}, nil
}

func (s *Server) getMapping(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	list, err := s.resolve(r.PathValue("index"), ignoreUnavailable(r.URL.Query()))
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for _, ix := range list {
		ix.mu.RLock()
		out[ix.name] = map[string]any{"mappings": ix.mapping.definition()}
		ix.mu.RUnlock()
	}
	return out, nil
}

func (s *Server) putMapping(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	body, err := s.object(r)
	if err != nil {
		return nil, err
	}
	list, err := s.resolve(r.PathValue("index"), false)
	if err != nil {
		return nil, err
	}
	for _, ix := range list {
		ix.mu.Lock()
		m, err := ix.mapping.merge(body)
		if err == nil {
			ix.mapping = m
		}
		ix.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
	return map[string]any{"acknowledged": true}, nil
}

func (s *Server) refreshIndices(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	list, err := s.resolve(r.PathValue("index"), ignoreUnavailable(r.URL.Query()))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for _, ix := range list {
		ix.mu.Lock()
		ix.tick(now)
		ix.refresh()
		ix.mu.Unlock()
	}
	return map[string]any{"_shards": map[string]any{"total": len(list), "successful": len(list), "failed": 0}}, nil
}

func shards(n int) map[string]any {
	return map[string]any{"total": n, "successful": n, "skipped": 0, "failed": 0}
}

// clusterBlock refuses writes while the cluster is read-only.
func (s *Server) clusterBlock() *apiError {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, key := range []string{"cluster.blocks.read_only", "cluster.blocks.read_only_allow_delete"} {
		if s.cluster.flat[key] == "true" {
			return &apiError{status: http.StatusForbidden, typ: "cluster_block_exception", reason: "blocked by: [FORBIDDEN/6/cluster read-only (api)];"}
		}
	}
	return nil
}

func (s *Server) getClusterSettings(http.ResponseWriter, *http.Request) (any, *apiError) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return map[string]any{"persistent": s.cluster.nested(), "transient": map[string]any{}}, nil
}

func (s *Server) putClusterSettings(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	body, err := s.object(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, scope := range []string{"transient", "persistent"} {
		m, _ := body[scope].(map[string]any)
		for k, v := range flatten(m) {
			k = strings.TrimPrefix(k, "index.") // flatten puts it before everything
			if v == nil {
				delete(s.cluster.flat, k)
			} else {
				s.cluster.flat[k] = jsonText(v)
			}
		}
	}
	persistent, _ := json.Marshal(s.cluster.nested())
	return map[string]any{"acknowledged": true, "persistent": json.RawMessage(persistent), "transient": map[string]any{}}, nil
}
