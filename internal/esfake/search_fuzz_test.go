package esfake

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzSearch feeds arbitrary bodies to what reads queries, mappings, templates and settings. An answer is JSON with a status that the real
// server gives to a client's mistakes or to what it asked, and never one of the server's own.
func FuzzSearch(f *testing.F) {
	for _, s := range []string{
		`{"query":{"match_all":{}},"size":2,"sort":[{"n":"desc"},"_doc"],"search_after":[3,1]}`,
		`{"query":{"bool":{"filter":[{"term":{"host":"n1"}},{"range":{"@timestamp":{"gte":"now-1m","lt":5,"format":"epoch_millis"}}}],"must_not":{"exists":{"field":"x"}}}},"_source":["log"]}`,
		`{"query":{"query_string":{"query":"log:a* AND (b OR -c)","analyze_wildcard":true}},"track_total_hits":true}`,
		`{"query":{"prefix":{"log":"tq_"}},"from":1}`, `{"pit":{"id":"x"}}`, `{"query":{"terms":{"log":["a",1,null]}}}`,
		`{"properties":{"a":{"type":"date"},"b":{"properties":{"c":{"type":"long"}}}}}`,
		`{"index_patterns":["t*"],"template":{"settings":{"index":{"refresh_interval":"5s"}},"mappings":{"properties":{}}},"priority":7}`,
		`{"index.refresh_interval":"-1","index":{"blocks":{"read_only":true}}}`, `{"processors":[{"set":{"field":"a","value":"{{_ingest.timestamp}}"}}]}`, `[]`, `{`, ``,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		s := New(Options{})
		h := s.Handler()
		ask := func(method, path, body string) {
			req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
			req.Header.Set("Content-Type", "application/json")
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			if rec.Code >= 500 && rec.Code != http.StatusNotImplemented {
				t.Fatalf("%s %s: %d %s", method, path, rec.Code, rec.Body)
			}
			if b := rec.Body.Bytes(); len(b) > 0 && method != http.MethodHead && !json.Valid(b) {
				t.Fatalf("%s %s: %d answers %q", method, path, rec.Code, b)
			}
		}
		ask(http.MethodPost, "/_bulk", "{\"index\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{\"log\":\"tq_1_2_3 b\",\"n\":1,\"host\":\"n1\",\"@timestamp\":3}\n")
		ask(http.MethodPost, "/a/_refresh", "")
		for _, x := range [][2]string{
			{http.MethodPost, "/a/_search"},
			{http.MethodPost, "/a/_count"},
			{http.MethodPost, "/_search"},
			{http.MethodPut, "/b"},
			{http.MethodPut, "/a/_mapping"},
			{http.MethodPut, "/a/_settings"},
			{http.MethodPut, "/_index_template/t"},
			{http.MethodPut, "/_component_template/c"},
			{http.MethodPut, "/_ingest/pipeline/p"},
			{http.MethodPost, "/a/_mget"},
			{http.MethodPost, "/a/_msearch"},
			{http.MethodPut, "/_cluster/settings"},
			{http.MethodPost, "/a/_search"},
		} {
			ask(x[0], x[1], body)
		}
	})
}
