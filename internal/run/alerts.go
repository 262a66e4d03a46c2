package run

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"triad/internal/evidence"
	"triad/internal/observe/elastic"
	"triad/internal/observe/promapi"
	"triad/internal/runtimes"
	"triad/internal/view"
)

// How often alerts and the health of rules are read: an alert's latency is known to the first, rules are evaluated every 5 s.
const (
	alertsEvery = time.Second
	rulesEvery  = 5 * time.Second
	// alertsTime is how long an answer may take: a slow one makes the interval of a change wide, none at all leaves a hole.
	alertsTime = 5 * time.Second
	// ruleSlack is how late an evaluation may be beyond two of its intervals before its rule counts as stalled.
	ruleSlack = 5 * time.Second
)

// watchesAlerts reports whether anything about alerts is judged.
func (r *runner) watchesAlerts() bool {
	return len(r.Scenario.Alerts) > 0 || slices.Contains(r.Scenario.Requires, "alerts")
}

// alertsLoop writes what becomes of every alert of the central Prometheus, and whether its rules are evaluated, until ctx ends.
func (r *runner) alertsLoop(ctx context.Context) {
	p := r.env.Prometheus()
	if p == nil {
		r.note(evidence.EventSkip, "alerts", "this runtime has no central Prometheus")
		return
	}
	w := &alertWatch{r: r, client: promapi.Client{Base: p.URL, HTTP: p.Client}, rules: map[string]string{}}
	tick := time.NewTicker(alertsEvery)
	defer tick.Stop()
	for {
		w.read(ctx)
		select {
		case <-ctx.Done():
			if w.reached {
				w.state("done", fmt.Sprintf("%d readings", w.readings))
			}
			return
		case <-tick.C:
		}
	}
}

// alertWatch is what the loop remembers.
type alertWatch struct {
	r        *runner
	client   promapi.Client
	follower promapi.Follower
	rules    map[string]string // last state written, by group and name
	rulesAt  time.Time
	ready    bool
	reached  bool
	readings int
}

func (w *alertWatch) state(state, detail string) {
	w.r.event(evidence.Event{Kind: evidence.EventObserver, Name: evidence.PointAlerts, State: state, Detail: detail})
}

func (w *alertWatch) read(ctx context.Context) {
	ask, cancel := context.WithTimeout(ctx, alertsTime)
	asked := w.r.w.Now()
	list, err := w.client.Alerts(ask)
	cancel()
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		if w.reached {
			w.state("lost", err.Error())
		}
		w.reached = false
		return
	}
	switch {
	case !w.ready:
		w.state("ready", "")
	case !w.reached:
		w.state("back", "")
	}
	w.ready, w.reached = true, true
	w.readings++
	for _, c := range w.follower.Read(asked, w.r.w.Now(), list) {
		e := AlertEvent(c)
		if !c.ActiveAt.IsZero() {
			e.Attrs["active_ns"] = strconv.FormatInt(int64(w.r.w.Since(c.ActiveAt)), 10)
		}
		w.r.event(e)
	}
	if time.Since(w.rulesAt) >= rulesEvery {
		w.rulesAt = time.Now()
		w.readRules(ctx)
	}
}

// AlertEvent is a change of an alert as evidence.
func AlertEvent(c promapi.Change) evidence.Event {
	attrs := map[string]string{"after_ns": strconv.FormatInt(int64(c.After), 10)}
	for k, v := range c.Labels {
		attrs["label_"+k] = v
	}
	if c.Standing {
		attrs["standing"] = "true"
	}
	return evidence.Event{At: c.At, Kind: evidence.EventAlert, Name: c.Name, State: c.State, Attrs: attrs}
}

// readRules writes the health of each rule when it changes.
func (w *alertWatch) readRules(ctx context.Context) {
	ask, cancel := context.WithTimeout(ctx, alertsTime)
	defer cancel()
	list, err := w.client.Rules(ask)
	if err != nil {
		w.r.Logger.Debug("rules not read", "error", err)
		return
	}
	now := time.Now()
	seen := map[string]bool{}
	for _, x := range list {
		state := x.Health
		if state == "ok" && now.Sub(x.LastEvaluation) > 2*x.Interval+ruleSlack {
			state = "stalled"
		}
		k := x.Group + "/" + x.Type + "/" + x.Name
		seen[k] = true
		if w.rules[k] == state {
			continue
		}
		w.rules[k] = state
		w.r.event(evidence.Event{Kind: evidence.EventRule, Name: x.Name, State: state, Detail: x.LastError, Attrs: map[string]string{"group": x.Group, "type": x.Type}})
	}
	for _, k := range slices.Sorted(maps.Keys(w.rules)) {
		if !seen[k] && w.rules[k] != "gone" {
			w.rules[k] = "gone"
			w.r.event(evidence.Event{Kind: evidence.EventRule, Name: k, State: "gone"})
		}
	}
}

// dashboards asks every query of every dashboard when the scenario says so.
func (r *runner) dashboards(ctx context.Context) {
	if r.Scenario.Dashboards == nil || r.missed(r.Scenario.Phases.Resolve(*r.Scenario.Dashboards)) {
		return
	}
	if !r.until(ctx, r.Scenario.Phases.Resolve(*r.Scenario.Dashboards)) {
		return
	}
	src, ok := r.env.(view.Source)
	p := r.env.Prometheus()
	if !ok || p == nil {
		r.note(evidence.EventSkip, "one-view", "this runtime has no dashboards")
		return
	}
	shown, err := src.Shown()
	if err != nil {
		r.note(evidence.EventBroken, "dashboards observer", err.Error())
		return
	}
	a := view.Asker{Prometheus: promapi.Client{Base: p.URL, HTTP: p.Client}, Via: view.Directly}
	access := r.env.Search()
	if g, ok := r.env.(runtimes.Dashboarder); ok {
		if grafana := g.Grafana(); grafana != nil {
			a.Via = view.Grafana
			a.Prometheus = promapi.Client{Base: grafana.URL + "/api/datasources/proxy/uid/prometheus", HTTP: grafana.Client, User: grafana.User, Password: grafana.Password}
			access = elastic.Access{URL: grafana.URL + "/api/datasources/proxy/uid/elasticsearch", Transport: grafana.Client.Transport, Username: grafana.User, Password: grafana.Password}
		}
	}
	if a.Search, err = elastic.NewClient(access); err != nil {
		r.note(evidence.EventBroken, "dashboards observer", err.Error())
		return
	}
	if l, ok := r.env.(view.Lacking); ok {
		a.Lacks = l.Lacks
	}
	results := a.Ask(ctx, shown, time.Now())
	for _, res := range results {
		r.event(res.Event())
	}
	r.Progress.Step("dashboards", "done", view.Summary(results))
}
