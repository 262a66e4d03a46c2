package run

import (
	"context"
	"time"

	"triad/internal/evidence"
	"triad/internal/observe/pods"
	"triad/internal/runtimes"
)

// Pods are listed every podsEvery: a kubelet remembers how the last instance of a container ended, so nothing is missed in between but how
// those before it did. Two lists of twenty pods a second would be for nobody.
const (
	podsEvery = 5 * time.Second
	podsTime  = 3 * time.Second // a frozen cluster does not answer
)

// watchPods follows restarts where components run in pods, and looks once more when watch has ended. In a run that goes on, what happened
// since the harness was last seen to live is told too.
func (r *runner) watchPods(watch context.Context, ws *watchers) {
	env, ok := r.env.(runtimes.PodLister)
	if !ok {
		return
	}
	cfg := pods.Config{Evidence: r.w.Events, Now: r.w.Now}
	if r.left != nil {
		cfg.From = r.left.Last
		cfg.Since = r.start.Add(cfg.From).Truncate(time.Second) // a cluster tells seconds
	}
	for cluster, list := range env.Pods() {
		cfg.Cluster, cfg.List = cluster, list
		o := pods.New(cfg)
		ws.wg.Go(func() {
			err := readEvery(watch, podsEvery, func() error {
				ask, cancel := context.WithTimeout(context.WithoutCancel(watch), podsTime)
				defer cancel()
				return o.Look(ask)
			})
			if err != nil {
				r.Logger.Debug("pods", "error", err) // the evidence failed, and watchEvidence says so
			}
			if why := o.Missed(); why != "" {
				r.note(evidence.EventSkip, "restarts", why)
			}
		})
	}
}
