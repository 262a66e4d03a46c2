//go:build !embedded_only

package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"triad/internal/check"
)

// strikes are the faults, and the ways to aim them, that no shipped scenario has on kind.
const strikes = `apiVersion: triad/v1
name: strikes
title: faults that no shipped scenario has, one after another
runtimes: [kind]
phases: {warm-up: 5s, before: 15s, during: 150s, after: 20s, drain: 180s}
load:
  - {source: service, rate: 100/s, streams: 6, instances: 2}
  - {source: control, rate: 10/s}
faults:
  - {kind: broker-kill, name: by-id, target: "2", at: during+2s}
  - {kind: link-cut, name: answers-refused, from: datacenter, to: kafka, direction: back, mode: reject, at: during+30s, for: 10s}
  - {kind: connect-kill, name: worker, at: during+50s}
  - {kind: broker-roll, name: roll, at: during+85s}
thresholds: ["lost == 0"]
guarantees: [{segment: ledger-kafka, order: best-effort}]
requires: [evidence, load, faults, loss]
`

// TestKindStrikes: each hits what it was aimed at, bites, is gone by itself, is what explains the restarts, and loses nothing.
func TestKindStrikes(t *testing.T) {
	if os.Getenv("TRIAD_KIND_TESTS") == "" {
		t.Skip("TRIAD_KIND_TESTS is not set: needs a container engine and takes five minutes")
	}
	dir := t.TempDir()
	res, _ := kindRun(t, file(t, dir, "strikes.yaml", strikes), "--reports", dir)
	for _, c := range []string{"evidence", "faults", "loss", "corruption", "isolation", "phantom"} {
		verdictIs(t, res, c, check.Pass)
	}
	if res.Totals.Acknowledged == 0 || res.Totals.Lost != 0 || res.Totals.Unknown != 0 || res.Totals.Seen < res.Totals.Acknowledged {
		t.Errorf("totals: %+v", res.Totals)
	}
	for name, target := range map[string]string{"by-id": "/triad-broker-2/", "answers-refused": "kafka", "worker": "connect", "roll": "broker"} {
		i := slices.IndexFunc(res.Faults, func(f check.Fault) bool { return f.Name == name })
		if i < 0 || !strings.Contains(res.Faults[i].Target, target) || res.Faults[i].Hits == 0 {
			t.Errorf("fault %s: %+v, want one that hit %s", name, res.Faults, target)
		}
	}
	by := map[string][]string{}
	for _, x := range res.Restarts {
		by[x.Fault] = append(by[x.Fault], x.Pod)
		if x.Told() {
			t.Errorf("nothing explains %+v", x)
		}
	}
	if !slices.Contains(by["by-id"], "triad-broker-2") || len(by["worker"]) == 0 {
		t.Errorf("restarts by fault: %v", by)
	}
}
