package esfake

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// kind says what stands at a place of a JSON document.
type kind byte

const (
	kindString kind = 's'
	kindNumber kind = 'n'
	kindTrue   kind = 't'
	kindFalse  kind = 'f'
	kindNull   kind = '0'
	kindObject kind = '{'
)

// maxDepth bounds recursion; Elasticsearch refuses mappings deeper than 20 (index.mapping.depth.limit), and documents
// below an unmapped object may go deeper.
const maxDepth = 100

var (
	errNotObject = errors.New("document is not a JSON object")
	errDepth     = errors.New("document is nested too deeply")
	errUTF8      = errors.New("invalid UTF-8 in document")
)

// visit is called for every value of a document. path is the dotted path ("a.b"), valid during the call; the elements
// of an array carry the path of the array. For a string, start and end enclose the bytes between the quotes and escaped
// says whether they hold a backslash; for an object they enclose nothing and the call precedes those of its members.
type visit func(path []byte, k kind, start, end int, escaped bool) error

// walk checks that data is one JSON object and calls fn for each value in it. It allocates nothing but the path.
func walk(data []byte, fn visit) error {
	var buf [128]byte
	w := walker{data: data, path: buf[:0], fn: fn}
	w.space()
	if w.pos >= len(data) || data[w.pos] != '{' {
		return errNotObject
	}
	if err := w.object(); err != nil {
		return err
	}
	w.space()
	if w.pos != len(data) {
		return w.unexpected("end of document")
	}
	if !utf8.Valid(data) {
		return errUTF8
	}
	return nil
}

// members calls fn with the name and the bytes of each member of an object that walk has accepted.
func members(data []byte, fn func(name, raw []byte)) {
	w := walker{data: data, fn: func([]byte, kind, int, int, bool) error { return nil }}
	w.space()
	for w.pos++; w.pos < len(data); w.pos++ { // past the opening brace or a comma
		w.space()
		if w.pos >= len(data) || data[w.pos] != '"' {
			return
		}
		start, end, escaped, err := w.str()
		if err != nil {
			return
		}
		name := data[start:end]
		if escaped {
			name = unescape(nil, name)
		}
		w.space()
		w.pos++ // the colon
		w.space()
		from := w.pos
		if w.value() != nil {
			return
		}
		fn(name, data[from:w.pos])
		w.space()
	}
}

type walker struct {
	data  []byte
	pos   int
	depth int
	path  []byte
	fn    visit
}

func (w *walker) unexpected(want string) error {
	if w.pos >= len(w.data) {
		return fmt.Errorf("unexpected end of input, expected %s", want)
	}
	return fmt.Errorf("unexpected character (%q) at byte %d, expected %s", w.data[w.pos], w.pos, want)
}

func (w *walker) space() {
	for w.pos < len(w.data) {
		switch w.data[w.pos] {
		case ' ', '\t', '\n', '\r':
			w.pos++
		default:
			return
		}
	}
}

func (w *walker) object() error {
	if w.depth++; w.depth > maxDepth {
		return errDepth
	}
	w.pos++ // the opening brace
	w.space()
	if w.pos < len(w.data) && w.data[w.pos] == '}' {
		w.pos++
		w.depth--
		return nil
	}
	base := len(w.path)
	for {
		w.space()
		if w.pos >= len(w.data) || w.data[w.pos] != '"' {
			return w.unexpected("a field name")
		}
		start, end, escaped, err := w.str()
		if err != nil {
			return err
		}
		if base > 0 {
			w.path = append(w.path, '.')
		}
		if escaped {
			w.path = unescape(w.path, w.data[start:end])
		} else {
			w.path = append(w.path, w.data[start:end]...)
		}
		w.space()
		if w.pos >= len(w.data) || w.data[w.pos] != ':' {
			return w.unexpected("a colon")
		}
		w.pos++
		if err := w.value(); err != nil {
			return err
		}
		w.path = w.path[:base]
		w.space()
		if w.pos >= len(w.data) {
			return w.unexpected("a comma or a closing brace")
		}
		switch w.data[w.pos] {
		case ',':
			w.pos++
		case '}':
			w.pos++
			w.depth--
			return nil
		default:
			return w.unexpected("a comma or a closing brace")
		}
	}
}

func (w *walker) array() error {
	if w.depth++; w.depth > maxDepth {
		return errDepth
	}
	w.pos++
	w.space()
	if w.pos < len(w.data) && w.data[w.pos] == ']' {
		w.pos++
		w.depth--
		return nil
	}
	for {
		if err := w.value(); err != nil {
			return err
		}
		w.space()
		if w.pos >= len(w.data) {
			return w.unexpected("a comma or a closing bracket")
		}
		switch w.data[w.pos] {
		case ',':
			w.pos++
		case ']':
			w.pos++
			w.depth--
			return nil
		default:
			return w.unexpected("a comma or a closing bracket")
		}
	}
}

func (w *walker) value() error {
	w.space()
	if w.pos >= len(w.data) {
		return w.unexpected("a value")
	}
	switch c := w.data[w.pos]; {
	case c == '"':
		start, end, escaped, err := w.str()
		if err != nil {
			return err
		}
		return w.fn(w.path, kindString, start, end, escaped)
	case c == '{':
		if err := w.fn(w.path, kindObject, w.pos, w.pos, false); err != nil {
			return err
		}
		return w.object()
	case c == '[':
		return w.array()
	case c == 't':
		return w.literal("true", kindTrue)
	case c == 'f':
		return w.literal("false", kindFalse)
	case c == 'n':
		return w.literal("null", kindNull)
	case c == '-' || c >= '0' && c <= '9':
		return w.number()
	}
	return w.unexpected("a value")
}

func (w *walker) literal(word string, k kind) error {
	if len(w.data)-w.pos < len(word) || string(w.data[w.pos:w.pos+len(word)]) != word {
		return w.unexpected(word)
	}
	start := w.pos
	w.pos += len(word)
	return w.fn(w.path, k, start, w.pos, false)
}

func (w *walker) digits() bool {
	start := w.pos
	for w.pos < len(w.data) && w.data[w.pos] >= '0' && w.data[w.pos] <= '9' {
		w.pos++
	}
	return w.pos > start
}

func (w *walker) number() error {
	start := w.pos
	if w.data[w.pos] == '-' {
		w.pos++
	}
	first := w.pos
	if !w.digits() || w.data[first] == '0' && w.pos > first+1 {
		return w.unexpected("a number")
	}
	if w.pos < len(w.data) && w.data[w.pos] == '.' {
		w.pos++
		if !w.digits() {
			return w.unexpected("a digit")
		}
	}
	if w.pos < len(w.data) && (w.data[w.pos] == 'e' || w.data[w.pos] == 'E') {
		w.pos++
		if w.pos < len(w.data) && (w.data[w.pos] == '+' || w.data[w.pos] == '-') {
			w.pos++
		}
		if !w.digits() {
			return w.unexpected("a digit")
		}
	}
	return w.fn(w.path, kindNumber, start, w.pos, false)
}

// str reads the string that starts at pos and returns the bounds between its quotes.
func (w *walker) str() (start, end int, escaped bool, err error) {
	w.pos++
	start = w.pos
	for w.pos < len(w.data) {
		switch c := w.data[w.pos]; {
		case c == '"':
			end = w.pos
			w.pos++
			return start, end, escaped, nil
		case c == '\\':
			escaped = true
			if w.pos+1 >= len(w.data) {
				return 0, 0, false, w.unexpected("an escape")
			}
			switch w.data[w.pos+1] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				w.pos += 2
			case 'u':
				if _, ok := hex4(w.data[w.pos+2:]); !ok {
					return 0, 0, false, w.unexpected("four hexadecimal digits after \\u")
				}
				w.pos += 6
			default:
				return 0, 0, false, w.unexpected("an escape")
			}
		case c < 0x20:
			return 0, 0, false, w.unexpected("no control character inside a string")
		default:
			w.pos++
		}
	}
	return 0, 0, false, w.unexpected("a closing quote")
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// unescape appends the text of the JSON string body raw, which walk has accepted, to dst.
func unescape(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		switch e := raw[i+1]; e {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(raw[i+2:])
			i += 6
			if utf16.IsSurrogate(r) {
				if i+6 <= len(raw) && raw[i] == '\\' && raw[i+1] == 'u' {
					low, _ := hex4(raw[i+2:])
					if d := utf16.DecodeRune(r, low); d != unicode.ReplacementChar {
						dst = utf8.AppendRune(dst, d)
						i += 6
						continue
					}
				}
				r = unicode.ReplacementChar
			}
			dst = utf8.AppendRune(dst, r)
			continue
		default:
			dst = append(dst, e)
		}
		i += 2
	}
	return dst
}
