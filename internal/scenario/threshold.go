package scenario

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Threshold is one parsed gate.
//
//	threshold = metric [ "{" label "=" value { "," label "=" value } "}" ] [ aggregation ] operator limit
//	aggregation = "p(" number ")" | "min" | "mean" | "max" | "count" | "value"
//	operator = "<" | "<=" | ">" | ">=" | "==" | "!="
//	limit = number [ unit ]
//
// Durations are written with their unit (10s, 250ms), rates as 500/s, counts without one. A metric with a single
// figure needs no aggregation. No data is inconclusive, which is not pass.
type Threshold struct {
	Text       string
	Metric     Metric
	Labels     map[string]string
	Agg        string  // p, min, mean, max, count, value
	Percentile float64 // for p, 0 to 100
	Op         string
	Limit      float64 // in the metric's unit; seconds for times
}

// ThresholdError is a mistake at a byte offset of the text.
type ThresholdError struct {
	Offset int
	Msg    string
}

// Error prints the message with its offset.
func (e *ThresholdError) Error() string { return fmt.Sprintf("at column %d: %s", e.Offset+1, e.Msg) }

type thresholdParser struct {
	s string
	i int
}

func (p *thresholdParser) fail(at int, format string, args ...any) error {
	return &ThresholdError{at, fmt.Sprintf(format, args...)}
}

func (p *thresholdParser) space() {
	for p.i < len(p.s) && p.s[p.i] == ' ' {
		p.i++
	}
}

func (p *thresholdParser) word() string {
	p.space()
	at := p.i
	for p.i < len(p.s) && (p.s[p.i] == '_' || p.s[p.i] == '-' || p.s[p.i] == '.' || p.s[p.i] == '*' || p.s[p.i] >= '0' && p.s[p.i] <= '9' || p.s[p.i]|32 >= 'a' && p.s[p.i]|32 <= 'z') {
		p.i++
	}
	return p.s[at:p.i]
}

func (p *thresholdParser) take(c string) bool {
	p.space()
	if strings.HasPrefix(p.s[p.i:], c) {
		p.i += len(c)
		return true
	}
	return false
}

func suggest(got string, allowed []string) string {
	return DidYouMean(got, allowed) + "allowed: " + strings.Join(allowed, ", ")
}

// ParseThreshold reads one threshold; the error is a *ThresholdError.
func ParseThreshold(s string) (Threshold, error) {
	p := &thresholdParser{s: s}
	t := Threshold{Text: s, Labels: map[string]string{}}
	name := p.word()
	m, ok := FindMetric(name)
	if !ok {
		return t, p.fail(0, "unknown metric %q; %s", name, suggest(name, names(Metrics, func(m Metric) string { return m.Name })))
	}
	t.Metric = m
	if err := p.labels(&t); err != nil {
		return t, err
	}
	if err := p.aggregation(&t); err != nil {
		return t, err
	}
	p.space()
	at := p.i
	for _, op := range []string{"<=", ">=", "==", "!=", "<", ">"} {
		if p.take(op) {
			t.Op = op
			break
		}
	}
	if t.Op == "" {
		return t, p.fail(at, "want an operator: <, <=, >, >=, == or !=")
	}
	return t, p.limit(&t)
}

func (p *thresholdParser) labels(t *Threshold) error {
	if !p.take("{") {
		return nil
	}
	for !p.take("}") {
		p.space()
		at := p.i
		k := p.word()
		if !slices.Contains(t.Metric.Labels, k) {
			return p.fail(at, "metric %s has no label %q; %s", t.Metric.Name, k, suggest(k, t.Metric.Labels))
		}
		if _, twice := t.Labels[k]; twice {
			return p.fail(at, "label %q is there twice", k)
		}
		if !p.take("=") {
			return p.fail(p.i, "want = after label %q", k)
		}
		p.space()
		at = p.i
		v := p.word()
		if err := p.labelValue(at, t.Metric.Name, k, v); err != nil {
			return err
		}
		t.Labels[k] = v
		if p.take(",") {
			continue
		}
		if p.take("}") {
			break
		}
		return p.fail(p.i, "want , or } in the labels")
	}
	return nil
}

func (p *thresholdParser) labelValue(at int, metric, k, v string) error {
	var allowed []string
	switch k {
	case "phase":
		allowed = PhaseNames
	case "source":
		allowed = names(Sources, func(s Source) string { return s.Name })
	case "hop":
		allowed = HopNames
	case "segment":
		allowed = SegmentNames
	case "cluster":
		allowed = ClusterNames
	case "point":
		allowed = []string{"ledger", "kafka", "search"}
		if metric == "duplicates" {
			allowed = allowed[1:] // nobody looks for them where records are sent
		}
	default:
		if v == "" {
			return p.fail(at, "label %q has no value", k)
		}
		return nil
	}
	if !slices.Contains(allowed, v) {
		return p.fail(at, "unknown %s %q; %s", k, v, suggest(v, allowed))
	}
	return nil
}

func (p *thresholdParser) aggregation(t *Threshold) error {
	p.space()
	at := p.i
	agg := p.word()
	if agg == "" && slices.Contains(t.Metric.Aggs, "value") {
		agg = "value"
	}
	if !slices.Contains(t.Metric.Aggs, agg) {
		return p.fail(at, "metric %s has no aggregation %q; allowed: %s", t.Metric.Name, agg, strings.ReplaceAll(strings.Join(t.Metric.Aggs, ", "), "p,", "p(0 to 100),"))
	}
	t.Agg = agg
	if agg != "p" {
		return nil
	}
	if !p.take("(") {
		return p.fail(p.i, "want a percentile: p(99.9)")
	}
	p.space()
	at = p.i
	f, err := strconv.ParseFloat(p.word(), 64)
	if err != nil || !(f > 0 && f <= 100) {
		return p.fail(at, "want a percentile above 0 and up to 100")
	}
	t.Percentile = f
	if !p.take(")") {
		return p.fail(p.i, "want )")
	}
	return nil
}

func (p *thresholdParser) limit(t *Threshold) error {
	p.space()
	at := p.i
	text := strings.TrimSpace(p.s[at:])
	if text == "" {
		return p.fail(at, "want a limit")
	}
	unit := t.Metric.Unit
	if t.Agg == "count" {
		unit = "records"
	}
	var err error
	switch unit {
	case "s":
		d, e := ParseDuration(text)
		t.Limit, err = d.Seconds(), e
	case "/s":
		var r Rate
		err = r.UnmarshalText([]byte(text))
		t.Limit = float64(r)
	case "bytes":
		var n int64
		n, err = ParseSize(text)
		t.Limit = float64(n)
	default:
		t.Limit, err = strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(t.Limit) || math.IsInf(t.Limit, 0) {
			err = fmt.Errorf("%q is not a number; metric %s counts %s and takes no unit", text, t.Metric.Name, unit)
		}
	}
	if err != nil {
		return p.fail(at, "%v", err)
	}
	return nil
}
