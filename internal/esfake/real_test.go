package esfake

import (
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// record makes TestAnswersAsTheRealOne ask the empty server that TRIAD_REAL_ELASTICSEARCH names (a single node without
// security, with indexing_pressure.memory.limit=64kb) and write its answers to testdata/real.
var record = flag.Bool("record", false, "record the answers of the server that TRIAD_REAL_ELASTICSEARCH names")

const recorded = "testdata/real/answers.json"

// realCall is one request and what the real server answered. <pit> stands for the point in time opened last.
type realCall struct {
	Name   string          `json:"name"`
	Method string          `json:"method"`
	Path   string          `json:"path"`
	Body   string          `json:"body,omitempty"`
	Full   bool            `json:"full,omitempty"` // the server's queues are full: too large a request for the real one
	Status int             `json:"status"`
	Answer json.RawMessage `json:"answer"`
}

func realCalls() []realCall {
	get := func(name, path string) realCall { return realCall{Name: name, Method: http.MethodGet, Path: path} }
	post := func(name, path string, body ...string) realCall {
		return realCall{Name: name, Method: http.MethodPost, Path: path, Body: strings.Join(body, "\n")}
	}
	put := func(name, path, body string) realCall {
		return realCall{Name: name, Method: http.MethodPut, Path: path, Body: body}
	}
	return []realCall{
		put("index", "/a", `{"settings":{"index.number_of_replicas":0,"index.refresh_interval":"-1"},"mappings":{"properties":{"log":{"type":"text"},"n":{"type":"long"}}}}`),
		put("index that is there", "/a", `{}`),
		post("bulk: made, changed, there already, not there", "/_bulk",
			`{"index":{"_index":"a","_id":"1"}}`, `{"log":"one","n":1}`, `{"index":{"_index":"a","_id":"1"}}`, `{"log":"uno","n":1}`,
			`{"create":{"_index":"a","_id":"1"}}`, `{"log":"again","n":1}`, `{"delete":{"_index":"a","_id":"9"}}`, ""),
		get("count before a refresh", "/a/_count"),
		get("document before a refresh", "/a/_doc/1"),
		post("refresh", "/a/_refresh"),
		get("count after it", "/a/_count"),
		get("no document", "/a/_doc/9"),
		post("bulk: more, one that does not fit the mapping", "/_bulk",
			`{"index":{"_index":"a","_id":"2"}}`, `{"log":"two tq_b","n":2}`, `{"index":{"_index":"a","_id":"3"}}`, `{"log":"three tq_c","n":3}`,
			`{"index":{"_index":"a","_id":"4"}}`, `{"log":"four","n":"many"}`, ""),
		post("refresh again", "/a/_refresh"),
		post("first page", "/a/_search", `{"size":2,"sort":[{"n":"asc"}],"_source":["log"]}`),
		post("second page", "/a/_search", `{"size":2,"sort":[{"n":"asc"}],"_source":["log"],"search_after":[2]}`),
		post("behind the end", "/a/_search", `{"size":2,"sort":[{"n":"asc"}],"search_after":[3]}`),
		post("term", "/a/_search", `{"size":0,"track_total_hits":1,"terminate_after":1,"query":{"term":{"log":"tq_b"}}}`),
		post("prefix count", "/a/_count", `{"query":{"prefix":{"log":"tq_"}}}`),
		post("point in time", "/a/_pit?keep_alive=1m"),
		post("written after it", "/_bulk", `{"index":{"_index":"a","_id":"5"}}`, `{"log":"five tq_e","n":5}`, ""),
		post("refresh a third time", "/a/_refresh"),
		post("page of the point in time", "/_search", `{"size":10,"track_total_hits":false,"_source":false,"query":{"prefix":{"log":"tq_"}},"pit":{"id":"<pit>","keep_alive":"1m"},"sort":[{"n":"asc"}]}`),
		{Name: "close it", Method: http.MethodDelete, Path: "/_pit", Body: `{"id":"<pit>"}`},
		post("msearch: found, no such index", "/_msearch", `{"index":"a"}`, `{"size":0,"query":{"term":{"log":"tq_e"}}}`, `{"index":"none"}`, `{"size":0}`, ""),
		post("search without index", "/none/_search", `{}`),
		post("count of no index, which is allowed", "/none/_count?ignore_unavailable=true&allow_no_indices=true", `{}`),
		put("block of writes", "/a/_settings", `{"index.blocks.read_only_allow_delete":true}`),
		post("bulk into the block", "/_bulk", `{"index":{"_index":"a","_id":"6"}}`, `{"log":"six","n":6}`, `{"delete":{"_index":"a","_id":"5"}}`, ""),
		put("block of everything", "/a/_settings", `{"index.blocks.read_only_allow_delete":null,"index.blocks.read_only":true}`),
		post("bulk into that", "/_bulk", `{"index":{"_index":"a","_id":"6"}}`, `{"log":"six","n":6}`, ""),
		post("refresh in the block", "/a/_refresh"),
		put("no block", "/a/_settings", `{"index.blocks.read_only":null}`),
		{Name: "bulk into full queues", Method: http.MethodPost, Path: "/_bulk", Full: true},
		post("bulk that is none", "/_bulk", "garbage", ""),
	}
}

// ask makes the call and returns status and answer without what differs from one server to the next.
func (c realCall) ask(t *testing.T, base string, pit *string) (int, any) {
	t.Helper()
	body := strings.ReplaceAll(c.Body, "<pit>", *pit)
	if c.Full {
		body = `{"index":{"_index":"a","_id":"7"}}` + "\n" + `{"log":"` + strings.Repeat("x ", 50_000) + `"}` + "\n"
	}
	req, err := http.NewRequestWithContext(t.Context(), c.Method, base+c.Path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	cl := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := cl.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v: %s", c.Name, err, b)
	}
	if m, ok := v.(map[string]any); ok {
		if id, ok := m["id"].(string); ok {
			*pit = id
		}
	}
	return res.StatusCode, plain(v)
}

// plain drops times, ids and the words of errors, whose types and statuses stay.
func plain(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range x {
			switch k {
			case "took", "id", "pit_id", "index_uuid", "reason", "root_cause", "caused_by", "resource.id", "resource.type", "shard", "bytes", "stack_trace":
			default:
				out[k] = plain(e)
			}
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = plain(e)
		}
		return out
	}
	return v
}

func TestAnswersAsTheRealOne(t *testing.T) {
	calls := realCalls()
	pit := ""
	if *record {
		base := os.Getenv("TRIAD_REAL_ELASTICSEARCH")
		if base == "" {
			t.Skip("TRIAD_REAL_ELASTICSEARCH names no real server")
		}
		for i, c := range calls {
			status, answer := c.ask(t, base, &pit)
			b, err := json.Marshal(answer)
			if err != nil {
				t.Fatal(err)
			}
			calls[i].Status, calls[i].Answer = status, b
		}
		b, err := json.MarshalIndent(calls, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.FromSlash(recorded), append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(filepath.FromSlash(recorded))
	if err != nil {
		t.Fatal(err)
	}
	var was []realCall
	if err := json.Unmarshal(b, &was); err != nil {
		t.Fatal(err)
	}
	if len(was) != len(calls) {
		t.Fatalf("%d calls recorded, %d in the test: record again", len(was), len(calls))
	}
	s := New(Options{})
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	for i, c := range calls {
		if c.Full {
			s.Throttle(Throttle{Request: 1})
		}
		status, answer := c.ask(t, srv.URL, &pit)
		s.Throttle(Throttle{})
		var want any
		if err := json.Unmarshal(was[i].Answer, &want); err != nil {
			t.Fatal(err)
		}
		if status != was[i].Status {
			t.Errorf("%s: status %d, the real one %d", c.Name, status, was[i].Status)
		}
		if d := cmp.Diff(want, answer); d != "" {
			t.Errorf("%s: - real + esfake\n%s", c.Name, d)
		}
	}
}
