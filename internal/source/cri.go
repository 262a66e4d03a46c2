package source

import (
	"bytes"
	"errors"
	"time"
)

// CRIMaxLine is the number of bytes of a line that one line of a container log holds: 16 KiB, containerd's default of
// max_container_log_line_size.
const CRIMaxLine = 16 << 10

// ErrNotCRI means that a line is not of the form "<RFC 3339 time> <stdout|stderr> <P|F> <text>".
var ErrNotCRI = errors.New("not a container log line")

// AppendCRI appends line, which has no newline, as containerd writes it to a container's log file: time, stream, tag and
// text, with a newline. A line above CRIMaxLine becomes several, all but the last tagged P. containerd stamps each part
// when it writes it; here all parts carry t. Trailing zeros of the time's fraction are left out, as containerd does.
func AppendCRI(dst []byte, t time.Time, stdout bool, line []byte) []byte {
	for {
		part, tag := line, " F "
		if len(part) > CRIMaxLine {
			part, tag = line[:CRIMaxLine], " P "
		}
		dst = t.AppendFormat(dst, time.RFC3339Nano)
		if stdout {
			dst = append(dst, " stdout"...)
		} else {
			dst = append(dst, " stderr"...)
		}
		dst = append(dst, tag...)
		dst = append(dst, part...)
		dst = append(dst, '\n')
		if len(part) == len(line) {
			return dst
		}
		line = line[len(part):]
	}
}

// CRILine is one line of a container log file.
type CRILine struct {
	Time    time.Time
	Stdout  bool   // else stderr
	Partial bool   // the text goes on in the next line of the same stream
	Text    []byte // without newline
}

// ParseCRI splits one line of a container log file, without its newline. Text points into line. It returns ErrNotCRI for
// anything else, also for tags other than P and F, as Fluent Bit's cri parser does.
func ParseCRI(line []byte) (CRILine, error) {
	stamp, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok {
		return CRILine{}, ErrNotCRI
	}
	const prefix = len("stdout F ")
	if len(rest) < prefix || rest[6] != ' ' || rest[8] != ' ' || rest[7] != 'F' && rest[7] != 'P' {
		return CRILine{}, ErrNotCRI
	}
	l := CRILine{Partial: rest[7] == 'P', Text: rest[prefix:]}
	switch string(rest[:6]) {
	case "stdout":
		l.Stdout = true
	case "stderr":
	default:
		return CRILine{}, ErrNotCRI
	}
	if err := l.Time.UnmarshalText(stamp); err != nil {
		return CRILine{}, ErrNotCRI
	}
	return l, nil
}

// CRIJoiner puts the parts of long lines together again, each stream of its own. The zero value is ready. It sets no
// limit and keeps no time: its owner decides by Pending when to Flush, as collectors do after a timeout or at a limit.
// It is not safe for concurrent use.
type CRIJoiner struct {
	streams [2]struct {
		open bool
		time time.Time
		text []byte
	}
}

// Add takes the next line of the file. It returns the whole line and true when l ends one; its time is that of the first
// part. The text is valid until the next call: a line in one part is l itself, one in several is in the joiner's buffer.
func (j *CRIJoiner) Add(l CRILine) (CRILine, bool) {
	s := &j.streams[index(l.Stdout)]
	if !s.open && !l.Partial {
		return l, true
	}
	if !s.open {
		s.open, s.time, s.text = true, l.Time, s.text[:0]
	}
	s.text = append(s.text, l.Text...)
	if l.Partial {
		return CRILine{}, false
	}
	s.open = false
	return CRILine{Time: s.time, Stdout: l.Stdout, Text: s.text}, true
}

// Pending returns how many bytes of an unfinished line of a stream are held, and whether there is one.
func (j *CRIJoiner) Pending(stdout bool) (int, bool) {
	s := &j.streams[index(stdout)]
	if !s.open {
		return 0, false
	}
	return len(s.text), true
}

// Flush gives up waiting for the rest of a stream's line and returns what there is, marked Partial; false when there is
// none. The text is valid until the next call.
func (j *CRIJoiner) Flush(stdout bool) (CRILine, bool) {
	s := &j.streams[index(stdout)]
	if !s.open {
		return CRILine{}, false
	}
	s.open = false
	return CRILine{Time: s.time, Stdout: stdout, Partial: true, Text: s.text}, true
}

func index(stdout bool) int {
	if stdout {
		return 0
	}
	return 1
}
