package fidelity

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triad/internal/check"
	"triad/internal/evidence"
)

var update = flag.Bool("update", false, "write the golden files")

// component is a part of a run on kind; forwarders are models there unless a test says otherwise.
func component(cluster, name, fidelity, image string) evidence.Component {
	return evidence.Component{Cluster: cluster, Name: name, Fidelity: fidelity, Image: image}
}

var parts = map[string][]evidence.Component{
	Sim: {component("datacenter", "fluent-bit", evidence.Model, ""), component("datacenter", "fluentd", evidence.Model, ""), component("kafka", "kafka", evidence.Model, "")},
	Real: {
		component("datacenter", "fluent-bit", evidence.Model, "example/triad/sim:abc"), component("datacenter", "fluentd", evidence.Model, "example/triad/sim:abc"),
		component("datacenter", "kafka", evidence.Real, ""), component("kafka", "kafka", evidence.Real, "registry.example:5000/kafka:4.3.1@sha256:00"),
		component("datacenter", "inputgen", evidence.Real, "example/triad/sim:abc"), component("monitoring", "elasticsearch-sink", evidence.StandIn, ""), component("monitoring", "kibana", evidence.Absent, ""),
	},
}

var number uint32

// run is a run of the scenario kill in which a fault was injected and the first good record came after so many seconds; below
// zero: never.
func run(runtime string, first float64) Run {
	number++
	created := time.Date(2026, 11, 1, 10, int(number), 0, 0, time.UTC)
	r := Run{
		Header: evidence.Header{ID: fmt.Sprintf("r%02d", number), Run: number, Scenario: "kill", Runtime: runtime, Created: created, Commit: "0123456789abcdef", Host: evidence.Host{CPUs: 4}, Components: parts[runtime]},
		Result: &check.Result{
			Verdict: check.Pass, Faults: []check.Fault{{Name: "kill", InjectedAt: new(int64(1))}}, Checks: []check.Check{{Name: "loss", Verdict: check.Pass}},
			Recovery: check.Recovery{Resolution: int64(100 * time.Millisecond)}, Config: map[string]string{"load 0": "service 10/s", "phases": "before 1s", "seed": fmt.Sprint(number)},
		},
	}
	if first >= 0 {
		r.Result.Recovery.FirstGood = new(int64(first * float64(time.Second)))
	}
	return r
}

func runs(runtime string, firsts ...float64) []Run {
	var out []Run
	for _, f := range firsts {
		out = append(out, run(runtime, f))
	}
	return out
}

func find(t *testing.T, table *Table, scenario, figure string) Row {
	t.Helper()
	for _, b := range table.Scenarios {
		for _, r := range b.Rows {
			if b.Scenario == scenario && r.Figure == figure {
				return r
			}
		}
	}
	t.Fatalf("no row %s of %s", figure, scenario)
	return Row{}
}

func TestAgreement(t *testing.T) {
	for _, c := range []struct {
		name      string
		sim, real []float64
		want      string
	}{
		{"intervals overlap, medians far apart", []float64{1, 9, 9}, []float64{2, 2, 2, 2, 3}, "agrees"},
		{"medians differ by exactly 25 %", []float64{7.5}, []float64{10, 10, 10, 10, 10}, "agrees"},
		{"medians differ by more", []float64{7}, []float64{10, 10, 10, 10, 10}, "differs by 30 %, embedded is lower"},
		{"and above", []float64{14}, []float64{10, 10, 10, 10, 10}, "differs by 40 %, embedded is higher"},
		{"the resolution of both sides is what they may lie apart", []float64{0}, []float64{0.2, 0.2, 0.2, 0.2, 0.2}, "agrees"},
		{"and no more", []float64{0}, []float64{0.3, 0.3, 0.3, 0.3, 0.3}, "differs by 100 %, embedded is lower"},
		{"a real median of nothing has no share", []float64{1}, []float64{0, 0, 0, 0, 0}, "differs: the real median is 0"},
		{"four real runs, equal", []float64{1}, []float64{1, 1, 1, 1}, "too few"},
		{"no embedded run", nil, []float64{1, 1, 1, 1, 1}, "too few"},
		{"no real run", []float64{1}, nil, "too few"},
		{"never seen on either side is no data", []float64{-1}, []float64{-1, -1, -1, -1, -1}, "no data"},
		{"never seen on kind", []float64{1}, []float64{-1, -1, -1, -1, -1}, "differs: never seen on kind"},
		{"never seen on embedded", []float64{-1}, []float64{1, 1, 1, 1, 1}, "differs: never seen on embedded"},
		{"seen in one of four on embedded", []float64{1, -1, -1, -1}, []float64{1, 1, 1, 1, 1}, "differs: never seen in 3 of 4 runs on embedded, in 0 of 5 on kind"},
		{"seen in four of five", []float64{1}, []float64{1, 1, 1, 1, -1}, "too few"},
	} {
		t.Run(c.name, func(t *testing.T) {
			row := find(t, Compare(append(runs(Sim, c.sim...), runs(Real, c.real...)...), nil, nil), "kill", "first good")
			if got := row.String(); got != c.want {
				t.Errorf("got %q, want %q: %+v", got, c.want, row)
			}
		})
	}
}

// A time that nobody has on either side, a peak that nobody counted: no data, however many runs there are.
func TestNoDataNeverAgrees(t *testing.T) {
	table := Compare(append(runs(Sim, 1), runs(Real, 1, 1, 1, 1, 1)...), nil, nil)
	for _, f := range []string{"noticed", "drained", "back in band", "backlog before kafka", "backlog behind kafka"} {
		if got := find(t, table, "kill", f).Agreement; got != NoData {
			t.Errorf("%s: %s", f, got)
		}
	}
}

func TestInvalidRunsCountForLossAlone(t *testing.T) {
	all := append(runs(Sim, 1), runs(Real, 1, 1, 1, 1, 100)...)
	all[len(all)-1].Result.Verdict = check.Invalid
	table := Compare(all, nil, nil)
	if row := find(t, table, "kill", "first good"); row.Agreement != TooFew || row.Real.N != 4 || *row.Real.Max != 1 {
		t.Errorf("first good: %+v", row)
	}
	if row := find(t, table, "kill", "lost"); row.Agreement != Agrees || row.Real.N != 5 {
		t.Errorf("lost: %+v", row)
	}
	if got := table.Scenarios[0].Real; got != (Count{Runs: 5, Invalid: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestLoss(t *testing.T) {
	for _, c := range []struct {
		name      string
		sim, real check.Verdict
		a, b      uint64
		want      string
	}{
		{"none on either side", check.Pass, check.Pass, 0, 0, "agrees"},
		{"about as many", check.Fail, check.Fail, 90, 100, "agrees"},
		{"far more", check.Fail, check.Fail, 300, 100, "differs by 200 %, embedded is higher"},
		{"the verdict decides, however near the numbers are", check.Pass, check.Fail, 100, 100, "differs: the verdict: pass against fail"},
		{"a verdict that is none does not count", check.Pass, check.Inconclusive, 0, 0, "too few"},
		{"on both sides", check.Skipped, check.Inconclusive, 0, 0, "no data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := append(runs(Sim, 1), runs(Real, 1, 1, 1, 1, 1)...)
			for _, r := range all {
				v, n := c.sim, c.a
				if r.Header.Runtime == Real {
					v, n = c.real, c.b
				}
				r.Result.Checks[0].Verdict, r.Result.Totals.Lost = v, n
			}
			if got := find(t, Compare(all, nil, nil), "kill", "lost").String(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestHopOfModels(t *testing.T) {
	all := append(runs(Sim, 1), runs(Real, 1, 1, 1, 1, 1)...)
	for _, r := range all {
		r.Result.Buffers = []check.BufferFill{
			{Hop: "forward", Unit: "bytes", Peak: new(100.0)},
			{Hop: "forward", Unit: "bytes", Peak: new(300.0)},
			{Hop: "forward", Unit: "bytes"},
			{Hop: "broker", Unit: "bytes", Peak: new(7.0)},
		}
	}
	table := Compare(all, nil, nil)
	if row := find(t, table, "kill", "backlog forward"); row.String() != "n/a: both sides are Triad's model" || *row.Real.Max != 300 {
		t.Errorf("%+v", row)
	}
	// The brokers are real on kind: a program of the same name in another cluster changes nothing.
	if row := find(t, table, "kill", "backlog broker"); row.Agreement != Agrees {
		t.Errorf("%+v", row)
	}
	// With the real program in one run the others say nothing about it.
	all[5].Header.Components = []evidence.Component{component("datacenter", "fluentd", evidence.Real, "fluentd:1")}
	if row := find(t, Compare(all, nil, nil), "kill", "backlog forward"); row.Agreement != TooFew || row.Real.N != 1 {
		t.Errorf("%+v", row)
	}
}

func TestLeftOut(t *testing.T) {
	all := append(runs(Sim, 1), runs(Real, 1, 1, 1, 1, 1, 1, 1)...)
	all[1].Result.Interrupted = "interrupted"
	all[2].CutShort = true
	all[3].Header.Runtime = "eks"
	all[4].Result.Config["load 0"] = "service 99/s"
	all = append(all, all[5])
	table := Compare(all, []string{"never", "kill"}, []Out{{"x", "it has no result.json"}})
	var got []string
	for _, o := range table.LeftOut {
		got = append(got, o.Why)
	}
	want := []string{
		"interrupted: interrupted", "interrupted: its evidence was never closed", "runs on eks are not compared",
		"other load, phases, faults or settings than most runs of this scenario", "it is there twice", "it has no result.json",
	}
	slices.Sort(got)
	slices.Sort(want)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if table.Real.Runs != 3 || !slices.Equal(table.Missing, []string{"never"}) {
		t.Errorf("%+v", table)
	}
}

func TestReplace(t *testing.T) {
	for _, c := range []struct{ name, doc, want, err string }{
		{"between the marks", "a\n" + Begin + "\nold\n" + End + "\nb\n", "a\n" + Begin + "\nnew\n" + End + "\nb\n", ""},
		{"no marks", "a\n\n", "a\n\n" + Heading + "\n\n" + Begin + "\nnew\n" + End + "\n", ""},
		{"an empty file", "", Heading + "\n\n" + Begin + "\nnew\n" + End + "\n", ""},
		{"one mark", "a\n" + Begin + "\nb\n", "", "without"},
		{"the other", "a\n" + End + "\nb\n", "", "without"},
		{"turned round", End + "\n" + Begin, "", "stands before"},
		{"twice", Begin + End + Begin + End, "", "one of each"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Replace(c.doc, "new\n")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want an error with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			if again, err := Replace(got, "new\n"); err != nil || again != got {
				t.Errorf("a second time it is another: %v\n%s", err, again)
			}
		})
	}
}

func TestReasons(t *testing.T) {
	table := func() *Table {
		return Compare(append(runs(Sim, 1), runs(Real, 10, 10, 10, 10, 10)...), nil, nil)
	}
	const head = "reasons:\n  - {scenario: kill, figure: first good, reason: no replication}\n"
	tb := table()
	if got := tb.Unexplained(); !slices.Equal(got, []string{"first good of kill"}) {
		t.Errorf("unexplained: %v", got)
	}
	idle, err := tb.Explain("r.yaml", []byte(head+"  - {scenario: kill, figure: lost, reason: none}\n  - {scenario: smoke, figure: lost, reason: none}\n"), []string{"smoke"})
	if err != nil || !slices.Equal(idle, []string{"lost of kill", "lost of smoke"}) || len(tb.Unexplained()) > 0 {
		t.Errorf("idle %v, error %v, unexplained %v", idle, err, tb.Unexplained())
	}
	if got := find(t, tb, "kill", "first good").Reason; got != "no replication" {
		t.Errorf("reason %q", got)
	}
	for _, c := range []struct{ text, want string }{
		{head + "  - {scenario: kil, figure: lost, reason: none}\n", `r.yaml:3:5: reasons[1]: no scenario "kil"`},
		{head + "  - {scenario: kill, figure: loss, reason: none}\n", `r.yaml:3:5: reasons[1]: no figure "loss"; there are: noticed, first good,`},
		{head + "  - {scenario: kill, figure: lost, reason: ' '}\n", `r.yaml:3:5: reasons[1]: no reason for lost of kill`},
		{head + "  - {scenario: kill, figure: first good, reason: again}\n", `r.yaml:3:5: reasons[1]: a second reason`},
		{head + "  - {scenario: kill, figure: lost, because: none}\n", `r.yaml:3:`},
		{"", "r.yaml:1:1: the file is empty"},
	} {
		if _, err := table().Explain("r.yaml", []byte(c.text), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.text, err, c.want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	number = 0
	all := append(runs(Sim, 1, 1.2), runs(Real, 9, 10, 10, 10.4, 11, 300)...)
	all[7].Result.Verdict = check.Invalid
	for i := range all {
		all[i].Result.Recovery.Noticed = new(int64(i) * int64(time.Millisecond))
		all[i].Result.Buffers = []check.BufferFill{{Hop: "forward", Unit: "bytes", Peak: new(float64(100000 + 1000*i))}}
		all[i].Peaks = []check.Peak{{Segment: "ledger-kafka", Peak: new(float64(1000 + i))}, {Segment: "kafka-search"}}
	}
	quiet := run(Sim, -1)
	quiet.Header.Scenario, quiet.Result.Faults = "quiet", nil
	stopped := run(Real, 1)
	stopped.Result.Interrupted = "Ctrl-C"
	table := Compare(append(all, quiet, stopped), []string{"burst", "kill", "quiet"}, []Out{{"r99", "it has no result.json; sim report makes it"}})
	if _, err := table.Explain("r.yaml", []byte("reasons: [{scenario: kill, figure: first good, reason: the model | of a <start> is faster}]"), nil); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.md", table.Markdown())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Error(d)
	}
}

// A table of runs that were kept is the table of the runs, whatever became of their directories.
func TestKeep(t *testing.T) {
	all := append(runs(Sim, 1, 1.2), runs(Real, 9, 10, 10, 10.4, -1, 300)...)
	all[7].Result.Verdict = check.Invalid
	all[6].Result.Checks[0].Verdict, all[6].Result.Totals.Lost = check.Fail, 3
	all[5].Result.Config["load 0"] = "service 99/s"
	for i := range all {
		all[i].Result.Recovery.Drained, all[i].Result.Recovery.InBandResolution = new(int64(i)*int64(time.Second)), int64(i)
		all[i].Result.Buffers = []check.BufferFill{{Hop: "forward", Unit: "bytes", Peak: new(float64(100000 + 1000*i))}, {Hop: "forward", Unit: "bytes"}}
		all[i].Peaks = []check.Peak{{Segment: "ledger-kafka", Peak: new(float64(1000 + i))}, {Segment: "kafka-search"}}
	}
	stopped := run(Real, 1)
	stopped.CutShort = true
	file := filepath.Join(t.TempDir(), "kept.json")
	write := func(rs []Run) {
		t.Helper()
		text, err := Keep(rs)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "registry.example") {
			t.Error("what is kept says where images came from")
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if old, err := ReadKept(file); err != nil || len(old) > 0 {
		t.Errorf("a file that is not there: %d runs, %v", len(old), err)
	}
	want := Compare(all, nil, nil).Markdown()
	for day, found := range [][]Run{append(slices.Clone(all[:5]), stopped), all[3:], nil} {
		old, err := ReadKept(file)
		if err != nil {
			t.Fatalf("day %d: %v", day, err)
		}
		write(Merge(old, found))
	}
	got, err := ReadKept(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, Compare(got, nil, nil).Markdown()); d != "" {
		t.Error(d)
	}
	for text, want := range map[string]string{"{": "unexpected end", `{"schema_version": 9}`: "format 9 is not known", `{"schema_version": 1, "runs": [{"id": "r", "components": "x"}]}`: `run r has components "x"`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadKept(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// Saved runs of the checks are runs like any: their peaks come from their evidence.
func TestFindAndLoad(t *testing.T) {
	dirs, err := Find([]string{filepath.Join("..", "check", "testdata", "runs")})
	if err != nil || len(dirs) < 3 {
		t.Fatalf("%v, %v", dirs, err)
	}
	peaks := 0
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, resultFile)); err != nil {
			continue
		}
		r, err := Load(dir)
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		for _, p := range r.Peaks {
			if p.Peak != nil && *p.Peak > 0 {
				peaks++
			}
		}
	}
	if peaks == 0 {
		t.Error("no run has a peak")
	}
	if _, err := Find([]string{"nowhere"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}
