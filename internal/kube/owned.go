//go:build !embedded_only

package kube

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Deviation is an object that is not on the server as it would be after it was applied.
type Deviation struct {
	Ref  Ref
	Live *Object // nil: it is not there
	Want *Object // as the server says that it would be; nil when it is not there
}

// Deviations asks the server, by server-side apply that is not carried out, what applying the objects would change, and
// returns those that it would. So defaults, normalised quantities and fields of others are no deviations, and a field
// that Triad set once and renders no longer is one. Nothing is changed.
func (c *Client) Deviations(ctx context.Context, objects []Object) ([]Deviation, error) {
	found := make([]*Deviation, len(objects))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(applyParallel)
	for i := range objects {
		g.Go(func() error {
			var err error
			found[i], err = c.deviation(gctx, &objects[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []Deviation
	for _, d := range found {
		if d != nil {
			out = append(out, *d)
		}
	}
	return out, nil
}

// deviationTries is how often an object is looked at again that changed between the two requests.
const deviationTries = 5

func (c *Client) deviation(ctx context.Context, o *Object) (*Deviation, error) {
	ref := RefOf(o)
	body, err := applyBody(o)
	if err != nil {
		return nil, fmt.Errorf("compare %s: %w", ref, err)
	}
	ri, err := c.resource(ref.APIVersion, ref.Kind, ref.Namespace)
	if err != nil {
		return nil, err
	}
	force := true
	for try := 0; ; try++ {
		live, err := c.Get(ctx, ref)
		if IsNotFound(err) {
			return &Deviation{Ref: ref}, nil
		}
		if err != nil {
			return nil, err
		}
		rctx, cancel := context.WithTimeout(ctx, requestTimeout)
		want, err := ri.Patch(rctx, ref.Name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: FieldManager, Force: &force, DryRun: []string{metav1.DryRunAll}})
		cancel()
		if err != nil {
			return nil, fmt.Errorf("compare %s on %s: %w", ref, c.name, err)
		}
		same := SameContent(live, want)
		if same {
			return nil, nil
		}
		// A controller that wrote its own fields between the two requests is not what is looked for.
		if live.GetResourceVersion() == want.GetResourceVersion() || try == deviationTries {
			return &Deviation{ref, live, want}, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Content returns an object without what the server and controllers write of their own accord: its status, version,
// owners of fields and times.
func Content(o *Object) map[string]any {
	o = o.DeepCopy()
	for _, f := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"} {
		delete(metadata(o), f)
	}
	delete(o.Object, "status")
	return o.Object
}

// SameContent says whether two readings of an object have the same content.
func SameContent(a, b *Object) bool { return equal(Content(a), Content(b)) }

// equal compares decoded JSON; an absent map or list is not the same as an empty one to the server, and not here either.
func equal(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k, v := range x {
			if w, ok := y[k]; !ok || !equal(v, w) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equal)
	}
	return a == b
}

// Owned returns every object, of any kind that can be listed and deleted, in which Triad owns a field by server-side
// apply. Kinds that cannot be listed right now are an error: what is not seen is not absent.
func (c *Client) Owned(ctx context.Context) ([]Object, error) {
	var out []Object
	err := c.each(ctx, "", "", func(items []Object) {
		for i := range items {
			if slices.ContainsFunc(items[i].GetManagedFields(), func(m metav1.ManagedFieldsEntry) bool {
				return m.Manager == FieldManager && m.Operation == metav1.ManagedFieldsOperationApply
			}) {
				out = append(out, items[i])
			}
		}
	})
	return out, err
}
