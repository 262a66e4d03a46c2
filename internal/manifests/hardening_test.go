package manifests

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What a platform team looks for first in every pod, and the places where it does not hold, each with its reason. An exception that nothing needs
// fails the test.
const (
	notRoot   = "runs as a user that is not root"
	readOnly  = "has a read-only root file system"
	alive     = "has a liveness probe"
	noneAdded = "has no capability"
	noToken   = "has no token of the API server"
)

var exceptions = []struct{ rule, where, why string }{
	{notRoot, "DaemonSet/fluent-bit", "log files belong to root, some to syslog:adm without rights for others"},
	{notRoot, "DaemonSet/system-inputgen", "writes the node's log files, which belong to root"},
	{noneAdded, "DaemonSet/fluent-bit/fluent-bit", "DAC_READ_SEARCH: reads log files whose owner gave nobody else a right"},
	{readOnly, "StatefulSet/elasticsearch/elasticsearch", "writes a keystore into the folder of its configuration, which is the image's"},
	{readOnly, "Deployment/kibana/kibana", "writes to data, logs and plugins beside what the image has there"},
	{readOnly, "Kafka/triad/init", "no scratch folder is mounted into it, and Strimzi's own tests do not run it so"},
	{noToken, "Deployment/strimzi-cluster-operator", "an operator"},
	{noToken, "StatefulSet/prometheus", "finds its targets, which are pods and nodes"},
	{noToken, "StatefulSet/prometheus-agent", "finds its targets, which are pods and nodes"},
}

// podSpec is a pod as an object describes it. Of Strimzi's the operator makes the rest: probes, service accounts and their tokens.
type podSpec struct {
	where      string
	spec       Object
	containers []containerSpec
	strimzi    bool
	ends       bool // a Job's
}

type containerSpec struct {
	name      string
	spec      Object
	resources Object
	init      bool
}

// podsOf are the pods of the objects of a cluster.
func podsOf(objects []Object) []podSpec {
	at := func(o Object, keys ...string) Object {
		v, _ := o.Field(keys...)
		m, _ := v.(map[string]any)
		return m
	}
	template := func(t Object, name, key string, resources Object) containerSpec {
		return containerSpec{name: name, spec: at(t, key), resources: resources, init: key == "initContainer"}
	}
	var out []podSpec
	for _, o := range objects {
		switch o.Kind() {
		case "Kafka":
			pools := slices.DeleteFunc(slices.Clone(objects), func(p Object) bool { return p.Kind() != "KafkaNodePool" })
			brokers, entity := at(o, "spec", "kafka", "template"), at(o, "spec", "entityOperator", "template")
			for _, p := range pools {
				res := at(p, "spec", "resources")
				out = append(out, podSpec{where: o.String(), spec: at(brokers, "pod"), strimzi: true, containers: []containerSpec{
					template(brokers, "kafka", "kafkaContainer", res), template(brokers, "init", "initContainer", res),
				}})
			}
			out = append(out, podSpec{where: o.String(), spec: at(entity, "pod"), strimzi: true, containers: []containerSpec{
				template(entity, "topic-operator", "topicOperatorContainer", at(o, "spec", "entityOperator", "topicOperator", "resources")),
				template(entity, "user-operator", "userOperatorContainer", at(o, "spec", "entityOperator", "userOperator", "resources")),
			}})
		case "KafkaConnect":
			t := at(o, "spec", "template")
			out = append(out, podSpec{where: o.String(), spec: at(t, "pod"), strimzi: true, containers: []containerSpec{template(t, "connect", "connectContainer", at(o, "spec", "resources"))}})
		case "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "ReplicaSet":
			p := podSpec{where: o.String(), spec: at(o, "spec", "template", "spec"), ends: o.Kind() == "Job"}
			for _, list := range []string{"containers", "initContainers"} {
				v, _ := p.spec.Field(list)
				all, _ := v.([]any)
				for _, e := range all {
					c := Object(e.(map[string]any))
					p.containers = append(p.containers, containerSpec{name: c.text("name"), spec: c, resources: at(c, "resources"), init: list == "initContainers"})
				}
			}
			out = append(out, p)
		}
	}
	return out
}

func TestContainersAreHardened(t *testing.T) {
	s := open(t)
	needed := make([]bool, len(exceptions))
	for _, cluster := range rendered() {
		for _, overlay := range Overlays() {
			objects := render(t, s, cluster, overlay).Objects
			var classes []string
			for _, o := range objects {
				if o.Kind() == "PriorityClass" {
					classes = append(classes, o.Name())
				}
			}
			for _, p := range podsOf(objects) {
				where := p.where
				fault := func(format string, args ...any) {
					t.Errorf("%s/%s %s: "+format, append([]any{cluster, overlay, where}, args...)...)
				}
				demand := func(rule string, holds bool) {
					i := slices.IndexFunc(exceptions, func(e struct{ rule, where, why string }) bool { return e.rule == rule && e.where == where })
					switch {
					case i >= 0 && !holds:
						needed[i] = true
					case !holds:
						fault("not so: %s", rule)
					}
				}
				is := func(o Object, want any, keys ...string) bool {
					v, _ := o.Field(keys...)
					return v == want
				}
				demand(notRoot, is(p.spec, true, "securityContext", "runAsNonRoot") && !is(p.spec, int64(0), "securityContext", "runAsUser"))
				if p.spec.text("securityContext", "seccompProfile", "type") != "RuntimeDefault" {
					fault("no seccomp profile")
				}
				if class := p.spec.text("priorityClassName"); !slices.Contains(classes, class) {
					fault("priority class %q, which is none of %v", class, classes)
				}
				for _, flag := range []string{"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} {
					if is(p.spec, true, flag) {
						fault("%s", flag)
					}
				}
				if !p.strimzi {
					demand(noToken, is(p.spec, false, "automountServiceAccountToken"))
					if p.spec.text("serviceAccountName") == "" {
						fault("runs as the default service account")
					}
				}
				if len(p.containers) == 0 {
					fault("no containers")
				}
				for _, c := range p.containers {
					where = p.where + "/" + c.name
					drop, _ := c.spec.Field("securityContext", "capabilities", "drop")
					_, added := c.spec.Field("securityContext", "capabilities", "add")
					if !is(c.spec, false, "securityContext", "allowPrivilegeEscalation") || fmt.Sprint(drop) != "[ALL]" || is(c.spec, true, "securityContext", "privileged") {
						fault("not confined")
					}
					demand(noneAdded, !added)
					demand(readOnly, is(c.spec, true, "securityContext", "readOnlyRootFilesystem"))
					for _, r := range [][]string{{"requests", "cpu"}, {"requests", "memory"}, {"limits", "memory"}} {
						if c.resources.text(r...) == "" {
							fault("no %s of %s", r[0], r[1])
						}
					}
					if p.strimzi || p.ends || c.init {
						continue
					}
					_, probed := c.spec.Field("readinessProbe")
					if !probed {
						fault("no readiness probe")
					}
					_, probed = c.spec.Field("livenessProbe")
					demand(alive, probed)
				}
			}
			for _, o := range objects {
				n, ok := o.Field("spec", "replicas")
				if v, _ := o.Field("spec", "template", "spec", "containers"); !ok || v == nil || n.(int64) < 2 {
					continue
				}
				if _, ok := o.Field("spec", "template", "spec", "topologySpreadConstraints"); !ok {
					t.Errorf("%s/%s %s: replicas are not spread", cluster, overlay, o)
				}
				if _, err := Find(objects, "PodDisruptionBudget", o.Name()); err != nil {
					t.Errorf("%s/%s %s: %v", cluster, overlay, o, err)
				}
			}
		}
	}
	for i, e := range exceptions {
		if !needed[i] || strings.TrimSpace(e.why) == "" {
			t.Errorf("exception %q of %s: nothing needs it, or it has no reason", e.rule, e.where)
		}
		t.Logf("not so: %s %s: %s", e.where, e.rule, e.why)
	}
}
