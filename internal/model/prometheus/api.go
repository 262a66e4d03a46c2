package prometheus

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// maxPoints is the real limit of one range query.
const maxPoints = 11000

// apiError is an answer with status "error".
type apiError struct {
	code int
	kind string
	msg  string
}

func (e *apiError) Error() string { return e.msg }

func badData(param string, err error) *apiError {
	if param == "" {
		return &apiError{http.StatusBadRequest, "bad_data", err.Error()}
	}
	return &apiError{http.StatusBadRequest, "bad_data", fmt.Sprintf("invalid parameter %q: %v", param, err)}
}

type envelope struct {
	Status    string `json:"status"`
	Data      any    `json:"data,omitempty"`
	ErrorType string `json:"errorType,omitempty"`
	Error     string `json:"error,omitempty"`
}

// endpoint answers one path of the HTTP API.
func (r *Receiver) endpoint(f func(*http.Request) (any, *apiError)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		var e envelope
		code := http.StatusOK
		data, err := any(nil), (*apiError)(nil)
		if perr := req.ParseForm(); perr != nil {
			err = badData("", perr)
		} else {
			data, err = f(req)
		}
		if err != nil {
			code = err.code
			e = envelope{Status: "error", ErrorType: err.kind, Error: err.msg}
		} else {
			e = envelope{Status: "success", Data: data}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		if werr := enc.Encode(e); werr != nil {
			r.logger.Debug("answer not written", "err", werr)
		}
	}
}

type queryData struct {
	ResultType string `json:"resultType"`
	Result     []row  `json:"result"`
}

type row struct {
	Metric map[string]string `json:"metric"`
	Value  *jsonPoint        `json:"value,omitempty"`
	Values []jsonPoint       `json:"values,omitempty"`
}

// jsonPoint is written as [seconds, "value"] with the digits that the real program writes.
type jsonPoint point

// MarshalJSON writes the pair.
func (p jsonPoint) MarshalJSON() ([]byte, error) {
	sec, frac := p.t/1000, p.t%1000
	out := "[" + strconv.FormatInt(sec, 10)
	if frac != 0 {
		out += fmt.Sprintf(".%03d", frac)
	}
	return []byte(out + `,"` + formatValue(p.v) + `"]`), nil
}

func formatValue(v float64) string {
	f := byte('f')
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
		f = 'e'
	}
	return strconv.FormatFloat(v, f, -1, 64)
}

func (r *Receiver) query(req *http.Request) (any, *apiError) {
	at, err := parseTime(req.FormValue("time"), "time", time.Now())
	if err != nil {
		return nil, err
	}
	s, err := parseQuery(req)
	if err != nil {
		return nil, err
	}
	t := at.UnixMilli()
	if s.window > 0 {
		d := queryData{ResultType: "matrix", Result: []row{}}
		for _, f := range r.head.selectPoints(s.matchers, t-s.window.Milliseconds()+1, t) {
			var vals []jsonPoint
			for _, p := range f.points {
				if !isStale(p.v) {
					vals = append(vals, jsonPoint(p))
				}
			}
			if len(vals) > 0 {
				d.Result = append(d.Result, row{Metric: f.labels.Map(), Values: vals})
			}
		}
		return d, nil
	}
	d := queryData{ResultType: "vector", Result: []row{}}
	for _, f := range r.head.selectPoints(s.matchers, t-r.cfg.Lookback.Milliseconds()+1, t) {
		if p := f.points[len(f.points)-1]; !isStale(p.v) {
			d.Result = append(d.Result, row{Metric: f.labels.Map(), Value: &jsonPoint{t, p.v}})
		}
	}
	return d, nil
}

func (r *Receiver) queryRange(req *http.Request) (any, *apiError) {
	start, err := parseTime(req.FormValue("start"), "start", time.Time{})
	if err != nil {
		return nil, err
	}
	end, err := parseTime(req.FormValue("end"), "end", time.Time{})
	if err != nil {
		return nil, err
	}
	if end.Before(start) {
		return nil, badData("end", errors.New("end timestamp must not be before start time"))
	}
	step, perr := parseStep(req.FormValue("step"))
	if perr != nil {
		return nil, badData("step", perr)
	}
	if step <= 0 {
		return nil, badData("step", errors.New("zero or negative query resolution step widths are not accepted. Try a positive integer"))
	}
	if end.Sub(start)/step > maxPoints {
		return nil, badData("", errors.New("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"))
	}
	s, err := parseQuery(req)
	if err != nil {
		return nil, err
	}
	if s.window > 0 {
		return nil, badData("query", errors.New(`invalid expression type "range vector" for range query, must be Scalar or instant Vector`))
	}
	back := r.cfg.Lookback.Milliseconds()
	d := queryData{ResultType: "matrix", Result: []row{}}
	for _, f := range r.head.selectPoints(s.matchers, start.UnixMilli()-back+1, end.UnixMilli()) {
		var vals []jsonPoint
		i := -1
		for t := start.UnixMilli(); t <= end.UnixMilli(); t += step.Milliseconds() {
			for i+1 < len(f.points) && f.points[i+1].t <= t {
				i++
			}
			if i >= 0 && f.points[i].t > t-back && !isStale(f.points[i].v) {
				vals = append(vals, jsonPoint{t, f.points[i].v})
			}
		}
		if len(vals) > 0 {
			d.Result = append(d.Result, row{Metric: f.labels.Map(), Values: vals})
		}
	}
	return d, nil
}

func (r *Receiver) seriesList(req *http.Request) (any, *apiError) {
	if len(req.Form["match[]"]) == 0 {
		return nil, badData("", errors.New("no match[] parameter provided"))
	}
	sets, err := r.matched(req)
	if err != nil {
		return nil, err
	}
	out := []map[string]string{}
	for _, l := range sets {
		out = append(out, l.Map())
	}
	return out, nil
}

func (r *Receiver) labelNames(req *http.Request) (any, *apiError) {
	sets, err := r.matched(req)
	if err != nil {
		return nil, err
	}
	return distinct(sets, func(l Label) string { return l.Name }), nil
}

func (r *Receiver) labelValues(req *http.Request) (any, *apiError) {
	sets, err := r.matched(req)
	if err != nil {
		return nil, err
	}
	name := req.PathValue("name")
	return distinct(sets, func(l Label) string {
		if l.Name == name {
			return l.Value
		}
		return ""
	}), nil
}

func distinct(sets []Labels, f func(Label) string) []string {
	seen := map[string]bool{}
	out := []string{}
	for _, l := range sets {
		for _, x := range l {
			if v := f(x); v != "" && !seen[v] {
				seen[v] = true
				out = append(out, v)
			}
		}
	}
	slices.Sort(out)
	return out
}

// matched returns the label sets of the series that any match[] selects and that have samples between start and end; without match[]
// those of all series, whatever start and end say.
func (r *Receiver) matched(req *http.Request) ([]Labels, *apiError) {
	start, err := parseTime(req.FormValue("start"), "start", time.UnixMilli(math.MinInt64/4))
	if err != nil {
		return nil, err
	}
	end, err := parseTime(req.FormValue("end"), "end", time.UnixMilli(math.MaxInt64/4))
	if err != nil {
		return nil, err
	}
	var sels [][]matcher
	for _, m := range req.Form["match[]"] {
		s, perr := parseSelector(m)
		if perr != nil || s.window > 0 {
			return nil, selectorError("match[]", perr)
		}
		sels = append(sels, s.matchers)
	}
	if len(sels) == 0 {
		// As the real index, this knows series whose only samples were refused.
		var out []Labels
		for _, x := range r.head.matching(nil) {
			out = append(out, x.labels)
		}
		return out, nil
	}
	byKey := map[string]Labels{}
	for _, ms := range sels {
		for _, f := range r.head.selectPoints(ms, start.UnixMilli(), end.UnixMilli()) {
			byKey[f.labels.key()] = f.labels
		}
	}
	out := make([]Labels, 0, len(byKey))
	for _, l := range byKey {
		out = append(out, l)
	}
	slices.SortFunc(out, compareLabels)
	return out, nil
}

func parseQuery(req *http.Request) (selector, *apiError) {
	s, err := parseSelector(req.FormValue("query"))
	if err != nil {
		return selector{}, selectorError("query", err)
	}
	return s, nil
}

// selectorError is a bad request for a broken selector, and for what the model cannot evaluate the error that the real program gives
// when an evaluation fails.
func selectorError(param string, err error) *apiError {
	if err == nil || errors.Is(err, errNotModelled) {
		return &apiError{http.StatusUnprocessableEntity, "execution", errNotModelled.Error()}
	}
	return badData(param, err)
}

func parseTime(v, param string, def time.Time) (time.Time, *apiError) {
	if v == "" && !def.IsZero() {
		return def, nil
	}
	if f, err := strconv.ParseFloat(v, 64); err == nil && !math.IsNaN(f) && math.Abs(f) < 1e15 {
		return time.UnixMilli(int64(math.Round(f * 1000))), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
		return t, nil
	}
	if param == "time" {
		return time.Time{}, badData(param, fmt.Errorf("invalid time value for 'time': cannot parse %q to a valid timestamp", v))
	}
	return time.Time{}, badData(param, fmt.Errorf("cannot parse %q to a valid timestamp", v))
}

func parseStep(v string) (time.Duration, error) {
	if f, err := strconv.ParseFloat(v, 64); err == nil && !math.IsNaN(f) && math.Abs(f) < 1e9 {
		return time.Duration(f * float64(time.Second)), nil
	}
	if d, err := model.ParseDuration(strings.TrimSpace(v)); err == nil {
		return time.Duration(d), nil
	}
	return 0, fmt.Errorf("cannot parse %q to a valid duration", v)
}
