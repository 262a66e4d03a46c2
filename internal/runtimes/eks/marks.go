//go:build !embedded_only

package eks

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"triad/internal/evidence"
	"triad/internal/kube"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// A run is marked by a Lease in the namespace of datacenter: the one object that it makes. A Lease configures nothing and starts nothing, so
// the right to write it harms nobody, and it is seen by everybody who looks.
const (
	partOfLabel = "app.kubernetes.io/part-of"
	runLabel    = "triad.dev/run"
	marked      = partOfLabel + "=triad," + runLabel
	leaseAPI    = "coordination.k8s.io/v1"
	lateNote    = "triad.dev/late"
	untilNote   = "triad.dev/late-until"
)

// Mark is a run that may have left something behind.
type Mark struct {
	Name     string
	Run      uint32
	Scenario string
	Holder   string
	Began    time.Time
	Lasts    time.Duration // how long it may be under way
	Late     uint64        // records that were acknowledged and had not come when it ended
	Until    time.Time     // when the last of them can come: Kafka keeps none of them longer
	ref      kube.Ref
}

// Live reports whether the run may still be under way.
func (m Mark) Live() bool { return time.Now().Before(m.Began.Add(m.Lasts)) }

// marks lists them. A Lease that has the labels and not the form is somebody else's.
func (s *System) marks(ctx context.Context) ([]Mark, error) {
	c := s.clients[scenario.Datacenter]
	list, err := c.List(ctx, leaseAPI, "Lease", s.contexts.Clusters[scenario.Datacenter].Namespace, marked)
	if err != nil {
		return nil, c.Explain(err)
	}
	var out []Mark
	for i := range list {
		o := &list[i]
		run, err := strconv.ParseUint(o.GetLabels()[runLabel], 10, 32)
		if err != nil || o.GetName() != markName(uint32(run)) {
			continue
		}
		m := Mark{Name: o.GetName(), Run: uint32(run), Scenario: o.GetAnnotations()["triad.dev/scenario"], ref: kube.RefOf(o)}
		m.Holder, _, _ = unstructured.NestedString(o.Object, "spec", "holderIdentity")
		at, _, _ := unstructured.NestedString(o.Object, "spec", "acquireTime")
		m.Began, _ = time.Parse(time.RFC3339Nano, at) // a time that cannot be read is long ago
		seconds, _, _ := unstructured.NestedInt64(o.Object, "spec", "leaseDurationSeconds")
		m.Lasts = time.Duration(seconds) * time.Second
		m.Late, _ = strconv.ParseUint(o.GetAnnotations()[lateNote], 10, 64)
		m.Until, _ = time.Parse(time.RFC3339, o.GetAnnotations()[untilNote])
		out = append(out, m)
	}
	return out, nil
}

func markName(run uint32) string { return fmt.Sprintf("triad-run-%d", run) }

// slack is what a run may take beside its load and its drain: steps before and behind them have deadlines of minutes.
const slack = 10 * time.Minute

// mark marks a run before anything of it is written. Two runs at a time would spoil each other's figures. A run that goes on has its mark, which
// is made to last until its end as it is now: what sim down has taken out, somebody did not want to go on.
//
// Two that start together see none of each other before they have written, so each looks again behind its own mark and gives way to any other that
// lives. Of two marks the later one was written before its owner looked again, so no two of them stay; both may give way, and whoever runs is asked
// to start once more. Which is the elder cannot be told safely: times are whole seconds of several servers' clocks.
func (s *System) mark(ctx context.Context, session runtimes.Session) (Mark, error) {
	there, err := s.marks(ctx)
	if err != nil {
		return Mark{}, err
	}
	var own *Mark
	for i, m := range there {
		if session.GoesOn && m.Run == session.Run {
			own = &there[i]
			continue
		}
		if m.Live() {
			return Mark{}, &RefusedError{m.underWay() + "; wait for it"}
		}
		s.logger.Warn("an earlier run has left something behind; sim down takes it out", "mark", m.Name, "holder", m.Holder)
	}
	now := time.Now()
	ns := s.contexts.Clusters[scenario.Datacenter].Namespace
	m := Mark{
		Name: markName(session.Run), Run: session.Run, Scenario: session.Scenario.Name, Holder: host(), Began: now.UTC(), Lasts: lasts(session.Scenario, now, s.began) + slack,
		ref: kube.Ref{APIVersion: leaseAPI, Kind: "Lease", Namespace: ns, Name: markName(session.Run)},
	}
	c := s.clients[scenario.Datacenter]
	var write, withdraw func(ctx context.Context) error
	switch {
	case !session.GoesOn:
		write = func(ctx context.Context) error { return c.Explain(c.Create(ctx, m.lease())) }
		withdraw = func(ctx context.Context) error { return s.unmark(ctx, m) }
	case own == nil:
		return m, fmt.Errorf("%w: its mark, Lease %s in %s, is there no more: sim down took out what it had left, or this is another cluster", evidence.ErrNotResumable, m.Name, ns)
	default:
		m.Began, m.Lasts = own.Began, now.Sub(own.Began)+m.Lasts
		write = func(ctx context.Context) error { return c.Explain(c.Apply(ctx, []kube.Object{*m.lease()}, nil)) }
		withdraw = func(ctx context.Context) error { return c.Explain(c.Apply(ctx, []kube.Object{*own.lease()}, nil)) }
	}
	if err = write(ctx); err == nil {
		err = s.alone(ctx, m)
	}
	if err != nil { // the mark may be there all the same
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), unmarkTime)
		defer cancel()
		err = errors.Join(err, withdraw(back))
	}
	return m, err
}

// alone demands that no other mark lives beside one that was just written.
func (s *System) alone(ctx context.Context, own Mark) error {
	there, err := s.marks(ctx)
	if err != nil {
		return err
	}
	for _, m := range there {
		if m.Run != own.Run && m.Live() {
			return &RefusedError{m.underWay() + ": it began at the same moment, and this one gave way. It may have given way too: wait for it, or start again"}
		}
	}
	return nil
}

func (m Mark) underWay() string {
	return fmt.Sprintf("%s of %s is under way since %s", m.Name, m.Holder, m.Began.Format(time.RFC3339))
}

// lease is the mark as an object.
func (m Mark) lease() *kube.Object {
	notes := map[string]any{"triad.dev/scenario": m.Scenario}
	if m.Late > 0 {
		notes[lateNote], notes[untilNote] = strconv.FormatUint(m.Late, 10), m.Until.UTC().Format(time.RFC3339)
	}
	return &kube.Object{Object: map[string]any{
		"apiVersion": leaseAPI, "kind": "Lease",
		"metadata": map[string]any{
			"namespace": m.ref.Namespace, "name": m.Name,
			"labels":      map[string]any{partOfLabel: "triad", "app.kubernetes.io/managed-by": kube.FieldManager, runLabel: strconv.FormatUint(uint64(m.Run), 10)},
			"annotations": notes,
		},
		"spec": map[string]any{"holderIdentity": m.Holder, "acquireTime": m.Began.Format("2006-01-02T15:04:05.000000Z"), "leaseDurationSeconds": max(int64(m.Lasts/time.Second), 1)},
	}}
}

// end says of a mark that its run is over and has left something: sim down need not wait then. A harness that was killed does not come here,
// and its mark ends by its own time.
func (s *System) end(ctx context.Context, m Mark) error {
	m.Lasts = 0
	c := s.clients[scenario.Datacenter]
	return c.Explain(c.Apply(ctx, []kube.Object{*m.lease()}, nil))
}

// A mark that cannot be removed at once is tried to be again, for so long at most.
const (
	unmarkTime  = 20 * time.Second
	unmarkEvery = time.Second
)

// unmark removes one mark, by its name. One that stayed would keep the next run waiting for a run that is over.
func (s *System) unmark(ctx context.Context, m Mark) error {
	c := s.clients[scenario.Datacenter]
	ctx, cancel := context.WithTimeout(ctx, unmarkTime)
	defer cancel()
	for {
		err := c.Remove(ctx, m.ref)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(unmarkEvery):
		case <-ctx.Done():
			return c.Explain(err)
		}
	}
}
