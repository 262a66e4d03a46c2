//go:build !embedded_only

package kind

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"triad/internal/kube"
	"triad/internal/manifests"
)

// testSet is the image set that tests deploy with: TRIAD_IMAGES, or the manifests' own references.
func testSet(t *testing.T) manifests.ImageSet {
	t.Helper()
	file := os.Getenv("TRIAD_IMAGES")
	if file == "" {
		return manifests.ImageSet{}
	}
	set, err := manifests.LoadImageSet(file)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// ownProgram makes sure that there is a program for Triad's own image: the test's is not sim, and may not be static.
func ownProgram(t *testing.T) {
	t.Helper()
	if os.Getenv("TRIAD_SIM_BINARY") != "" {
		return
	}
	out := filepath.Join(t.TempDir(), "sim")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", out, "triad/cmd/sim")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("cmd/sim does not build: %v\n%s", err, b)
	}
	t.Setenv("TRIAD_SIM_BINARY", out)
}

// brokerImage is an image that is in the nodes of the kafka cluster and has a shell.
func brokerImage(t *testing.T, c *kube.Client) string {
	t.Helper()
	pods := must[[]kube.Object](t)(c.List(t.Context(), "v1", "Pod", Kafka, "strimzi.io/cluster="+kafkaCluster))
	if len(pods) == 0 {
		t.Fatal("there are no brokers")
	}
	containers, _ := manifests.Object(pods[0].Object).Field("spec", "containers")
	list, _ := containers.([]any)
	m, _ := list[0].(map[string]any)
	return str(m["image"])
}

// upTestPair brings the kafka and monitoring clusters up with everything in them.
func upTestPair(t *testing.T) (*Runtime, *Plan) {
	t.Helper()
	requireKind(t)
	ownProgram(t)
	opts := Options{Clusters: []string{Kafka, Monitoring}, Images: testSet(t)}
	if os.Getenv("TRIAD_MANIFESTS") == "" {
		opts.Manifests = "../../../manifests"
	}
	r := newTestRuntime(t, opts)
	var plan *Plan
	timed(t, "up of two clusters", 6*time.Minute, func() (err error) {
		plan, err = r.Up(t.Context(), DeployOptions{})
		return err
	})
	for _, l := range plan.Lines() {
		t.Log("not the real thing:", l)
	}
	return r, plan
}

func TestKindDeploy(t *testing.T) {
	r, plan := upTestPair(t)
	ctx := t.Context()
	timed(t, "a second up of two clusters", 20*time.Second, func() error {
		_, err := r.Up(ctx, DeployOptions{})
		return err
	})
	monitoring, err := r.Client(Monitoring)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("every pod is ready", func(t *testing.T) {
		for _, c := range r.opts.Clusters {
			client, err := r.Client(c)
			if err != nil {
				t.Fatal(err)
			}
			if d := client.Diagnose(ctx, c, ""); len(d.Evidence) > 0 && d.Cause != "" {
				t.Logf("%s: %s", c, d.Cause)
			}
		}
		if err := monitoring.WaitReady(ctx, []kube.Ref{{APIVersion: "kafka.strimzi.io/v1", Kind: "KafkaConnector", Namespace: Monitoring, Name: "logs-to-elasticsearch"}}, time.Minute, nil); err != nil {
			t.Error(err)
		}
	})
	t.Run("templates are in the store", func(t *testing.T) {
		d := &deployment{Runtime: r, plan: plan}
		s, err := d.store(ctx, monitoring, Monitoring)
		if err != nil {
			t.Fatal(err)
		}
		defer s.http.CloseIdleConnections()
		for path, want := range map[string]int{"_index_template/triad-logs": 200, "_index_template/nothing": 404} {
			if status, err := s.request(ctx, "HEAD", path, ""); err != nil || status != want {
				t.Errorf("%s: status %d, %v, want %d", path, status, err, want)
			}
		}
	})
	t.Run("what a killed roll-out has left goes", func(t *testing.T) {
		c := must[*kube.Client](t)(r.Client(Kafka))
		topic := object(t, `{"apiVersion":"kafka.strimzi.io/v1","kind":"KafkaTopic","metadata":{"namespace":%q,"name":"rolled-topic","labels":{"strimzi.io/cluster":%q},"annotations":{%q:%q}},"spec":{"partitions":1,"replicas":1}}`, Kafka, kafkaCluster, rollLabel, rollValue)
		config := object(t, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":%q,"name":"triad-revision","labels":{%q:%q}}}`, Kafka, rollLabel, rollValue)
		if err := c.Apply(ctx, []kube.Object{topic, config}, nil); err != nil {
			t.Fatal(err)
		}
		if healed := must[[]Healed](t)(r.HealAll(ctx)); len(healed) != 1 {
			t.Errorf("healed: %+v", healed)
		}
		for _, o := range []kube.Object{topic, config} {
			if _, err := c.Get(ctx, kube.RefOf(&o)); !kube.IsNotFound(err) {
				t.Errorf("%s: %v, want that it is not there", o.GetName(), err)
			}
		}
	})
	t.Run("not ready says why", func(t *testing.T) {
		c, err := r.Client(Kafka)
		if err != nil {
			t.Fatal(err)
		}
		pod := kube.Object{Object: map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "broken", "namespace": Kafka},
			"spec": map[string]any{
				"replicas": int64(1), "selector": map[string]any{"matchLabels": map[string]any{"app": "broken"}},
				"template": map[string]any{
					"metadata": map[string]any{"labels": map[string]any{"app": "broken"}},
					"spec":     map[string]any{"containers": []any{map[string]any{"name": "broken", "image": "nowhere.invalid/nothing:1", "imagePullPolicy": "Never"}}},
				},
			},
		}}
		if err := c.Apply(ctx, []kube.Object{pod}, nil); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := c.Delete(context.WithoutCancel(ctx), []kube.Ref{kube.RefOf(&pod)}, time.Minute); err != nil {
				t.Error(err)
			}
		}()
		err = c.WaitReady(ctx, []kube.Ref{kube.RefOf(&pod)}, 5*time.Second, nil)
		nr, ok := err.(*kube.NotReadyError) //nolint:errorlint // this exact type is the contract
		if !ok || !contains(nr.Cause, "nowhere.invalid/nothing:1", "is not in the node") {
			t.Errorf("cause: %v", err)
		}
		// A container that says something and ends, behind an init container that says something.
		shell := func(name, then string) map[string]any {
			return map[string]any{"name": name, "image": brokerImage(t, c), "imagePullPolicy": "Never", "command": []any{"sh", "-c", "echo said by " + name + "; " + then}}
		}
		crash := kube.Object{Object: map[string]any{
			"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "crash", "namespace": Kafka},
			"spec": map[string]any{"initContainers": []any{shell("init", "true")}, "containers": []any{shell("main", "exit 7")}, "terminationGracePeriodSeconds": int64(0)},
		}}
		if err := c.Apply(ctx, []kube.Object{crash}, nil); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := c.Delete(context.WithoutCancel(ctx), []kube.Ref{kube.RefOf(&crash)}, time.Minute); err != nil {
				t.Error(err)
			}
		}()
		within(t, time.Minute, "the pod was started again", func() (bool, string) { return restarts(t, c, Kafka, "crash") > 0, "" })
		err = r.withLogs(ctx, err)
		_, causes, _ := strings.Cut(err.Error(), "the likely cause first: ")
		first, rest, _ := strings.Cut(read(t, causes), "\n")
		if !contains(first, "likely cause: ", "nowhere.invalid/nothing:1") || !contains(rest, "kafka/crash container main", "said by main") {
			t.Errorf("causes: %s\n%s", first, rest)
		}
		dir := filepath.Dir(causes)
		for _, l := range []struct{ file, says string }{{"crash.init.log", "said by init"}, {"crash.main.log", "said by main"}, {"events.txt", "broken"}} {
			if text := read(t, filepath.Join(dir, Kafka, Kafka, l.file)); !strings.Contains(text, l.says) {
				t.Errorf("%s: %q, want %q in it", l.file, text, l.says)
			}
		}
		// The log of the one before is there as long as the kubelet has it.
		if b, err := os.ReadFile(filepath.Join(dir, Kafka, Kafka, "crash.main.previous.log")); err == nil && !strings.Contains(string(b), "said by main") {
			t.Errorf("crash.main.previous.log: %q", b)
		}
		for _, cluster := range r.opts.Clusters {
			if logs, _ := filepath.Glob(filepath.Join(dir, cluster, "kube-system", "*.log")); len(logs) < 4 {
				t.Errorf("kube-system of %s: logs %q, want those of four programs at least", cluster, logs)
			}
		}
	})
}
