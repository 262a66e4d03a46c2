package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/scenario"
)

var update = flag.Bool("update", false, "write the golden files")

func render(t *testing.T, f func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := f(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s differs; look at it and run the test with -update when it is right:\n%s", name, d[:min(len(d), 3000)])
	}
}

func TestGolden(t *testing.T) {
	r := faultRun(t)
	res := faultResult(r)
	golden(t, "report.html", render(t, func(w io.Writer) error { return HTML(w, r, res) }))
	golden(t, "summary.md", render(t, func(w io.Writer) error { return Summary(w, res) }))
	golden(t, "junit.xml", render(t, func(w io.Writer) error { return JUnit(w, res) }))
	golden(t, "result.json", render(t, func(w io.Writer) error { return JSON(w, res) }))
	golden(t, "terminal.txt", render(t, func(w io.Writer) error { return Terminal(w, res, false) }))
	golden(t, "terminal-color.txt", render(t, func(w io.Writer) error { return Terminal(w, res, true) }))
}

// wellFormed reads a page as XML: its own tags are all closed, and every attribute has a value. What stands in script
// and style is no markup.
func wellFormed(t *testing.T, page string) {
	t.Helper()
	body := regexp.MustCompile(`(?s)(<(script|style)[^>]*>).*?(</(?:script|style)>)`).ReplaceAllString(page, "$1$3")
	body = strings.Replace(body, "<!DOCTYPE html>", "", 1)
	d := xml.NewDecoder(strings.NewReader(body))
	d.Entity = xml.HTMLEntity
	ids := map[string]bool{}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("not well formed: %v", err)
		}
		e, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		for _, a := range e.Attr {
			if a.Name.Local == "id" {
				if ids[a.Value] {
					t.Errorf("id %q twice", a.Value)
				}
				ids[a.Value] = true
			}
			for _, bad := range []string{"NaN", "Inf", "%!", "ZgotmplZ"} {
				if strings.Contains(a.Value, bad) {
					t.Errorf("<%s %s=%q>", e.Name.Local, a.Name.Local, a.Value)
				}
			}
		}
	}
}

// external finds what a browser would fetch.
var external = regexp.MustCompile(`(?i)https?:|//[a-z0-9-]+\.[a-z]|src\s*=|url\([^#]|@import|<link|<iframe|<object|<img|fetch\(|XMLHttp|import\(`)

func TestPageIsWholeAndAlone(t *testing.T) {
	r := faultRun(t)
	page := render(t, func(w io.Writer) error { return HTML(w, r, faultResult(r)) })
	wellFormed(t, page)
	if m := external.FindString(page); m != "" {
		t.Errorf("the page refers to something outside: %q", m)
	}
	if n := len(page); n > 400<<10 {
		t.Errorf("%d bytes for a run of a minute", n)
	}
	for _, want := range []string{
		"<title>Fail: double-trouble on embedded with 4 models, 1 stand-in and 1 part absent</title>", "measures no real Kafka", "monitoring/grafana (no model)",
		"Brokers have no replication", "0123456789abcdef", "sim run double-trouble --runtime embedded --seed 7", "12 of 13,000", "Target block, maximum: at most 1 s at 33.0 s", "c-rate", "c-backlog", "c-kafka", "c-e2e", "c-block",
		"c-buffer0", "c-buffer1", "c-dk", "c-de", "c-ds", "c-lanes", "buffer.compress=gzip", "holes in the metrics of kafka", "kafka/kafka/broker-2 from 22.0 s to 31.0 s",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, id := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if !strings.Contains(page, `id="`+id[1]+`"`) {
			t.Errorf("a link leads to #%s, which is not there", id[1])
		}
	}
	for _, m := range regexp.MustCompile(`(?s)<script type="application/json">(.*?)</script>`).FindAllStringSubmatch(page, -1) {
		var h map[string]any
		if err := json.Unmarshal([]byte(m[1]), &h); err != nil {
			t.Errorf("values of a chart: %v", err)
		}
	}
}

// Every text that comes from outside is hostile here.
func TestEscaping(t *testing.T) {
	const evil = `<script>alert(1)</script> "q" 'a' & ]]> {{.}} | ` + "`b` \x00\x1b[31m\u202e \ufffe *x* @all\nnext"
	r := faultRun(t)
	res := faultResult(r)
	var strike func(v any) any
	strike = func(v any) any { // replaces every text but verdicts
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				if s, ok := x.(string); ok && (k == "verdict" || k == "judged") && s != "" {
					continue
				}
				v[k] = strike(x)
			}
		case []any:
			for i := range v {
				v[i] = strike(v[i])
			}
		case string:
			return evil
		}
		return v
	}
	b, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	if b, err = json.Marshal(strike(tree)); err != nil {
		t.Fatal(err)
	}
	var bad check.Result
	if err := json.Unmarshal(b, &bad); err != nil {
		t.Fatal(err)
	}
	h := &r.Header
	for _, s := range []*string{
		&h.ID, &h.Why, &h.Commit, &h.Version, &h.Host.OS, &h.Host.Kernel, &h.Host.Go, &h.Limits[0], &h.NotModelled[0], &h.Command[2], &h.Buffers[0].Component, &h.Buffers[0].Full,
		&h.Components[0].Name, &h.Components[0].Note, &h.Components[0].Image,
	} {
		*s = evil
	}
	page := render(t, func(w io.Writer) error { return HTML(w, r, &bad) })
	if strings.Contains(page, "<script>alert") {
		t.Error("markup of a text came through")
	}
	clean := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == '\ufffe' {
			return -1
		}
		return r
	}, page)
	wellFormed(t, clean)

	x := render(t, func(w io.Writer) error { return JUnit(w, &bad) })
	if err := xml.Unmarshal([]byte(x), new(junitSuites)); err != nil {
		t.Errorf("junit.xml: %v", err)
	}
	if strings.ContainsAny(x, "\x00\x1b\ufffe") {
		t.Error("junit.xml holds characters that XML has not")
	}
	sum := render(t, func(w io.Writer) error { return Summary(w, &bad) })
	outside := regexp.MustCompile("`[^`\n]*`").ReplaceAllString(strings.ReplaceAll(sum, "\\`", ""), "")
	if strings.Contains(outside, "<script") || strings.Contains(outside, "@all") || strings.Contains(sum, "\nnext") {
		t.Errorf("summary.md is not escaped")
	}
	for line := range strings.SplitSeq(sum, "\n") {
		if strings.HasPrefix(line, "|") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") > 8 {
			t.Errorf("a cell broke its row: %s", line)
		}
	}
	term := render(t, func(w io.Writer) error { return Terminal(w, &bad, false) })
	if strings.ContainsAny(term, "\x00\x1b\u202e") {
		t.Error("a text can move the cursor of a terminal")
	}
}

// A run of which nothing is known must still be said to be one.
func TestNoData(t *testing.T) {
	s, err := scenario.Parse("empty.yaml", []byte("apiVersion: triad/v1\nname: empty\ntitle: nothing\nphases: {before: 10s}\nload: [{source: service, rate: 10/s}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := evidence.Create(filepath.Join(t.TempDir(), "run"), evidence.Header{ID: "x", Scenario: "empty", HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	r, err := evidence.Open(w.Dir) // never closed
	if err != nil {
		t.Fatal(err)
	}
	res := &check.Result{Verdict: check.Inconclusive, Scenario: "empty", Summary: "There is not enough to judge by."}
	if err := WriteAll(r, res); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(w.Dir, HTMLFile))
	if err != nil {
		t.Fatal(err)
	}
	wellFormed(t, string(page))
	for _, want := range []string{"Inconclusive", "cut short", "The run recorded no series", "No latency was recorded", "no fault"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if out := render(t, func(w io.Writer) error { return Terminal(w, res, false) }); !strings.HasSuffix(out, "INCONCLUSIVE  There is not enough to judge by.\n") {
		t.Errorf("terminal: %q", out)
	}
}

func TestWriteAll(t *testing.T) {
	r := faultRun(t)
	res := faultResult(r)
	if err := WriteAll(r, res); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{HTMLFile, SummaryFile, JUnitFile, evidence.ResultFile} {
		if st, err := os.Stat(filepath.Join(r.Dir, name)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	before, err := os.ReadFile(filepath.Join(r.Dir, evidence.ResultFile))
	if err != nil {
		t.Fatal(err)
	}
	var back check.Result
	if err := json.Unmarshal(before, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*res, back); d != "" {
		t.Errorf("result.json does not read back: %s", d)
	}
	// A result that cannot be written leaves everything as it was.
	res.Summary = "xyzzy"
	nan := 0.0
	nan /= nan
	res.Checks[0].Value = &nan
	if err := WriteAll(r, res); err == nil {
		t.Fatal("a result with NaN was written")
	}
	after, err := os.ReadFile(filepath.Join(r.Dir, evidence.ResultFile))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(r.Dir, HTMLFile))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) || strings.Contains(string(page), "xyzzy") {
		t.Error("a failed report replaced a good one in part")
	}
	if left, _ := filepath.Glob(filepath.Join(r.Dir, "*.new")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTerminalFits(t *testing.T) {
	r := faultRun(t)
	res := faultResult(r)
	plain := render(t, func(w io.Writer) error { return Terminal(w, res, false) })
	for i, line := range strings.Split(plain, "\n") {
		if n := utf8.RuneCountInString(line); n > terminalWidth {
			t.Errorf("line %d has %d columns: %s", i+1, n, line)
		}
	}
	if strings.Contains(plain, "\x1b") {
		t.Error("colour without being asked")
	}
	color := render(t, func(w io.Writer) error { return Terminal(w, res, true) })
	if got := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(color, ""); got != plain {
		t.Error("colour changes more than colour")
	}
	last := plain[strings.LastIndex(strings.TrimSpace(plain), "\n\n"):]
	if !strings.Contains(last, "FAIL  The system did not keep its promise") {
		t.Errorf("the verdict does not come last: %q", last)
	}
}

// A day of load must stay a page that a browser opens, and keep a spike of one second.
func TestLongRun(t *testing.T) {
	s, err := scenario.Parse("soak.yaml", []byte("apiVersion: triad/v1\nname: soak\ntitle: a day\nphases: {before: 24h}\nload: [{source: service, rate: 10/s}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	h := header(s)
	w, err := evidence.Create(filepath.Join(t.TempDir(), "run"), h, s)
	if err != nil {
		t.Fatal(err)
	}
	k, err := w.Hists.Key(evidence.HistKey{Metric: "kafka_latency", Source: "service", Topic: "service-topic"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 86405 {
		at := time.Duration(i) * time.Second
		n := 10.0
		if i == 50000 {
			n = 4321
		}
		if err := w.Series.Add(at, evidence.Sample{Name: evidence.PulseSeries, Labels: evidence.Labels{"point": "ledger", "source": "service"}, Value: n}); err != nil {
			t.Fatal(err)
		}
		if i%5 == 0 {
			w.Hists.Record(k, at, time.Duration(100+i%37)*time.Millisecond)
		}
	}
	w.Hists.Record(k, 50000*time.Second, 77*time.Second)
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	r, err := evidence.Open(w.Dir)
	if err != nil {
		t.Fatal(err)
	}
	res := faultResult(r)
	res.Faults = nil
	var many []check.Range
	for i := range 1000 {
		many = append(many, check.Range{Source: "service", Lo: uint64(i * 700), Hi: uint64(i*700 + 3), From: time.Duration(i) * 80 * time.Second, To: time.Duration(i)*80*time.Second + 300*time.Millisecond})
	}
	res.Segments[1].Ranges = many
	page := render(t, func(w io.Writer) error { return HTML(w, r, res) })
	wellFormed(t, page)
	if t.Logf("%d bytes", len(page)); len(page) > 3<<20 {
		t.Error("the page is too large")
	}
	for _, want := range []string{"4,321", "1 m 17 s", "of 1001 ranges"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page of a long run lacks %q", want)
		}
	}
}

// What the judge says of a run must be shown as it says it.
func TestJudgedRun(t *testing.T) {
	r := faultRun(t)
	res, err := check.Judge(r, created)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteAll(r, res); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(r.Dir, HTMLFile))
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	wellFormed(t, page)
	for _, c := range res.Checks {
		if !strings.Contains(page, esc(c.Name)) {
			t.Errorf("check %s is not on the page", c.Name)
		}
	}
	if res.Verdict != check.Fail || !strings.Contains(page, "<title>Fail: double-trouble") {
		t.Errorf("a run that lost 12 records: %s, %s", res.Verdict, res.Summary)
	}
	if !strings.Contains(page, "12 of 13,000 records were lost between the generators and Kafka") {
		t.Errorf("the loss is not on the page: %s", res.Summary)
	}
	if out := render(t, func(w io.Writer) error { return Terminal(w, res, false) }); !strings.Contains(out, "FAIL  ") {
		t.Error(out)
	}
}

// What restarted without a fault, and what was ended for its memory, is told wherever a run is read; what a fault explains is not.
func TestRestarts(t *testing.T) {
	r := faultRun(t)
	res := faultResult(r)
	at, after := int64(51*time.Second), int64(46*time.Second)
	res.Restarts = []check.Restart{
		{At: at, After: after, Cluster: "datacenter", Component: "fluentd", Pod: "fluentd-<7>", Container: "fluentd", Times: 2, Reason: "Error", ExitCode: new(139), Finished: "2026-11-27T18:00:00Z"},
		{At: at, After: after, Cluster: "monitoring", Component: "elasticsearch", Pod: "elasticsearch-9", Container: "elasticsearch", Times: 1, Reason: "OOMKilled", ExitCode: new(137), Fault: "away"},
		{At: at, After: after, Cluster: "kafka", Component: "kafka", Pod: "triad-dual-5", Container: "kafka", Times: 1, Reason: "Error", ExitCode: new(137), Fault: "kill"},
	}
	for name, write := range map[string]func(io.Writer) error{
		"page":     func(w io.Writer) error { return HTML(w, r, res) },
		"summary":  func(w io.Writer) error { return Summary(w, res) },
		"terminal": func(w io.Writer) error { return Terminal(w, res, false) },
	} {
		text := strings.Join(strings.Fields(render(t, write)), " ")
		for _, want := range []string{
			"datacenter/fluentd-", "ended 2 times, the last: Error, exit code 139, at 2026-11-27T18:00:00Z", "46.0 s to 51.0 s", "no fault", "monitoring/elasticsearch-9", "ended: OOMKilled, exit code 137", "away",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not say %q", name, want)
			}
		}
		if strings.Contains(text, "triad-dual-5") || name != "terminal" && strings.Contains(text, "<7>") {
			t.Errorf("%s tells of what a fault explains, or does not escape", name)
		}
	}
	page := render(t, func(w io.Writer) error { return HTML(w, r, res) })
	wellFormed(t, page)
	res.Restarts = res.Restarts[2:]
	if page = render(t, func(w io.Writer) error { return HTML(w, r, res) }); strings.Contains(page, ">Restarts<") {
		t.Error("a page without anything to tell has a section for it")
	}
}

// A run that was resumed says so, and when, wherever it is read.
func TestResumed(t *testing.T) {
	r := faultRun(t)
	res := faultResult(r)
	res.Resumed = []check.Resumed{{From: int64(51 * time.Second), To: int64(70 * time.Second), At: "2026-11-27T18:00:00Z", Dropped: 362}}
	for name, write := range map[string]func(io.Writer) error{
		"page":     func(w io.Writer) error { return HTML(w, r, res) },
		"summary":  func(w io.Writer) error { return Summary(w, res) },
		"terminal": func(w io.Writer) error { return Terminal(w, res, false) },
	} {
		text := strings.Join(strings.Fields(render(t, write)), " ")
		for _, want := range []string{"he harness was dead from 51.0 s to 1 m 10 s", "resumed at 2026-11-27T18:00:00Z", "362 records"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not say %q", name, want)
			}
		}
	}
}
