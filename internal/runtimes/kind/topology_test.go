//go:build !embedded_only

package kind

import (
	"testing"
	"time"

	"triad/internal/runtimes/jobs"
	"triad/internal/scenario"
)

// What is done to the nodes for a comparison lasts as long as its run, whatever that is.
func TestComparisonLastsAsLongAsItsRun(t *testing.T) {
	r, _ := shellEngine(t, "0", nil)
	r.opts.Clusters, r.opts.Topology, r.opts.Caps = []string{Datacenter, Kafka, Monitoring}, TopologyThree, &Caps{CPUs: 2, Memory: 1 << 30}
	r.info.MemoryBytes = 2 << 30
	phases := scenario.Phases{WarmUp: scenario.Duration(10 * time.Second), Before: scenario.Duration(time.Minute), During: scenario.Duration(2 * time.Hour), Drain: scenario.Duration(3 * time.Minute)}
	want := 2*time.Hour + 4*time.Minute + 10*time.Second + 20*time.Minute
	c, err := r.compare(t.Context(), jobs.Longest(&scenario.Scenario{Phases: phases}))
	defer func() {
		if err := c.end(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	if len(c.frozen) != 1 || c.frozen[0].Until.Sub(c.frozen[0].Started) != want {
		t.Errorf("the other topology rests: %+v, want one for %s", c.frozen, want)
	}
}
