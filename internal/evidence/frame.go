package evidence

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// A framed file is an 8-byte magic and frames: uvarint length of kind and payload, kind, payload, CRC-32C of all three.
var (
	magic      = [8]byte{'T', 'R', 'I', 'A', 'D', 'E', 'V', Schema}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// maxFrame bounds what a damaged length can make a reader allocate.
const maxFrame = 16 << 20

// frameFile appends frames. It is safe for concurrent use; a frame reaches the kernel in one write, so that kill -9
// tears at most the last one.
type frameFile struct {
	mu     sync.Mutex
	f      *os.File
	buf    []byte
	packed packer
	err    error
}

func createFrames(path string) (*frameFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("evidence file: %w", err)
	}
	if _, err := f.Write(magic[:]); err != nil {
		return nil, errors.Join(fmt.Errorf("evidence file: %w", err), f.Close())
	}
	return &frameFile{f: f}, nil
}

// frameFresh says that a writer began anew behind the end of one that was killed: the packed stream and the numbering of what is in the
// file begin again.
const frameFresh byte = 0x7e

// reopenFrames goes on with a file whose writer was killed. It is cut to keep bytes, which are whole frames.
func reopenFrames(path string, keep int64) (*frameFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("evidence file: %w", err)
	}
	if err := f.Truncate(keep); err != nil {
		return nil, errors.Join(fmt.Errorf("evidence file: %w", err), f.Close())
	}
	w := &frameFile{f: f}
	if err := w.append(frameFresh, nil); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// append writes one frame. After the first error every call returns it: a hole in the evidence must not be followed by
// more evidence.
func (w *frameFile) append(kind byte, payload []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.emitLocked(); err != nil { // the order of writing is the order of reading
		return err
	}
	return w.write(kind, payload)
}

// write writes one frame, for whoever holds the lock.
func (w *frameFile) write(kind byte, payload []byte) error {
	b := binary.AppendUvarint(w.buf[:0], uint64(len(payload)+1))
	b = append(b, kind)
	b = append(b, payload...)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	w.buf = b
	if _, err := w.f.Write(b); err != nil {
		w.err = writeError(w.f, err)
	}
	return w.err
}

// writeError names the file alone: it was opened before its directory had its name.
func writeError(f *os.File, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("evidence file %s: %w", filepath.Base(f.Name()), err)
}

// failed is the error after which nothing more was written.
func (w *frameFile) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *frameFile) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.emitLocked()
	return errors.Join(err, w.f.Sync(), w.f.Close())
}

// Damage is what a reader found wrong in one file.
type Damage struct {
	File string
	Torn bool // the tail is incomplete: what a killed writer leaves
	At   int64
	Msg  string
}

// String prints the damage with its place.
func (d Damage) String() string { return fmt.Sprintf("%s: at byte %d: %s", d.File, d.At, d.Msg) }

// readFrames calls fn for every whole frame. Damage is nil when the file is whole; after damage nothing is read,
// because the lengths behind it cannot be trusted. The payload is only valid during the call.
func readFrames(path, name string, fn func(kind byte, payload []byte) error) (*Damage, error) {
	return readFramesAt(path, name, fn, func(int64) {})
}

// readFramesAt calls whole behind each frame with the place of its end.
func readFramesAt(path, name string, fn func(kind byte, payload []byte) error, whole func(end int64)) (*Damage, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return scanFramesAt(f, name, fn, whole)
}

func scanFrames(r io.Reader, name string, fn func(kind byte, payload []byte) error) (*Damage, error) {
	return scanFramesAt(r, name, fn, func(int64) {})
}

func scanFramesAt(r io.Reader, name string, fn func(kind byte, payload []byte) error, whole func(end int64)) (*Damage, error) {
	br := bufio.NewReaderSize(r, 1<<20)
	var head [8]byte
	if n, err := io.ReadFull(br, head[:]); err != nil {
		return &Damage{name, true, int64(n), "the header is incomplete"}, nil
	}
	if v := head[len(head)-1]; !bytes.Equal(head[:len(head)-1], magic[:len(magic)-1]) || v < 1 || v > Schema {
		return &Damage{name, false, 0, "not an evidence file of a known version"}, nil
	}
	at := int64(len(head))
	var buf, lenBytes []byte
	var packed unpacker
	whole(at)
	for {
		size, lb, err := readLength(br, lenBytes[:0])
		lenBytes = lb
		if errors.Is(err, io.EOF) && len(lb) == 0 {
			return nil, nil
		}
		if errors.Is(err, io.EOF) {
			return &Damage{name, true, at, "the last frame is incomplete"}, nil
		}
		if err != nil || size == 0 || size > maxFrame {
			return &Damage{name, false, at, "a frame has an impossible length"}, nil
		}
		need := int(size) + 4
		if cap(buf) < need {
			buf = make([]byte, need)
		}
		buf = buf[:need]
		if _, err := io.ReadFull(br, buf); err != nil {
			return &Damage{name, true, at, "the last frame is incomplete"}, nil
		}
		sum := crc32.Update(crc32.Checksum(lenBytes, castagnoli), castagnoli, buf[:size])
		if sum != binary.LittleEndian.Uint32(buf[size:]) {
			return &Damage{name, false, at, "a frame's checksum is wrong"}, nil
		}
		switch buf[0] {
		case framePacked:
			err = packed.unpack(buf[1:size], fn)
		case frameFresh:
			packed = unpacker{}
			err = fn(frameFresh, nil)
		default:
			err = fn(buf[0], buf[1:size])
		}
		if err != nil {
			return &Damage{name, false, at, err.Error()}, nil
		}
		at += int64(len(lenBytes) + need)
		whole(at)
	}
}

func readLength(br *bufio.Reader, raw []byte) (uint64, []byte, error) {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		b, err := br.ReadByte()
		if err != nil {
			return 0, raw, err
		}
		raw = append(raw, b)
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, raw, nil
		}
	}
	return 0, raw, errors.New("length too long")
}

// uvarints decodes numbers from the front of a payload.
type uvarints struct {
	b   []byte
	bad bool
}

func (u *uvarints) next() uint64 {
	v, n := binary.Uvarint(u.b)
	if n <= 0 {
		u.bad, u.b = true, nil
		return 0
	}
	u.b = u.b[n:]
	return v
}

func (u *uvarints) text() string {
	n := u.next()
	if n > uint64(len(u.b)) {
		u.bad, u.b = true, nil
		return ""
	}
	s := string(u.b[:n])
	u.b = u.b[n:]
	return s
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

var errPayload = errors.New("a frame's payload is malformed")
