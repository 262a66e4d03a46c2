package selftest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/progress"
	"triad/internal/run"
	"triad/internal/runtimes"
	"triad/internal/scenario"
	"triad/internal/schedule"
	"triad/internal/stats"
)

// Case is one sabotage and what the report made of it.
type Case struct {
	Kind     string   `json:"kind"`
	Round    int      `json:"round"`
	Truth    string   `json:"truth"`
	Reported string   `json:"reported"`
	Detected bool     `json:"detected"`
	Wrong    []string `json:"wrong,omitempty"`
}

// Report is what sim selftest prints as JSON.
type Report struct {
	Kinds       int    `json:"kinds"`
	Rounds      int    `json:"rounds"`
	Seed        uint64 `json:"seed"`
	Detected    int    `json:"detected"`
	Missed      int    `json:"missed"`
	FalseAlarms int    `json:"false_alarms"`
	Cases       []Case `json:"cases"`
}

// Options of a self-test.
type Options struct {
	Runtime  runtimes.Runtime // embedded
	Rounds   int
	Seed     uint64
	Dir      string // for run directories
	Logger   *slog.Logger
	Progress progress.Sink
}

// Run makes the sabotaged and the clean runs and compares what was done with what was reported.
func Run(ctx context.Context, o Options) (*Report, error) {
	rep := &Report{Rounds: o.Rounds, Seed: o.Seed}
	for round := range o.Rounds {
		dir, sab, err := o.sabotaged(ctx, round)
		if err != nil {
			return nil, err
		}
		res, err := judge(dir)
		if err != nil {
			return nil, err
		}
		rep.records(round, sab, res)
	}
	control, err := o.control(ctx)
	if err != nil {
		return nil, err
	}
	if err := rep.clean(control); err != nil {
		return nil, err
	}
	if err := errors.Join(rep.whole(ctx, o), rep.evidence(control, o.Dir), rep.stall(o.Dir)); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, c := range rep.Cases {
		seen[c.Kind] = true
		switch {
		case c.Detected:
			rep.Detected++
		case strings.HasPrefix(c.Kind, "clean"):
			rep.FalseAlarms++
		default:
			rep.Missed++
		}
	}
	rep.Kinds = len(seen)
	return rep, nil
}

func judge(dir string) (*check.Result, error) {
	r, err := evidence.Open(dir)
	if err != nil {
		return nil, err
	}
	return check.Judge(r, time.Unix(0, 0).UTC())
}

// perStream is how many records a sabotaged stream has, at perRate records a second.
const perRate = 5

func (o Options) run(ctx context.Context, text string, sab *runtimes.Sabotage, seed uint64) (string, error) {
	s, err := scenario.Parse("selftest.yaml", []byte(text))
	if err != nil {
		return "", err
	}
	s.Seed = seed
	dir, err := run.Run(ctx, run.Options{Scenario: s, Runtime: o.Runtime, Why: "self-test", Reports: o.Dir, Logger: o.Logger, Progress: o.Progress, Sabotage: sab, Now: time.Now()})
	if err != nil {
		return dir, fmt.Errorf("self-test run: %w", err)
	}
	return dir, nil
}

const head1 = "apiVersion: triad/v1\nname: selftest\ntitle: self-test\nruntimes: [embedded]\n"

// sabotaged makes one run in which every kind of sabotage on records has a stream of its own.
func (o Options) sabotaged(ctx context.Context, round int) (string, *saboteur, error) {
	rows := kinds()
	text := fmt.Sprintf("%sphases: {warm-up: 1s, before: 11s, drain: 8s}\nload:\n  - {source: service, rate: %d/s, streams: %d, instances: 2}\n", head1, perRate*len(rows), len(rows))
	s, err := scenario.Parse("selftest.yaml", []byte(text))
	if err != nil {
		return "", nil, err
	}
	s.Seed = o.Seed + uint64(round)
	counts := map[uint32]uint64{}
	for _, st := range s.Streams() {
		counts[st.ID] = schedule.Count(s, st, 1<<62)
	}
	sab := plan(s.Seed, counts, rows)
	sab.seed = s.Seed
	dir, err := o.run(ctx, text, sab.hooks(), s.Seed)
	return dir, sab, err
}

// control makes one run without sabotage, short and with every source, which must be clean.
func (o Options) control(ctx context.Context) (string, error) {
	return o.run(ctx, head1+"phases: {warm-up: 1s, before: 5s, drain: 30s}\nload:\n  - {source: service, rate: 100/s, streams: 4, instances: 2}\n  - {source: system-auth, rate: 20/s}\n  - {source: control, rate: 20/s}\nthresholds: [\"lost == 0\"]\n", nil, o.Seed)
}

// records compares the truth of each sabotaged stream with the report's account of it.
func (rep *Report) records(round int, sab *saboteur, res *check.Result) {
	for id := range uint32(len(sab.truths)) {
		t := sab.truths[id]
		c := Case{Kind: t.name, Round: round, Truth: t.describe()}
		var got check.Counts
		for _, s := range res.Streams {
			if s.Stream == id {
				got = s.Counts
			}
		}
		c.Reported = describe(got)
		want := t.want()
		for _, f := range []struct {
			name      string
			got, want uint64
		}{{"lost", got.Lost, want.Lost}, {"broker duplicates", got.BrokerDup, want.BrokerDup}, {"visible duplicates", got.VisibleDup, want.VisibleDup},
			{"misordered", got.Misordered, want.Misordered}, {"corrupt", got.Corrupt, want.Corrupt}, {"foreign", got.Foreign, want.Foreign}, {"phantom", got.Phantom, want.Phantom}} {
			if f.got != f.want {
				c.Wrong = append(c.Wrong, fmt.Sprintf("%s: reported %d, truth %d", f.name, f.got, f.want))
			}
		}
		c.Wrong = append(c.Wrong, t.ranges(res)...)
		if t.do == "garbage" && res.Totals.Unreadable != t.hit.Len() {
			c.Wrong = append(c.Wrong, fmt.Sprintf("unreadable: reported %d, truth %d", res.Totals.Unreadable, t.hit.Len()))
		}
		if t.do == "stranger" && res.Totals.ForeignRun != t.hit.Len() {
			c.Wrong = append(c.Wrong, fmt.Sprintf("records of other runs: reported %d, truth %d", res.Totals.ForeignRun, t.hit.Len()))
		}
		c.Detected = len(c.Wrong) == 0
		rep.Cases = append(rep.Cases, c)
	}
	rep.verdict(round, res)
}

// verdict demands that the sabotaged run fails, and for the right checks.
func (rep *Report) verdict(round int, res *check.Result) {
	c := Case{Kind: "verdict-of-the-sabotaged-run", Round: round, Truth: "fail: loss, corruption, isolation, phantom", Reported: string(res.Verdict)}
	if res.Verdict != check.Fail {
		c.Wrong = append(c.Wrong, "the run did not fail")
	}
	for _, name := range []string{"loss", "corruption", "isolation", "phantom", "order"} {
		if v := verdictOf(res, name); v != check.Fail {
			c.Wrong = append(c.Wrong, fmt.Sprintf("check %s is %s", name, v))
		}
	}
	c.Detected = len(c.Wrong) == 0
	rep.Cases = append(rep.Cases, c)
}

func verdictOf(res *check.Result, name string) check.Verdict {
	for _, c := range res.Checks {
		if c.Name == name {
			return c.Verdict
		}
	}
	return "absent"
}

// segment is where the loss of a sabotage must be reported.
func (t *truth) segment() string {
	if t.place == atDocument {
		return "kafka-search"
	}
	return "ledger-kafka"
}

// lost is the set of records that the sabotage lost.
func (t *truth) lost() *stats.Set {
	switch t.do {
	case "lose":
		return &t.hit
	case "double+lose":
		return &t.second
	}
	return &stats.Set{}
}

func (t *truth) want() check.Counts {
	var c check.Counts
	c.Lost = t.lost().Len()
	n := t.hit.Len()
	switch t.do {
	case "double", "double+lose":
		if t.place == atDocument {
			c.VisibleDup = n
		} else {
			// A record at two offsets has two documents, because ids are topic+partition+offset.
			c.BrokerDup, c.VisibleDup = n, n
		}
	case "swap":
		c.Misordered = n
	case "corrupt":
		c.Corrupt = n
	case "leak":
		c.Foreign = n
	case "phantom":
		c.Phantom = n
	}
	return c
}

// ranges compares the reported loss ranges of the stream with the truth, record by record.
func (t *truth) ranges(res *check.Result) []string {
	var wrong []string
	for _, seg := range res.Segments {
		var got stats.Set
		for _, r := range seg.Ranges {
			if r.Stream == t.stream {
				got.AddSpan(stats.Span{Lo: r.Lo, Hi: r.Hi + 1})
			}
		}
		want := &stats.Set{}
		if seg.Name == t.segment() {
			want = t.lost()
		}
		if !slices.Equal(got.Spans(), want.Spans()) {
			wrong = append(wrong, fmt.Sprintf("segment %s: reported %v, truth %v", seg.Name, got.Spans(), want.Spans()))
		}
	}
	return wrong
}

func (t *truth) describe() string {
	if t.place == nowhere {
		return "nothing"
	}
	return fmt.Sprintf("%s %d of %d records at %s (%s)", t.do, t.hit.Len(), t.total, t.place, t.which)
}

func describe(c check.Counts) string {
	var out []string
	for _, f := range []struct {
		name string
		n    uint64
	}{{"lost", c.Lost}, {"broker duplicates", c.BrokerDup}, {"visible duplicates", c.VisibleDup}, {"misordered", c.Misordered}, {"corrupt", c.Corrupt}, {"foreign", c.Foreign}, {"phantom", c.Phantom}} {
		if f.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", f.n, f.name))
		}
	}
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, ", ")
}

// clean demands that the control run passes with nothing to say.
func (rep *Report) clean(dir string) error {
	res, err := judge(dir)
	if err != nil {
		return err
	}
	c := Case{Kind: "clean-control", Truth: "nothing", Reported: string(res.Verdict), Detected: res.Verdict == check.Pass && len(res.Streams) == 0}
	if !c.Detected {
		c.Wrong = append(append(c.Wrong, res.Reasons...), fmt.Sprintf("%d streams are not clean", len(res.Streams)))
	}
	rep.Cases = append(rep.Cases, c)
	return nil
}

// whole runs the sabotages that concern a whole run: a fault that does nothing, a gate without data, a generator that
// stands still.
func (rep *Report) whole(ctx context.Context, o Options) error {
	load := "load: [{source: service, rate: 50/s, streams: 2}]\n"
	for _, w := range []struct {
		kind, text string
		sab        *runtimes.Sabotage
		want       func(*check.Result) []string
	}{
		{"fault-that-does-nothing", head1 + "phases: {warm-up: 1s, before: 2s, during: 2s, drain: 20s}\n" + load + "faults: [{kind: nothing, at: during, for: 1s}]\n", nil,
			func(r *check.Result) []string { return expect(r, check.Invalid, "faults", check.Invalid) }},
		{"gate-without-data", head1 + "phases: {warm-up: 1s, before: 2s, drain: 20s}\n" + load + "thresholds: [\"e2e_latency{source=control} p(99) < 10s\"]\n", nil,
			func(r *check.Result) []string {
				return expect(r, check.Inconclusive, "e2e_latency{source=control} p(99) < 10s", check.Inconclusive)
			}},
		{"generator-stands-still", head1 + "phases: {warm-up: 1s, before: 5s, drain: 20s}\n" + load + "thresholds: [\"kafka_latency p(99) < 10s\"]\n", stall(100, 1600*time.Millisecond),
			func(r *check.Result) []string {
				return expect(r, check.Invalid, "kafka_latency p(99) < 10s", check.Invalid)
			}},
	} {
		dir, err := o.run(ctx, w.text, w.sab, o.Seed)
		if err != nil {
			return err
		}
		res, err := judge(dir)
		if err != nil {
			return err
		}
		c := Case{Kind: w.kind, Truth: w.kind, Reported: string(res.Verdict) + ": " + strings.Join(res.Reasons, "; "), Wrong: w.want(res)}
		c.Detected = len(c.Wrong) == 0
		rep.Cases = append(rep.Cases, c)
	}
	return nil
}

func expect(r *check.Result, run check.Verdict, name string, v check.Verdict) []string {
	var wrong []string
	if r.Verdict != run {
		wrong = append(wrong, fmt.Sprintf("the run is %s, want %s", r.Verdict, run))
	}
	if got := verdictOf(r, name); got != v {
		wrong = append(wrong, fmt.Sprintf("check %s is %s, want %s", name, got, v))
	}
	return wrong
}

// evidence damages copies of the control run's evidence; none may pass.
func (rep *Report) evidence(control, dir string) error {
	for _, d := range []struct {
		kind   string
		damage func(dir string) error
	}{
		{"torn-ledger", func(dir string) error { return truncate(filepath.Join(dir, "ledger", "kafka.led"), 5) }},
		{"flipped-byte-in-ledger", func(dir string) error { return flip(filepath.Join(dir, "ledger", "search.led")) }},
		{"flipped-byte-in-histograms", func(dir string) error { return flip(filepath.Join(dir, evidence.HistsName)) }},
		{"flipped-byte-in-events", func(dir string) error { return flip(filepath.Join(dir, evidence.EventsFile)) }},
		{"ledger-removed", func(dir string) error { return os.Remove(filepath.Join(dir, "ledger", "kafka.led")) }},
		{"killed-before-closing", func(dir string) error { return os.Remove(filepath.Join(dir, evidence.SealFile)) }},
	} {
		at := filepath.Join(dir, "damaged-"+d.kind)
		if err := os.CopyFS(at, os.DirFS(control)); err != nil {
			return err
		}
		if err := d.damage(at); err != nil {
			return err
		}
		c := Case{Kind: d.kind, Truth: "the evidence is damaged"}
		res, err := judge(at)
		switch {
		case err != nil:
			c.Reported, c.Detected = err.Error(), true
		default:
			c.Reported = string(res.Verdict)
			c.Detected = res.Verdict == check.Inconclusive || res.Verdict == check.Invalid
			if !c.Detected {
				c.Wrong = []string{"damaged evidence was judged " + string(res.Verdict)}
			}
		}
		rep.Cases = append(rep.Cases, c)
	}
	return nil
}

func truncate(path string, n int64) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, info.Size()-n)
}

func flip(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 0x20
	return os.WriteFile(path, b, 0o644)
}
