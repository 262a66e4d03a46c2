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
	Status    string   `json:"status"`
	Data      any      `json:"data,omitempty"`
	ErrorType string   `json:"errorType,omitempty"`
	Error     string   `json:"error,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
	Infos     []string `json:"infos,omitempty"`
}

// answer is what an endpoint has found.
type answer struct {
	data            any
	warnings, infos []string
}

// plain makes an endpoint of one that has nothing to remark.
func plain(f func(*http.Request) (any, *apiError)) func(*http.Request) (answer, *apiError) {
	return func(req *http.Request) (answer, *apiError) {
		data, err := f(req)
		return answer{data: data}, err
	}
}

// endpoint answers one path of the HTTP API.
func (r *Receiver) endpoint(f func(*http.Request) (answer, *apiError)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		var e envelope
		code := http.StatusOK
		found, err := answer{}, (*apiError)(nil)
		if perr := req.ParseForm(); perr != nil {
			err = badData("", perr)
		} else {
			found, err = f(req)
		}
		if err != nil {
			code = err.code
			e = envelope{Status: "error", ErrorType: err.kind, Error: err.msg}
		} else {
			e = envelope{Status: "success", Data: found.data, Warnings: found.warnings, Infos: found.infos}
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

// scalarData is the answer of an expression that is no set of series.
type scalarData struct {
	ResultType string `json:"resultType"`
	Result     any    `json:"result"`
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
	return []byte("[" + formatTime(p.t) + `,"` + formatValue(p.v) + `"]`), nil
}

// jsonText is a string at a time.
type jsonText struct {
	t int64
	v string
}

// MarshalJSON writes the pair.
func (p jsonText) MarshalJSON() ([]byte, error) {
	v, err := json.Marshal(p.v)
	return append(append(append([]byte("["), formatTime(p.t)...), ','), append(v, ']')...), err
}

func formatTime(t int64) string {
	out := strconv.FormatInt(t/1000, 10)
	if frac := t % 1000; frac != 0 {
		out += fmt.Sprintf(".%03d", frac)
	}
	return out
}

func formatValue(v float64) string {
	f := byte('f')
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
		f = 'e'
	}
	return strconv.FormatFloat(v, f, -1, 64)
}

func (r *Receiver) query(req *http.Request) (answer, *apiError) {
	at, err := parseTime(req.FormValue("time"), "time", time.Now())
	if err != nil {
		return answer{}, err
	}
	q, qerr := r.engine.NewInstantQuery(req.Context(), r.engine.store, nil, req.FormValue("query"), at)
	if qerr != nil {
		return answer{}, badData("query", qerr)
	}
	return r.engine.result(req.Context(), q)
}

func (r *Receiver) queryRange(req *http.Request) (answer, *apiError) {
	start, err := parseTime(req.FormValue("start"), "start", time.Time{})
	if err != nil {
		return answer{}, err
	}
	end, err := parseTime(req.FormValue("end"), "end", time.Time{})
	if err != nil {
		return answer{}, err
	}
	if end.Before(start) {
		return answer{}, badData("end", errors.New("end timestamp must not be before start time"))
	}
	step, perr := parseStep(req.FormValue("step"))
	if perr != nil {
		return answer{}, badData("step", perr)
	}
	if step <= 0 {
		return answer{}, badData("step", errors.New("zero or negative query resolution step widths are not accepted. Try a positive integer"))
	}
	if end.Sub(start)/step > maxPoints {
		return answer{}, badData("", errors.New("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"))
	}
	q, qerr := r.engine.NewRangeQuery(req.Context(), r.engine.store, nil, req.FormValue("query"), start, end, step)
	if qerr != nil {
		return answer{}, badData("query", qerr)
	}
	return r.engine.result(req.Context(), q)
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
	sels, perr := r.engine.parser.ParseMetricSelectors(req.Form["match[]"])
	if perr != nil {
		return nil, badData("match[]", perr)
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
