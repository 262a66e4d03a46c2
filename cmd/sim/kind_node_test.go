//go:build !embedded_only

package main

import (
	"cmp"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"triad/internal/check"
	"triad/internal/scenario"
)

const nodeScenario = `apiVersion: triad/v1
name: node
title: a node that dies in the middle of a run
runtimes: [kind]
phases: {warm-up: 5s, before: 40s, drain: 30s}
load:
  - {source: service, rate: 50/s, streams: 4, instances: 2}
  - {source: control, rate: 10/s}
thresholds: ["lost == 0"]
`

// TestKindNodeDies kills the only node of a cluster in the middle of a run, so that nothing of it answers any more. The run ends by itself, what was
// seen until then is in the evidence and is judged, and what could not be seen is unknown or unread: it never passes, and nothing of it is lost.
func TestKindNodeDies(t *testing.T) {
	binary := os.Getenv("TRIAD_SIM_BINARY")
	if os.Getenv("TRIAD_KIND_TESTS") == "" || binary == "" {
		t.Skip("TRIAD_KIND_TESTS or TRIAD_SIM_BINARY is not set: needs a container engine and takes eight minutes")
	}
	engine := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(cmp.Or(os.Getenv("TRIAD_ENGINE"), "docker"), args...).CombinedOutput(); err != nil { //nolint:gosec // the engine under test
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	for _, cluster := range []string{scenario.Monitoring, scenario.Datacenter} {
		t.Run(cluster, func(t *testing.T) {
			node := "triad-" + cluster + "-control-plane"
			defer engine("start", node)
			res, said := struckRun(t, binary, nodeScenario, `"phase","name":"before"`, func() {
				time.Sleep(10 * time.Second) // of good evidence
				engine("kill", node)
			})
			if res.Verdict == check.Pass || res.Verdict == check.Fail || res.Totals.Lost != 0 || res.Totals.SeenKafka == 0 {
				t.Errorf("%s, totals %+v", res.Verdict, res.Totals)
			}
			if !strings.Contains(res.Summary+said, cluster) {
				t.Errorf("what is gone is not said: %s\n%s", res.Summary, said)
			}
		})
	}
}
