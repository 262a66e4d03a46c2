package esfake

import (
	"net/http"
	"strings"
	"time"
)

func (s *Server) putTemplate(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	body, err := s.object(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := parseTemplate(r.PathValue("name"), body, func(c string) bool { _, ok := s.components[c]; return ok })
	if err != nil {
		return nil, err
	}
	s.templates[t.name] = t
	return map[string]any{"acknowledged": true}, nil
}

func (s *Server) putComponent(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	body, err := s.object(r)
	if err != nil {
		return nil, err
	}
	t, err := parseComponent(r.PathValue("name"), body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.components[t.name] = t
	return map[string]any{"acknowledged": true}, nil
}

func (s *Server) getComponents(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	want := r.PathValue("name")
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := []any{}
	for name, t := range s.components {
		if want == "" || matchName(want, name) {
			out = append(out, map[string]any{"name": name, "component_template": t.raw})
		}
	}
	if len(out) == 0 && want != "" && !strings.Contains(want, "*") {
		return nil, &apiError{status: http.StatusNotFound, typ: "resource_not_found_exception", reason: "component template matching [" + want + "] not found"}
	}
	return map[string]any{"component_templates": out}, nil
}

func (s *Server) getTemplates(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	want := r.PathValue("name")
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := []any{}
	for name, t := range s.templates {
		if want == "" || matchName(want, name) {
			out = append(out, map[string]any{"name": name, "index_template": t.raw})
		}
	}
	if len(out) == 0 && want != "" && !strings.Contains(want, "*") {
		return nil, &apiError{status: http.StatusNotFound, typ: "resource_not_found_exception", reason: "index template matching [" + want + "] not found"}
	}
	return map[string]any{"index_templates": out}, nil
}

func (s *Server) deleteTemplate(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("name")
	if _, ok := s.templates[name]; !ok {
		return nil, &apiError{status: http.StatusNotFound, typ: "index_template_missing_exception", reason: "index_template [" + name + "] missing"}
	}
	delete(s.templates, name)
	return map[string]any{"acknowledged": true}, nil
}

// pipeline is an ingest pipeline of set processors.
type pipeline struct {
	sets []setProcessor
	raw  map[string]any
}

type setProcessor struct {
	field, value string
}

func (s *Server) putPipeline(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	body, err := s.object(r)
	if err != nil {
		return nil, err
	}
	p := pipeline{raw: body}
	list, _ := body["processors"].([]any)
	for _, e := range list {
		proc, _ := e.(map[string]any)
		set, ok := proc["set"].(map[string]any)
		if !ok || len(proc) != 1 {
			return nil, errBadRequest("parse_exception", "only the [set] processor is supported")
		}
		for k := range set {
			if k != "field" && k != "value" && k != "tag" && k != "description" {
				return nil, errBadRequest("parse_exception", "[set] processor: [%s] is not supported", k)
			}
		}
		sp := setProcessor{field: jsonText(set["field"]), value: jsonText(set["value"])}
		if sp.field == "" || strings.Contains(sp.field, ".") {
			return nil, errBadRequest("parse_exception", "[set] processor: [field] must be a name without dots")
		}
		rest := sp.value
		for _, tag := range timestampTags() {
			rest = strings.ReplaceAll(rest, tag, "")
		}
		if strings.Contains(rest, "{{") {
			return nil, errBadRequest("parse_exception", "[set] processor: only _ingest.timestamp can be referred to")
		}
		p.sets = append(p.sets, sp)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pipelines[r.PathValue("name")] = p
	return map[string]any{"acknowledged": true}, nil
}

func timestampTags() []string { return []string{"{{{_ingest.timestamp}}}", "{{_ingest.timestamp}}"} }

func (s *Server) getPipeline(_ http.ResponseWriter, r *http.Request) (any, *apiError) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	name := r.PathValue("name")
	p, ok := s.pipelines[name]
	if !ok {
		return nil, &apiError{status: http.StatusNotFound, typ: "resource_not_found_exception", reason: "pipeline [" + name + "] not found"}
	}
	return map[string]any{name: p.raw}, nil
}

// ingest returns the members that the pipelines of the index and ArrivalField add to a document written now.
func (s *Server) ingest(ix *index) ([]byte, *apiError) {
	var out []byte
	if s.opts.ArrivalField == "" && len(ix.settings.pipelines) == 0 {
		return nil, nil
	}
	now := time.Now().UTC().Format(time.RFC3339Nano)
	member := func(name, value string) {
		if len(out) > 0 {
			out = append(out, ',')
		}
		out = appendString(out, name)
		out = append(out, ':')
		out = appendString(out, value)
	}
	if f := s.opts.ArrivalField; f != "" {
		member(f, now)
	}
	for _, name := range ix.settings.pipelines {
		s.mu.RLock()
		p, ok := s.pipelines[name]
		s.mu.RUnlock()
		if !ok {
			return nil, errIllegal("pipeline with id [%s] does not exist", name)
		}
		for _, set := range p.sets {
			v := set.value
			for _, tag := range timestampTags() {
				v = strings.ReplaceAll(v, tag, now)
			}
			member(set.field, v)
		}
	}
	return out, nil
}
