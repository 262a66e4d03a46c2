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

// TestKindResume kills the harness with kill -9 in the middle of a run on real clusters, once in the calm and once while a link is cut, and
// goes on. Whatever the machine's speed: nothing is lost, what the harness was to send meanwhile is dropped, and the result says when it
// was dead.
func TestKindResume(t *testing.T) {
	binary := os.Getenv("TRIAD_SIM_BINARY")
	if os.Getenv("TRIAD_KIND_TESTS") == "" || binary == "" {
		t.Skip("TRIAD_KIND_TESTS or TRIAD_SIM_BINARY is not set: needs a container engine and takes ten minutes")
	}
	for name, c := range map[string]struct {
		faults string
		until  string        // in the events
		then   time.Duration // after it
		want   check.Verdict // of the check faults
	}{
		"calm":  {"{kind: link-cut, from: datacenter, to: kafka, at: during+70s, for: 5s}", `"phase","name":"during"`, 10 * time.Second, check.Pass},
		"fault": {"{kind: link-cut, from: datacenter, to: kafka, at: during+5s, for: 70s}", `"state":"injected"`, 10 * time.Second, check.Inconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			reports := filepath.Join(dir, "reports")
			start := func(args ...string) (*exec.Cmd, *bytes.Buffer) {
				p := exec.Command(binary, append([]string{"--root", root(t), "run"}, args...)...) //nolint:gosec // the program under test
				var out bytes.Buffer
				p.Stdout, p.Stderr = &out, &out
				if err := p.Start(); err != nil {
					t.Fatal(err)
				}
				return p, &out
			}
			p, out := start(file(t, dir, "again.yaml", strings.Replace(againScenario, "FAULTS", c.faults, 1)), "--runtime", "kind", "--reports", reports)
			ended := make(chan error, 1)
			go func() { ended <- p.Wait() }()
			var run string
			for tick := time.Tick(200 * time.Millisecond); run == ""; {
				select {
				case <-tick:
				case err := <-ended:
					t.Fatalf("it ended before: %v\n%s", err, out)
				}
				for _, d := range runDirs(t, reports) {
					if b, err := os.ReadFile(filepath.Join(d, evidence.EventsFile)); err == nil && strings.Contains(string(b), c.until) {
						run = d
					}
				}
			}
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
			time.Sleep(5 * time.Second)
			on, said := start("--resume", run)
			_ = on.Wait() // the verdict may rest on the machine's speed
			res := result(t, run)
			for _, k := range res.Checks {
				t.Logf("  %-14s %-30s %s", k.Verdict, k.Name, k.Detail)
			}
			for _, k := range []string{"evidence", "loss", "corruption", "isolation", "phantom"} {
				verdictIs(t, *res, k, check.Pass)
			}
			verdictIs(t, *res, "faults", c.want)
			if len(res.Resumed) != 1 || res.Resumed[0].Dropped == 0 || res.Totals.Lost != 0 || res.Totals.Seen < res.Totals.Acknowledged || res.Totals.Acknowledged == 0 {
				t.Errorf("resumed %+v, totals %+v\n%s", res.Resumed, res.Totals, said)
			}
			if again, said := start("--resume", run); again.Wait() == nil || !strings.Contains(said.String(), "has ended") {
				t.Errorf("a run that has ended was resumed:\n%s", said)
			}
		})
	}
}
