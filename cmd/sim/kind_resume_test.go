//go:build !embedded_only

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/kube"
	"triad/internal/scenario"
)

const againScenario = `apiVersion: triad/v1
name: again
title: a run that goes on after its harness was killed
runtimes: [kind]
phases: {warm-up: 5s, before: 20s, during: 90s, after: 40s, drain: 180s}
load:
  - {source: service, rate: 100/s, streams: 8, instances: 2, arrivals: poisson}
  - {source: system-auth, rate: 20/s}
  - {source: control, rate: 20/s}
faults: [FAULTS]
thresholds: ["lost == 0"]
guarantees: [{segment: ledger-kafka, order: best-effort}]
requires: [evidence, load, faults, loss]
`

// TestKindResume kills the harness with kill -9 in the middle of a run on real clusters, once in the calm, once while a link is cut, and with
// observers and shards in pods, of which one observer goes while the harness is dead; and goes on. Whatever the machine's speed: nothing is lost,
// nothing is dropped, and the result says when it was dead.
func TestKindResume(t *testing.T) {
	binary := os.Getenv("TRIAD_SIM_BINARY")
	if os.Getenv("TRIAD_KIND_TESTS") == "" || binary == "" {
		t.Skip("TRIAD_KIND_TESTS or TRIAD_SIM_BINARY is not set: needs a container engine and takes twenty minutes")
	}
	const late = "{kind: link-cut, from: datacenter, to: kafka, at: during+70s, for: 5s}"
	pods := strings.NewReplacer("load:", "observers: 2\nload:", "instances: 2,", "parallelism: 2,")
	for name, c := range map[string]struct {
		faults string
		until  string        // in the events
		then   time.Duration // after it
		want   check.Verdict // of the check faults
		pods   bool          // that send and read
		goes   bool          // one that reads goes while the harness is dead
	}{
		"calm":          {faults: late, until: `"phase","name":"during"`, then: 10 * time.Second, want: check.Pass},
		"fault":         {faults: "{kind: link-cut, from: datacenter, to: kafka, at: during+5s, for: 70s}", until: `"state":"injected"`, then: 10 * time.Second, want: check.Inconclusive},
		"observers":     {faults: late, until: `"phase","name":"during"`, then: 10 * time.Second, want: check.Pass, pods: true},
		"observer gone": {faults: late, until: `"phase","name":"during"`, then: 10 * time.Second, want: check.Pass, pods: true, goes: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			reports := filepath.Join(dir, "reports")
			start := func(args ...string) (*exec.Cmd, *bytes.Buffer) { return startRun(t, binary, args...) }
			text := strings.Replace(againScenario, "FAULTS", c.faults, 1)
			if c.pods {
				text = pods.Replace(text)
			}
			p, out := start(file(t, dir, "again.yaml", text), "--runtime", "kind", "--reports", reports)
			ended := make(chan error, 1)
			go func() { ended <- p.Wait() }()
			run := awaitEvent(t, reports, c.until, ended, out)
			time.Sleep(c.then)
			if living, said := start("--resume", run); living.Wait() == nil || !strings.Contains(said.String(), "still under way") {
				t.Errorf("a run that is under way was resumed:\n%s", said)
			}
			if err := p.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil {
				t.Error("it ended by itself")
			}
			observerIs(t, true)
			if c.goes {
				killObserver(t)
			}
			time.Sleep(5 * time.Second)
			on, said := start("--resume", run)
			_ = on.Wait() // the verdict may rest on the machine's speed
			if _, err := os.Stat(filepath.Join(run, "result.json")); err != nil {
				t.Fatalf("no result: %v\n%s", err, said)
			}
			observerIs(t, false)
			res := result(t, run)
			logChecks(t, res)
			if c.goes {
				verdictIs(t, *res, "evidence", check.Inconclusive)
			} else {
				for _, k := range []string{"evidence", "loss", "corruption", "isolation", "phantom"} {
					verdictIs(t, *res, k, check.Pass)
				}
			}
			verdictIs(t, *res, "faults", c.want)
			if c.pods {
				want := map[bool]int{false: 2, true: 1}[c.goes]
				if m, err := filepath.Glob(filepath.Join(run, "ledger", evidence.PointKafka+"-[01].led")); err != nil || len(m) != want {
					t.Errorf("%d ledgers of observers, want %d: %v", len(m), want, err)
				}
				for _, cluster := range []string{scenario.Datacenter, scenario.Kafka} {
					if left, err := kindClient(t, cluster).List(t.Context(), "batch/v1", "Job", cluster, "triad.dev/shards"); err != nil || len(left) > 0 {
						t.Errorf("%d Jobs are left behind in %s, %v", len(left), cluster, err)
					}
				}
			}
			if len(res.Resumed) != 1 || res.Resumed[0].Dropped != 0 || res.Totals.Lost != 0 || res.Totals.Seen < res.Totals.Acknowledged || res.Totals.Acknowledged == 0 {
				t.Errorf("resumed %+v, totals %+v\n%s", res.Resumed, res.Totals, said)
			}
			if again, said := start("--resume", run); again.Wait() == nil || !strings.Contains(said.String(), "has ended") {
				t.Errorf("a run that has ended was resumed:\n%s", said)
			}
		})
	}
}

// startRun starts a run by the program itself, and returns what it says.
func startRun(t *testing.T, binary string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	p := exec.Command(binary, append([]string{"--root", root(t), "run"}, args...)...) //nolint:gosec // the program under test
	var out bytes.Buffer
	p.Stdout, p.Stderr = &out, &out
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p, &out
}

// awaitEvent waits until a run in a folder has written an event, and returns its directory. ended is its process, out what that said.
func awaitEvent(t *testing.T, reports, event string, ended <-chan error, out *bytes.Buffer) string {
	t.Helper()
	for tick := time.Tick(200 * time.Millisecond); ; {
		select {
		case <-tick:
		case err := <-ended:
			t.Fatalf("it ended before: %v\n%s", err, out)
		}
		for _, d := range runDirs(t, reports) {
			if b, err := os.ReadFile(filepath.Join(d, evidence.EventsFile)); err == nil && strings.Contains(string(b), event) {
				return d
			}
		}
	}
}

// struckRun makes a run of a scenario, does something to it when it has written an event, and waits for its end. It must end by itself, and not pass.
// It returns the result and what the program said.
func struckRun(t *testing.T, binary, text, event string, strike func()) (res *check.Result, said string) {
	t.Helper()
	dir := t.TempDir()
	reports := filepath.Join(dir, "reports")
	p, out := startRun(t, binary, file(t, dir, "struck.yaml", text), "--runtime", "kind", "--reports", reports)
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	run := awaitEvent(t, reports, event, ended, out)
	strike()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it passes")
		}
	case <-time.After(15 * time.Minute):
		_ = p.Process.Kill()
		<-ended //nolint:errcheck // it was killed
		t.Fatalf("it does not end:\n%s", out)
	}
	res = result(t, run)
	logChecks(t, res)
	return res, out.String()
}

// killObserver kills the pod of the second observer. Its Job makes another, which knows nothing.
func killObserver(t *testing.T) {
	t.Helper()
	c := kindClient(t, scenario.Kafka)
	pods, err := c.List(t.Context(), "v1", "Pod", scenario.Kafka, "triad.dev/shards,batch.kubernetes.io/job-completion-index=1")
	if err != nil || len(pods) != 1 {
		t.Fatalf("%d pods of observer 1: %v", len(pods), err)
	}
	if err := c.Kill(t.Context(), &pods[0]); err != nil {
		t.Fatal(err)
	}
}

// kindClient speaks to a cluster that is up.
func kindClient(t *testing.T, cluster string) *kube.Client {
	t.Helper()
	rt, err := (&app{stdout: testWriter{t}, stderr: testWriter{t}, getenv: os.Getenv, root: root(t)}).kind(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := rt.Client(cluster)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
