//go:build !embedded_only

package manifests

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
)

// The laboratory has 2 cores and 24 GiB; everything together may take 12 GiB of it.
const (
	memoryLimit = int64(12) << 30
	cpuRequests = 1500 // thousandths of a core
)

func TestKindFitsASmallMachine(t *testing.T) {
	s := open(t)
	var memory, cpu int64
	for _, c := range Clusters() {
		for _, o := range render(t, s, c, "kind").Objects {
			n := int64(1)
			if v, ok := o.Field("spec", "replicas"); ok {
				n, _ = v.(int64)
			}
			for _, r := range resources(map[string]any(o)) {
				limit, request := quantity(t, o, r, "limits", "memory"), quantity(t, o, r, "requests", "cpu")
				memory += n * limit.Value()
				cpu += n * request.MilliValue()
				if reserved := quantity(t, o, r, "requests", "memory"); reserved.Cmp(limit) > 0 {
					t.Errorf("%s %s: requests %s of memory, limit %s", c, o, reserved.String(), limit.String())
				}
			}
		}
	}
	t.Logf("limits %d MiB, requests %dm", memory>>20, cpu)
	if memory > memoryLimit {
		t.Errorf("memory limits on kind add up to %d MiB, want at most %d", memory>>20, memoryLimit>>20)
	}
	if cpu > cpuRequests {
		t.Errorf("requests on kind add up to %dm of CPU, want at most %dm", cpu, cpuRequests)
	}
}

// resources are the resource blocks of containers and of Strimzi's pods, not those of volume claims.
func resources(v any) []map[string]any {
	var out []map[string]any
	switch t := v.(type) {
	case map[string]any:
		for k, e := range t {
			if r, ok := e.(map[string]any); ok && k == "resources" && r["limits"] != nil {
				out = append(out, r)
				continue
			}
			out = append(out, resources(e)...)
		}
	case []any:
		for _, e := range t {
			out = append(out, resources(e)...)
		}
	}
	return out
}

func quantity(t *testing.T, o Object, r map[string]any, block, name string) resource.Quantity {
	t.Helper()
	m, _ := r[block].(map[string]any)
	text, _ := m[name].(string)
	if text == "" {
		t.Errorf("%s: no %s of %s in %v", o, block, name, r)
		return resource.Quantity{}
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		t.Errorf("%s: %v", o, err)
	}
	return q
}

// A load balancer asks a pod what the kubelet asks it. Its default is /, which Grafana and Kibana answer with a way to their log-in: ill, for good.
func TestLoadBalancersAskWhatReadinessAsks(t *testing.T) {
	objects := render(t, open(t), "monitoring", "eks").Objects
	got := map[string]string{}
	for _, o := range objects {
		if o.Kind() != "Ingress" {
			continue
		}
		w, err := Find(objects, "Deployment", o.Name())
		if err != nil {
			t.Fatal(err)
		}
		v, _ := w.Field("spec", "template", "spec", "containers")
		want := Object(v.([]any)[0].(map[string]any)).text("readinessProbe", "httpGet", "path")
		got[o.Name()] = o.Annotations()["alb.ingress.kubernetes.io/healthcheck-path"]
		if want == "" || got[o.Name()] != want {
			t.Errorf("%s: asks %q, readiness asks %q", o, got[o.Name()], want)
		}
	}
	if len(got) != 2 {
		t.Errorf("ingresses: %v", got)
	}
}
