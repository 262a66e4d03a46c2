package prometheus

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"

	"triad/internal/observe/promapi"
)

// record, with the environment below, asks real programs and writes their answers to testdata/real.
var record = flag.Bool("record", false, "record the answers of real receivers named by TRIAD_REAL_PROMETHEUS_<SERVER>")

// call is one request to a receiver; times are seconds relative to the base time of the run.
type call struct {
	Name   string            `json:"name"`
	Write  []written         `json:"write,omitempty"` // a remote write of these
	Body   string            `json:"body,omitempty"`  // a remote write of this body, snappy or not
	Path   string            `json:"path,omitempty"`  // else a GET of this path
	Times  map[string]string `json:"times,omitempty"` // form values that are times, relative
	Form   url.Values        `json:"form,omitempty"`
	Status int               `json:"status"` // what the real program answered
	Answer string            `json:"answer"` // with times relative
}

type written struct {
	Labels [][2]string `json:"labels"`
	Points []writtenAt `json:"points"`
}

type writtenAt struct {
	At    float64 `json:"at"`
	Value string  `json:"value"`
}

func w(labels string, at float64, value string, more ...any) written {
	var out written
	for l := range strings.SplitSeq(labels, ",") {
		n, v, _ := strings.Cut(l, "=")
		out.Labels = append(out.Labels, [2]string{n, v})
	}
	out.Points = []writtenAt{{at, value}}
	for i := 0; i+1 < len(more); i += 2 {
		out.Points = append(out.Points, writtenAt{more[i].(float64), more[i+1].(string)})
	}
	return out
}

func write(name string, ws ...written) call { return call{Name: name, Write: ws} }

func instant(query string, at string) call {
	return call{Name: query + " at " + at, Path: "/api/v1/query", Times: map[string]string{"time": at}, Form: url.Values{"query": {query}}}
}

func over(query, start, end, step string) call {
	return call{
		Name: query + " from " + start + " to " + end + " by " + step, Path: "/api/v1/query_range",
		Times: map[string]string{"start": start, "end": end}, Form: url.Values{"query": {query}, "step": {step}},
	}
}

func get(path string, form ...string) call {
	v := url.Values{}
	for i := 0; i+1 < len(form); i += 2 {
		v.Add(form[i], form[i+1])
	}
	return call{Name: path + "?" + v.Encode(), Path: path, Form: v}
}

// servers are receivers with their extra configuration and the calls made to each, in order.
func servers() map[string]struct {
	config string
	calls  []call
} {
	type server = struct {
		config string
		calls  []call
	}
	const s = "__name__=s,a="
	return map[string]server{
		"plain": {"", []call{
			get("/-/healthy"), get("/-/ready"),
			instant("s", "0"),
			write("first", w(s+"1", 0, "1")),
			write("second", w(s+"1", 10, "2")),
			write("the same again", w(s+"1", 10, "2")),
			write("other value at the same time", w(s+"1", 10, "3")),
			write("earlier in the series", w(s+"1", 5, "1.5")),
			write("new series inside half a block", w(s+"2", -3580, "7")),
			write("new series beyond half a block", w(s+"3", -3600, "7")),
			write("good and bad in one request", w(s+"4", 20, "1"), w(s+"1", 5, "1")),
			instant(`s{a="4"}`, "20"),
			write("disorder within one request", w(s+"5", 30, "1", 25.0, "2", 35.0, "3")),
			instant(`s{a="5"}[1m]`, "40"),
			write("same time twice in one request", w(s+"6", 30, "1", 30.0, "2")),
			instant(`s{a="6"}[1m]`, "40"),
			write("no metric name", w("a=1", 30, "1")),
			write("label twice", w("__name__=s,a=1,a=2", 30, "1")),
			write("empty label value", w("__name__=s,a=8,b=", 30, "1")),
			write("labels not sorted", w("z=1,__name__=s,a=7", 30, "1")),
			write("far in the future", w(s+"1", 660, "1")),
			write("no series"),
			{Name: "body is not snappy", Body: "garbage"},
			{Name: "body is not protobuf", Body: string(snappy.Encode(nil, []byte("garbage")))},
			write("odd values", w("__name__=odd,v=nan", 30, "NaN"), w("__name__=odd,v=inf", 30, "+Inf"), w("__name__=odd,v=small", 30, "1e-7"),
				w("__name__=odd,v=large", 30, "1e21"), w("__name__=odd,v=tenth", 30, "0.1"), w("__name__=odd,v=minus", 30.5, "-0"), w("__name__=odd,v=edge", 30.05, "0.000001")),
			instant("odd", "40"), instant("odd[1m]", "40"),
			write("stale", w(s+"1", 20, "stale")),
			instant(`s{a="1"}`, "15"), instant(`s{a="1"}`, "19.999"), instant(`s{a="1"}`, "20"), instant(`s{a="1"}`, "25"),
			instant(`s{a="1"}[1m]`, "25"), instant(`s{a="1"}[10s]`, "10"), instant(`s{a="1"}[10001ms]`, "10"),
			over(`s{a="1"}`, "-5", "40", "5"),
			write("alive again", w(s+"1", 30, "4")),
			over(`s{a="1"}`, "-5", "40", "5"), over(`s{a="1"}`, "0.5", "3", "0.5"), over(`{a="2"}`, "-3600", "-3200", "60"),
			instant(`s{a="5"}`, "334.999"), instant(`s{a="5"}`, "335"), instant(`s{a="5"}`, "335.001"),
			instant(`s{a=~"1|2|5"}`, "31"), instant(`s{a=~"5.*",z=""}`, "31"), instant(`s{a!~"[1-6]"}`, "31"), instant(`{__name__=~"s|odd",a!=""}`, "31"),
			instant(`s{a='5'}`, "31"), instant("s{a=`5`,}", "31"), instant(` s { a = "5" } `, "31"), instant(`nothing`, "31"),
			instant(`{}`, "31"), instant(`{a=~".*"}`, "31"), instant("", "31"),
			get("/api/v1/series"), get("/api/v1/series", "match[]", "s"), get("/api/v1/series", "match[]", `s{a="1"}`, "match[]", "odd"),
			get("/api/v1/labels"), get("/api/v1/labels", "match[]", "odd"), get("/api/v1/label/a/values"), get("/api/v1/label/__name__/values"), get("/api/v1/label/none/values"),
			get("/api/v1/query", "query", "up", "time", "abc"),
			get("/api/v1/query_range", "query", "up", "start", "10", "end", "0", "step", "1"),
			get("/api/v1/query_range", "query", "up", "start", "0", "end", "10", "step", "0"),
			get("/api/v1/query_range", "query", "up", "start", "0", "end", "10", "step", "x"),
			get("/api/v1/query_range", "query", "up", "start", "0", "end", "1000000", "step", "1"),
			get("/api/v1/query_range", "query", "up[5m]", "start", "0", "end", "10", "step", "1"),
			get("/api/v1/query_range", "query", "up", "end", "10", "step", "1"),
			write("two samples of one series", w("__name__=r", 40, "1", 41.0, "2")),
			write("the same two again", w("__name__=r", 40, "1", 41.0, "2")),
			write("the later of them again", w("__name__=r", 41, "2")),
		}},
		"ooo30m": {"storage: {tsdb: {out_of_order_time_window: 30m}}", []call{
			write("first", w(s+"1", 0, "1")),
			write("earlier", w(s+"1", -10, "5")),
			write("the same earlier", w(s+"1", -10, "5")),
			write("other value at the earlier time", w(s+"1", -10, "6")),
			write("between", w(s+"1", -5, "7")),
			write("other value at the newest time", w(s+"1", 0, "9")),
			instant(`s{a="1"}[1m]`, "0"), instant(`s{a="1"}`, "-1"),
			write("at the edge of the window", w(s+"1", -1800, "1")),
			write("beyond the window", w(s+"1", -1800.001, "1")),
			write("new series beyond the window, inside half a block", w(s+"2", -3600, "1")),
			write("new series beyond both", w(s+"3", -3600.001, "1")),
			instant(`s[2h]`, "0"),
			write("newest moves on", w(s+"4", 100, "1")),
			write("the window has moved", w(s+"1", -1750, "1")),
			over(`s{a="1"}`, "-20", "10", "5"),
		}},
		"ooo2h": {"storage: {tsdb: {out_of_order_time_window: 2h}}", []call{
			write("first", w(s+"1", 0, "1")),
			write("new series inside the window", w(s+"2", -7200, "1")),
			write("new series beyond the window", w(s+"3", -7200.001, "1")),
			write("second of the late series", w(s+"2", -7000, "2")),
			write("earlier in the late series", w(s+"2", -7100, "3")),
			instant(`s{a="2"}[3h]`, "0"),
		}},
	}
}

func (c call) do(t *testing.T, base time.Time, url string) (int, string) {
	t.Helper()
	cl := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var resp *http.Response
	var err error
	if c.Path == "" {
		body := []byte(c.Body)
		if c.Body == "" {
			body = c.request(t, base)
		}
		req, rerr := http.NewRequest(http.MethodPost, url+"/api/v1/write", bytes.NewReader(body))
		if rerr != nil {
			t.Fatal(rerr)
		}
		req.Header.Set("Content-Encoding", "snappy")
		req.Header.Set("Content-Type", "application/x-protobuf")
		req.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
		resp, err = cl.Do(req)
	} else {
		form := map[string][]string{}
		maps.Copy(form, c.Form)
		for k, v := range c.Times {
			f, perr := strconv.ParseFloat(v, 64)
			if perr != nil {
				t.Fatal(perr)
			}
			form[k] = []string{fmt.Sprintf("%.3f", float64(base.UnixMilli())/1000+f)}
		}
		resp, err = cl.Get(url + c.Path + "?" + encode(form))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, relative(string(b), base)
}

func encode(form map[string][]string) string { return url.Values(form).Encode() }

func (c call) request(t *testing.T, base time.Time) []byte {
	t.Helper()
	var req writeRequest
	for _, x := range c.Write {
		var ts timeSeries
		for _, l := range x.Labels {
			ts.labels = append(ts.labels, Label{l[0], l[1]})
		}
		for _, p := range x.Points {
			v := staleNaN()
			if p.Value != "stale" {
				var err error
				if v, err = strconv.ParseFloat(p.Value, 64); err != nil {
					t.Fatal(err)
				}
			}
			ts.samples = append(ts.samples, point{base.UnixMilli() + int64(p.At*1000), v})
		}
		req.series = append(req.series, ts)
	}
	raw := make([]byte, req.SizeVT())
	if _, err := req.MarshalToSizedBufferVT(raw); err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, raw)
}

var absolute = regexp.MustCompile(`\b1[0-9]{12}\b|\b1[0-9]{9}(\.[0-9]+)?\b`)

// relative replaces absolute times, in seconds or milliseconds, by their distance from the base in seconds.
func relative(s string, base time.Time) string {
	return strings.TrimSpace(absolute.ReplaceAllStringFunc(s, func(m string) string {
		f, err := strconv.ParseFloat(m, 64)
		if err != nil {
			return m
		}
		unit := ""
		if len(m) == 13 && !strings.Contains(m, ".") {
			f, unit = f/1000, "(ms)"
		}
		return fmt.Sprintf("T%+.3f%s", f-float64(base.UnixMilli())/1000, unit)
	}))
}

// TestReceiverAnswersAsTheRealOne makes the calls that Prometheus 3.16 answered, and compares status and body. The exceptions are listed
// with their reason.
func TestReceiverAnswersAsTheRealOne(t *testing.T) {
	t.Parallel()
	for name, s := range servers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join("testdata", "real", "receiver-"+name+".json")
			base := time.Now().Truncate(time.Second)
			if *record {
				real := os.Getenv("TRIAD_REAL_PROMETHEUS_" + strings.ToUpper(name))
				if real == "" {
					t.Skip("no real receiver named")
				}
				for i := range s.calls {
					s.calls[i].Status, s.calls[i].Answer = s.calls[i].do(t, base, real)
				}
				b, err := json.MarshalIndent(s.calls, "", " ")
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			var recorded []call
			if err := json.Unmarshal([]byte(readFile(t, file)), &recorded); err != nil {
				t.Fatal(err)
			}
			if len(recorded) != len(s.calls) {
				t.Fatalf("%d calls recorded, %d in the test: record again", len(recorded), len(s.calls))
			}
			r, _ := startReceiver(t, t.TempDir(), s.config)
			for _, c := range recorded {
				status, answer := c.do(t, base, "http://"+r.Addr().String())
				if status != c.Status {
					t.Errorf("%s: status %d, the real one %d (%s / %s)", c.Name, status, c.Status, answer, c.Answer)
					continue
				}
				if strings.HasPrefix(c.Answer, "proto:") && strings.HasPrefix(answer, "proto:") {
					// The words are those of another protobuf library.
					continue
				}
				if d := cmp.Diff(normalJSON(c.Answer), normalJSON(answer)); d != "" {
					t.Errorf("%s: - real + model\n%s", c.Name, d)
				}
			}
		})
	}
}

// normalJSON makes answers comparable whose keys or rows come in another order; a text stays a text. Rows are compared as a set, as the
// API promises no order.
func normalJSON(s string) any {
	var v any
	quoted := regexp.MustCompile(`(T[+-][0-9.]+)([,\]])`).ReplaceAllString(s, `"$1"$2`)
	if json.Unmarshal([]byte(quoted), &v) != nil {
		return s
	}
	if m, ok := v.(map[string]any); ok {
		if d, ok := m["data"].(map[string]any); ok {
			if rows, ok := d["result"].([]any); ok {
				set := map[string]any{}
				for _, r := range rows {
					k, _ := json.Marshal(r.(map[string]any)["metric"])
					set[string(k)] = r
				}
				d["result"] = set
			}
		}
		if rows, ok := m["data"].([]any); ok {
			set := map[string]bool{}
			for _, r := range rows {
				k, _ := json.Marshal(r)
				set[string(k)] = true
			}
			m["data"] = set
		}
	}
	return v
}

// TestAgentAgainstRealReceiver sends to a real receiver, named by TRIAD_REAL_PROMETHEUS_PLAIN, over a link that is cut for 3 s.
func TestAgentAgainstRealReceiver(t *testing.T) {
	base := os.Getenv("TRIAD_REAL_PROMETHEUS_PLAIN")
	if base == "" || *record {
		t.Skip("TRIAD_REAL_PROMETHEUS_PLAIN names no real receiver")
	}
	tgt := newTarget(t)
	g := &gate{}
	root := t.TempDir()
	a, _ := startAgent(t, root, agentYAML("100ms", tgt, strings.TrimPrefix(base, "http://"), ""), g)
	c := promapi.Client{Base: base, HTTP: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	begin := time.Now().Add(-time.Second)
	ask := func() promapi.Series {
		s, err := c.Raw(context.Background(), counterSel, begin, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if len(s) == 0 {
			return promapi.Series{}
		}
		return s[0]
	}
	eventually(t, 5*time.Second, "first samples", func() bool { return len(ask().Samples) >= 3 })
	g.set(true)
	time.Sleep(3 * time.Second)
	g.set(false)
	heal := time.Now()
	eventually(t, 10*time.Second, "drained", func() bool { return newest(ask()).After(heal.Add(300 * time.Millisecond)) })
	got := ask()
	lost := missingFrom(t, root, got)
	t.Logf("%d samples at the receiver, %d missing, %v retried, %v failed", len(got.Samples), len(lost),
		metric(t, a.Addr(), "prometheus_remote_storage_samples_retried_total"), metric(t, a.Addr(), "prometheus_remote_storage_samples_failed_total"))
	if len(lost) != 0 {
		t.Errorf("missing: %v", lost)
	}
	tgt.broken.Store(true)
	eventually(t, 5*time.Second, "stale marker understood", func() bool {
		s, err := c.Query(context.Background(), counterSel, time.Now())
		return err == nil && len(s) == 0
	})
}

// TestReceiverAgainstRealAgent receives from a real agent, which TRIAD_REAL_AGENT says writes to the given address with a scrape each second,
// for the time that the receiver is there, away for 5 s, and there again.
func TestReceiverAgainstRealAgent(t *testing.T) {
	addr := os.Getenv("TRIAD_REAL_AGENT")
	if addr == "" {
		t.Skip("TRIAD_REAL_AGENT names no address that a real agent writes to")
	}
	r, _ := startReceiver(t, t.TempDir(), "", "--web.listen-address="+addr)
	begin := time.Now()
	eventually(t, 30*time.Second, "samples of the agent itself", func() bool { return len(one(t, r, "up", begin.Add(-time.Minute), time.Now()).Samples) >= 3 })
	from := newest(one(t, r, "up", begin.Add(-time.Minute), time.Now()))
	i := r.Inject(Fault{Down: true})
	time.Sleep(5 * time.Second)
	i.Remove()
	heal := time.Now()
	eventually(t, 30*time.Second, "drained", func() bool { return newest(one(t, r, "up", from, time.Now())).After(heal.Add(3 * time.Second)) })
	s := one(t, r, "up", from, time.Now())
	g := promapi.Gaps(s, promapi.Window{Start: from, End: newest(s), Step: time.Second})
	t.Logf("series %s, %d samples, %d missing, %d hits of the fault", s.Name(), len(s.Samples), g.Missing, i.Hits())
	// A busy machine makes the real agent skip a scrape; the 5 s of the fault must not show.
	if g.LongestGap > 4*time.Second || i.Hits() == 0 {
		t.Errorf("coverage %+v", g)
	}
	if n := len(raw(t, r, "{job=\"self\"}", from, time.Now())); n < 100 {
		t.Errorf("%d series, a real agent exposes hundreds", n)
	}
}
