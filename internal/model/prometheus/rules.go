package prometheus

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	plabels "github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	promengine "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"

	triad "triad/internal/model"
	"triad/internal/promql"
)

// States of an alert, as the API names them.
const (
	stateUnknown  = "unknown" // not evaluated yet
	stateInactive = "inactive"
	statePending  = "pending"
	stateFiring   = "firing"
)

// resolvedRetention is how long a resolved alert is kept (rules/alerting.go).
const resolvedRetention = 15 * time.Minute

// Health of a rule, as the API names it.
const (
	healthUnknown = "unknown"
	healthOK      = "ok"
	healthErr     = "err"
)

// ruleGroup evaluates its rules one after another at its own pace, as rules/group.go does. The package of the real program is not
// used: it brings the clients of three clouds with it.
type ruleGroup struct {
	name, file string
	interval   time.Duration
	offset     time.Duration // of the queries, into the past
	limit      int
	rules      []*rule
	parsed     promql.Group // with the rules that were left out
	r          *Receiver

	mu      sync.Mutex
	last    time.Time
	took    time.Duration
	wasDown bool
}

// rule is a recording or an alerting rule with its state; the group's mu guards what changes.
type rule struct {
	promql.Rule
	labels plabels.Labels

	health   string
	err      error
	last     time.Time
	took     time.Duration
	active   map[uint64]*alert
	returned map[string]plabels.Labels // series of the last evaluation
}

func (x *rule) alerting() bool { return x.Alert != "" }

// alert is one set of labels for which the expression of an alerting rule holds or held.
type alert struct {
	labels, annotations         plabels.Labels
	state                       string
	value                       float64
	activeAt, firedAt, resolved time.Time
	keepSince                   time.Time
}

// loadRules reads the rule files that rule_files names, with the parser of the real program. What rests on a metric that nothing
// exposes is left out and listed.
func (r *Receiver) loadRules() ([]*ruleGroup, []triad.NotModelled, error) {
	var out []*ruleGroup
	var notes []triad.NotModelled
	var errs []error
	for _, file := range slices.Sorted(maps.Keys(r.opts.Rules)) {
		if !slices.ContainsFunc(r.cfg.RuleFiles, func(pattern string) bool { ok, err := path.Match(pattern, file); return ok && err == nil }) {
			continue
		}
		groups, err := parseRules(file, r.opts.Rules[file])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, g := range groups {
			g.r = r
			if g.interval == 0 {
				g.interval = r.cfg.EvaluationInterval
			}
			out = append(out, g)
		}
	}
	for _, pattern := range r.cfg.RuleFiles {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(r.opts.Rules)), func(file string) bool { ok, err := path.Match(pattern, file); return ok && err == nil }) {
			notes = append(notes, triad.NotModelled{File: "prometheus.yml", Line: 1, Key: "rule_files", Value: pattern, Why: "no file of that name is in the pod"})
		}
	}
	if r.opts.Absent != nil {
		notes = append(notes, leaveOut(out, r.opts.Absent)...)
	}
	return out, notes, errors.Join(errs...)
}

// parseRules reads one rule file.
func parseRules(file string, content []byte) ([]*ruleGroup, error) {
	groups, err := promql.Rules(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path.Base(file), err)
	}
	var out []*ruleGroup
	for _, g := range groups {
		x := &ruleGroup{name: g.Name, file: file, interval: g.Interval, offset: g.Offset, limit: g.Limit, parsed: g}
		for _, y := range g.Rules {
			x.rules = append(x.rules, &rule{Rule: y, labels: plabels.FromMap(y.Labels), health: healthUnknown, active: map[uint64]*alert{}})
		}
		out = append(out, x)
	}
	return out, nil
}

// leaveOut removes the rules that rest on a metric that nothing exposes, directly or by way of a recording rule.
func leaveOut(groups []*ruleGroup, absent func(string) bool) []triad.NotModelled {
	var all []promql.Group
	for _, g := range groups {
		all = append(all, g.parsed)
	}
	var notes []triad.NotModelled
	for _, g := range groups {
		g.rules = slices.DeleteFunc(g.rules, func(r *rule) bool {
			m, gone := promql.Rests(r.Expr, all, absent)
			if gone {
				notes = append(notes, triad.NotModelled{File: path.Base(g.file), Line: 1, Key: g.name + "." + r.Name(), Why: "not evaluated: it rests on " + m + ", which nothing here exposes"})
			}
			return gone
		})
	}
	return notes
}

// run evaluates at the group's own phase of its interval, so that groups do not all come at once.
func (g *ruleGroup) run(ctx context.Context) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(g.file + ";" + g.name)) // a hash takes everything
	phase := time.Duration(h.Sum64() % uint64(g.interval))
	now := time.Now()
	next := now.Truncate(g.interval).Add(phase)
	if next.Before(now) {
		next = next.Add(g.interval)
	}
	for {
		t := time.NewTimer(time.Until(next))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		g.evaluate(ctx, next)
		// Iterations that came while this one worked, or while the process stood still, are missed.
		missed := time.Since(next) / g.interval
		if missed > 0 {
			g.r.ruleMetrics.missed.WithLabelValues(g.key()).Add(float64(missed))
		}
		next = next.Add((missed + 1) * g.interval)
	}
}

func (g *ruleGroup) key() string { return g.file + ";" + g.name }

// evaluate runs every rule once. A process that is away evaluates nothing, and knows nothing of pending alerts when it is back: the
// real one restores only those that wait for longer than ten minutes (--rules.alert.for-grace-period).
func (g *ruleGroup) evaluate(ctx context.Context, ts time.Time) {
	if g.r.faults.down() != nil {
		g.wasDown = true
		return
	}
	began := time.Now()
	for _, x := range g.rules {
		if g.wasDown {
			g.mu.Lock()
			x.active, x.returned, x.health, x.err = map[uint64]*alert{}, nil, healthUnknown, nil
			g.mu.Unlock()
		}
		if ctx.Err() != nil {
			return
		}
		g.one(ctx, x, ts)
	}
	g.wasDown = false
	g.mu.Lock()
	g.last, g.took = began, time.Since(began)
	g.mu.Unlock()
	m := g.r.ruleMetrics
	m.last.WithLabelValues(g.key()).Set(float64(began.UnixMilli()) / 1000)
	m.lastTook.WithLabelValues(g.key()).Set(time.Since(began).Seconds())
}

func (g *ruleGroup) one(ctx context.Context, x *rule, ts time.Time) {
	began := time.Now()
	m := g.r.ruleMetrics
	m.evaluations.WithLabelValues(g.key()).Inc()
	vector, err := g.r.engine.vector(ctx, x.Expr.String(), ts.Add(-g.offset))
	if err == nil {
		if x.alerting() {
			vector, err = g.alerts(ctx, x, vector, ts)
		} else {
			vector, err = g.recorded(x, vector)
		}
	}
	if err == nil {
		err = g.write(x, vector, ts)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	x.last, x.took, x.err, x.health = began, time.Since(began), err, healthOK
	if err != nil {
		x.health = healthErr
		m.failures.WithLabelValues(g.key()).Inc()
		g.r.logger.Debug("evaluating rule failed", "rule", x.Name(), "err", err)
	}
}

var errSameLabels = errors.New("vector contains metrics with the same labelset after applying rule labels")

// recorded gives the samples their names and labels.
func (g *ruleGroup) recorded(x *rule, v promengine.Vector) (promengine.Vector, error) {
	b := plabels.NewBuilder(plabels.EmptyLabels())
	for i := range v {
		b.Reset(v[i].Metric)
		b.Set(model.MetricNameLabel, x.Record)
		x.labels.Range(func(l plabels.Label) { b.Set(l.Name, l.Value) })
		v[i].Metric = b.Labels()
	}
	switch {
	case v.ContainsSameLabelset():
		return nil, errSameLabels
	case g.limit > 0 && len(v) > g.limit:
		return nil, fmt.Errorf("exceeded limit of %d with %d series", g.limit, len(v))
	}
	return v, nil
}

// alerts moves the alerts of a rule on by one evaluation and returns the series ALERTS and ALERTS_FOR_STATE (rules/alerting.go, Eval).
func (g *ruleGroup) alerts(ctx context.Context, x *rule, v promengine.Vector, ts time.Time) (promengine.Vector, error) {
	seen := map[uint64]*alert{}
	b := plabels.NewBuilder(plabels.EmptyLabels())
	for _, s := range v {
		expand := g.expander(ctx, x, s, ts)
		b.Reset(s.Metric)
		b.Del(model.MetricNameLabel)
		x.labels.Range(func(l plabels.Label) { b.Set(l.Name, expand(l.Value)) })
		b.Set(plabels.AlertName, x.Alert)
		notes := map[string]string{}
		for k, text := range x.Annotations {
			notes[k] = expand(text)
		}
		a := &alert{labels: b.Labels(), annotations: plabels.FromMap(notes), activeAt: ts, state: statePending, value: s.F}
		h := a.labels.Hash()
		if seen[h] != nil {
			return nil, errSameLabels
		}
		seen[h] = a
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for h, a := range seen {
		if old := x.active[h]; old != nil && old.state != stateInactive {
			old.value, old.annotations = a.value, a.annotations
			continue
		}
		x.active[h] = a
	}
	var out promengine.Vector
	n := 0
	for h, a := range x.active {
		if !x.step(h, a, seen[h] != nil, ts) {
			continue
		}
		n++
		out = append(out, x.series(a, ts.Add(-g.offset))...)
	}
	if g.limit > 0 && n > g.limit {
		x.active = map[uint64]*alert{}
		return nil, fmt.Errorf("exceeded limit of %d with %d alerts", g.limit, n)
	}
	return out, nil
}

// step moves one alert on; false when it is not active any more.
func (x *rule) step(h uint64, a *alert, holds bool, ts time.Time) bool {
	if holds {
		a.keepSince = time.Time{}
	} else {
		keep := false
		if a.state == stateFiring && x.KeepFor > 0 {
			if a.keepSince.IsZero() {
				a.keepSince = ts
			}
			keep = ts.Sub(a.keepSince) < x.KeepFor
		}
		if a.state == statePending || !a.resolved.IsZero() && ts.Sub(a.resolved) > resolvedRetention {
			delete(x.active, h)
		}
		if a.state != stateInactive && !keep {
			a.state, a.resolved = stateInactive, ts
		}
		if !keep {
			return false
		}
	}
	if a.state == statePending && ts.Sub(a.activeAt) >= x.For {
		a.state, a.firedAt = stateFiring, ts
	}
	return true
}

// series are the two series of an active alert.
func (x *rule) series(a *alert, ts time.Time) promengine.Vector {
	b := plabels.NewBuilder(x.labels)
	a.labels.Range(func(l plabels.Label) { b.Set(l.Name, l.Value) })
	b.Set(plabels.AlertName, x.Alert)
	b.Set(model.MetricNameLabel, "ALERTS_FOR_STATE")
	since := promengine.Sample{Metric: b.Labels(), T: ts.UnixMilli(), F: float64(a.activeAt.Unix())}
	b.Set(model.MetricNameLabel, "ALERTS")
	b.Set("alertstate", a.state)
	return promengine.Vector{{Metric: b.Labels(), T: ts.UnixMilli(), F: 1}, since}
}

// expander fills in the templates of a rule for one sample.
func (g *ruleGroup) expander(ctx context.Context, x *rule, s promengine.Sample, ts time.Time) func(string) string {
	data := template.AlertTemplateData(s.Metric.Map(), g.r.cfg.ExternalLabels, "", s)
	const defs = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"
	return func(text string) string {
		if !strings.Contains(text, "{{") {
			return text
		}
		out, err := template.NewTemplateExpander(ctx, defs+text, "__alert_"+x.Alert, data, model.Time(ts.UnixMilli()), g.r.engine.vector, &url.URL{}, nil).Expand()
		if err != nil {
			return fmt.Sprintf("<error expanding template: %s>", err)
		}
		return out
	}
}

// write stores the samples and ends the series that were there last time and are not now.
func (g *ruleGroup) write(x *rule, v promengine.Vector, ts time.Time) error {
	returned := map[string]plabels.Labels{}
	samples := make([]scraped, 0, len(v))
	for _, s := range v {
		l := ownLabels(s.Metric)
		returned[l.key()] = s.Metric
		samples = append(samples, scraped{labels: l, point: point{s.T, s.F}})
	}
	stale := math.Float64frombits(value.StaleNaN)
	for k, l := range x.returned {
		if _, still := returned[k]; !still {
			samples = append(samples, scraped{labels: ownLabels(l), point: point{ts.Add(-g.offset).UnixMilli(), stale}})
		}
	}
	if len(samples) == 0 {
		x.returned = returned
		return nil
	}
	refused, err := g.r.head.appendScrape(samples)
	if err != nil {
		return err
	}
	x.returned = returned
	if n := refused.duplicate + refused.outOfOrder; n > 0 {
		return fmt.Errorf("%d samples of the rule were refused: %d duplicate, %d out of order", n, refused.duplicate, refused.outOfOrder)
	}
	return nil
}

// ruleMetrics are those of rules/group.go that say whether rules are evaluated.
type ruleMetrics struct {
	evaluations, failures, missed *client.CounterVec
	last, lastTook                *client.GaugeVec
}

func newRuleMetrics(reg client.Registerer) *ruleMetrics {
	f := factory{reg: reg}
	m := &ruleMetrics{
		evaluations: f.counters("prometheus_rule_evaluations_total", "Evaluations of rules.", "rule_group"),
		failures:    f.counters("prometheus_rule_evaluation_failures_total", "Evaluations of rules that failed.", "rule_group"),
		missed:      f.counters("prometheus_rule_group_iterations_missed_total", "Evaluations of groups that were missed.", "rule_group"),
		last:        client.NewGaugeVec(client.GaugeOpts{Name: "prometheus_rule_group_last_evaluation_timestamp_seconds", Help: "Last evaluation of the group."}, []string{"rule_group"}),
		lastTook:    client.NewGaugeVec(client.GaugeOpts{Name: "prometheus_rule_group_last_duration_seconds", Help: "Duration of the last evaluation of the group."}, []string{"rule_group"}),
	}
	reg.MustRegister(m.last, m.lastTook)
	return m
}
