//go:build !embedded_only

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/scenario"
)

// shardsScenario has shards at both places where pods in datacenter can send, their own log files and the brokers, and Kafka read by pods too.
const shardsScenario = `apiVersion: triad/v1
name: shards
title: a load that several pods share
phases: {warm-up: 5s, before: 25s, drain: 120s}
observers: 2
load:
  - {source: service, rate: 60/s, streams: 6, parallelism: 3}
  - {source: system-syslog, rate: 20/s, streams: 2, enter: kafka, parallelism: 2}
`

// TestKindShards has Indexed Jobs send the load of a run on real clusters and read it, and kills one pod of them in a second run. Whatever the machine's
// speed: every shard's ledger is there and every record is accounted for; what the pod that was killed had sent is unknown, and not lost; and
// no Job is left.
func TestKindShards(t *testing.T) {
	if os.Getenv("TRIAD_KIND_TESTS") == "" {
		t.Skip("TRIAD_KIND_TESTS is not set: needs a container engine and takes four minutes")
	}
	dir := t.TempDir()
	name := file(t, dir, "shards.yaml", shardsScenario)
	t.Run("whole", func(t *testing.T) {
		reports := filepath.Join(dir, "whole")
		res, _ := kindRun(t, name, "--reports", reports)
		for _, c := range []string{"evidence", "loss", "corruption", "isolation", "phantom"} {
			verdictIs(t, res, c, check.Pass)
		}
		if res.Totals.Acknowledged == 0 || res.Totals.Lost != 0 || res.Totals.Unknown != 0 {
			t.Errorf("totals: %+v", res.Totals)
		}
		if n := shardLedgers(t, reports); n != 5 {
			t.Errorf("%d ledgers of shards, want 5", n)
		}
		for _, point := range []string{evidence.PointKafka, evidence.PointSearch} {
			if m, err := filepath.Glob(filepath.Join(reports, "*", "ledger", point+"-[01].led")); err != nil || len(m) != 2 {
				t.Errorf("%d ledgers of observers of %s, want 2: %v", len(m), point, err)
			}
		}
		logs, err := filepath.Glob(filepath.Join(reports, "*", "logs", "sim.log"))
		if err != nil || len(logs) != 1 {
			t.Fatal(logs, err)
		}
		if b, err := os.ReadFile(logs[0]); err != nil || bytes.Contains(b, []byte("is read by the harness")) {
			t.Errorf("pods did not read the store, %v", err)
		}
	})
	t.Run("killed", func(t *testing.T) {
		binary := os.Getenv("TRIAD_SIM_BINARY")
		if binary == "" {
			t.Skip("TRIAD_SIM_BINARY is not set: it kills the pod")
		}
		reports := filepath.Join(dir, "killed")
		p, out := startRun(t, binary, name, "--runtime", "kind", "--reports", reports)
		ended := make(chan error, 1)
		go func() { ended <- p.Wait() }()
		run := awaitEvent(t, reports, `"phase","name":"before"`, ended, out)
		time.Sleep(8 * time.Second)
		c := kindClient(t, scenario.Datacenter)
		pods, err := c.List(t.Context(), "v1", "Pod", scenario.Datacenter, "triad.dev/shards,batch.kubernetes.io/job-completion-index=1,!triad.dev/enters")
		if err != nil || len(pods) != 1 {
			t.Fatalf("%d pods of shard 1: %v", len(pods), err)
		}
		if err := c.Kill(t.Context(), &pods[0]); err != nil {
			t.Fatal(err)
		}
		<-ended //nolint:errcheck // it is no pass
		res := result(t, run)
		logChecks(t, res)
		if res.Totals.Lost != 0 || res.Totals.Unknown == 0 || res.Verdict == check.Pass {
			t.Errorf("%s, totals: %+v\n%s", res.Verdict, res.Totals, out)
		}
		for _, k := range res.Checks {
			if k.Verdict == check.Fail {
				t.Errorf("%s fails: %s", k.Name, k.Detail)
			}
		}
		if n := shardLedgers(t, reports); n != 5 {
			t.Errorf("%d ledgers of shards, want 5: of the one whose pod went there is a copy", n)
		}
		if left, err := c.List(t.Context(), "batch/v1", "Job", scenario.Datacenter, "triad.dev/shards"); err != nil || len(left) > 0 {
			t.Errorf("%d Jobs are left behind, %v", len(left), err)
		}
	})
}

// shardLedgers is how many shards' ledgers the only run in a folder has.
func shardLedgers(t *testing.T, reports string) int {
	t.Helper()
	m, err := filepath.Glob(filepath.Join(reports, "*", "ledger", evidence.PointSent+"shards-*.led"))
	if err != nil {
		t.Fatal(err)
	}
	return len(m)
}
