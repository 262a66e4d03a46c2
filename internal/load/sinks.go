package load

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

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
func (f *FileSink) Send(_ context.Context, r Record, done func(error)) {
	if f.CRI {
		f.buf = source.AppendCRI(f.buf[:0], f.Start.Add(r.Scheduled).UTC(), true, r.Line)
	} else {
		f.buf = append(append(f.buf[:0], r.Line...), '\n')
	}
	n, err := f.W.Write(f.buf)
	if err == nil && n < len(f.buf) {
		err = io.ErrShortWrite
	}
	done(err)
}

// Close closes the file when it can be closed.
func (f *FileSink) Close(context.Context) error {
	if c, ok := f.W.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// KafkaSink produces directly, for sources that enter at the broker. Records are keyed by stream.
type KafkaSink struct {
	Client *kgo.Client
	Host   string // value of the field host
}

var _ Sink = (*KafkaSink)(nil)

// Send produces one record; it blocks while the client's buffer is full, which is the system's doing.
func (k *KafkaSink) Send(ctx context.Context, r Record, done func(error)) {
	key := strconv.AppendUint([]byte("stream-"), uint64(r.Stream.ID), 10)
	rec := &kgo.Record{Topic: r.Stream.Topic, Key: key, Value: AppendDocument(make([]byte, 0, len(r.Line)+96), r.Line, k.Host, "")}
	k.Client.Produce(ctx, rec, func(_ *kgo.Record, err error) { done(err) })
}

// Close flushes and closes the client.
func (k *KafkaSink) Close(ctx context.Context) error {
	err := k.Client.Flush(ctx)
	k.Client.CloseAllowingRebalance()
	if err != nil {
		return fmt.Errorf("kafka flush: %w", err)
	}
	return nil
}

// AppendDocument appends the JSON form in which a line travels: its field log is the line, unchanged.
func AppendDocument(dst, line []byte, host, file string) []byte {
	dst = append(dst, `{"log":`...)
	dst = appendJSONString(dst, line)
	if host != "" {
		dst = append(dst, `,"host":`...)
		dst = appendJSONString(dst, []byte(host))
	}
	if file != "" {
		dst = append(dst, `,"file":`...)
		dst = appendJSONString(dst, []byte(file))
	}
	return append(dst, '}')
}

func appendJSONString(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
