package fluentd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"triad/internal/model/forward"
)

// errRecord says that a record cannot be written as JSON; Fluentd logs it and leaves it out.
var errRecord = errors.New("record cannot be formatted")

// maxNesting is the nesting that Ruby's JSON generator allows.
const maxNesting = 100

// eachPair calls yield with the raw key and value of each pair of a msgpack map.
func eachPair(m []byte, yield func(key, value []byte) error) error {
	n, at, err := forward.MapLen(m)
	if err != nil {
		return err
	}
	for range n {
		k, err := forward.Next(m[at:])
		if err != nil {
			return err
		}
		v, err := forward.Next(m[at+k:])
		if err != nil {
			return err
		}
		if err := yield(m[at:at+k], m[at+k:at+k+v]); err != nil {
			return err
		}
		at += k + v
	}
	return nil
}

// lookup returns the raw value of a key, nil when it is not there.
func lookup(m []byte, key string) (value []byte) {
	eachPair(m, func(k, v []byte) error { //nolint:errcheck // what is malformed has no value
		if s, _, err := forward.Bytes(k); err == nil && string(s) == key {
			value = v
		}
		return nil
	})
	return value
}

// apply rewrites entries as the filter says, appending to dst.
func (f *Filter) apply(dst []byte, tag string, entries []byte) ([]byte, error) {
	_, err := forward.Entries(entries, func(e forward.Entry) error {
		dst = append(dst, e.Raw[:len(e.Raw)-len(e.Record)]...)
		var err error
		dst, err = f.record(dst, tag, e.Record)
		return err
	})
	return dst, err
}

func (f *Filter) record(dst []byte, tag string, rec []byte) ([]byte, error) {
	n, h, err := forward.MapLen(rec)
	if err != nil {
		return dst, err
	}
	sets := func(key []byte) bool {
		for _, fd := range f.Fields {
			if fd.Key == string(key) {
				return true
			}
		}
		return false
	}
	replaced := 0
	err = eachPair(rec, func(k, _ []byte) error {
		if s, _, err := forward.Bytes(k); err == nil && sets(s) {
			replaced++
		}
		return nil
	})
	if err != nil {
		return dst, err
	}
	dst = forward.AppendMapLen(dst, n-replaced+len(f.Fields))
	if replaced == 0 {
		dst = append(dst, rec[h:]...)
	} else if err := eachPair(rec, func(k, v []byte) error {
		if s, _, err := forward.Bytes(k); err != nil || !sets(s) {
			dst = append(append(dst, k...), v...)
		}
		return nil
	}); err != nil {
		return dst, err
	}
	for _, fd := range f.Fields {
		dst = forward.AppendString(dst, fd.Key)
		dst = fd.appendValue(dst, tag, rec)
	}
	return dst, nil
}

func (fd *Field) appendValue(dst []byte, tag string, rec []byte) []byte {
	if len(fd.Template) == 1 && fd.Template[0].record != "" { // auto_typecast: a lone placeholder keeps its type
		if v := lookup(rec, fd.Template[0].record); v != nil {
			return append(dst, v...)
		}
		return append(dst, 0xc0)
	}
	var text []byte
	for _, p := range fd.Template {
		switch {
		case p.record != "":
			text = appendText(text, lookup(rec, p.record))
		case p.tag != "":
			text = append(text, tagPart(tag, p.tag, p.index)...)
		default:
			text = append(text, p.literal...)
		}
	}
	return forward.AppendString(dst, text)
}

func tagPart(tag, what string, i int) string {
	if what == "tag" {
		return tag
	}
	parts := strings.Split(tag, ".")
	if i < 0 && what == "tag_parts" {
		i += len(parts)
	}
	if i < 0 || i >= len(parts) {
		return ""
	}
	switch what {
	case "tag_prefix":
		return strings.Join(parts[:i+1], ".")
	case "tag_suffix":
		return strings.Join(parts[len(parts)-1-i:], ".")
	default:
		return parts[i]
	}
}

// appendText appends a value as text, as Ruby's to_s gives it; nil and containers are empty.
func appendText(dst, v []byte) []byte {
	if v == nil || v[0] == 0xc0 {
		return dst
	}
	if s, _, err := forward.Bytes(v); err == nil {
		return append(dst, s...)
	}
	out, err := appendJSON(nil, v, 0)
	if err != nil || len(out) > 0 && (out[0] == '{' || out[0] == '[') {
		return dst
	}
	return append(dst, out...)
}

// appendRecord appends a record as a JSON object without the keys that skip says, and leaves the object open for more:
// the caller closes it. n is the number of pairs written.
func appendRecord(dst, rec []byte, skip func(key []byte) bool) (out []byte, n int, err error) {
	dst = append(dst, '{')
	err = eachPair(rec, func(k, v []byte) error {
		s, _, err := forward.Bytes(k)
		if err == nil && skip(s) {
			return nil
		}
		if n > 0 {
			dst = append(dst, ',')
		}
		n++
		if dst, err = appendKey(dst, k); err != nil {
			return err
		}
		dst, err = appendJSON(append(dst, ':'), v, 1)
		return err
	})
	return dst, n, err
}

func appendKey(dst, k []byte) ([]byte, error) {
	if s, _, err := forward.Bytes(k); err == nil {
		return appendQuoted(dst, s), nil
	}
	text, err := appendJSON(nil, k, 0)
	if err != nil || text[0] == '{' || text[0] == '[' {
		return dst, fmt.Errorf("%w: key", errRecord)
	}
	return appendQuoted(dst, text), nil
}

// appendJSON appends one msgpack value.
func appendJSON(dst, v []byte, depth int) ([]byte, error) {
	if depth > maxNesting {
		return dst, fmt.Errorf("%w: nested too deeply", errRecord)
	}
	if s, _, err := forward.Bytes(v); err == nil {
		return appendQuoted(dst, s), nil
	}
	switch c := v[0]; {
	case c <= 0x7f:
		return strconv.AppendInt(dst, int64(c), 10), nil
	case c >= 0xe0:
		return strconv.AppendInt(dst, int64(int8(c)), 10), nil
	case c&0xf0 == 0x80, c == 0xde, c == 0xdf:
		return appendMap(dst, v, depth)
	case c&0xf0 == 0x90, c == 0xdc, c == 0xdd:
		return appendArray(dst, v, depth)
	case c == 0xc0:
		return append(dst, "null"...), nil
	case c == 0xc2:
		return append(dst, "false"...), nil
	case c == 0xc3:
		return append(dst, "true"...), nil
	case c >= 0xca && c <= 0xd3:
		return appendNumber(dst, v)
	default:
		if t, _, err := forward.EventTime(v); err == nil {
			return appendQuoted(dst, []byte(t.UTC().Format("2006-01-02 15:04:05.000000000 -0700"))), nil
		}
		return dst, fmt.Errorf("%w: extension type", errRecord)
	}
}

func appendMap(dst, v []byte, depth int) ([]byte, error) {
	dst = append(dst, '{')
	first := true
	err := eachPair(v, func(k, x []byte) error {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		var err error
		if dst, err = appendKey(dst, k); err != nil {
			return err
		}
		dst, err = appendJSON(append(dst, ':'), x, depth+1)
		return err
	})
	return append(dst, '}'), err
}

func appendArray(dst, v []byte, depth int) ([]byte, error) {
	n, at, err := forward.ArrayLen(v)
	if err != nil {
		return dst, err
	}
	dst = append(dst, '[')
	for i := range n {
		k, err := forward.Next(v[at:])
		if err != nil {
			return dst, err
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendJSON(dst, v[at:at+k], depth+1); err != nil {
			return dst, err
		}
		at += k
	}
	return append(dst, ']'), nil
}

func appendNumber(dst, v []byte) ([]byte, error) {
	be := binary.BigEndian
	switch v[0] {
	case 0xca:
		return appendFloat(dst, float64(math.Float32frombits(be.Uint32(v[1:]))))
	case 0xcb:
		return appendFloat(dst, math.Float64frombits(be.Uint64(v[1:])))
	case 0xcc:
		return strconv.AppendUint(dst, uint64(v[1]), 10), nil
	case 0xcd:
		return strconv.AppendUint(dst, uint64(be.Uint16(v[1:])), 10), nil
	case 0xce:
		return strconv.AppendUint(dst, uint64(be.Uint32(v[1:])), 10), nil
	case 0xcf:
		return strconv.AppendUint(dst, be.Uint64(v[1:]), 10), nil
	case 0xd0:
		return strconv.AppendInt(dst, int64(int8(v[1])), 10), nil
	case 0xd1:
		return strconv.AppendInt(dst, int64(int16(be.Uint16(v[1:]))), 10), nil
	case 0xd2:
		return strconv.AppendInt(dst, int64(int32(be.Uint32(v[1:]))), 10), nil
	default:
		return strconv.AppendInt(dst, int64(be.Uint64(v[1:])), 10), nil
	}
}

func appendFloat(dst []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, fmt.Errorf("%w: %v is no JSON number", errRecord, f)
	}
	// As Ruby writes a float: always with a point, and with an exponent outside of 1e-4 to 1e16.
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		format = 'e'
	}
	text := strconv.FormatFloat(f, format, -1, 64)
	mantissa, exponent, _ := strings.Cut(text, "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	dst = append(dst, mantissa...)
	if exponent != "" {
		dst = append(append(dst, 'e'), exponent...)
	}
	return dst, nil
}

const hexDigits = "0123456789abcdef"

// appendQuoted appends a JSON string. Bytes that are no UTF-8 stay as they are, as in the real program: what reads them may refuse them.
func appendQuoted(dst, s []byte) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// appendTime appends the time field of an inject section.
func (in *Inject) appendTime(dst []byte, t time.Time) []byte {
	switch in.TimeType {
	case "unixtime":
		return strconv.AppendInt(dst, t.Unix(), 10)
	case "unixtime_millis":
		return strconv.AppendInt(dst, t.UnixMilli(), 10)
	case "unixtime_micros":
		return strconv.AppendInt(dst, t.UnixMicro(), 10)
	case "unixtime_nanos":
		return strconv.AppendInt(dst, t.UnixNano(), 10)
	case "string":
		if in.UTC {
			t = t.UTC()
		}
		return append(in.TimeFormat.append(append(dst, '"'), t), '"')
	default:
		return strconv.AppendFloat(dst, float64(t.UnixMicro())/1e6, 'f', -1, 64)
	}
}
