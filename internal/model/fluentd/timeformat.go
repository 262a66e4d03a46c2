package fluentd

import (
	"fmt"
	"strings"
	"time"
)

// timeFormat is a format of strftime, in the subset that logs use.
type timeFormat struct {
	steps []func(dst []byte, t time.Time) []byte
}

func (f timeFormat) append(dst []byte, t time.Time) []byte {
	for _, s := range f.steps {
		dst = s(dst, t)
	}
	return dst
}

// layouts of the directives that are those of package time.
var layouts = map[byte]string{
	'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'y': "06", 'b': "Jan", 'B': "January",
	'a': "Mon", 'A': "Monday", 'e': "_2", 'I': "03", 'p': "PM", 'z': "-0700", 'Z': "MST", 'F': "2006-01-02", 'T': "15:04:05", 'D': "01/02/06",
}

// parseTimeFormat compiles a format. %L has 3 digits, %N has 9, %3N and %6N as they say; %:z has a colon.
func parseTimeFormat(text string) (timeFormat, error) {
	var f timeFormat
	literal := func(s string) {
		f.steps = append(f.steps, func(dst []byte, _ time.Time) []byte { return append(dst, s...) })
	}
	for {
		i := strings.IndexByte(text, '%')
		if i < 0 || i+1 == len(text) {
			literal(text)
			return f, nil
		}
		literal(text[:i])
		c, rest := text[i+1], text[i+2:]
		digits := 9
		if c >= '1' && c <= '9' && strings.HasPrefix(rest, "N") {
			digits, c, rest = int(c-'0'), 'N', rest[1:]
		}
		switch {
		case c == '%':
			literal("%")
		case c == 'N' || c == 'L':
			if c == 'L' {
				digits = 3
			}
			f.steps = append(f.steps, func(dst []byte, t time.Time) []byte {
				return append(dst, fmt.Sprintf("%09d", t.Nanosecond())[:digits]...)
			})
		case c == ':' && strings.HasPrefix(rest, "z"):
			rest = rest[1:]
			f.steps = append(f.steps, func(dst []byte, t time.Time) []byte { return t.AppendFormat(dst, "-07:00") })
		case layouts[c] != "":
			layout := layouts[c]
			f.steps = append(f.steps, func(dst []byte, t time.Time) []byte { return t.AppendFormat(dst, layout) })
		default:
			return timeFormat{}, fmt.Errorf("time format %%%c is not modelled", c)
		}
		text = rest
	}
}

// defaultTimeFormat is ISO 8601, which Fluentd takes when none is given.
func defaultTimeFormat() timeFormat {
	f, err := parseTimeFormat("%Y-%m-%dT%H:%M:%S%:z")
	if err != nil {
		panic(err) // the format is a constant
	}
	return f
}
