package esfake

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// handler answers one kind of request with a JSON value or an error; a nil value means that it has answered itself.
type handler func(w http.ResponseWriter, r *http.Request) (any, *apiError)

// route is one endpoint. A segment in braces matches any one segment that does not start with an underscore (those are
// Elasticsearch's own words) except _all; http.ServeMux cannot say that and finds the patterns ambiguous.
type route struct {
	method   string
	segments []string
	h        handler
}

func (rt route) match(method string, path []string) bool {
	if rt.method != method || len(rt.segments) != len(path) {
		return false
	}
	for i, seg := range rt.segments {
		switch {
		case seg == "{id}" || seg == "{name}" || seg == "{metric}":
		case seg[0] == '{':
			if strings.HasPrefix(path[i], "_") && path[i] != "_all" {
				return false
			}
		case seg != path[i]:
			return false
		}
	}
	return true
}

// dispatch finds the endpoint of a request. What no route matches is answered as Elasticsearch answers an unknown path.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http leaves the body out
	}
	var path []string
	if p := strings.Trim(r.URL.EscapedPath(), "/"); p != "" {
		path = strings.Split(p, "/")
		for i := range path {
			if u, err := url.PathUnescape(path[i]); err == nil {
				path[i] = u
			}
		}
	}
	for _, rt := range s.routes {
		if !rt.match(method, path) {
			continue
		}
		for i, seg := range rt.segments {
			if seg[0] == '{' {
				r.SetPathValue(seg[1:len(seg)-1], path[i])
			}
		}
		v, err := rt.h(w, r)
		switch {
		case err != nil:
			s.fail(w, r, err)
		case v != nil:
			writeJSON(w, http.StatusOK, v)
		}
		return
	}
	s.fail(w, r, errIllegal("no handler found for uri [%s] and method [%s]", r.URL.Path, r.Method))
}

// endpoints lists every endpoint.
func (s *Server) endpoints() []route {
	var all []route
	on := func(pattern string, h handler) {
		method, path, _ := strings.Cut(pattern, " ")
		rt := route{method: method, h: h}
		if p := strings.Trim(path, "/"); p != "" {
			rt.segments = strings.Split(p, "/")
		}
		all = append(all, rt)
	}
	on("GET /", s.info)
	on("GET /_cluster/health", s.health)
	on("GET /_cluster/health/{index}", s.health)
	on("GET /_cluster/settings", s.getClusterSettings)
	on("PUT /_cluster/settings", s.putClusterSettings)
	on("GET /_nodes/stats", s.nodesStats)
	on("GET /_nodes/stats/{metric}", s.nodesStats)
	on("GET /_stats", s.stats)
	on("GET /_stats/{metric}", s.stats)
	on("GET /_cat/indices", s.catIndices)
	on("GET /_cat/indices/{index}", s.catIndices)

	on("PUT /_index_template/{name}", s.putTemplate)
	on("POST /_index_template/{name}", s.putTemplate)
	on("GET /_index_template", s.getTemplates)
	on("GET /_index_template/{name}", s.getTemplates)
	on("DELETE /_index_template/{name}", s.deleteTemplate)
	on("PUT /_component_template/{name}", s.putComponent)
	on("POST /_component_template/{name}", s.putComponent)
	on("GET /_component_template", s.getComponents)
	on("GET /_component_template/{name}", s.getComponents)
	on("PUT /_ingest/pipeline/{name}", s.putPipeline)
	on("GET /_ingest/pipeline/{name}", s.getPipeline)

	for _, m := range []string{"POST", "PUT"} {
		on(m+" /_bulk", s.bulk)
		on(m+" /{index}/_bulk", s.bulk)
		on(m+" /{index}/_doc/{id}", s.putDoc)
		on(m+" /{index}/_create/{id}", s.putDoc)
	}
	on("POST /{index}/_doc", s.putDoc)
	on("GET /{index}/_doc/{id}", s.getDoc)
	on("GET /{index}/_source/{id}", s.getSource)
	on("DELETE /{index}/_doc/{id}", s.deleteDoc)

	for _, m := range []string{"GET", "POST"} {
		on(m+" /_mget", s.mget)
		on(m+" /{index}/_mget", s.mget)
		on(m+" /_search", s.search)
		on(m+" /{index}/_search", s.search)
		on(m+" /_msearch", s.msearch)
		on(m+" /{index}/_msearch", s.msearch)
		on(m+" /_count", s.count)
		on(m+" /{index}/_count", s.count)
		on(m+" /_refresh", s.refreshIndices)
		on(m+" /{index}/_refresh", s.refreshIndices)
	}
	on("POST /{index}/_pit", s.openPIT)
	on("DELETE /_pit", s.closePIT)

	on("PUT /{index}", s.createIndex)
	on("GET /{index}", s.getIndex)
	on("DELETE /{index}", s.deleteIndex)
	on("PUT /_settings", s.putSettings)
	on("PUT /{index}/_settings", s.putSettings)
	on("GET /_settings", s.getSettings)
	on("GET /{index}/_settings", s.getSettings)
	on("PUT /{index}/_mapping", s.putMapping)
	on("GET /{index}/_mapping", s.getMapping)
	on("GET /_mapping", s.getMapping)
	on("GET /{index}/_stats", s.stats)
	on("GET /{index}/_stats/{metric}", s.stats)
	return all
}

func (s *Server) info(http.ResponseWriter, *http.Request) (any, *apiError) {
	return map[string]any{
		"name": "esfake-0", "cluster_name": s.opts.ClusterName, "cluster_uuid": "esfake", "tagline": "You Know, for Search",
		"version": map[string]any{
			"number": Version, "build_flavor": "default", "build_type": "docker", "build_hash": "esfake",
			"build_date": "2026-01-01T00:00:00.000000000Z", "build_snapshot": false, "lucene_version": "9.12.2",
			"minimum_wire_compatibility_version": "7.17.0", "minimum_index_compatibility_version": "7.0.0",
		},
	}, nil
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err *apiError) {
	s.log.Debug("request refused", slog.String("method", r.Method), slog.String("path", r.URL.Path),
		slog.Int("status", err.status), slog.String("error_type", err.typ), slog.String("reason", err.reason))
	writeJSON(w, err.status, err.response())
}

// rawAnswer is an answer that is encoded already.
type rawAnswer []byte

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, ok := v.(rawAnswer)
	var err error
	if !ok {
		b, err = json.Marshal(v)
	}
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":{"type":"exception","reason":"answer not encodable"},"status":500}`)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// body reads the request body, decompressed, within the size limit.
func (s *Server) body(r *http.Request) ([]byte, *apiError) {
	limit := s.faults.bodyLimit()
	tooLarge := func() *apiError {
		s.faults.tooLarge()
		return &apiError{
			status: http.StatusRequestEntityTooLarge, typ: "content_too_long_exception",
			reason: "entity content is too long for the configured buffer limit [" + strconv.FormatInt(limit, 10) + "]",
		}
	}
	if r.ContentLength > limit {
		return nil, tooLarge()
	}
	var in io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, errIllegal("body is not gzip: %v", err)
		}
		in = z
	}
	var b []byte
	var err error
	if r.ContentLength > 0 && r.Header.Get("Content-Encoding") == "" {
		b = make([]byte, r.ContentLength)
		_, err = io.ReadFull(in, b)
	} else {
		b, err = io.ReadAll(io.LimitReader(in, limit+1))
	}
	if int64(len(b)) > limit {
		return nil, tooLarge()
	}
	if err != nil {
		return nil, errIllegal("body: %v", err)
	}
	return b, nil
}

// object reads the request body as a JSON object; an empty body is an empty object. Numbers stay float64.
func (s *Server) object(r *http.Request) (map[string]any, *apiError) {
	b, aerr := s.body(r)
	if aerr != nil {
		return nil, aerr
	}
	m := map[string]any{}
	if len(strings.TrimSpace(string(b))) == 0 {
		return m, nil
	}
	if err := json.Unmarshal(b, &m); err != nil {
		if _, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, errBadRequest("parse_exception", "Failed to parse content to map: %v", err)
		}
		return nil, errParsing("%v", err)
	}
	return m, nil
}
