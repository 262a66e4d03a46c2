//go:build !embedded_only

package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
)

// reachScenario is a load at the rate that the reach names, by the path of the services' logs.
const reachScenario = `apiVersion: triad/v1
name: reach
title: a thousand records a second through the whole chain
phases: {warm-up: 5s, before: 60s, drain: 180s}
load:
  - {source: service, rate: 1000/s, streams: 8, instances: 2}
thresholds: ["lost == 0"]
`

// TestKindReach sends a thousand records a second through three real clusters. On a slow machine the generators may be late and the chain
// may lag; nothing may be lost. How long a command on clusters that are there takes to its load is printed, and belongs to the machine.
func TestKindReach(t *testing.T) {
	if os.Getenv("TRIAD_KIND_TESTS") == "" {
		t.Skip("TRIAD_KIND_TESTS is not set: needs a container engine and takes three minutes")
	}
	dir := t.TempDir()
	reports := filepath.Join(dir, "reports")
	began := time.Now()
	res, _ := kindRun(t, file(t, dir, "reach.yaml", reachScenario), "--reports", reports)
	for _, c := range []string{"evidence", "loss", "corruption", "isolation", "phantom"} {
		verdictIs(t, res, c, check.Pass)
	}
	if res.Totals.Acknowledged < 60_000 || res.Totals.Lost != 0 || res.Totals.Unknown != 0 {
		t.Errorf("totals: %+v", res.Totals)
	}
	headers, err := filepath.Glob(filepath.Join(reports, "*", evidence.HeaderFile))
	if err != nil || len(headers) != 1 {
		t.Fatal(headers, err)
	}
	var h evidence.Header
	if b, err := os.ReadFile(headers[0]); err != nil || json.Unmarshal(b, &h) != nil {
		t.Fatal(err)
	}
	t.Logf("the load began %v after the command; observing took %+v", h.Start.Sub(began).Round(100*time.Millisecond), res.Observing)

	// What people debug with, on the same clusters.
	for _, c := range []struct{ args, want string }{
		{"shell kafka -- get pods --output name", "pod/triad-broker-0"},
		{"logs kafka --tail 5", "triad-broker-0"},
		{"status", "running"},
	} {
		var out, log strings.Builder
		a := &app{stdout: &out, stderr: &log, getenv: os.Getenv}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		code := a.main(ctx, strings.Fields(c.args))
		cancel()
		if code != 0 || !strings.Contains(out.String(), c.want) {
			t.Errorf("sim %s: exit %d, without %q:\n%s%s", c.args, code, c.want, out.String(), log.String())
		}
	}
}
