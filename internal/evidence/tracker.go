package evidence

import (
	"cmp"
	"slices"

	"triad/internal/stats"
)

// Tracker classifies records as an observation point sees them. Its memory follows streams and gaps, not records. It is
// not safe for concurrent use; an observer that reads partitions side by side keeps one for each group of streams.
type Tracker struct {
	streams map[uint32]*tracked
}

type tracked struct {
	seen stats.Set
	last map[int32]uint64 // by partition: one more than the highest seq seen
}

// Sighting says how a record stands to those seen before it.
type Sighting struct {
	New        bool // else a duplicate
	Misordered bool // new, and behind a later record of its stream and partition
}

// NewTracker returns an empty tracker.
func NewTracker() *Tracker { return &Tracker{streams: map[uint32]*tracked{}} }

// Observe classifies one record.
func (t *Tracker) Observe(stream uint32, partition int32, seq uint64) Sighting {
	s := t.streams[stream]
	if s == nil {
		s = &tracked{last: map[int32]uint64{}}
		t.streams[stream] = s
	}
	if !s.seen.Add(seq) {
		return Sighting{}
	}
	last := s.last[partition]
	if seq+1 > last {
		s.last[partition] = seq + 1
		return Sighting{New: true}
	}
	return Sighting{New: true, Misordered: true}
}

// Seen returns the set of a stream; it must not be changed, and is nil for a stream never seen.
func (t *Tracker) Seen(stream uint32) *stats.Set {
	if s := t.streams[stream]; s != nil {
		return &s.seen
	}
	return nil
}

// Count is the number of different records seen.
func (t *Tracker) Count() uint64 {
	var n uint64
	for _, s := range t.streams {
		n += s.seen.Len()
	}
	return n
}

// Gaps is the number of open gaps in all streams.
func (t *Tracker) Gaps() int {
	n := 0
	for _, s := range t.streams {
		n += s.seen.Gaps()
	}
	return n
}

// Top is one more than the highest seq of a stream that was seen in a partition.
type Top struct {
	Stream    uint32
	Partition int32
	Next      uint64
}

// Tops are the highest seqs by stream and partition, in order: what a tracker knows beside the sets that the ledger has.
func (t *Tracker) Tops() []Top {
	var out []Top
	for id, s := range t.streams {
		for p, next := range s.last {
			out = append(out, Top{id, p, next})
		}
	}
	slices.SortFunc(out, func(a, b Top) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Partition, b.Partition))
	})
	return out
}

// Restore puts back what a tracker of a run that was cut off had seen, before anything is observed.
func (t *Tracker) Restore(seen map[uint32]*stats.Set, tops []Top) {
	for id, set := range seen {
		s := &tracked{last: map[int32]uint64{}}
		s.seen.Union(set)
		t.streams[id] = s
	}
	for _, x := range tops {
		if s := t.streams[x.Stream]; s != nil {
			s.last[x.Partition] = x.Next
		}
	}
}
