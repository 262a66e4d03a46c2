//go:build !embedded_only

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"triad/internal/check"
)

// kindRun makes one run on the real clusters, by the command line that a user types.
func kindRun(t *testing.T, args ...string) (check.Result, int) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var out, log bytes.Buffer
	a := &app{stdout: &out, stderr: &log, getenv: os.Getenv}
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	code := a.main(ctx, append([]string{"--root", root, "run", "--runtime", "kind", "--output", "json"}, args...))
	var res check.Result
	if err := json.Unmarshal(out.Bytes(), &res); err != nil {
		t.Fatalf("exit %d: %v\n%s", code, err, log.String())
	}
	t.Logf("%s: %s: %s", res.Scenario, res.Verdict, res.Summary)
	for _, c := range res.Checks {
		t.Logf("  %-14s %-50s %s", c.Verdict, c.Name, c.Detail)
	}
	if t.Failed() || res.Verdict == "" {
		t.Log(log.String())
	}
	return res, code
}

func verdictIs(t *testing.T, res check.Result, name string, want check.Verdict) {
	t.Helper()
	for _, c := range res.Checks {
		if c.Name == name {
			if c.Verdict != want {
				t.Errorf("%s: check %s is %s, want %s: %s", res.Scenario, name, c.Verdict, want, c.Detail)
			}
			return
		}
	}
	t.Errorf("%s: no check %s", res.Scenario, name)
}

// TestKindScenarios runs the scenarios on three real clusters, in the order of what they need, and asserts what must
// hold whatever the machine's speed: every record accounted for, every fault bit and is gone.
func TestKindScenarios(t *testing.T) {
	if os.Getenv("TRIAD_KIND_TESTS") == "" {
		t.Skip("TRIAD_KIND_TESTS is not set: needs a container engine and takes half an hour")
	}
	names := []string{"smoke", "broker-failover", "metrics-outage", "partition", "partition-metrics", "monitoring-outage", "broker-loss", "datacenter-outage", "forwarder-restart", "es-throttle", "connect-task-failure", "connect-pause", "es-restart", "es-disk-full", "add-cluster", "rollback", "forwarder-buffer-overflow"}
	if only := strings.Fields(os.Getenv("TRIAD_KIND_SCENARIOS")); len(only) > 0 {
		names = only
	}
	for _, name := range names {
		if name == "forwarder-buffer-overflow" {
			t.Run(name, overflow)
			continue
		}
		t.Run(name, func(t *testing.T) {
			res, _ := kindRun(t, name)
			for _, c := range []string{"evidence", "loss", "corruption", "isolation", "phantom"} {
				verdictIs(t, res, c, check.Pass)
			}
			if len(res.Faults) > 0 {
				verdictIs(t, res, "faults", check.Pass)
			}
			// What these are about does not rest on the machine's speed either.
			if c := map[string]string{"add-cluster": "scalability", "rollback": "rollback", "partition-metrics": "metrics-continuity"}[name]; c != "" {
				verdictIs(t, res, c, check.Pass)
			}
			if res.Totals.Acknowledged == 0 || res.Totals.Lost != 0 || res.Totals.Seen < res.Totals.Acknowledged {
				t.Errorf("totals: %+v", res.Totals)
			}
		})
	}
}

// overflow proves that a buffer too small for the outage turns the verdict, with the loss counted exactly in its segment.
func overflow(t *testing.T) {
	res, code := kindRun(t, "forwarder-buffer-overflow")
	if code != exitFail {
		t.Errorf("exit %d, want %d", code, exitFail)
	}
	verdictIs(t, res, "loss", check.Fail)
	for _, s := range res.Segments {
		if s.Name == "ledger-kafka" && (s.Lost == 0 || s.Lost != res.Totals.Lost) {
			t.Errorf("segment %s lost %d of %d", s.Name, s.Lost, res.Totals.Lost)
		}
	}
}
