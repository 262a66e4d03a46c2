//go:build !embedded_only

package kube

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"triad/internal/observe/pods"
)

// Pods asks once, for components alone and in the form that is cheap, and takes the other form where that is all there is. Pods that are to end
// are left out.
func TestPods(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC))
	pod := func(name, component string, restart corev1.RestartPolicy, status corev1.PodStatus) corev1.Pod {
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "kafka", UID: "u-1", CreationTimestamp: at, Labels: map[string]string{pods.ComponentLabel: component}},
			Spec:       corev1.PodSpec{NodeName: "node", RestartPolicy: restart}, Status: status,
		}
	}
	ended := &corev1.ContainerStateTerminated{ContainerID: "containerd://1", Reason: "OOMKilled", ExitCode: 137, StartedAt: at, FinishedAt: at}
	status := func(state, last corev1.ContainerState) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "c", RestartCount: 3, State: state, LastTerminationState: last}}}
	}
	list := &corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{
		pod("runs", "kafka-connect", corev1.RestartPolicyAlways, status(corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}}, corev1.ContainerState{Terminated: ended})),
		pod("waits", "kafka", corev1.RestartPolicyAlways, status(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}, corev1.ContainerState{Terminated: ended})),
		pod("is-made", "kafka", "", status(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}, corev1.ContainerState{Terminated: ended})),
		pod("ended", "kafka", corev1.RestartPolicyAlways, status(corev1.ContainerState{Terminated: ended}, corev1.ContainerState{})),
		pod("evicted", "kafka", corev1.RestartPolicyAlways, corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}),
		pod("failed", "kafka", corev1.RestartPolicyAlways, corev1.PodStatus{Phase: corev1.PodFailed}),
		pod("job", "inputgen", corev1.RestartPolicyOnFailure, corev1.PodStatus{Phase: corev1.PodSucceeded}),
	}}
	list.Items[3].DeletionTimestamp = &at
	end := &pods.End{ID: "containerd://1", Reason: "OOMKilled", Code: 137, Started: at.Time, Finished: at.Time}
	want := func(name, component string, p pods.Pod) pods.Pod {
		p.Name, p.Component, p.UID, p.Node, p.Created = name, component, "u-1", "node", at.Time
		for i := range p.Containers {
			p.Containers[i].Name, p.Containers[i].Restarts, p.Containers[i].Last = "c", 3, end
		}
		return p
	}
	wanted := []pods.Pod{
		want("runs", "connect", pods.Pod{Containers: []pods.Container{{}}}), want("waits", "kafka", pods.Pod{Containers: []pods.Container{{Ended: true}}}),
		want("is-made", "kafka", pods.Pod{Containers: []pods.Container{{}}}), want("ended", "kafka", pods.Pod{Going: true, Containers: []pods.Container{{Ended: true}}}),
		want("evicted", "kafka", pods.Pod{Over: "Evicted"}), want("failed", "kafka", pods.Pod{Over: "Failed"}),
	}
	for _, form := range []string{"application/vnd.kubernetes.protobuf", "application/json"} {
		asked := 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked++; r.URL.Path != "/api/v1/namespaces/kafka/pods" || r.URL.Query().Get("labelSelector") != pods.ComponentLabel || !strings.HasPrefix(r.Header.Get("Accept"), "application/vnd.kubernetes.protobuf") {
				t.Errorf("%s, %s", r.URL, r.Header.Get("Accept"))
			}
			w.Header().Set("Content-Type", form)
			if form == "application/json" {
				_ = json.NewEncoder(w).Encode(list)
			} else if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(list, w); err != nil {
				t.Error(err)
			}
		}))
		c, err := newClient("test", &rest.Config{Host: srv.URL})
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Pods(t.Context(), "kafka")
		srv.Close()
		if err != nil || asked != 1 {
			t.Fatalf("%s: %v, asked %d times", form, err, asked)
		}
		utc := cmp.Transformer("utc", func(t time.Time) string { return t.UTC().String() })
		if diff := cmp.Diff(wanted, got, utc); diff != "" {
			t.Errorf("%s: %s", form, diff)
		}
	}
}
