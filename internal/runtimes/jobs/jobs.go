//go:build !embedded_only

package jobs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"triad/internal/evidence"
	"triad/internal/kube"
	"triad/internal/observe/elastic"
	"triad/internal/pod"
	"triad/internal/runtimes"
	"triad/internal/scenario"
	"triad/internal/schedule"
)

// What objects of a run are found by.
const (
	Label     = "triad.dev/shards" // the run that an object was made for
	AgentPort = 9400               // of the program in a pod
	API       = "batch/v1"

	index  = "batch.kubernetes.io/job-completion-index"
	within = 2 * time.Minute // until every pod is ready, and until a Job that is deleted is gone
	// slack is what a run takes beside its load and its drain: warming, healing, the last reading where that takes no longer than it does of
	// a small run. A Job whose harness died ends itself after that.
	slack = 20 * time.Minute
)

// Set are the Jobs of one run, in all its clusters.
type Set struct {
	Session    runtimes.Session
	Clients    map[string]*kube.Client // by cluster
	Namespaces map[string]string       // by cluster; a cluster that is not in it has a namespace of its own name
	Image      string                  // of pods that are made beside what they speak to
	Class      string                  // of their priority; empty: none
	Taken      bool                    // the generators have the run
	made       map[string][]kube.Ref
}

// ID names a run in labels and in names of objects.
func ID(run uint32) string { return fmt.Sprintf("%08x", run) }

// Longest is what a run takes at most: what is made for it and has outlived its harness ends then. Ledgers are fetched behind the last reading of all
// that is sent, which takes its time.
func Longest(s *scenario.Scenario) time.Duration {
	records := schedule.Mean(s) * s.Phases.LoadTime().Seconds()
	return s.Phases.LoadTime() + s.Phases.Drain.D() + slack + elastic.ReadTime(uint64(records)) - elastic.ReadTime(0)
}

// Made reports whether there is a Job of the run in a cluster.
func (s *Set) Made(cluster string) bool { return len(s.made[cluster]) > 0 }

func (s *Set) namespace(cluster string) string {
	if ns, ok := s.Namespaces[cluster]; ok {
		return ns
	}
	return cluster
}

// Make makes a Job of the run and returns its pods, one for each of its completions and in their order. A run that goes on has its Job already: in pods that were
// made now nobody would know it, and where it is gone the error is ErrNotResumable.
func (s *Set) Make(ctx context.Context, cluster string, job *kube.Object) ([]pod.Remote, error) {
	c, ref := s.Clients[cluster], kube.RefOf(job)
	if s.Session.GoesOn {
		_, err := c.Get(ctx, ref)
		if kube.IsNotFound(err) {
			err = fmt.Errorf("%w: Job %s is there no more, and what its pods knew is gone: it ends itself %v behind the beginning of its run", evidence.ErrNotResumable, ref.Name, Longest(s.Session.Scenario))
		}
		if err != nil {
			return nil, c.Explain(err)
		}
	}
	if s.made == nil {
		s.made = map[string][]kube.Ref{}
	}
	s.made[cluster] = append(s.made[cluster], ref) // it may be there even when its making failed
	if !s.Session.GoesOn {
		if err := c.Create(ctx, job); err != nil {
			return nil, c.Explain(err)
		}
	}
	n, _, err := unstructured.NestedInt64(job.Object, "spec", "completions")
	if err != nil {
		return nil, err
	}
	return s.await(ctx, c, ref, int(n))
}

// await waits until a Job has a ready pod for each index.
func (s *Set) await(ctx context.Context, c *kube.Client, job kube.Ref, n int) ([]pod.Remote, error) {
	selector := "batch.kubernetes.io/job-name=" + job.Name
	limited, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not ready within %v", within))
	defer cancel()
	for {
		pods, err := c.List(limited, "v1", "Pod", job.Namespace, selector)
		out, ready := make([]pod.Remote, n), 0
		for i := range pods {
			k, err := strconv.Atoi(pods[i].GetLabels()[index])
			if err == nil && k >= 0 && k < n && out[k].Name == "" && kube.PodReady(&pods[i]) {
				out[k] = Remote(c, &pods[i])
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
				err = errors.New(c.Diagnose(context.WithoutCancel(ctx), job.Namespace, selector).Cause)
			}
			return nil, fmt.Errorf("%d of %d pods of Job %s: %w (%w)", ready, n, job.Name, context.Cause(limited), err)
		}
	}
}

// Remote is this program in a pod. A pod that is gone for good takes with it what it has written.
func Remote(c *kube.Client, o *kube.Object) pod.Remote {
	name, uid := o.GetName(), o.GetUID()
	ref := kube.Ref{APIVersion: "v1", Kind: "Pod", Namespace: o.GetNamespace(), Name: name}
	return pod.Remote{
		Name: name, URL: kube.PodURL(name, ref.Namespace, AgentPort), Client: c.HTTP(30 * time.Second),
		Gone: func(ctx context.Context) bool {
			o, err := c.Get(ctx, ref)
			return kube.IsNotFound(err) || err == nil && o.GetUID() != uid
		},
	}
}

// TriedAgain says whether the run is one that goes on and has not come to it: it can be tried again, with what was made for it.
func (s *Set) TriedAgain() bool { return s.Session.GoesOn && !s.Taken }

// End removes the Jobs of the run, unless it is one that can be tried again.
func (s *Set) End(ctx context.Context) error {
	if s.TriedAgain() {
		return nil
	}
	errs := make(chan error, len(s.made))
	for cluster, refs := range s.made { // at once: where one API server is slow, the others' have been told all the same
		go func() { errs <- s.Clients[cluster].Delete(ctx, refs, within) }()
	}
	var all error
	for range s.made {
		all = errors.Join(all, <-errs)
	}
	return all
}

// Delete removes the Jobs of a namespace that a selector of labels takes in, and returns them.
func Delete(ctx context.Context, c *kube.Client, namespace, selector string) ([]kube.Ref, error) {
	jobs, err := c.List(ctx, API, "Job", namespace, selector)
	if err != nil {
		return nil, c.Explain(err)
	}
	var refs []kube.Ref
	for i := range jobs {
		refs = append(refs, kube.RefOf(&jobs[i]))
	}
	return refs, c.Delete(ctx, refs, within)
}
