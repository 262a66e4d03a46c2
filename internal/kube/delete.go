//go:build !embedded_only

package kube

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// Delete deletes objects and waits until they are gone, at most timeout. Objects that are not there are no error.
func (c *Client) Delete(ctx context.Context, refs []Ref, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not gone within %s", timeout))
	defer cancel()
	policy := metav1.DeletePropagationForeground
	for _, r := range refs {
		ri, err := c.resource(r.APIVersion, r.Kind, r.Namespace)
		if err == nil {
			err = ri.Delete(ctx, r.Name, metav1.DeleteOptions{PropagationPolicy: &policy})
		}
		if err != nil && !IsNotFound(err) {
			return fmt.Errorf("delete %s on %s: %w", r, c.name, withCause(ctx, err))
		}
	}
	return c.AwaitGone(ctx, refs)
}

// AwaitGone waits until objects are gone that were deleted, or that go with one that was. It waits as long as ctx lets it.
func (c *Client) AwaitGone(ctx context.Context, refs []Ref) error {
	for _, r := range refs {
		for {
			if _, err := c.Get(ctx, r); IsNotFound(err) {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("delete %s on %s: %w", r, c.name, context.Cause(ctx))
			case <-time.After(300 * time.Millisecond):
			}
		}
	}
	return nil
}

// Labelled returns references to every object, of any kind that can be listed and deleted, that a label selector matches. Kinds that
// cannot be listed right now are left out and named in the error, beside the references that were found.
func (c *Client) Labelled(ctx context.Context, namespace, selector string) ([]Ref, error) {
	var refs []Ref
	err := c.each(ctx, namespace, selector, func(items []Object) {
		for i := range items {
			refs = append(refs, RefOf(&items[i]))
		}
	})
	return refs, err
}

// each lists every kind that can be listed and deleted, one after another. The error names the first kind that could not be listed.
func (c *Client) each(ctx context.Context, namespace, selector string, fn func([]Object)) error {
	lists, err := c.disco.ServerPreferredResources()
	if err != nil && len(lists) == 0 {
		return fmt.Errorf("kinds of %s: %w", c.name, err)
	}
	lists = discovery.FilteredBy(discovery.ResourcePredicateFunc(func(_ string, r *metav1.APIResource) bool {
		// An event has the labels of nothing, and EndpointSlices and the like follow their owners.
		return slices.Contains(r.Verbs, "list") && slices.Contains(r.Verbs, "delete") && r.Kind != "Event" && (namespace == "" || r.Namespaced)
	}), lists)
	for _, l := range lists {
		gv, perr := schema.ParseGroupVersion(l.GroupVersion)
		if perr != nil {
			continue
		}
		for _, r := range l.APIResources {
			ri := c.dyn.Resource(gv.WithResource(r.Name))
			items, lerr := ri.Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
			if lerr != nil {
				if err == nil {
					err = fmt.Errorf("list %s on %s: %w", r.Name, c.name, lerr)
				}
				continue
			}
			fn(items.Items)
		}
	}
	return err
}

// InGroup returns every object of an API group, of any kind that can be listed and deleted. A group that is not there has none.
func (c *Client) InGroup(ctx context.Context, group string) ([]Object, error) {
	groups, err := c.disco.ServerGroups()
	if err != nil {
		return nil, fmt.Errorf("kinds of %s: %w", c.name, err)
	}
	i := slices.IndexFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == group })
	if i < 0 {
		return nil, nil
	}
	version := groups.Groups[i].PreferredVersion.GroupVersion
	kinds, err := c.disco.ServerResourcesForGroupVersion(version)
	if err != nil {
		return nil, fmt.Errorf("kinds of %s on %s: %w", version, c.name, err)
	}
	var out []Object
	for _, r := range kinds.APIResources {
		if !slices.Contains(r.Verbs, "list") || !slices.Contains(r.Verbs, "delete") {
			continue
		}
		items, err := c.List(ctx, version, r.Kind, "", "")
		if err != nil {
			return nil, err
		}
		out = append(out, items...)
	}
	return out, nil
}

// DeleteLabelled deletes everything that a label selector matches and waits until it is gone. It returns what it deleted.
func (c *Client) DeleteLabelled(ctx context.Context, namespace, selector string, timeout time.Duration) ([]Ref, error) {
	if selector == "" {
		return nil, fmt.Errorf("delete by label on %s: an empty selector would match everything", c.name)
	}
	refs, err := c.Labelled(ctx, namespace, selector)
	if err != nil {
		return nil, err
	}
	return refs, c.Delete(ctx, refs, timeout)
}
