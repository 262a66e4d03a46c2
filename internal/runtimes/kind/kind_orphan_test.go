//go:build !embedded_only

package kind

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"triad/internal/kube"
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
	must[*Fault](t)(r.Cut(ctx, Link{From: Kafka, To: Monitoring, OneWay: true}, false, 5*time.Second))
	must[*Fault](t)(r.Slow(ctx, Link{From: Kafka, To: Monitoring, OneWay: true}, Shape{BytesPerSecond: 1_000_000}, 5*time.Second))
	must[*Fault](t)(r.Stop(ctx, broker, 5*time.Second))
	must[*Fault](t)(r.HoldDown(ctx, Container{Kafka, Kafka, "triad-broker-1", "kafka"}, 5*time.Second))
	// A long one: nobody renews its lease after the harness is dead.
	must[*Fault](t)(r.FreezeCluster(ctx, Monitoring, 10*time.Minute))
	fmt.Println("injected") //nolint:forbidigo // the parent test waits for the line
	time.Sleep(time.Hour)
}

// TestKindFaultsOutliveTheHarness kills a harness in the middle of every kind of fault, and expects all of them to end without it.
func TestKindFaultsOutliveTheHarness(t *testing.T) {
	r, _ := upTestPair(t)
	ctx := t.Context()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKindHelperProcess$", "-test.v")
	cmd.Env = append(os.Environ(), helperEnv+"="+r.opts.StateDir)
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
	carried := func() (frozen bool, ids []string) {
		nodes := must[[]Node](t)(r.Nodes(ctx, Monitoring))
		frozen = nodes[0].State == "paused"
		return frozen, must[[]string](t)(r.armedIn(ctx, "triad-kafka-control-plane"))
	}
	if frozen, ids := carried(); !frozen || len(ids) != 4 {
		t.Fatalf("after the harness died: frozen %v, faults %v, want true and four", frozen, ids)
	}
	within(t, 40*time.Second, "everything has ended", func() (bool, string) {
		frozen, ids := carried()
		return !frozen && len(ids) == 0, fmt.Sprintf("frozen %v, faults %v", frozen, ids)
	})
	left := must[string](t)(r.sh(ctx, "triad-kafka-control-plane", "iptables-save | grep -c TRIAD-CUT; tc qdisc show dev eth0 root | grep -c htb; true"))
	if left != "0\n0" {
		t.Errorf("rules and queues left: %q", left)
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
