//go:build !embedded_only

package kube

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A right that was there when the run began and is not any more comes with the Role that grants it; what an API server says in other words, or of the
// whole cluster, stays as it is.
func TestForbiddenSaysWhatIsMissing(t *testing.T) {
	deny := func(group, resource, words string) error {
		return apierrors.NewForbidden(schema.GroupResource{Group: group, Resource: resource}, "x", errors.New(words))
	}
	c := &Client{name: "ctx", throttled: new(atomic.Int64)}
	got := c.Explain(deny("coordination.k8s.io", "leases", `User "canary" cannot patch resource "leases" in API group "coordination.k8s.io" in the namespace "kafka"`))
	for _, want := range []string{"context ctx: a right is missing", "kind: Role\n", "kind: RoleBinding\n", "- coordination.k8s.io\n", "- leases\n", "- patch\n", "namespace: kafka\n", "name: canary\n"} {
		if !strings.Contains(got.Error(), want) {
			t.Errorf("without %q:\n%v", want, got)
		}
	}
	if !apierrors.IsForbidden(got) {
		t.Error("it is not forbidden any more")
	}
	for _, words := range []string{"exceeded quota: pods", `User "canary" cannot list resource "nodes" in API group "" at the cluster scope`} {
		if got := c.Explain(deny("", "pods", words)); strings.Contains(got.Error(), "kind: Role") || !strings.Contains(got.Error(), words) {
			t.Errorf("%q: %v", words, got)
		}
	}
}
