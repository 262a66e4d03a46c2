package embedded

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// saboteur sits between the sink and the store, for the self-test only: it forgets, doubles or changes documents of
// bulk requests and answers the sink as if nothing had happened.
type saboteur struct {
	next     http.RoundTripper
	document func(index, id string, doc []byte) (out []byte, times int)
}

// RoundTrip changes bulk requests and passes everything else on.
func (s *saboteur) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/_bulk") || r.Body == nil {
		return s.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if err := r.Body.Close(); err != nil {
		return nil, err
	}
	out, kept, err := s.change(body)
	if err != nil {
		return nil, err
	}
	req := r.Clone(r.Context())
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(out)), int64(len(out))
	if len(out) == 0 {
		// Everything of the request is forgotten: nothing to ask the store.
		return s.answer(r, map[string]any{"took": 0, "errors": false, "items": []any{}}, kept)
	}
	res, err := s.next.RoundTrip(req)
	if err != nil || res.StatusCode != http.StatusOK {
		return res, err
	}
	var doc map[string]any
	err = json.NewDecoder(res.Body).Decode(&doc)
	if cerr := res.Body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	return s.answer(r, doc, kept)
}

// item says, for each action of the sink's request, which items of the changed request answer it.
type item struct {
	index, id string
	times     int
}

func (s *saboteur) change(body []byte) ([]byte, []item, error) {
	var out []byte
	var kept []item
	lines := bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	for i := 0; i+1 < len(lines); i += 2 {
		var action map[string]struct {
			Index string `json:"_index"`
			ID    string `json:"_id"`
		}
		if err := json.Unmarshal(lines[i], &action); err != nil {
			return nil, nil, fmt.Errorf("sabotage: bulk action: %w", err)
		}
		var name string
		var meta item
		for n, a := range action {
			name, meta.index, meta.id = n, a.Index, a.ID
		}
		doc, times := s.document(meta.index, meta.id, lines[i+1])
		meta.times = times
		kept = append(kept, meta)
		for k := range times {
			head := lines[i]
			if k > 0 { // a second document needs an id of its own
				head, _ = json.Marshal(map[string]any{name: map[string]string{"_index": meta.index, "_id": fmt.Sprintf("%s-again-%d", meta.id, k)}})
			}
			out = append(append(append(append(out, head...), '\n'), doc...), '\n')
		}
	}
	return out, kept, nil
}

// answer gives the sink one item for each of its actions.
func (s *saboteur) answer(r *http.Request, doc map[string]any, kept []item) (*http.Response, error) {
	items, _ := doc["items"].([]any)
	answered := make([]any, 0, len(kept))
	for _, k := range kept {
		if k.times == 0 {
			answered = append(answered, map[string]any{"index": map[string]any{"_index": k.index, "_id": k.id, "status": 201, "result": "created"}})
			continue
		}
		if len(items) < k.times {
			return nil, fmt.Errorf("sabotage: the store answered %d items too few", k.times-len(items))
		}
		answered = append(answered, items[0])
		items = items[k.times:]
	}
	doc["items"] = answered
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: int64(len(b)),
		Header: http.Header{"Content-Type": {"application/json"}, "X-Elastic-Product": {"Elasticsearch"}}, Body: io.NopCloser(bytes.NewReader(b)),
	}, nil
}
