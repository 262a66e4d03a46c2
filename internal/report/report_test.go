package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"math"
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
		if err == io.EOF {
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
	for _, want := range []string{"<title>Fail: double-trouble on embedded with 4 models and 1 stand-in</title>", "measures no real Kafka", "monitoring/grafana (no model)",
		"Brokers have no replication", "0123456789abcdef", "sim run double-trouble --runtime embedded --seed 7", "12 of 13,000", "c-rate", "c-backlog", "c-kafka", "c-e2e", "c-block",
		"c-buffer0", "c-buffer1", "c-dk", "c-de", "c-ds", "c-lanes", "buffer.compress=gzip", "holes in the metrics of kafka", "kafka/kafka/broker-2 from 22.0 s to 31.0 s"} {
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
	for _, s := range []*string{&h.ID, &h.Why, &h.Commit, &h.Version, &h.Host.OS, &h.Host.Kernel, &h.Host.Go, &h.Limits[0], &h.NotModelled[0], &h.Command[2], &h.Buffers[0].Component, &h.Buffers[0].Full,
		&h.Components[0].Name, &h.Components[0].Note, &h.Components[0].Image} {
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
	for _, line := range strings.Split(sum, "\n") {
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

func TestFormat(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{count(0), "0"}, {count(999), "999"}, {count(1000), "1,000"}, {count(1234567), "1,234,567"},
		{span(0), "0 s"}, {span(999600 * time.Nanosecond), "1 ms"}, {span(850 * time.Microsecond), "850 µs"}, {span(12340 * time.Microsecond), "12.3 ms"}, {span(1270 * time.Millisecond), "1.27 s"},
		{span(200 * time.Second), "3 m 20 s"}, {span(220 * time.Minute), "3 h 40 m"}, {span(7 * 24 * time.Hour), "7 d 0 h"}, {span(-time.Second), "-1 s"},
		{interval(1.2e9, ptr(int64(1.45e9))), "1.2..1.45 s"}, {interval(9e8, ptr(int64(1.1e9))), "900 ms..1.1 s"}, {interval(5e8, nil), "500 ms"}, {interval(5e8, ptr(int64(5e8))), "500 ms"},
		{number(0.4567), "0.457"}, {number(12.345), "12.35"}, {number(1234.5), "1,235"}, {number(0.00012), "0.00012"}, {number(-2500), "-2,500"},
		{size(0), "0 B"}, {size(1536), "1.5 KiB"}, {size(64 << 20), "64 MiB"},
		{quantity(0.1, "share of seconds"), "10 %"}, {quantity(9.13, "s"), "9.13 s"}, {quantity(12, "records"), "12 records"},
		{lostOf(check.Hop{LostMin: ptr(uint64(2)), LostMax: ptr(uint64(1500))}), "2..1,500"}, {lostOf(check.Hop{}), none},
		{quote("a b"), "'a b'"}, {quote("it's"), `'it'\''s'`}, {quote("--seed"), "--seed"}, {effectWords(0.12), "12 % worse"}, {effectWords(-0.5), "50 % better"},
		{percentLabel(.5), "50 %"}, {percentLabel(.999), "99.9 %"}, {percentLabel(.99999), "99.999 %"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	for _, width := range []int{1, 7, 40} {
		for _, line := range fold("a few words and onethatismuchtoolongforaline ünïcödé", width) {
			if utf8.RuneCountInString(line) > width {
				t.Errorf("fold to %d: %q", width, line)
			}
		}
	}
}

// Merging buckets must keep every extreme, whatever the length.
func TestThinKeepsSpikes(t *testing.T) {
	for _, n := range []int{1, 479, 480, 481, 10000} {
		vals := make([]float64, n)
		for i := range vals {
			vals[i] = 5
		}
		vals[n/2], vals[n-1] = 1000, -3
		pts, step := thin(vals, time.Second)
		if len(pts) > maxPoints || step < time.Second {
			t.Fatalf("%d values: %d points of %v", n, len(pts), step)
		}
		c := &curve{pts: pts, step: step}
		lo, hi, _, at, ok := c.extremes(0, time.Duration(n)*time.Second)
		wantHi := 1000.0
		if n == 1 {
			wantHi = -3
		}
		if !ok || lo != -3 || hi != wantHi || n > 1 && (at > time.Duration(n/2)*time.Second || at+step <= time.Duration(n/2)*time.Second) {
			t.Errorf("%d values: %v to %v at %v", n, lo, hi, at)
		}
	}
}

// luminance is the relative luminance of a colour of the style sheet.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	var c [3]uint8
	if _, err := fmt.Sscanf(hex, "#%02x%02x%02x", &c[0], &c[1], &c[2]); err != nil {
		t.Fatalf("colour %q: %v", hex, err)
	}
	var l float64
	for i, w := range []float64{0.2126, 0.7152, 0.0722} {
		v := float64(c[i]) / 255
		if v <= 0.03928 {
			v /= 12.92
		} else {
			v = pow24((v + 0.055) / 1.055)
		}
		l += w * v
	}
	return l
}

// Text must have a contrast of 4.5 to what is behind it, curves of 3, in light and in dark.
func TestContrast(t *testing.T) {
	blocks := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllStringSubmatch(pageCSS, -1)
	if len(blocks) != 3 {
		t.Fatalf("%d sets of colours, want light, dark and print", len(blocks))
	}
	for i := range blocks {
		vars := map[string]string{}
		for j, base := range blocks {
			if j == 0 || j == i {
				for _, m := range regexp.MustCompile(`--([a-z0-9-]+): (#[0-9a-f]{3,6});`).FindAllStringSubmatch(base[1], -1) {
					hex := m[2]
					if len(hex) == 4 {
						hex = "#" + strings.Repeat(hex[1:2], 2) + strings.Repeat(hex[2:3], 2) + strings.Repeat(hex[3:4], 2)
					}
					vars[m[1]] = hex
				}
			}
		}
		need := func(a, b string, least float64) {
			x, y := luminance(t, vars[a]), luminance(t, vars[b])
			if c := (max(x, y) + 0.05) / (min(x, y) + 0.05); c < least {
				t.Errorf("set %d: %s on %s has %.2f, want %.1f", i, a, b, c, least)
			}
		}
		for _, bg := range []string{"bg", "panel", "panel2"} {
			for _, fg := range []string{"fg", "mut", "link", "bad"} {
				need(fg, bg, 4.5)
			}
			for _, s := range []string{"s0", "s1", "s2", "s3"} {
				need(s, bg, 2.9)
			}
		}
		for _, v := range []string{"pass", "fail", "invalid", "inconclusive", "skipped"} {
			need("badge", v, 4.5)
		}
		need("fault-fg", "fault", 4.5)
		need("bad", "badbg", 4.5)
	}
}

func pow24(v float64) float64 { return math.Pow(v, 2.4) }
