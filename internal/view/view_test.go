package view

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"triad/internal/manifests"
	"triad/internal/observe/elastic"
	"triad/internal/observe/promapi"
	"triad/internal/promql"
)

// Every way in which a query can end, against servers that answer as the real ones do.
func TestAsk(t *testing.T) {
	rows := map[string]string{
		"both": `{"metric":{"cluster":"kafka"},"values":[[1,"1"]]},{"metric":{"cluster":"datacenter"},"values":[[1,"2"]]}`,
		"one":  `{"metric":{"cluster":"kafka"},"values":[[1,"1"]]}`,
		"nan":  `{"metric":{"cluster":"kafka"},"values":[[1,"NaN"]]}`,
		"none": ``, "calm": ``,
	}
	var searched []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		if strings.HasSuffix(r.URL.Path, "_msearch") {
			b, _ := io.ReadAll(r.Body)
			searched = append(searched, string(b))
			n := 7
			if strings.Contains(string(b), "nothing") {
				n = 0
			}
			fmt.Fprintf(w, `{"responses":[{"status":200,"hits":{"total":{"value":%d}},"_shards":{"failed":0}}]}`, n)
			return
		}
		q := r.FormValue("query")
		if q == "wrong" {
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprint(w, `{"status":"error","errorType":"execution","error":"many-to-many matching"}`)
			return
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[%s]}}`, rows[q])
	}))
	t.Cleanup(srv.Close)
	search, err := elastic.NewClient(elastic.Access{URL: srv.URL, Transport: srv.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := promql.Rules([]byte("groups: [{name: g, rules: [{record: made, expr: container_cpu}]}]"))
	if err != nil {
		t.Fatal(err)
	}
	clusters := []string{"datacenter", "kafka"}
	p := func(expr string) manifests.Query { return manifests.Query{Datasource: "prometheus", Expr: expr} }
	es := func(query string, fields ...string) manifests.Query {
		return manifests.Query{Datasource: "elasticsearch", Expr: query, TimeField: "@timestamp", Fields: fields}
	}
	want := []struct {
		q     manifests.Query
		state string
	}{
		{manifests.Query{Datasource: "prometheus", Expr: "both", Clusters: clusters}, Answered},
		{manifests.Query{Datasource: "prometheus", Expr: "one", Clusters: clusters}, Partial},
		{p("one"), Answered},
		{p("nan"), Empty},
		{p("none"), Empty},
		{manifests.Query{Datasource: "prometheus", Expr: "calm", Quiet: "nothing is wrong"}, Quiet},
		{p("wrong"), Refused},
		{p("sum("), Refused},
		{p("made"), Absent},
		{es("*", "_index", "host"), Answered},
		{es("_index:canary-topic*"), Answered},
		{es("log:nothing"), Empty},
	}
	s := Shown{Rules: rules, Index: "*-topic"}
	for _, w := range want {
		s.Queries = append(s.Queries, w.q)
	}
	a := Asker{
		Prometheus: promapi.Client{Base: srv.URL, HTTP: srv.Client()}, Search: search, Via: Directly,
		Lacks: func(m string) bool { return strings.HasPrefix(m, "container_") },
	}
	for i, r := range a.Ask(t.Context(), s, time.Unix(1000, 0)) {
		if r.State != want[i].state {
			t.Errorf("%s: %s (%s), want %s", r.Expr, r.State, r.Detail, want[i].state)
		}
		if e := r.Event(); e.Attrs["check"] != "one-view" || e.Attrs["query"] != r.Expr {
			t.Errorf("%+v", e)
		}
	}
	if len(searched) != 3 || !strings.Contains(searched[0], `"exists":{"field":"host"}`) || strings.Contains(searched[0], "_index") ||
		!strings.Contains(searched[1], `"index":"canary-topic*"`) || !strings.Contains(searched[2], `"query_string"`) {
		t.Errorf("%q", searched)
	}
	for _, body := range searched {
		for line := range strings.SplitSeq(strings.TrimSpace(body), "\n") {
			if !json.Valid([]byte(line)) {
				t.Errorf("not JSON: %s", line)
			}
		}
	}
	a.Prometheus.Base = "http://127.0.0.1:1"
	if r := a.Ask(t.Context(), Shown{Queries: []manifests.Query{p("one")}}, time.Unix(1000, 0)); r[0].State != Unasked {
		t.Errorf("nobody answered: %s", r[0].State)
	}
}

// The shipped dashboards are read whole, and what views.yaml says is about them.
func TestShipped(t *testing.T) {
	set, err := manifests.Open("../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Shipped(set)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Queries) < 60 || s.Index != "*-topic" || len(s.Rules) < 5 {
		t.Errorf("%d queries, %d groups, index %q", len(s.Queries), len(s.Rules), s.Index)
	}
	if !slices.ContainsFunc(s.Queries, func(q manifests.Query) bool { return len(q.Clusters) == 3 }) {
		t.Error("no query is declared for every cluster")
	}
}
