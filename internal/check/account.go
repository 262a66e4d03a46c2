package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/scenario"
	"triad/internal/schedule"
	"triad/internal/stats"
)

// forever is later than any run; the intent of a ledger whose tail is lost.
const forever = time.Duration(1<<63 - 1)

// sightings are the records of one stream at one observation point.
type sightings struct {
	seen, dup, corrupt, foreign, misordered, phantom stats.Set
	// Times a record was seen in that class: a record seen three times is two duplicates.
	dupN, corruptN, foreignN, misorderedN, phantomN uint64
}

func (s *sightings) add(e evidence.Entry, several bool) {
	n := e.Span.Len()
	switch e.Class {
	case evidence.Seen:
		if several {
			// Each of several observers sees a record for the first time that is in partitions of both.
			if again := s.seen.Intersect(span(e.Span.Lo, e.Span.Hi)); again.Len() > 0 {
				s.dup.Union(again)
				s.dupN += again.Len()
			}
		}
		s.seen.AddSpan(e.Span)
	case evidence.Duplicate:
		s.dup.AddSpan(e.Span)
		s.dupN += n
	case evidence.Misordered:
		s.misordered.AddSpan(e.Span)
		s.misorderedN += n
	case evidence.Corrupt:
		s.corrupt.AddSpan(e.Span)
		s.corruptN += n
	case evidence.Foreign:
		s.foreign.AddSpan(e.Span)
		s.foreignN += n
	case evidence.Phantom:
		s.phantom.AddSpan(e.Span)
		s.phantomN += n
	}
}

// arrived are the records of the point, in their own topic or in another's.
func (s *sightings) arrived() *stats.Set {
	var out stats.Set
	out.Union(&s.seen)
	out.Union(&s.foreign)
	return &out
}

// streamAccount is what became of every record of one stream.
type streamAccount struct {
	scenario.Stream
	total uint64 // records in the whole schedule
	due   uint64 // of these, due before the generator's last intent

	acked, unknown, dropped, frozen stats.Set
	kafka, search                   sightings
	dead                            stats.Set

	arrivedKafka, arrivedSearch *stats.Set // of the attempted records
	deadOnly                    *stats.Set // dead-lettered and not in the store
	lostKafka, lostSearch       *stats.Set
	unknownAway                 *stats.Set // unknown, and not seen in Kafka or behind it
	contradicted                *stats.Set // arrived, though the generator says that it never attempted them
	unseenKafka                 *stats.Set // in the store or dead-lettered, but not seen in Kafka
	phantoms                    uint64     // arrived, but never in the schedule or beyond the last intent
	untold                      uint64     // arrived, in the schedule, of a stream of which no ledger says anything
}

// account is the account of all streams.
type account struct {
	streams []*streamAccount
	byID    map[uint32]*streamAccount
	strays  map[string]uint64 // by point: arrived under a stream number that the run does not have
	// overlaps are records for which the ledgers hold two outcomes that exclude each other, or one that the schedule
	// does not know.
	overlaps uint64
	points   []string
	// damagedSent says that a generator's ledger is damaged, so that a missing outcome proves nothing.
	damagedSent bool
	attempted   uint64
	store       bool // the run has a store to look into
}

// newAccount reads the ledgers of a run. Without a store conservation ends at Kafka.
func newAccount(r *evidence.Run, store bool) (*account, error) {
	a := &account{store: store, byID: map[uint32]*streamAccount{}, strays: map[string]uint64{}, points: r.Points()}
	streams := r.Header.Streams
	if len(streams) == 0 {
		streams = r.Scenario.Streams()
	}
	for _, st := range streams {
		if st.Load < 0 || st.Load >= len(r.Scenario.Load) {
			return nil, fmt.Errorf("%s: stream %d belongs to load %d, which the scenario does not have", evidence.HeaderFile, st.ID, st.Load)
		}
		if a.byID[st.ID] != nil {
			return nil, fmt.Errorf("%s: stream %d is there twice", evidence.HeaderFile, st.ID)
		}
		s := &streamAccount{Stream: st}
		a.streams = append(a.streams, s)
		a.byID[st.ID] = s
	}
	a.read(r)
	for _, s := range a.streams {
		s.settle(a)
		a.attempted += s.acked.Len() + s.unknown.Len()
	}
	return a, nil
}

func (a *account) read(r *evidence.Run) {
	intents := map[uint32]time.Duration{}
	var last time.Duration
	for _, p := range a.points {
		point := evidence.PointOf(p)
		sent := strings.HasPrefix(p, evidence.PointSent)
		here := map[uint32]bool{}
		damage := len(r.Damage)
		intent := r.Ledger(p, func(e evidence.Entry) error {
			s := a.byID[e.Stream]
			if s == nil {
				if !sent {
					a.strays[point] += e.Span.Len()
				}
				return nil
			}
			switch {
			case sent:
				here[e.Stream] = true
				s.outcome(e)
			case point == evidence.PointKafka:
				s.kafka.add(e, p != point)
			case point == evidence.PointSearch:
				s.search.add(e, p != point)
			case point == evidence.PointDeadLetter && e.Class == evidence.Seen:
				s.dead.AddSpan(e.Span)
			}
			return nil
		})
		if !sent {
			continue
		}
		if len(r.Damage) > damage || damaged(r, "ledger/"+p+".led") || copied(r, p) {
			// Behind the damage, and behind the last that was copied, outcomes and intents are missing: what they said is not known.
			a.damagedSent = true
			intent = forever
		}
		last = max(last, intent)
		for id := range here {
			intents[id] = max(intents[id], intent)
		}
	}
	for _, s := range a.streams {
		intent, ok := intents[s.ID]
		if !ok {
			intent = last // no outcome of this stream anywhere: whatever was due may have been attempted
		}
		s.schedule(r.Scenario, intent)
	}
}

// copied reports whether a ledger is the copy of one that went with its pod: the last seconds are not in it.
func copied(r *evidence.Run, point string) bool {
	return slices.ContainsFunc(r.Events, func(e evidence.Event) bool { return e.Kind == evidence.EventBroken && e.Attrs["copy"] == point })
}

// damaged reports whether damage was found in the file.
func damaged(r *evidence.Run, file string) bool {
	return slices.ContainsFunc(r.Damage, func(d evidence.Damage) bool { return d.File == file })
}

func (s *streamAccount) outcome(e evidence.Entry) {
	switch e.Class {
	case evidence.Acked:
		s.acked.AddSpan(e.Span)
	case evidence.Unknown:
		s.unknown.AddSpan(e.Span)
	case evidence.Dropped:
		s.dropped.AddSpan(e.Span)
	case evidence.Frozen:
		s.frozen.AddSpan(e.Span)
	}
}

// schedule counts what must exist.
func (s *streamAccount) schedule(sc *scenario.Scenario, intent time.Duration) {
	sch := schedule.New(sc, s.Stream)
	for {
		due, ok := sch.Next()
		if !ok {
			break
		}
		s.total++
		if due < intent {
			s.due = s.total
		}
	}
}

func span(lo, hi uint64) *stats.Set {
	var s stats.Set
	s.AddSpan(stats.Span{Lo: lo, Hi: hi})
	return &s
}

func union(sets ...*stats.Set) *stats.Set {
	var out stats.Set
	for _, s := range sets {
		out.Union(s)
	}
	return &out
}

// settle derives every class from the outcomes, the sightings and the schedule.
func (s *streamAccount) settle(a *account) {
	// One outcome for each record: acknowledged says most, then unknown. The rest must not overlap.
	attempted := union(&s.acked, &s.unknown)
	never := union(&s.dropped, &s.frozen)
	a.overlaps += attempted.Intersect(never).Len() + s.dropped.Intersect(&s.frozen).Len() + attempted.Minus(span(0, s.total)).Len()
	s.unknown = *s.unknown.Minus(&s.acked)
	s.dropped = *s.dropped.Minus(attempted)
	s.frozen = *s.frozen.Minus(union(attempted, &s.dropped))
	// Inside the last intent and without an outcome: may have been attempted.
	silent := span(0, s.due).Minus(union(attempted, never))
	s.unknown.Union(silent)
	attempted.Union(silent)

	kafka, search := s.kafka.arrived(), s.search.arrived()
	anywhere := union(kafka, search, &s.dead)
	s.unseenKafka = union(search, &s.dead).Minus(kafka).Intersect(attempted)
	s.contradicted = anywhere.Intersect(union(&s.dropped, &s.frozen))
	// Never in the schedule, or due after the last intent, which is written before anything is attempted.
	intended := max(s.due, top(attempted), top(never))
	if intended == 0 { // not even an intent: its ledger was not brought in, and what it would have said is not known
		s.untold = anywhere.Intersect(span(0, s.total)).Len()
		intended = s.total
	}
	s.phantoms = anywhere.Minus(span(0, intended)).Len()
	s.phantoms += s.kafka.phantom.Minus(anywhere).Len() + s.search.phantom.Minus(union(anywhere, &s.kafka.phantom)).Len()

	s.arrivedKafka = anywhere.Intersect(attempted)
	s.arrivedSearch = search.Intersect(attempted)
	s.deadOnly = s.dead.Intersect(attempted).Minus(search)
	s.lostKafka = s.acked.Minus(anywhere)
	s.unknownAway = s.unknown.Minus(anywhere)
	s.lostSearch = &stats.Set{}
	if a.store {
		s.lostSearch = s.arrivedKafka.Minus(union(search, &s.dead))
	}
}

// top is one more than the largest member; 0 when empty.
func top(s *stats.Set) uint64 {
	if m, ok := s.Max(); ok {
		return m + 1
	}
	return 0
}

// counts are the classes of one stream.
func (s *streamAccount) counts() Counts {
	return Counts{
		Scheduled:    s.due,
		Attempted:    s.acked.Len() + s.unknown.Len(),
		Dropped:      s.dropped.Len(),
		Frozen:       s.frozen.Len(),
		Sent:         s.acked.Len() + s.unknown.Len() - s.unknownAway.Len(),
		Unknown:      s.unknown.Len(),
		Acknowledged: s.acked.Len(),
		DeadLettered: s.deadOnly.Len(),
		SeenKafka:    s.arrivedKafka.Len(),
		Seen:         s.arrivedSearch.Len(),
		Lost:         s.lostKafka.Len() + s.lostSearch.Len(),
		BrokerDup:    s.kafka.dupN,
		VisibleDup:   s.search.dupN,
		Misordered:   s.kafka.misorderedN,
		Corrupt:      union(&s.kafka.corrupt, &s.search.corrupt).Len(),
		Foreign:      union(&s.kafka.foreign, &s.search.foreign).Len(),
		Phantom:      s.phantoms,
	}
}

func (c *Counts) add(o Counts) {
	c.Scheduled += o.Scheduled
	c.Attempted += o.Attempted
	c.Dropped += o.Dropped
	c.Frozen += o.Frozen
	c.Sent += o.Sent
	c.Unknown += o.Unknown
	c.Acknowledged += o.Acknowledged
	c.Buffered += o.Buffered
	c.DeadLettered += o.DeadLettered
	c.SeenKafka += o.SeenKafka
	c.Seen += o.Seen
	c.Lost += o.Lost
	c.BrokerDup += o.BrokerDup
	c.VisibleDup += o.VisibleDup
	c.SinkRewrite += o.SinkRewrite
	c.Misordered += o.Misordered
	c.Corrupt += o.Corrupt
	c.Foreign += o.Foreign
	c.ForeignRun += o.ForeignRun
	c.Phantom += o.Phantom
	c.Unreadable += o.Unreadable
}

// clean reports whether every scheduled record was sent and arrived once, whole and in order.
func (c Counts) clean() bool {
	return c.Dropped+c.Frozen+c.Unknown+c.DeadLettered+c.Lost+c.BrokerDup+c.VisibleDup+c.Misordered+c.Corrupt+c.Foreign+c.Phantom == 0
}

// total is the account of all streams together.
func (a *account) total() Counts {
	var c Counts
	for _, s := range a.streams {
		c.add(s.counts())
	}
	var strays uint64 // one that is in Kafka is seen in the store as well
	for _, n := range a.strays {
		strays = max(strays, n)
	}
	c.Phantom += strays
	return c
}

// maxStreamRows bounds the streams listed in a result; the worst come first.
const maxStreamRows = 100

func (a *account) unclean(unseen func(*streamAccount) uint64) []StreamCount {
	var out []StreamCount
	for _, s := range a.streams {
		c := s.counts()
		c.Lost -= unseen(s)
		if !c.clean() {
			out = append(out, StreamCount{s.ID, s.Source, s.Topic, c})
		}
	}
	slices.SortStableFunc(out, func(x, y StreamCount) int {
		if x.Lost != y.Lost {
			return cmpDesc(x.Lost, y.Lost)
		}
		return cmpDesc(x.Corrupt+x.Foreign+x.Phantom+x.BrokerDup+x.VisibleDup, y.Corrupt+y.Foreign+y.Phantom+y.BrokerDup+y.VisibleDup)
	})
	return out[:min(len(out), maxStreamRows)]
}

func cmpDesc(a, b uint64) int {
	switch {
	case a > b:
		return -1
	case a < b:
		return 1
	}
	return 0
}

// Names of the segments.
const (
	segGenerate    = "generate"
	segLedgerKafka = "ledger-kafka"
	segKafkaSearch = "kafka-search"
)

// hopsOf are the hops of the segment from the ledger to Kafka for records that enter where enter says.
func hopsOf(enter string) []string {
	switch enter {
	case "kafka":
		return []string{"broker"}
	case "forward":
		return []string{"forward", "broker"}
	}
	return []string{"collect", "forward", "broker"}
}

// segments are the exact accounts between the observation points, without their ranges.
func (a *account) segments() []Segment {
	gen := Segment{Name: segGenerate, Hops: []string{"generate"}, Ranges: []Range{}}
	lk := Segment{Name: segLedgerKafka, Ranges: []Range{}}
	ks := Segment{Name: segKafkaSearch, Hops: []string{"sink", "search"}, Ranges: []Range{}}
	hops := map[string]bool{}
	for _, s := range a.streams {
		acked, unknown := s.acked.Len(), s.unknown.Len()
		gen.In += acked + unknown
		gen.Out += acked
		gen.Unknown += unknown
		lk.In += acked + unknown
		lk.Out += s.arrivedKafka.Len()
		lk.Lost += s.lostKafka.Len()
		lk.Unknown += s.unknownAway.Len()
		ks.In += s.arrivedKafka.Len()
		ks.Out += s.arrivedSearch.Len()
		ks.DeadLettered += s.deadOnly.Len()
		ks.Lost += s.lostSearch.Len()
		for _, h := range hopsOf(s.Enter) {
			hops[h] = true
		}
	}
	lk.Hops = slices.DeleteFunc(slices.Clone(scenario.HopNames), func(h string) bool { return !hops[h] })
	return []Segment{gen, lk, ks}
}

// sources are the sources of the run, sorted.
func (a *account) sources() []string {
	set := map[string]bool{}
	for _, s := range a.streams {
		set[s.Source] = true
	}
	return slices.Sorted(maps.Keys(set))
}
