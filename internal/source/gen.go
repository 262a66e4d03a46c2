package source

import (
	"math/bits"
	"strconv"
	"strings"
	"time"

	"triad/internal/record"
)

// rng is splitmix64: one multiply-shift chain per number and no state to build, which matters because every record
// starts its own sequence.
type rng struct{ s uint64 }

// nodeSeq is the seq from which the facts of a stream that do not change (its host, its service) are drawn, and bodySeq
// that of bodies, which have a number in place of a stream; no stream gets this far.
const (
	nodeSeq = 1<<64 - 1
	bodySeq = 1<<64 - 2
)

func newRNG(seed uint64, stream uint32, seq uint64) rng {
	return recordRNG(streamRNG(seed, stream), seq)
}

// streamRNG is what the sequences of all records of a stream have in common.
func streamRNG(seed uint64, stream uint32) uint64 {
	r := rng{s: seed}
	r.s = r.next() + uint64(stream)
	return r.next()
}

func recordRNG(stream, seq uint64) rng {
	r := rng{s: stream + seq}
	return rng{s: r.next()}
}

func (r *rng) next() uint64 {
	r.s += 0x9e3779b97f4a7c15
	z := r.s
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number in [0, n).
func (r *rng) below(n int) int {
	hi, _ := bits.Mul64(r.next(), uint64(n))
	return int(hi)
}

func (r *rng) pick(words []string) string { return words[r.below(len(words))] }

// tail returns a number with a heavy tail: from base on, each doubling half as likely, at most base<<11.
func (r *rng) tail(base int) int {
	octave := min(bits.TrailingZeros64(r.next()), 10)
	return base<<octave + r.below(base<<octave)
}

// stamp is a scheduled time, split once per line.
type stamp struct {
	unix                      int64
	year                      int
	month                     time.Month
	day, hour, minute, second int
	nano                      int
}

func newStamp(ns int64) stamp {
	t := time.Unix(0, ns).UTC()
	s := stamp{unix: t.Unix(), nano: t.Nanosecond()}
	s.year, s.month, s.day = t.Date()
	s.hour, s.minute, s.second = t.Clock()
	return s
}

// gen builds one line at the end of b.
type gen struct {
	b     []byte
	start int
	size  int
	tag   record.Tag
	rng   rng // of this record
	node  rng // of this stream: the same numbers for each of its records
	at    stamp
	marks
}

// marks are where what differs from record to record stands in b; 0: nowhere.
type marks struct{ ts, user, seq, seqEnd, due, crc int }

func (g *gen) str(s string) { g.b = append(g.b, s...) }

func (g *gen) byte(c byte) { g.b = append(g.b, c) }

func (g *gen) num(n int) { g.b = strconv.AppendInt(g.b, int64(n), 10) }

// digits appends n with leading zeros to the given width.
func (g *gen) digits(n, width int) {
	at := len(g.b)
	g.b = append(g.b, "0000000000"[:width]...)
	for i := width - 1; i >= 0; i-- {
		g.b[at+i] = byte('0' + n%10)
		n /= 10
	}
}

// fixed appends n/10^places with that many decimals.
func (g *gen) fixed(n, places int) {
	scale := 1
	for range places {
		scale *= 10
	}
	g.num(n / scale)
	g.byte('.')
	g.digits(n%scale, places)
}

func (g *gen) hex(r *rng, n int) { g.alphabet(r, "0123456789abcdef", n) }

// alphabet appends n letters of an alphabet of 16 or 64.
func (g *gen) alphabet(r *rng, letters string, n int) {
	mask := uint64(len(letters) - 1)
	for n > 0 {
		v := r.next()
		for range min(n, 10) {
			g.byte(letters[v&mask])
			v >>= 6
		}
		n -= min(n, 10)
	}
}

func (g *gen) id() {
	g.b = record.AppendID(g.b, g.tag.Run, g.tag.Stream, g.tag.Seq)
	g.seq, g.seqEnd = len(g.b)-record.Digits(g.tag.Seq), len(g.b)
}

func (g *gen) due() {
	g.b = record.AppendTime(g.b, g.tag.Scheduled)
	g.crc = len(g.b) - record.CRCLen
	g.marks.due = g.crc - 1 - record.Digits(uint64(g.tag.Scheduled))
}

// ip appends an address of the private range 10/8.
func (g *gen) ip(r *rng) {
	v := r.next()
	g.str("10.")
	g.num(int(v & 63))
	g.byte('.')
	g.num(int(v >> 8 & 255))
	g.byte('.')
	g.num(int(v >> 16 & 255))
}

// host appends the stream's node name, as EKS names its nodes.
func (g *gen) host() {
	r := g.node
	v := r.next()
	g.str("ip-10-0-")
	g.num(int(v & 255))
	g.byte('-')
	g.num(int(v >> 8 & 255))
}

// rfc3339 appends the scheduled time with the given number of decimals (3, 6 or 9).
func (g *gen) rfc3339(decimals int) {
	g.digits(g.at.year, 4)
	g.byte('-')
	g.digits(int(g.at.month), 2)
	g.byte('-')
	g.digits(g.at.day, 2)
	g.byte('T')
	g.clock()
	g.byte('.')
	n := g.at.nano
	for range 9 - decimals {
		n /= 10
	}
	g.digits(n, decimals)
	g.byte('Z')
}

func (g *gen) clock() {
	g.digits(g.at.hour, 2)
	g.byte(':')
	g.digits(g.at.minute, 2)
	g.byte(':')
	g.digits(g.at.second, 2)
}

// bsd appends the RFC 3164 head: time stamp with a space-padded day, and host.
func (g *gen) bsd() {
	const months = "JanFebMarAprMayJunJulAugSepOctNovDec"
	m := int(g.at.month-1) * 3
	g.str(months[m : m+3])
	g.byte(' ')
	if g.at.day < 10 {
		g.byte(' ')
	}
	g.num(g.at.day)
	g.byte(' ')
	g.clock()
	g.byte(' ')
	g.host()
	g.byte(' ')
}

// room returns how many bytes are left before reserve bytes from the end of the line.
func (g *gen) room(reserve int) int { return g.size - reserve - (len(g.b) - g.start) }

// text is filler: a long stretch of words in a fixed random order, from which lines copy phrases. Copying a phrase costs
// as much as copying a word, and a large line is mostly filler.
type text struct {
	words  string // each with a space in front
	starts []int  // of the words
}

const (
	textLen   = 8 << 10
	phraseLen = 48 // bytes copied at once; longer ones would repeat themselves for a compressor as no log does
)

func newText(words ...string) *text {
	t := &text{}
	r := newRNG(0, 0, uint64(len(words)))
	var b strings.Builder
	for b.Len() < textLen {
		if b.Len() < textLen-2*phraseLen {
			t.starts = append(t.starts, b.Len())
		}
		b.WriteByte(' ')
		b.WriteString(r.pick(words))
	}
	t.words = b.String()
	return t
}

// pad appends exactly n bytes (none when n < 1) of words, with a separator in front, for free text that goes on. Words
// are lower case, so the text needs no escaping anywhere.
func (g *gen) pad(n int, t *text) {
	if n < 1 {
		return
	}
	if n < 3 {
		g.str("..."[:n])
		return
	}
	for {
		// A phrase of whole words that leaves at least three bytes.
		from := t.starts[g.rng.below(len(t.starts))]
		to := from + min(n-3, phraseLen)
		for t.words[to] != ' ' {
			to--
		}
		g.str(t.words[from:to])
		n -= to - from
		// The last word is a short hexadecimal number that fits what is left: 2 to 11 digits.
		if n < 12 || to == from {
			g.byte(' ')
			g.hex(&g.rng, n-1)
			return
		}
	}
}
