package check

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
)

// yes reads the attribute of an event that says what was declared.
func yes(s string) bool {
	switch strings.ToLower(s) {
	case "true", "yes", "1", "open", "allowed":
		return true
	}
	return false
}

// securityCheck is claim C4: every probe found what was declared. A probe's event says in its attribute declared
// whether the path is to be open, and in its state what was found.
func securityCheck(j *judge) *judged {
	c := &judged{files: []string{evidence.EventsFile}, interim: true}
	c.Unit, c.Limit = "paths", new(0.0)
	n := 0
	var wrong, unclear []string
	for _, e := range j.r.Events {
		if e.Kind != evidence.EventProbe || e.Attrs["check"] == "one-view" {
			continue
		}
		n++
		want := "closed"
		if yes(e.Attrs["declared"]) {
			want = "open"
		}
		switch e.State {
		case want:
		case "open", "closed":
			wrong = append(wrong, fmt.Sprintf("%s is %s, declared %s", e.Name, e.State, want))
		default:
			unclear = append(unclear, fmt.Sprintf("%s: %s", e.Name, e.Detail))
		}
	}
	c.Value = new(float64(len(wrong)))
	switch {
	case n == 0:
		return nil
	case len(wrong) > 0:
		return c.set(Fail, "%d of %d paths are not as declared: %s", len(wrong), n, strings.Join(first(wrong, 5), "; "))
	case len(unclear) > 0:
		return c.set(Inconclusive, "%d of %d probes gave no answer: %s", len(unclear), n, strings.Join(first(unclear, 5), "; "))
	}
	return c.set(Pass, "all %d probed paths are as declared", n)
}

func first(list []string, n int) []string {
	if len(list) > n {
		return append(slices.Clone(list[:n]), fmt.Sprintf("and %d more", len(list)-n))
	}
	return list
}

// oneViewCheck is claim C7: probe events with the attribute check=one-view are dashboard queries; their state is
// answered or empty, their attribute cluster says for which cluster.
func oneViewCheck(j *judge) *judged {
	c := &judged{files: []string{evidence.EventsFile}, interim: true}
	c.Unit, c.Limit = "queries", new(0.0)
	n := 0
	var empty []string
	for _, e := range j.r.Events {
		if e.Kind == evidence.EventProbe && e.Attrs["check"] == "one-view" {
			n++
			if e.State != "answered" {
				empty = append(empty, fmt.Sprintf("%s for %s: %s", e.Name, e.Attrs["cluster"], e.State))
			}
		}
	}
	c.Value = new(float64(len(empty)))
	switch {
	case n == 0:
		return nil
	case len(empty) > 0:
		return c.set(Fail, "%d of %d dashboard queries have no answer: %s", len(empty), n, strings.Join(first(empty, 5), "; "))
	}
	return c.set(Pass, "all %d dashboard queries answer for every cluster", n)
}

// alertsCheck is claim C7: what is expected fires once something is wrong and resolves, and nothing else fires. An
// alert event with the state expected declares one.
func alertsCheck(j *judge) *judged {
	c := &judged{files: []string{evidence.EventsFile}, interim: true, onFaults: len(j.faults) > 0}
	c.Unit, c.Limit = "alerts", new(0.0)
	type life struct {
		expected           bool
		fired, resolved    time.Duration
		hasFired, hasEnded bool
	}
	lives := map[string]*life{}
	for _, e := range j.r.Events {
		if e.Kind != evidence.EventAlert {
			continue
		}
		l := lives[e.Name]
		if l == nil {
			l = &life{}
			lives[e.Name] = l
		}
		l.expected = l.expected || e.State == "expected" || yes(e.Attrs["expected"])
		switch e.State {
		case "firing":
			if !l.hasFired {
				l.fired, l.hasFired = e.At, true
			}
			l.hasEnded = false
		case "resolved":
			l.resolved, l.hasEnded = e.At, true
		}
	}
	if len(lives) == 0 {
		return nil
	}
	from, _, acted := j.outage()
	var wrong, good []string
	for _, name := range sortedKeys(lives) {
		l := lives[name]
		switch {
		case !l.expected && l.hasFired:
			wrong = append(wrong, fmt.Sprintf("%s fired at %.0f s and nothing declares it", name, l.fired.Seconds()))
		case l.expected && !l.hasFired:
			wrong = append(wrong, name+" stayed silent")
		case l.expected && acted && l.fired < from:
			wrong = append(wrong, fmt.Sprintf("%s fired at %.0f s, before anything was wrong", name, l.fired.Seconds()))
		case l.expected && !l.hasEnded:
			wrong = append(wrong, name+" never cleared")
		case l.expected:
			good = append(good, fmt.Sprintf("%s fired %.0f s after the fault and cleared at %.0f s", name, (l.fired-from).Seconds(), l.resolved.Seconds()))
		}
	}
	c.Value = new(float64(len(wrong)))
	if len(wrong) > 0 {
		return c.set(Fail, "%s", strings.Join(wrong, "; "))
	}
	if len(good) == 0 {
		return c.set(Pass, "no alert was expected and none fired")
	}
	return c.set(Pass, "%s; nothing else fired", strings.Join(good, "; "))
}
