package esfake

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"
)

// pit is an open point in time: searches through it see the documents of the moment it was opened.
type pit struct {
	shards  []shard
	expires time.Time
}

func (s *Server) openPIT(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	keep, ok := parseTime(r.URL.Query().Get("keep_alive"))
	if !ok || keep <= 0 {
		return nil, errBadRequest("action_request_validation_exception", "Validation Failed: 1: [keep_alive] is not specified;")
	}
	list, err := s.resolve(r.PathValue("index"), ignoreUnavailable(r.URL.Query()))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	p := &pit{shards: takeShards(list, now), expires: now.Add(keep)}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, old := range s.pits {
		if now.After(old.expires) {
			delete(s.pits, id)
		}
	}
	id := s.newIDLocked()
	s.pits[id] = p
	return map[string]any{"id": id, "_shards": shards(len(list))}, nil
}

func (s *Server) closePIT(w http.ResponseWriter, r *http.Request) (any, *apiError) {
	body, err := s.object(r)
	if err != nil {
		return nil, err
	}
	id := jsonText(body["id"])
	s.mu.Lock()
	_, ok := s.pits[id]
	delete(s.pits, id)
	s.mu.Unlock()
	status, freed := http.StatusOK, 1
	if !ok {
		status, freed = http.StatusNotFound, 0
	}
	writeJSON(w, status, map[string]any{"succeeded": true, "num_freed": freed})
	return nil, nil
}

func (s *Server) pitShards(id string, keep time.Duration, now time.Time) ([]shard, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pits[id]
	if p == nil || now.After(p.expires) {
		delete(s.pits, id)
		return nil, &apiError{status: http.StatusNotFound, typ: "search_context_missing_exception", reason: "No search context found for id [" + id + "]"}
	}
	if keep > 0 {
		p.expires = now.Add(keep)
	}
	return p.shards, nil
}

func (s *Server) count(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	raw, err := s.body(r)
	if err != nil {
		return nil, err
	}
	body := map[string]any{}
	if len(bytes.TrimSpace(raw)) > 0 {
		if e := decodeNumbers(raw, &body); e != nil {
			return nil, errParsing("%v", e)
		}
	}
	req := &request{track: allHits}
	for k, v := range body {
		q, ok := v.(map[string]any)
		if k != "query" || !ok {
			return nil, errParsing("request does not support [%s]", k)
		}
		req.query = q
	}
	if r.URL.Query().Get("q") != "" {
		return nil, errIllegal("the query string parameter [q] is not supported")
	}
	now := time.Now()
	list, err := s.resolve(r.PathValue("index"), ignoreUnavailable(r.URL.Query()))
	if err != nil {
		return nil, err
	}
	_, total, _, err := req.run(takeShards(list, now), now)
	if err != nil {
		return nil, err
	}
	return map[string]any{"count": total, "_shards": shards(len(list))}, nil
}

// msearch does several searches; a failed one fails alone.
func (s *Server) msearch(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	raw, err := s.body(r)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	var responses []any
	lines := bytes.Split(bytes.TrimRight(raw, "\n"), []byte("\n"))
	if len(bytes.TrimSpace(raw)) == 0 || len(lines)%2 != 0 {
		return nil, errIllegal("a multi search needs pairs of a header line and a body line")
	}
	for i := 0; i < len(lines); i += 2 {
		var head struct {
			Index             any  `json:"index"`
			IgnoreUnavailable bool `json:"ignore_unavailable"`
		}
		if len(bytes.TrimSpace(lines[i])) > 0 {
			if e := json.Unmarshal(lines[i], &head); e != nil {
				return nil, errParsing("%v", e)
			}
		}
		expr := r.PathValue("index")
		switch v := head.Index.(type) {
		case string:
			expr = v
		case []any:
			expr = ""
			for j, e := range v {
				if j > 0 {
					expr += ","
				}
				expr += jsonText(e)
			}
		}
		q := r.URL.Query()
		if head.IgnoreUnavailable {
			q.Set("ignore_unavailable", "true")
		}
		v, e := s.searchBody(lines[i+1], expr, q)
		if e != nil {
			responses = append(responses, e.response())
			continue
		}
		one := append(v[:len(v)-1:len(v)-1], `,"status":200}`...)
		responses = append(responses, json.RawMessage(one))
	}
	return map[string]any{"took": time.Since(start).Milliseconds(), "responses": responses}, nil
}
