package pods

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"triad/internal/evidence"
)

// ComponentLabel names the component of a pod of the platform.
const ComponentLabel = "triad.dev/component"

// Component is what series and judging call the component of such a label.
func Component(label string) string {
	if label == "kafka-connect" {
		return "connect"
	}
	return label
}

// List returns all pods of the platform in a cluster that are to run for ever; those of Jobs are not among them.
type List func(ctx context.Context) ([]Pod, error)

// Pod is one pod as its API server tells of it.
type Pod struct {
	Component, Name, UID, Node string
	Created                    time.Time
	Going                      bool   // it is being deleted
	Over                       string // why it will not run again, as Evicted; empty: it does
	Containers                 []Container
}

// Container is one container of a pod.
type Container struct {
	Name     string
	Restarts int
	Ended    bool // its newest instance has, and the next is not made yet, so Restarts does not count it
	Last     *End // of its newest instance that ended; nil: none did, or nobody knows any more
}

// End is how an instance of a container ended. Times are of the cluster's clock, to the second; zero: not told.
type End struct {
	ID       string // of the instance
	Reason   string // Error, OOMKilled, Completed, or another of the kubelet's
	Code     int
	Started  time.Time
	Finished time.Time
}

// key tells one instance from the next, where the runtime has lost its name too.
func (e *End) key() string {
	if e == nil {
		return ""
	}
	return cmp.Or(e.ID, e.Started.String()+" "+e.Finished.String())
}

// Recorder takes events; evidence.EventLog is one.
type Recorder interface{ Add(e evidence.Event) error }

// Config of an observer of one cluster.
type Config struct {
	Cluster  string
	List     List
	Evidence Recorder
	Now      func() time.Duration // time of the evidence
	// Since and From are set in a run that goes on: what ended since then, by the cluster's clock, is told at the first look; From is the same
	// in the time of the evidence. Zero: what was there is where it begins.
	Since time.Time
	From  time.Duration
}

// container is what was told of a container.
type container struct {
	ends int // how many instances of it have ended
	last string
}

// pod is what is known of a pod.
type pod struct {
	Pod
	containers map[string]container
	end        *End // of a container while the pod went
	over       bool // told
}

// Observer follows the pods of one cluster. Look is called by one goroutine at a time.
type Observer struct {
	cfg    Config
	known  map[string]*pod // by UID; nil: nothing was listed yet
	at     time.Duration   // when it was
	failed error           // of the last look
}

// New prepares an observer.
func New(cfg Config) *Observer { return &Observer{cfg: cfg, at: cfg.From} }

func (o *Observer) list(ctx context.Context) (pods []Pod, ok bool) {
	pods, o.failed = o.cfg.List(ctx)
	return pods, o.failed == nil
}

// Look lists once and writes what changed. Its error is that of the evidence; a list that failed is kept for Missed.
func (o *Observer) Look(ctx context.Context) error {
	list, ok := o.list(ctx)
	if !ok {
		return nil
	}
	now := o.cfg.Now()
	for _, e := range o.changes(list) {
		e.At, e.Kind = now, evidence.EventRestart
		e.Attrs["cluster"], e.Attrs["after_ns"] = o.cfg.Cluster, strconv.FormatInt(int64(o.at), 10)
		if err := o.cfg.Evidence.Add(e); err != nil {
			return fmt.Errorf("pods of %s: %w", o.cfg.Cluster, err)
		}
	}
	o.at = now
	return nil
}

// Missed says what is not known because the last look failed; empty: nothing.
func (o *Observer) Missed() string {
	switch {
	case o.failed == nil:
		return ""
	case o.known == nil:
		return fmt.Sprintf("the pods of %s could not be listed: %v", o.cfg.Cluster, o.failed)
	}
	return fmt.Sprintf("the pods of %s were last listed at %v of the run: %v", o.cfg.Cluster, o.at.Round(time.Second), o.failed)
}

// changes compares with what was known, pods in the order of their names.
func (o *Observer) changes(list []Pod) []evidence.Event {
	slices.SortFunc(list, func(a, b Pod) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID)) })
	var out []evidence.Event
	now := map[string]*pod{}
	for _, x := range list {
		p, old := o.known[x.UID]
		if !old {
			p = &pod{containers: map[string]container{}}
		}
		p.Pod = x
		now[x.UID] = p
		// A pod that came since the last look began with nothing; one that was there at the first had a life before.
		out = append(out, o.ended(p, o.known == nil)...)
		if o.known == nil && !o.cfg.Since.IsZero() && !x.Created.Before(o.cfg.Since) {
			e := p.replaced()
			delete(e.Attrs, "reason")
			e.Detail = "it was made while nobody looked, in the place of one that is gone"
			out = append(out, e)
		}
		if x.Over != "" && !p.over {
			p.over = true
			if o.known != nil {
				out = append(out, p.replaced())
			}
		}
	}
	for _, p := range o.known {
		if now[p.UID] == nil && !p.over {
			out = append(out, p.replaced())
		}
	}
	slices.SortStableFunc(out, func(a, b evidence.Event) int { return cmp.Compare(a.Attrs["pod"], b.Attrs["pod"]) })
	o.known = now
	return out
}

// ended notes how often the containers of a pod have ended, and returns what was not told yet. What ends with its pod is told with it.
func (o *Observer) ended(p *pod, first bool) []evidence.Event {
	var out []evidence.Event
	for _, c := range p.Containers {
		was := p.containers[c.Name]
		last, ends := was.last, c.Restarts
		if c.Last != nil {
			last = c.Last.key()
		}
		if c.Ended {
			ends++
		}
		times := ends - was.ends
		if last != was.last {
			times = max(times, 1) // whatever is counted: a kubelet that has forgotten begins anew
		}
		p.containers[c.Name] = container{max(ends, was.ends+max(times, 0)), last}
		if first {
			if o.cfg.Since.IsZero() || c.Last == nil || c.Last.Finished.Before(o.cfg.Since) {
				continue
			}
			times = 1 // how many of them it were since then is not known
		}
		switch {
		case times <= 0:
		case p.Going || p.Over != "":
			p.end = c.Last
		default:
			e := p.event(evidence.RestartContainer, c.Last)
			e.Attrs["container"], e.Attrs["times"] = c.Name, strconv.Itoa(times)
			out = append(out, e)
		}
	}
	return out
}

// replaced is the event of a pod that is gone or over, with how its container ended, where that was seen.
func (p *pod) replaced() evidence.Event {
	e := p.event(evidence.RestartPod, p.end)
	e.Attrs["times"] = "1"
	if p.Over != "" {
		e.Attrs["reason"] = p.Over
	} else if p.end == nil {
		e.Attrs["reason"] = "Deleted"
	}
	return e
}

// event says of which pod it is, and how the instance ended.
func (p *pod) event(state string, end *End) evidence.Event {
	e := evidence.Event{Name: p.Component, State: state, Attrs: map[string]string{"pod": p.Name, "node": p.Node}}
	if end == nil {
		return e
	}
	e.Attrs["reason"], e.Attrs["exit_code"] = end.Reason, strconv.Itoa(end.Code)
	for key, t := range map[string]time.Time{"started": end.Started, "finished": end.Finished} {
		if !t.IsZero() {
			e.Attrs[key] = t.UTC().Format(time.RFC3339)
		}
	}
	return e
}
