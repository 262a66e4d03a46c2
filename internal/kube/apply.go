//go:build !embedded_only

package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

const (
	applyParallel    = 8                      // requests in flight while a stage is applied
	applyRetryFor    = 30 * time.Second       // how long an apply is tried again while the API server or its discovery is not up to date
	applyRetryEvery  = 500 * time.Millisecond // between those tries
	definitionsReady = 3 * time.Minute        // a CustomResourceDefinition is established within a second on an idle server; a minute was seen not to do on two overloaded cores
)

// stage returns where in the order an object of this kind is applied. Later stages use what earlier ones define.
func stage(kind string) int {
	switch kind {
	case "Namespace", "CustomResourceDefinition", "PriorityClass", "StorageClass":
		return 0
	case "ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding":
		return 1
	case "ConfigMap", "Secret", "PersistentVolumeClaim", "NetworkPolicy", "LimitRange", "ResourceQuota", "PodDisruptionBudget", "Service":
		return 2
	}
	return 3
}

// stageNames are for messages.
var stageNames = [...]string{"namespaces and definitions", "access rules", "configuration", "workloads"}

// Apply puts objects on the server by server-side apply, in stages: namespaces and definitions (and waits until the definitions
// are established), access rules, configuration, workloads. Fields that another manager holds are taken over. Requests that fail
// because the server is not ready or does not know a kind yet are tried again for 30 s. It does not wait for readiness.
func (c *Client) Apply(ctx context.Context, objects []Object, progress ProgressFunc) error {
	stages := make([][]Object, len(stageNames))
	for _, o := range objects {
		s := stage(o.GetKind())
		stages[s] = append(stages[s], o)
	}
	for s, objs := range stages {
		if len(objs) == 0 {
			continue
		}
		started := time.Now()
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(applyParallel)
		for i := range objs {
			g.Go(func() error { return c.applyOne(gctx, &objs[i]) })
		}
		if err := g.Wait(); err != nil {
			return fmt.Errorf("apply %s to %s: %w", stageNames[s], c.name, err)
		}
		if s == 0 {
			if err := c.waitDefinitions(ctx, objs); err != nil {
				return err
			}
		}
		if progress != nil {
			progress("apply "+c.name, StateInfo, fmt.Sprintf("%d %s in %s", len(objs), stageNames[s], time.Since(started).Round(time.Millisecond)))
		}
	}
	return nil
}

func (c *Client) applyOne(ctx context.Context, o *Object) error {
	ref := RefOf(o)
	if ref.Name == "" || ref.Kind == "" || ref.APIVersion == "" {
		return fmt.Errorf("apply %s: an object needs apiVersion, kind and metadata.name", ref)
	}
	body, err := applyBody(o)
	if err != nil {
		return fmt.Errorf("apply %s: %w", ref, err)
	}
	force := true
	deadline := time.Now().Add(applyRetryFor)
	for {
		ri, err := c.resource(ref.APIVersion, ref.Kind, ref.Namespace)
		if err == nil {
			rctx, cancel := context.WithTimeout(ctx, requestTimeout)
			_, err = ri.Patch(rctx, ref.Name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: FieldManager, Force: &force})
			cancel()
		}
		if err == nil {
			return nil
		}
		if !retriable(err) || time.Now().After(deadline) {
			return fmt.Errorf("apply %s: %w%s", ref, err, applyHint(err))
		}
		if meta.IsNoMatchError(err) {
			c.mapper.Reset()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("apply %s: %w", ref, context.Cause(ctx))
		case <-time.After(applyRetryEvery):
		}
	}
}

// applyBody drops what a server-side apply must not carry: what the server writes.
func applyBody(o *Object) ([]byte, error) {
	o = o.DeepCopy()
	for _, f := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"} {
		delete(metadata(o), f)
	}
	delete(o.Object, "status")
	return json.Marshal(o.Object)
}

func metadata(o *Object) map[string]any {
	m, _ := o.Object["metadata"].(map[string]any)
	return m
}

// retriable says whether the same request can succeed a little later without anybody changing it.
func retriable(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsConflict(err) ||
		utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) ||
		// A namespace that was just created and is not in every cache yet.
		apierrors.IsNotFound(err) && strings.Contains(err.Error(), "namespaces ")
}

// applyHint says what to do about errors that people meet.
func applyHint(err error) string {
	s := err.Error()
	switch {
	case strings.Contains(s, "field is immutable") || strings.Contains(s, "updates to statefulset spec"):
		return " (this field cannot be changed on a living object: delete the object, or bring the cluster down and up again)"
	case strings.Contains(s, "provided port is already allocated"):
		return " (another Service holds this node port)"
	case meta.IsNoMatchError(err):
		return " (the CustomResourceDefinition is not installed)"
	}
	return ""
}

// waitDefinitions waits until every CustomResourceDefinition among the objects is served.
func (c *Client) waitDefinitions(ctx context.Context, objs []Object) error {
	ctx, cancel := context.WithTimeoutCause(ctx, definitionsReady, fmt.Errorf("not established within %s", definitionsReady))
	defer cancel()
	any := false
	for _, o := range objs {
		if o.GetKind() != "CustomResourceDefinition" {
			continue
		}
		any = true
		for {
			live, err := c.Get(ctx, RefOf(&o))
			if err == nil && condition(live, "Established").status == "True" {
				break
			}
			if err == nil && condition(live, "NamesAccepted").status == "False" {
				return fmt.Errorf("definition %s on %s: %s", o.GetName(), c.name, condition(live, "NamesAccepted").message)
			}
			last := err
			if err == nil {
				last = fmt.Errorf("established is %q", condition(live, "Established").status)
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("definition %s on %s: %w: %w", o.GetName(), c.name, context.Cause(ctx), last)
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
	if any {
		c.mapper.Reset()
	}
	return nil
}
