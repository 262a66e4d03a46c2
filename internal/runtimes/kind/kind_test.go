//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"triad/internal/images"
)

// requireKind skips a test that needs a container engine, with the reason.
func requireKind(t *testing.T) (images.Engine, images.EngineInfo) {
	t.Helper()
	if os.Getenv("TRIAD_KIND_TESTS") == "" {
		t.Skip("TRIAD_KIND_TESTS is not set: real clusters are not made")
	}
	e, info, err := images.FindEngine(t.Context())
	if err != nil {
		t.Skip(err)
	}
	return e, info
}

// newTestRuntime returns a runtime with a state folder of the test's own, which takes its clusters down in the end.
func newTestRuntime(t *testing.T, opts Options) *Runtime {
	t.Helper()
	requireKind(t)
	if keep := os.Getenv("TRIAD_KIND_KEEP"); keep != "" {
		// For people who develop: clusters stay in this folder from one run of a test to the next.
		opts.StateDir = keep
		return openTestRuntime(t, opts)
	}
	if opts.StateDir == "" {
		opts.StateDir = t.TempDir()
	}
	r := openTestRuntime(t, opts)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := r.Down(ctx); err != nil {
			t.Error("down:", err)
		}
	})
	return r
}

func openTestRuntime(t *testing.T, opts Options) *Runtime {
	t.Helper()
	started := time.Now()
	r, err := New(t.Context(), opts, slog.New(slog.NewTextHandler(testWriter{t}, nil)), func(step, state, detail string) {
		t.Logf("%6.1fs %s: %s: %s", time.Since(started).Seconds(), step, state, detail)
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

func timed(t *testing.T, what string, limit time.Duration, f func() error) {
	t.Helper()
	started := time.Now()
	err := f()
	took := time.Since(started)
	t.Logf("%s: %s", what, took.Round(10*time.Millisecond))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if took > limit {
		t.Errorf("%s took %s, want at most %s", what, took, limit)
	}
}

func conditions(t *testing.T, r *Runtime) map[string]Condition {
	t.Helper()
	as, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]Condition{}
	for _, a := range as {
		out[a.Cluster] = a.Condition
	}
	return out
}

func TestKindLifecycle(t *testing.T) {
	r := newTestRuntime(t, Options{})
	ctx := t.Context()
	timed(t, "three clusters from nothing", 4*time.Minute, func() error { return r.EnsureClusters(ctx) })
	timed(t, "a second up", 10*time.Second, func() error { return r.EnsureClusters(ctx) })
	for _, c := range r.opts.Clusters {
		client, err := r.Client(c)
		if err != nil {
			t.Fatal(err)
		}
		nodes, err := client.List(ctx, "v1", "Node", "", "")
		if err != nil || len(nodes) == 0 {
			t.Fatalf("nodes of %s: %d, %v", c, len(nodes), err)
		}
	}
	nodes, err := r.Nodes(ctx, Kafka)
	if err != nil {
		t.Fatal(err)
	}
	if got := nodes[0].HostPorts[30094]; got != "127.0.0.1:30094" {
		t.Errorf("host port of 30094: %q", got)
	}

	// Stopped and frozen clusters are recognised and started.
	if _, err := r.engine.Run(ctx, "pause", "triad-kafka-control-plane"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.engine.Run(ctx, "kill", "triad-monitoring-control-plane"); err != nil {
		t.Fatal(err)
	}
	got := conditions(t, r)
	if got[Kafka] != Frozen || got[Monitoring] != Stopped || got[Datacenter] != Running {
		t.Errorf("conditions after pause and kill: %v", got)
	}
	timed(t, "up with one frozen and one stopped", 2*time.Minute, func() error { return r.EnsureClusters(ctx) })

	// A cluster whose making was interrupted is made again; another configuration is refused.
	st, _, err := r.readState(Datacenter)
	if err != nil {
		t.Fatal(err)
	}
	st.Phase = phaseCreating
	if err := r.writeState(Datacenter, st); err != nil {
		t.Fatal(err)
	}
	if c := conditions(t, r)[Datacenter]; c != HalfMade {
		t.Errorf("condition of an interrupted cluster: %s", c)
	}
	other := openTestRuntime(t, Options{StateDir: r.opts.StateDir, HostPorts: map[int]int{30920: 31920}, Clusters: []string{Monitoring}})
	if err := other.EnsureClusters(ctx); !errors.Is(err, ErrDifferent) {
		t.Errorf("up with another configuration: %v, want ErrDifferent", err)
	}
	timed(t, "up with one half-made", 2*time.Minute, func() error { return r.EnsureClusters(ctx) })
	timed(t, "down", 60*time.Second, func() error { return r.Down(ctx) })
	if left, err := r.engine.Run(ctx, "ps", "-aq", "--filter", "name=^/?triad-"); err != nil || left != "" {
		t.Errorf("containers left: %q, %v", left, err)
	}
	if _, err := os.Stat(r.opts.StateDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("state folder after down: %v", err)
	}
}

func TestKindCancelledCreate(t *testing.T) {
	r := newTestRuntime(t, Options{Clusters: []string{Kafka}})
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		// Not at once: the containers have to be there to be left behind.
		for range 100 {
			if n, err := r.Nodes(t.Context(), Kafka); err == nil && len(n) > 0 && n[0].State == "running" {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		cancel(errors.New("interrupted by the test"))
	}()
	err := r.EnsureClusters(ctx)
	if err == nil || !strings.Contains(err.Error(), "interrupted by the test") {
		t.Fatalf("cancelled create: %v", err)
	}
	if c := conditions(t, r)[Kafka]; c != Absent {
		t.Errorf("condition after a cancelled create: %s", c)
	}
}

func TestKindForeignClusterIsRefused(t *testing.T) {
	r := newTestRuntime(t, Options{Clusters: []string{Kafka}})
	ctx := t.Context()
	if err := r.ensureNodeImage(ctx); err != nil {
		t.Skip(err)
	}
	// A container with kind's label and without the mark: somebody else's cluster.
	if _, err := r.engine.Run(ctx, "create", "--name", "triad-kafka-control-plane", "--label", clusterLabel+"=triad-kafka", "--label", roleLabel+"=control-plane", r.opts.NodeImage); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_, _ = r.engine.Run(context.WithoutCancel(ctx), "rm", "-f", "-v", "triad-kafka-control-plane")
	}()
	if _, err := r.Preflight(ctx); !errors.Is(err, ErrForeign) {
		t.Errorf("preflight: %v, want ErrForeign", err)
	}
	if err := r.EnsureClusters(ctx); !errors.Is(err, ErrForeign) {
		t.Errorf("up: %v, want ErrForeign", err)
	}
	if err := r.Down(ctx); err != nil {
		t.Errorf("down: %v", err)
	}
	if nodes, err := r.Nodes(ctx, Kafka); err != nil || len(nodes) != 1 {
		t.Errorf("the foreign container is gone after down: %v, %v", nodes, err)
	}
}

func contains(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}
