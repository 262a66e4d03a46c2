//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"

	"triad/internal/kube"
	"triad/internal/manifests"
)

// Found is one container of a component, with the client of its cluster.
type Found struct {
	Container
	Client  *kube.Client
	Several bool // its pod has others
}

// Containers finds every container of a component's pods in all clusters that are up.
func (r *Runtime) Containers(ctx context.Context, component string) ([]Found, error) {
	var out []Found
	var errs []error
	up := 0
	for _, cluster := range r.opts.Clusters {
		nodes, err := r.runningNodes(ctx, cluster)
		if err != nil || len(nodes) == 0 {
			errs = append(errs, err)
			continue
		}
		up++
		c, err := r.Client(cluster)
		if err != nil {
			return nil, err
		}
		pods, err := c.List(ctx, "v1", "Pod", cluster, manifests.ComponentLabel+"="+component)
		if err != nil {
			return nil, fmt.Errorf("pods of %s: %w", cluster, err)
		}
		for i := range pods {
			names := containerNames(&pods[i])
			for _, n := range names {
				out = append(out, Found{Container{cluster, cluster, pods[i].GetName(), n}, c, len(names) > 1})
			}
		}
	}
	if up == 0 {
		return nil, fmt.Errorf("no cluster is up: %w", errors.Join(errs...))
	}
	return out, nil
}

func containerNames(pod *kube.Object) []string {
	spec, _ := pod.Object["spec"].(map[string]any)
	list, _ := spec["containers"].([]any)
	var out []string
	for _, c := range list {
		if m, ok := c.(map[string]any); ok {
			out = append(out, str(m["name"]))
		}
	}
	return out
}
