//go:build !embedded_only

package kube

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Right is one thing that a program may have to do: a verb on a resource in a namespace. Resource is the plural, with a subresource
// behind a slash.
type Right struct{ Group, Resource, Verb, Namespace string }

// String returns "verb resource in namespace".
func (r Right) String() string {
	what := r.Resource
	if r.Group != "" {
		what += "." + r.Group
	}
	return r.Verb + " " + what + " in " + r.Namespace
}

// Identity returns the name under which the API server knows the caller.
func (c *Client) Identity(ctx context.Context) (string, error) {
	o, err := c.review(ctx, schema.GroupVersionResource{Group: "authentication.k8s.io", Version: "v1", Resource: "selfsubjectreviews"}, "SelfSubjectReview", nil)
	if err != nil {
		return "", err
	}
	user, _, _ := unstructured.NestedString(o.Object, "status", "userInfo", "username")
	if user == "" {
		return "", fmt.Errorf("identity on %s: the API server does not say who asks", c.name)
	}
	return user, nil
}

// Missing returns those of the rights that the caller does not have, by asking the API server. It changes nothing.
func (c *Client) Missing(ctx context.Context, rights []Right) ([]Right, error) {
	var out []Right
	for _, r := range rights {
		resource, sub, _ := strings.Cut(r.Resource, "/")
		attrs := map[string]any{"namespace": r.Namespace, "verb": r.Verb, "group": r.Group, "resource": resource}
		if sub != "" {
			attrs["subresource"] = sub
		}
		o, err := c.review(ctx, schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectaccessreviews"}, "SelfSubjectAccessReview",
			map[string]any{"resourceAttributes": attrs})
		if err != nil {
			return nil, err
		}
		if ok, _, _ := unstructured.NestedBool(o.Object, "status", "allowed"); !ok {
			out = append(out, r)
		}
	}
	return out, nil
}

// review posts one of the API server's questions about the caller, which every caller that is logged in may ask.
func (c *Client) review(ctx context.Context, gvr schema.GroupVersionResource, kind string, spec map[string]any) (*Object, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, fmt.Errorf("no answer within %v", requestTimeout))
	defer cancel()
	o := &Object{Object: map[string]any{"apiVersion": gvr.GroupVersion().String(), "kind": kind}}
	if spec != nil {
		o.Object["spec"] = spec
	}
	got, err := c.dyn.Resource(gvr).Create(ctx, o, metav1.CreateOptions{})
	if err != nil {
		return nil, c.Explain(withCause(ctx, err))
	}
	return got, nil
}

// Explain puts words to the errors that people meet with credentials and API servers that they do not own.
func (c *Client) Explain(err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("context %s: the API server does not accept the credentials (401): they have expired, or belong to another cluster; log in again: %w", c.name, err)
	case apierrors.IsTooManyRequests(err), c.throttled.Load() > 0 && !answered(err):
		return fmt.Errorf("context %s: the API server throttles (429, %d times so far) and did not let the request through in time; wait, or ask its owners who else is busy there: %w", c.name, c.throttled.Load(), err)
	case apierrors.IsForbidden(err):
		if role := roleMissing(err.Error()); role != "" {
			return fmt.Errorf("context %s: a right is missing: %w\nSomebody who may grant it:\n%s", c.name, err, role)
		}
	case strings.Contains(err.Error(), "getting credentials"):
		return fmt.Errorf("context %s: the program that the kubeconfig names for credentials failed; run it by hand, and log in again: %w", c.name, err)
	}
	return fmt.Errorf("context %s: %w", c.name, err)
}

// forbidden is how API servers say which right was missing.
var forbidden = regexp.MustCompile(`User "([^"]+)" cannot (\S+) resource "([^"]+)" in API group "([^"]*)" in the namespace "([^"]+)"`)

// roleMissing is what RoleFor makes of the right that an API server found missing; empty when its words are others, or the right is of the whole cluster.
func roleMissing(message string) string {
	m := forbidden.FindStringSubmatch(message)
	if m == nil {
		return ""
	}
	role, err := RoleFor("triad-missing", m[1], []Right{{Group: m[4], Resource: m[3], Verb: m[2], Namespace: m[5]}})
	if err != nil {
		return ""
	}
	return string(role)
}

// answered says whether an error is what an API server said of a request, and not that it came to no answer.
func answered(err error) bool {
	var status apierrors.APIStatus // an interface without Error, so errors.AsType does not take it
	return errors.As(err, &status)
}

// RoleFor returns the Role that grants rights, and its binding to a user, as YAML to be applied by somebody who may. All rights must be of
// one namespace.
func RoleFor(name, user string, rights []Right) ([]byte, error) {
	if len(rights) == 0 {
		return nil, errors.New("role " + name + ": no rights")
	}
	type key struct{ group, resource string }
	verbs := map[key][]string{}
	var order []key
	for _, r := range rights {
		if r.Namespace != rights[0].Namespace {
			return nil, fmt.Errorf("role %s: rights in %s and %s", name, rights[0].Namespace, r.Namespace)
		}
		k := key{r.Group, r.Resource}
		if verbs[k] == nil {
			order = append(order, k)
		}
		if !slices.Contains(verbs[k], r.Verb) {
			verbs[k] = append(verbs[k], r.Verb)
		}
	}
	var rules []any
	for _, k := range order {
		rules = append(rules, map[string]any{"apiGroups": []string{k.group}, "resources": []string{k.resource}, "verbs": verbs[k]})
	}
	const api = "rbac.authorization.k8s.io"
	meta := map[string]any{"name": name, "namespace": rights[0].Namespace}
	role, err := yaml.Marshal(map[string]any{"apiVersion": api + "/v1", "kind": "Role", "metadata": meta, "rules": rules})
	if err != nil {
		return nil, fmt.Errorf("role %s: %w", name, err)
	}
	binding, err := yaml.Marshal(map[string]any{
		"apiVersion": api + "/v1", "kind": "RoleBinding", "metadata": meta,
		"roleRef":  map[string]any{"apiGroup": api, "kind": "Role", "name": name},
		"subjects": []any{map[string]any{"apiGroup": api, "kind": "User", "name": user}},
	})
	if err != nil {
		return nil, fmt.Errorf("role %s: %w", name, err)
	}
	return append(append(role, "---\n"...), binding...), nil
}

// Create makes an object that must not be there yet.
func (c *Client) Create(ctx context.Context, o *Object) error {
	ref := RefOf(o)
	ri, err := c.resource(ref.APIVersion, ref.Kind, ref.Namespace)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := ri.Create(ctx, o, metav1.CreateOptions{FieldManager: FieldManager}); err != nil {
		return fmt.Errorf("create %s on %s: %w", ref, c.name, err)
	}
	return nil
}

// Remove deletes one object, by its name, and does not wait. One that is gone is no error.
func (c *Client) Remove(ctx context.Context, ref Ref) error {
	if err := c.remove(ctx, ref, metav1.DeleteOptions{}); err != nil && !IsNotFound(err) {
		return fmt.Errorf("delete %s on %s: %w", ref, c.name, err)
	}
	return nil
}

// Kill deletes the very pod that has the uid given, with a grace of one second, the shortest that leaves the API server's record until the
// process is gone. A pod that is gone, or was replaced meanwhile, is an error: nothing else is struck in its place.
func (c *Client) Kill(ctx context.Context, pod *Object) error {
	uid, grace := pod.GetUID(), int64(1)
	ref := Ref{APIVersion: "v1", Kind: "Pod", Namespace: pod.GetNamespace(), Name: pod.GetName()}
	if err := c.remove(ctx, ref, metav1.DeleteOptions{GracePeriodSeconds: &grace, Preconditions: &metav1.Preconditions{UID: &uid}}); err != nil {
		return fmt.Errorf("kill %s on %s: %w", ref, c.name, err)
	}
	return nil
}

func (c *Client) remove(ctx context.Context, ref Ref, o metav1.DeleteOptions) error {
	ri, err := c.resource(ref.APIVersion, ref.Kind, ref.Namespace)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return ri.Delete(ctx, ref.Name, o)
}
