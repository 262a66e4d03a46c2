package view

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/manifests"
	"triad/internal/observe/elastic"
	"triad/internal/observe/promapi"
	"triad/internal/promql"
)

// States of a query.
const (
	Answered = "answered"
	Partial  = "partial" // answered, and not for every cluster that views.yaml names
	Empty    = "empty"
	Quiet    = "quiet"      // empty, as views.yaml says it may be
	Refused  = "refused"    // the data source says that the query is wrong
	Unasked  = "unanswered" // the data source could not be asked
	Absent   = "absent"     // it rests on a metric that this runtime has nothing for
)

// Ways of asking, the attribute via of an event.
const (
	Directly = "data source"
	Grafana  = "grafana"
)

// Times of asking. Grafana asks for ranges; a minute is more than any scrape or flush interval and less than what an earlier run
// could have left.
const (
	window  = time.Minute
	step    = 5 * time.Second
	oneTime = 10 * time.Second
)

// Shown is what a runtime's manifests show.
type Shown struct {
	Queries []manifests.Query
	Rules   []promql.Group
	Index   string // pattern of the Elasticsearch data source
}

// Source is an environment that knows which dashboards its system has.
type Source interface {
	Shown() (Shown, error)
}

// Lacking is an environment in which some metrics have no program that could expose them.
type Lacking interface {
	Lacks(metric string) bool
}

// Read collects what a rendered monitoring cluster shows.
func Read(set manifests.Set, r manifests.Rendered) (Shown, error) {
	var s Shown
	var errs [3]error
	s.Queries, errs[0] = set.Views(r)
	s.Rules, errs[1] = r.Rules()
	s.Index, errs[2] = r.SearchIndex()
	return s, errors.Join(errs[:]...)
}

// Shipped collects what the committed manifests show on kind, whose dashboards are those of every runtime.
func Shipped(set manifests.Set) (Shown, error) {
	const cluster, overlay = "monitoring", "kind"
	objects, err := set.Render(cluster, overlay)
	if err != nil {
		return Shown{}, err
	}
	return Read(set, manifests.Rendered{Cluster: cluster, Overlay: overlay, Objects: objects})
}

// Asker reaches the data sources.
type Asker struct {
	Prometheus promapi.Client
	Search     *elastic.Client
	Via        string
	Lacks      func(metric string) bool // nil: nothing is lacking
}

// Result is what became of one query.
type Result struct {
	manifests.Query
	State  string
	Detail string
	Seen   []string // clusters in the answer
	Series int      // series or documents
	Via    string
}

// Ask asks every query, one after another: a view that needs a storm of queries to fill is no measure of anything.
func (a Asker) Ask(ctx context.Context, s Shown, now time.Time) []Result {
	out := make([]Result, 0, len(s.Queries))
	for _, q := range s.Queries {
		r := Result{Query: q, Via: a.Via}
		one, cancel := context.WithTimeoutCause(ctx, oneTime, fmt.Errorf("no answer within %v", oneTime))
		if q.Datasource == "elasticsearch" {
			a.search(one, s.Index, &r, now)
		} else {
			a.prometheus(one, s.Rules, &r, now)
		}
		cancel()
		out = append(out, r)
	}
	return out
}

func (a Asker) prometheus(ctx context.Context, rules []promql.Group, r *Result, now time.Time) {
	expr, err := promql.Parser().ParseExpr(r.Expr)
	if err != nil {
		r.State, r.Detail = Refused, err.Error()
		return
	}
	if a.Lacks != nil {
		if m, lacking := promql.Rests(expr, rules, a.Lacks); lacking {
			r.State, r.Detail = Absent, "it rests on "+m+", which nothing exposes in this runtime"
			return
		}
	}
	series, err := a.Prometheus.QueryRange(ctx, r.Expr, now.Add(-window), now, step)
	if err != nil {
		r.fail(ctx, err)
		return
	}
	for _, s := range series {
		if !slices.ContainsFunc(s.Samples, func(x promapi.Sample) bool { return !math.IsNaN(x.Value) }) {
			continue
		}
		r.Series++
		if c := s.Labels["cluster"]; c != "" && !slices.Contains(r.Seen, c) {
			r.Seen = append(r.Seen, c)
		}
	}
	slices.Sort(r.Seen)
	r.judge("series")
}

// search asks Elasticsearch as the data source does: a query string on the index pattern within the time range. Of the buckets only
// their fields are asked for: a document without the field is in none.
func (a Asker) search(ctx context.Context, index string, r *Result, now time.Time) {
	n, err := a.Search.Matching(ctx, index, r.Expr, r.TimeField, now.Add(-window), now, r.Fields)
	if err != nil {
		r.fail(ctx, err)
		return
	}
	r.Series = int(min(n, math.MaxInt32))
	r.judge("documents")
}

func (r *Result) fail(ctx context.Context, err error) {
	r.State, r.Detail = Unasked, err.Error()
	if cause := context.Cause(ctx); cause != nil {
		r.Detail = cause.Error()
		return
	}
	if e, ok := errors.AsType[*promapi.Error](err); ok && (e.Type == "bad_data" || e.Type == "execution") {
		r.State = Refused
	}
	if e, ok := errors.AsType[*elastic.RefusedError](err); ok && e.Status == 400 {
		r.State = Refused
	}
}

func (r *Result) judge(what string) {
	var missing []string
	for _, c := range r.Clusters {
		if !slices.Contains(r.Seen, c) {
			missing = append(missing, c)
		}
	}
	switch {
	case r.Series == 0 && r.Quiet != "":
		r.State, r.Detail = Quiet, r.Quiet
	case r.Series == 0:
		r.State, r.Detail = Empty, "no "+what
	case len(missing) > 0:
		r.State, r.Detail = Partial, "nothing from "+strings.Join(missing, ", ")
	default:
		r.State, r.Detail = Answered, fmt.Sprintf("%d %s", r.Series, what)
	}
}

// Event is the result as evidence.
func (r Result) Event() evidence.Event {
	attrs := map[string]string{"check": "one-view", "datasource": r.Datasource, "query": r.Expr, "via": r.Via}
	if len(r.Clusters) > 0 {
		attrs["want"] = strings.Join(r.Clusters, ",")
	}
	if len(r.Seen) > 0 {
		attrs["clusters"] = strings.Join(r.Seen, ",")
	}
	return evidence.Event{Kind: evidence.EventProbe, Name: r.Name(), State: r.State, Detail: r.Detail, Attrs: attrs}
}

// Summary counts the results by state, for people who watch.
func Summary(results []Result) string {
	count := map[string]int{}
	for _, r := range results {
		count[r.State]++
	}
	var parts []string
	for _, s := range []string{Answered, Quiet, Empty, Partial, Refused, Unasked, Absent} {
		if count[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[s], s))
		}
	}
	return fmt.Sprintf("%d queries: %s", len(results), strings.Join(parts, ", "))
}
