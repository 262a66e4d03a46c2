package kafka

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"triad/internal/evidence"
)

// mark says how far the observer was, for one that goes on: where each partition comes next, the highest record of each stream in each,
// and what was counted that is no record of the run. Whoever calls it holds mu.
func (o *Observer) mark() []byte {
	b := binary.AppendUvarint(nil, uint64(len(o.at)))
	parts := slices.SortedFunc(maps.Keys(o.at), func(a, b partition) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.id, b.id))
	})
	for _, p := range parts {
		b = appendText(b, p.topic)
		b = binary.AppendUvarint(b, uint64(p.id))
		b = binary.AppendVarint(b, o.at[p].next)
		b = binary.AppendVarint(b, int64(o.at[p].epoch))
	}
	tops := o.tracker.Tops()
	b = binary.AppendUvarint(b, uint64(len(tops)))
	for _, t := range tops {
		b = binary.AppendUvarint(b, uint64(t.Stream))
		b = binary.AppendUvarint(b, uint64(t.Partition))
		b = binary.AppendUvarint(b, t.Next)
	}
	o.flushMu.Lock()
	defer o.flushMu.Unlock()
	b = binary.AppendUvarint(b, uint64(len(o.other)))
	for _, k := range slices.Sorted(maps.Keys(o.other)) {
		b = binary.AppendUvarint(appendText(b, k), o.other[k])
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errMark = errors.New("kafka observer: where it was cannot be read")

// unmark reads a mark.
func (o *Observer) unmark(b []byte) ([]evidence.Top, error) {
	bad := false
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			bad, n = true, len(b)
		}
		b = b[n:]
		return v
	}
	signed := func() int64 {
		v, n := binary.Varint(b)
		if n <= 0 {
			bad, n = true, len(b)
		}
		b = b[n:]
		return v
	}
	text := func() string {
		n := number()
		if n > uint64(len(b)) {
			bad, n = true, 0
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	for n := number(); n > 0 && !bad; n-- {
		p := partition{text(), int32(number())}
		o.at[p] = position{signed(), int32(signed())}
	}
	var tops []evidence.Top
	for n := number(); n > 0 && !bad; n-- {
		tops = append(tops, evidence.Top{Stream: uint32(number()), Partition: int32(number()), Next: number()})
	}
	for n := number(); n > 0 && !bad; n-- {
		k := text()
		o.other[k] = number()
	}
	if bad || len(b) > 0 {
		return nil, errMark
	}
	return tops, nil
}

// restore takes up what the observer of a run that was cut off had seen. What it counted behind its last mark is in the pulse and not in
// the ledger, and comes again: it is not counted twice.
func (o *Observer) restore() error {
	left := o.cfg.Resume
	point := o.cfg.point(evidence.PointKafka)
	m := left.Mark[point]
	if m == nil {
		return fmt.Errorf("%w: the harness was killed before the Kafka observer had written anything", evidence.ErrNotResumable)
	}
	tops, err := o.unmark(m)
	if err != nil {
		return err
	}
	o.begun = o.cfg.Evidence.Now()
	o.tracker.Restore(left.Seen[point], tops)
	o.deadTr.Restore(left.Seen[o.cfg.point(evidence.PointDeadLetter)], nil)
	o.early = o.tracker.Count()
	o.seen.Store(o.early)
	o.deadN.Store(o.deadTr.Count())
	if o.cfg.pulsed == nil {
		o.cfg.pulsed = newPulsed(left)
	}
	for _, st := range o.cfg.Evidence.Header().Streams {
		if set := o.tracker.Seen(st.ID); set != nil {
			o.cfg.pulsed.written(st.Source, set.Len())
		}
	}
	return nil
}

// pulsed counts, by source, the records that the pulse of a run that goes on has already and no ledger. They come again, to whichever observer
// reads them first.
type pulsed struct {
	mu sync.Mutex
	n  map[string]uint64
}

func newPulsed(left *evidence.Left) *pulsed {
	return &pulsed{n: maps.Clone(left.Pulses[evidence.PointKafka])}
}

// written takes away what is in a ledger.
func (p *pulsed) written(source string, n uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if have := p.n[source]; have > 0 {
		p.n[source] = have - min(have, n)
	}
}

// has reports whether the pulse has a record that was read now, and takes it away. In a run that began now it has none.
func (p *pulsed) has(source string) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n[source] == 0 {
		return false
	}
	p.n[source]--
	return true
}

// still demands that nothing was deleted that was never read: it would be taken for lost.
func (o *Observer) still(ctx context.Context, topics []string) error {
	starts, err := o.admin.ListStartOffsets(ctx, topics...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fmt.Errorf("kafka observer: start offsets of %v: %w", topics, err)
	}
	for p, at := range o.at {
		if s, ok := starts.Lookup(p.topic, p.id); ok && s.Offset > at.next {
			return fmt.Errorf("%w: Kafka has deleted %d records of %s/%d that were not read yet; the harness was dead for longer than the topic keeps them", evidence.ErrNotResumable, s.Offset-at.next, p.topic, p.id)
		}
	}
	return nil
}
