//go:build !embedded_only

package kube

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	diagnoseTimeout  = 20 * time.Second // for all the reading that one diagnosis does
	diagnoseLogLines = 12               // of a container that crashes: the last lines say why
	diagnoseEvents   = 8                // warnings shown for a namespace
)

// Diagnosis is what a look at a namespace that is not ready brings up.
type Diagnosis struct {
	Cause    string   // the likeliest cause in one sentence, "" if nothing points to one
	Rank     int      // how near to the root the cause is, from 0; of several diagnoses the lowest one has it
	Evidence []string // lines for people, the most telling first
}

const (
	rankCreating = 50 // a container that is being created for no reason that its status gives
	rankEvent    = 70 // the newest warning, where no pod has a fault
	rankNone     = 80 // nothing, or that there is nothing
)

// creatingBecause looks into a pod's events for what its status does not say: a volume that cannot be mounted, a network that
// cannot be set up.
func creatingBecause(s suspicion, who, pod string, events []Event) suspicion {
	for _, e := range events {
		if e.Type == "Warning" && e.Object == "Pod "+pod && strings.HasPrefix(e.Reason, "Failed") {
			return suspicion{8, fmt.Sprintf("%s cannot start: %s", who, e.Message), nil}
		}
	}
	return s
}

// suspicion is one possible cause. A lower rank is nearer to the root: an image that cannot be had explains everything after it.
type suspicion struct {
	rank int
	text string
	more []string
}

// Diagnose looks at the pods of a namespace that a selector takes, "" for all, and at its events, and says what keeps them from being ready. It
// never fails: what cannot be read becomes evidence.
func (c *Client) Diagnose(ctx context.Context, namespace, selector string) Diagnosis {
	var found []suspicion
	pods, err := c.List(ctx, "v1", "Pod", namespace, selector)
	if err != nil {
		return Diagnosis{Cause: "the API server of " + c.name + " does not answer", Evidence: []string{err.Error()}}
	}
	events, eventsErr := c.Events(ctx, namespace)
	for i := range pods {
		found = append(found, c.suspectPod(ctx, &pods[i], events)...)
	}
	sort.SliceStable(found, func(i, j int) bool { return found[i].rank < found[j].rank })
	d := Diagnosis{Rank: rankNone}
	for i, s := range found {
		if i == 0 {
			d.Cause, d.Rank = s.text, s.rank
		}
		d.Evidence = append(d.Evidence, "pod: "+s.text)
		d.Evidence = append(d.Evidence, s.more...)
	}
	if eventsErr != nil {
		d.Evidence = append(d.Evidence, "events: "+eventsErr.Error())
		return d
	}
	warnings := 0
	for _, e := range events {
		if e.Type != "Warning" || warnings == diagnoseEvents {
			continue
		}
		warnings++
		if d.Cause == "" {
			d.Cause, d.Rank = e.Object+": "+e.Message, rankEvent
		}
		d.Evidence = append(d.Evidence, "event: "+e.String())
	}
	if d.Cause == "" && len(pods) == 0 {
		d.Cause = strings.TrimSpace("there are no pods in " + namespace + " " + selector)
	}
	return d
}

func (c *Client) suspectPod(ctx context.Context, pod *Object, events []Event) []suspicion {
	name := pod.GetNamespace() + "/" + pod.GetName()
	phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase")
	if phase == "Succeeded" || condition(pod, "Ready").status == "True" {
		return nil
	}
	var found []suspicion
	if s := condition(pod, "PodScheduled"); s.status == "False" {
		found = append(found, suspicion{20, fmt.Sprintf("%s cannot be scheduled: %s", name, s.message), nil})
	}
	containers := 0
	for _, field := range []string{"initContainerStatuses", "containerStatuses"} {
		statuses, _, _ := unstructured.NestedSlice(pod.Object, "status", field)
		for _, e := range statuses {
			st, ok := e.(map[string]any)
			if !ok {
				continue
			}
			containers++
			s, ok := c.suspectContainer(ctx, pod, name, st)
			if ok && s.rank == rankCreating {
				s = creatingBecause(s, name, pod.GetName(), events)
			}
			if ok && !slices.ContainsFunc(found, func(o suspicion) bool { return o.text == s.text }) {
				found = append(found, s)
			}
		}
	}
	if len(found) == 0 && containers > 0 {
		found = append(found, suspicion{60, fmt.Sprintf("%s runs and is not ready: %s", name, condition(pod, "ContainersReady").message), nil})
	}
	return found
}

func (c *Client) suspectContainer(ctx context.Context, pod *Object, name string, st map[string]any) (suspicion, bool) {
	container, _ := st["name"].(string)
	image, _ := st["image"].(string)
	who := fmt.Sprintf("%s container %s", name, container)
	reason, _, _ := unstructured.NestedString(st, "state", "waiting", "reason")
	message, _, _ := unstructured.NestedString(st, "state", "waiting", "message")
	lastReason, _, _ := unstructured.NestedString(st, "lastState", "terminated", "reason")
	lastCode, _, _ := unstructured.NestedInt64(st, "lastState", "terminated", "exitCode")
	endReason, ended, _ := unstructured.NestedString(st, "state", "terminated", "reason")
	endCode, _, _ := unstructured.NestedInt64(st, "state", "terminated", "exitCode")
	switch {
	case strings.Contains(reason, "Image"):
		return suspicion{0, fmt.Sprintf("image %s is not in the node and nodes pull nothing (%s of %s): %s", image, reason, who, message), nil}, true
	case strings.HasPrefix(reason, "Create") || reason == "RunContainerError" || reason == "InvalidImageName":
		return suspicion{5, fmt.Sprintf("%s: %s: %s", who, reason, message), nil}, true
	case lastReason == "OOMKilled" || endReason == "OOMKilled":
		return suspicion{10, who + " was killed for memory (OOMKilled): raise its limit", c.lastLines(ctx, pod, container, true)}, true
	case reason == "CrashLoopBackOff":
		return suspicion{15, fmt.Sprintf("%s crashes again and again (%s, exit code %d)", who, lastReason, lastCode), c.lastLines(ctx, pod, container, true)}, true
	case ended && endCode != 0:
		return suspicion{15, fmt.Sprintf("%s ended with exit code %d (%s)", who, endCode, endReason), c.lastLines(ctx, pod, container, false)}, true
	case reason == "ContainerCreating" || reason == "PodInitializing":
		return suspicion{rankCreating, strings.TrimSuffix(fmt.Sprintf("%s is still being created: %s", who, message), ": "), nil}, true
	}
	if ready, _ := st["ready"].(bool); !ready && st["state"] != nil && !ended && reason == "" {
		return suspicion{40, who + " runs and its readiness probe does not pass", c.lastLines(ctx, pod, container, false)}, true
	}
	return suspicion{}, false
}

func (c *Client) lastLines(ctx context.Context, pod *Object, container string, previous bool) []string {
	r, err := c.Logs(ctx, pod.GetNamespace(), pod.GetName(), LogOptions{Container: container, Previous: previous, Tail: diagnoseLogLines})
	if err != nil {
		return []string{"log: " + err.Error()}
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, 64<<10))
	if err != nil && len(b) == 0 {
		return []string{"log: " + err.Error()}
	}
	var out []string
	for l := range strings.SplitSeq(strings.TrimRight(string(b), "\n"), "\n") {
		if len(l) > 300 {
			l = l[:300] + "..."
		}
		out = append(out, "log: "+l)
	}
	return out
}
