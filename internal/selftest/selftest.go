package selftest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/progress"
	"triad/internal/run"
	"triad/internal/runtimes"
	"triad/internal/scenario"
	"triad/internal/schedule"
	"triad/internal/stats"
	"triad/internal/view"
)

// Case is one sabotage and what the report made of it.
type Case struct {
	Kind     string   `json:"kind"`
	Round    int      `json:"round"`
	Amount   uint64   `json:"amount,omitempty"` // records that were hit; 0 for a sabotage that has no amount
	Truth    string   `json:"truth"`
	Reported string   `json:"reported"`
	Detected bool     `json:"detected"`
	Wrong    []string `json:"wrong,omitempty"`
}

// Report is what sim selftest prints as JSON.
type Report struct {
	Kinds       int     `json:"kinds"`
	Rounds      int     `json:"rounds"`
	Seed        uint64  `json:"seed"`
	Detected    int     `json:"detected"`
	Missed      int     `json:"missed"`
	FalseAlarms int     `json:"false_alarms"`
	Limits      []Limit `json:"limits"`
	Cases       []Case  `json:"cases"`
}

// Limit is the limit of detection of one kind of sabotage on records, as far as the rounds showed it.
type Limit struct {
	Kind          string  `json:"kind"`
	Rounds        int     `json:"rounds"`
	Found         int     `json:"found"`
	SmallestFound *uint64 `json:"smallest_found"` // records, null when none was found
	LargestMissed *uint64 `json:"largest_missed"` // records, null when none was missed
}

// Options of a self-test.
type Options struct {
	Runtime  runtimes.Runtime // embedded
	Shown    view.Shown       // the shipped dashboards
	Rounds   int
	RealTime bool // the generator goes through a stall by the clock too, for half a minute
	Seed     uint64
	Dir      string // for run directories
	Logger   *slog.Logger
	Progress progress.Sink
}

// atOnce is how many runs are made side by side. A run mostly waits for its schedule; three of them use a small part of
// two processors.
const atOnce = 3

// job is one run, or a few, with the cases that come of it.
type job struct {
	name string
	run  func(ctx context.Context, o Options, rep *Report) error
}

// Run makes the sabotaged and the clean runs and compares what was done with what was reported.
func Run(ctx context.Context, o Options) (*Report, error) {
	var jobs []job
	for round := range o.Rounds {
		jobs = append(jobs, job{fmt.Sprintf("round %d", round+1), func(ctx context.Context, o Options, rep *Report) error { return rep.round(ctx, o, round) }})
	}
	jobs = append(jobs, job{"clean control and damaged evidence", func(ctx context.Context, o Options, rep *Report) error { return rep.control(ctx, o) }})
	for _, w := range wholes() {
		jobs = append(jobs, job{w.kind, func(ctx context.Context, o Options, rep *Report) error { return rep.whole(ctx, o, w) }})
	}
	jobs = append(jobs, job{"stall of 1.4 s", func(_ context.Context, o Options, rep *Report) error { return rep.stall(o.Dir) }})
	if o.RealTime {
		jobs = append(jobs, job{"stall of 1.4 s, in real time", func(ctx context.Context, o Options, rep *Report) error { return rep.realTime(ctx, o) }})
	}
	for round := range o.Rounds {
		jobs = append(jobs, job{fmt.Sprintf("told runs, round %d", round+1), func(ctx context.Context, o Options, rep *Report) error { return rep.tales(ctx, o, round) }})
	}
	parts := make([]Report, len(jobs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, j := range jobs {
		g.Go(func() error {
			o.Progress.Step(j.name, "begin", "")
			own := o
			own.Progress = quiet{o.Progress, j.name}
			if err := j.run(ctx, own, &parts[i]); err != nil {
				return fmt.Errorf("%s: %w", j.name, err)
			}
			o.Progress.Step(j.name, "done", fmt.Sprintf("%d cases", len(parts[i].Cases)))
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	rep := &Report{Rounds: o.Rounds, Seed: o.Seed}
	for _, p := range parts {
		rep.Cases = append(rep.Cases, p.Cases...)
	}
	rep.count()
	return rep, nil
}

// quiet shows of a run only what failed: several go on at once.
type quiet struct {
	to   progress.Sink
	name string
}

// Step passes on failures, under the name of the job.
func (q quiet) Step(what, state, detail string) {
	if state == "failed" {
		q.to.Step(q.name+", "+what, state, detail)
	}
}

// Status shows nothing.
func (quiet) Status(progress.Status) {}

// Close leaves the display to its owner.
func (quiet) Close() {}

// count adds up the cases.
func (rep *Report) count() {
	seen := map[string]bool{}
	at := map[string]int{}
	rep.Limits = []Limit{}
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
		if c.Amount == 0 {
			continue
		}
		i, ok := at[c.Kind]
		if !ok {
			i = len(rep.Limits)
			at[c.Kind] = i
			rep.Limits = append(rep.Limits, Limit{Kind: c.Kind})
		}
		l := &rep.Limits[i]
		l.Rounds++
		if c.Detected {
			l.Found++
			if l.SmallestFound == nil || c.Amount < *l.SmallestFound {
				l.SmallestFound = &c.Amount
			}
		} else if l.LargestMissed == nil || c.Amount > *l.LargestMissed {
			l.LargestMissed = &c.Amount
		}
	}
	rep.Kinds = len(seen)
}

// tries is how often a run is made again that a busy machine spoilt.
const tries = 3

// told makes a run, again when the machine was too busy for it to say anything, and returns its directory and result.
func told(ctx context.Context, make func() (string, error), spoilt func(*check.Result) bool) (dir string, res *check.Result, err error) {
	for range tries {
		if dir, err = make(); err != nil {
			return dir, nil, err
		}
		if ctx.Err() != nil {
			return dir, nil, context.Cause(ctx) // an interrupted run is no miss
		}
		if res, err = judge(dir); err != nil || !spoilt(res) {
			return dir, res, err
		}
	}
	return dir, res, nil
}

// late reports whether the harness itself says that it, not the system, was in the way.
func late(res *check.Result) bool {
	return verdictOf(res, "load") == check.Invalid || verdictOf(res, "saturation") == check.Invalid
}

// short reports whether records of the schedule were never sent, so that a sabotage may have had nothing to hit.
func short(res *check.Result) bool { return res.Totals.Dropped+res.Totals.Unknown > 0 }

func judge(dir string) (*check.Result, error) {
	r, err := evidence.Open(dir)
	if err != nil {
		return nil, err
	}
	return check.Judge(r, time.Unix(0, 0).UTC())
}

// perStream is how many records a sabotaged stream has, at perRate records a second.
const perRate = 5

func (o Options) run(ctx context.Context, text string, sab *runtimes.Sabotage, arrive *run.Arrivals, seed uint64) (string, error) {
	s, err := scenario.Parse("selftest.yaml", []byte(text))
	if err != nil {
		return "", err
	}
	s.Seed = seed
	dir, err := run.Run(ctx, run.Options{
		Scenario: s, Runtime: o.Runtime, Why: "self-test", Reports: o.Dir, Logger: o.Logger, Progress: o.Progress, Sabotage: sab, Arrive: arrive, Now: time.Now(),
	})
	if err != nil {
		return dir, fmt.Errorf("self-test run: %w", err)
	}
	return dir, nil
}

const head1 = "apiVersion: triad/v1\nname: selftest\ntitle: self-test\nruntimes: [embedded]\n"

// round makes one run in which every kind of sabotage on records has a stream of its own.
func (rep *Report) round(ctx context.Context, o Options, round int) error {
	rows := kinds()
	text := fmt.Sprintf("%sphases: {warm-up: 1s, before: 11s, drain: 30s}\nload:\n  - {source: service, rate: %d/s, streams: %d, instances: 2}\n", head1, perRate*len(rows), len(rows))
	s, err := scenario.Parse("selftest.yaml", []byte(text))
	if err != nil {
		return err
	}
	seed := o.Seed + uint64(round)
	s.Seed = seed
	counts := map[uint32]uint64{}
	for _, st := range s.Streams() {
		counts[st.ID] = schedule.Count(s, st, 1<<62)
	}
	var sab *saboteur
	_, res, err := told(ctx, func() (string, error) {
		sab = plan(seed, counts, rows)
		return o.run(ctx, text, sab.hooks(), sab.arrive(), seed)
	}, short)
	if err == nil {
		rep.records(round, sab, res)
	}
	return err
}

// control makes one run without sabotage, short and with several sources, which must be clean; and damages copies of its
// evidence.
func (rep *Report) control(ctx context.Context, o Options) error {
	dir, res, err := told(ctx, func() (string, error) {
		return o.run(ctx, head1+"phases: {warm-up: 1s, before: 5s, drain: 30s}\nload:\n  - {source: service, rate: 100/s, streams: 4, instances: 2}\n  - {source: system-auth, rate: 20/s}\n  - {source: control, rate: 20/s}\nthresholds: [\"lost == 0\"]\n", nil, nil, o.Seed)
	}, late)
	if err != nil {
		return err
	}
	rep.clean(res)
	return rep.evidence(dir, o.Dir)
}

// records compares the truth of each sabotaged stream with the report's account of it.
func (rep *Report) records(round int, sab *saboteur, res *check.Result) {
	for id := range uint32(len(sab.truths)) {
		t := sab.truths[id]
		c := Case{Kind: t.name, Round: round, Amount: t.hit.Len(), Truth: t.describe()}
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
		}{
			{"lost", got.Lost, want.Lost},
			{"broker duplicates", got.BrokerDup, want.BrokerDup},
			{"visible duplicates", got.VisibleDup, want.VisibleDup},
			{"misordered", got.Misordered, want.Misordered},
			{"corrupt", got.Corrupt, want.Corrupt},
			{"foreign", got.Foreign, want.Foreign},
			{"phantom", got.Phantom, want.Phantom},
		} {
			if f.got != f.want {
				c.Wrong = append(c.Wrong, fmt.Sprintf("%s: reported %d, truth %d", f.name, f.got, f.want))
			}
		}
		c.Wrong = append(c.Wrong, t.ranges(res)...)
		switch t.do {
		case "garbage":
			c.Reported = fmt.Sprintf("%d unreadable", res.Totals.Unreadable)
		case "stranger":
			c.Reported = fmt.Sprintf("%d of another run", res.Totals.ForeignRun)
		}
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
		v := verdictOf(res, name)
		if name == "order" && v == check.Invalid && verdictOf(res, "saturation") == check.Invalid {
			continue // the count was compared above; on a saturated machine it is no failure of the system
		}
		if v != check.Fail {
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
func (rep *Report) clean(res *check.Result) {
	c := Case{Kind: "clean-control", Truth: "nothing", Reported: string(res.Verdict), Detected: res.Verdict == check.Pass && len(res.Streams) == 0}
	if !c.Detected {
		c.Wrong = append(append(c.Wrong, res.Reasons...), fmt.Sprintf("%d streams are not clean", len(res.Streams)))
	}
	rep.Cases = append(rep.Cases, c)
}
