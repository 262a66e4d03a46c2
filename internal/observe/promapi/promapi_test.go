package promapi

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClient(t *testing.T) {
	// Answers as Prometheus 3.16 gives them.
	answers := map[string]string{
		"vector": `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[1795415185.472,"1"]}]}}`,
		"matrix": `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up"},"values":[[1,"1"],[2.5,"NaN"],[3,"+Inf"]]}]}}`,
		"scalar": `{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}`,
		"empty":  `{"status":"success","data":{"resultType":"vector","result":[]}}`,
		"bad":    `{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis"}`,
		"html":   `<html>`,
		"string": `{"status":"success","data":{"resultType":"string","result":[1,"x"]}}`,
		"order":  `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[2,"1"],[1,"1"]]}]}}`,
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "u" || p != "p" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Path == "/-/ready" {
			return
		}
		q := r.FormValue("query")
		if q == "bad" {
			w.WriteHeader(http.StatusBadRequest)
		}
		if q == "up[1500ms]" && r.FormValue("time") == "10.250" {
			q = "matrix"
		}
		w.Write([]byte(answers[q]))
	}))
	defer srv.Close()
	c := Client{Base: srv.URL + "/", HTTP: srv.Client(), User: "u", Password: "p"}
	defer c.HTTP.CloseIdleConnections()
	ctx := context.Background()

	got, err := c.Query(ctx, "vector", time.Unix(1, 0))
	want := []Series{{Labels: map[string]string{"__name__": "up", "job": "a"}, Samples: []Sample{{time.UnixMilli(1795415185472), 1}}}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
	if n := got[0].Name(); n != `up{job="a"}` {
		t.Errorf("name %s", n)
	}
	if got, err = c.Raw(ctx, "up", time.UnixMilli(8750), time.UnixMilli(10250)); err != nil || len(got) != 1 || len(got[0].Samples) != 3 {
		t.Errorf("raw: %v %v", got, err)
	}
	if got, err = c.Query(ctx, "scalar", time.Unix(1, 0)); err != nil || got[0].Samples[0].Value != 2 {
		t.Errorf("scalar: %v %v", got, err)
	}
	if got, err = c.Query(ctx, "empty", time.Unix(1, 0)); err != nil || len(got) != 0 {
		t.Errorf("empty: %v %v", got, err)
	}
	var apiErr *Error
	if _, err = c.Query(ctx, "bad", time.Unix(1, 0)); !errors.As(err, &apiErr) || apiErr.Type != "bad_data" || apiErr.Status != 400 {
		t.Errorf("bad: %v", err)
	}
	for _, q := range []string{"html", "string", "order"} {
		if _, err = c.Query(ctx, q, time.Unix(1, 0)); err == nil {
			t.Errorf("%s was read", q)
		}
	}
	if _, err = c.QueryRange(ctx, "up", time.Unix(0, 0), time.Unix(20000, 0), time.Second); err == nil {
		t.Error("20001 steps were asked for")
	}
	if _, err = c.QueryRange(ctx, "up", time.Unix(0, 0), time.Unix(1, 0), 0); err == nil {
		t.Error("step 0 was asked for")
	}
	if err := c.Ready(ctx); err != nil {
		t.Error(err)
	}
	if err := (Client{Base: srv.URL, HTTP: srv.Client()}).Ready(ctx); err == nil {
		t.Error("ready without a password")
	}
}

// counter makes samples of a counter that rises by 1 a second, scraped each step; skip says which scrapes are lost, resetAt when the
// process restarts (value 0).
func counter(n int, step time.Duration, skip func(i int) bool, resetAt ...int) Series {
	var s Series
	birth := 0
	for i := range n {
		for _, r := range resetAt {
			if i == r {
				birth = i
			}
		}
		if skip != nil && skip(i) {
			continue
		}
		v := float64(i-birth) * step.Seconds()
		s.Samples = append(s.Samples, Sample{time.Unix(1000, 0).Add(time.Duration(i) * step), v})
	}
	return s
}

func TestGaps(t *testing.T) {
	step := 5 * time.Second
	w := Window{Start: time.Unix(1000, 0), End: time.Unix(1000, 0).Add(100 * step), Step: step}
	sec := func(n int) time.Time { return time.Unix(1000, 0).Add(time.Duration(n) * step) }
	cases := []struct {
		name string
		s    Series
		want Coverage
	}{
		{"whole", counter(101, step, nil), Coverage{Samples: 101}},
		{"nothing", Series{}, Coverage{Missing: 100, LongestGap: 500 * time.Second, Gaps: []Gap{{From: w.Start, To: w.End, Missing: 100, Head: true, Tail: true}}}},
		{"one hole", counter(101, step, func(i int) bool { return i >= 40 && i < 50 }), Coverage{
			Samples: 91, Missing: 10,
			LongestGap: 55 * time.Second, Gaps: []Gap{{From: sec(39), To: sec(50), Missing: 10}},
		}},
		{"head and tail", counter(101, step, func(i int) bool { return i < 3 || i > 95 }), Coverage{
			Samples: 93, Missing: 2 + 4,
			LongestGap: 25 * time.Second, Gaps: []Gap{{From: sec(0), To: sec(3), Missing: 2, Head: true}, {From: sec(95), To: sec(100), Missing: 4, Tail: true}},
		}},
		{"restart in plain sight", counter(101, step, nil, 50), Coverage{Samples: 101, Resets: 1, LostUpper: 5}},
		{"restart in a hole", counter(101, step, func(i int) bool { return i >= 40 && i < 52 }, 50), Coverage{
			Samples: 89, Missing: 12, Resets: 1,
			LostUpper: 65 - 10, LongestGap: 65 * time.Second, Gaps: []Gap{{From: sec(39), To: sec(52), Missing: 12, Reset: true}},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.want.Expected, c.want.TimeResolution, c.want.StallResolution = 100, step, 2
			if d := cmp.Diff(c.want, Gaps(c.s, w)); d != "" {
				t.Error(d)
			}
		})
	}
	t.Run("frozen generator", func(t *testing.T) {
		s := counter(101, step, nil)
		for i := range s.Samples {
			// Frozen from sample 59 on for 30 s, then counting again.
			if i >= 60 {
				s.Samples[i].Value = max(s.Samples[59].Value, s.Samples[i].Value-30)
			}
		}
		got := Gaps(s, w)
		if got.Stalled != 30 || got.Resets != 0 || got.Missing != 0 {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("look-back", func(t *testing.T) {
		w := w
		w.Lookback = 5 * time.Minute
		got := Gaps(counter(101, step, func(i int) bool { return i >= 40 && i < 50 }), w)
		if len(got.Gaps) != 1 || got.Gaps[0].Earlier != 5*time.Minute {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("empty window", func(t *testing.T) {
		if got := Gaps(counter(5, step, nil), Window{}); got.Expected != 0 || got.Missing != 0 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestGapsAgainstCounting drops random scrapes with jitter in the rest and counts them the naive way.
func TestGapsAgainstCounting(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const n = 200
		step := time.Second
		lost := map[int]bool{}
		for range rapid.IntRange(0, 5).Draw(rt, "holes") {
			from := rapid.IntRange(0, n-1).Draw(rt, "from")
			for i := from; i < min(n, from+rapid.IntRange(1, 30).Draw(rt, "length")); i++ {
				lost[i] = true
			}
		}
		s := counter(n, step, func(i int) bool { return lost[i] })
		for i := range s.Samples {
			s.Samples[i].Time = s.Samples[i].Time.Add(time.Duration(rapid.IntRange(0, 100).Draw(rt, "jitter")) * time.Millisecond)
		}
		w := Window{Start: time.Unix(1000, 0).Add(-500 * time.Millisecond), End: time.Unix(1000+n-1, 0).Add(500 * time.Millisecond), Step: step}
		got := Gaps(s, w)
		// At an end of the window one missing sample cannot be told from the unknown phase of the scrape.
		want, slack := len(lost), 0
		if lost[0] {
			slack++
		}
		if lost[n-1] {
			slack++
		}
		if got.Missing > want || got.Missing < want-slack {
			rt.Fatalf("missing %d, want %d (-%d): %+v", got.Missing, want, slack, got)
		}
		if got.Resets != 0 || got.Stalled != 0 || got.LostUpper != 0 {
			rt.Fatalf("a loss that is none: %+v", got)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[1,"1"]]}]}}`))
	f.Add([]byte(`{"status":"error"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		data, err := open(200, in)
		if err != nil {
			return
		}
		s, err := decode(data)
		if err != nil && s != nil {
			t.Fatal("series beside an error")
		}
	})
}

// A target that is replaced leaves no hole in what is delivered from its cluster; an agent that is away leaves one, and another cluster has its own.
func TestDelivered(t *testing.T) {
	start := time.Unix(1000, 0)
	series := func(cluster string, seconds ...int) Series {
		s := Series{Labels: map[string]string{"cluster": cluster, "instance": "10.0.0.1:9100"}}
		for _, n := range seconds {
			s.Samples = append(s.Samples, Sample{Time: start.Add(time.Duration(n) * time.Second), Value: 1})
		}
		return s
	}
	got := Delivered([]Series{
		series("kafka", 2, 7, 12, 17), series("kafka", 32, 37, 42, 47, 52, 57), series("kafka", 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59), series("kafka", 4),
		series("a", 0, 5, 10, 40, 45, 50, 55, 60),
	})
	if len(got) != 2 || got[0].Labels["cluster"] != "a" || got[1].Labels["cluster"] != "kafka" {
		t.Fatalf("%+v", got)
	}
	w := Window{Start: start, End: start.Add(time.Minute), Step: 5 * time.Second}
	if c := Gaps(got[1], w); len(c.Gaps) != 0 || c.Resets != 0 || c.Stalled != 0 || c.LostUpper != 0 {
		t.Errorf("of kafka: %+v", c)
	}
	if c := Gaps(got[0], w); len(c.Gaps) != 1 || c.LongestGap != 30*time.Second || c.Resets != 0 || c.Stalled != 0 {
		t.Errorf("of an agent that was away for half a minute: %+v", c)
	}
	if got := Delivered(nil); len(got) != 0 {
		t.Errorf("%+v of nothing", got)
	}
}
