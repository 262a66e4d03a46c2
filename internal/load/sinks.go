package load

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"strconv"
	"sync"
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

	free sync.Pool // of *kafkaRecord
}

var (
	_ Sink   = (*KafkaSink)(nil)
	_ Copier = (*KafkaSink)(nil)
)

// kafkaRecord is a record under way with its own bytes. The client does not look at a record after its promise, so it
// is used again then: at full rate allocating would cost more than producing.
type kafkaRecord struct {
	kgo.Record

	sink     *KafkaSink
	done     func(error)
	promise  func(*kgo.Record, error) // settle, bound once
	key, doc []byte
}

// CopiesLines says that the document is a copy.
func (k *KafkaSink) CopiesLines() {}

// Send produces one record; it blocks while the client's buffer is full, which is the system's doing.
func (k *KafkaSink) Send(ctx context.Context, r Record, done func(error)) {
	rec, ok := k.free.Get().(*kafkaRecord)
	if !ok {
		rec = &kafkaRecord{sink: k, key: []byte("stream-"), doc: make([]byte, 0, len(r.Line)+len(r.Line)/4+160)}
		rec.promise = rec.settle
	}
	rec.done = done
	rec.key = strconv.AppendUint(rec.key[:len("stream-")], uint64(r.Stream.ID), 10)
	doc := AppendDocument(rec.doc[:0], r.Line, k.Host, "")
	// Whoever looks at a range of time finds only what has one: what comes by way of Fluentd gets its time there.
	doc = append(doc[:len(doc)-1], `,"@timestamp":"`...)
	rec.doc = append(time.Now().UTC().AppendFormat(doc, "2006-01-02T15:04:05.000Z"), '"', '}')
	rec.Record = kgo.Record{Topic: r.Stream.Topic, Key: rec.key, Value: rec.doc}
	k.Client.Produce(ctx, &rec.Record, rec.promise)
}

func (r *kafkaRecord) settle(_ *kgo.Record, err error) {
	done := r.done
	r.done = nil
	r.sink.free.Put(r)
	done(err)
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

// appendJSONString goes through eight bytes at a time, because a line has few that need escaping.
func appendJSONString(dst, s []byte) []byte {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	dst = append(dst, '"')
	for len(s) >= 8 {
		w := binary.LittleEndian.Uint64(s)
		quote, slash := w^'"'*ones, w^'\\'*ones
		// The top bit of each byte that is less than 0x20, a quote or a backslash; a borrow can set it in bytes behind such a
		// one as well, so only the first counts.
		special := ((w-0x20*ones)&^w | (quote-ones)&^quote | (slash-ones)&^slash) & tops
		dst = binary.LittleEndian.AppendUint64(dst, w)
		if special == 0 {
			s = s[8:]
			continue
		}
		n := bits.TrailingZeros64(special) / 8
		dst = appendEscaped(dst[:len(dst)-8+n], s[n])
		s = s[n+1:]
	}
	for _, c := range s {
		dst = appendEscaped(dst, c)
	}
	return append(dst, '"')
}

func appendEscaped(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c < 0x20:
		return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	}
	return append(dst, c)
}
