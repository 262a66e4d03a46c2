package evidence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"triad/internal/stats"
)

// Class says what an entry of a ledger records about its records.
type Class uint8

// Classes of the generator's ledger, then of the observation points.
const (
	Acked   Class = iota + 1 // attempted, and the write returned without error
	Unknown                  // attempted, outcome not known
	Dropped                  // due and never attempted by the generator
	Frozen                   // due and never attempted because a declared fault froze the generator

	Seen       Class = iota + 6 // seen at this point for the first time
	Duplicate                   // seen at this point again
	Misordered                  // behind a later record of its stream and partition; it is in Seen as well
	Corrupt                     // its bytes are not those that were sent; it is in Seen as well
	Foreign                     // seen in a topic or index that is not its stream's own; it is not in Seen
	Phantom                     // never in the schedule of its stream
)

// String names the class as DESIGN does.
func (c Class) String() string {
	return map[Class]string{
		Acked: "acknowledged", Unknown: "unknown", Dropped: "dropped", Frozen: "dropped by a declared fault", Seen: "seen",
		Duplicate: "duplicate", Misordered: "misordered", Corrupt: "corrupt", Foreign: "foreign", Phantom: "phantom",
	}[c]
}

const (
	frameIntent  byte = 1
	frameEntries byte = 2
	frameMark    byte = 3 // how far its owner was when it wrote the entries before it, in the owner's own words
)

// Entry is one run of records of a stream in a ledger.
type Entry struct {
	At     time.Duration // end of the tick in which it was recorded
	Class  Class
	Stream uint32
	Span   stats.Span
}

// Ledger appends entries for one observation point. Entries are collected and written by Flush, which its owner calls
// about once a second; it is safe for concurrent use.
type Ledger struct {
	file    *frameFile
	mu      sync.Mutex // guards pending
	pending map[uint32]*[]run
	flush   sync.Mutex        // one Flush at a time; guards next
	marked  []byte            // the last mark; guarded by flush
	next    map[uint32]uint64 // by stream: where the last written entry ended, to code the usual next one in a byte
}

type run struct {
	class Class
	span  stats.Span
}

// CreateLedger makes a new ledger file.
func CreateLedger(path string) (*Ledger, error) {
	f, err := createFrames(path)
	if err != nil {
		return nil, err
	}
	return newLedger(f), nil
}

func newLedger(f *frameFile) *Ledger {
	return &Ledger{file: f, pending: map[uint32]*[]run{}, next: map[uint32]uint64{}}
}

// Intent records, before anything is attempted, that everything due before until may be attempted from now on. After a
// crash, what is inside an intent and has no outcome is unknown.
func (l *Ledger) Intent(until time.Duration) error {
	return l.file.append(frameIntent, binary.AppendUvarint(nil, uint64(max(until, 0))))
}

// Mark records the class of one record.
func (l *Ledger) Mark(c Class, stream uint32, seq uint64) {
	l.MarkSpan(c, stream, stats.Span{Lo: seq, Hi: seq + 1})
}

// MarkSpan records the class of a run of records.
func (l *Ledger) MarkSpan(c Class, stream uint32, s stats.Span) {
	l.mu.Lock()
	defer l.mu.Unlock()
	runs := l.pending[stream]
	if runs == nil {
		runs = new([]run)
		l.pending[stream] = runs
	}
	if k := len(*runs) - 1; k >= 0 && (*runs)[k].class == c && (*runs)[k].span.Hi == s.Lo {
		(*runs)[k].span.Hi = s.Hi
		return
	}
	*runs = append(*runs, run{c, s})
}

// Flush writes what was marked since the last Flush, at time now.
func (l *Ledger) Flush(now time.Duration) error {
	l.flush.Lock()
	defer l.flush.Unlock()
	return l.writeRuns(now, l.take())
}

// FlushTo is Flush, with a mark behind it that says how far the owner is: whoever goes on with the ledger begins there. The owner holds
// owner while it marks records and moves on, so that what is written and the mark are of one moment. Ledgers beside it have no mark of their own, and
// are of that moment too: what is theirs is written first.
func (l *Ledger) FlushTo(now time.Duration, owner sync.Locker, mark func() []byte, beside ...*Ledger) error {
	all := append(slices.Clone(beside), l)
	pending := make([]map[uint32]*[]run, len(all))
	for _, x := range all {
		x.flush.Lock()
		defer x.flush.Unlock()
	}
	owner.Lock()
	for i, x := range all {
		pending[i] = x.take()
	}
	m := mark()
	owner.Unlock()
	for i, x := range all {
		if err := x.writeRuns(now, pending[i]); err != nil {
			return err
		}
	}
	if bytes.Equal(m, l.marked) {
		return nil
	}
	l.marked = m
	return errors.Join(l.file.pack(frameMark, m), l.file.emit())
}

// take takes out what was marked. Marking never waits for the disk: it is written then.
func (l *Ledger) take() map[uint32]*[]run {
	l.mu.Lock()
	defer l.mu.Unlock()
	pending := l.pending
	l.pending = make(map[uint32]*[]run, len(pending))
	return pending
}

// writeRuns writes what was taken out, for whoever holds the lock of Flush.
func (l *Ledger) writeRuns(now time.Duration, pending map[uint32]*[]run) error {
	if len(pending) == 0 {
		return nil
	}
	const limit = maxFrame / 2
	b := binary.AppendUvarint(nil, uint64(max(now, 0)))
	head := len(b)
	var last uint32
	for _, s := range slices.Sorted(maps.Keys(pending)) {
		for _, r := range *pending[s] {
			b = binary.AppendUvarint(b, uint64(s-last)<<4|uint64(r.class))
			b = binary.AppendUvarint(b, zigzag(int64(r.span.Lo-l.next[s])))
			b = binary.AppendUvarint(b, r.span.Len())
			last, l.next[s] = s, r.span.Hi
			if len(b) > limit {
				if err := l.write(b); err != nil {
					return err
				}
				b, last = b[:head], 0
			}
		}
	}
	if len(b) == head {
		return nil
	}
	return l.write(b)
}

// packFrom is the size from which entries are packed. A history without gaps has a few bytes a second for each stream and
// needs no packer, of which every ledger would have one.
const packFrom = 4 << 10

func (l *Ledger) write(entries []byte) error {
	if len(entries) < packFrom {
		return l.file.append(frameEntries, entries)
	}
	return errors.Join(l.file.pack(frameEntries, entries), l.file.emit())
}

// Close flushes, syncs and closes.
func (l *Ledger) Close(now time.Duration) error {
	err := l.Flush(now)
	if cerr := l.file.close(); err == nil {
		err = cerr
	}
	return err
}

// ReadLedger calls fn for every entry of a ledger file in the order of writing and returns the end of the last intent.
func ReadLedger(path, name string, fn func(Entry) error) (intent time.Duration, d *Damage, err error) {
	return readLedger(path, name, fn, func([]byte) {}, func(int64) {})
}

func readLedger(path, name string, fn func(Entry) error, mark func([]byte), whole func(end int64)) (intent time.Duration, d *Damage, err error) {
	next := map[uint32]uint64{}
	d, err = readFramesAt(path, name, func(kind byte, payload []byte) error {
		u := &uvarints{b: payload}
		switch kind {
		case frameFresh:
			clear(next)
		case frameMark:
			mark(payload)
		case frameIntent:
			intent = max(intent, time.Duration(u.next()))
		case frameEntries:
			at := time.Duration(u.next())
			var stream uint32
			for len(u.b) > 0 && !u.bad {
				h := u.next()
				stream += uint32(h >> 4)
				lo := next[stream] + uint64(unzigzag(u.next()))
				hi := lo + u.next()
				if u.bad || hi < lo {
					return errPayload
				}
				next[stream] = hi
				if err := fn(Entry{at, Class(h & 15), stream, stats.Span{Lo: lo, Hi: hi}}); err != nil {
					return err
				}
			}
		}
		if u.bad {
			return errPayload
		}
		return nil
	}, whole)
	return intent, d, err
}
