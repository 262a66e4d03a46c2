package scrape

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"sort"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// Accept is the Accept header that Scrape sends: the text format, which every component of the data path speaks. OpenMetrics
// must not be named: the JMX exporter of brokers and Connect answers in it whenever it is, whatever its weight, and declares
// a type (info) that the parser does not know, so that nothing of the exposition can be read.
const Accept = "text/plain;version=0.0.4;q=1,*/*;q=0.1"

// Kind is the declared type of the family that a sample belongs to.
type Kind string

// The kinds of the exposition formats. Untyped is also what a family without a TYPE line has.
const (
	KindCounter   Kind = "counter"
	KindGauge     Kind = "gauge"
	KindSummary   Kind = "summary"
	KindHistogram Kind = "histogram"
	KindUntyped   Kind = "untyped"
)

// Sample is one line of an exposition: summaries and histograms are flattened to the series that Prometheus stores
// (name{quantile=..}, name_bucket{le=..}, name_sum, name_count).
type Sample struct {
	Name   string            // without the braces
	Labels map[string]string // without __name__; nil when there are none
	Kind   Kind              // of the family
	Value  float64           // may be NaN or infinite, as exposed
	TimeMS int64             // explicit timestamp in milliseconds since the epoch, 0 when the line had none
}

// Key is the canonical series name: name{a="1",b="2"} with sorted labels. Two samples of one scrape with the same key
// are the same series.
func (s Sample) Key() string {
	if len(s.Labels) == 0 {
		return s.Name
	}
	names := make([]string, 0, len(s.Labels))
	for n := range s.Labels {
		names = append(names, n)
	}
	sort.Strings(names)
	var b strings.Builder
	b.WriteString(s.Name)
	b.WriteByte('{')
	for i, n := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(n)
		b.WriteByte('=')
		b.WriteString(strconv.Quote(s.Labels[n]))
	}
	b.WriteByte('}')
	return b.String()
}

// Parse reads one exposition. The format is taken from contentType; an empty or foreign one is read as text, as
// Prometheus does with fallback_scrape_protocol set to text. On any syntax error no samples are returned: what follows a broken line
// cannot be trusted, and what precedes it is not the whole truth. The result is sorted by name and is never aliased.
func Parse(r io.Reader, contentType string) ([]Sample, error) {
	h := http.Header{}
	h.Set("Content-Type", contentType)
	format := expfmt.ResponseFormat(h)
	if format.FormatType() == expfmt.TypeUnknown {
		format = expfmt.NewFormat(expfmt.TypeTextPlain)
	}
	dec := expfmt.NewDecoder(r, format)
	var out []Sample
	for {
		var f dto.MetricFamily
		err := dec.Decode(&f)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("exposition: %w", err)
		}
		out = appendFamily(out, &f)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

func appendFamily(out []Sample, f *dto.MetricFamily) []Sample {
	name := f.GetName()
	for _, m := range f.GetMetric() {
		base := Sample{Name: name, Labels: labelMap(m.GetLabel()), TimeMS: m.GetTimestampMs()}
		with := func(suffix, label, value string, v float64) {
			s := base
			s.Name, s.Value = name+suffix, v
			if label != "" {
				s.Labels = make(map[string]string, len(base.Labels)+1)
				maps.Copy(s.Labels, base.Labels)
				s.Labels[label] = value
			}
			out = append(out, s)
		}
		switch {
		case m.Counter != nil:
			base.Kind = KindCounter
			with("", "", "", m.GetCounter().GetValue())
		case m.Gauge != nil:
			base.Kind = KindGauge
			with("", "", "", m.GetGauge().GetValue())
		case m.Summary != nil:
			base.Kind = KindSummary
			for _, q := range m.GetSummary().GetQuantile() {
				with("", "quantile", boundLabel(q.GetQuantile()), q.GetValue())
			}
			with("_sum", "", "", m.GetSummary().GetSampleSum())
			with("_count", "", "", float64(m.GetSummary().GetSampleCount()))
		case m.Histogram != nil:
			base.Kind = KindHistogram
			inf := false
			for _, b := range m.GetHistogram().GetBucket() {
				inf = inf || math.IsInf(b.GetUpperBound(), 1)
				with("_bucket", "le", boundLabel(b.GetUpperBound()), bucketCount(b))
			}
			if !inf {
				with("_bucket", "le", "+Inf", histogramCount(m.GetHistogram()))
			}
			with("_sum", "", "", m.GetHistogram().GetSampleSum())
			with("_count", "", "", histogramCount(m.GetHistogram()))
		case m.Untyped != nil:
			base.Kind = KindUntyped
			with("", "", "", m.GetUntyped().GetValue())
		}
	}
	return out
}

func bucketCount(b *dto.Bucket) float64 {
	if f := b.GetCumulativeCountFloat(); f > 0 {
		return f
	}
	return float64(b.GetCumulativeCount())
}

func histogramCount(h *dto.Histogram) float64 {
	if f := h.GetSampleCountFloat(); f > 0 {
		return f
	}
	return float64(h.GetSampleCount())
}

func labelMap(pairs []*dto.LabelPair) map[string]string {
	if len(pairs) == 0 {
		return nil
	}
	m := make(map[string]string, len(pairs))
	for _, p := range pairs {
		m[p.GetName()] = p.GetValue()
	}
	return m
}

// boundLabel writes a bucket bound or quantile as Prometheus 3 stores it: le="1" and le="1.0" are one series there,
// spelled 1.0 (migration guide to 3.0, "le and quantile label values").
func boundLabel(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	case math.IsNaN(v):
		return "NaN"
	}
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(s, "e.") {
		s += ".0"
	}
	return s
}
