package probe

import (
	"context"
	"strconv"
	"sync"
)

// InsideClusters finds out whether each cluster's network enforces policies at all, by a real test, and judges what they let
// through where it does. Where it does not, the part is skipped with what the test saw: a policy that nothing enforces is
// neither open nor closed.
func InsideClusters(ctx context.Context, env PolicyProber, d Declared) []Result {
	type look struct {
		e   Enforcement
		err error
	}
	looks := make([]look, len(d.Clusters))
	var wg sync.WaitGroup
	for i, c := range d.Clusters {
		wg.Go(func() { looks[i].e, looks[i].err = env.ProbePolicies(ctx, c) })
	}
	wg.Wait()
	var out []Result
	for i, c := range d.Clusters {
		e, err := looks[i].e, looks[i].err
		switch {
		case err != nil:
			out = append(out, Result{Kind: KindPolicy, Name: c + ": policies", State: Unknown, Detail: err.Error(), Attrs: map[string]string{"cluster": c}})
			continue
		case !e.Enforced:
			out = append(out, Result{
				Kind: KindPolicy, Name: c + ": policies", State: Skipped, Detail: "the network of cluster " + c + " does not enforce NetworkPolicy: " + e.Detail,
				Attrs: map[string]string{"cluster": c},
			})
			continue
		}
		if len(e.Reached) == 0 {
			out = append(out, Result{Kind: KindPolicy, Name: c + ": policies", State: Unknown, Detail: "no pod was tried", Attrs: map[string]string{"cluster": c}})
		}
		for _, t := range e.Reached {
			r := Result{
				Kind: KindPolicy, Name: c + "/unlabelled->" + c + "/" + t.Pod + ":" + strconv.Itoa(t.Port), Declared: t.DNS, State: Closed, Detail: t.Detail,
				Attrs: map[string]string{"cluster": c, "pod": t.Pod, "port": strconv.Itoa(t.Port)},
			}
			if t.Open {
				r.State = Open
			}
			out = append(out, r)
		}
	}
	return out
}
