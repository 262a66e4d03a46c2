package esfake

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v8/esapi"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client returns an esapi transport to a new server over HTTP.
func client(t *testing.T, opts Options) (*Server, *elastictransport.Client) {
	t.Helper()
	s := New(opts)
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	// The default retries of the transport would hide the server's answers.
	c, err := elastictransport.New(elastictransport.Config{URLs: []*url.URL{u}, DisableRetry: true, Transport: &http.Transport{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return s, c
}

type doer interface {
	Do(ctx context.Context, transport esapi.Transport) (*esapi.Response, error)
}

// call does a request and returns its status and decoded answer.
func call(t *testing.T, c esapi.Transport, req doer) (int, map[string]any) {
	t.Helper()
	res, err := req.Do(t.Context(), c)
	if err != nil {
		t.Fatalf("%T: %v", req, err)
	}
	defer res.Body.Close()
	if got := res.Header.Get("X-Elastic-Product"); got != "Elasticsearch" {
		t.Fatalf("%T: product header %q", req, got)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if len(b) > 0 && b[0] == '{' {
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatalf("%T: answer %s: %v", req, b, err)
		}
	}
	return res.StatusCode, m
}

func mustCall(t *testing.T, c esapi.Transport, req doer) map[string]any {
	t.Helper()
	status, m := call(t, c, req)
	if status >= 300 {
		t.Fatalf("%T: status %d: %v", req, status, m)
	}
	return m
}

// at digs a dotted path out of a decoded answer; a number is an index of a list.
func at(t *testing.T, v any, path string) any {
	t.Helper()
	for part := range strings.SplitSeq(path, "/") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(x) {
				t.Fatalf("no %s in %v", path, x)
			}
			v = x[i]
		default:
			t.Fatalf("no %s in %v", path, v)
		}
	}
	return v
}

func body(s string) io.Reader { return strings.NewReader(s) }

func ids(t *testing.T, m map[string]any) []string {
	t.Helper()
	out := []string{}
	hits, ok := at(t, m, "hits/hits").([]any)
	if !ok {
		t.Fatalf("no hits in %v", m)
	}
	for _, h := range hits {
		out = append(out, at(t, h, "_id").(string))
	}
	return out
}

func TestBulkResultsAndVersions(t *testing.T) {
	_, c := client(t, Options{})
	lines := strings.Join([]string{
		`{"index":{"_index":"a","_id":"1"}}`, `{"log":"one"}`,
		`{"index":{"_index":"a","_id":"1"}}`, `{"log":"uno"}`,
		`{"create":{"_index":"a","_id":"1"}}`, `{"log":"again"}`,
		`{"delete":{"_index":"a","_id":"2"}}`,
		`{"index":{"_index":"a","_id":"3"}}`, `{"log":`,
		`{"index":{"_index":"a"}}`, `{"log":"auto"}`,
		`{"delete":{"_index":"a","_id":"1"}}`,
		`{"index":{"_index":"a","_id":"1"}}`, `{"log":"back"}`,
		`{"index":{"_index":"Bad","_id":"1"}}`, `{"log":"x"}`,
		`{"index":{"_index":"a","_id":"v","version":7,"version_type":"external"}}`, `{"log":"x"}`,
		`{"index":{"_index":"a","_id":"v","version":7,"version_type":"external"}}`, `{"log":"x"}`,
		`{"update":{"_index":"a","_id":"v"}}`, `{"doc":{"n":{"k":1}},"doc_as_upsert":true}`,
	}, "\n") + "\n"
	m := mustCall(t, c, esapi.BulkRequest{Body: body(lines)})
	type item struct {
		Status  float64
		Result  any
		Version any
		Error   any
	}
	var got []item
	for _, it := range m["items"].([]any) {
		for _, v := range it.(map[string]any) {
			r := v.(map[string]any)
			i := item{Status: r["status"].(float64), Result: r["result"], Version: r["_version"]}
			if e, ok := r["error"].(map[string]any); ok {
				i.Error = e["type"]
			}
			got = append(got, i)
		}
	}
	want := []item{
		{201, "created", 1.0, nil},
		{200, "updated", 2.0, nil},
		{409, nil, nil, "version_conflict_engine_exception"},
		{404, "not_found", 1.0, nil},
		{400, nil, nil, "document_parsing_exception"},
		{201, "created", 1.0, nil},
		{200, "deleted", 3.0, nil},
		{201, "created", 4.0, nil},
		{400, nil, nil, "invalid_index_name_exception"},
		{201, "created", 7.0, nil},
		{409, nil, nil, "version_conflict_engine_exception"},
		{200, "updated", 8.0, nil},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("items (-want +got):\n%s", d)
	}
	if m["errors"] != true {
		t.Error("errors is not true")
	}
	doc := mustCall(t, c, esapi.GetRequest{Index: "a", DocumentID: "v"})
	if d := cmp.Diff(map[string]any{"log": "x", "n": map[string]any{"k": 1.0}}, doc["_source"]); d != "" {
		t.Errorf("updated document (-want +got):\n%s", d)
	}
}

func TestBulkBodyRefused(t *testing.T) {
	_, c := client(t, Options{})
	for name, b := range map[string]string{
		"no newline":     `{"index":{"_index":"a"}}` + "\n" + `{}`,
		"no source":      `{"index":{"_index":"a"}}` + "\n",
		"unknown action": `{"frob":{"_index":"a"}}` + "\n{}\n",
		"not an object":  `{"index":1}` + "\n{}\n",
		"two actions":    `{"index":{},"create":{}}` + "\n{}\n",
		"unknown key":    `{"index":{"_index":"a","frob":1}}` + "\n{}\n",
		"empty":          "\n",
	} {
		if status, m := call(t, c, esapi.BulkRequest{Body: body(b)}); status != 400 {
			t.Errorf("%s: status %d: %v", name, status, m)
		}
	}
}

func TestDynamicMappingConflicts(t *testing.T) {
	_, c := client(t, Options{})
	put := func(doc string) int {
		t.Helper()
		status, _ := call(t, c, esapi.IndexRequest{Index: "m", Body: body(doc)})
		return status
	}
	steps := []struct {
		doc  string
		want int
	}{
		{`{"n":1,"s":"x","d":"2026-01-02T03:04:05Z","b":true,"o":{"k":1.5}}`, 201},
		{`{"n":"2"}`, 201},
		{`{"n":"two"}`, 400},
		{`{"n":{"k":1}}`, 400},
		{`{"o":1}`, 400},
		{`{"o.k":2}`, 201},
		{`{"s":12}`, 201},
		{`{"s":{"k":1}}`, 400},
		{`{"d":"not a date"}`, 400},
		{`{"b":"maybe"}`, 400},
		{`[1]`, 400},
		{`{"x":"` + "\x01" + `"}`, 400},
		{"{\"x\":\"\xff\"}", 400},
	}
	for _, s := range steps {
		if got := put(s.doc); got != s.want {
			t.Errorf("%s: status %d, want %d", s.doc, got, s.want)
		}
	}
	m := mustCall(t, c, esapi.IndicesGetMappingRequest{Index: []string{"m"}})
	if typ := at(t, m, "m/mappings/properties/s/fields/keyword/type"); typ != "keyword" {
		t.Errorf("keyword sub-field: %v", typ)
	}
	strict := `{"mappings":{"dynamic":"strict","properties":{"a":{"type":"keyword"}}}}`
	mustCall(t, c, esapi.IndicesCreateRequest{Index: "strict", Body: body(strict)})
	status, m := call(t, c, esapi.IndexRequest{Index: "strict", Body: body(`{"b":1}`)})
	if status != 400 || at(t, m, "error/type") != "strict_dynamic_mapping_exception" {
		t.Errorf("strict mapping: %d %v", status, m)
	}
}

// fill writes n documents with tags of two runs into index "logs" and refreshes.
func fill(t *testing.T, c esapi.Transport, n int) {
	t.Helper()
	var b bytes.Buffer
	for i := range n {
		run := "r1"
		if i%4 == 3 {
			run = "r2"
		}
		fmt.Fprintf(&b, `{"index":{"_index":"logs","_id":"d%d"}}`+"\n", i)
		fmt.Fprintf(&b, `{"log":"{\"msg\":\"GET /x\",\"id\":\"tq_%s_0_%d\"} took %d ms","n":%d,"@timestamp":"2026-01-01T00:00:%02d.5Z"}`+"\n", run, i, i, i, i%60)
	}
	m := mustCall(t, c, esapi.BulkRequest{Body: &b, Refresh: "true"})
	if m["errors"] != false {
		t.Fatal(m)
	}
}

func TestQueries(t *testing.T) {
	_, c := client(t, Options{})
	fill(t, c, 20)
	tests := []struct {
		query string
		want  []string
	}{
		{`{"term":{"log":"tq_r1_0_5"}}`, []string{"d5"}},
		{`{"term":{"log":"tq_r1_0_"}}`, nil},
		{`{"terms":{"log":["tq_r1_0_6","tq_r2_0_3","tq_none_0_0"]}}`, []string{"d3", "d6"}},
		{`{"prefix":{"log":"tq_r2_"}}`, []string{"d3", "d7", "d11", "d15", "d19"}},
		{`{"prefix":{"log":{"value":"tq_r2_0_1"}}}`, []string{"d11", "d15", "d19"}},
		{`{"term":{"log":"17"}}`, []string{"d17"}},
		{`{"term":{"log":{"value":"Took"}}}`, nil},
		{`{"match_phrase":{"log":"Took 12 MS"}}`, []string{"d12"}},
		{`{"match_phrase":{"log":"12 took"}}`, nil},
		{`{"match":{"log":{"query":"took 12","operator":"and"}}}`, []string{"d12"}},
		{`{"range":{"n":{"gte":17.5}}}`, []string{"d18", "d19"}},
		{`{"range":{"@timestamp":{"lt":"2026-01-01T00:00:01.500Z"}}}`, []string{"d0"}},
		{`{"range":{"@timestamp":{"gte":1767225617500,"lte":"2026-01-01T00:00:18.500Z","format":"epoch_millis||strict_date_optional_time"}}}`, []string{"d17", "d18"}},
		{`{"bool":{"filter":[{"prefix":{"log":"tq_r1_"}},{"range":{"n":{"lt":3}}}],"must_not":{"term":{"n":1}}}}`, []string{"d0", "d2"}},
		{`{"bool":{"should":[{"term":{"n":4}},{"term":{"log":"tq_r1_0_9"}}]}}`, []string{"d4", "d9"}},
		{`{"bool":{"should":[{"term":{"log":"tq_r1_0_8"}},{"term":{"log":"tq_r1_0_9"}}]}}`, []string{"d8", "d9"}},
		{`{"ids":{"values":["d2","d1","nope"]}}`, []string{"d1", "d2"}},
		{`{"term":{"_id":"d2"}}`, []string{"d2"}},
		{`{"term":{"unknown":"x"}}`, nil},
		{`{"constant_score":{"filter":{"term":{"n":4}}}}`, []string{"d4"}},
		{`{"term":{"log.keyword":"{\"msg\":\"GET /x\",\"id\":\"tq_r1_0_5\"} took 5 ms"}}`, []string{"d5"}},
		{`{"bool":{"must":{"match_all":{}},"must_not":[{"exists":{"field":"n"}}]}}`, nil},
	}
	for _, tt := range tests {
		m := mustCall(t, c, esapi.SearchRequest{Index: []string{"logs"}, Body: body(`{"size":100,"query":` + tt.query + `}`)})
		want := tt.want
		if want == nil {
			want = []string{}
		}
		if d := cmp.Diff(want, ids(t, m)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.query, d)
		}
		if got := at(t, m, "hits/total/value").(float64); got != float64(len(want)) {
			t.Errorf("%s: total %v, want %d", tt.query, got, len(want))
		}
		m = mustCall(t, c, esapi.CountRequest{Index: []string{"logs"}, Body: body(`{"query":` + tt.query + `}`)})
		if m["count"] != float64(len(want)) {
			t.Errorf("%s: count %v, want %d", tt.query, m["count"], len(want))
		}
	}
	m := mustCall(t, c, esapi.SearchRequest{Index: []string{"logs"}, Body: body(`{"size":0,"track_total_hits":1,"terminate_after":1,"query":{"term":{"log":"took"}}}`)})
	if at(t, m, "hits/total/value") != 1.0 || m["terminated_early"] != true {
		t.Errorf("terminate_after: %v", m)
	}
	for _, bad := range []string{`{"query":{"fuzzy":{"log":"x"}}}`, `{"frob":1}`, `{"query":{"term":{"a":1,"b":2}}}`, `{"size":10001}`, `{`} {
		if status, m := call(t, c, esapi.SearchRequest{Index: []string{"logs"}, Body: body(bad)}); status != 400 {
			t.Errorf("%s: status %d: %v", bad, status, m)
		}
	}
	if status, _ := call(t, c, esapi.SearchRequest{Index: []string{"none"}}); status != 404 {
		t.Errorf("missing index: status %d", status)
	}
	m = mustCall(t, c, esapi.SearchRequest{Index: []string{"none*"}})
	if got := at(t, m, "hits/total/value"); got != 0.0 {
		t.Errorf("wildcard without index: %v", got)
	}
}

func TestSortPagesAndSource(t *testing.T) {
	_, c := client(t, Options{})
	fill(t, c, 57)
	for _, sortBy := range []string{`["_doc"]`, `[{"n":"desc"}]`, `[{"@timestamp":{"order":"asc"}},{"n":"asc"}]`, `[{"log.keyword":"asc"}]`} {
		seen := map[string]bool{}
		after := ""
		for range 20 {
			q := `{"size":10,"track_total_hits":true,"_source":["n"],"sort":` + sortBy + after + `}`
			m := mustCall(t, c, esapi.SearchRequest{Index: []string{"logs"}, Body: body(q)})
			if got := at(t, m, "hits/total/value"); got != 57.0 {
				t.Fatalf("%s: total %v", sortBy, got)
			}
			page := ids(t, m)
			if len(page) == 0 {
				break
			}
			for i, id := range page {
				if seen[id] {
					t.Fatalf("%s: %s twice", sortBy, id)
				}
				seen[id] = true
				src := at(t, m, fmt.Sprintf("hits/hits/%d/_source", i)).(map[string]any)
				if _, ok := src["n"]; !ok || len(src) != 1 {
					t.Fatalf("source filter: %v", src)
				}
			}
			last := at(t, m, fmt.Sprintf("hits/hits/%d/sort", len(page)-1))
			b, err := json.Marshal(last)
			if err != nil {
				t.Fatal(err)
			}
			after = `,"search_after":` + string(b)
		}
		if len(seen) != 57 {
			t.Errorf("%s: %d of 57 documents", sortBy, len(seen))
		}
	}
	m := mustCall(t, c, esapi.SearchRequest{Index: []string{"logs"}, Body: body(`{"size":2,"from":1,"_source":false,"sort":[{"n":"desc"}],"track_total_hits":5}`)})
	if d := cmp.Diff([]string{"d55", "d54"}, ids(t, m)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]any{"value": 5.0, "relation": "gte"}, at(t, m, "hits/total")); d != "" {
		t.Errorf("total beyond the limit (-want +got):\n%s", d)
	}
}

func TestPointInTime(t *testing.T) {
	_, c := client(t, Options{})
	fill(t, c, 10)
	m := mustCall(t, c, esapi.OpenPointInTimeRequest{Index: []string{"logs"}, KeepAlive: "1m"})
	id := m["id"].(string)
	mustCall(t, c, esapi.BulkRequest{Refresh: "true", Body: body(
		`{"delete":{"_index":"logs","_id":"d0"}}` + "\n" +
			`{"index":{"_index":"logs","_id":"d1"}}` + "\n" + `{"log":"new tq_r9_0_0"}` + "\n" +
			`{"index":{"_index":"logs","_id":"x"}}` + "\n" + `{"log":"tq_r1_0_99"}` + "\n")})
	search := func(extra string) map[string]any {
		return mustCall(t, c, esapi.SearchRequest{Body: body(`{"pit":{"id":"` + id + `","keep_alive":"1m"},"size":4,"sort":["_shard_doc"]` + extra + `}`)})
	}
	got := ids(t, search(""))
	m = search(`,"search_after":[3]`)
	got = append(got, ids(t, m)...)
	got = append(got, ids(t, search(`,"search_after":[7]`))...)
	want := []string{"d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("point in time (-want +got):\n%s", d)
	}
	for _, q := range []string{`{"term":{"log":"tq_r1_0_1"}}`, `{"term":{"_id":"d1"}}`} {
		if d := cmp.Diff([]string{"d1"}, ids(t, search(`,"query":`+q))); d != "" {
			t.Errorf("old version by %s (-want +got):\n%s", q, d)
		}
	}
	m = mustCall(t, c, esapi.SearchRequest{Index: []string{"logs"}, Body: body(`{"query":{"prefix":{"log":"tq_r1_"}},"size":20}`)})
	if d := cmp.Diff([]string{"d2", "d4", "d5", "d6", "d8", "d9", "x"}, ids(t, m)); d != "" {
		t.Errorf("live search (-want +got):\n%s", d)
	}
	// Slices have every document once.
	var parts []string
	for k := range 3 {
		part := ids(t, search(fmt.Sprintf(`,"slice":{"id":%d,"max":3}`, k)))
		if len(part) < 3 {
			t.Errorf("slice %d: %q", k, part)
		}
		parts = append(parts, part...)
	}
	if d := cmp.Diff(want, parts); d != "" {
		t.Errorf("slices (-want +got):\n%s", d)
	}
	if m := search(`,"slice":{"id":2,"max":3},"track_total_hits":true,"search_after":[7]`); len(ids(t, m)) != 2 {
		t.Errorf("behind a hit of a slice: %v", ids(t, m))
	}
	for _, bad := range []string{`{"slice":{"id":0,"max":2}}`, `{"pit":{"id":"` + id + `"},"slice":{"id":2,"max":2}}`, `{"pit":{"id":"` + id + `"},"slice":{"id":0,"max":1}}`} {
		if status, _ := call(t, c, esapi.SearchRequest{Body: body(bad)}); status != 400 {
			t.Errorf("%s: status %d", bad, status)
		}
	}
	mustCall(t, c, esapi.ClosePointInTimeRequest{Body: body(`{"id":"` + id + `"}`)})
	if status, _ := call(t, c, esapi.SearchRequest{Body: body(`{"pit":{"id":"` + id + `"}}`)}); status != 404 {
		t.Errorf("closed point in time: status %d", status)
	}
}

func TestTemplatesSettingsAndAdmin(t *testing.T) {
	_, c := client(t, Options{ArrivalField: "_arrival"})
	tmpl := `{"index_patterns":["svc-*"],"priority":5,"template":{"settings":{"index":{"refresh_interval":"-1","number_of_replicas":0}},"mappings":{"properties":{"log":{"type":"text"},"level":{"type":"keyword"}}}}}`
	mustCall(t, c, esapi.IndicesPutIndexTemplateRequest{Name: "svc", Body: body(tmpl)})
	mustCall(t, c, esapi.IndexRequest{Index: "svc-topic", DocumentID: "a+0+1", Body: body(`{"log":"x","level":"INFO"}`)})
	m := mustCall(t, c, esapi.IndicesGetSettingsRequest{Index: []string{"svc-topic"}})
	if got := at(t, m, "svc-topic/settings/index/refresh_interval"); got != "-1" {
		t.Errorf("refresh interval from the template: %v", got)
	}
	count := func() float64 {
		return mustCall(t, c, esapi.CountRequest{Index: []string{"svc-topic"}})["count"].(float64)
	}
	time.Sleep(20 * time.Millisecond)
	if n := count(); n != 0 {
		t.Errorf("count before any refresh: %v", n)
	}
	m = mustCall(t, c, esapi.GetRequest{Index: "svc-topic", DocumentID: "a+0+1"})
	stamp, err := time.Parse(time.RFC3339Nano, at(t, m, "_source/_arrival").(string))
	if err != nil || time.Since(stamp) > time.Minute {
		t.Errorf("arrival stamp %v: %v", stamp, err)
	}
	mustCall(t, c, esapi.IndicesPutSettingsRequest{Index: []string{"svc-topic"}, Body: body(`{"index":{"refresh_interval":"1ms"}}`)})
	deadline := time.Now().Add(5 * time.Second)
	for count() == 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if n := count(); n != 1 {
		t.Errorf("count after a refresh interval was set: %v", n)
	}
	m = mustCall(t, c, esapi.SearchRequest{Index: []string{"svc-*"}, Body: body(`{"query":{"range":{"_arrival":{"gte":"now-1m","lte":"now"}}},"sort":["_arrival"]}`)})
	if d := cmp.Diff([]string{"a+0+1"}, ids(t, m)); d != "" {
		t.Error(d)
	}
	if n := at(t, m, "hits/hits/0/sort/0").(float64); int64(n)/1e9 != stamp.Unix() {
		t.Errorf("sort value of a date_nanos: %v", n)
	}
	m = mustCall(t, c, esapi.MgetRequest{Index: "svc-topic", Body: body(`{"ids":["a+0+1","zzz"]}`)})
	if at(t, m, "docs/0/found") != true || at(t, m, "docs/1/found") != false {
		t.Errorf("mget: %v", m)
	}
	res, err := esapi.CatIndicesRequest{Format: "json"}.Do(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]string
	if err := json.NewDecoder(res.Body).Decode(&rows); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if len(rows) != 1 || rows[0]["docs.count"] != "1" || rows[0]["index"] != "svc-topic" {
		t.Errorf("cat: %v", rows)
	}
	if got := mustCall(t, c, esapi.ClusterHealthRequest{})["status"]; got != "green" {
		t.Errorf("health: %v", got)
	}
	m = mustCall(t, c, esapi.IndicesStatsRequest{})
	if got := at(t, m, "indices/svc-topic/primaries/docs/count"); got != 1.0 {
		t.Errorf("stats: %v", got)
	}
	m = mustCall(t, c, esapi.MsearchRequest{Body: body("{\"index\":\"svc-topic\"}\n{\"query\":{\"match_all\":{}}}\n{\"index\":\"nope\"}\n{}\n")})
	if at(t, m, "responses/0/hits/total/value") != 1.0 || at(t, m, "responses/1/status") != 404.0 {
		t.Errorf("msearch: %v", m)
	}
	if status, _ := call(t, c, esapi.IndicesCreateRequest{Index: "svc-topic"}); status != 400 {
		t.Errorf("create twice: %d", status)
	}
	if status, _ := call(t, c, esapi.IndicesExistsRequest{Index: []string{"svc-topic"}}); status != 200 {
		t.Errorf("exists: %d", status)
	}
	mustCall(t, c, esapi.IndicesDeleteRequest{Index: []string{"svc-topic"}})
	if status, _ := call(t, c, esapi.IndicesExistsRequest{Index: []string{"svc-topic"}}); status != 404 {
		t.Errorf("exists after delete: %d", status)
	}
}

func TestPipelineStampsDocuments(t *testing.T) {
	_, c := client(t, Options{})
	mustCall(t, c, esapi.IngestPutPipelineRequest{PipelineID: "stamp", Body: body(`{"processors":[{"set":{"field":"ingested","value":"{{{_ingest.timestamp}}}"}}]}`)})
	mustCall(t, c, esapi.IndicesCreateRequest{Index: "p", Body: body(`{"settings":{"index.final_pipeline":"stamp"}}`)})
	mustCall(t, c, esapi.IndexRequest{Index: "p", DocumentID: "1", Body: body(`{}`)})
	m := mustCall(t, c, esapi.GetRequest{Index: "p", DocumentID: "1"})
	if _, err := time.Parse(time.RFC3339Nano, at(t, m, "_source/ingested").(string)); err != nil {
		t.Error(err)
	}
	if status, _ := call(t, c, esapi.IngestPutPipelineRequest{PipelineID: "x", Body: body(`{"processors":[{"grok":{}}]}`)}); status != 400 {
		t.Errorf("unsupported processor: %d", status)
	}
}

func TestBasicAuth(t *testing.T) {
	_, c := client(t, Options{Users: map[string]string{"connect": "secret"}})
	if status, _ := call(t, c, esapi.InfoRequest{}); status != 401 {
		t.Errorf("without password: %d", status)
	}
	h := http.Header{}
	h.Set("Authorization", "Basic Y29ubmVjdDpzZWNyZXQ=")
	m := mustCall(t, c, esapi.InfoRequest{Header: h})
	if got := at(t, m, "version/number"); got != Version {
		t.Errorf("version %v", got)
	}
}

// TestComposedTemplate uses templates of the form that the manifests ship: components, dynamic templates, a field limit.
func TestComposedTemplate(t *testing.T) {
	_, c := client(t, Options{})
	tmpl := `{"index_patterns":["svc*"],"composed_of":["maps","later"],"ignore_missing_component_templates":["later"],` +
		`"template":{"settings":{"index":{"codec":"best_compression","mapping":{"total_fields":{"limit":5}}}}}}`
	if status, _ := call(t, c, esapi.IndicesPutIndexTemplateRequest{Name: "t", Body: body(tmpl)}); status != 400 {
		t.Errorf("missing component: status %d", status)
	}
	mustCall(t, c, esapi.ClusterPutComponentTemplateRequest{Name: "maps", Body: body(`{"template":{"mappings":{"dynamic":true,` +
		`"dynamic_templates":[{"s":{"match_mapping_type":"string","mapping":{"type":"keyword","ignore_above":8}}}],` +
		`"properties":{"log":{"type":"text"},"@timestamp":{"type":"date"}}}}}`)})
	mustCall(t, c, esapi.IndicesPutIndexTemplateRequest{Name: "t", Body: body(tmpl)})
	mustCall(t, c, esapi.IndexRequest{Index: "svc", DocumentID: "1", Refresh: "true", Body: body(`{"log":"tq_a_0_0 x","host":"n1","o":{"k":"a string of many letters"}}`)})
	mustCall(t, c, esapi.IndexRequest{Index: "svc", DocumentID: "2", Refresh: "true", Body: body(`{"log":"y","@timestamp":1767225600000}`)})
	if status, m := call(t, c, esapi.IndexRequest{Index: "svc", Body: body(`{"one":1,"two":2}`)}); status != 400 || at(t, m, "error/type") != "illegal_argument_exception" {
		t.Errorf("field limit: %d %v", status, m)
	}
	for q, want := range map[string][]string{
		`{"term":{"log":"tq_a_0_0"}}`: {"1"}, `{"term":{"host":"n1"}}`: {"1"}, `{"prefix":{"host":"n"}}`: {"1"}, `{"term":{"host":"n"}}`: {},
		`{"term":{"o.k":"a string of many letters"}}`: {}, `{"range":{"@timestamp":{"gte":"2026-01-01"}}}`: {"2"},
	} {
		m := mustCall(t, c, esapi.SearchRequest{Index: []string{"svc"}, Body: body(`{"query":` + q + `}`)})
		if d := cmp.Diff(want, ids(t, m)); d != "" {
			t.Errorf("%s (-want +got):\n%s", q, d)
		}
	}
}
