//go:build !embedded_only

package kind

import (
	"testing"

	"triad/internal/kube"
)

// component is a pod of a component as a cluster has it.
func component(namespace, name, component string) kube.Object {
	return kube.Object{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"namespace": namespace, "name": name, "uid": "uid-" + name, "labels": map[string]any{"triad.dev/component": component}},
		"status":   map[string]any{"containerStatuses": []any{map[string]any{"name": component, "restartCount": int64(2)}}},
	}}
}

// The pods of each cluster are listed in the namespace of its name, with what their kubelets say of them.
func TestPodsOfEachCluster(t *testing.T) {
	e := &env{clients: map[string]*kube.Client{}}
	for _, cluster := range []string{Datacenter, Kafka, Monitoring} {
		api, c := newFakeAPI(t, "v1 pods Pod")
		api.put(component(cluster, "of-"+cluster, "kafka-connect"))
		e.clients[cluster] = c
	}
	lists := e.Pods()
	if len(lists) != 3 {
		t.Errorf("%d lists", len(lists))
	}
	for cluster, list := range lists {
		got, err := list(t.Context())
		if err != nil || len(got) != 1 || got[0].Name != "of-"+cluster || got[0].Component != "connect" || len(got[0].Containers) != 1 || got[0].Containers[0].Restarts != 2 {
			t.Errorf("%s: %+v, %v", cluster, got, err)
		}
	}
}
