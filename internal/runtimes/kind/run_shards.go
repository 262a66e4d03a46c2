//go:build !embedded_only

package kind

import (
	"context"
	"fmt"
	"slices"

	"triad/internal/kube"
	"triad/internal/load/agent"
	"triad/internal/manifests"
	"triad/internal/pod"
	"triad/internal/runtimes"
	"triad/internal/runtimes/jobs"
	"triad/internal/scenario"
)

var _ runtimes.ObserverPods = (*env)(nil)

// makeShards makes an Indexed Job for each load that pods made for the run send, and waits for its pods.
func (e *env) makeShards(ctx context.Context) error {
	for i, l := range e.session.Scenario.Load {
		if shards(l) == 0 {
			continue
		}
		job, err := e.shardJob(ctx, i)
		if err != nil {
			return fmt.Errorf("shards of %s: %w", l.Source, err)
		}
		pods, err := e.jobs.Make(ctx, job.GetNamespace(), &job)
		if err != nil {
			return fmt.Errorf("shards of %s: %w", l.Source, err)
		}
		for _, p := range pods {
			e.shards[i] = append(e.shards[i], agent.Remote(p))
		}
	}
	return nil
}

// shards is how many pods made for the run send a load: none where the deployed generators do. What enters at the brokers they cannot send.
func shards(l scenario.Input) int {
	if l.Enter == "kafka" {
		return max(l.Parallelism, 1)
	}
	return l.Parallelism
}

// shardApp is the deployed generator whose pods a load's shards are like. What enters at the brokers has no route through the forwarders, so any
// does; those of the system sources are bound to the files of their node.
func shardApp(l scenario.Input) string {
	if l.Enter == "kafka" {
		return agent.Application("service")
	}
	return agent.Application(l.Source)
}

// sweepJobs removes what a harness that was killed has left: Jobs of other runs.
func (e *env) sweepJobs(ctx context.Context) error {
	for _, cluster := range []string{Datacenter, Kafka, Monitoring} {
		gone, err := jobs.Delete(ctx, e.clients[cluster], cluster, jobs.Label+"!="+jobs.ID(e.session.Run)+","+jobs.Label)
		if len(gone) > 0 {
			e.log.Warn("removes the shards of a run whose harness was killed", "cluster", cluster, "jobs", len(gone))
		}
		if err != nil {
			return fmt.Errorf("shards of other runs: %w", err)
		}
	}
	return nil
}

// shardJob is the Job of one load, in the cluster where its records are born: beside the brokers, or pods of the deployed generator.
func (e *env) shardJob(ctx context.Context, load int) (kube.Object, error) {
	l := e.session.Scenario.Load[load]
	src, _ := scenario.FindSource(l.Source) // the scenario is valid
	if src.Cluster == Kafka {
		return e.jobs.BesideBrokers(fmt.Sprintf("shards-%d", load), shards(l), "inputgen", owner(src.Topic), "--source", src.Kind, "--kafka"), nil
	}
	generator, err := e.clients[Datacenter].Get(ctx, kube.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: Datacenter, Name: shardApp(l)})
	switch {
	case err != nil:
		return kube.Object{}, err
	case l.Enter == "kafka":
		return e.jobs.Like(generator, load, shards(l), map[string]any{"triad.dev/enters": "kafka"}, producing), nil
	}
	return e.jobs.Like(generator, load, shards(l), nil, nil), nil
}

// owner is the principal that may write a topic.
func owner(topic string) string {
	if topic == "canary-topic" {
		return "canary"
	}
	return "fluentd"
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

// makeObservers makes Indexed Jobs of observers beside the brokers and beside the store, where the scenario asks for some.
func (e *env) makeObservers(ctx context.Context) error {
	n := e.session.Scenario.Observers
	if n == 0 {
		return nil
	}
	job := e.jobs.BesideBrokers("observers", n, "observer", observerUser)
	var err error
	if e.observers, err = e.jobs.Make(ctx, Kafka, &job); err != nil {
		return fmt.Errorf("observers: %w", err)
	}
	if !e.session.GoesOn {
		err = e.loadOwn(ctx, Monitoring)
	}
	if err == nil {
		job = e.jobs.BesideStore("readers", n, e.elastic.Username)
		e.readers, err = e.jobs.Make(ctx, Monitoring, &job)
	}
	switch {
	case err != nil && e.session.GoesOn: // they know nothing before the end
		e.log.Warn("the store is read by the harness", "why", err)
	case err != nil:
		return fmt.Errorf("readers: %w", err)
	}
	return nil
}

// Observers are the pods that read Kafka for this run.
func (e *env) Observers() []pod.Remote { return e.observers }

// Readers are the pods that read the store for this run.
func (e *env) Readers() []pod.Remote { return e.readers }

// batchClass is the priority class of what a run makes.
const batchClass = "triad-batch"

// ranked gives a pod the class that those of Jobs have.
func (e *env) ranked(pod map[string]any) map[string]any {
	if e.jobs.Class != "" {
		pod["priorityClassName"] = e.jobs.Class
	}
	return pod
}

// batch is the class where the deployed manifests have it. Those of an older revision, with which this program may be compared, have not, and a pod of a
// class that is not there is refused.
func batch(plan *Plan) string {
	for _, objects := range plan.Objects {
		if _, err := manifests.Find(objects, "PriorityClass", batchClass); err == nil {
			return batchClass
		}
	}
	return ""
}
