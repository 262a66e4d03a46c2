//go:build !embedded_only

package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"triad/internal/observe/pods"
)

// acceptProtobuf names the form in which API servers keep pods. In it a list takes a third of the bytes that it takes in JSON, and neither side has to
// make text of it.
const acceptProtobuf = "application/vnd.kubernetes.protobuf,application/json"

// Pods returns the pods of components of the platform in a namespace that are to run for ever. It is cheap enough to be asked every few
// seconds: one request, which servers from 1.31 on answer from memory. It is not asked for what may be stale (resourceVersion 0): of two API
// servers one may be behind the other, and a pod would seem to go and to come back.
func (c *Client) Pods(ctx context.Context, namespace string) ([]pods.Pod, error) {
	var list corev1.PodList
	err := c.core.Get().Resource("pods").Namespace(namespace).SetHeader("Accept", acceptProtobuf).
		VersionedParams(&metav1.ListOptions{LabelSelector: pods.ComponentLabel}, scheme.ParameterCodec).Do(ctx).Into(&list)
	if err != nil {
		return nil, fmt.Errorf("list pods in %q on %s: %w", namespace, c.name, withCause(ctx, err))
	}
	out := make([]pods.Pod, 0, len(list.Items))
	for i := range list.Items {
		p := &list.Items[i]
		if r := p.Spec.RestartPolicy; r != "" && r != corev1.RestartPolicyAlways {
			continue // of a Job: it is to end
		}
		out = append(out, podState(p))
	}
	return out, nil
}

// podState keeps of a pod what tells a restart.
func podState(p *corev1.Pod) pods.Pod {
	out := pods.Pod{
		Component: pods.Component(p.Labels[pods.ComponentLabel]), Name: p.Name, UID: string(p.UID), Node: p.Spec.NodeName, Created: p.CreationTimestamp.Time,
		Going: p.DeletionTimestamp != nil,
	}
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		if out.Over = p.Status.Reason; out.Over == "" {
			out.Over = string(p.Status.Phase)
		}
	}
	for _, s := range p.Status.ContainerStatuses {
		c := pods.Container{Name: s.Name, Restarts: int(s.RestartCount)}
		t := s.State.Terminated
		c.Ended = t != nil || s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff"
		if t == nil {
			t = s.LastTerminationState.Terminated
		}
		if t != nil {
			c.Last = &pods.End{ID: t.ContainerID, Reason: t.Reason, Code: int(t.ExitCode), Started: t.StartedAt.Time, Finished: t.FinishedAt.Time}
		}
		out.Containers = append(out.Containers, c)
	}
	return out
}
