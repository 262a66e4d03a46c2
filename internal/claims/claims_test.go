package claims

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"triad/internal/check"
	"triad/internal/scenario"
)

func at(minute int) time.Time { return time.Date(2026, 11, 1, 10, minute, 0, 0, time.UTC) }

func passed(name, claim string) check.Check {
	return check.Check{Name: name, Claim: claim, Verdict: check.Pass, Rests: []string{"kafka/kafka (model)"}}
}

func run(minute int, scenario, runtime string, v check.Verdict, declared []string, checks ...check.Check) Run {
	return Run{Created: at(minute), Claims: declared, Result: &check.Result{
		Run: fmt.Sprintf("r%d", minute), Scenario: scenario, Runtime: runtime, Verdict: v, Expected: "pass",
		Summary: "summary of " + scenario, Checks: checks,
	}}
}

func find(t *testing.T, rows []Claim, name string) Claim {
	t.Helper()
	for _, c := range rows {
		if c.Claim == name {
			return c
		}
	}
	t.Fatalf("no row %s", name)
	return Claim{}
}

func TestAlwaysEight(t *testing.T) {
	got := Judge(nil, nil)
	if len(got) != 8 || !slices.Equal(Names(), []string{"C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8"}) {
		t.Fatalf("%d rows, names %v", len(got), Names())
	}
	for _, c := range got {
		if c.Verdict != Unproven || c.Title == "" || !strings.Contains(c.Detail, "to prove it") || c.Runs == nil {
			t.Errorf("without runs: %+v", c)
		}
	}
}

func TestVerdicts(t *testing.T) {
	loss := passed("loss", "C3")
	bad := check.Check{Name: "loss", Claim: "C3", Verdict: check.Fail, Detail: "3 lost"}
	skip := check.Check{Name: "recovery", Claim: "C3", Verdict: check.Skipped}
	astray := check.Check{Name: "isolation", Claim: "C4", Verdict: check.Fail}
	required := run(1, "smoke", "kind", check.Fail, []string{"C3"}, loss, astray, skip)
	required.Requires = []string{"recovery"}
	unharmed := run(1, "smoke", "kind", check.Fail, []string{"C3"}, loss, astray, check.Check{Name: "faults", Verdict: check.Skipped, Detail: "the runtime cannot do it"})
	unharmed.Result.Faults = []check.Fault{{Name: "broker-kill"}}
	weak := run(9, "rotation-overrun", "embedded", check.Fail, []string{"C3"}, bad)
	weak.Result.Expected = "fail"
	for _, tc := range []struct {
		name  string
		runs  []Run
		claim string
		want  Verdict
		ids   []string
		says  string
	}{
		{"an embedded pass is one on the model", []Run{run(1, "smoke", "embedded", check.Pass, []string{"C3"}, loss)}, "C3", OnTheModel, []string{"r1"}, "not the real programs"},
		{"kind decides over embedded", []Run{run(1, "smoke", "embedded", check.Pass, []string{"C3"}, loss), run(2, "smoke", "kind", check.Pass, []string{"C3"}, loss)}, "C3", Proven, []string{"r1", "r2"}, "smoke on kind"},
		{"a fail on the model is a fail", []Run{run(1, "smoke", "embedded", check.Fail, []string{"C3"}, bad), run(2, "smoke", "kind", check.Pass, []string{"C3"}, loss)}, "C3", Failed, []string{"r1", "r2"}, "3 lost"},
		{"the newest run counts", []Run{run(5, "smoke", "embedded", check.Pass, []string{"C3"}, loss), run(1, "smoke", "embedded", check.Fail, []string{"C3"}, bad)}, "C3", OnTheModel, []string{"r5"}, ""},
		{"one inconclusive scenario is no pass", []Run{run(1, "smoke", "kind", check.Pass, []string{"C3"}, loss), run(2, "burst", "kind", check.Inconclusive, []string{"C3"}, loss)}, "C3", Inconclusive, []string{"r2", "r1"}, "summary of burst"},
		{"a run about something else proves nothing", []Run{run(1, "smoke", "kind", check.Pass, []string{"C1"}, loss)}, "C3", Unproven, nil, "no run is about it"},
		{"skipped checks prove nothing", []Run{run(1, "smoke", "kind", check.Pass, []string{"C3"}, skip)}, "C3", Inconclusive, []string{"r1"}, "skipped"},
		{"a failed check counts in any run", []Run{run(1, "smoke", "kind", check.Fail, nil, check.Check{Name: "isolation", Claim: "C4", Verdict: check.Fail, Detail: "2 astray"})}, "C4", Failed, []string{"r1"}, "2 astray"},
		{"another claim's fail is not this one's", []Run{run(1, "smoke", "kind", check.Fail, []string{"C3"}, loss, check.Check{Name: "isolation", Claim: "C4", Verdict: check.Fail})}, "C3", Proven, []string{"r1"}, ""},
		{"and what every claim rests on is looked at all the same", []Run{run(1, "smoke", "kind", check.Fail, []string{"C3"}, loss, check.Check{Name: "isolation", Claim: "C4", Verdict: check.Fail}, check.Check{Name: "faults", Verdict: check.Invalid, Detail: "did not bite"})}, "C3", Invalid, []string{"r1"}, "did not bite"},
		{"a skipped check that is required did not pass", []Run{required}, "C3", Inconclusive, []string{"r1"}, "recovery: skipped"},
		{"one that is not required leaves the claim", []Run{run(1, "smoke", "kind", check.Fail, []string{"C3"}, loss, astray, skip)}, "C3", Proven, []string{"r1"}, ""},
		{"faults that did not strike prove nothing", []Run{unharmed}, "C3", Inconclusive, []string{"r1"}, "faults: skipped: the runtime cannot do it"},
		{"a run without faults has none to skip", []Run{run(1, "smoke", "kind", check.Fail, []string{"C3"}, loss, astray, check.Check{Name: "faults", Verdict: check.Skipped})}, "C3", Proven, []string{"r1"}, ""},
		{"a failed threshold is", []Run{run(1, "smoke", "kind", check.Fail, []string{"C3"}, loss, check.Check{Name: "lost == 0", Gate: true, Verdict: check.Fail})}, "C3", Failed, []string{"r1"}, "summary of smoke"},
		{"a documented weakness is said and not held against it", []Run{weak, run(1, "smoke", "embedded", check.Pass, []string{"C3"}, loss)}, "C3", OnTheModel, []string{"r9", "r1"}, "documented weakness"},
		{"a documented weakness alone proves nothing", []Run{weak}, "C3", Unproven, []string{"r9"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := find(t, Judge(tc.runs, nil), tc.claim)
			var ids []string
			for _, p := range c.Runs {
				ids = append(ids, p.Run)
			}
			if c.Verdict != tc.want || !slices.Equal(slices.Sorted(slices.Values(ids)), slices.Sorted(slices.Values(tc.ids))) || !strings.Contains(c.Detail, tc.says) {
				t.Errorf("%s by %v: %s", c.Verdict, ids, c.Detail)
			}
		})
	}
}

// An absent part is named beside the verdict, and makes no model of what is real.
func TestAbsentIsNoModel(t *testing.T) {
	alerts := check.Check{Name: "alerts", Claim: "C7", Verdict: check.Pass, Rests: []string{"monitoring/alertmanager (absent)"}}
	for rests, models := range map[string]bool{"monitoring/alertmanager (absent)": false, "kafka/kafka (model)": true} {
		alerts.Rests = append(alerts.Rests[:1], rests)
		c := find(t, Judge([]Run{run(1, "alerts", "kind", check.Pass, []string{"C7"}, alerts)}, nil), "C7")
		if got := strings.Contains(c.Detail, "models or stand-ins"); got != models || !slices.Contains(c.Runs[0].Models, "monitoring/alertmanager (absent)") {
			t.Errorf("rests on %v: %s: %s", c.Runs[0].Models, c.Verdict, c.Detail)
		}
	}
}

func TestHintNamesOnlyWhatExists(t *testing.T) {
	c := find(t, Judge(nil, []string{"alerts"}), "C7")
	if !strings.Contains(c.Detail, "sim run alerts") {
		t.Error(c.Detail)
	}
	if c = find(t, Judge(nil, []string{"smoke"}), "C6"); strings.Contains(c.Detail, "sim run") || !strings.Contains(c.Detail, "fourth cluster") {
		t.Error(c.Detail)
	}
}

// Every scenario that says that it tests a claim requires a check of that claim, or one is judged in every run: else its runs could never
// say anything about the claim, and the row would stay inconclusive for ever.
func TestScenariosCanProveTheirClaims(t *testing.T) {
	files, err := filepath.Glob("../../scenarios/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d scenarios: %v", len(files), err)
	}
	var names []string
	for _, f := range files {
		s, err := scenario.Load(f)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, s.Name)
		for _, c := range s.Claims {
			about := slices.DeleteFunc(slices.Clone(scenario.Checks), func(k scenario.CheckKind) bool { return k.ClaimIn(s) != c })
			if !slices.ContainsFunc(about, func(k scenario.CheckKind) bool { return k.Always || slices.Contains(s.Requires, k.Name) }) {
				t.Errorf("%s says that it tests %s, and requires none of its checks %v", s.Name, c, about)
			}
		}
	}
	for _, r := range rows {
		for _, name := range r.scenarios {
			if f := filepath.Join("../../scenarios", name+".yaml"); slices.Contains(names, name) {
				if s, err := scenario.Load(f); err != nil || !slices.Contains(s.Claims, r.claim) {
					t.Errorf("the row of %s names %s, which is about %v (%v)", r.claim, name, s.Claims, err)
				}
			}
		}
	}
}

// Each of the eight rows gets every verdict from a run on kind with a check of its claim.
func TestEveryRowGetsItsVerdict(t *testing.T) {
	for _, k := range scenario.Checks {
		if k.Claim == "" {
			continue
		}
		for v, want := range map[check.Verdict]Verdict{check.Pass: Proven, check.Fail: Failed, check.Invalid: Invalid, check.Inconclusive: Inconclusive, check.Skipped: Inconclusive} {
			whole := v
			if v == check.Skipped {
				whole = check.Inconclusive // the scenario requires it
			}
			c := find(t, Judge([]Run{run(1, "any", "kind", whole, []string{k.Claim}, check.Check{Name: k.Name, Claim: k.Claim, Verdict: v, Detail: "the reason"})}, nil), k.Claim)
			if c.Verdict != want || len(c.Runs) != 1 {
				t.Errorf("%s with %s %s: the row says %s by %v, want %s", k.Claim, k.Name, v, c.Verdict, c.Runs, want)
			}
			if v == check.Skipped && !strings.Contains(c.Detail, "the reason") {
				t.Errorf("%s: a skipped %s does not say why: %s", k.Claim, k.Name, c.Detail)
			}
		}
	}
	for _, name := range Names() {
		if !slices.ContainsFunc(scenario.Checks, func(k scenario.CheckKind) bool { return k.Claim == name }) {
			t.Errorf("no check is about %s", name)
		}
	}
}
