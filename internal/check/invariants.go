package check

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/stats"
)

func lostInKafka(s *streamAccount) *stats.Set  { return s.lostKafka }
func lostInSearch(s *streamAccount) *stats.Set { return s.lostSearch }
func dupInKafka(s *streamAccount) *stats.Set   { return &s.kafka.dup }
func dupInSearch(s *streamAccount) *stats.Set  { return &s.search.dup }

// Files that checks rest on, as prefixes.
var (
	sentFiles   = []string{"ledger/" + evidence.PointSent}
	ledgerFiles = []string{"ledger/", evidence.EventsFile}
)

// unread says which point was not read whole, so that what is not known to be wrong need not be right; empty when all were.
func (j *judge) unread() string {
	if why := j.incomplete(evidence.PointKafka); why != "" || !j.hasStore() {
		return why
	}
	return j.incomplete(evidence.PointSearch)
}

// delivery is the declared guarantee of a segment.
func (j *judge) delivery(segment string) string {
	for _, g := range j.s.Guarantees {
		if g.Segment == segment && g.Delivery != "" {
			return g.Delivery
		}
	}
	return "at-least-once"
}

// incomplete says why the sightings of a point prove no absence; empty when they do.
func (j *judge) incomplete(point string) string {
	for _, d := range j.r.Damage {
		ledger, ok := strings.CutPrefix(strings.TrimSuffix(d.File, ".led"), "ledger/")
		if ok && evidence.PointOf(ledger) == point || d.File == evidence.EventsFile {
			return d.String()
		}
	}
	state, recon := "", ""
	for _, e := range j.r.Events {
		switch {
		case e.Kind == evidence.EventObserver && e.Name == point:
			state = e.State
		case e.Kind == evidence.EventRecon && e.Name == point:
			recon = e.State
			if e.Detail != "" {
				recon += ": " + e.Detail
			}
		case e.Kind == evidence.EventBroken && strings.HasPrefix(e.Name, point):
			return fmt.Sprintf("the observer of %s broke: %s", point, e.Detail)
		}
	}
	if point == evidence.PointSearch {
		if recon == "" {
			return "the store was not read through at the end"
		}
		if !strings.HasPrefix(recon, "done") {
			return "the store could not be read through at the end (" + recon + ")"
		}
		return ""
	}
	switch {
	case recon == "done":
		return ""
	case state == "":
		return fmt.Sprintf("no observer of %s was ready", point)
	case state == "lost":
		return fmt.Sprintf("the observer of %s was lost and did not come back", point)
	}
	return ""
}

// evidenceCheck judges whether the files can carry a verdict at all.
func evidenceCheck(j *judge) *judged {
	c := &judged{}
	c.Unit = "problems"
	var contradicted, unseen uint64
	for _, s := range j.acc.streams {
		contradicted += s.contradicted.Len()
		unseen += s.unseenKafka.Len()
	}
	var weak, wrong []string
	if why := j.short(); why != "" {
		weak = append(weak, why)
	}
	for _, d := range j.r.Damage {
		weak = append(weak, d.String())
	}
	points := []string{evidence.PointKafka}
	if j.hasStore() {
		points = append(points, evidence.PointSearch)
	}
	for _, p := range points {
		if why := j.incomplete(p); why != "" && !contains(weak, why) {
			weak = append(weak, why)
		}
	}
	if j.total.DeadLettered > 0 {
		if why := j.incomplete(evidence.PointDeadLetter); why != "" && !strings.HasPrefix(why, "no observer") {
			weak = append(weak, why)
		}
	}
	if unseen > 0 {
		weak = append(weak, fmt.Sprintf("%d records are behind Kafka that the Kafka observer never saw; they count as arrived there", unseen))
	}
	if j.acc.attempted == 0 {
		weak = append(weak, "no record was attempted")
	}
	if contradicted > 0 {
		wrong = append(wrong, fmt.Sprintf("%d records arrived that the generator's ledger says it never attempted", contradicted))
	}
	if j.acc.overlaps > 0 {
		wrong = append(wrong, fmt.Sprintf("the generators' ledgers hold %d outcomes that exclude each other or that the schedule does not know", j.acc.overlaps))
	}
	wrong = append(wrong, j.broken()...)
	c.Value, c.Limit = new(float64(len(weak)+len(wrong))), new(0.0)
	switch {
	case len(wrong) > 0:
		return c.set(Invalid, "%s", strings.Join(append(wrong, weak...), "; "))
	case len(weak) > 0:
		return c.set(Inconclusive, "%s", strings.Join(weak, "; "))
	}
	if len(j.gaps) > 0 {
		return c.set(Pass, "closed, every checksum right; %s", j.gapWords())
	}
	return c.set(Pass, "closed, every checksum right, every observer there to the end")
}

// manyBroken is how many broken assumptions are told in full. When a machine dies each generator has its own, and all say the same.
const manyBroken = 2

// broken tells of the assumptions that broke; those of observers are told by what they did not see.
func (j *judge) broken() (told []string) {
	var names []string
	for _, e := range j.r.Events {
		switch {
		case e.Kind != evidence.EventBroken || strings.Contains(e.Name, "observer") || knownPoint(e.Name):
		case len(told) < manyBroken:
			told = append(told, fmt.Sprintf("an assumption broke: %s: %s", e.Name, e.Detail))
		default:
			names = append(names, e.Name)
		}
	}
	if len(names) > 0 {
		told = append(told, fmt.Sprintf("and %d more broke: %s", len(names), strings.Join(names, ", ")))
	}
	return told
}

func contains(list []string, s string) bool {
	return slices.Contains(list, s)
}

func knownPoint(name string) bool {
	return strings.HasPrefix(name, evidence.PointKafka) || strings.HasPrefix(name, evidence.PointSearch) || strings.HasPrefix(name, evidence.PointDeadLetter)
}

// lossCheck judges conservation over both segments.
func lossCheck(j *judge) *judged {
	c := &judged{files: ledgerFiles, interim: true}
	c.Unit = "records"
	var parts []string
	var bad, allowed uint64
	var open string
	for _, s := range j.segs {
		if s.Name == segGenerate {
			continue
		}
		point := evidence.PointKafka
		if s.Name == segKafkaSearch {
			point = evidence.PointSearch
		}
		if why := j.incomplete(point); why != "" && open == "" {
			open = why
		}
		if s.Lost == 0 {
			continue
		}
		parts = append(parts, j.lossWords(s))
		if j.delivery(s.Name) == "best-effort" {
			allowed += s.Lost
		} else {
			bad += s.Lost
		}
	}
	c.Value, c.Limit = new(float64(bad+allowed)), new(float64(allowed))
	extra := ""
	if j.total.Unknown > 0 {
		extra += fmt.Sprintf("; %d writes had no known outcome, %d of them arrived; they are not counted as lost", j.total.Unknown, j.total.Unknown-j.segs[1].Unknown)
	}
	if j.total.DeadLettered > 0 {
		extra += fmt.Sprintf("; %d are in the dead-letter topic", j.total.DeadLettered)
	}
	if !j.hasStore() {
		extra += "; the store is not part of this run"
	}
	drain := drainState(j.r)
	switch {
	case j.total.Acknowledged == 0:
		return c.set(Inconclusive, "no record was acknowledged, so none could get lost")
	case bad > 0 && open != "":
		return c.set(Inconclusive, "%s; so that this is not proven: %s%s", open, strings.Join(parts, "; "), extra)
	case bad > 0 && drain != "done" && drain != "deadline":
		return c.set(Inconclusive, "the run did not wait for the last records; not there yet: %s%s", strings.Join(parts, "; "), extra)
	case bad > 0:
		if drain == "deadline" {
			extra += fmt.Sprintf("; the drain ended at its deadline of %v", j.s.Phases.Drain)
		}
		return c.set(Fail, "%s%s", strings.Join(parts, "; "), extra)
	case open != "":
		return c.set(Inconclusive, "%s%s", open, extra)
	case allowed > 0:
		return c.set(Pass, "the declared guarantee is best-effort: %s%s", strings.Join(parts, "; "), extra)
	}
	return c.set(Pass, "all %d acknowledged records are accounted for%s", j.total.Acknowledged, extra)
}

// lossWords says how many records a segment lost, where, when and which.
func (j *judge) lossWords(s Segment) string {
	from, to := "Kafka", "the store"
	if s.Name == segLedgerKafka {
		from, to = "the generator", "Kafka"
	}
	text := fmt.Sprintf("%d of %d records got lost between %s and %s", s.Lost, s.In, from, to)
	var hops []string
	for _, h := range j.att.hops(j.r, j.acc) {
		if !contains(s.Hops, h.Name) {
			continue
		}
		switch {
		case h.Lost != nil && *h.Lost > 0:
			hops = append(hops, fmt.Sprintf("%d in hop %s (%s)", *h.Lost, h.Name, h.Certainty))
		case h.Lost == nil && h.LostMax != nil && *h.LostMax > 0:
			hops = append(hops, fmt.Sprintf("%d to %d in hop %s (%s)", *h.LostMin, *h.LostMax, h.Name, h.Certainty))
		}
	}
	if len(hops) > 0 {
		text += ": " + strings.Join(hops, ", ")
	}
	if len(s.Ranges) > 0 {
		first, last := s.Ranges[0].From, s.Ranges[0].To
		for _, g := range s.Ranges {
			first, last = min(first, g.From), max(last, g.To)
		}
		text += fmt.Sprintf("; due between %.1f s and %.1f s; for example %s", first.Seconds(), last.Seconds(), strings.Join(s.Ranges[0].Samples, ", "))
	}
	return text
}

// duplicatesCheck judges the segments that promise to deliver once.
func duplicatesCheck(j *judge) *judged {
	c := &judged{files: ledgerFiles}
	c.Unit = "records"
	// What is twice in Kafka is twice in the store when documents are named by offset: that is not the sink's doing.
	var own uint64
	for _, s := range j.acc.streams {
		own += s.search.dup.Minus(&s.kafka.dup).Len()
	}
	kafka, store := j.total.BrokerDup, j.total.VisibleDup
	c.Value, c.Limit = new(float64(kafka+store)), nil
	text := fmt.Sprintf("%d records a second time in Kafka, %d a second time in the store, %d of these made behind Kafka", kafka, store, own)
	if j.total.SinkRewrite > 0 {
		text += fmt.Sprintf("; the sink wrote %d documents again under the same name, which nobody sees", j.total.SinkRewrite)
	}
	once := j.delivery(segLedgerKafka) == "exactly-once"
	onceStore := j.delivery(segKafkaSearch) == "exactly-once"
	if once || onceStore {
		c.Limit = new(0.0)
	}
	switch {
	case j.total.SeenKafka == 0:
		return c.set(Inconclusive, "nothing arrived")
	case once && kafka > 0:
		return c.set(Fail, "%s; the segment %s promises to deliver once", text, segLedgerKafka)
	case (once || onceStore) && j.incomplete(evidence.PointKafka) != "":
		return c.set(Inconclusive, "%s: %s", text, j.incomplete(evidence.PointKafka)) // nor is it known what of the store's was made in front of it
	case onceStore && own > 0:
		return c.set(Fail, "%s; the segment %s promises to deliver once", text, segKafkaSearch)
	case onceStore && j.unread() != "":
		return c.set(Inconclusive, "%s: %s", text, j.unread())
	case once || onceStore:
		return c.set(Pass, "%s", text)
	}
	return c.set(Pass, "%s; at-least-once allows it", text)
}

// corruptionCheck judges that what arrived is what was sent.
func corruptionCheck(j *judge) *judged {
	c := &judged{files: ledgerFiles}
	c.Unit = "records"
	c.Value, c.Limit = new(float64(j.total.Corrupt)), new(0.0)
	// A line without a readable tag may be another program's, or one of ours damaged beyond recognition. When none of
	// ours is missing from that topic, it is another's.
	lost := map[string]uint64{}
	for _, s := range j.acc.streams {
		lost[s.Topic] += s.lostKafka.Len()
	}
	var doubt, other uint64
	for topic, n := range unreadable(j.r, evidence.PointKafka) {
		if lost[topic] > 0 {
			doubt += min(n, lost[topic])
		} else {
			other += n
		}
	}
	switch {
	case j.total.Corrupt > 0:
		return c.set(Fail, "%d records arrived with other bytes than were sent%s", j.total.Corrupt, j.example(func(s *streamAccount) *stats.Set { return union(&s.kafka.corrupt, &s.search.corrupt) }))
	case j.total.SeenKafka == 0:
		return c.set(Inconclusive, "nothing arrived")
	case doubt > 0:
		return c.set(Inconclusive, "%d lines without a readable tag are in topics that miss records: they may be ours, damaged beyond recognition", doubt)
	case j.unread() != "":
		return c.set(Inconclusive, "%s", j.unread())
	case other > 0:
		return c.set(Pass, "every record that arrived has the checksum it was sent with; %d lines are another program's", other)
	}
	return c.set(Pass, "every record that arrived has the checksum it was sent with")
}

// example names up to three records of a class.
func (j *judge) example(pick func(*streamAccount) *stats.Set) string {
	for _, g := range j.acc.longest(j.r, pick) {
		return fmt.Sprintf("; for example %s of source %s, due at %.1f s", strings.Join(g.Samples, ", "), g.Source, g.From.Seconds())
	}
	return ""
}

// orderCheck judges order within a stream and partition. An agent that sends a chunk while the one before it still waits for its
// acknowledgement lets them overtake one another, so order rests on how long an acknowledgement takes: on a saturated machine
// misordered records are the machine's doing.
func orderCheck(j *judge) *judged {
	c := &judged{files: ledgerFiles}
	c.Unit = "records"
	c.Value, c.Limit = new(float64(j.total.Misordered)), new(0.0)
	misordered := func(s *streamAccount) *stats.Set { return &s.kafka.misordered }
	switch {
	case j.total.SeenKafka == 0:
		return c.set(Inconclusive, "nothing arrived")
	case j.total.Misordered == 0 && j.incomplete(evidence.PointKafka) != "":
		return c.set(Inconclusive, "%s", j.incomplete(evidence.PointKafka))
	case j.total.Misordered == 0:
		return c.set(Pass, "every stream arrived in order within its partition")
	case slices.ContainsFunc(j.s.Guarantees, func(g scenario.Guarantee) bool { return g.Order == "best-effort" }):
		return c.set(Pass, "%d records arrived behind a later one of their stream and partition, which the scenario allows: order is best-effort%s",
			j.total.Misordered, j.example(misordered))
	}
	starved := func(g Range) bool {
		// Between the time a record is due and its chunk's acknowledgement lie seconds: two flushes of a second and a reconnect.
		n, _ := j.busySeconds(scenario.Window{From: g.From - time.Second, To: g.To + 5*time.Second})
		return n > 0
	}
	if ranges := j.acc.longest(j.r, misordered); !slices.ContainsFunc(ranges, func(g Range) bool { return !starved(g) }) {
		return c.set(Invalid, "the machine was saturated when they were on their way: %d records arrived behind a later one of their stream and partition%s",
			j.total.Misordered, j.example(misordered))
	}
	return c.set(Fail, "%d records arrived behind a later one of their stream and partition%s", j.total.Misordered, j.example(misordered))
}

// isolationCheck judges that no record is where another source's belong.
func isolationCheck(j *judge) *judged {
	c := &judged{files: ledgerFiles}
	c.Unit = "records"
	c.Value, c.Limit = new(float64(j.total.Foreign)), new(0.0)
	extra := ""
	if j.total.ForeignRun > 0 {
		extra = fmt.Sprintf("; %d records of other runs were there as well, which is no leak", j.total.ForeignRun)
	}
	switch {
	case j.total.Foreign > 0:
		return c.set(Fail, "%d records are in a topic or index that is not their own%s%s", j.total.Foreign,
			j.example(func(s *streamAccount) *stats.Set { return union(&s.kafka.foreign, &s.search.foreign) }), extra)
	case j.total.SeenKafka == 0:
		return c.set(Inconclusive, "nothing arrived")
	case j.unread() != "":
		return c.set(Inconclusive, "%s", j.unread())
	}
	return c.set(Pass, "every record is in its own topic and index%s", extra)
}

// phantomCheck judges that nothing arrived that was never sent.
func phantomCheck(j *judge) *judged {
	c := &judged{files: ledgerFiles}
	c.Unit = "records"
	c.Value, c.Limit = new(float64(j.total.Phantom)), new(0.0)
	var untold uint64
	for _, s := range j.acc.streams {
		untold += s.untold
	}
	switch {
	case j.total.Phantom > 0 && j.acc.damagedSent:
		return c.set(Inconclusive, "%d records arrived that no ledger knows, but the end of one is missing", j.total.Phantom)
	case j.total.Phantom > 0:
		return c.set(Fail, "%d records arrived that were never sent: they carry the tag of this run and are not in the schedule, or not yet due when the generator stopped", j.total.Phantom)
	case untold > 0:
		return c.set(Inconclusive, "%d records arrived of streams of which no ledger says what was sent", untold)
	case j.total.SeenKafka == 0:
		return c.set(Inconclusive, "nothing arrived")
	case j.unread() != "":
		return c.set(Inconclusive, "%s", j.unread())
	}
	return c.set(Pass, "nothing arrived that was not sent")
}

// loadCheck judges the generator, not the system.
func loadCheck(j *judge) *judged {
	c := &judged{files: append([]string{evidence.HistsName}, sentFiles...)}
	c.Unit = "share of schedule"
	var planned uint64
	for _, s := range j.acc.streams {
		planned += s.total
	}
	if planned == 0 || j.total.Attempted == 0 {
		return c.set(Inconclusive, "nothing was sent")
	}
	c.Value, c.Limit = new(float64(j.total.Attempted+j.total.Frozen)/float64(planned)), new(1-maxDropped)
	share := float64(j.total.Dropped) / float64(planned)
	var away uint64 // dropped because the harness was dead
	for _, g := range j.gaps {
		away += j.droppedIn(g)
	}
	var late []string
	for _, p := range scenario.PhaseNames {
		if why := j.late[p]; why != "" {
			late = append(late, "in phase "+p+" "+why)
			for _, w := range j.lat.phases {
				if w.Name == p {
					c.Windows = append(c.Windows, Span{w.From, w.To})
				}
			}
		}
	}
	text := fmt.Sprintf("%d of %d records attempted", j.total.Attempted, planned)
	if j.total.Frozen > 0 {
		text += fmt.Sprintf(", %d held back by a declared fault", j.total.Frozen)
	}
	if j.total.Dropped > 0 {
		text += fmt.Sprintf(", %d dropped by the generator", j.total.Dropped)
	}
	if away > 0 {
		text += fmt.Sprintf(", %d of them due while the harness was dead", away)
	}
	switch {
	case j.total.Scheduled < planned:
		return c.set(Inconclusive, "%s: the load stopped with %d records not yet due", text, planned-j.total.Scheduled)
	case share > maxDropped && float64(j.total.Dropped-min(away, j.total.Dropped))/float64(planned) <= maxDropped:
		return c.set(Inconclusive, "%s: %.2f %% of the schedule, above %.2g %%, so the load was not quite the one declared", text, 100*share, 100*maxDropped)
	case share > maxDropped:
		return c.set(Invalid, "%s: %.2f %% of the schedule, above %.2g %%: the load was not the one declared", text, 100*share, 100*maxDropped)
	case len(late) > 0:
		return c.set(Invalid, "%s", strings.Join(late, "; "))
	case !j.lagKnown():
		return c.set(Inconclusive, "%s, but how late they were was not recorded", text)
	}
	return c.set(Pass, "%s, in time", text)
}
