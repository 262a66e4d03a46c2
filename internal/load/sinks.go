package load

import (
	"context"
	"io"
	"time"

	"triad/internal/source"
)

// FileSink writes lines to a log file as a service or daemon does: one write(2) for each record, whose return is the
// acknowledgement. With CRI set, lines are framed as the container runtime frames what a container writes to stdout.
type FileSink struct {
	W     io.Writer
	CRI   bool
	Start time.Time
	buf   []byte
}

var _ Sink = (*FileSink)(nil)

// Send writes one line.
func (f *FileSink) Send(_ context.Context, r Record, o Outcome) {
	if f.CRI {
		f.buf = source.AppendCRI(f.buf[:0], f.Start.Add(r.Scheduled).UTC(), true, r.Line)
	} else {
		f.buf = append(append(f.buf[:0], r.Line...), '\n')
	}
	n, err := f.W.Write(f.buf)
	if err == nil && n < len(f.buf) {
		err = io.ErrShortWrite
	}
	o.Done(err)
}

// Close closes the file when it can be closed.
func (f *FileSink) Close(context.Context) error {
	if c, ok := f.W.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// AppendDocument appends the JSON form in which a line travels: its field log is the line, unchanged.
func AppendDocument(dst, line []byte, host, file string) []byte {
	dst = append(dst, `{"log":"`...)
	dst = source.AppendEscaped(dst, line)
	if host != "" {
		dst = append(dst, `","host":"`...)
		dst = source.AppendEscaped(dst, []byte(host))
	}
	if file != "" {
		dst = append(dst, `","file":"`...)
		dst = source.AppendEscaped(dst, []byte(file))
	}
	return append(dst, `"}`...)
}
