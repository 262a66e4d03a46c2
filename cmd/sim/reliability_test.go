package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
)

const tinyScenario = `apiVersion: triad/v1
name: tiny
title: the smallest run
runtimes: [embedded]
phases: {warm-up: 200ms, before: 1s, drain: 60s}
load: [{source: service, rate: 50/s, streams: 2}]
thresholds: ["lost == 0"]
`

// frozenScenario stands still long enough to be interrupted in the middle of a fault with everything blocked.
const frozenScenario = `apiVersion: triad/v1
name: frozen
title: kafka stands still
runtimes: [embedded]
phases: {warm-up: 200ms, before: 1s, during: 40s, drain: 60s}
load: [{source: service, rate: 50/s, streams: 2}, {source: control, rate: 20/s}]
faults: [{kind: cluster-freeze, cluster: kafka, at: during, for: 39s}]
thresholds: ["lost == 0"]
`

// hung is when a program that should end counts as one that never does. It is no figure of how fast it is: what an interrupted run
// may take is the sum of deadlines that internal/run tests in virtual time.
const hung = 2 * time.Minute

// program is one run of sim as a process of its own.
type program struct {
	*exec.Cmd
	out, err bytes.Buffer
}

func sim(t *testing.T, dir string, args ...string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{Cmd: &exec.Cmd{Path: self, Args: append([]string{"sim"}, args...), Dir: dir}}
	p.Env = append(os.Environ(), "TRIAD_ROOT="+root(t), "NO_COLOR=1", "TMPDIR="+scratchFor(t))
	p.Stdout, p.Stderr = &p.out, &p.err
	return p
}

// scratchFor is a scratch folder that a killed program may leave files in.
func scratchFor(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tmp")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// code waits for the end and returns the exit code, -1 for a signal; a program that hangs is killed.
func (p *program) code(t *testing.T) int {
	t.Helper()
	return p.codeWithin(t, hung)
}

// codeWithin is code for a program that takes long.
func (p *program) codeWithin(t *testing.T, limit time.Duration) int {
	t.Helper()
	guard := time.AfterFunc(limit, func() {
		t.Errorf("it hung for %v", limit)
		_ = p.Process.Kill() // it may have ended in this moment
	})
	defer guard.Stop()
	err := p.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return p.ProcessState.ExitCode()
}

func (p *program) text() string {
	return "stdout:\n" + p.out.String() + "stderr:\n" + p.err.String()
}

func file(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// runDirs are the run directories that sim left, without those that were never finished.
func runDirs(t *testing.T, reports string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(reports, "[0-9]*"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

func result(t *testing.T, dir string) *check.Result {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, evidence.ResultFile))
	if err != nil {
		t.Fatal(err)
	}
	var res check.Result
	if err := json.Unmarshal(b, &res); err != nil {
		t.Fatal(err)
	}
	return &res
}

// await waits until the text shows on stderr of a running program.
func (p *program) await(t *testing.T, out *watched, text string) {
	t.Helper()
	for end := time.Now().Add(hung); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if strings.Contains(out.String(), text) {
			return
		}
	}
	t.Errorf("%q never came: %s", text, out.String())
}

// watched is a buffer that is read while it is written.
type watched struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// Ctrl-C at any moment: exit 130 within ten seconds, the evidence closed and judged, and never a pass.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, scenario, when string
		more                 time.Duration
	}{
		{"while it comes up", tinyScenario, "tiny on embedded", 100 * time.Millisecond},
		{"before the first record", tinyScenario, "assumptions", 0},
		{"in the load", tinyScenario, "before ", 300 * time.Millisecond},
		{"in a fault that blocks everything", frozenScenario, "cluster-freeze bit", 2 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			name := strings.Fields(tc.scenario)[3]
			p := sim(t, dir, "run", file(t, dir, name+".yaml", tc.scenario), "--reports", "reports", "-r", "embedded")
			said := &watched{}
			p.Stderr = said
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			p.await(t, said, tc.when)
			time.Sleep(tc.more)
			began := time.Now()
			if err := p.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			code := p.code(t)
			took := time.Since(began)
			if code != exitInterrupted {
				t.Errorf("code %d after %v\n%s", code, took, p.text()+said.String())
			}
			if !strings.Contains(said.String(), "interrupted: healing and closing the evidence") {
				t.Errorf("nothing was said of the interruption:\n%s", said)
			}
			dirs := runDirs(t, filepath.Join(dir, "reports"))
			if len(dirs) != 1 {
				t.Fatalf("run directories %v", dirs)
			}
			res := result(t, dirs[0])
			if res.Verdict == check.Pass || res.Verdict == check.Fail || res.Interrupted == "" {
				t.Errorf("an interrupted run is %s, interrupted %q: %v", res.Verdict, res.Interrupted, res.Reasons)
			}
			for _, f := range res.Faults {
				if f.InjectedAt != nil && f.HealedAt == nil {
					t.Errorf("fault %s was not healed", f.Name)
				}
			}
			t.Logf("ended after %v: %s", took.Round(time.Millisecond), res.Verdict)
		})
	}
}

// kill -9 at any moment leaves evidence that sim report reads and judges inconclusive: never a pass, and never a loss or
// a duplicate that was not there.
func TestKill(t *testing.T) {
	t.Parallel()
	moments := []time.Duration{30 * time.Millisecond, 400 * time.Millisecond, 2 * time.Second, 4 * time.Second, 6 * time.Second}
	if !testing.Short() {
		for at := 100 * time.Millisecond; at < 11*time.Second; at += 450 * time.Millisecond {
			moments = append(moments, at)
		}
	}
	scene := strings.Replace(tinyScenario, "before: 1s", "before: 3s", 1)
	for _, at := range moments {
		t.Run(at.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			reports := filepath.Join(dir, "reports")
			p := sim(t, dir, "run", file(t, dir, "tiny.yaml", scene), "--reports", reports, "-r", "embedded")
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(at)
			if err := p.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			p.code(t)
			dirs := runDirs(t, reports)
			if len(dirs) == 0 {
				t.Log("it was killed before there was a run directory")
				return
			}
			_, err := os.Stat(filepath.Join(dirs[0], evidence.SealFile))
			sealed := err == nil
			again := sim(t, dir, "report", dirs[0])
			if err := again.Start(); err != nil {
				t.Fatal(err)
			}
			code := again.code(t)
			if !sealed && code != exitInvalid || sealed && code == exitFail {
				t.Fatalf("sealed %v, code %d\n%s", sealed, code, again.text())
			}
			res := result(t, dirs[0])
			if late := res.Verdict == check.Invalid && spoilt(strings.Join(res.Reasons, "\n")); !sealed && res.Verdict != check.Inconclusive && !late {
				t.Errorf("a killed run is %s: %v", res.Verdict, res.Reasons)
			}
			for _, c := range res.Checks {
				if c.Verdict == check.Fail || !sealed && c.Verdict == check.Pass && (c.Name == "evidence" || c.Name == "loss") {
					t.Errorf("check %s of a killed run is %s: %s", c.Name, c.Verdict, c.Detail)
				}
			}
			// The embedded system died with the harness: there is nothing to go on with, and the command that repeats it is named.
			on := sim(t, dir, "run", "--resume", dirs[0])
			if err := on.Start(); err != nil {
				t.Fatal(err)
			}
			if code := on.code(t); code != exitUsage || !strings.Contains(on.text(), "died with it") || !strings.Contains(on.text(), "sim run ") {
				t.Errorf("resumed on embedded: code %d\n%s", code, on.text())
			}
			t.Logf("sealed %v: %s; %d attempted, %d in kafka, %d searchable", sealed, res.Verdict, res.Totals.Attempted, res.Totals.SeenKafka, res.Totals.Seen)
		})
	}
}

// The second Ctrl-C does not wait, and what it leaves is judged as what kill -9 leaves.
func TestSecondInterrupt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := sim(t, dir, "run", file(t, dir, "frozen.yaml", frozenScenario), "--reports", "reports", "-r", "embedded")
	said := &watched{}
	p.Stderr = said
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.await(t, said, "cluster-freeze ")
	for range 2 {
		if err := p.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		p.await(t, said, "interrupted: ")
	}
	code := p.code(t)
	if code != exitInterrupted {
		t.Errorf("code %d\n%s", code, said)
	}
	for _, d := range runDirs(t, filepath.Join(dir, "reports")) {
		if _, err := os.Stat(filepath.Join(d, evidence.SealFile)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it had time to close the evidence: %v", err)
		}
	}
}

// A disk that fills up ends the run at once, with the reason and what to do, and seals nothing.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	// Room for less than the directory, for the directory alone, and for some seconds of evidence.
	for _, size := range []string{"64k", "88k", "124k"} {
		t.Run(size, func(t *testing.T) {
			t.Parallel()
			diskFull(t, size)
		})
	}
}

func diskFull(t *testing.T, size string) {
	t.Helper()
	dir := t.TempDir()
	small := filepath.Join(dir, "small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("triad-test", small, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	}()
	long := strings.NewReplacer("before: 1s", "before: 120s", "rate: 50/s, streams: 2", "rate: 400/s, streams: 40").Replace(tinyScenario)
	p := sim(t, dir, "run", file(t, dir, "tiny.yaml", long), "--reports", small, "-r", "embedded")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	code := p.code(t)
	said := p.err.String()
	if code != exitInternal || !strings.Contains(said, "no space left on device") || !strings.Contains(said, "--reports") {
		t.Errorf("code %d\n%s", code, p.text())
	}
	if strings.Contains(said, "drain") {
		t.Errorf("the run went on to its end:\n%s", said)
	}
	if strings.Contains(said, "logs were collected") {
		t.Errorf("logs were to be put on the full disk:\n%s", said)
	}
	if n := strings.Count(said, "no space left"); n > 6 {
		t.Errorf("it is said %d times:\n%s", n, said)
	}
	for _, d := range runDirs(t, small) {
		if _, err := os.Stat(filepath.Join(d, evidence.SealFile)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("evidence with a hole was sealed: %v", err)
		}
		again := sim(t, dir, "report", d)
		if err := again.Start(); err != nil {
			t.Fatal(err)
		}
		if code := again.code(t); code == exitPass || !strings.Contains(again.out.String(), "INCONCLUSIVE") && !spoilt(again.out.String()) {
			t.Errorf("the report of it: code %d\n%s", code, again.text())
		}
	}
}

// A reports folder that is read-only is said before anything starts; a run in one is judged all the same.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ro := filepath.Join(dir, "archive")
	if err := os.Mkdir(ro, 0o755); err != nil {
		t.Fatal(err)
	}
	scene := file(t, dir, "tiny.yaml", tinyScenario)
	if err := syscall.Mount("triad-test", ro, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(ro, 0); err != nil {
			t.Error(err)
		}
	}()
	first := sim(t, dir, "run", scene, "--reports", ro, "-r", "embedded")
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	want := first.code(t)
	if err := syscall.Mount("", ro, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("it cannot be made read-only: %v", err)
	}
	p := sim(t, dir, "run", scene, "--reports", ro, "-r", "embedded")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if code := p.code(t); code != exitUsage || !strings.Contains(p.err.String(), "read-only file system; --reports names another folder") || strings.Contains(p.err.String(), "connect") {
		t.Errorf("code %d\n%s", code, p.text())
	}
	dirs := runDirs(t, ro)
	if len(dirs) != 1 {
		t.Fatalf("run directories %v", dirs)
	}
	again := sim(t, dir, "report", dirs[0])
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	if code := again.code(t); code != want || !strings.Contains(again.err.String(), "the reports were not written") {
		t.Errorf("code %d, want %d\n%s", code, want, again.text())
	}
}

// A control port that is taken is said with the address.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := sim(t, t.TempDir(), "inputgen", "--source", "system", "--listen", l.Addr().String(), "--state", t.TempDir())
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if code := p.code(t); code != exitUsage || !strings.Contains(p.err.String(), l.Addr().String()) || !strings.Contains(p.err.String(), "address already in use") {
		t.Errorf("code %d\n%s", code, p.text())
	}
}

// Two runs that start in the same second get a directory each, and each sees its own records alone. They run from a
// folder whose name has a space, with the manifests in it.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a root")
	for _, d := range []string{"manifests", "kind"} {
		if err := os.CopyFS(filepath.Join(dir, d), os.DirFS(filepath.Join(root(t), d))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "scenarios"), 0o755); err != nil {
		t.Fatal(err)
	}
	file(t, filepath.Join(dir, "scenarios"), "tiny.yaml", tinyScenario)
	// Just after the turn of a second, so that the names collide.
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second + 50*time.Millisecond)))
	var ps []*program
	for range 2 {
		p := sim(t, dir, "run", "tiny", "-r", "embedded", "--root", dir)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	for _, p := range ps {
		if code := p.code(t); code != exitPass && !spoilt(p.out.String()) {
			t.Errorf("code %d\n%s", code, p.text())
		}
	}
	dirs := runDirs(t, filepath.Join(dir, "reports"))
	if len(dirs) != 2 {
		t.Fatalf("run directories %v", dirs)
	}
	for _, d := range dirs {
		if res := result(t, d); res.Totals.Lost+res.Totals.ForeignRun+res.Totals.Phantom != 0 || res.Run != filepath.Base(d) {
			t.Errorf("%s says it is %s: %+v", filepath.Base(d), res.Run, res.Totals)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "reports", ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// spoilt reports whether a busy machine, and not the system, is why a run did not pass.
func spoilt(text string) bool {
	return slices.ContainsFunc(busy, func(b string) bool { return strings.Contains(text, b) })
}

// Scratch folders of runs that were killed are swept by the next run; those of living ones are not.
func TestScratchIsSwept(t *testing.T) {
	t.Parallel()
	dir, tmp := t.TempDir(), t.TempDir()
	scene := file(t, dir, "frozen.yaml", frozenScenario) // long enough to be alive while the others start
	start := func() *program {
		p := sim(t, dir, "run", scene, "--reports", "reports", "-r", "embedded")
		p.Env = append(p.Env, "TMPDIR="+tmp)
		said := &watched{}
		p.Stderr = said
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		p.await(t, said, "connect")
		return p
	}
	scratch := func() []string {
		dirs, err := filepath.Glob(filepath.Join(tmp, "triad-run-*"))
		if err != nil {
			t.Fatal(err)
		}
		return dirs
	}
	dead := start()
	if err := dead.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	dead.code(t)
	left := scratch()
	if len(left) != 1 {
		t.Fatalf("a killed run left %v", left)
	}
	alive := start()
	old := time.Now().Add(-time.Hour)
	for _, d := range scratch() {
		if err := os.Chtimes(d, old, old); err != nil {
			t.Fatal(err)
		}
	}
	third := start()
	now := scratch()
	if len(now) != 2 || slices.Contains(now, left[0]) {
		t.Errorf("of %v and two living runs there is %v", left, now)
	}
	for _, p := range []*program{alive, third} {
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		p.code(t)
	}
}

// What serves in a pod of a Job and is told to stop has not succeeded: the Job would not make the pod again.
func TestServingIsNotDone(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	state := t.TempDir()
	p := sim(t, t.TempDir(), "inputgen", "--source", "system", "--listen", addr, "--state", state, "--logs", state)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil { // it serves, so it hears signals too
			c.Close()
			break
		} else if time.Now().After(end) {
			t.Fatalf("it does not serve: %v\n%s", err, p.text())
		}
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.code(t); code != exitInterrupted {
		t.Errorf("code %d\n%s", code, p.text())
	}
}
