package forward

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Errors of the wire format.
var (
	// ErrShort says that the bytes end inside a value.
	ErrShort = errors.New("msgpack value is cut off")
	// ErrFormat says that the bytes are no msgpack value, or none that stands at this place of the protocol.
	ErrFormat = errors.New("malformed msgpack")
	// ErrTooLarge says that a message is longer than the limit of the server.
	ErrTooLarge = errors.New("message larger than the limit")
)

// The msgpack format bytes that are named here; the numbers are those of the msgpack specification.
const (
	codeNil      = 0xc0
	codeNever    = 0xc1
	codeBin8     = 0xc4
	codeBin32    = 0xc6
	codeExt8     = 0xc7
	codeFixExt8  = 0xd7
	codeStr8     = 0xd9
	codeStr32    = 0xdb
	codeArray16  = 0xdc
	codeArray32  = 0xdd
	codeMap16    = 0xde
	codeMap32    = 0xdf
	eventTimeExt = 0 // type of the extension that Fluentd uses for times of events
)

// headLen is the length of the header that starts with c: the bytes that say how long the value is.
func headLen(c byte) int {
	switch {
	case c < codeBin8 || c >= 0xe0:
		return 1
	}
	switch c {
	case 0xc4, 0xd9, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xcc, 0xd0:
		return 2
	case 0xc5, 0xda, 0xdc, 0xde, 0xc7, 0xcd, 0xd1:
		return 3
	case 0xc8:
		return 4
	case 0xc6, 0xdb, 0xdd, 0xdf, 0xca, 0xce, 0xd2:
		return 5
	case 0xc9:
		return 6
	default: // 0xcb, 0xcf, 0xd3
		return 9
	}
}

// head reads a header of headLen bytes: how many payload bytes and how many child values follow it.
func head(h []byte) (payload, children int, err error) {
	c := h[0]
	switch {
	case c <= 0x7f || c >= 0xe0:
		return 0, 0, nil
	case c <= 0x8f:
		return 0, 2 * int(c&0x0f), nil
	case c <= 0x9f:
		return 0, int(c & 0x0f), nil
	case c <= 0xbf:
		return int(c & 0x1f), 0, nil
	}
	switch c {
	case codeNever:
		return 0, 0, fmt.Errorf("%w: byte c1", ErrFormat)
	case codeBin8, codeStr8, codeExt8:
		return int(h[1]), 0, nil
	case 0xc5, 0xda, 0xc8:
		return int(binary.BigEndian.Uint16(h[1:])), 0, nil
	case codeBin32, codeStr32, 0xc9:
		return int(binary.BigEndian.Uint32(h[1:])), 0, nil
	case 0xd4, 0xd5, 0xd6, codeFixExt8, 0xd8:
		return 1 << (c - 0xd4), 0, nil
	case codeArray16:
		return 0, int(binary.BigEndian.Uint16(h[1:])), nil
	case codeArray32:
		return 0, int(binary.BigEndian.Uint32(h[1:])), nil
	case codeMap16:
		return 0, 2 * int(binary.BigEndian.Uint16(h[1:])), nil
	case codeMap32:
		return 0, 2 * int(binary.BigEndian.Uint32(h[1:])), nil
	}
	return 0, 0, nil // nil, booleans and numbers: all in the header
}

// Next returns the length of the first value in b, whatever it contains. It neither allocates nor recurses, so that
// deeply nested or lying input costs nothing. The errors are ErrShort and ErrFormat.
func Next(b []byte) (int, error) {
	at, want := 0, 1
	for want > 0 {
		if at >= len(b) {
			return 0, ErrShort
		}
		n := headLen(b[at])
		if len(b)-at < n {
			return 0, ErrShort
		}
		payload, children, err := head(b[at : at+n])
		if err != nil {
			return 0, err
		}
		if payload > len(b)-at-n {
			return 0, ErrShort
		}
		at += n + payload
		want += children - 1
		if want > len(b)-at { // each value has at least one byte
			return 0, ErrShort
		}
	}
	return at, nil
}

// readValue appends one whole value from r to dst. It reads what the value needs and not a byte more, and gives up with
// ErrTooLarge beyond max bytes.
func readValue(r *bufio.Reader, dst []byte, max int) ([]byte, error) {
	start, want := len(dst), 1
	for want > 0 {
		c, err := r.Peek(1)
		if err != nil {
			return dst, cut(err)
		}
		h, err := r.Peek(headLen(c[0]))
		if err != nil {
			return dst, cut(err)
		}
		payload, children, err := head(h)
		if err != nil {
			return dst, err
		}
		if len(dst)-start+len(h)+payload > max || want+children > max {
			return dst, ErrTooLarge
		}
		dst = append(dst, h...)
		r.Discard(len(h)) //nolint:errcheck // these bytes were peeked
		if dst, err = readPayload(r, dst, payload); err != nil {
			return dst, err
		}
		want += children - 1
	}
	return dst, nil
}

// readPayload appends n bytes, growing in steps so that a length that lies costs no memory.
func readPayload(r *bufio.Reader, dst []byte, n int) ([]byte, error) {
	const step = 1 << 20
	for n > 0 {
		k := min(n, step)
		at := len(dst)
		dst = append(dst, make([]byte, k)...)
		if _, err := io.ReadFull(r, dst[at:]); err != nil {
			return dst[:at], cut(err)
		}
		n -= k
	}
	return dst, nil
}

func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", ErrShort, io.ErrUnexpectedEOF)
	}
	return err
}

// ArrayLen reads the header of an array: its number of elements and the length of the header.
func ArrayLen(b []byte) (n, size int, err error) {
	return containerLen(b, 0x90, codeArray16, 1)
}

// MapLen reads the header of a map: its number of pairs and the length of the header.
func MapLen(b []byte) (n, size int, err error) {
	return containerLen(b, 0x80, codeMap16, 2)
}

func containerLen(b []byte, fix, code16 byte, per int) (n, size int, err error) {
	if len(b) == 0 {
		return 0, 0, ErrShort
	}
	c := b[0]
	if c&0xf0 != fix && c != code16 && c != code16+1 {
		return 0, 0, ErrFormat
	}
	size = headLen(c)
	if len(b) < size {
		return 0, 0, ErrShort
	}
	_, children, err := head(b[:size])
	return children / per, size, err
}

// Bytes reads a str or bin value: its content, which aliases b, and the length of the whole value.
func Bytes(b []byte) (content []byte, size int, err error) {
	if len(b) == 0 {
		return nil, 0, ErrShort
	}
	c := b[0]
	if c&0xe0 != 0xa0 && (c < codeBin8 || c > codeBin32) && (c < codeStr8 || c > codeStr32) {
		return nil, 0, ErrFormat
	}
	h := headLen(c)
	if len(b) < h {
		return nil, 0, ErrShort
	}
	n, _, err := head(b[:h])
	if err != nil {
		return nil, 0, err
	}
	if len(b)-h < n {
		return nil, 0, ErrShort
	}
	return b[h : h+n], h + n, nil
}

// EventTime reads the time of an event: the extension type 0 of Fluentd, or an integer of seconds. A time of another
// type is ErrFormat.
func EventTime(b []byte) (t time.Time, size int, err error) {
	size, err = Next(b)
	if err != nil {
		return time.Time{}, 0, err
	}
	v := b[:size]
	switch c := v[0]; {
	case c == codeFixExt8 && v[1] == eventTimeExt:
		v = v[2:]
	case c == codeExt8 && v[1] == 8 && v[2] == eventTimeExt:
		v = v[3:]
	case c <= 0x7f:
		return time.Unix(int64(c), 0), size, nil
	case c == 0xcc:
		return time.Unix(int64(v[1]), 0), size, nil
	case c == 0xcd:
		return time.Unix(int64(binary.BigEndian.Uint16(v[1:])), 0), size, nil
	case c == 0xce:
		return time.Unix(int64(binary.BigEndian.Uint32(v[1:])), 0), size, nil
	case c == 0xcf || c == 0xd3:
		return time.Unix(int64(binary.BigEndian.Uint64(v[1:])), 0), size, nil
	default:
		return time.Time{}, size, fmt.Errorf("%w: no event time", ErrFormat)
	}
	return time.Unix(int64(binary.BigEndian.Uint32(v)), int64(binary.BigEndian.Uint32(v[4:]))), size, nil
}

// AppendEntryHead appends what stands before the record of an entry [time, record]: the array header and the time.
func AppendEntryHead(dst []byte, t time.Time) []byte {
	dst = append(dst, 0x92, codeFixExt8, eventTimeExt)
	dst = binary.BigEndian.AppendUint32(dst, uint32(t.Unix()))
	return binary.BigEndian.AppendUint32(dst, uint32(t.Nanosecond()))
}

// AppendMapLen appends the header of a map of n pairs.
func AppendMapLen(dst []byte, n int) []byte {
	switch {
	case n < 16:
		return append(dst, 0x80|byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, codeMap16), uint16(n))
	default:
		return binary.BigEndian.AppendUint32(append(dst, codeMap32), uint32(n))
	}
}

// AppendString appends a str value.
func AppendString[T ~string | ~[]byte](dst []byte, s T) []byte {
	switch n := len(s); {
	case n < 32:
		dst = append(dst, 0xa0|byte(n))
	case n < 1<<8:
		dst = append(dst, codeStr8, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0xda), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint32(append(dst, codeStr32), uint32(n))
	}
	return append(dst, s...)
}

// Entry is one event of a stream of entries.
type Entry struct {
	Raw    []byte // the whole entry [time, record]
	Time   time.Time
	Record []byte // the msgpack map
}

// Entries iterates over a stream of entries [time, record], as a chunk holds it. It stops at the end or at the first
// thing that is none, and says so by ErrShort (the stream is cut off) or ErrFormat; at is how far it came.
func Entries(b []byte, yield func(Entry) error) (at int, err error) {
	for at < len(b) {
		n, err := Next(b[at:])
		if err != nil {
			return at, err
		}
		e, err := ParseEntry(b[at : at+n])
		if err != nil {
			return at, err
		}
		if err := yield(e); err != nil {
			return at, err
		}
		at += n
	}
	return at, nil
}

// ParseEntry reads one entry [time, record], or [[time, metadata], record] as newer agents send it.
func ParseEntry(raw []byte) (Entry, error) {
	n, h, err := ArrayLen(raw)
	if err != nil {
		return Entry{}, err
	}
	if n != 2 {
		return Entry{}, fmt.Errorf("%w: entry of %d elements", ErrFormat, n)
	}
	at, skip := h, 0
	if k, ah, err := ArrayLen(raw[at:]); err == nil {
		if k == 0 {
			return Entry{}, fmt.Errorf("%w: empty time", ErrFormat)
		}
		if skip, err = Next(raw[at:]); err != nil {
			return Entry{}, err
		}
		at, skip = at+ah, at+skip
	}
	t, size, err := EventTime(raw[at:])
	if err != nil {
		return Entry{}, err
	}
	at = max(at+size, skip)
	if _, _, err := MapLen(raw[at:]); err != nil {
		return Entry{}, fmt.Errorf("%w: record is no map", ErrFormat)
	}
	return Entry{Raw: raw, Time: t, Record: raw[at:]}, nil
}

// AppendUint appends an unsigned integer.
func AppendUint(dst []byte, v uint64) []byte {
	if v < 0x80 {
		return append(dst, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(dst, 0xcf), v)
}
