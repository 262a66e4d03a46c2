//go:build !embedded_only

package kind

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"triad/internal/kube"
)

// A Job that has run is noted beside those that have run before: what is not rendered any more is dropped by the server, and would run again.
func TestJobsThatHaveRunStayNoted(t *testing.T) {
	api, c := newFakeAPI(t, "v1 configmaps ConfigMap", "batch/v1 jobs Job")
	api.put(kube.NewConfigMap(Monitoring, deploymentRecord, map[string]string{"job.kibana-setup": "old", "job.elasticsearch-setup": "old"}))
	job := object(t, `{"apiVersion":"batch/v1","kind":"Job","metadata":{"namespace":%q,"name":"elasticsearch-setup","annotations":{%q:"new"}},"status":{"conditions":[{"type":"Complete","status":"True"}]}}`, Monitoring, contentAnnotation)
	api.put(job)
	d := &deployment{Runtime: &Runtime{progress: func(string, string, string) {}}, plan: &Plan{}}
	if err := d.finishJobs(t.Context(), c, Monitoring, []kube.Object{job}, nil); err != nil {
		t.Fatal(err)
	}
	ran, err := d.record(t.Context(), c, Monitoring)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"job.kibana-setup": "old", "job.elasticsearch-setup": "new"}, ran); diff != "" {
		t.Errorf("noted (-want +got):\n%s", diff)
	}
}
