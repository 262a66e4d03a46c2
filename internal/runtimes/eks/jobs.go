//go:build !embedded_only

package eks

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"triad/internal/kube"
	"triad/internal/load/agent"
	"triad/internal/pod"
	"triad/internal/runtimes"
	"triad/internal/runtimes/jobs"
	"triad/internal/scenario"
)

var _ runtimes.ObserverPods = (*env)(nil)

// Observers are the pods that read Kafka for this run.
func (e *env) Observers() []pod.Remote { return e.observers }

// Readers are the pods that read the store for this run.
func (e *env) Readers() []pod.Remote { return e.readers }

// mayMake reports whether the file lets Jobs be made in a role. Where it does not, the shards of a load are pods that stand, and the harness reads.
func (c *Contexts) mayMake(role string) bool {
	return slices.Contains(c.Clusters[role].Allow, allowJobs)
}

// makers are the roles in which it does, in order.
func (c *Contexts) makers() []string {
	return slices.DeleteFunc(slices.Clone(scenario.ClusterNames), func(role string) bool { return !c.mayMake(role) })
}

// makes is how many pods a run of s makes in a role.
func (c *Contexts) makes(role string, s *scenario.Scenario) int {
	switch {
	case !c.mayMake(role):
		return 0
	case role == scenario.Kafka && len(s.Faults) > 0:
		return 0 // the error budget asks when what was seen was due, which observers in pods do not say
	case role != scenario.Datacenter:
		return s.Observers
	}
	n := 0
	for _, l := range s.Load {
		n += l.Parallelism
	}
	return n
}

// Rights that Jobs take, without their namespace. Whoever may make a Job may mount what its namespace has: see docs/production-safety.md.
var (
	readJob   = kube.Right{Group: "batch", Resource: "jobs", Verb: "get"}
	listJobs  = kube.Right{Group: "batch", Resource: "jobs", Verb: "list"}
	makeJob   = kube.Right{Group: "batch", Resource: "jobs", Verb: "create"}
	deleteJob = kube.Right{Group: "batch", Resource: "jobs", Verb: "delete"}
	getPod    = kube.Right{Resource: "pods", Verb: "get"} // whether a pod is gone for good, with what it knew
	readApp   = kube.Right{Group: "apps", Resource: "deployments", Verb: "get"}
)

// in are rights in the namespace of a role.
func (c *Contexts) in(role string, rights ...kube.Right) []kube.Right {
	for i := range rights {
		rights[i].Namespace = c.Clusters[role].Namespace
	}
	return rights
}

// making is what a run of s makes for itself where the file lets it.
func (c *Contexts) making(s *scenario.Scenario, goesOn bool) []action {
	var out []action
	for _, role := range scenario.ClusterNames {
		n := c.makes(role, s)
		if n == 0 {
			continue
		}
		what := map[string]string{
			scenario.Datacenter: "like those of the canary's generator, which write the load in its place",
			scenario.Kafka:      fmt.Sprintf("beside the brokers, which read %s as %s", canaryTopic, canaryUser),
			scenario.Monitoring: fmt.Sprintf("beside the store, which read index %s at the end", canaryTopic),
		}[role]
		a := action{role: role, allow: allowJobs, what: fmt.Sprintf("make a Job of %d pods %s, and remove it at the end; it ends itself within %v", n, what, jobs.Longest(s)), rights: c.in(role, makeJob, readJob, deleteJob, getPod)}
		if goesOn {
			a.what, a.rights = fmt.Sprintf("find the run's Job of %d pods %s, and remove it at the end", n, what), c.in(role, readJob, deleteJob, getPod)
		}
		out = append(out, a, action{role, "", "port-forward to the pods of the Job: readiness, progress, what they wrote", reading(c.Clusters[role].Namespace, false)})
		if role == scenario.Datacenter && !goesOn {
			out = append(out, action{role, "", "read the Deployment of the canary's generator, whose pods those of the Job are like", c.in(role, readApp)})
		}
	}
	return out
}

// sweeping is what is done to Jobs of runs that are over, where the file lets Jobs be made.
func (c *Contexts) sweeping() []action {
	var out []action
	for _, role := range c.makers() {
		out = append(out, action{role, allowJobs, "remove the Jobs of marked runs that are over, by their label", c.in(role, readJob, deleteJob)})
	}
	return out
}

// left is how many Jobs of a run there are.
func (s *System) left(ctx context.Context, run uint32) (n int, err error) {
	for _, role := range s.contexts.makers() {
		c := s.clients[role]
		list, err := c.List(ctx, jobs.API, "Job", s.contexts.Clusters[role].Namespace, ofRun(run))
		if err != nil {
			return n, fmt.Errorf("Jobs in %s: %w", role, c.Explain(err))
		}
		n += len(list)
	}
	return n, nil
}

// ofRun selects what was made for a run.
func ofRun(run uint32) string { return jobs.Label + "=" + jobs.ID(run) }

// sweep removes the Jobs of one run that is over.
func (s *System) sweep(ctx context.Context, run uint32) (all error) {
	for _, role := range s.contexts.makers() {
		if _, err := jobs.Delete(ctx, s.clients[role], s.contexts.Clusters[role].Namespace, ofRun(run)); err != nil {
			all = errors.Join(all, fmt.Errorf("Jobs in %s: %w", role, err))
		}
	}
	return all
}

// jobs is the set of a run's Jobs; nothing is made yet.
func (c *Contexts) jobs(session runtimes.Session, clients map[string]*kube.Client) jobs.Set {
	namespaces := map[string]string{}
	for _, role := range scenario.ClusterNames {
		namespaces[role] = c.Clusters[role].Namespace
	}
	return jobs.Set{Session: session, Clients: clients, Namespaces: namespaces}
}

// makeJobs makes the run's Jobs, or finds them. Their pods run the image of the generator that stands: it is the program that the clusters have.
func (e *env) makeJobs(ctx context.Context) error {
	sc := e.session.Scenario
	if e.contexts.makes(scenario.Datacenter, sc) > 0 {
		if err := e.makeShards(ctx); err != nil {
			return err
		}
	}
	var err error
	if n := e.contexts.makes(scenario.Kafka, sc); n > 0 {
		job := e.jobs.BesideBrokers("observers", n, "observer", canaryUser)
		if e.observers, err = e.jobs.Make(ctx, scenario.Kafka, &job); err != nil {
			return fmt.Errorf("observers: %w", err)
		}
	}
	if n := e.contexts.makes(scenario.Monitoring, sc); n > 0 {
		job := e.jobs.BesideStore("readers", n, e.store.access.Username)
		if e.readers, err = e.jobs.Make(ctx, scenario.Monitoring, &job); err != nil {
			return fmt.Errorf("readers: %w", err)
		}
	}
	return nil
}

// makeShards makes a Job for each load that asks for shards.
func (e *env) makeShards(ctx context.Context) error {
	generator := &kube.Object{}
	if !e.session.GoesOn { // a Job that is there already is found by its name
		c, ref := e.clients[scenario.Datacenter], kube.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: e.contexts.Clusters[scenario.Datacenter].Namespace, Name: agent.Application("canary")}
		var err error
		if generator, err = c.Get(ctx, ref); err != nil {
			return fmt.Errorf("shards: %w", c.Explain(err))
		}
	}
	for i, l := range e.session.Scenario.Load {
		if l.Parallelism == 0 {
			continue
		}
		job := e.jobs.Like(generator, i, l.Parallelism, nil, nil)
		made, err := e.jobs.Make(ctx, scenario.Datacenter, &job)
		if err != nil {
			return fmt.Errorf("shards of %s: %w", l.Source, err)
		}
		for _, p := range made {
			e.shards[i] = append(e.shards[i], agent.Remote(p))
		}
	}
	return nil
}

// like has pods of Jobs run what a pod of the generator that stands runs, and go as it does when a node runs short.
func (e *env) like(o *kube.Object) {
	containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "containers")
	if len(containers) > 0 {
		first, _ := containers[0].(map[string]any)
		e.jobs.Image, _ = first["image"].(string)
	}
	e.jobs.Class, _, _ = unstructured.NestedString(o.Object, "spec", "priorityClassName")
}
