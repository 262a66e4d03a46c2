package prometheus

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	plabels "github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	promparser "github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// Defaults of --query.max-samples and --query.timeout.
const (
	queryMaxSamples = 50_000_000
	queryTimeout    = 2 * time.Minute
)

// engine is Prometheus's own engine over the head: what an expression means is never decided here.
type engine struct {
	*promql.Engine
	parser promparser.Parser
	store  storage.Queryable
}

func newEngine(h *head) *engine {
	p := promparser.NewParser(promparser.Options{})
	return &engine{parser: p, store: headStore{h}, Engine: promql.NewEngine(promql.EngineOpts{
		MaxSamples: queryMaxSamples, Timeout: queryTimeout, LookbackDelta: h.cfg.Lookback, EnableAtModifier: true, EnableNegativeOffset: true,
		// Subqueries without a step take the evaluation interval, as cmd/prometheus sets it.
		NoStepSubqueryIntervalFn: func(int64) int64 { return h.cfg.EvaluationInterval.Milliseconds() }, Parser: p,
	})}
}

// vector evaluates an expression as a rule does: a scalar is a vector of one without labels.
func (e *engine) vector(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
	q, err := e.NewInstantQuery(ctx, e.store, nil, expr, at)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return nil, res.Err
	}
	switch v := res.Value.(type) {
	case promql.Vector:
		return slices.Clone(v), nil
	case promql.Scalar:
		return promql.Vector{{T: v.T, F: v.V, Metric: plabels.Labels{}}}, nil
	}
	return nil, errors.New("rule result is not a vector or scalar")
}

// result runs a query and makes the data of the HTTP API of its value.
func (e *engine) result(ctx context.Context, q promql.Query) (answer, *apiError) {
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return answer{}, queryError(res.Err)
	}
	a := answer{}
	warnings, infos := res.Warnings.AsStrings(q.String(), 10, 10)
	a.warnings, a.infos = warnings, infos
	switch v := res.Value.(type) {
	case promql.Vector:
		d := queryData{ResultType: "vector", Result: []row{}}
		for _, s := range v {
			d.Result = append(d.Result, row{Metric: s.Metric.Map(), Value: &jsonPoint{s.T, s.F}})
		}
		a.data = d
	case promql.Matrix:
		d := queryData{ResultType: "matrix", Result: []row{}}
		for _, s := range v {
			r := row{Metric: s.Metric.Map()}
			for _, p := range s.Floats {
				r.Values = append(r.Values, jsonPoint{p.T, p.F})
			}
			d.Result = append(d.Result, r)
		}
		a.data = d
	case promql.Scalar:
		a.data = scalarData{"scalar", jsonPoint{v.T, v.V}}
	case promql.String:
		a.data = scalarData{"string", jsonText{v.T, v.V}}
	}
	return a, nil
}

// queryError says of an evaluation's error what the real API says (web/api/v1).
func queryError(err error) *apiError {
	if _, ok := errors.AsType[promql.ErrQueryCanceled](err); ok {
		return &apiError{499, "canceled", err.Error()}
	}
	if _, ok := errors.AsType[promql.ErrQueryTimeout](err); ok {
		return &apiError{http.StatusServiceUnavailable, "timeout", err.Error()}
	}
	if _, ok := errors.AsType[promql.ErrStorage](err); ok {
		return &apiError{http.StatusInternalServerError, "internal", err.Error()}
	}
	return &apiError{http.StatusUnprocessableEntity, "execution", err.Error()}
}

// headStore is the head as the engine reads it.
type headStore struct{ head *head }

// Querier returns a reader of [mint, maxt].
func (s headStore) Querier(mint, maxt int64) (storage.Querier, error) {
	return headQuerier{s.head, mint, maxt}, nil
}

type headQuerier struct {
	head       *head
	mint, maxt int64
}

var _ storage.Querier = headQuerier{}

// Select returns the matching series in the order of their labels, with the samples that the engine asks for.
func (q headQuerier) Select(_ context.Context, _ bool, hints *storage.SelectHints, ms ...*plabels.Matcher) storage.SeriesSet {
	from, to := q.mint, q.maxt
	if hints != nil {
		from, to = hints.Start, hints.End
	}
	return &seriesSet{found: q.head.selectPoints(ms, from, to), at: -1}
}

// LabelValues has the values of a label among the matching series.
func (q headQuerier) LabelValues(_ context.Context, name string, _ *storage.LabelHints, ms ...*plabels.Matcher) ([]string, annotations.Annotations, error) {
	return distinct(q.sets(ms), func(l Label) string {
		if l.Name == name {
			return l.Value
		}
		return ""
	}), nil, nil
}

// LabelNames has the label names of the matching series.
func (q headQuerier) LabelNames(_ context.Context, _ *storage.LabelHints, ms ...*plabels.Matcher) ([]string, annotations.Annotations, error) {
	return distinct(q.sets(ms), func(l Label) string { return l.Name }), nil, nil
}

func (q headQuerier) sets(ms []*plabels.Matcher) []Labels {
	var out []Labels
	for _, f := range q.head.selectPoints(ms, q.mint, q.maxt) {
		out = append(out, f.labels)
	}
	return out
}

// Close has nothing to release.
func (headQuerier) Close() error { return nil }

type seriesSet struct {
	found []found
	at    int
}

func (s *seriesSet) Next() bool                        { s.at++; return s.at < len(s.found) }
func (s *seriesSet) At() storage.Series                { return foundSeries{&s.found[s.at]} }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

type foundSeries struct{ *found }

func (s foundSeries) Labels() plabels.Labels { return s.prom }

func (s foundSeries) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	return storage.NewListSeriesIterator(samples(s.points))
}

// samples are float samples; there are no histograms here.
type samples []point

func (s samples) Get(i int) chunks.Sample { return sample{s[i]} }
func (s samples) Len() int                { return len(s) }

type sample struct{ point }

func (s sample) T() int64                      { return s.t }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.v }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// promLabels are the labels as the engine has them.
func promLabels(l Labels) plabels.Labels {
	b := plabels.NewScratchBuilder(len(l))
	for _, x := range l {
		b.Add(x.Name, x.Value)
	}
	return b.Labels()
}

// ownLabels are the engine's labels as the head has them: sorted, without empty values.
func ownLabels(l plabels.Labels) Labels {
	out := make(Labels, 0, l.Len())
	l.Range(func(x plabels.Label) {
		if x.Value != "" {
			out = append(out, Label{x.Name, x.Value})
		}
	})
	return out
}

func matchesAll(ms []*plabels.Matcher, l Labels) bool {
	for _, m := range ms {
		if !m.Matches(l.Get(m.Name)) {
			return false
		}
	}
	return true
}
