package check

import (
	"fmt"
	"time"

	"triad/internal/evidence"
)

// purgeCheck judges that a run took out again what it had put into the store, as seen by reading again, and that Kafka keeps its records no
// longer than is declared. Runs that leave their records where they are have no event and no such check.
func purgeCheck(j *judge) *judged {
	c := &judged{files: []string{evidence.EventsFile}, interim: true}
	c.Unit, c.Limit = "documents left", new(0.0)
	var last *evidence.Event
	for i := range j.r.Events {
		if j.r.Events[i].Kind == evidence.EventPurge {
			last = &j.r.Events[i]
		}
	}
	if last == nil {
		return nil
	}
	removed, left, late := attr(*last, "removed"), attr(*last, "left"), attr(*last, "late")
	kept, keeps := time.Duration(attr(*last, "kept_ns")), time.Duration(attr(*last, "keeps_ns"))
	if last.State != evidence.PurgeDone {
		return c.set(Inconclusive, "what is left is not known: %s", last.Detail)
	}
	c.Value = new(left)
	switch {
	case left > 0:
		return c.set(Fail, "%.0f documents were taken out, and %.0f of the run were found when the store was read again", removed, left)
	case kept <= 0:
		return c.set(Inconclusive, "%.0f documents were taken out; how long Kafka keeps the records is not known: %s", removed, last.Detail)
	case kept > keeps:
		return c.set(Fail, "%.0f documents were taken out, but Kafka keeps the records for %v, longer than the declared %v", removed, kept, keeps)
	case late > 0:
		return c.set(Inconclusive, "%.0f documents were taken out; %.0f records had not arrived by then and may still come", removed, late)
	case removed == 0 && j.total.Seen > 0:
		return c.set(Inconclusive, "nothing was taken out, although %d documents were seen", j.total.Seen)
	}
	return c.set(Pass, "%s", fmt.Sprintf("%.0f documents were taken out and none was found when the store was read again; Kafka lets go of the records within %v", removed, kept))
}
