//go:build !embedded_only

package kind

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"triad/internal/manifests"
	"triad/internal/runtimes"
	"triad/internal/runtimes/jobs"
	"triad/internal/scenario"
)

// Pods of a run go before the system under test when a node runs short, by the class that the manifests have for it. Its name stands in both.
func TestPodsOfARunHaveAPriority(t *testing.T) {
	set, err := manifests.Open("../../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	for want, cluster := range map[string]string{batchClass: Kafka, "": ""} {
		plan := &Plan{Objects: map[string][]manifests.Object{}}
		if cluster != "" {
			if plan.Objects[cluster], err = set.Render(cluster, overlay); err != nil {
				t.Fatal(err)
			}
		}
		e := &env{plan: plan, jobs: jobs.Set{Session: runtimes.Session{Scenario: &scenario.Scenario{}, Run: 7}, Class: batch(plan)}}
		job, pod := e.jobs.BesideBrokers("observers", 2, "observer", observerUser), e.probePod(Kafka, "inside", "1", "a:1")
		for what, spec := range map[string][]string{"job": {"spec", "template", "spec", "priorityClassName"}, "pod": {"spec", "priorityClassName"}} {
			got, _, err := unstructured.NestedString(map[string]map[string]any{"job": job.Object, "pod": pod.Object}[what], spec...)
			if err != nil || got != want {
				t.Errorf("%s: class %q, want %q (%v)", what, got, want, err)
			}
		}
	}
}
