//go:build !embedded_only

package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

func object(t *testing.T, text string) *Object {
	t.Helper()
	var m map[string]any
	b, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	o := &Object{}
	if err := o.UnmarshalJSON(b); err != nil {
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		o.Object = m
	}
	return o
}

func TestReadiness(t *testing.T) {
	for _, tc := range []struct {
		name, text    string
		ready, failed bool
		why           string
	}{
		{"kafka that no operator has seen", "{apiVersion: kafka.strimzi.io/v1, kind: Kafka, metadata: {name: a, generation: 1}}", false, false, "not seen by the operator"},
		{"kafka of an older generation", "{apiVersion: kafka.strimzi.io/v1, kind: Kafka, metadata: {name: a, generation: 2}, status: {observedGeneration: 1, conditions: [{type: Ready, status: 'True'}]}}", false, false, "last change"},
		{"kafka not ready", "{apiVersion: kafka.strimzi.io/v1, kind: Kafka, metadata: {name: a, generation: 1}, status: {observedGeneration: 1, conditions: [{type: NotReady, status: 'True', reason: Creating, message: pods are away}]}}", false, false, "Creating: pods are away"},
		{"pods of a roll that is not over", "{apiVersion: core.strimzi.io/v1, kind: StrimziPodSet, metadata: {name: a, generation: 2}, status: {observedGeneration: 2, pods: 3, readyPods: 3, currentPods: 2}}", false, false, "3 of 3 pods ready, 2 as they are to be"},
		{"pods of a roll that was not seen", "{apiVersion: core.strimzi.io/v1, kind: StrimziPodSet, metadata: {name: a, generation: 2}, status: {observedGeneration: 1, pods: 3, readyPods: 3, currentPods: 3}}", false, false, "3 of 3"},
		{"pods behind a roll", "{apiVersion: core.strimzi.io/v1, kind: StrimziPodSet, metadata: {name: a, generation: 2}, status: {observedGeneration: 2, pods: 3, readyPods: 3, currentPods: 3}}", true, false, ""},
		{"kafka ready", "{apiVersion: kafka.strimzi.io/v1, kind: Kafka, metadata: {name: a, generation: 1}, status: {observedGeneration: 1, conditions: [{type: Ready, status: 'True'}]}}", true, false, ""},
		{"connector ready with a failed task", "{apiVersion: kafka.strimzi.io/v1, kind: KafkaConnector, metadata: {name: a, generation: 1}, spec: {}, status: {observedGeneration: 1, conditions: [{type: Ready, status: 'True'}], connectorStatus: {connector: {state: RUNNING}, tasks: [{id: 0, state: RUNNING}, {id: 1, state: FAILED, trace: \"no way\\nat x\"}]}}}", false, false, "task 1 is FAILED no way"},
		{"connector without tasks", "{apiVersion: kafka.strimzi.io/v1, kind: KafkaConnector, metadata: {name: a, generation: 1}, spec: {}, status: {observedGeneration: 1, conditions: [{type: Ready, status: 'True'}], connectorStatus: {connector: {state: RUNNING}}}}", false, false, "no tasks"},
		{"connector that is to be stopped", "{apiVersion: kafka.strimzi.io/v1, kind: KafkaConnector, metadata: {name: a, generation: 1}, spec: {state: stopped}, status: {observedGeneration: 1, conditions: [{type: Ready, status: 'True'}], connectorStatus: {connector: {state: STOPPED}}}}", true, false, ""},
		{"running job", "{apiVersion: batch/v1, kind: Job, metadata: {name: a}, status: {active: 1}}", false, false, "not completed"},
		{"failed job", "{apiVersion: batch/v1, kind: Job, metadata: {name: a}, status: {conditions: [{type: Failed, status: 'True', message: deadline}]}}", false, true, "deadline"},
		{"deployment without status", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, generation: 1}, spec: {replicas: 1}}", false, false, ""},
		{"deployment that is there", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, generation: 1}, spec: {replicas: 1}, status: {observedGeneration: 1, replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1, conditions: [{type: Available, status: 'True'}, {type: Progressing, status: 'True', reason: NewReplicaSetAvailable}]}}", true, false, ""},
	} {
		ready, failed, why := readiness(object(t, tc.text))
		if ready != tc.ready || failed != tc.failed || !strings.Contains(why, tc.why) {
			t.Errorf("%s: ready %v, failed %v, %q; want %v, %v, %q", tc.name, ready, failed, why, tc.ready, tc.failed, tc.why)
		}
	}
}

func TestStagesDefineBeforeTheyUse(t *testing.T) {
	order := []string{"CustomResourceDefinition", "ServiceAccount", "ConfigMap", "Deployment"}
	for i := 1; i < len(order); i++ {
		if stage(order[i-1]) >= stage(order[i]) {
			t.Errorf("%s is not applied before %s", order[i-1], order[i])
		}
	}
	if stage("Kafka") != stage("StatefulSet") {
		t.Error("custom resources are not applied with the workloads")
	}
}

func TestTargetPort(t *testing.T) {
	svc := object(t, "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80, targetPort: http}, {port: 81, targetPort: 8081}, {port: 82}]}}")
	pod := object(t, "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: a, ports: [{name: http, containerPort: 8080}]}]}}")
	for port, want := range map[int]int{80: 8080, 81: 8081, 82: 82} {
		if got, err := targetPort(svc, pod, port); err != nil || got != want {
			t.Errorf("port %d: %d, %v, want %d", port, got, err, want)
		}
	}
	if _, err := targetPort(svc, pod, 83); err == nil {
		t.Error("a port that the Service does not have: no error")
	}
}

func TestOpenReadsOnlyTheGivenFile(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	own := filepath.Join(dir, "own")
	write := func(path, server string) {
		text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: " + server + "}}]\ncontexts: [{name: kind-triad-kafka, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: kind-triad-kafka\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(users, "https://production.example:6443")
	write(own, "https://127.0.0.1:1")
	t.Setenv("KUBECONFIG", users)
	c, err := Open(own, "kind-triad-kafka")
	if err != nil || c.Server() != "https://127.0.0.1:1" {
		t.Errorf("server %v, %v", c, err)
	}
	if _, err := Open(filepath.Join(dir, "missing"), "kind-triad-kafka"); err == nil {
		t.Error("a file that is not there: no error, so the user's own was read")
	}
	if _, err := Open(own, "kind-other"); err == nil {
		t.Error("a context that is not there: no error")
	}
}

// fakeAPI is just enough of an API server for apply, wait and diagnose: it knows a few kinds and keeps what is patched.
type fakeAPI struct {
	mu      sync.Mutex
	patched []string          // paths in their order
	lists   map[string]string // path -> items as JSON
	fail    map[string]int    // path -> how many times to answer 500 first
	listed  func(path string) // before lists are answered
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	resources := func(gv string, kinds map[string]string) {
		var list []string
		for plural, kind := range kinds {
			list = append(list, fmt.Sprintf(`{"name":%q,"kind":%q,"namespaced":%v,"verbs":["get","list","patch","delete"]}`, plural, kind, kind != "Namespace"))
		}
		fmt.Fprintf(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":%q,"resources":[%s]}`, gv, strings.Join(list, ","))
	}
	switch {
	case r.URL.Path == "/api":
		fmt.Fprint(w, `{"kind":"APIVersions","versions":["v1"]}`)
	case r.URL.Path == "/apis":
		fmt.Fprint(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}],"preferredVersion":{"groupVersion":"apps/v1","version":"v1"}},
			{"name":"kafka.strimzi.io","versions":[{"groupVersion":"kafka.strimzi.io/v1","version":"v1"}],"preferredVersion":{"groupVersion":"kafka.strimzi.io/v1","version":"v1"}},
			{"name":"core.strimzi.io","versions":[{"groupVersion":"core.strimzi.io/v1","version":"v1"}],"preferredVersion":{"groupVersion":"core.strimzi.io/v1","version":"v1"}}]}`)
	case r.URL.Path == "/api/v1":
		resources("v1", map[string]string{"namespaces": "Namespace", "configmaps": "ConfigMap", "pods": "Pod", "events": "Event"})
	case r.URL.Path == "/apis/apps/v1":
		resources("apps/v1", map[string]string{"deployments": "Deployment"})
	case r.URL.Path == "/apis/kafka.strimzi.io/v1":
		resources("kafka.strimzi.io/v1", map[string]string{"kafkas": "Kafka"})
	case r.URL.Path == "/apis/core.strimzi.io/v1":
		resources("core.strimzi.io/v1", map[string]string{"strimzipodsets": "StrimziPodSet"})
	case r.Method == http.MethodPatch && f.fail[r.URL.Path] > 0:
		f.fail[r.URL.Path]--
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"InternalError","code":500,"message":"not yet"}`)
	case r.Method == http.MethodPatch:
		f.patched = append(f.patched, r.URL.Path+"?"+r.URL.Query().Get("fieldManager"))
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(body)
	case strings.HasSuffix(r.URL.Path, "/log"):
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "starting\nout of luck\n")
	case f.lists[r.URL.Path] != "":
		if f.listed != nil {
			f.listed(r.URL.Path)
		}
		fmt.Fprintf(w, `{"kind":"List","apiVersion":"v1","metadata":{},"items":[%s]}`, f.lists[r.URL.Path])
	default:
		fmt.Fprint(w, `{"kind":"List","apiVersion":"v1","metadata":{},"items":[]}`)
	}
}

func fakeClient(t *testing.T, f *fakeAPI) *Client {
	t.Helper()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	c, err := newClient("test", &rest.Config{Host: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestApplyIsStagedAndTriedAgain(t *testing.T) {
	f := &fakeAPI{fail: map[string]int{"/api/v1/namespaces/space/configmaps/c": 2}}
	c := fakeClient(t, f)
	objects := []Object{
		*object(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: space, resourceVersion: '7'}, status: {x: 1}}"),
		*object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: space}}"),
		*object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: space}}"),
	}
	if err := c.Apply(t.Context(), objects, nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"/api/v1/namespaces/space?triad", "/api/v1/namespaces/space/configmaps/c?triad", "/apis/apps/v1/namespaces/space/deployments/d?triad"}
	if diff := cmp.Diff(want, f.patched); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	body, err := applyBody(&objects[0])
	if err != nil || strings.Contains(string(body), "resourceVersion") || strings.Contains(string(body), "status") {
		t.Errorf("body %s, %v: what the server writes must not be applied", body, err)
	}
	if objects[0].GetResourceVersion() != "7" {
		t.Error("the caller's object was changed")
	}
}

func TestWaitReadySaysTheLikelyCause(t *testing.T) {
	deployment := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","namespace":"n","generation":1},"spec":{"replicas":1},"status":{"observedGeneration":1,"replicas":1,"updatedReplicas":1}}`
	pod := func(name, status string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q,"namespace":"n"},"status":%s}`, name, status)
	}
	waiting := func(reason, message string) string {
		return fmt.Sprintf(`{"phase":"Pending","containerStatuses":[{"name":"a","image":"i:1","ready":false,"state":{"waiting":{"reason":%q,"message":%q}},"lastState":{"terminated":{"reason":"Error","exitCode":3}}}]}`, reason, message)
	}
	crash := waiting("CrashLoopBackOff", "back-off")
	event := func(pod, reason, message string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"Event","metadata":{"name":"e","namespace":"n"},"type":"Warning","reason":%q,"message":%q,"count":2,"lastTimestamp":"2026-01-01T00:00:00Z","involvedObject":{"kind":"Pod","name":%q}}`, reason, message, pod)
	}
	for _, tc := range []struct {
		name, pods, events string
		cause              string
		evidence           string
	}{
		{"image", pod("p", waiting("ErrImageNeverPull", "no")), "", "image i:1 is not in the node", ""},
		{"crash", pod("p", crash), "", "crashes again and again (Error, exit code 3)", "log: out of luck"},
		{"memory", pod("p", strings.ReplaceAll(crash, `"Error"`, `"OOMKilled"`)), "", "OOMKilled", ""},
		{"image explains a crash", pod("p", crash) + "," + pod("q", waiting("ImagePullBackOff", "no")), "", "image i:1", "crashes"},
		{"scheduling", pod("p", `{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","message":"Insufficient memory"}]}`), "", "cannot be scheduled: Insufficient memory", ""},
		{"mount", pod("p", waiting("ContainerCreating", "")), event("p", "FailedMount", `secret "s" not found`), `cannot start: secret "s" not found`, ""},
		{"nothing but an event", "", event("x", "FailedCreate", "quota"), "quota", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &fakeAPI{lists: map[string]string{"/apis/apps/v1/namespaces/n/deployments": deployment, "/api/v1/namespaces/n/pods": tc.pods, "/api/v1/namespaces/n/events": tc.events}}
			err := fakeClient(t, f).WaitReady(t.Context(), []Ref{{"apps/v1", "Deployment", "n", "d"}}, 10*time.Millisecond, nil)
			var nr *NotReadyError
			if !errors.As(err, &nr) {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(nr.Cause, tc.cause) || !strings.Contains(strings.Join(nr.Evidence, "\n"), tc.evidence) {
				t.Errorf("cause %q, evidence %q; want %q and %q", nr.Cause, nr.Evidence, tc.cause, tc.evidence)
			}
			first, _, _ := strings.Cut(err.Error(), "\n")
			if !strings.Contains(first, tc.cause) {
				t.Errorf("the first line does not carry the cause: %q", first)
			}
		})
	}
}

// Of several namespaces the cause is the one nearest to the root, whichever is looked at first.
func TestCauseIsNearestToTheRoot(t *testing.T) {
	for _, bad := range []string{"a", "b"} {
		f := &fakeAPI{lists: map[string]string{}}
		for _, ns := range []string{"a", "b"} {
			status := `{"phase":"Running","conditions":[{"type":"ContainersReady","message":"slow"}],"containerStatuses":[{"name":"c","ready":true,"state":{"running":{}}}]}`
			if ns == bad {
				status = `{"phase":"Pending","containerStatuses":[{"name":"c","image":"i:1","ready":false,"state":{"waiting":{"reason":"ErrImageNeverPull"}}}]}`
			}
			f.lists["/api/v1/namespaces/"+ns+"/pods"] = fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":%q},"status":%s}`, ns, status)
		}
		err := fakeClient(t, f).WaitReady(t.Context(), []Ref{{"apps/v1", "Deployment", "a", "d"}, {"apps/v1", "Deployment", "b", "d"}}, 10*time.Millisecond, nil)
		var nr *NotReadyError
		if !errors.As(err, &nr) || !strings.Contains(nr.Cause, "image i:1") {
			t.Errorf("image missing in %s: %v", bad, err)
		}
	}
}

// What an operator has not seen yet cannot have begun to roll: the pods are ready by what they were before, and waited for all the same.
func TestWaitReadyOfARollThatHasNotBegun(t *testing.T) {
	const kafkas, sets = "/apis/kafka.strimzi.io/v1/namespaces/n/kafkas", "/apis/core.strimzi.io/v1/namespaces/n/strimzipodsets"
	kafka := func(observed int) string {
		return fmt.Sprintf(`{"apiVersion":"kafka.strimzi.io/v1","kind":"Kafka","metadata":{"name":"k","namespace":"n","generation":2},"status":{"observedGeneration":%d,"conditions":[{"type":"Ready","status":"True"}]}}`, observed)
	}
	pods := func(generation, current int) string {
		return fmt.Sprintf(`{"apiVersion":"core.strimzi.io/v1","kind":"StrimziPodSet","metadata":{"name":"s","namespace":"n","generation":%d},"status":{"observedGeneration":%[1]d,"pods":3,"readyPods":3,"currentPods":%d}}`, generation, current)
	}
	f := &fakeAPI{lists: map[string]string{kafkas: kafka(1), sets: pods(1, 3)}}
	looks := 0
	f.listed = func(path string) {
		switch looks++; {
		case path == kafkas && looks > 1: // seen, and called ready before the pods are rolled
			f.lists[kafkas], f.lists[sets] = kafka(2), pods(2, 0)
		case path == sets && looks > 3:
			f.lists[sets] = pods(2, 3)
		}
	}
	refs := []Ref{{PodSetAPI, "StrimziPodSet", "n", "s"}, {"kafka.strimzi.io/v1", "Kafka", "n", "k"}}
	if err := fakeClient(t, f).WaitReady(t.Context(), refs, 30*time.Second, nil); err != nil {
		t.Fatal(err)
	}
	if f.lists[sets] != pods(2, 3) {
		t.Errorf("ready when the pods were %s", f.lists[sets])
	}
}

func TestWaitReadyEndsWhenItsCallerDoes(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupted"))
	err := fakeClient(t, &fakeAPI{}).WaitReady(ctx, []Ref{{"apps/v1", "Deployment", "n", "d"}}, time.Hour, nil)
	if err == nil || !strings.Contains(fmt.Sprint(errors.Unwrap(err)), "interrupted") {
		t.Errorf("error %v", err)
	}
}

func TestDeleteLabelledRefusesToMatchEverything(t *testing.T) {
	if _, err := fakeClient(t, &fakeAPI{}).DeleteLabelled(t.Context(), "n", "", time.Second); err == nil {
		t.Error("an empty selector: no error")
	}
}

// A node that was started again has pods of before in the API until its kubelet has told of them: they are waited for, and those of other nodes and
// those that wait to be started again are not.
func TestWaitStarted(t *testing.T) {
	at := time.Date(2026, 11, 29, 12, 0, 0, 500, time.UTC)
	pod := func(name, node, state string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q,"namespace":"kafka"},"spec":{"nodeName":%q},"status":{"containerStatuses":[{"name":"c","state":%s}]}}`, name, node, state)
	}
	since := func(t string) string { return `{"running":{"startedAt":"` + t + `"}}` }
	others := pod("elsewhere", "b", since("2026-11-29T08:00:00Z")) + "," + pod("waits", "a", `{"waiting":{"reason":"CrashLoopBackOff"}}`) + "," + pod("new", "a", since("2026-11-29T12:00:00Z"))
	f := &fakeAPI{lists: map[string]string{"/api/v1/pods": others + "," + pod("old", "a", since("2026-11-29T11:59:59Z"))}}
	c := fakeClient(t, f)
	err := c.WaitStarted(t.Context(), map[string]time.Time{"a": at}, time.Second)
	if err == nil || !strings.Contains(err.Error(), "waiting for kafka/old") {
		t.Errorf("a pod of before: %v", err)
	}
	f.mu.Lock()
	f.lists["/api/v1/pods"] = others
	f.mu.Unlock()
	if err := c.WaitStarted(t.Context(), map[string]time.Time{"a": at}, 10*time.Second); err != nil {
		t.Error(err)
	}
}
