package scrape

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	cases := []struct {
		name, in, contentType string
		want                  []string // keys
		values                map[string]float64
		err                   bool
	}{
		{name: "empty", in: "", want: nil},
		{name: "comments only", in: "# hello\n# HELP x y\n", want: nil},
		{name: "untyped", in: "a 1\nb{x=\"y\"} 2\n", want: []string{`a`, `b{x="y"}`}},
		{name: "escapes", in: "a{p=\"C:\\\\x\\n\\\"q\\\"\"} 1\n", want: []string{`a{p="C:\\x\n\"q\""}`}},
		{name: "explicit time", in: "a 1 1500000000000\n", want: []string{"a"}},
		{
			name: "odd values", in: "a NaN\nb +Inf\nc -Inf\nd 1e-300\n", want: []string{"a", "b", "c", "d"},
			values: map[string]float64{"b": math.Inf(1), "d": 1e-300},
		},
		{name: "hexadecimal", in: "a 0x1p3\n", err: true},
		{name: "spaces and tabs", in: "  a{ x = \"1\" , }\t 3\n", want: []string{`a{x="1"}`}, values: map[string]float64{`a{x="1"}`: 3}},
		{
			name: "histogram without inf", in: "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_sum 5\nh_count 3\n",
			want:   []string{`h_bucket{le="1.0"}`, `h_bucket{le="+Inf"}`, "h_count", "h_sum"},
			values: map[string]float64{`h_bucket{le="+Inf"}`: 3, "h_sum": 5},
		},
		{name: "summary", in: "# TYPE s summary\ns{quantile=\"0.99\"} 4\ns_sum 1\ns_count 2\n", want: []string{`s{quantile="0.99"}`, "s_count", "s_sum"}},
		{name: "openmetrics", contentType: "application/openmetrics-text; version=1.0.0", in: "# TYPE a counter\na_total 3\n# EOF\n", want: []string{"a_total"}},
		{name: "html page", in: "<html>login</html>", err: true},
		{name: "no newline at end", in: "a 1", err: true},
		{name: "cut in a label", in: "a 1\nb{x=\"y", err: true},
		{name: "cut in a number", in: "a 1\nb 1.", err: true},
		{name: "two types", in: "# TYPE a counter\n# TYPE a gauge\na 1\n", err: true},
		{name: "not a number", in: "a one\n", err: true},
		{name: "foreign content type", contentType: "application/json", in: "a 1\n", want: []string{"a"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(strings.NewReader(c.in), c.contentType)
			if (err != nil) != c.err {
				t.Fatalf("error = %v, want error %v", err, c.err)
			}
			if err != nil && got != nil {
				t.Errorf("samples beside an error: %v", got)
			}
			var keys []string
			for _, s := range got {
				keys = append(keys, s.Key())
				if v, ok := c.values[s.Key()]; ok && v != s.Value {
					t.Errorf("%s = %v, want %v", s.Key(), s.Value, v)
				}
			}
			if d := cmp.Diff(c.want, keys); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestScrape(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			w.Write([]byte("# TYPE a counter\na 7\nprocess_start_time_seconds 12\n"))
		case "/down":
			http.Error(w, "a 1", http.StatusServiceUnavailable)
		case "/huge":
			chunk := bytes.Repeat([]byte("# padding padding padding padding\n"), 4096)
			for range bodyLimit/len(chunk) + 2 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}
	}))
	defer srv.Close()
	c := srv.Client()
	defer c.CloseIdleConnections()
	get := func(path string) ([]Sample, error) {
		return Target{URL: srv.URL + path}.Scrape(context.Background(), c)
	}
	s, err := get("/ok")
	if err != nil || len(s) != 2 || s[0].Kind != KindCounter || s[0].Value != 7 {
		t.Fatalf("samples %v, error %v", s, err)
	}
	if v := Start("kafka", s); v != 12 {
		t.Errorf("start = %v", v)
	}
	if _, err := get("/down"); err == nil {
		t.Error("503 was read")
	}
	if _, err := get("/huge"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("huge: %v", err)
	}
}

func TestCounter(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	type reading struct {
		s          int
		v, started float64
	}
	cases := []struct {
		name         string
		maxRate      float64
		readings     []reading
		lower, upper float64
		resets       int
		exact        bool
	}{
		{name: "none"},
		{name: "one", readings: []reading{{0, 5, 0}}},
		{name: "plain", readings: []reading{{0, 5, 0}, {10, 8, 0}, {20, 8, 0}}, lower: 3, upper: 3, exact: true},
		{name: "reset unbounded", readings: []reading{{0, 5, 0}, {10, 2, 0}}, lower: 2, upper: math.Inf(1), resets: 1},
		{name: "reset bounded", maxRate: 10, readings: []reading{{0, 5, 0}, {10, 40, 0}, {20, 30, 0}}, lower: 65, upper: 65 + 70, resets: 1},
		{name: "restart that overtook", maxRate: 1, readings: []reading{{0, 5, 100}, {10, 7, 200}}, lower: 7, upper: 7 + 3, resets: 1},
		{name: "same start is no reset", readings: []reading{{0, 5, 100}, {10, 7, 100}}, lower: 2, upper: 2, exact: true},
		{name: "nan and old ignored", readings: []reading{{0, 5, 0}, {10, math.NaN(), 0}, {9, 6, 0}, {8, 1, 0}}, lower: 1, upper: 1, exact: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			k := Counter{MaxRate: c.maxRate}
			for _, r := range c.readings {
				k.Observe(at(r.s), r.v, r.started)
			}
			got := k.Increase()
			if got.Lower != c.lower || got.Upper != c.upper || got.Resets != c.resets || got.Exact() != c.exact {
				t.Errorf("got %+v, want [%v, %v] %d resets", got, c.lower, c.upper, c.resets)
			}
		})
	}
}

// TestCounterBoundsHold runs a process that counts at no more than a known rate, restarts at random, and is read at random:
// the true increase must lie within the interval.
func TestCounterBoundsHold(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		c := Counter{MaxRate: 10}
		var value, truth, start float64 = 0, 0, 1
		c.Observe(time.Unix(0, 0), 0, start)
		for s := 1; s < 200; s++ {
			if r.IntN(20) == 0 {
				value, start = 0, float64(s)
			}
			d := float64(r.IntN(11))
			value += d
			truth += d
			if r.IntN(5) == 0 || s == 199 {
				c.Observe(time.Unix(int64(s), 0), value, start)
			}
		}
		if i := c.Increase(); truth < i.Lower || truth > i.Upper {
			rt.Fatalf("truth %v outside [%v, %v], %d resets", truth, i.Lower, i.Upper, i.Resets)
		}
	})
}

func TestFamilies(t *testing.T) {
	for _, c := range Components() {
		seen := map[string]bool{}
		hasStart := c == "fluentd" // the plug-in exposes none
		for _, f := range Families(c) {
			if seen[f.Name] || f.Name == "" || f.Unit == "" || f.Kind == "" || f.Why == "" {
				t.Errorf("%s: %+v is a duplicate or incomplete", c, f)
			}
			seen[f.Name] = true
			hasStart = hasStart || f.Role == RoleStart
		}
		if len(seen) == 0 || !hasStart {
			t.Errorf("%s: no families or no start time", c)
		}
	}
	if Families("grafana") != nil {
		t.Error("a table for an unknown component")
	}
	in := []Sample{{Name: "up"}, {Name: "kafka_log_log_size"}}
	if got := Select("kafka", in); len(got) != 1 || got[0].Name != "kafka_log_log_size" {
		t.Errorf("selected %v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("# TYPE a counter\na{b=\"c\"} 1 2\n"), "text/plain")
	f.Add([]byte("# TYPE a counter\na_total 1\n# EOF\n"), "application/openmetrics-text; version=1.0.0")
	f.Add([]byte("# TYPE h histogram\nh_bucket{le=\"x\"} 1\n"), "")
	f.Fuzz(func(t *testing.T, in []byte, ct string) {
		s, err := Parse(bytes.NewReader(in), ct)
		if err != nil && s != nil {
			t.Fatal("samples beside an error")
		}
		for _, x := range s {
			if x.Name == "" {
				t.Fatalf("sample without name: %+v", x)
			}
		}
	})
}
