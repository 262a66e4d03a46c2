//go:build !embedded_only

package kind

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"triad/internal/evidence"
	"triad/internal/manifests"
)

// What is left out, and a stand-in that no object names, is said to be in the clusters whose manifests have it.
func TestDescribeNamesTheCluster(t *testing.T) {
	set, err := manifests.Open("../../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	list, err := set.Images()
	if err != nil {
		t.Fatal(err)
	}
	images := manifests.ImageSet{StandIns: []string{"elasticsearch-sink", "fluentd", "grafana", "of-somebody-else"}, Absent: []string{"grafana", "inputgen", "kafka", "node-exporter"}}
	p := &Plan{Clusters: manifests.Clusters(), Objects: map[string][]manifests.Object{}, StandIns: images.StandIns, LeftOut: images.Absent, Reductions: list.Reductions(images, nil)}
	for _, c := range p.Clusters {
		objects, err := set.Render(c, overlay)
		if err != nil {
			t.Fatal(err)
		}
		p.Objects[c] = p.leaveOut(c, objects)
	}
	got := map[string][]string{}
	for _, c := range (&env{plan: p}).Describe().Components {
		if c.Fidelity != evidence.Real {
			got[c.Name] = append(got[c.Name], c.Fidelity+" in "+c.Cluster)
		}
	}
	want := map[string][]string{
		"node-exporter": {"absent in datacenter", "absent in kafka", "absent in monitoring"}, "inputgen": {"absent in datacenter"}, "kafka": {"absent in kafka"},
		"grafana": {"absent in monitoring"}, "fluentd": {"stand-in in datacenter"}, "elasticsearch-sink": {"stand-in in monitoring"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is not real (-want +got):\n%s", diff)
	}
}
