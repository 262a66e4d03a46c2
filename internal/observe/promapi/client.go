package promapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of one call.
const (
	// answerLimit bounds an answer in bytes.
	answerLimit = 256 << 20
	// MaxPoints is the highest number of steps per series that Prometheus answers in one range query; above it the server refuses.
	MaxPoints = 11000
)

// SyntheticCounter is the name of the counter that every inputgen increases by exactly 1 each second.
const SyntheticCounter = "triad_synthetic_total"

// Up is written by the scraper itself, for each of its targets at each scrape, whether the target answers or not.
const Up = "up"

// Error is an answer of the API with status "error".
type Error struct {
	Status int    // HTTP status
	Type   string // errorType of the answer: bad_data, timeout, canceled, execution, internal, unavailable, not_found
	Msg    string
}

// Error prints the type and message.
func (e *Error) Error() string {
	return fmt.Sprintf("prometheus answered %d %s: %s", e.Status, e.Type, e.Msg)
}

// ErrTooLarge says that an answer was longer than 256 MiB.
var ErrTooLarge = errors.New("answer larger than 256 MiB")

// Sample is one value at one time.
type Sample struct {
	Time  time.Time // millisecond resolution
	Value float64
}

// Series is one series of an answer, samples in ascending time.
type Series struct {
	Labels  map[string]string // with __name__ when the answer has it
	Samples []Sample
}

// Name returns the series in the form name{a="1"}.
func (s Series) Name() string {
	names := make([]string, 0, len(s.Labels))
	for n := range s.Labels {
		if n != "__name__" {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for i, n := range names {
		names[i] = n + "=" + strconv.Quote(s.Labels[n])
	}
	return s.Labels["__name__"] + "{" + strings.Join(names, ",") + "}"
}

// Client asks one Prometheus. The zero HTTP client is http.DefaultClient's behaviour without its sharing; give one with a
// timeout or give every call a deadline.
type Client struct {
	Base     string       // URL without /api/v1, for example http://127.0.0.1:9090
	HTTP     *http.Client // nil means a plain client
	User     string       // basic authentication, unused when empty
	Password string
}

// Query evaluates an instant query at the given time. A vector gives one sample per series, a range selector all raw samples
// of the range, a scalar one series without labels.
func (c Client) Query(ctx context.Context, query string, at time.Time) ([]Series, error) {
	return c.call(ctx, "/api/v1/query", url.Values{"query": {query}, "time": {stamp(at)}})
}

// QueryRange evaluates a range query. Its answer hides holes shorter than the look-back of the server: see Raw. More than
// MaxPoints steps are refused here, before the server refuses them.
func (c Client) QueryRange(ctx context.Context, query string, start, end time.Time, step time.Duration) ([]Series, error) {
	if step < time.Millisecond {
		return nil, fmt.Errorf("range query: step %v is below 1ms", step)
	}
	if n := end.Sub(start)/step + 1; n > MaxPoints {
		return nil, fmt.Errorf("range query: %d steps, at most %d are answered", n, MaxPoints)
	}
	return c.call(ctx, "/api/v1/query_range", url.Values{
		"query": {query}, "start": {stamp(start)}, "end": {stamp(end)},
		"step": {strconv.FormatFloat(step.Seconds(), 'f', -1, 64)},
	})
}

// Raw returns the samples of a selector with start < time <= end as they are stored, without look-back and without stale
// markers (a Prometheus 3 range selector is open to the left).
func (c Client) Raw(ctx context.Context, selector string, start, end time.Time) ([]Series, error) {
	ms := end.Sub(start).Milliseconds()
	if ms <= 0 {
		return nil, fmt.Errorf("raw query: empty window %v", end.Sub(start))
	}
	return c.Query(ctx, selector+"["+strconv.FormatInt(ms, 10)+"ms]", end)
}

// Ready asks /-/ready; nil means the server answered 200.
func (c Client) Ready(ctx context.Context) error {
	resp, err := c.do(ctx, http.MethodGet, "/-/ready", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("prometheus not ready: HTTP status %s", resp.Status)
	}
	return nil
}

func (c Client) do(ctx context.Context, method, path string, form url.Values) (*http.Response, error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.Base, "/")+path, body)
	if err != nil {
		return nil, fmt.Errorf("prometheus request: %w", err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if c.User != "" {
		req.SetBasicAuth(c.User, c.Password)
	}
	h := c.HTTP
	if h == nil {
		h = &http.Client{}
	}
	resp, err := h.Do(req)
	if err != nil {
		return nil, fmt.Errorf("prometheus request: %w", err)
	}
	return resp, nil
}

type answer struct {
	Status    string          `json:"status"`
	ErrorType string          `json:"errorType"`
	Error     string          `json:"error"`
	Data      json.RawMessage `json:"data"`
}

// ask makes a request and returns the data of its answer.
func (c Client) ask(ctx context.Context, method, path string, form url.Values) (json.RawMessage, error) {
	resp, err := c.do(ctx, method, path, form)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	if err != nil {
		return nil, fmt.Errorf("prometheus answer: %w", err)
	}
	if len(body) > answerLimit {
		return nil, ErrTooLarge
	}
	return open(resp.StatusCode, body)
}

// open takes the data out of an answer.
func open(status int, body []byte) (json.RawMessage, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("prometheus answer with HTTP status %d: %w", status, err)
	}
	if a.Status != "success" {
		return nil, &Error{Status: status, Type: a.ErrorType, Msg: a.Error}
	}
	return a.Data, nil
}

type point struct {
	ms    int64
	value float64
}

// UnmarshalJSON reads [seconds, "value"].
func (p *point) UnmarshalJSON(b []byte) error {
	var pair [2]json.RawMessage
	if err := json.Unmarshal(b, &pair); err != nil {
		return fmt.Errorf("sample: %w", err)
	}
	sec, err := strconv.ParseFloat(string(pair[0]), 64)
	if err != nil {
		return fmt.Errorf("sample time: %w", err)
	}
	var text string
	if err := json.Unmarshal(pair[1], &text); err != nil {
		return fmt.Errorf("sample value: %w", err)
	}
	p.ms = int64(sec*1000 + 0.5)
	if p.value, err = strconv.ParseFloat(text, 64); err != nil {
		return fmt.Errorf("sample value: %w", err)
	}
	return nil
}

func (c Client) call(ctx context.Context, path string, form url.Values) ([]Series, error) {
	data, err := c.ask(ctx, http.MethodPost, path, form)
	if err != nil {
		return nil, err
	}
	return decode(data)
}

func decode(data json.RawMessage) ([]Series, error) {
	var d struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("prometheus answer: %w", err)
	}
	if d.ResultType == "scalar" {
		var p point
		if err := json.Unmarshal(d.Result, &p); err != nil {
			return nil, fmt.Errorf("prometheus answer: %w", err)
		}
		return []Series{{Samples: []Sample{p.sample()}}}, nil
	}
	if d.ResultType != "vector" && d.ResultType != "matrix" {
		return nil, fmt.Errorf("prometheus answer: result type %q is not read", d.ResultType)
	}
	var rows []struct {
		Metric map[string]string `json:"metric"`
		Value  *point            `json:"value"`
		Values []point           `json:"values"`
	}
	if err := json.Unmarshal(d.Result, &rows); err != nil {
		return nil, fmt.Errorf("prometheus answer: %w", err)
	}
	out := make([]Series, 0, len(rows))
	for _, r := range rows {
		s := Series{Labels: r.Metric}
		if r.Value != nil {
			s.Samples = append(s.Samples, r.Value.sample())
		}
		for _, p := range r.Values {
			s.Samples = append(s.Samples, p.sample())
		}
		for i := 1; i < len(s.Samples); i++ {
			if !s.Samples[i-1].Time.Before(s.Samples[i].Time) {
				return nil, fmt.Errorf("prometheus answer: samples of %s are not in ascending time", s.Name())
			}
		}
		out = append(out, s)
	}
	return out, nil
}

func (p point) sample() Sample { return Sample{Time: time.UnixMilli(p.ms), Value: p.value} }

func stamp(t time.Time) string {
	ms := t.UnixMilli()
	return fmt.Sprintf("%d.%03d", ms/1000, ms%1000)
}
