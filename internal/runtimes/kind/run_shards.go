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

	"triad/internal/evidence"
	"triad/internal/kube"
	"triad/internal/load/agent"
	"triad/internal/manifests"
	"triad/internal/observe/elastic"
	"triad/internal/pod"
	"triad/internal/runtimes"
	"triad/internal/scenario"
	"triad/internal/schedule"
)

var _ runtimes.ObserverPods = (*env)(nil)

const (
	shardLabel = "triad.dev/shards" // the run whose shards an object is
	shardIndex = "batch.kubernetes.io/job-completion-index"
	shardTime  = 2 * time.Minute // until every shard is ready; the image is in the nodes already
	// shardSlack is what a run takes beside its load and its drain: warming, healing, the last reading where that takes no longer than it does of
	// a small run. A Job whose harness died ends itself after that.
	shardSlack = 20 * time.Minute
	agentPort  = 9400
)

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
		pods, err := e.makePods(ctx, job.GetNamespace(), &job, shards(l))
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
		c := e.clients[cluster]
		jobs, err := c.List(ctx, "batch/v1", "Job", cluster, shardLabel+"!="+e.runID()+","+shardLabel)
		if err != nil {
			return fmt.Errorf("shards of other runs: %w", err)
		}
		for i := range jobs {
			e.log.Warn("removes the shards of a run whose harness was killed", "cluster", cluster, "job", jobs[i].GetName())
			if err := c.Delete(ctx, []kube.Ref{kube.RefOf(&jobs[i])}, shardTime); err != nil {
				return err
			}
		}
	}
	return nil
}

// makePods makes a Job of the run and returns its pods. A run that goes on has its own already: in pods that were made now nobody would know it.
func (e *env) makePods(ctx context.Context, cluster string, job *kube.Object, n int) ([]pod.Remote, error) {
	c, ref := e.clients[cluster], kube.RefOf(job)
	if e.session.GoesOn {
		_, err := c.Get(ctx, ref)
		if kube.IsNotFound(err) {
			err = fmt.Errorf("%w: Job %s is there no more, and what its pods knew is gone: it ends itself %v after the time of its run", evidence.ErrNotResumable, ref.Name, slack(e.session.Scenario))
		}
		if err != nil {
			return nil, err
		}
	} else if err := c.Create(ctx, job); err != nil {
		return nil, err
	}
	e.jobs[cluster] = append(e.jobs[cluster], ref)
	return e.awaitPods(ctx, cluster, ref.Name, n)
}

// awaitPods waits until a Job has a ready pod for each index, and returns them in this order.
func (e *env) awaitPods(ctx context.Context, cluster, job string, n int) ([]pod.Remote, error) {
	c, selector := e.clients[cluster], "batch.kubernetes.io/job-name="+job
	limited, cancel := context.WithTimeoutCause(ctx, shardTime, fmt.Errorf("not ready within %v", shardTime))
	defer cancel()
	for {
		pods, err := c.List(limited, "v1", "Pod", cluster, selector)
		out, ready := make([]pod.Remote, n), 0
		for i := range pods {
			k, err := strconv.Atoi(pods[i].GetLabels()[shardIndex])
			if err == nil && k >= 0 && k < n && out[k].Name == "" && kube.PodReady(&pods[i]) {
				out[k] = remotePod(c, &pods[i])
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
				err = errors.New(c.Diagnose(context.WithoutCancel(ctx), cluster, selector).Cause)
			}
			return nil, fmt.Errorf("%d of %d pods of Job %s: %w (%w)", ready, n, job, context.Cause(limited), err)
		}
	}
}

// remotePod is Triad's own program in a pod. A pod that is gone for good takes with it what it has written.
func remotePod(c *kube.Client, o *kube.Object) pod.Remote {
	name, uid := o.GetName(), o.GetUID()
	ref := kube.Ref{APIVersion: "v1", Kind: "Pod", Namespace: o.GetNamespace(), Name: name}
	return pod.Remote{
		Name: name, URL: kube.PodURL(name, ref.Namespace, agentPort), Client: c.HTTP(30 * time.Second),
		Gone: func(ctx context.Context) bool {
			o, err := c.Get(ctx, ref)
			return kube.IsNotFound(err) || err == nil && o.GetUID() != uid
		},
	}
}

// runID names the run in labels.
func (e *env) runID() string { return fmt.Sprintf("%08x", e.session.Run) }

// slack is shardSlack, and what the last reading of all that is sent takes longer than that of a small run: ledgers are fetched behind it.
func slack(s *scenario.Scenario) time.Duration {
	records := schedule.Mean(s) * s.Phases.LoadTime().Seconds()
	return shardSlack + elastic.ReadTime(uint64(records)) - elastic.ReadTime(0)
}

// longest is what a run takes at most: what is made for it and has outlived its harness ends then.
func longest(s *scenario.Scenario) time.Duration {
	return s.Phases.LoadTime() + s.Phases.Drain.D() + slack(s)
}

// indexedJob is a Job of n pods that are there for this run only.
func (e *env) indexedJob(cluster, name string, n int, template map[string]any) kube.Object {
	deadline := longest(e.session.Scenario)
	return kube.Object{Object: map[string]any{
		"apiVersion": "batch/v1", "kind": "Job",
		"metadata": map[string]any{"namespace": cluster, "name": name + "-" + e.runID(), "labels": map[string]any{
			"app.kubernetes.io/part-of": "triad", "app.kubernetes.io/managed-by": "triad", shardLabel: e.runID(),
		}},
		"spec": map[string]any{
			"completionMode": "Indexed", "completions": int64(n), "parallelism": int64(n),
			// A pod that was killed comes again and has no plan: the Job is not to give up because of it and take the others with it.
			"backoffLimit": int64(1000), "activeDeadlineSeconds": int64(deadline / time.Second), "ttlSecondsAfterFinished": int64(60),
			"template": template,
		},
	}}
}

// shardJob is the Job of one load, in the cluster where its records are born: beside the brokers, or pods of the deployed generator, which differ
// from it in that they are there for one run only.
func (e *env) shardJob(ctx context.Context, load int) (kube.Object, error) {
	l := e.session.Scenario.Load[load]
	src, _ := scenario.FindSource(l.Source) // the scenario is valid
	name := fmt.Sprintf("shards-%d", load)
	if src.Cluster == Kafka {
		return e.besideBrokers(name, shards(l), "inputgen", owner(src.Topic), "--source", src.Kind, "--kafka"), nil
	}
	generator, err := e.clients[Datacenter].Get(ctx, kube.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: Datacenter, Name: shardApp(l)})
	if err != nil {
		return kube.Object{}, err
	}
	labels := map[string]any{
		"app.kubernetes.io/name": shardApp(l) + "-shard", "triad.dev/component": "inputgen", "app.kubernetes.io/part-of": "triad", shardLabel: e.runID(),
	}
	template, _, _ := unstructured.NestedMap(generator.Object, "spec", "template") // a copy
	spec, _ := template["spec"].(map[string]any)
	// A container that crashed comes again in its pod, where its ledger is.
	spec["restartPolicy"] = "OnFailure"
	small(spec)
	spread, _ := spec["topologySpreadConstraints"].([]any)
	for _, s := range spread {
		if m, ok := s.(map[string]any); ok {
			m["labelSelector"] = map[string]any{"matchLabels": map[string]any{shardLabel: e.runID()}}
		}
	}
	if l.Enter == "kafka" {
		labels["triad.dev/enters"] = "kafka"
		producing(spec)
	}
	template["metadata"] = map[string]any{"labels": labels}
	return e.indexedJob(Datacenter, name, shards(l), template), nil
}

// owner is the principal that may write a topic.
func owner(topic string) string {
	if topic == "canary-topic" {
		return "canary"
	}
	return "fluentd"
}

// small has a pod ask for little of a node whose processors others have asked for already: it gets its weight from preferGenerators, as every
// generator does here.
func small(spec map[string]any) {
	containers, _ := spec["containers"].([]any)
	for _, c := range containers {
		if m, ok := c.(map[string]any); ok {
			_ = unstructured.SetNestedMap(m, map[string]any{"cpu": "10m", "memory": "32Mi"}, "resources", "requests") // it fails on what is no map alone
		}
	}
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

// triedAgain says whether the run is one that goes on and has not come to it: it can be tried again, with what was made for it.
func (e *env) triedAgain() bool { return e.session.GoesOn && !e.generated }

// endShards removes the Jobs of the run.
func (e *env) endShards(ctx context.Context) error {
	if e.triedAgain() {
		return nil
	}
	errs := make(chan error, len(e.jobs))
	for cluster, jobs := range e.jobs { // at once: where one API server is slow, the others' have been told all the same
		go func() { errs <- e.clients[cluster].Delete(ctx, jobs, shardTime) }()
	}
	var all error
	for range e.jobs {
		all = errors.Join(all, <-errs)
	}
	return all
}

// Kafka's internal listener and the store, as pods of their clusters reach them.
const (
	internalBootstrap = "triad-kafka-bootstrap." + Kafka + ".svc:9093"
	internalStore     = "elasticsearch." + Monitoring + ".svc:9200"
)

// makeObservers makes Indexed Jobs of observers beside the brokers and beside the store, where the scenario asks for some.
func (e *env) makeObservers(ctx context.Context) error {
	n := e.session.Scenario.Observers
	if n == 0 {
		return nil
	}
	job := e.besideBrokers("observers", n, "observer", observerUser)
	var err error
	if e.observers, err = e.makePods(ctx, Kafka, &job, n); err != nil {
		return fmt.Errorf("observers: %w", err)
	}
	if !e.session.GoesOn {
		err = e.loadOwn(ctx, Monitoring)
	}
	if err == nil {
		job = e.besideStore("readers", n)
		e.readers, err = e.makePods(ctx, Monitoring, &job, n)
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

// besideBrokers is a Job of n pods in the brokers' own cluster that run a command of this program, with what it needs to reach them: a principal
// and the brokers' authority, from where Strimzi keeps them.
func (e *env) besideBrokers(name string, n int, command, user string, args ...any) kube.Object {
	return e.beside(Kafka, "brokers", name, n, append([]any{command}, args...), []any{
		map[string]any{"name": "KAFKA_BROKERS", "value": internalBootstrap},
		map[string]any{"name": "KAFKA_USERNAME", "value": user},
		fromSecret("KAFKA_PASSWORD", user, "password"),
	}, "/etc/triad/kafka", "triad-cluster-ca-cert")
}

// besideStore is a Job of n pods in the store's own cluster that read it, as the harness does.
func (e *env) besideStore(name string, n int) kube.Object {
	command := []any{"observer", "--store"}
	if e.elastic.Username == "" {
		return e.beside(Monitoring, "store", name, n, command, []any{map[string]any{"name": "ELASTICSEARCH_URL", "value": "http://" + internalStore}}, "", "")
	}
	return e.beside(Monitoring, "store", name, n, command, []any{
		map[string]any{"name": "ELASTICSEARCH_URL", "value": "https://" + internalStore},
		map[string]any{"name": "ELASTICSEARCH_USERNAME", "value": e.elastic.Username},
		fromSecret("ELASTICSEARCH_PASSWORD", "elasticsearch-users", e.elastic.Username),
	}, "/etc/triad/elasticsearch", "elasticsearch-tls")
}

func fromSecret(variable, secret, key string) any {
	return map[string]any{"name": variable, "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": secret, "key": key}}}
}

// beside is a Job of n pods of this program in the cluster of what they speak to; authority is the secret with its ca.crt, and where it is mounted.
func (e *env) beside(cluster, what, name string, n int, command, env []any, authorityAt, authority string) kube.Object {
	volumes := []any{map[string]any{"name": "ledgers", "emptyDir": map[string]any{"sizeLimit": "4Gi"}}}
	mounts := []any{map[string]any{"name": "ledgers", "mountPath": "/var/lib/triad"}}
	if authority != "" {
		volumes = append(volumes, map[string]any{"name": "ca", "secret": map[string]any{"secretName": authority, "items": []any{map[string]any{"key": "ca.crt", "path": "ca.crt"}}}})
		mounts = append(mounts, map[string]any{"name": "ca", "mountPath": authorityAt, "readOnly": true})
	}
	container := map[string]any{
		"name": command[0], "image": e.plan.Own.Ref, "imagePullPolicy": "IfNotPresent", "command": append([]any{"/usr/local/bin/sim"}, command...),
		"env":            append([]any{map[string]any{"name": "POD_NAME", "valueFrom": map[string]any{"fieldRef": map[string]any{"fieldPath": "metadata.name"}}}}, env...),
		"ports":          []any{map[string]any{"name": "control", "containerPort": int64(agentPort)}},
		"readinessProbe": map[string]any{"httpGet": map[string]any{"path": "/ready", "port": "control"}, "periodSeconds": int64(1)},
		"securityContext": map[string]any{
			"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": map[string]any{"drop": []any{"ALL"}},
		},
		"resources":    map[string]any{"requests": map[string]any{"cpu": "10m", "memory": "32Mi"}, "limits": map[string]any{"memory": "512Mi"}},
		"volumeMounts": mounts,
	}
	return e.indexedJob(cluster, name, n, map[string]any{
		"metadata": map[string]any{"labels": map[string]any{
			"app.kubernetes.io/name": fmt.Sprint(cluster, "-", command[0]), "app.kubernetes.io/part-of": "triad", "triad.dev/beside": what, shardLabel: e.runID(),
		}},
		"spec": e.ranked(map[string]any{
			"restartPolicy": "OnFailure", "automountServiceAccountToken": false, "enableServiceLinks": false,
			"securityContext": map[string]any{"runAsNonRoot": true, "runAsUser": int64(65532), "fsGroup": int64(65532), "seccompProfile": map[string]any{"type": "RuntimeDefault"}},
			"containers":      []any{container},
			"volumes":         volumes,
		}),
	})
}

// batchClass is the priority class of what a run makes.
const batchClass = "triad-batch"

// ranked gives a pod that class where the deployed manifests have it. Those of an older revision, with which this program may be compared, have not,
// and a pod of a class that is not there is refused.
func (e *env) ranked(pod map[string]any) map[string]any {
	for _, objects := range e.plan.Objects {
		if _, err := manifests.Find(objects, "PriorityClass", batchClass); err == nil {
			pod["priorityClassName"] = batchClass
			return pod
		}
	}
	return pod
}
