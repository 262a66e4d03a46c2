//go:build !embedded_only

package kind

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"triad/internal/fault"
	"triad/internal/kube"
	"triad/internal/manifests"
)

// helperEnv tells a second copy of the test program to inject faults and to wait for its death.
const helperEnv = "TRIAD_KIND_HELPER"

// TestKindHelperProcess is the harness that dies in TestKindFaultsOutliveTheHarness.
func TestKindHelperProcess(t *testing.T) {
	state := os.Getenv(helperEnv)
	if state == "" {
		t.Skip("only as a helper of TestKindFaultsOutliveTheHarness")
	}
	r, err := New(t.Context(), Options{StateDir: state, Clusters: []string{Kafka, Monitoring}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	broker := Container{Kafka, Kafka, "triad-broker-2", "kafka"}
	must[*Fault](t)(r.Cut(ctx, Link{From: Kafka, To: Monitoring, Way: Forward}, false, 5*time.Second))
	must[*Fault](t)(r.Slow(ctx, Link{From: Kafka, To: Monitoring, Way: Forward}, Shape{BytesPerSecond: 1_000_000}, 5*time.Second))
	must[*Fault](t)(r.Stop(ctx, broker, 5*time.Second))
	must[*Fault](t)(r.HoldDown(ctx, Container{Kafka, Kafka, "triad-broker-1", "kafka"}, 5*time.Second))
	must[*Fault](t)(r.Noise(ctx, Kafka, noiseCPU, 1, 5*time.Second))
	// A long one: nobody renews its lease after the harness is dead.
	must[*Fault](t)(r.FreezeCluster(ctx, Monitoring, 10*time.Minute))
	fmt.Println("injected") //nolint:forbidigo // the parent test waits for the line
	time.Sleep(time.Hour)
}

// dieInjected runs a helper until it has injected its faults, and kills it.
func dieInjected(t *testing.T, helper, state string, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+helper+"$", "-test.v")
	cmd.Env = append(append(os.Environ(), helperEnv+"="+state), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		said = append(said, lines.Text())
		if lines.Text() == "injected" {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if !slices.Contains(said, "injected") {
		t.Fatalf("the helper did not inject:\n%s", strings.Join(said, "\n"))
	}
}

// TestKindFaultsOutliveTheHarness kills a harness in the middle of every kind of fault, and expects all of them to end without it.
func TestKindFaultsOutliveTheHarness(t *testing.T) {
	r, _ := upTestPair(t)
	ctx := t.Context()
	dieInjected(t, "TestKindHelperProcess", r.opts.StateDir)
	carried := func() (frozen bool, ids []string) {
		nodes := must[[]Node](t)(r.Nodes(ctx, Monitoring))
		frozen = nodes[0].State == "paused"
		return frozen, must[[]string](t)(r.armedIn(ctx, "triad-kafka-control-plane"))
	}
	if frozen, ids := carried(); !frozen || len(ids) != 5 {
		t.Fatalf("after the harness died: frozen %v, faults %v, want true and five", frozen, ids)
	}
	within(t, 40*time.Second, "everything has ended", func() (bool, string) {
		frozen, ids := carried()
		return !frozen && len(ids) == 0, fmt.Sprintf("frozen %v, faults %v", frozen, ids)
	})
	left := must[string](t)(r.sh(ctx, "triad-kafka-control-plane", "iptables-save | grep -c TRIAD-CUT; tc qdisc show dev eth0 root | grep -c htb; systemctl list-units --no-legend 'triad-noise-*' | wc -l; true"))
	if left != "0\n0\n0" {
		t.Errorf("rules, queues and loops left: %q", left)
	}
	client := must[*kube.Client](t)(r.Client(Kafka))
	for _, p := range []string{"triad-broker-1", "triad-broker-2"} {
		if err := client.WaitReady(ctx, []kube.Ref{{APIVersion: "v1", Kind: "Pod", Namespace: Kafka, Name: p}}, 2*time.Minute, nil); err != nil {
			t.Error(err)
		}
	}
	if entries, err := os.ReadDir(r.leaseDir()); err == nil && len(entries) > 0 {
		t.Errorf("leases left: %v", entries)
	}
}

// TestKindAPIHelperProcess is the harness that dies in TestKindAPIFaultsOutliveTheHarness: it dies just after the change was made,
// and, for the task, before a task has failed.
func TestKindAPIHelperProcess(t *testing.T) {
	state := os.Getenv(helperEnv)
	if state == "" {
		t.Skip("only as a helper of TestKindAPIFaultsOutliveTheHarness")
	}
	r, err := New(t.Context(), Options{StateDir: state, Clusters: []string{Kafka, Monitoring}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := testEnv(t, r, &Plan{Reductions: []manifests.Capability{{LeavesOut: os.Getenv(helperEnv + "_LACKS")}}})
	ctx := t.Context()
	// The first document makes the index, and nothing was written yet.
	if status, answer, err := e.ask(ctx, http.MethodPut, "/service-topic", "{}"); err != nil || status >= 300 && status != http.StatusBadRequest {
		t.Fatalf("index: HTTP %d %s, %v", status, answer, err)
	}
	must[fault.Active](t)(e.ThrottleStore(ctx, 1, 5*time.Second))
	must[fault.Active](t)(e.BlockStore(ctx, 5*time.Second))
	must[fault.Active](t)(e.FillDisk(ctx, 5*time.Second))
	must[fault.Active](t)(e.PauseConnect(ctx, 5*time.Second))
	must[*apiFault](t)(e.storeSettings(ctx, "tasks of the sink", 5*time.Second, setting{"/service-topic/_settings", `{"index.blocks.write":true}`, `{"index.blocks.write":null}`}))
	fmt.Println("injected") //nolint:forbidigo // the parent test waits for the line
	time.Sleep(time.Hour)
}

// TestKindAPIFaultsOutliveTheHarness kills a harness that has changed the store and the sink through their interfaces, and expects
// every change to be undone without it.
func TestKindAPIFaultsOutliveTheHarness(t *testing.T) {
	r, plan := upTestPair(t)
	ctx := t.Context()
	e := testEnv(t, r, plan)
	lacks := ""
	if !plan.secured() {
		lacks = "elasticsearch-security"
	}
	dieInjected(t, "TestKindAPIHelperProcess", r.opts.StateDir, helperEnv+"_LACKS="+lacks)
	const node = "triad-monitoring-control-plane"
	if ids := must[[]string](t)(r.armedIn(ctx, node)); len(ids) != 5 {
		t.Fatalf("after the harness died: faults %v, want five", ids)
	}
	within(t, time.Minute, "everything has ended", func() (bool, string) {
		ids, err := r.armedIn(ctx, node)
		return err == nil && len(ids) == 0, fmt.Sprint(ids, err)
	})
	_, settings, err := e.ask(ctx, http.MethodGet, "/_cluster/settings", "")
	if err != nil || strings.Contains(string(settings), "breaker") || strings.Contains(string(settings), "watermark") {
		t.Errorf("settings left in the store: %s, %v", settings, err)
	}
	within(t, time.Minute, "the store takes bulk requests and documents", func() (bool, string) {
		_, blocks, err := e.ask(ctx, http.MethodGet, "/*-topic/_settings/index.blocks.*", "")
		return err == nil && !strings.Contains(string(blocks), "true"), fmt.Sprint(string(blocks), err)
	})
	within(t, 4*time.Minute, "the sink runs", func() (bool, string) {
		st, err := e.sinkStatus(ctx)
		return err == nil && st.running > 0 && st.failed == 0 && st.paused == 0, fmt.Sprint(st, err)
	})
}
