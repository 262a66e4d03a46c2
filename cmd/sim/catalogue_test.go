package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"triad/internal/check"
	"triad/internal/scenario"
)

// elsewhere are the scenarios that the embedded runtime can run and not decide, with the check that it leaves open.
var elsewhere = map[string]string{
	"add-cluster":        "scalability",
	"rollback":           "rollback",
	"security-isolation": "security-isolation",
	"topology-compare":   "performance-isolation",
	"alerts":             "one-view", // there is no Grafana
}

// timeless are the checks that do not rest on how fast the machine is.
var timeless = []string{"evidence", "faults", "loss", "corruption", "isolation", "phantom"}

// TestCatalogue runs every scenario that is shipped for the embedded runtime, several at a time as a user would one, and demands the
// verdict that its file expects. A run that a busy machine spoilt is made once more by itself; then what rests on time is left out, and
// what does not must hold all the same.
func TestCatalogue(t *testing.T) {
	if os.Getenv("TRIAD_CATALOGUE") == "" {
		t.Skip("TRIAD_CATALOGUE is not set: takes twenty minutes")
	}
	files, err := filepath.Glob(filepath.Join(root(t), "scenarios", "*.yaml"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d scenarios: %v", len(files), err)
	}
	var alone sync.Mutex
	atOnce := make(chan struct{}, 3)
	ran := 0
	for _, f := range files {
		s, err := scenario.Load(f)
		if err != nil {
			t.Fatal(err)
		}
		// A search makes a dozen runs, up to what the machine bears: TestSearchMakesRuns has a small one.
		if !slices.Contains(s.Runtimes, "embedded") || s.Search != nil {
			continue
		}
		ran++
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			atOnce <- struct{}{}
			res, text := shipped(t, s.Name)
			<-atOnce
			if res.Verdict == check.Invalid && spoilt(strings.Join(res.Reasons, "\n")) {
				t.Logf("once more: %v", res.Reasons)
				alone.Lock()
				for range cap(atOnce) {
					atOnce <- struct{}{}
				}
				res, text = shipped(t, s.Name)
				for range cap(atOnce) {
					<-atOnce
				}
				alone.Unlock()
			}
			expected(t, s, res)
			t.Logf("%s: %s", res.Verdict, res.Summary)
			if t.Failed() {
				t.Log(text)
			}
		})
	}
	if ran < 15 {
		t.Errorf("only %d scenarios were run", ran)
	}
}

// shipped makes one run of a scenario of the catalogue.
func shipped(t *testing.T, name string) (*check.Result, string) {
	t.Helper()
	dir := t.TempDir()
	p := sim(t, dir, "run", name, "--reports", "reports", "-r", "embedded")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.codeWithin(t, 15*time.Minute)
	dirs := runDirs(t, filepath.Join(dir, "reports"))
	if len(dirs) == 0 {
		t.Fatalf("no run\n%s", p.text())
	}
	return result(t, dirs[len(dirs)-1]), p.text()
}

// expected demands what the file expects of the run.
func expected(t *testing.T, s *scenario.Scenario, res *check.Result) {
	t.Helper()
	want := check.Pass
	if s.Expect == "fail" {
		want = check.Fail
	}
	if open := elsewhere[s.Name]; open != "" {
		want = check.Inconclusive
		for _, c := range res.Checks {
			if c.Name != open && (c.Verdict == check.Fail || c.Verdict == check.Inconclusive) {
				t.Errorf("check %s is %s: %s", c.Name, c.Verdict, c.Detail)
			}
		}
	}
	if res.Verdict == want {
		return
	}
	if res.Verdict != check.Invalid || !spoilt(strings.Join(res.Reasons, "\n")) {
		t.Errorf("verdict %s, want %s: %v", res.Verdict, want, res.Reasons)
	}
	for _, c := range res.Checks {
		if slices.Contains(timeless, c.Name) && c.Verdict != check.Pass && c.Verdict != check.Skipped && (want != check.Fail || c.Name != "loss") {
			t.Errorf("check %s is %s: %s", c.Name, c.Verdict, c.Detail)
		}
	}
}
