//go:build !embedded_only

package kube

import (
	"fmt"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// cond is one entry of status.conditions.
type cond struct{ status, reason, message string }

func condition(o *Object, typ string) cond {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, e := range list {
		m, ok := e.(map[string]any)
		if !ok || fmt.Sprint(m["type"]) != typ {
			continue
		}
		str := func(k string) string { s, _ := m[k].(string); return s }
		return cond{str("status"), str("reason"), str("message")}
	}
	return cond{}
}

// readiness says whether a live object has reached what its spec asks for, and in a few words what is missing. failed is set where
// waiting longer is pointless: the object says of itself that it has given up.
func readiness(o *Object) (ready, failed bool, why string) {
	if g := group(o.GetAPIVersion()); strings.HasSuffix(g, "strimzi.io") {
		ready, why = strimziReadiness(o)
		return ready, false, why
	}
	if o.GetKind() == "Job" {
		return jobReadiness(o)
	}
	res, err := status.Compute(o)
	if err != nil {
		return false, false, err.Error()
	}
	return res.Status == status.CurrentStatus, false, res.Message
}

// PodSetAPI and PodSetKind are the API version and the kind of the set of pods that Strimzi's operator makes of a node pool or of Connect.
const (
	PodSetAPI  = "core.strimzi.io/v1"
	PodSetKind = "StrimziPodSet"
)

// strimziReadiness exists because kstatus calls an object without any status current: a Kafka resource that no operator has seen
// would be ready at once.
func strimziReadiness(o *Object) (bool, string) {
	observed, seen, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	switch o.GetKind() {
	case PodSetKind:
		pods, _, _ := unstructured.NestedInt64(o.Object, "status", "pods")
		good, _, _ := unstructured.NestedInt64(o.Object, "status", "readyPods")
		current, _, _ := unstructured.NestedInt64(o.Object, "status", "currentPods")
		return seen && observed >= o.GetGeneration() && pods == good && pods == current, fmt.Sprintf("%d of %d pods ready, %d as they are to be", good, pods, current)
	case "KafkaNodePool":
		// Strimzi writes no Ready condition for pools: the Kafka resource speaks for them.
		return seen && observed >= o.GetGeneration(), "not seen by the operator yet"
	}
	if !seen {
		return false, "not seen by the operator yet"
	}
	if observed < o.GetGeneration() {
		return false, "the operator has not seen the last change yet"
	}
	c := condition(o, "Ready")
	if c.status != "True" {
		nr := condition(o, "NotReady")
		if nr.message != "" {
			return false, strings.TrimSpace(nr.reason + ": " + nr.message)
		}
		if c.message != "" {
			return false, strings.TrimSpace(c.reason + ": " + c.message)
		}
		return false, "no Ready condition yet"
	}
	if o.GetKind() == "KafkaConnector" {
		return connectorReadiness(o)
	}
	return true, ""
}

// connectorReadiness looks behind Ready: a connector can be ready with failed tasks.
func connectorReadiness(o *Object) (bool, string) {
	want, _, _ := unstructured.NestedString(o.Object, "spec", "state")
	if want != "" && want != "running" {
		return true, ""
	}
	state, _, _ := unstructured.NestedString(o.Object, "status", "connectorStatus", "connector", "state")
	if state != "RUNNING" {
		return false, "connector is " + orNone(state)
	}
	tasks, _, _ := unstructured.NestedSlice(o.Object, "status", "connectorStatus", "tasks")
	if len(tasks) == 0 {
		return false, "no tasks yet"
	}
	for _, t := range tasks {
		m, _ := t.(map[string]any)
		if s := fmt.Sprint(m["state"]); s != "RUNNING" {
			trace, _ := m["trace"].(string)
			first, _, _ := strings.Cut(trace, "\n")
			return false, strings.TrimSpace(fmt.Sprintf("task %v is %s %s", m["id"], s, first))
		}
	}
	return true, ""
}

// jobReadiness waits for a Job's end: kstatus calls a running one current.
func jobReadiness(o *Object) (ready, failed bool, why string) {
	if condition(o, "Complete").status == "True" {
		return true, false, ""
	}
	if c := condition(o, "Failed"); c.status == "True" {
		return false, true, "failed: " + c.message
	}
	return false, false, "has not completed"
}

func orNone(s string) string {
	if s == "" {
		return "without a state"
	}
	return s
}
