package manifests

import (
	"fmt"
	"slices"
	"testing"
)

// fronted is a Service with an address of its own: its selector, the labels of the pods behind it, and its ports, which are the pods' ports too.
type fronted struct {
	name           string
	selector, pods map[string]string
	ports          []int
}

// strimzis are the Services that Strimzi makes, which are in no manifest. The controllers' port 9090 is behind a Service without an address only.
var strimzis = map[string][]fronted{
	"kafka": {{
		"triad-kafka-bootstrap",
		map[string]string{"strimzi.io/cluster": "triad", "strimzi.io/kind": "Kafka", "strimzi.io/name": "triad-kafka", "strimzi.io/broker-role": "true"},
		map[string]string{"strimzi.io/cluster": "triad", "strimzi.io/kind": "Kafka", "strimzi.io/name": "triad-kafka", "strimzi.io/broker-role": "true", "strimzi.io/pool-name": "broker"},
		[]int{9091, 9093},
	}},
	"monitoring": {{
		"sink-connect-api",
		map[string]string{"strimzi.io/cluster": "sink", "strimzi.io/kind": "KafkaConnect", "strimzi.io/name": "sink-connect"},
		map[string]string{"strimzi.io/cluster": "sink", "strimzi.io/kind": "KafkaConnect", "strimzi.io/name": "sink-connect"},
		[]int{8083},
	}},
}

// frontedBy finds the Services of rendered objects that have an address of their own.
func frontedBy(t *testing.T, objects []Object) []fronted {
	t.Helper()
	var out []fronted
	for _, o := range objects {
		selector := o.texts("spec", "selector")
		if o.Kind() != "Service" || len(selector) == 0 || o.text("spec", "clusterIP") == "None" {
			continue
		}
		f := fronted{name: o.Name(), selector: selector}
		var named map[string]int
		for _, w := range objects {
			labels := w.texts("spec", "template", "metadata", "labels")
			if labels == nil || !subset(selector, labels) {
				continue
			}
			f.pods, named = labels, map[string]int{}
			v, _ := w.Field("spec", "template", "spec", "containers")
			for _, c := range v.([]any) {
				ports, _ := c.(map[string]any)["ports"].([]any)
				for _, p := range ports {
					m := p.(map[string]any)
					name, _ := m["name"].(string)
					named[name] = int(m["containerPort"].(int64))
				}
			}
		}
		if f.pods == nil {
			t.Errorf("%s: no pods behind it", o)
		}
		v, _ := o.Field("spec", "ports")
		for _, p := range v.([]any) {
			m := p.(map[string]any)
			port := int(m["port"].(int64))
			if target, ok := m["targetPort"].(string); ok && named[target] != port {
				t.Errorf("%s: port %d leads to %d of the pods: this test takes them for one", o, port, named[target])
			}
			f.ports = append(f.ports, port)
		}
		out = append(out, f)
	}
	return out
}

func subset(some, all map[string]string) bool {
	for k, v := range some {
		if all[k] != v {
			return false
		}
	}
	return true
}

// Who may send to pods reaches them through the address of their Service too. On EKS a policy is applied before that address is replaced, and the
// controller opens it where the rule's labels stand in the Service's own selector, for each entry of the rule's ports whose first port the
// Service has. An address that is not opened is not reached, however open the pods behind it are.
func TestEgressReachesServices(t *testing.T) {
	s := open(t)
	for cluster, want := range map[string][]string{
		"datacenter": {"fluent-bit > fluentd:24224"},
		"kafka": {
			"brokers-egress > triad-kafka-bootstrap:9091", "brokers-egress > triad-kafka-bootstrap:9093", "observer-pods > triad-kafka-bootstrap:9093",
			"strimzi-cluster-operator > triad-kafka-bootstrap:9091", "strimzi-cluster-operator > triad-kafka-bootstrap:9093",
		},
		"monitoring": {
			"elasticsearch > elasticsearch:9200", "grafana > alertmanager:9093", "grafana > central-prometheus:9090", "grafana > elasticsearch:9200",
			"kafka-connect > elasticsearch:9200", "kafka-connect > sink-connect-api:8083", "kibana > elasticsearch:9200", "kibana > kibana:5601",
			"observer-pods > elasticsearch:9200", "strimzi-cluster-operator > sink-connect-api:8083",
		},
	} {
		objects := render(t, s, cluster, "eks", "observer").Objects
		services := append(frontedBy(t, objects), strimzis[cluster]...)
		var got []string
		for _, o := range objects {
			if o.Kind() != "NetworkPolicy" {
				continue
			}
			v, _ := o.Field("spec", "egress")
			rules, _ := v.([]any)
			for _, r := range rules {
				rule := r.(map[string]any)
				peers, _ := rule["to"].([]any)
				for _, p := range peers {
					peer := p.(map[string]any)
					if peer["namespaceSelector"] != nil {
						continue
					}
					labels := Object(peer).texts("podSelector", "matchLabels")
					if len(labels) == 0 {
						continue // every pod, and with it every Service
					}
					for _, svc := range services {
						for _, port := range svc.ports {
							if !subset(labels, svc.pods) || !covered(spans(rule["ports"]), port) {
								continue
							}
							if subset(labels, svc.selector) && opens(rule["ports"], port) {
								got = append(got, fmt.Sprintf("%s > %s:%d", o.Name(), svc.name, port))
								continue
							}
							t.Errorf("%s: %s lets out to the pods %v on port %d and not to the address of their Service %s, which selects %v", cluster, o, labels, port, svc.name, svc.selector)
						}
					}
				}
			}
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("%s: open are\n%q, want\n%q", cluster, got, want)
		}
	}
}

// opens says whether an entry of a rule's ports begins with the port. A rule without ports opens all.
func opens(ports any, port int) bool {
	list, _ := ports.([]any)
	return len(list) == 0 || slices.ContainsFunc(list, func(e any) bool { return e.(map[string]any)["port"] == int64(port) })
}
