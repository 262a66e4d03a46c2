//go:build !embedded_only

package kind

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"triad/internal/preflight"
)

// TestKindWhole brings all three clusters up from nothing with everything in them, and holds the times of the reach to it.
func TestKindWhole(t *testing.T) {
	requireKind(t)
	ownProgram(t)
	opts := Options{Images: testSet(t)}
	if os.Getenv("TRIAD_MANIFESTS") == "" {
		opts.Manifests = "../../../manifests"
	}
	r := newTestRuntime(t, opts)
	ctx := t.Context()
	// Two cores, images cached: six minutes.
	timed(t, "three clusters with everything", 6*time.Minute, func() error {
		plan, err := r.Up(ctx, DeployOptions{Components: []string{"observer"}})
		if plan != nil {
			for _, l := range plan.Lines() {
				t.Log("not the real thing:", l)
			}
		}
		return err
	})
	timed(t, "a second up", 20*time.Second, func() error {
		_, err := r.Up(ctx, DeployOptions{Components: []string{"observer"}})
		return err
	})
	// What has to flow without any load does.
	within(t, time.Minute, "flows are used", func() (bool, string) {
		used := map[string]int64{}
		for _, c := range must[[]RuleCount](t)(r.FlowCounts(ctx)) {
			used[c.Rule] += c.Packets
		}
		return used["flow-index"] > 0 && used["flow-metrics-kafka"] > 0 && used["flow-metrics-datacenter"] > 0, fmt.Sprint(used)
	})
	for _, f := range must[[]preflight.Finding](t)(r.Preflight(ctx)) {
		if f.Level == preflight.Fail {
			t.Errorf("preflight of a machine that carries the clusters: %+v", f)
		}
	}
	// Without the page cache, which belongs to whoever needs it.
	usage := must[string](t)(r.engine.Run(ctx, "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.CPUPerc}}"))
	t.Log("memory:\n" + usage)
	total := resource.Quantity{}
	for line := range strings.Lines(usage) {
		used, err := resource.ParseQuantity(strings.TrimSuffix(strings.Fields(line)[1], "B"))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		total.Add(used)
	}
	if most := resource.MustParse("12Gi"); total.Cmp(most) > 0 || total.IsZero() {
		t.Errorf("the clusters use %s of memory, want at most %s", total.String(), most.String())
	}
	timed(t, "down", time.Minute, func() error { return r.Down(ctx) })
}
