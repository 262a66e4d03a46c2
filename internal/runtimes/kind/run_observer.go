//go:build !embedded_only

package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"triad/internal/kube"
	"triad/internal/manifests"
	"triad/internal/runtimes/jobs"
)

const (
	// observerComponent has what exists for the harness: a principal that may read every topic, and policies that let it in. It is there for a run.
	observerComponent = "observer"
	observerLabel     = "triad.dev/observer"
	// observerMark is the label of every object of the component, and of nothing else in the manifests.
	observerMark = observerLabel + "=true"
	observerUser = "observer" // the component's principal

	deadLetterTopic = "dead-letter-topic"

	// observerTime is for removing the component: a second where the API servers answer. An interrupted run has ten seconds for everything.
	observerTime = 10 * time.Second
	// principalTime is until the brokers let a new principal in: a second as a rule. The user operator keeps a list of the rights that it gave, reads it
	// anew every 15 s, and looks at all users every two minutes: a principal that was removed while it read, and made again at once, has its rights then.
	principalTime = 150 * time.Second
)

// observerKinds are the kinds of the component's objects in a cluster.
func observerKinds(cluster string) []kube.Ref {
	kinds := []kube.Ref{{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}}
	if cluster == Kafka {
		kinds = append(kinds, kube.Ref{APIVersion: "kafka.strimzi.io/v1", Kind: "KafkaUser"})
	}
	return kinds
}

// leaveNoObserver removes the component at the end of a run, whatever became of the run. Where that fails it says so, and what to do; the run is what it
// was.
func (r *Runtime) leaveNoObserver(ctx context.Context) {
	if err := r.removeObserver(context.WithoutCancel(ctx)); err != nil {
		r.log.Warn("component observer is still there, and its principal may read every topic: the end of the next run removes it, or sim up", "error", err)
	}
}

// SweepObserver removes the component after a run whose harness was killed. Where pods of that run are there still it stays: they read with its
// principal, and the run can go on.
func (r *Runtime) SweepObserver(ctx context.Context) error {
	for _, cluster := range r.opts.Clusters {
		c, err := r.Client(cluster)
		if err != nil {
			return err
		}
		there, err := c.List(ctx, jobs.API, "Job", cluster, jobs.Label)
		if err != nil {
			return err
		}
		if len(there) > 0 {
			r.progress("observer", kube.StateSkip, fmt.Sprintf("the principal of run %s stays: %s is in %s, and the run can go on", there[0].GetLabels()[jobs.Label], kube.RefOf(&there[0]), cluster))
			return nil
		}
	}
	return r.removeObserver(ctx)
}

// removeObserver deletes the component from every cluster that was made, and waits until it is gone, observerTime at most. What is not there is no
// error.
func (r *Runtime) removeObserver(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, observerTime, fmt.Errorf("not gone within %s", observerTime))
	defer cancel()
	errs := make([]error, len(r.opts.Clusters))
	var wg sync.WaitGroup
	for i, cluster := range r.opts.Clusters { // at once: where one API server is slow, the others' have been told all the same
		wg.Go(func() {
			if _, err := os.Stat(r.KubeconfigPath(cluster)); err != nil {
				return // nothing was deployed
			}
			c, err := r.Client(cluster)
			if err == nil {
				err = removeObserverFrom(ctx, c, cluster)
			}
			if err != nil {
				errs[i] = fmt.Errorf("component %s: %w", observerComponent, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func removeObserverFrom(ctx context.Context, c *kube.Client, cluster string) error {
	var gone []kube.Ref
	var errs []error
	for _, k := range observerKinds(cluster) {
		found, err := c.List(ctx, k.APIVersion, k.Kind, cluster, observerMark)
		if err != nil && !kube.IsNotFound(err) { // a kind that is not there yet has no objects
			errs = append(errs, err)
		}
		for i := range found {
			ref := kube.RefOf(&found[i])
			if err := c.Remove(ctx, ref); err != nil {
				errs = append(errs, err)
				continue
			}
			gone = append(gone, ref)
			if ref.Kind == "KafkaUser" {
				// It goes with its user, by the operator or by its owner. One that went later would be taken for that of the next run's.
				gone = append(gone, kube.Ref{APIVersion: "v1", Kind: "Secret", Namespace: cluster, Name: ref.Name})
			}
		}
	}
	return errors.Join(append(errs, c.AwaitGone(ctx, gone))...)
}

// restoreObserver applies what a cluster lacks of the component, for a run that goes on. Nothing is written where all of it is there.
func (r *Runtime) restoreObserver(ctx context.Context, p *Plan) error {
	for _, cluster := range p.Clusters {
		c, err := r.Client(cluster)
		if err != nil {
			return err
		}
		var missing []kube.Object
		for _, o := range kube.FromMaps(manifests.Maps(observerObjects(p.Objects[cluster]))) {
			_, err := c.Get(ctx, kube.RefOf(&o))
			if err != nil && !kube.IsNotFound(err) {
				return err
			}
			if err != nil {
				missing = append(missing, o)
			}
		}
		if err := c.Apply(ctx, missing, r.progress); err != nil {
			return err
		}
		if err := c.WaitReady(ctx, readyRefs(missing), readyTimeout, r.progress); err != nil {
			return err
		}
	}
	return nil
}

// observerObjects are those of the component among a cluster's.
func observerObjects(objects []manifests.Object) []manifests.Object {
	var out []manifests.Object
	for _, o := range objects {
		if o.Labels()[observerLabel] == "true" {
			out = append(out, o)
		}
	}
	return out
}

// awaitObserver reads the password of the run's principal and waits until every broker lets it in and to what it is to read, principalTime at most: the
// operator calls a user ready when the controller has taken it, which a broker may hear of later, and a client that is refused does not try again.
func (e *env) awaitObserver(ctx context.Context) error {
	limited, cancel := context.WithTimeoutCause(ctx, principalTime, fmt.Errorf("not let in within %s", principalTime))
	defer cancel()
	for {
		password, err := e.KafkaPassword(limited, observerUser)
		if err == nil {
			e.users[observerUser] = password
			if err = e.kafkaAdmin(limited, letIn); err == nil || !refused(err) && limited.Err() == nil {
				return nil // an error that is not about the principal is for who reads next
			}
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-limited.Done():
			return fmt.Errorf("principal %s: %w: %w (`sim shell kafka -- get kafkauser,pods` says what the operator of users makes of it)", observerUser, context.Cause(limited), err)
		}
	}
}

// letIn asks every broker about a topic that the observer reads.
func letIn(ctx context.Context, cl *kgo.Client) error {
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = new(deadLetterTopic)
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = append(req.Topics, topic)
	all, err := req.RequestWith(ctx, cl.SeedBrokers()[0]) // a client tries again by itself, for as long as it may
	if err != nil {
		return err
	}
	var errs []error
	for _, b := range all.Brokers {
		said, err := req.RequestWith(ctx, cl.Broker(int(b.NodeID)))
		if err != nil {
			errs = append(errs, fmt.Errorf("broker %d: %w", b.NodeID, err))
			continue
		}
		for _, t := range said.Topics {
			if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
				errs = append(errs, fmt.Errorf("broker %d: %s: %w", b.NodeID, deadLetterTopic, err))
			}
		}
	}
	return errors.Join(errs...)
}

func refused(err error) bool {
	return errors.Is(err, kerr.SaslAuthenticationFailed) || errors.Is(err, kerr.TopicAuthorizationFailed)
}
