//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"triad/internal/kube"
	"triad/internal/load/agent"
	"triad/internal/manifests"
	"triad/internal/scenario"
)

const (
	shardLabel = "triad.dev/shards" // the run whose shards an object is
	shardIndex = "batch.kubernetes.io/job-completion-index"
	shardTime  = 2 * time.Minute // until every shard is ready; the image is in the nodes already
	// shardSlack is what a run takes beside its load and its drain: warming, healing, the last reading. A Job whose harness died ends itself
	// after that.
	shardSlack = 20 * time.Minute
	agentPort  = 9400
)

// makeShards makes an Indexed Job for each load that asks for shards, and waits for its pods. A run that goes on finds its own.
func (e *env) makeShards(ctx context.Context) error {
	e.shards = map[int][]agent.Remote{}
	c := e.clients[Datacenter]
	for i, l := range e.session.Scenario.Load {
		if l.Parallelism == 0 {
			continue
		}
		app := agent.Application(l.Source)
		generator, err := c.Get(ctx, kube.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: Datacenter, Name: app})
		if err != nil {
			return fmt.Errorf("shards of %s: %w", l.Source, err)
		}
		job := shardJob(generator, e.session.Scenario, i, e.session.Run)
		ref := kube.RefOf(&job)
		if _, err := c.Get(ctx, ref); kube.IsNotFound(err) {
			if err := c.Create(ctx, &job); err != nil {
				return fmt.Errorf("shards of %s: %w", l.Source, err)
			}
		}
		e.jobs = append(e.jobs, ref)
		if e.shards[i], err = e.awaitShards(ctx, ref.Name, l.Parallelism); err != nil {
			return fmt.Errorf("shards of %s: %w", l.Source, err)
		}
	}
	return nil
}

// awaitShards waits until a Job has a ready pod for each index, and returns them in this order.
func (e *env) awaitShards(ctx context.Context, job string, n int) ([]agent.Remote, error) {
	c := e.clients[Datacenter]
	limited, cancel := context.WithTimeoutCause(ctx, shardTime, fmt.Errorf("not ready within %v", shardTime))
	defer cancel()
	for {
		pods, err := c.List(limited, "v1", "Pod", Datacenter, "batch.kubernetes.io/job-name="+job)
		out, ready := make([]agent.Remote, n), 0
		for i := range pods {
			k, err := strconv.Atoi(pods[i].GetLabels()[shardIndex])
			if err == nil && k >= 0 && k < n && out[k].Name == "" && kube.PodReady(&pods[i]) {
				out[k] = e.remoteAgent(&pods[i])
				ready++
			}
		}
		if ready == n {
			return out, nil
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-limited.Done():
			if err == nil {
				err = errors.New(c.Diagnose(context.WithoutCancel(ctx), Datacenter).Cause)
			}
			return nil, fmt.Errorf("%d of %d pods of Job %s: %w (%w)", ready, n, job, context.Cause(limited), err)
		}
	}
}

// remoteAgent is the agent in a pod of a generator. A pod that is gone for good takes with it what its ledger said.
func (e *env) remoteAgent(pod *kube.Object) agent.Remote {
	c, name, uid := e.clients[Datacenter], pod.GetName(), pod.GetUID()
	ref := kube.Ref{APIVersion: "v1", Kind: "Pod", Namespace: Datacenter, Name: name}
	return agent.Remote{
		Name: name, URL: kube.PodURL(name, Datacenter, agentPort), Client: c.HTTP(30 * time.Second),
		Gone: func(ctx context.Context) bool {
			o, err := c.Get(ctx, ref)
			return kube.IsNotFound(err) || err == nil && o.GetUID() != uid
		},
	}
}

// shardJob is the Job of one load: pods of the deployed generator, which differ from it in that they are there for one run only.
func shardJob(generator *kube.Object, s *scenario.Scenario, load int, run uint32) kube.Object {
	l, id := s.Load[load], fmt.Sprintf("%08x", run)
	labels := map[string]any{
		"app.kubernetes.io/name": agent.Application(l.Source) + "-shard", "triad.dev/component": "inputgen", "app.kubernetes.io/part-of": "triad", shardLabel: id,
	}
	template, _, _ := unstructured.NestedMap(generator.Object, "spec", "template") // a copy
	spec, _ := template["spec"].(map[string]any)
	// A container that crashed comes again in its pod, where its ledger is.
	spec["restartPolicy"] = "OnFailure"
	spread, _ := spec["topologySpreadConstraints"].([]any)
	for _, s := range spread {
		if m, ok := s.(map[string]any); ok {
			m["labelSelector"] = map[string]any{"matchLabels": map[string]any{shardLabel: id}}
		}
	}
	if l.Enter == "kafka" {
		labels["triad.dev/enters"] = "kafka"
		producing(spec)
	}
	template["metadata"] = map[string]any{"labels": labels}
	deadline := s.Phases.LoadTime() + s.Phases.Drain.D() + shardSlack
	return kube.Object{Object: map[string]any{
		"apiVersion": "batch/v1", "kind": "Job",
		"metadata": map[string]any{"namespace": Datacenter, "name": fmt.Sprintf("shards-%s-%d", id, load), "labels": map[string]any{
			"app.kubernetes.io/part-of": "triad", "app.kubernetes.io/managed-by": "triad", shardLabel: id,
		}},
		"spec": map[string]any{
			"completionMode": "Indexed", "completions": int64(l.Parallelism), "parallelism": int64(l.Parallelism),
			// A shard that was killed comes again and has no plan: it is not tried until the Job gives up and takes the others with it.
			"backoffLimit": int64(1000), "activeDeadlineSeconds": int64(deadline / time.Second), "ttlSecondsAfterFinished": int64(60),
			"template": template,
		},
	}}
}

// producing gives a generator what Fluentd has in the same namespace: addresses, principal and authority of the brokers.
func producing(spec map[string]any) {
	containers, _ := spec["containers"].([]any)
	if len(containers) == 0 {
		return
	}
	c, _ := containers[0].(map[string]any)
	command, _ := c["command"].([]any)
	c["command"] = append(slices.Clone(command), "--kafka")
	env, _ := c["env"].([]any)
	for name, key := range map[string]string{"KAFKA_USERNAME": "username", "KAFKA_PASSWORD": "password"} {
		env = append(env, map[string]any{"name": name, "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": manifests.KafkaUserSecret, "key": key}}})
	}
	c["env"] = env
	c["envFrom"] = []any{map[string]any{"configMapRef": map[string]any{"name": manifests.EndpointsConfigMap}}}
	mounts, _ := c["volumeMounts"].([]any)
	c["volumeMounts"] = append(mounts, map[string]any{"name": "kafka-ca", "mountPath": "/etc/triad/kafka", "readOnly": true})
	volumes, _ := spec["volumes"].([]any)
	spec["volumes"] = append(volumes, map[string]any{"name": "kafka-ca", "secret": map[string]any{"secretName": manifests.KafkaCASecret, "items": []any{map[string]any{"key": "ca.crt", "path": "ca.crt"}}}})
}

// endShards removes the Jobs of the run.
func (e *env) endShards(ctx context.Context) error {
	if len(e.jobs) == 0 {
		return nil
	}
	return e.clients[Datacenter].Delete(ctx, e.jobs, shardTime)
}
