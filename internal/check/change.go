package check

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"triad/internal/stats"
)

// ChangeSchema is the version of compare.json.
const ChangeSchema = 1

// How a change stands, beside Better and Worse.
const (
	NoDifference = "no difference"
	NotClear     = "cannot tell"
)

// changeStep is the smallest difference between two times that is called one. It is what a scheduler adds on a busy machine,
// and far below what a user of logs notices.
const changeStep = 5 * time.Millisecond

// Rounds is the least number of rounds from which on a difference can be told from chance.
const Rounds = compareRuns

// Effect is the smallest change of a figure that is called one, where nothing else is asked for.
const Effect = compareEffect

// Change is what sim compare BASE HEAD --scenarios says, in rounds that ran in turns.
type Change struct {
	SchemaVersion int              `json:"schema_version"`
	Base          Revision         `json:"base"`
	Head          Revision         `json:"head"`
	Runtime       string           `json:"runtime"`
	Rounds        int              `json:"rounds"` // that were wanted
	Effect        float64          `json:"effect"` // smallest change that is called one, as a share of base
	Level         float64          `json:"level"`
	Verdict       string           `json:"verdict" jsonschema:"enum=better,enum=worse,enum=no difference,enum=cannot tell"`
	Summary       string           `json:"summary"`
	Scenarios     []ScenarioChange `json:"scenarios"`
	Interrupted   bool             `json:"interrupted,omitempty"`
}

// Revision is one side: what was asked for and what it is.
type Revision struct {
	Name   string `json:"name"`
	Commit string `json:"commit,omitempty"` // empty: a folder
}

// ScenarioChange is the answer for one scenario.
type ScenarioChange struct {
	Scenario string         `json:"scenario"`
	Verdict  string         `json:"verdict"`
	Findings []Finding      `json:"findings"` // verdicts and losses: exact, and always said
	Figures  []ChangeFigure `json:"figures"`  // judged ones, in the order of the report
	Compared *Comparison    `json:"compared"`
	Notes    []string       `json:"notes"`
}

// Finding is a verdict that is another one now, or records that are lost, doubled or spoilt where none were.
type Finding struct {
	What    string  `json:"what"`
	Verdict string  `json:"verdict"` // better, worse; cannot tell: a failure or loss that may be chance; no difference seen: another verdict that may be
	Base    string  `json:"base"`
	Head    string  `json:"head"`
	Chance  float64 `json:"by_chance"` // how likely so much is if nothing has changed
	Detail  string  `json:"detail,omitempty"`
}

// ChangeFigure is one figure with its answer. Lo and Hi hold the change with the given confidence.
type ChangeFigure struct {
	FigureDiff
	Adjusted *float64 `json:"p_adjusted"` // held against the level together with the scenario's others
	ShareLo  *float64 `json:"change_lo"`
	ShareHi  *float64 `json:"change_hi"`
}

// Pair is the runs of one scenario on both sides.
type Pair struct {
	Scenario   string
	Base, Head []*Result
}

// Weigh judges pairs of run sets. Verdicts and losses are exact and are said whatever their number; figures are compared over
// whole runs whose timing is valid.
func Weigh(pairs []Pair, effect float64) (*Change, error) {
	c := &Change{SchemaVersion: ChangeSchema, Effect: effect, Level: compareLevel, Scenarios: []ScenarioChange{}}
	for _, p := range pairs {
		s := ScenarioChange{Scenario: p.Scenario, Findings: []Finding{}, Figures: []ChangeFigure{}, Notes: []string{}, Verdict: NotClear}
		base, head := whole(p.Base), whole(p.Head)
		if n := len(p.Base) + len(p.Head) - len(base) - len(head); n > 0 {
			s.Notes = append(s.Notes, fmt.Sprintf("%d interrupted runs are left out", n))
		}
		if len(base) == 0 || len(head) == 0 {
			s.Notes = append(s.Notes, fmt.Sprintf("%d runs of base and %d of head: nothing to compare", len(base), len(head)))
			c.Scenarios = append(c.Scenarios, s)
			continue
		}
		s.Findings = append(append(s.Findings, verdictFindings(base, head)...), countFindings(base, head)...)
		if err := s.figures(base, head, effect); err != nil {
			return nil, err
		}
		s.conclude()
		c.Scenarios = append(c.Scenarios, s)
	}
	c.conclude()
	return c, nil
}

func whole(rs []*Result) []*Result {
	return slices.DeleteFunc(slices.Clone(rs), func(r *Result) bool { return r.Interrupted != "" })
}

// timed are the runs whose figures say something about the system: where an assumption broke, the generator or the machine is in them.
func timed(rs []*Result) []*Result {
	return slices.DeleteFunc(slices.Clone(rs), func(r *Result) bool {
		return r.Verdict == Invalid || slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Verdict == Invalid })
	})
}

// judgedFigure says which figures answer whether a change is one for the better. The others are the harness's own, what an open
// load fixes, a single record's (max), or stand there twice; counts are findings.
func judgedFigure(f FigureDiff) bool {
	for _, own := range []string{"generator_lag", "send_uncorrected", "send_corrected", "throughput at ledger"} {
		if strings.HasPrefix(f.Name, own) {
			return false
		}
	}
	return f.Unit != "records" && !strings.HasSuffix(f.Name, ", max") && !OverAll(f.Name)
}

func (s *ScenarioChange) figures(base, head []*Result, effect float64) error {
	tb, th := timed(base), timed(head)
	for i, n := range []int{len(base) - len(tb), len(head) - len(th)} {
		if n > 0 {
			s.Notes = append(s.Notes, fmt.Sprintf("the figures of %d of %d runs of %s are left out: an assumption of theirs did not hold", n, []int{len(base), len(head)}[i], []string{"base", "head"}[i]))
		}
	}
	if len(tb) == 0 || len(th) == 0 {
		s.Notes = append(s.Notes, "no run of one side has valid figures")
		return nil
	}
	var err error
	if s.Compared, err = Compare(tb, th); err != nil {
		return err
	}
	if base, head := s.Compared.Config, scenarioKeys(s.Compared.Config); len(head) > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%d of %d differences in configuration are in the scenario itself (%s): the sides were not asked the same", len(head), len(base), strings.Join(head, ", ")))
	}
	var ps []float64
	var tested []int
	for _, f := range s.Compared.Figures {
		if !judgedFigure(f) {
			continue
		}
		s.Figures = append(s.Figures, ChangeFigure{FigureDiff: f})
		if f.P != nil && !constant(f) {
			ps = append(ps, *f.P)
			tested = append(tested, len(s.Figures)-1)
		}
	}
	// Rounds may be too few for any figure to differ by more than chance among so many: then "not different" means nothing.
	n, m := len(tb), len(th)
	few := stats.LeastChance(n, m)*float64(len(ps)) >= compareLevel
	for i, p := range stats.Adjusted(ps) {
		s.Figures[tested[i]].answer(p, effect, few)
	}
	if len(ps) > 0 && few {
		s.Notes = append(s.Notes, fmt.Sprintf("with %d and %d runs no figure can be told from chance among %d, however much it changed: more rounds can", n, m, len(ps)))
	}
	return nil
}

// constant reports whether a figure is the same in every run: then it cannot differ by chance, and does not take part in what is
// held against the level together.
func constant(f FigureDiff) bool {
	return f.A != nil && f.B != nil && f.A.Lo == f.A.Hi && f.B.Lo == f.B.Hi && f.A.Median == f.B.Median
}

// scenarioKeys are the differences that a scenario file makes, and no manifest.
func scenarioKeys(ds []ConfigDiff) []string {
	var out []string
	for _, d := range ds {
		for _, p := range []string{"phases", "load ", "fault ", "setting ", "guarantee "} {
			if strings.HasPrefix(d.Key, p) {
				out = append(out, d.Key)
			}
		}
	}
	return out
}

// answer says how a figure stands, with the p-value that it has among the others. Where the runs are too few, one that would be
// different if it were the only one is not called the same.
func (f *ChangeFigure) answer(p, effect float64, few bool) {
	f.Adjusted = &p
	if f.Shift != nil && f.A.Median != 0 {
		f.ShareLo, f.ShareHi = new(f.Shift.Lo/math.Abs(f.A.Median)), new(f.Shift.Hi/math.Abs(f.A.Median))
	}
	delta := f.B.Median - f.A.Median
	small := delta == 0 || f.A.Median != 0 && math.Abs(delta/f.A.Median) < effect || f.Unit == "s" && math.Abs(delta) < changeStep.Seconds()
	switch {
	case few && p >= compareLevel && *f.P < compareLevel && !small:
		f.Verdict = NotClear
	case p >= compareLevel || small:
		f.Verdict = Same
	case (delta > 0) == moreIsBetter(f.Name):
		f.Verdict = Better
	default:
		f.Verdict = Worse
	}
}

// verdictFindings says which verdicts are others on head: of the run, and of each check that has one on either side.
func verdictFindings(base, head []*Result) []Finding {
	type sides struct {
		base, head []Verdict
		always     bool
	}
	all := map[string]*sides{}
	order := []string{"the run"}
	all["the run"] = &sides{}
	for i, rs := range [][]*Result{base, head} {
		for _, r := range rs {
			seen := map[string]bool{}
			add := func(name string, v Verdict, always bool) {
				if seen[name] {
					return
				}
				seen[name] = true
				s := all[name]
				if s == nil {
					s = &sides{}
					all[name] = s
					order = append(order, name)
				}
				s.always = s.always || always
				if i == 0 {
					s.base = append(s.base, v)
				} else {
					s.head = append(s.head, v)
				}
			}
			add("the run", r.Verdict, false)
			for _, c := range r.Checks {
				add(c.Name, c.Verdict, c.Always)
			}
		}
	}
	var out []Finding
	for _, name := range order {
		s := all[name]
		b, h := verdictText(s.base), verdictText(s.head)
		if b == h || sameShares(s.base, s.head) {
			continue
		}
		f := Finding{What: name, Base: b, Head: h, Verdict: Same}
		if name != "the run" {
			f.What = "check " + name
		}
		// An invalid run says nothing about the system: a change is not worse because the machine was busy.
		bs, hs := valid(s.base), valid(s.head)
		fb, fh := countVerdict(bs, Fail), countVerdict(hs, Fail)
		pb, ph := countVerdict(bs, Pass), countVerdict(hs, Pass)
		// A fail where none was is what a change is watched for. An invariant is exact; what rests on timing may fail by chance.
		switch {
		case fh > 0 && fb == 0:
			f.Chance = stats.MoreOften(fb, len(bs), fh, len(hs))
			f.Detail, f.Verdict = "it failed on no run of base", NotClear
			if f.Chance < compareLevel || s.always {
				f.Verdict = Worse
			}
		case fb > 0 && fh == 0 && ph > 0:
			f.Chance = stats.MoreOften(fh, len(hs), fb, len(bs))
			f.Detail = "it fails no more"
			if f.Chance < compareLevel && ph == len(hs) {
				f.Verdict = Better
			}
		case len(bs) == 0 || len(hs) == 0 || sameShares(bs, hs):
			f.Chance, f.Detail = 1, "invalid runs say nothing about the system"
		case ph*len(bs) < pb*len(hs):
			f.Chance = stats.MoreOften(len(bs)-pb, len(bs), len(hs)-ph, len(hs))
			f.Detail = "it passes less often"
			if f.Chance < compareLevel {
				f.Verdict = NotClear // what it is in place of pass is no fail
			}
		case ph*len(bs) > pb*len(hs):
			f.Chance = stats.MoreOften(len(hs)-ph, len(hs), len(bs)-pb, len(bs))
			f.Detail = "it passes more often"
		default:
			f.Chance = 1
		}
		out = append(out, f)
	}
	return out
}

func countVerdict(vs []Verdict, v Verdict) int {
	n := 0
	for _, x := range vs {
		if x == v {
			n++
		}
	}
	return n
}

func valid(vs []Verdict) []Verdict {
	return slices.DeleteFunc(slices.Clone(vs), func(v Verdict) bool { return v == Invalid })
}

// sameShares reports whether both sides have only one verdict, and the same.
func sameShares(a, b []Verdict) bool {
	return len(a) > 0 && len(b) > 0 && countVerdict(a, a[0]) == len(a) && countVerdict(b, a[0]) == len(b)
}

func verdictText(vs []Verdict) string {
	var out []string
	for _, v := range []Verdict{Pass, Fail, Inconclusive, Invalid, Skipped} {
		if n := countVerdict(vs, v); n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, v))
		}
	}
	if len(out) == 0 {
		return "not judged"
	}
	return strings.Join(out, ", ")
}

// countFindings says which classes of records appear where there were none, or are gone. They are exact.
func countFindings(base, head []*Result) []Finding {
	var out []Finding
	for _, k := range []struct {
		what, check string
		of          func(Counts) uint64
	}{
		{"lost", "loss", func(c Counts) uint64 { return c.Lost }},
		{"corrupt", "corruption", func(c Counts) uint64 { return c.Corrupt }},
		{"foreign", "isolation", func(c Counts) uint64 { return c.Foreign }},
		{"phantom", "phantom", func(c Counts) uint64 { return c.Phantom }},
		{"dead-lettered", "loss", func(c Counts) uint64 { return c.DeadLettered }},
		{"visible duplicates", "duplicates", func(c Counts) uint64 { return c.VisibleDup }},
		{"broker duplicates", "duplicates", func(c Counts) uint64 { return c.BrokerDup }},
		{"misordered", "order", func(c Counts) uint64 { return c.Misordered }},
		{"unknown", "", func(c Counts) uint64 { return c.Unknown }},
	} {
		count := func(rs []*Result) (runs int, least, most uint64) {
			for i, r := range rs {
				n := k.of(r.Totals)
				if n > 0 {
					runs++
				}
				if i == 0 {
					least = n
				}
				least, most = min(least, n), max(most, n)
			}
			return runs, least, most
		}
		rb, lb, mb := count(base)
		rh, lh, mh := count(head)
		f := Finding{What: "records " + k.what, Base: countText(rb, len(base), lb, mb), Head: countText(rh, len(head), lh, mh), Verdict: NotClear}
		switch {
		case rb == 0 && rh > 0:
			f.Chance = stats.MoreOften(rb, len(base), rh, len(head))
			failed := slices.ContainsFunc(head, func(r *Result) bool {
				return slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Name == k.check && c.Verdict == Fail })
			})
			if failed || f.Chance < compareLevel {
				f.Verdict = Worse
			}
			f.Detail = whereLost(k.what, head)
		case rb > 0 && rh == 0:
			f.Chance = stats.MoreOften(rh, len(head), rb, len(base))
			if f.Chance < compareLevel {
				f.Verdict = Better
			}
			f.Detail = "none any more"
		case rb > 0 && lh > mb: // on both sides, and every run of head above every one of base
			f.Chance = stats.LeastChance(len(base), len(head))
			if f.Chance < compareLevel {
				f.Verdict = Worse
			}
			f.Detail = "more than on any run of base"
		case rb > 0 && mh < lb:
			f.Chance = stats.LeastChance(len(base), len(head))
			if f.Chance < compareLevel {
				f.Verdict = Better
			}
			f.Detail = "fewer than on any run of base"
		default:
			continue
		}
		out = append(out, f)
	}
	return out
}

func countText(runs, of int, least, most uint64) string {
	switch {
	case runs == 0:
		return "none"
	case least == most:
		return fmt.Sprintf("%d in each of %d runs", most, of)
	}
	return fmt.Sprintf("up to %d, in %d of %d runs", most, runs, of)
}

// whereLost names the segments in which records of head were lost.
func whereLost(what string, head []*Result) string {
	if what != "lost" {
		return "none on any run of base"
	}
	var where []string
	for _, r := range head {
		for _, s := range r.Segments {
			if s.Lost > 0 && !slices.Contains(where, s.Name) {
				where = append(where, s.Name)
			}
		}
	}
	if len(where) == 0 {
		return "none on any run of base"
	}
	return "none on any run of base; lost in " + strings.Join(where, ", ")
}

// conclude says how the scenario stands: one thing worse is worse, whatever else got better.
func (s *ScenarioChange) conclude() {
	var all []string
	tested := false
	for _, f := range s.Findings {
		all = append(all, f.Verdict)
	}
	for _, f := range s.Figures {
		all = append(all, f.Verdict)
		tested = tested || f.P != nil
	}
	switch {
	case slices.Contains(all, Worse):
		s.Verdict = Worse
	case !tested || slices.Contains(all, NotClear):
		s.Verdict = NotClear
	case slices.Contains(all, Better):
		s.Verdict = Better
	default:
		s.Verdict = NoDifference
	}
}

func (c *Change) conclude() {
	n := map[string]int{}
	for _, s := range c.Scenarios {
		n[s.Verdict]++
	}
	switch {
	case n[Worse] > 0:
		c.Verdict = Worse
	case n[NotClear] > 0 || len(c.Scenarios) == 0:
		c.Verdict = NotClear
	case n[Better] > 0:
		c.Verdict = Better
	default:
		c.Verdict = NoDifference
	}
	var parts []string
	for _, s := range c.Scenarios {
		parts = append(parts, s.Scenario+" "+s.words())
	}
	c.Summary = strings.Join(parts, "; ")
}

// words are what decided.
func (s *ScenarioChange) words() string {
	var worse, better, perhaps []string
	for _, f := range s.Findings {
		text := fmt.Sprintf("%s (%s, then %s)", f.What, f.Base, f.Head)
		switch f.Verdict {
		case Worse:
			worse = append(worse, text)
		case Better:
			better = append(better, text)
		case NotClear:
			perhaps = append(perhaps, text)
		}
	}
	for _, f := range s.Figures {
		text := f.Name
		if f.Change != nil {
			text += fmt.Sprintf(" %+.0f %%", *f.Change*100)
		}
		switch f.Verdict {
		case Worse:
			worse = append(worse, text)
		case Better:
			better = append(better, text)
		case NotClear:
			perhaps = append(perhaps, text)
		}
	}
	const most = 3
	list := func(xs []string) string {
		if len(xs) > most {
			return strings.Join(xs[:most], ", ") + fmt.Sprintf(" and %d more", len(xs)-most)
		}
		return strings.Join(xs, ", ")
	}
	out := s.Verdict
	switch s.Verdict {
	case Worse:
		out += " in " + list(worse)
		if len(better) > 0 {
			out += ", better in " + list(better)
		}
	case Better:
		out += " in " + list(better)
	case NotClear:
		if len(perhaps) > 0 {
			out += ": " + list(perhaps) + " may be chance"
		} else {
			out += fmt.Sprintf(": at least %d valid runs a side are needed", compareRuns)
		}
	case NoDifference: // it is worth what it excludes
		var ranges []string
		for _, f := range s.Figures {
			if strings.HasPrefix(f.Name, "e2e_latency") && strings.HasSuffix(f.Name, "p99") && f.ShareLo != nil {
				ranges = append(ranges, fmt.Sprintf("%s changed by %+.0f to %+.0f %%", f.Name, *f.ShareLo*100, *f.ShareHi*100))
			}
		}
		if len(ranges) > 0 {
			out += " (" + strings.Join(ranges, ", ") + ")"
		}
	}
	return out
}
