package observe

import (
	"encoding/json"
	"errors"
	"time"

	"triad/internal/evidence"
	"triad/internal/record"
	"triad/internal/scenario"
	"triad/internal/schedule"
)

// Kind says what a record found at an observation point is.
type Kind uint8

// Kinds of findings.
const (
	Own        Kind = iota // a record of this run where it belongs
	Damaged                // a record of this run whose bytes changed; its identity could be read
	Astray                 // a record of this run in a topic or index that is not its own
	Spurious               // claims an identity that the schedule does not have
	OtherRun               // carries the tag of another run
	Unreadable             // carries no tag, or one that cannot be read
)

// Finding is one identified record.
type Finding struct {
	Kind   Kind
	Stream *scenario.Stream
	Seq    uint64
	Due    time.Duration // scheduled time from the start of the load
}

// Known recognises the records of one run. It is safe for concurrent use.
type Known struct {
	run     uint32
	start   time.Time
	streams map[uint32]*scenario.Stream
	counts  map[uint32]uint64
}

// NewKnown prepares the recognition of a run's records.
func NewKnown(s *scenario.Scenario, run uint32, start time.Time) *Known {
	k := &Known{run: run, start: start, streams: map[uint32]*scenario.Stream{}, counts: map[uint32]uint64{}}
	streams := s.Streams()
	for i := range streams {
		st := &streams[i]
		k.streams[st.ID] = st
		k.counts[st.ID] = schedule.Count(s, *st, 1<<62)
	}
	return k
}

// Run is the number of the run.
func (k *Known) Run() uint32 { return k.run }

// Identify looks at one line found in a topic or index of the given name.
func (k *Known) Identify(line []byte, topic string) Finding {
	tag, err := record.Parse(line)
	if errors.Is(err, record.ErrNoTag) {
		return Finding{Kind: Unreadable}
	}
	if tag.Run != k.run {
		if err != nil {
			return Finding{Kind: Unreadable}
		}
		return Finding{Kind: OtherRun}
	}
	st := k.streams[tag.Stream]
	if st == nil || tag.Seq >= k.counts[tag.Stream] {
		if err != nil {
			return Finding{Kind: Unreadable}
		}
		return Finding{Kind: Spurious, Stream: st, Seq: tag.Seq}
	}
	f := Finding{Kind: Own, Stream: st, Seq: tag.Seq, Due: time.Duration(tag.Scheduled - k.start.UnixNano())}
	switch {
	case topic != st.Topic:
		f.Kind = Astray
	case err != nil:
		f.Kind = Damaged
	}
	return f
}

// NodeMetrics reports whether a document is figures of a node, as the log agent gathers them beside the lines of files: in the topic of their own,
// no line, and the node that they are of. What has lost its line is none.
func NodeMetrics(doc []byte, topic string) bool {
	if src, ok := scenario.FindSource(evidence.NodeMetrics); !ok || topic != src.Topic {
		return false
	}
	var d struct {
		Log    json.RawMessage `json:"log"`
		Host   string          `json:"host"`
		CPU    *float64        `json:"cpu_p"`
		Memory *float64        `json:"Mem.total"`
	}
	return json.Unmarshal(doc, &d) == nil && d.Log == nil && d.Host != "" && (d.CPU != nil || d.Memory != nil)
}

// Line returns the original line inside a document as it travels (its field log).
func Line(doc []byte) ([]byte, bool) {
	var d struct {
		Log *string `json:"log"`
	}
	if err := json.Unmarshal(doc, &d); err != nil || d.Log == nil {
		return nil, false
	}
	return []byte(*d.Log), true
}
