package prometheus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The log is a folder of numbered segments. A segment is a row of frames: length of the payload and its CRC-32C, both
// 32 bits little-endian, then the payload, whose first byte is the record type. One append is one write(2), so a killed process
// leaves at most one torn frame, at the end of the newest segment. The format is the model's own; which samples a segment holds
// and when it goes is the real program's.
const (
	frameHeader  = 8
	recordLimit  = 16 << 20
	recordSeries = 1
	recordValues = 2
	checkpoint   = "checkpoint."
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTornRecord says that a frame is not what its checksum says; whatever follows it in the segment cannot be found.
var errTornRecord = errors.New("corrupt record")

// refSeries binds a number to a label set for the rest of the log.
type refSeries struct {
	ref    uint64
	labels Labels
}

// refSample is one sample of a numbered series.
type refSample struct {
	ref   uint64
	t     int64 // milliseconds since the epoch
	value float64
}

// log is the writing side. It is safe for concurrent use.
type walog struct {
	dir     string
	limit   int64
	mu      sync.Mutex
	f       *os.File
	index   int
	size    int64
	closed  bool
	buf     []byte
	onWrite func()
}

// openLog repairs the log in dir (a torn end is cut, later segments are removed) and starts a new segment, as the real program
// does on every start. It reports how many segments had to be repaired.
func openLog(dir string, limit int64, each func(rec []byte) error) (*walog, int, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, 0, fmt.Errorf("log folder: %w", err)
	}
	cpDir, cpIndex, err := lastCheckpoint(dir)
	if err != nil {
		return nil, 0, err
	}
	corrupt := 0
	if cpDir != "" {
		if err := readAll(filepath.Join(cpDir, segmentName(0)), each); err != nil && !errors.Is(err, errTornRecord) && !errors.Is(err, os.ErrNotExist) {
			return nil, 0, err
		}
	}
	idx, err := listSegments(dir)
	if err != nil {
		return nil, 0, err
	}
	next := 0
	for i, n := range idx {
		next = n + 1
		if n <= cpIndex {
			continue
		}
		name := filepath.Join(dir, segmentName(n))
		good, err := replaySegment(name, each)
		if err == nil {
			continue
		}
		if !errors.Is(err, errTornRecord) {
			return nil, 0, err
		}
		corrupt++
		if err := os.Truncate(name, good); err != nil {
			return nil, 0, fmt.Errorf("log repair: %w", err)
		}
		for _, later := range idx[i+1:] {
			if err := os.Remove(filepath.Join(dir, segmentName(later))); err != nil {
				return nil, 0, fmt.Errorf("log repair: %w", err)
			}
		}
		break
	}
	next = max(next, cpIndex+1)
	w := &walog{dir: dir, limit: limit, index: next - 1}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w, corrupt, w.roll()
}

// replaySegment reads a whole segment and returns the offset behind its last good frame.
func replaySegment(name string, each func([]byte) error) (int64, error) {
	r, err := openSegment(name)
	if err != nil {
		return 0, err
	}
	defer r.close()
	for {
		rec, err := r.next()
		if errors.Is(err, io.EOF) {
			if r.partial() {
				return r.offset, errTornRecord
			}
			return r.offset, nil
		}
		if err != nil {
			return r.offset, err
		}
		if err := each(rec); err != nil {
			return r.offset, err
		}
	}
}

func readAll(name string, each func([]byte) error) error {
	_, err := replaySegment(name, each)
	return err
}

// roll starts the next segment. The caller holds mu.
func (w *walog) roll() error {
	f, err := os.OpenFile(filepath.Join(w.dir, segmentName(w.index+1)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("log segment: %w", err)
	}
	if w.f != nil {
		w.f.Close()
	}
	w.f, w.size = f, 0
	w.index++
	return nil
}

// nextSegment starts a new segment, so that a log with little traffic does not keep more than it must.
func (w *walog) nextSegment() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.roll()
}

// append writes records with one write call.
func (w *walog) append(recs ...[]byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return os.ErrClosed
	}
	w.buf = w.buf[:0]
	for _, r := range recs {
		w.buf = appendFrame(w.buf, r)
	}
	if w.size > 0 && w.size+int64(len(w.buf)) > w.limit {
		if err := w.roll(); err != nil {
			return err
		}
	}
	n, err := w.f.Write(w.buf)
	w.size += int64(n)
	if err != nil {
		return fmt.Errorf("log write: %w", err)
	}
	if w.onWrite != nil {
		w.onWrite()
	}
	return nil
}

func (w *walog) current() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.index
}

func (w *walog) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.f != nil {
		w.f.Close()
	}
}

func appendFrame(b, rec []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(rec)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(rec, castagnoli))
	return append(b, rec...)
}

// segmentReader reads frames of a segment that may still be written.
type segmentReader struct {
	f      *os.File
	offset int64 // behind the last frame returned
	buf    []byte
	size   int64 // of the file when EOF was returned
}

func openSegment(name string) (*segmentReader, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &segmentReader{f: f}, nil
}

func (r *segmentReader) close() { r.f.Close() }

// partial reports whether bytes of an unfinished frame follow the last one.
func (r *segmentReader) partial() bool { return r.size > r.offset }

// next returns the payload of the next frame, valid until the following call. io.EOF means that no whole frame is there yet;
// calling again after a write goes on.
func (r *segmentReader) next() ([]byte, error) {
	var head [frameHeader]byte
	n, err := r.f.ReadAt(head[:], r.offset)
	if n < frameHeader {
		return nil, r.eof(err, n)
	}
	length := binary.LittleEndian.Uint32(head[:])
	if length == 0 || length > recordLimit {
		return nil, errTornRecord
	}
	if cap(r.buf) < int(length) {
		// A length that the file cannot hold must not cost its memory.
		if st, err := r.f.Stat(); err == nil && st.Size() < r.offset+frameHeader+int64(length) {
			r.size = st.Size()
			return nil, io.EOF
		}
		r.buf = make([]byte, length)
	}
	r.buf = r.buf[:length]
	n, err = r.f.ReadAt(r.buf, r.offset+frameHeader)
	if n < int(length) {
		return nil, r.eof(err, frameHeader+n)
	}
	if crc32.Checksum(r.buf, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, errTornRecord
	}
	r.offset += frameHeader + int64(length)
	return r.buf, nil
}

func (r *segmentReader) eof(err error, n int) error {
	r.size = r.offset + int64(n)
	if err == nil || errors.Is(err, io.EOF) {
		return io.EOF
	}
	return fmt.Errorf("log read: %w", err)
}

func segmentName(n int) string { return fmt.Sprintf("%08d", n) }

func listSegments(dir string) ([]int, error) {
	ents, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("log folder: %w", err)
	}
	var out []int
	for _, e := range ents {
		if n, err := strconv.Atoi(e.Name()); err == nil && !e.IsDir() {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// lastCheckpoint returns the newest checkpoint folder and the last segment it replaces, or "" and -1.
func lastCheckpoint(dir string) (string, int, error) {
	ents, err := os.ReadDir(dir)
	if err != nil {
		return "", -1, fmt.Errorf("log folder: %w", err)
	}
	best, name := -1, ""
	for _, e := range ents {
		if s, ok := strings.CutPrefix(e.Name(), checkpoint); ok && e.IsDir() {
			if n, err := strconv.Atoi(s); err == nil && n > best {
				best, name = n, filepath.Join(dir, e.Name())
			}
		}
	}
	return name, best, nil
}

// cut is the real program's rule for what a truncation removes (tsdb/agent/db.go, DB.truncate): of the complete segments the
// lower two thirds, never the newest complete one and never the one being written, whatever the age of their samples; nothing
// while there is only one to remove. first is the oldest segment and last the one being written before the truncation started a
// new one. Measured on 3.16 with a truncation every 10 s: segments 0 and 1 went at 40 s, 2 and 3 at 60 s, 4 and 5 at 80 s.
func cut(first, last int) (upTo int, any bool) {
	last--
	if last < 0 {
		return 0, false
	}
	upTo = first + (last-first)*2/3
	return upTo, upTo > first
}

// writeCheckpoint replaces all segments up to n by a checkpoint that holds the series that keep says are alive. The real checkpoint
// holds samples too, but the part that sends never reads them (tsdb/wlog/watcher.go reads series only unless it tails).
func writeCheckpoint(dir string, n int, series []refSeries) error {
	name := filepath.Join(dir, checkpoint+segmentName(n))
	tmp := name + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("log checkpoint: %w", err)
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return fmt.Errorf("log checkpoint: %w", err)
	}
	var b []byte
	for len(series) > 0 {
		part := series[:min(1000, len(series))]
		series = series[len(part):]
		b = appendFrame(b, encodeSeries(nil, part))
	}
	if err := os.WriteFile(filepath.Join(tmp, segmentName(0)), b, 0o644); err != nil {
		return fmt.Errorf("log checkpoint: %w", err)
	}
	if err := os.Rename(tmp, name); err != nil {
		return fmt.Errorf("log checkpoint: %w", err)
	}
	idx, err := listSegments(dir)
	if err != nil {
		return err
	}
	for _, i := range idx {
		if i <= n {
			if err := os.Remove(filepath.Join(dir, segmentName(i))); err != nil {
				return fmt.Errorf("log checkpoint: %w", err)
			}
		}
	}
	ents, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("log checkpoint: %w", err)
	}
	for _, e := range ents {
		if strings.HasPrefix(e.Name(), checkpoint) && e.Name() != filepath.Base(name) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("log checkpoint: %w", err)
			}
		}
	}
	return nil
}

func encodeSeries(b []byte, series []refSeries) []byte {
	b = append(b, recordSeries)
	b = binary.AppendUvarint(b, uint64(len(series)))
	for _, s := range series {
		b = binary.AppendUvarint(b, s.ref)
		b = binary.AppendUvarint(b, uint64(len(s.labels)))
		for _, l := range s.labels {
			b = appendString(appendString(b, l.Name), l.Value)
		}
	}
	return b
}

func encodeSamples(b []byte, samples []refSample) []byte {
	b = append(b, recordValues)
	b = binary.AppendUvarint(b, uint64(len(samples)))
	var base int64
	for _, s := range samples {
		b = binary.AppendUvarint(b, s.ref)
		b = binary.AppendVarint(b, s.t-base)
		base = s.t
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(s.value))
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeRecord reads one payload: series or samples, never both. A record of an unknown type is errTornRecord.
func decodeRecord(rec []byte) ([]refSeries, []refSample, error) {
	if len(rec) == 0 {
		return nil, nil, errTornRecord
	}
	d := decoder{b: rec[1:]}
	n := d.uvarint()
	switch rec[0] {
	case recordSeries:
		if n > uint64(len(d.b)) {
			return nil, nil, errTornRecord
		}
		out := make([]refSeries, 0, n)
		for range n {
			s := refSeries{ref: d.uvarint()}
			labels := d.uvarint()
			if labels > uint64(len(d.b)) {
				return nil, nil, errTornRecord
			}
			s.labels = make(Labels, 0, labels)
			for range labels {
				s.labels = append(s.labels, Label{d.text(), d.text()})
			}
			out = append(out, s)
		}
		if d.bad || len(d.b) > 0 {
			return nil, nil, errTornRecord
		}
		return out, nil, nil
	case recordValues:
		if n > uint64(len(d.b)) {
			return nil, nil, errTornRecord
		}
		out := make([]refSample, 0, n)
		var base int64
		for range n {
			s := refSample{ref: d.uvarint()}
			base += d.varint()
			s.t, s.value = base, d.float()
			out = append(out, s)
		}
		if d.bad || len(d.b) > 0 {
			return nil, nil, errTornRecord
		}
		return nil, out, nil
	}
	return nil, nil, errTornRecord
}

// decoder takes fields off a buffer; after the first short one all are zero and bad is set.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) float() float64 {
	if len(d.b) < 8 {
		d.bad, d.b = true, nil
		return 0
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(d.b))
	d.b = d.b[8:]
	return v
}

func (d *decoder) text() string {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}
