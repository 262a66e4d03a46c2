package record

import (
	"bytes"
	"errors"
	"hash/crc32"
	"math"
)

// ErrNoTag means that a line carries neither token: it was not made by this program, or lost both.
var ErrNoTag = errors.New("no record tag")

// ErrCorrupt means that a line carries a tag, or a part of one, and is not the line that was sealed. The Tag that
// comes with it is read as far as it could be and is a hint for a person; it is not proof of which record this was.
var ErrCorrupt = errors.New("corrupt record")

// Tag is the identity and the due time of one record.
type Tag struct {
	Run       uint32 // the run that made it; a line of another run is foreign
	Stream    uint32 // the ordered unit inside the run
	Seq       uint64 // position in the stream, from 0
	Scheduled int64  // due time in unix nanoseconds, fixed by seed and schedule
}

const (
	idMark   = "tq_"
	timeMark = "tt_"

	// crcDigits is the width of the checksum: 36^6 < 2^32 <= 36^7.
	crcDigits = 7

	// MaxIDLen is the longest identity token in bytes: 7 digits hold 32 bits, 13 hold 64 bits.
	MaxIDLen = len(idMark) + 7 + 1 + 7 + 1 + 13
	// MaxTimeLen is the longest time token in bytes.
	MaxTimeLen = len(timeMark) + 13 + 1 + crcDigits
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeroCRC    = []byte("0000000")
)

// AppendID appends the identity token, at most MaxIDLen bytes.
func AppendID(dst []byte, run, stream uint32, seq uint64) []byte {
	dst = append(dst, idMark...)
	dst = appendBase36(dst, uint64(run))
	dst = append(dst, '_')
	dst = appendBase36(dst, uint64(stream))
	dst = append(dst, '_')
	return appendBase36(dst, seq)
}

// AppendTime appends the time token, at most MaxTimeLen bytes, with a checksum of zeros that Seal replaces. scheduled
// is unix nanoseconds; a negative value is carried as its two's complement and comes back the same.
func AppendTime(dst []byte, scheduled int64) []byte {
	dst = append(dst, timeMark...)
	dst = appendBase36(dst, uint64(scheduled))
	dst = append(dst, '_')
	return append(dst, zeroCRC...)
}

// Seal computes the checksum of line, which has no newline, and writes it into the time token in place. Sealing a
// sealed line changes nothing. It returns ErrNoTag unless both tokens are there and well formed.
func Seal(line []byte) error {
	if _, _, found := findID(line); found != complete {
		return ErrNoTag
	}
	_, at, found := findTime(line)
	if found != complete {
		return ErrNoTag
	}
	putCRC(line[at:at+crcDigits], checksum(line, at))
	return nil
}

// SealAt is Seal for who made the line and knows where the checksum stands: at the offset given, which is where the
// last crcDigits bytes of AppendTime are.
func SealAt(line []byte, at int) { putCRC(line[at:at+crcDigits], checksum(line, at)) }

// PutSum writes a checksum into the last CRCLen bytes of a time token.
func PutSum(dst []byte, sum uint32) { putCRC(dst, sum) }

// CRCLen is the length of the checksum at the end of a time token.
const CRCLen = crcDigits

// Parse finds the tag in line, which has no newline, and verifies the checksum over the whole line. It returns
// ErrNoTag, or ErrCorrupt with the part of the tag that could be read.
func Parse(line []byte) (Tag, error) {
	tag, _, foundID := findID(line)
	scheduled, at, foundTime := findTime(line)
	tag.Scheduled = scheduled
	switch {
	case foundID == none && foundTime == none:
		return Tag{}, ErrNoTag
	case foundID != complete || foundTime != complete:
		return tag, ErrCorrupt
	}
	sum, ok := parseCRC(line[at : at+crcDigits])
	if !ok || sum != checksum(line, at) {
		return tag, ErrCorrupt
	}
	return tag, nil
}

// found says how much of a token is in a line.
type found uint8

const (
	none found = iota
	partial
	complete
)

// findID returns the first well-formed identity token and the offset behind it, else the first partial one. A partial
// token has at least its run: "tq_" alone occurs in other people's text.
func findID(line []byte) (best Tag, end int, state found) {
	for from := 0; ; {
		i := bytes.Index(line[from:], []byte(idMark))
		if i < 0 {
			return best, end, state
		}
		start := from + i
		from = start + len(idMark)
		if start > 0 && isWord(line[start-1]) {
			continue
		}
		tag, stop, st := scanID(line, from)
		if st == complete {
			return tag, stop, complete
		}
		if st > state {
			best, end, state = tag, stop, st
		}
		from = stop
	}
}

// scanID reads run_stream_seq at offset i.
func scanID(line []byte, i int) (tag Tag, end int, state found) {
	run, i, ok := parseBase36(line, i)
	if !ok || run > math.MaxUint32 || i == len(line) || line[i] != '_' {
		return tag, i, none
	}
	tag.Run = uint32(run)
	stream, i, ok := parseBase36(line, i+1)
	if !ok || stream > math.MaxUint32 || i == len(line) || line[i] != '_' {
		return tag, i, partial
	}
	tag.Stream = uint32(stream)
	seq, i, ok := parseBase36(line, i+1)
	if !ok || i < len(line) && isWord(line[i]) {
		return tag, i, partial
	}
	tag.Seq = seq
	return tag, i, complete
}

// findTime returns the first well-formed time token and the offset of its checksum, else the first partial one. The
// digits of the checksum are not looked at here, only their number and alphabet.
func findTime(line []byte) (best int64, crcAt int, state found) {
	for from := 0; ; {
		i := bytes.Index(line[from:], []byte(timeMark))
		if i < 0 {
			return best, crcAt, state
		}
		start := from + i
		from = start + len(timeMark)
		if start > 0 && isWord(line[start-1]) {
			continue
		}
		scheduled, i, ok := parseBase36(line, from)
		from = i
		if !ok || i == len(line) || line[i] != '_' {
			continue
		}
		i++
		n := 0
		for i+n < len(line) && isDigit36(line[i+n]) {
			n++
		}
		from = i + n
		if n == crcDigits && (from == len(line) || !isWord(line[from])) {
			return int64(scheduled), i, complete
		}
		if state == none {
			best, crcAt, state = int64(scheduled), i, partial
		}
	}
}

// checksum is the CRC-32C of line with the 7 bytes at offset at read as zeros.
func checksum(line []byte, at int) uint32 {
	c := crc32.Update(0, castagnoli, line[:at])
	c = crc32.Update(c, castagnoli, zeroCRC)
	return crc32.Update(c, castagnoli, line[at+crcDigits:])
}

func putCRC(dst []byte, sum uint32) {
	const six = 36 * 36 * 36 * 36 * 36 * 36
	_ = dst[crcDigits-1]
	dst[0] = byte('0' + sum/six) // at most 1
	put6((*[6]byte)(dst[1:crcDigits]), sum%six)
}

func parseCRC(src []byte) (uint32, bool) {
	var v uint64
	for _, c := range src {
		v = v*36 + uint64(value(c))
	}
	return uint32(v), v <= math.MaxUint32
}

// maxToken is longer than either token of a tag.
const maxToken = 48

// Damage returns a line with one letter outside of its tag changed, as a fault on its way might: whoever proves that corrupt records are
// found needs one. A line without such a letter comes back as it is.
func Damage(line []byte) []byte {
	out := bytes.Clone(line)
	for i := range out {
		inTag := false
		for _, mark := range []string{idMark, timeMark} {
			if at := bytes.Index(out, []byte(mark)); at >= 0 && i >= at && i < at+maxToken {
				inTag = true
			}
		}
		if c := out[i]; !inTag && c >= 'a' && c < 'z' {
			out[i]++
			return out
		}
	}
	return out
}
