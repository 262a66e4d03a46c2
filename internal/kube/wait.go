//go:build !embedded_only

package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// waitEvery is the time between two looks at everything that is waited for: one list request for each kind and namespace.
const waitEvery = time.Second

// NotReadyError says which objects did not become ready in time, why probably, and shows the evidence.
type NotReadyError struct {
	Cluster  string        // the context
	After    time.Duration // how long was waited
	Pending  []string      // "Kind namespace/name: what is missing"
	Cause    string        // the likely cause in one sentence, "" when nothing points to one
	Evidence []string      // container states, events and last log lines
	Err      error         // why the wait ended: its deadline, or the caller's
}

// Error puts the likely cause first, then what is pending, then the evidence, one line each.
func (e *NotReadyError) Error() string {
	var b strings.Builder
	cause := e.Cause
	if cause == "" {
		cause = "no single cause found"
	}
	fmt.Fprintf(&b, "%s: not ready after %s: %s", e.Cluster, e.After.Round(time.Second), cause)
	for i, p := range e.Pending {
		if i == 8 {
			fmt.Fprintf(&b, "\n  pending: and %d more", len(e.Pending)-i)
			break
		}
		fmt.Fprintf(&b, "\n  pending: %s", p)
	}
	for _, l := range e.Evidence {
		fmt.Fprintf(&b, "\n  %s", l)
	}
	return b.String()
}

// Unwrap returns why the wait ended.
func (e *NotReadyError) Unwrap() error { return e.Err }

// errWaitedLongEnough is the cause of a wait that ran into its own deadline.
var errWaitedLongEnough = errors.New("deadline of the wait")

// errGaveUp is the cause of a wait for an object that says of itself that it failed.
var errGaveUp = errors.New("object has failed")

// WaitReady waits until every referenced object has reached what its spec asks for, or until timeout has passed. Strimzi resources
// count as ready only when the operator has seen their last change; Jobs when they have completed. progress hears each object once,
// when it is ready. When it does not get there the error is a *NotReadyError with the likely cause.
func (c *Client) WaitReady(ctx context.Context, refs []Ref, timeout time.Duration, progress ProgressFunc) error {
	started := time.Now()
	wctx, cancel := context.WithTimeoutCause(ctx, timeout, errWaitedLongEnough)
	defer cancel()
	pending := make(map[Ref]string, len(refs))
	for _, r := range refs {
		pending[r] = "not looked at yet"
	}
	for {
		gaveUp := c.look(wctx, pending, func(r Ref) {
			if progress != nil {
				progress("wait "+c.name, StateInfo, fmt.Sprintf("%s ready after %s", r, time.Since(started).Round(100*time.Millisecond)))
			}
		})
		if len(pending) == 0 {
			return nil
		}
		err := errGaveUp
		if !gaveUp {
			select {
			case <-time.After(waitEvery):
				continue
			case <-wctx.Done():
				err = context.Cause(wctx)
			}
		}
		return c.notReady(ctx, pending, time.Since(started), err)
	}
}

// look reads every pending object, takes the ready ones out, and notes what the others lack. It returns true when one has failed
// for good.
func (c *Client) look(ctx context.Context, pending map[Ref]string, ready func(Ref)) (gaveUp bool) {
	type class struct{ apiVersion, kind, namespace string }
	classes := map[class][]Ref{}
	// As long as the operator has not seen a resource, its set of pods is ready by what it was before: a run began while brokers were rolled.
	unseen := slices.ContainsFunc(slices.Collect(maps.Keys(pending)), isStrimzi)
	for r := range pending {
		if unseen && r.Kind == PodSetKind {
			pending[r] = "is looked at when the operator has seen its resource"
			continue
		}
		k := class{r.APIVersion, r.Kind, r.Namespace}
		classes[k] = append(classes[k], r)
	}
	for k, refs := range classes {
		live := map[string]*Object{}
		items, err := c.List(ctx, k.apiVersion, k.kind, k.namespace, "")
		for i := range items {
			live[items[i].GetName()] = &items[i]
		}
		for _, r := range refs {
			o := live[r.Name]
			switch {
			case err != nil:
				pending[r] = err.Error()
			case o == nil:
				pending[r] = "does not exist"
			default:
				ok, failed, why := readiness(o)
				if ok {
					delete(pending, r)
					ready(r)
				} else {
					pending[r] = why
					gaveUp = gaveUp || failed
				}
			}
		}
	}
	return gaveUp
}

// isStrimzi reports whether an operator of Strimzi says of an object that it has seen its last change.
func isStrimzi(r Ref) bool { return group(r.APIVersion) == "kafka.strimzi.io" }

func (c *Client) notReady(ctx context.Context, pending map[Ref]string, after time.Duration, err error) error {
	e := &NotReadyError{Cluster: c.name, After: after, Err: err}
	namespaces := map[string]bool{}
	for r, why := range pending {
		e.Pending = append(e.Pending, r.String()+": "+why)
		if r.Namespace != "" {
			namespaces[r.Namespace] = true
		}
	}
	sort.Strings(e.Pending)
	// The diagnosis gets time of its own: the wait's is used up, and a cancelled caller still wants to know.
	dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), diagnoseTimeout)
	defer cancel()
	rank := 0
	for _, ns := range slices.Sorted(maps.Keys(namespaces)) {
		d := c.Diagnose(dctx, ns, "")
		if d.Cause != "" && (e.Cause == "" || d.Rank < rank) {
			e.Cause, rank = d.Cause, d.Rank
		}
		e.Evidence = append(e.Evidence, d.Evidence...)
	}
	return e
}

// poll asks every half second until it is done, and ends with ctx: then the error says what of this cluster was waited for.
func (c *Client) poll(ctx context.Context, what string, ask func() (done bool, waiting string)) error {
	for {
		done, waiting := ask()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s of %s: %w: %s", what, c.name, context.Cause(ctx), waiting)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// WaitNodes waits until exactly n nodes are there and all of them are Ready.
func (c *Client) WaitNodes(ctx context.Context, n int, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not ready within %s", timeout))
	defer cancel()
	return c.poll(ctx, "nodes", func() (bool, string) {
		nodes, err := c.List(ctx, "v1", "Node", "", "")
		if err != nil {
			return false, err.Error()
		}
		good, last := 0, ""
		for i := range nodes {
			if r := condition(&nodes[i], "Ready"); r.status == "True" {
				good++
			} else {
				last = nodes[i].GetName() + ": " + r.message
			}
		}
		return good == n && len(nodes) == n, fmt.Sprintf("%d of %d nodes ready, %d known %s", good, n, len(nodes), last)
	})
}

// WaitStarted waits until no container of the given nodes is told of as running since before its node was started.
func (c *Client) WaitStarted(ctx context.Context, nodes map[string]time.Time, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("kubelets did not report their pods within %s", timeout))
	defer cancel()
	old := "" // as long as a list fails, what the last one said
	return c.poll(ctx, "pods", func() (bool, string) {
		pods, err := c.List(ctx, "v1", "Pod", "", "")
		if err == nil {
			old = ofBefore(pods, nodes)
			return old == "", "waiting for " + old
		}
		return false, "waiting for " + cmp.Or(old, err.Error())
	})
}

// ofBefore is the first pod with a container that is told of as running since before its node was started; empty: there is none.
func ofBefore(pods []Object, nodes map[string]time.Time) string {
	for i := range pods {
		node, _, _ := unstructured.NestedString(pods[i].Object, "spec", "nodeName")
		if at, ok := nodes[node]; ok && runsSinceBefore(&pods[i], at) {
			return pods[i].GetNamespace() + "/" + pods[i].GetName()
		}
	}
	return ""
}

// runsSinceBefore reports whether a container of a pod is told of as running since before a time. The API tells seconds.
func runsSinceBefore(pod *Object, at time.Time) bool {
	statuses, _, _ := unstructured.NestedSlice(pod.Object, "status", "containerStatuses")
	for _, s := range statuses {
		status, _ := s.(map[string]any)
		text, _, _ := unstructured.NestedString(status, "state", "running", "startedAt")
		if since, err := time.Parse(time.RFC3339, text); err == nil && since.Before(at.Truncate(time.Second)) {
			return true
		}
	}
	return false
}

// WaitHeartbeats waits until the lease of every node has been renewed once from now on. After nodes were started again, their
// conditions in the API are those from before until their kubelets write: Ready says nothing without this. No clocks are compared.
func (c *Client) WaitHeartbeats(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("kubelets did not report within %s", timeout))
	defer cancel()
	first := map[string]string{}
	return c.poll(ctx, "nodes", func() (bool, string) {
		leases, err := c.List(ctx, "coordination.k8s.io/v1", "Lease", "kube-node-lease", "")
		if err != nil {
			return false, "waiting for " + err.Error()
		}
		waiting := ""
		for i := range leases {
			name := leases[i].GetName()
			now, _, _ := unstructured.NestedString(leases[i].Object, "spec", "renewTime")
			if was, ok := first[name]; !ok {
				first[name] = now
				waiting = name
			} else if was == now {
				waiting = name
			}
		}
		return len(leases) > 0 && waiting == "", "waiting for " + waiting
	})
}
