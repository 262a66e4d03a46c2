package check

import (
	"fmt"
	"strings"

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
		return c.set(Fail, "%d of %d paths are not as declared: %s", len(wrong), n, strings.Join(evidence.Few(wrong, 5), "; "))
	case len(unclear) > 0:
		return c.set(Inconclusive, "%d of %d probes gave no answer: %s", len(unclear), n, strings.Join(evidence.Few(unclear, 5), "; "))
	}
	return c.set(Pass, "all %d probed paths are as declared", n)
}
