package source

import (
	"math"

	"triad/internal/record"
)

// keptUpTo is the size in bytes of the largest lines whose bodies a Writer keeps: bodyCount of them, twice, for each length that occurs
// (the streams' names and numbers differ in length). Making a larger line costs less than sending it anyway.
const keptUpTo = 2 << 10

// Writer makes the lines of Append for the streams of one generator and keeps what they have in common, so that a JSON line is two
// copies, some digits and a checksum of what differs. It is not safe for concurrent use.
type Writer struct {
	seed    uint64
	clock   Clock
	bodies  map[bodyKey]*[bodyCount]*body
	joiners map[int]*record.Joiner
	scratch []byte
}

type bodyKey struct {
	kind Kind
	size int
}

// body is a body as it stands in a line and in the JSON document of a line.
type body struct {
	line, json []byte
	sum        uint32
	join       *record.Joiner
}

// NewWriter returns a writer of lines of a seed.
func NewWriter(seed uint64) *Writer {
	return &Writer{seed: seed, bodies: map[bodyKey]*[bodyCount]*body{}, joiners: map[int]*record.Joiner{}}
}

// Stream returns the lines of a stream.
func (w *Writer) Stream(kind Kind, run, stream uint32, size int) *Stream {
	return &Stream{w: w, kind: kind, run: run, id: stream, size: size, rng: streamRNG(w.seed, stream), kept: isJSON(kind) && size <= keptUpTo, seqs: nothing, dues: nothing}
}

func (w *Writer) body(set *[bodyCount]*body, kind Kind, n, size int) *body {
	line := appendBody(nil, w.seed, kind, n, size)
	j := w.joiners[len(line)]
	if j == nil {
		j = record.NewJoiner(len(line))
		w.joiners[len(line)] = j
	}
	set[n] = &body{line, AppendEscaped(nil, line), record.Sum(line), j}
	return set[n]
}

// Stream makes the lines of one stream, in any order. It has the head of the last line and writes the next one's numbers into it for as
// long as they have as many digits.
type Stream struct {
	w          *Writer
	kind       Kind
	run, id    uint32
	size       int
	rng        uint64 // of the stream
	kept       bool   // its bodies are kept; else it has no head
	seqs, dues span   // numbers that have as many digits as those in the head
	line, json []byte // the head in a line, without its checksum, and in a document, without its numbers
	at, jsonAt marks
	bodies     *[bodyCount]*body
	bodySize   int
	// What stands before from changes once a millisecond, and with a stream that is fast, not for each record.
	from    int
	ms      int64 // which millisecond that was
	summed  uint32
	changed bool
}

// span is a range of numbers; last is in it.
type span struct{ first, last uint64 }

// nothing is no number.
var nothing = span{1, 0}

func (s span) has(v uint64) bool { return v >= s.first && v <= s.last }

// sameDigits is the span of the numbers that have as many base36 digits as v.
func sameDigits(v uint64) span {
	first := uint64(1)
	for v/first >= 36 {
		first *= 36
	}
	last := uint64(math.MaxUint64)
	if first <= last/36 {
		last = first*36 - 1
	}
	if first == 1 {
		first = 0
	}
	return span{first, last}
}

func (s *Stream) tag(seq uint64, scheduled int64) record.Tag {
	return record.Tag{Run: s.run, Stream: s.id, Seq: seq, Scheduled: scheduled}
}

// AppendLine appends the line of a record, as Append does.
func (s *Stream) AppendLine(dst []byte, seq uint64, scheduled int64) []byte {
	if !s.kept {
		return Append(dst, s.kind, s.w.seed, s.tag(seq, scheduled), s.size)
	}
	b := s.next(seq, scheduled)
	n := len(dst)
	dst = append(append(dst, s.line...), b.line...)
	record.PutSum(dst[n+s.at.crc:], s.sum(b))
	return dst
}

// AppendJSON appends the line of a record as a string of a JSON document, without its quotes.
func (s *Stream) AppendJSON(dst []byte, seq uint64, scheduled int64) []byte {
	if !s.kept {
		s.w.scratch = Append(s.w.scratch[:0], s.kind, s.w.seed, s.tag(seq, scheduled), s.size)
		return AppendEscaped(dst, s.w.scratch)
	}
	b := s.next(seq, scheduled)
	n := len(dst)
	dst = append(append(dst, s.json...), b.json...)
	// The processor cannot read what it has written in smaller pieces a moment ago without waiting until it is in the cache. So the numbers
	// of the head are read behind the copies, and the checksum comes last.
	head := dst[n:]
	copy(head[s.jsonAt.ts:], s.line[s.at.ts:s.at.ts+millisLen])
	if s.at.user > 0 {
		copy(head[s.jsonAt.user:], s.line[s.at.user:s.at.user+userLen])
	}
	// Neither token has a letter that is escaped: from the first number on, head and line are the same up to the next quote.
	copy(head[s.jsonAt.seq:], s.line[s.at.seq:s.at.seqEnd])
	copy(head[s.jsonAt.due:], s.line[s.at.due:s.at.crc])
	record.PutSum(head[s.jsonAt.crc:], s.sum(b))
	return dst
}

// next brings the head up to a record and returns the body that goes with it.
func (s *Stream) next(seq uint64, scheduled int64) *body {
	if !s.seqs.has(seq) || !s.dues.has(uint64(scheduled)) {
		s.renew(seq, scheduled)
	}
	if ms := s.w.clock.turn(scheduled); ms != s.ms || s.changed {
		copy(s.line[s.at.ts:], s.w.clock.text[:])
		s.ms, s.changed = ms, false
		s.summed = record.Sum(s.line[:s.from])
	}
	e := newEvent(recordRNG(s.rng, seq))
	if s.at.user > 0 {
		putUser(s.line[s.at.user:], e.user)
	}
	record.PutNumber(s.line[s.at.seq:s.at.seqEnd], seq)
	record.PutNumber(s.line[s.at.due:s.at.crc-1], uint64(scheduled))
	b := s.bodies[e.body]
	if b == nil {
		b = s.w.body(s.bodies, s.kind, e.body, s.bodySize)
	}
	return b
}

// sum is the checksum of the head and a body.
func (s *Stream) sum(b *body) uint32 {
	return b.join.Join(record.SumOn(s.summed, s.line[s.from:]), b.sum)
}

// renew makes the head anew.
func (s *Stream) renew(seq uint64, scheduled int64) {
	w := s.w
	g := gen{size: s.size, tag: s.tag(seq, scheduled), node: newRNG(w.seed, s.id, nodeSeq), at: newStamp(scheduled)}
	g.head(s.kind, newEvent(recordRNG(s.rng, seq)))
	s.at = g.marks
	s.json = AppendEscaped(nil, g.b)
	escaped := func(at int) int { return len(AppendEscaped(nil, g.b[:at])) }
	s.jsonAt = marks{ts: escaped(s.at.ts), user: escaped(s.at.user), seq: escaped(s.at.seq), due: escaped(s.at.due), crc: escaped(s.at.crc)}
	// The checksum is computed eight bytes at a time, from addresses that are multiples of eight: what is summed for each record begins at
	// one and is whole.
	first := s.at.seq
	if s.at.user > 0 {
		first = s.at.user
	}
	s.from = first - (8-(len(g.b)-first)%8)%8
	room := make([]byte, len(g.b)+8)
	s.line = room[(8-s.from%8)%8:][:len(g.b)]
	copy(s.line, g.b)
	s.seqs, s.dues, s.changed = sameDigits(seq), sameDigits(uint64(scheduled)), true
	s.bodySize = s.size - len(g.b)
	key := bodyKey{s.kind, s.bodySize}
	if s.bodies = w.bodies[key]; s.bodies == nil {
		s.bodies = new([bodyCount]*body)
		w.bodies[key] = s.bodies
	}
}
