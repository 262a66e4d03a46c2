//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"triad/internal/kube"
)

// brokenCluster is a cluster with a pod that crashes, one whose init container fails, one that never began, and one of kube-system that is well.
func brokenCluster(t *testing.T) *kube.Client {
	t.Helper()
	api, c := newFakeAPI(t, "v1 pods Pod", "v1 events Event")
	pod := func(namespace, name, status string) {
		api.put(object(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":%q,"name":%q},"status":%s}`, namespace, name, status))
	}
	pod(Kafka, "crashes", `{"phase":"Running","initContainerStatuses":[{"name":"prepare","ready":true,"state":{"terminated":{"exitCode":0,"reason":"Completed"}}}],
		"containerStatuses":[{"name":"main","image":"i","ready":false,"restartCount":3,"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":7,"reason":"Error"}}}]}`)
	pod(Kafka, "restarted", `{"phase":"Running","conditions":[{"type":"Ready","status":"True"}],
		"containerStatuses":[{"name":"main","ready":true,"restartCount":1,"state":{"running":{}},"lastState":{"terminated":{"exitCode":1,"reason":"Error"}}}]}`)
	pod(Kafka, "never", `{"phase":"Pending","containerStatuses":[{"name":"main","image":"i","ready":false,"state":{"waiting":{"reason":"ContainerCreating"}}}]}`)
	pod("kube-system", "proxy", `{"phase":"Running","conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[{"name":"kube-proxy","ready":true,"state":{"running":{}}}]}`)
	api.put(object(t, `{"apiVersion":"v1","kind":"Event","metadata":{"namespace":"kube-system","name":"e"},"type":"Warning","reason":"Unhealthy","message":"probe failed once","involvedObject":{"kind":"Pod","name":"proxy"}}`))
	api.logs = map[string]string{
		"kafka/crashes/prepare": "prepared\n", "kafka/crashes/main/previous": "out of luck\n",
		"kafka/restarted/main": "well again\n", "kafka/restarted/main/previous": strings.Repeat("x", logBytes) + "the end\n",
		"kube-system/proxy/kube-proxy": "rules\n",
	}
	return c
}

// clusterThatFails is a runtime whose kafka cluster is the broken one, and the only one that is there.
func clusterThatFails(t *testing.T) *Runtime {
	t.Helper()
	dir := t.TempDir()
	r := &Runtime{opts: Options{StateDir: dir, LogDir: filepath.Join(dir, "logs"), Clusters: []string{Datacenter, Kafka}}, clients: map[string]*kube.Client{Kafka: brokenCluster(t)}, progress: func(string, string, string) {}}
	if err := writeFileAtomic(r.KubeconfigPath(Kafka), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCollectedIsEverything(t *testing.T) {
	dir := t.TempDir()
	if err := clusterThatFails(t).collect(t.Context(), dir, errors.New("the deployment has failed")); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != causesFile {
			name, _ := filepath.Rel(dir, path)
			got[name] = read(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	long := got["kafka/kafka/restarted.main.previous.log"]
	if !strings.HasPrefix(long, "[the last 4096 KiB]\nxxx") || !strings.HasSuffix(long, "xthe end\n") || len(long) != logBytes+len("[the last 4096 KiB]\n") {
		t.Errorf("a long log has %d bytes: %.40s", len(long), long)
	}
	delete(got, "kafka/kafka/restarted.main.previous.log")
	want := map[string]string{
		"kafka/kafka/crashes.prepare.log":        "prepared\n",
		"kafka/kafka/crashes.main.previous.log":  "out of luck\n",
		"kafka/kafka/restarted.main.log":         "well again\n",
		"kafka/kube-system/proxy.kube-proxy.log": "rules\n",
		"kafka/kube-system/events.txt":           "00:00:00 Unhealthy Pod proxy: probe failed once (1 times)\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("collected (-want +got):\n%s", diff)
	}
	text := read(t, filepath.Join(dir, causesFile))
	first, rest, _ := strings.Cut(text, "\n")
	if first != "likely cause: kafka/kafka: kafka/crashes container main crashes again and again (Error, exit code 7)" {
		t.Errorf("the first line is %q", first)
	}
	for _, s := range []string{"the deployment has failed", "log: out of luck", "kafka/kube-system: Pod proxy: probe failed once"} {
		if !strings.Contains(rest, s) {
			t.Errorf("not in the causes: %q\n%s", s, text)
		}
	}
}

// What the wait found is the cause, whatever the pods look like by now.
func TestCauseOfTheWaitIsOnTop(t *testing.T) {
	dir := t.TempDir()
	why := &kube.NotReadyError{Cluster: "c", Cause: "an image is missing"}
	if err := clusterThatFails(t).collect(t.Context(), dir, why); err != nil {
		t.Fatal(err)
	}
	if text := read(t, filepath.Join(dir, causesFile)); !strings.HasPrefix(text, "likely cause: c: an image is missing\n") {
		t.Errorf("causes: %.80s", text)
	}
}

// The error of a failed up is what it was and names the place; what was collected earlier goes at some time; where nothing is there, nothing is made.
func TestFailedUpSaysWhereItsLogsAre(t *testing.T) {
	r := clusterThatFails(t)
	for _, old := range []string{"up-20260101T000000", "up-20260102T000000", "up-20260103T000000", "triad-kafka-control-plane"} {
		if err := os.MkdirAll(filepath.Join(r.opts.LogDir, old), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	failed := &kube.NotReadyError{Cluster: "c", Cause: "no luck"}
	err := r.withLogs(t.Context(), failed)
	if !errors.Is(err, error(failed)) {
		t.Fatalf("error %v", err)
	}
	_, place, _ := strings.Cut(err.Error(), "the likely cause first: ")
	if text := read(t, place); !strings.Contains(text, "no luck") {
		t.Errorf("%s: %s", place, text)
	}
	left, _ := filepath.Glob(filepath.Join(r.opts.LogDir, "*"))
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	if diff := cmp.Diff([]string{"triad-kafka-control-plane", "up-20260102T000000", "up-20260103T000000", filepath.Base(filepath.Dir(place))}, left); diff != "" {
		t.Errorf("folders (-want +got):\n%s", diff)
	}
	none := &Runtime{opts: Options{StateDir: t.TempDir(), LogDir: filepath.Join(t.TempDir(), "logs"), Clusters: []string{Kafka}}}
	if err := none.withLogs(t.Context(), failed); err != error(failed) { //nolint:errorlint // unchanged is what is asked for
		t.Errorf("without a cluster: %v", err)
	}
	if _, err := os.Stat(none.opts.LogDir); err == nil {
		t.Error("without a cluster: a folder was made")
	}
}

// Nothing more is read when there is enough, and it is said once.
func TestCollectedIsBounded(t *testing.T) {
	c := brokenCluster(t)
	pods, err := c.List(t.Context(), "v1", "Pod", Kafka, "")
	if err != nil {
		t.Fatal(err)
	}
	full := &room{}
	full.used.Store(logsBytes)
	dir := t.TempDir()
	var said []error
	for i := range pods {
		if err := podLogs(t.Context(), c, &pods[i], dir, full); err != nil {
			said = append(said, err)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 || len(said) != 1 || !strings.Contains(said[0].Error(), "256 MiB") {
		t.Errorf("%d files, said %v", len(files), said)
	}
}

func TestLastOf(t *testing.T) {
	text := strings.Repeat("0123456789", 50_000)
	for _, n := range []int{100_000, len(text) - 1, len(text), len(text) + 1} {
		b, cut, err := lastOf(iotest.HalfReader(strings.NewReader(text)), n)
		if want := text[max(0, len(text)-n):]; err != nil || string(b) != want || cut != (n < len(text)) {
			t.Errorf("last %d: %d bytes, cut %v, %v", n, len(b), cut, err)
		}
	}
	b, _, err := lastOf(iotest.TimeoutReader(strings.NewReader(text)), 10)
	if !errors.Is(err, iotest.ErrTimeout) || len(b) != 10 {
		t.Errorf("a broken log: %q, %v", b, err)
	}
}

func TestWhatLeavesLogs(t *testing.T) {
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	failed := errors.New("not ready")
	for _, tc := range []struct {
		what string
		ctx  context.Context
		err  error
		want bool
	}{
		{"nothing", t.Context(), nil, false},
		{"not ready", t.Context(), failed, true},
		{"not ready in time", late, failed, true},
		{"Ctrl-C", interrupted, failed, false},
		{"somebody's cluster", t.Context(), fmt.Errorf("cluster: %w", ErrForeign), false},
		{"another version", t.Context(), fmt.Errorf("cluster: %w", ErrDifferent), false},
		{"a small machine", t.Context(), fmt.Errorf("up: %w", &PreflightError{}), false},
	} {
		if got := leavesLogs(tc.ctx, tc.err); got != tc.want {
			t.Errorf("%s: logs are collected: %v, want %v", tc.what, got, tc.want)
		}
	}
}

// A run whose up has failed has the reason of it on top of what it collects.
func TestRunCollectsWithItsReason(t *testing.T) {
	dir := t.TempDir()
	s := &System{rt: clusterThatFails(t), failed: errors.New("the deployment has failed")}
	if err := s.CollectLogs(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if text := read(t, filepath.Join(dir, causesFile)); !strings.Contains(text, "what failed:\nthe deployment has failed\n") {
		t.Errorf("causes: %s", text)
	}
}
