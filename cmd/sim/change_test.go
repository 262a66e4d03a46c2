package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"triad/internal/check"
	"triad/internal/report"
	"triad/internal/scenario"
)

// changeScenario waits more than it works, so that several comparisons fit beside each other.
const changeScenario = `apiVersion: triad/v1
name: tiny
title: the smallest run
runtimes: [embedded]
phases: {warm-up: 200ms, before: 2s, drain: 60s}
load: [{source: service, rate: 50/s, streams: 2}]
thresholds: ["lost == 0"]
`

// history makes a repository with a revision "base" and one "head", in which Fluentd waits four seconds in place of one before it
// sends on.
func history(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, part := range []string{"manifests", "kind"} {
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join(root(t), part))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "scenarios"), 0o755); err != nil {
		t.Fatal(err)
	}
	file(t, filepath.Join(dir, "scenarios"), "tiny.yaml", changeScenario)
	do := func(args ...string) {
		c := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"}, args...)...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	do("init", "-q")
	do("add", ".")
	do("commit", "-qm", "base")
	do("tag", "base")
	path := filepath.Join(dir, "manifests", "base", "datacenter", "config", "fluentd.yaml")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "flush_interval: 1\n") {
		t.Fatal("the manifests have no flush interval of a second")
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(b), "flush_interval: 1\n", "flush_interval: 4\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	do("commit", "-qam", "wait longer")
	do("tag", "head")
	return dir
}

func scratchIsEmpty(t *testing.T, p *program) {
	t.Helper()
	for _, e := range p.Env {
		if dir, ok := strings.CutPrefix(e, "TMPDIR="); ok && strings.Contains(dir, "Test") {
			if left, err := filepath.Glob(filepath.Join(dir, "triad-compare-*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		}
	}
}

// A change of the manifests that makes logs late is found, and the same against the same is not called different. As a comparison of the
// same finds a difference in one of twenty, it may do so once.
func TestCompareRevisions(t *testing.T) {
	t.Parallel()
	repo := history(t)
	compare := func(t *testing.T, base, head string) (*check.Change, int, *program, string) {
		t.Helper()
		reports := t.TempDir()
		p := sim(t, t.TempDir(), "compare", base, head, "--root", repo, "--scenarios", "tiny", "--rounds", "6", "--runtime", "embedded", "--reports", reports, "-o", "json")
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		code := p.codeWithin(t, 20*time.Minute)
		var c check.Change
		if err := json.Unmarshal(p.out.Bytes(), &c); err != nil {
			t.Fatalf("exit code %d: %v\n%s", code, err, p.text())
		}
		scratchIsEmpty(t, p)
		found, err := filepath.Glob(filepath.Join(reports, "compare-*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%v %v", found, err)
		}
		return &c, code, p, found[0]
	}
	// Where the machine spoilt so many runs that too few are left, it is the machine that was measured.
	tooBusy := func(c *check.Change) bool {
		return c.Verdict == check.NotClear && strings.Contains(strings.Join(c.Scenarios[0].Notes, " "), "are left out")
	}
	t.Run("worse", func(t *testing.T) {
		t.Parallel()
		c, code, p, dir := compare(t, "base", "head")
		if tooBusy(c) {
			t.Skip("the machine is too busy to tell: ", c.Scenarios[0].Notes)
		}
		if c.Verdict != check.Worse || code != exitFail || !strings.Contains(c.Summary, "worse in") || !strings.Contains(p.out.String(), "flush_interval: 4") {
			t.Fatalf("exit code %d, %s: %s\n%s", code, c.Verdict, c.Summary, p.err.String())
		}
		found := false
		for _, f := range c.Scenarios[0].Figures {
			if f.Name == "kafka_latency, before, p50" {
				found = f.Verdict == check.Worse && f.ShareLo != nil && *f.ShareLo > 0
			}
		}
		if !found || c.Base.Commit == "" || c.Base.Commit == c.Head.Commit {
			t.Errorf("%+v", c.Scenarios[0].Figures)
		}
		md, err := os.ReadFile(filepath.Join(dir, changeMarkdown))
		if err != nil || !strings.HasPrefix(string(md), report.ChangeMark) || !strings.Contains(string(md), "**worse**") {
			t.Errorf("%v\n%s", err, md)
		}
		// What was run can be compared again, by the program as it is then.
		again := sim(t, dir, "compare", filepath.Join(dir, "base"), filepath.Join(dir, "head"))
		if err := again.Start(); err != nil {
			t.Fatal(err)
		}
		if code := again.codeWithin(t, 5*time.Minute); code != exitFail || !strings.Contains(again.out.String(), "kafka_latency, before, p50") {
			t.Errorf("exit code %d\n%s", code, again.text())
		}
	})
	t.Run("same", func(t *testing.T) {
		t.Parallel()
		for try := 1; ; try++ {
			c, code, p, _ := compare(t, "base", "base")
			if c.Verdict == check.NoDifference && code == exitPass && strings.Contains(p.out.String(), "the same on both sides") {
				return
			}
			if tooBusy(c) {
				t.Skip("the machine is too busy to tell: ", c.Scenarios[0].Notes)
			}
			if try == 2 {
				t.Fatalf("twice: exit code %d, %s: %s\n%s", code, c.Verdict, c.Summary, p.err.String())
			}
			t.Logf("once more: %s: %s", c.Verdict, c.Summary)
		}
	})
}

// Ctrl-C ends the run, keeps what is there and leaves no revision behind.
func TestCompareRevisionsInterrupted(t *testing.T) {
	t.Parallel()
	repo := history(t)
	reports := t.TempDir()
	p := sim(t, t.TempDir(), "compare", "base", "head", "--root", repo, "--scenarios", "tiny", "--rounds", "6", "--runtime", "embedded", "--reports", reports)
	var said watched
	p.Stderr = &said
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.await(t, &said, "round 1 of 6, tiny on head")
	if err := p.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := p.code(t); code != exitInterrupted {
		t.Errorf("exit code %d: %s%s", code, p.out.String(), said.String())
	}
	if !strings.Contains(p.out.String(), "CANNOT TELL") || !strings.Contains(p.out.String(), "Interrupted") {
		t.Errorf("%s%s", p.out.String(), said.String())
	}
	scratchIsEmpty(t, p)
	// On a busy machine it was invalid, and was made once more.
	if dirs, err := filepath.Glob(filepath.Join(reports, "compare-*", "base", "*-tiny-embedded")); err != nil || len(dirs) == 0 {
		t.Errorf("the run that was finished: %v %v", dirs, err)
	}
}

// --to gives every roll-out the revision, and is refused where it would be noticed after minutes, or never.
func TestRollTo(t *testing.T) {
	a := &app{root: history(t)}
	load := func(name string) *scenario.Scenario {
		s, err := scenario.Load(filepath.Join(root(t), "scenarios", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, c := range []struct{ scenario, rev, target, err string }{
		{"rollback", "", "", ""},
		{"rollback", "base", "rev:base", ""},
		{"rollback", "HEAD~1", "rev:HEAD~1", ""},
		{"rollback", "nowhere", "", "--to nowhere: no revision of the repository"},
		{"rollback", "--output=x", "", "no revision of the repository"},
		{"smoke", "base", "", "--to base: scenario smoke rolls nothing out; rollback does"},
	} {
		s := load(c.scenario)
		err := a.rollTo(t.Context(), s, c.rev)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s --to %q: %v, want %q", c.scenario, c.rev, err, c.err)
		}
		if err == nil && s.Faults[0].Target != c.target {
			t.Errorf("%s --to %q: rolls to %q, want %q", c.scenario, c.rev, s.Faults[0].Target, c.target)
		}
		if e, ok := errors.AsType[*exitError](err); err != nil && (!ok || e.code != exitUsage) {
			t.Errorf("%s --to %q: %v is no error of usage", c.scenario, c.rev, err)
		}
	}
}
