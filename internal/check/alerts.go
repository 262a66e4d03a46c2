package check

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

// between is when something came about: after the last reading that did not show it, not later than the first that did.
type between struct{ after, at time.Duration }

// episode is one life of one alert that fired.
type episode struct {
	name   string
	stood  bool // it was there when the first reading was made
	labels map[string]string
	fired  between
	ended  *between
}

func (e episode) String() string {
	var parts []string
	for _, k := range sortedKeys(e.labels) {
		if k != "severity" {
			parts = append(parts, k+"="+e.labels[k])
		}
	}
	if len(parts) == 0 {
		return e.name
	}
	return e.name + "{" + strings.Join(parts, ", ") + "}"
}

// alertHistory is what the observer of alerts wrote.
type alertHistory struct {
	episodes []episode
	ready    bool
	lost     []between // in which nothing was read; the last may have no end yet
	readings bool      // the observer read to the end
	end      time.Duration
	rules    map[string]string // alerting rules by name, with what is wrong with them; empty: nothing
}

func (j *judge) alertHistory() alertHistory {
	h := alertHistory{rules: map[string]string{}}
	open := map[string]int{}       // index of the episode under way
	evaluated := map[string]bool{} // rules of each group, and whether they ever were
	for _, e := range j.r.Events {
		h.end = max(h.end, e.At)
		if k := e.Attrs["group"] + "/" + e.Attrs["type"] + "/" + e.Name; e.Kind == evidence.EventRule && e.State != "gone" {
			evaluated[k] = evaluated[k] || e.State != "unknown"
		}
		switch {
		case e.Kind == evidence.EventObserver && e.Name == evidence.PointAlerts:
			switch e.State {
			case "ready":
				h.ready = true
			case "lost":
				h.lost = append(h.lost, between{e.At, 1<<63 - 1})
			case "back":
				if n := len(h.lost); n > 0 {
					h.lost[n-1].at = e.At
				}
			case "done":
				h.readings = true
			}
		case e.Kind == evidence.EventRule && e.State == "gone":
			h.rules[e.Name[strings.LastIndex(e.Name, "/")+1:]] = "it is not evaluated any more"
		case e.Kind == evidence.EventRule && e.Attrs["type"] == "alerting":
			switch old, seen := h.rules[e.Name]; {
			case e.State == "ok" && !seen, e.State == "unknown" && !seen:
				h.rules[e.Name] = ""
			case e.State == "err", e.State == "stalled":
				h.rules[e.Name] = cmp.Or(old, fmt.Sprintf("%s at %.0f s: %s", e.State, e.At.Seconds(), cmp.Or(e.Detail, "it was not evaluated in time")))
			}
		case e.Kind == evidence.EventRule && (e.State == "err" || e.State == "stalled"):
			// An alert may rest on what it records.
			h.rules[e.Name] = cmp.Or(h.rules[e.Name], fmt.Sprintf("%s at %.0f s: %s", e.State, e.At.Seconds(), e.Detail))
		case e.Kind == evidence.EventAlert:
			h.alert(e, open)
		}
	}
	// What is unknown from the beginning to the end has stayed silent because nobody asked it; an alert may rest on what it records.
	for _, k := range sortedKeys(evaluated) {
		if name := k[strings.LastIndex(k, "/")+1:]; !evaluated[k] {
			h.rules[name] = cmp.Or(h.rules[name], "it was never evaluated")
		}
	}
	return h
}

func (h *alertHistory) alert(e evidence.Event, open map[string]int) {
	labels := map[string]string{}
	for k, v := range e.Attrs {
		if name, ok := strings.CutPrefix(k, "label_"); ok {
			labels[name] = v
		}
	}
	s := between{e.At, e.At}
	if ns, err := strconv.ParseInt(e.Attrs["after_ns"], 10, 64); err == nil {
		s.after = time.Duration(ns)
	}
	x := episode{name: e.Name, stood: yes(e.Attrs["standing"]), labels: labels, fired: s}
	i, is := open[x.String()]
	switch e.State {
	case "firing":
		if !is {
			h.episodes = append(h.episodes, x)
			open[x.String()] = len(h.episodes) - 1
		}
	default: // resolved; pending and inactive mean the same where a resolution fell between two readings
		if is {
			h.episodes[i].ended = &s
			delete(open, x.String())
		}
	}
}

// blind says when nothing was read in a stretch of time; empty when all of it was.
func (h *alertHistory) blind(from, to time.Duration) string {
	for _, l := range h.lost {
		if l.after < to && l.at > from {
			return blindFrom(l)
		}
	}
	return ""
}

func blindFrom(l between) string {
	return fmt.Sprintf("alerts could not be read from %.0f s on", l.after.Seconds())
}

// blindTo says when nothing was read during the load although nothing kept the alerts from being read; empty when all of it was.
func (j *judge) blindTo(h *alertHistory) string {
	const back = time.Minute // until a server that was away answers again
	for _, l := range h.lost {
		if l.after >= j.s.Phases.LoadTime() || slices.ContainsFunc(j.faults, func(f *faultState) bool {
			from, to, acted := f.active()
			return acted && (f.Kind == "receiver-down" || f.Cluster == scenario.Monitoring) && l.after >= from && l.at <= to+back
		}) {
			continue
		}
		return blindFrom(l)
	}
	return ""
}

// declared is one alert of the scenario with the fault that raises it.
type declared struct {
	scenario.Alert
	from, relief time.Duration
	held         bool // the fault lasts until relief
	ok           bool // the fault was injected and is over
}

func (d declared) fits(e episode) bool {
	if d.Name != e.name {
		return false
	}
	for k, v := range d.Labels {
		if e.labels[k] != v {
			return false
		}
	}
	return true
}

func (j *judge) declaredAlerts() []declared {
	var out []declared
	for _, a := range j.s.Alerts {
		d := declared{Alert: a}
		for _, f := range j.faults {
			if f.Name != a.Fault || f.injected == nil {
				continue
			}
			d.from, d.held = *f.injected, f.For > 0
			d.relief, d.ok = f.relief()
		}
		out = append(out, d)
	}
	return out
}

// verdicts collects what is wrong, what cannot be told and what is right.
type verdicts struct{ wrong, unclear, good []string }

func (v *verdicts) fail(format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
}

func (v *verdicts) unsure(format string, args ...any) {
	v.unclear = append(v.unclear, fmt.Sprintf(format, args...))
}

// alertsCheck is claim C7: every declared alert that is not optional fires for its fault and clears behind it, in time, and no other
// fires. Times are intervals between two readings: a limit inside one is inconclusive.
func alertsCheck(j *judge) *judged {
	if len(j.s.Alerts) == 0 && !slices.Contains(j.s.Requires, "alerts") {
		return nil
	}
	c := &judged{files: []string{evidence.EventsFile}, interim: true, onFaults: len(j.faults) > 0}
	c.Unit, c.Limit = "alerts", new(0.0)
	h := j.alertHistory()
	if !h.ready {
		return c.set(Inconclusive, "the alerts of the central Prometheus were never read")
	}
	if len(j.gaps) > 0 {
		return c.set(Inconclusive, "the harness was dead in between, and an alert that came and went then was seen by nobody")
	}
	var v verdicts
	declared := j.declaredAlerts()
	mine := make([][]episode, len(declared))
	for _, e := range h.episodes {
		j.assign(e, declared, mine, &v)
	}
	for i, d := range declared {
		j.judgeAlert(d, mine[i], &h, &v)
	}
	j.rulesEvaluated(&h, &v)
	if why := j.blindTo(&h); why != "" && len(v.unclear) == 0 {
		v.unsure("%s, and what fired then was seen by nobody", why)
	}
	c.Value = new(float64(len(v.wrong)))
	switch {
	case len(v.wrong) > 0:
		return c.set(Fail, "%s", strings.Join(append(v.wrong, v.unclear...), "; ")).unlessBusy(j, scenario.Before, scenario.During, scenario.After)
	case len(v.unclear) > 0:
		return c.set(Inconclusive, "%s", strings.Join(append(v.unclear, v.good...), "; "))
	case len(v.good) == 0:
		return c.set(Pass, "no alert was expected and none fired; %d alerting rules were evaluated", len(h.rules))
	}
	return c.set(Pass, "%s; nothing else fired, %d alerting rules were evaluated", strings.Join(v.good, "; "), len(h.rules))
}

// unlessBusy makes a fail invalid in phases in which the machine had no time left: what came late or not at all then is the machine's
// affair. What passed in spite of it has passed.
func (c *judged) unlessBusy(j *judge, phases ...string) *judged {
	for _, p := range phases {
		if why := j.busy[p]; why != "" && c.Verdict == Fail {
			c.set(Invalid, "in phase %s %s (else: %s)", p, why, c.Detail)
		}
	}
	return c
}

// assign gives an episode to the declaration whose fault came last before it; what belongs to none is a false alarm.
func (j *judge) assign(e episode, all []declared, mine [][]episode, v *verdicts) {
	best := -1
	for i, d := range all {
		if d.fits(e) && d.ok && e.fired.at >= d.from && (best < 0 || d.from > all[best].from) {
			best = i
		}
	}
	if best >= 0 {
		mine[best] = append(mine[best], e)
		return
	}
	// What an earlier run left behind may end before anything is done; nothing is known of its beginning.
	from, _, acted := j.outage()
	if e.stood && e.ended != nil && (!acted || e.ended.at <= from) {
		return
	}
	if slices.ContainsFunc(all, func(d declared) bool { return d.fits(e) && d.ok }) {
		v.fail("%s fired at %.0f s, before anything was wrong", e, e.fired.at.Seconds())
		return
	}
	v.fail("%s fired at %.0f s and nothing declares it", e, e.fired.at.Seconds())
}

func (j *judge) judgeAlert(d declared, mine []episode, h *alertHistory, v *verdicts) {
	what := fmt.Sprintf("%s for %s", d.Name, d.Fault)
	bad, known := h.rules[d.Name]
	switch {
	case !d.ok:
		v.unsure("%s: its fault was not injected or not healed", what)
		return
	case !known && len(mine) == 0:
		v.unsure("%s: no rule of that name is evaluated here", what)
		return
	case bad != "" && len(mine) == 0:
		v.unsure("%s: its rule: %s", what, bad)
		return
	case d.Optional && len(mine) == 0:
		return
	}
	if len(mine) == 0 {
		if why := h.blind(d.from, d.from+d.Fires.D()); why != "" {
			v.unsure("%s: not seen, and %s", what, why)
		} else {
			v.fail("%s stayed silent", what)
		}
		return
	}
	first, last := mine[0], mine[len(mine)-1]
	lower, upper := max(first.fired.after-d.from, 0), first.fired.at-d.from
	switch limit := d.Fires.D(); {
	case lower > limit:
		v.fail("%s fired %s after the injection, allowed %v", what, within(lower, upper), limit)
	case upper > limit:
		v.unsure("%s fired %s after the injection, and the limit of %v lies in between", what, within(lower, upper), limit)
	}
	for _, e := range mine {
		if d.held && e.ended != nil && e.ended.at < d.relief {
			v.fail("%s cleared at %.0f s, and its fault lasted until %.0f s", what, e.ended.at.Seconds(), d.relief.Seconds())
		}
		if e.fired.after > d.relief+d.Clears.D() {
			v.fail("%s fired again at %.0f s, when its fault was long gone", what, e.fired.at.Seconds())
		}
	}
	j.judgeClearing(d, what, last, h, v)
	v.good = append(v.good, fmt.Sprintf("%s fired %s after the injection", what, within(lower, upper)))
	if last.ended != nil {
		v.good[len(v.good)-1] += fmt.Sprintf(" and cleared %s after the end", within(max(last.ended.after-d.relief, 0), last.ended.at-d.relief))
	}
}

func (j *judge) judgeClearing(d declared, what string, last episode, h *alertHistory, v *verdicts) {
	limit := d.Clears.D()
	if last.ended == nil {
		switch {
		case h.blind(d.relief, h.end) != "":
			v.unsure("%s was not seen to clear, and %s", what, h.blind(d.relief, h.end))
		case h.end < d.relief+limit:
			v.unsure("%s had not cleared when the run ended, %.0f s after the fault was gone; it may take %v", what, (h.end - d.relief).Seconds(), limit)
		default:
			v.fail("%s never cleared", what)
		}
		return
	}
	lower, upper := last.ended.after-d.relief, last.ended.at-d.relief
	switch {
	case lower > limit:
		v.fail("%s cleared %s after the fault was gone, allowed %v", what, within(lower, upper), limit)
	case upper > limit:
		v.unsure("%s cleared %s after the fault was gone, and the limit of %v lies in between", what, within(lower, upper), limit)
	}
}

// rulesEvaluated says that silence proves nothing where rules were not evaluated.
func (j *judge) rulesEvaluated(h *alertHistory, v *verdicts) {
	if len(h.rules) == 0 {
		v.unsure("the central Prometheus has no alerting rules, or they could not be read")
		return
	}
	var bad []string
	for _, name := range sortedKeys(h.rules) {
		if why := h.rules[name]; why != "" {
			bad = append(bad, name+": "+why)
		}
	}
	if len(bad) > 0 {
		v.unsure("rules that were not evaluated: %s", strings.Join(evidence.Few(bad, 5), "; "))
	}
}

// within prints an interval of a latency.
func within(lower, upper time.Duration) string {
	return fmt.Sprintf("%.1f to %.1f s", lower.Seconds(), upper.Seconds())
}
