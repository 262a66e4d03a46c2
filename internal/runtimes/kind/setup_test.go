//go:build !embedded_only

package kind

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triad/internal/images"
	"triad/internal/kube"
	"triad/internal/manifests"
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

// What is deployed again after a harness that died has the images that were there, whoever had named them.
func TestImagesOfTheLastDeployment(t *testing.T) {
	dir := t.TempDir()
	engine := filepath.Join(dir, "docker")
	if err := os.WriteFile(engine, []byte("#!/bin/sh\n"), 0o755); err != nil { // no node is there
		t.Fatal(err)
	}
	asDeployed := func() manifests.ImageSet {
		t.Helper()
		o, err := (Options{StateDir: dir, ImagesAsDeployed: true}).withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		return o.Images
	}
	if diff := cmp.Diff(manifests.ImageSet{}, asDeployed()); diff != "" {
		t.Errorf("before anything was deployed (-want +got):\n%s", diff)
	}
	set := manifests.ImageSet{Images: map[string]string{"kafka": "registry.test/kafka:1"}, StandIns: []string{"connect"}, Absent: []string{"fluent-bit"}, Lacks: []string{"elasticsearch-curl"}}
	r := &Runtime{engine: images.Engine{Bin: engine}, opts: Options{StateDir: dir, Images: set, Manifests: "../../../manifests", Clusters: []string{Kafka}}, progress: func(string, string, string) {}}
	if err := r.Deploy(t.Context(), &Plan{}, DeployOptions{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(set, asDeployed()); diff != "" {
		t.Errorf("as deployed (-want +got):\n%s", diff)
	}
	if o, err := (Options{StateDir: dir}).withDefaults(); err != nil || len(o.Images.Images) > 0 {
		t.Errorf("not asked for: %v, %v", o.Images, err)
	}
}
