//go:build !embedded_only

package jobs

import (
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"triad/internal/kube"
	"triad/internal/scenario"
)

// indexed is a Job of n pods that are there for this run only.
func (s *Set) indexed(cluster, name string, n int, template map[string]any) kube.Object {
	id := ID(s.Session.Run)
	return kube.Object{Object: map[string]any{
		"apiVersion": API, "kind": "Job",
		"metadata": map[string]any{"namespace": s.namespace(cluster), "name": name + "-" + id, "labels": map[string]any{
			"app.kubernetes.io/part-of": "triad", "app.kubernetes.io/managed-by": kube.FieldManager, Label: id,
		}},
		"spec": map[string]any{
			"completionMode": "Indexed", "completions": int64(n), "parallelism": int64(n),
			// A pod that was killed comes again and has no plan: the Job is not to give up because of it and take the others with it.
			"backoffLimit": int64(1000), "activeDeadlineSeconds": int64(Longest(s.Session.Scenario) / time.Second), "ttlSecondsAfterFinished": int64(60),
			"template": template,
		},
	}}
}

// Like is the Job of n pods that send one load: pods of a deployed generator, which differ from it in that they are there for one run only. change may alter the pod's
// spec; nil: it stays as it is.
func (s *Set) Like(generator *kube.Object, load, n int, more map[string]any, change func(spec map[string]any)) kube.Object {
	id := ID(s.Session.Run)
	template, _, _ := unstructured.NestedMap(generator.Object, "spec", "template") // a copy
	spec, _ := template["spec"].(map[string]any)
	if spec == nil {
		spec = map[string]any{}
	}
	// A container that crashed comes again in its pod, where its ledger is.
	spec["restartPolicy"] = "OnFailure"
	small(spec)
	spread, _ := spec["topologySpreadConstraints"].([]any)
	for _, c := range spread {
		if m, ok := c.(map[string]any); ok {
			m["labelSelector"] = map[string]any{"matchLabels": map[string]any{Label: id}}
		}
	}
	if change != nil {
		change(spec)
	}
	labels := map[string]any{
		"app.kubernetes.io/name": generator.GetName() + "-shard", "triad.dev/component": "inputgen", "app.kubernetes.io/part-of": "triad", Label: id,
	}
	maps.Copy(labels, more)
	return s.indexed(scenario.Datacenter, fmt.Sprintf("shards-%d", load), n, map[string]any{
		"metadata": map[string]any{"labels": labels}, "spec": spec,
	})
}

// small has a pod ask for little of a node whose processors others have asked for already.
func small(spec map[string]any) {
	containers, _ := spec["containers"].([]any)
	for _, c := range containers {
		if m, ok := c.(map[string]any); ok {
			_ = unstructured.SetNestedMap(m, map[string]any{"cpu": "10m", "memory": "32Mi"}, "resources", "requests") // it fails on what is no map alone
		}
	}
}

// BesideBrokers is a Job of n pods in the brokers' own cluster that run a command of this program, with what it needs to reach them: a principal
// and the brokers' authority, from where Strimzi keeps them.
func (s *Set) BesideBrokers(name string, n int, command, user string, args ...any) kube.Object {
	bootstrap := "triad-kafka-bootstrap." + s.namespace(scenario.Kafka) + ".svc:9093"
	return s.beside(scenario.Kafka, "brokers", name, n, append([]any{command}, args...), []any{
		map[string]any{"name": "KAFKA_BROKERS", "value": bootstrap},
		map[string]any{"name": "KAFKA_USERNAME", "value": user},
		fromSecret("KAFKA_PASSWORD", user, "password"),
	}, "/etc/triad/kafka", "triad-cluster-ca-cert")
}

// BesideStore is a Job of n pods in the store's own cluster that read it, as the harness does: as a user, or as nobody where the store has no users.
func (s *Set) BesideStore(name string, n int, user string) kube.Object {
	command, at := []any{"observer", "--store"}, "elasticsearch."+s.namespace(scenario.Monitoring)+".svc:9200"
	if user == "" {
		return s.beside(scenario.Monitoring, "store", name, n, command, []any{map[string]any{"name": "ELASTICSEARCH_URL", "value": "http://" + at}}, "", "")
	}
	return s.beside(scenario.Monitoring, "store", name, n, command, []any{
		map[string]any{"name": "ELASTICSEARCH_URL", "value": "https://" + at},
		map[string]any{"name": "ELASTICSEARCH_USERNAME", "value": user},
		fromSecret("ELASTICSEARCH_PASSWORD", "elasticsearch-users", user),
	}, "/etc/triad/elasticsearch", "elasticsearch-tls")
}

func fromSecret(variable, secret, key string) any {
	return map[string]any{"name": variable, "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": secret, "key": key}}}
}

// beside is a Job of n pods of this program in the cluster of what they speak to; authority is the secret with its ca.crt, and where it is mounted.
func (s *Set) beside(cluster, what, name string, n int, command, env []any, authorityAt, authority string) kube.Object {
	volumes := []any{map[string]any{"name": "ledgers", "emptyDir": map[string]any{"sizeLimit": "4Gi"}}}
	mounts := []any{map[string]any{"name": "ledgers", "mountPath": "/var/lib/triad"}}
	if authority != "" {
		volumes = append(volumes, map[string]any{"name": "ca", "secret": map[string]any{"secretName": authority, "items": []any{map[string]any{"key": "ca.crt", "path": "ca.crt"}}}})
		mounts = append(mounts, map[string]any{"name": "ca", "mountPath": authorityAt, "readOnly": true})
	}
	container := map[string]any{
		"name": command[0], "image": s.Image, "imagePullPolicy": "IfNotPresent", "command": append([]any{"/usr/local/bin/sim"}, command...),
		"env":            append([]any{map[string]any{"name": "POD_NAME", "valueFrom": map[string]any{"fieldRef": map[string]any{"fieldPath": "metadata.name"}}}}, env...),
		"ports":          []any{map[string]any{"name": "control", "containerPort": int64(AgentPort)}},
		"readinessProbe": map[string]any{"httpGet": map[string]any{"path": "/ready", "port": "control"}, "periodSeconds": int64(1)},
		"securityContext": map[string]any{
			"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": map[string]any{"drop": []any{"ALL"}},
		},
		"resources":    map[string]any{"requests": map[string]any{"cpu": "10m", "memory": "32Mi"}, "limits": map[string]any{"memory": "512Mi"}},
		"volumeMounts": mounts,
	}
	pod := map[string]any{
		"restartPolicy": "OnFailure", "automountServiceAccountToken": false, "enableServiceLinks": false,
		"securityContext": map[string]any{"runAsNonRoot": true, "runAsUser": int64(65532), "fsGroup": int64(65532), "seccompProfile": map[string]any{"type": "RuntimeDefault"}},
		"containers":      []any{container},
		"volumes":         volumes,
	}
	if s.Class != "" {
		pod["priorityClassName"] = s.Class
	}
	return s.indexed(cluster, name, n, map[string]any{
		"metadata": map[string]any{"labels": map[string]any{
			"app.kubernetes.io/name": fmt.Sprint(cluster, "-", command[0]), "app.kubernetes.io/part-of": "triad", "triad.dev/beside": what, Label: ID(s.Session.Run),
		}},
		"spec": pod,
	})
}
