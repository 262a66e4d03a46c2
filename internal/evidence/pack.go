package evidence

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"io"
)

// framePacked is a frame of any file: its payload is the uvarint length of what it unpacks to, and the next piece of
// the file's one deflate stream. Unpacked it is messages: uvarint length of kind and payload, kind, payload. The stream
// goes on from frame to frame, so that a name or a value that was written before costs next to nothing; each piece ends
// on a flush, so that a reader has all of it before the next one is there, and a checksum of its own finds it damaged.
const framePacked byte = 0x7f

// packLimit is how much may wait to be packed; what is more is written at once.
const packLimit = 256 << 10

// packer is the writing side of a file's stream. It is made when it is first needed, because it takes about 800 KB.
type packer struct {
	raw   []byte
	out   bytes.Buffer
	flate *flate.Writer
}

// pack appends one message to what the next emit writes.
func (w *frameFile) pack(kind byte, payload []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.packed.raw = binary.AppendUvarint(w.packed.raw, uint64(len(payload)+1))
	w.packed.raw = append(append(w.packed.raw, kind), payload...)
	if len(w.packed.raw) >= packLimit {
		return w.emitLocked()
	}
	return nil
}

// emit writes what was packed since the last time, in one frame.
func (w *frameFile) emit() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.emitLocked()
}

func (w *frameFile) emitLocked() error {
	p := &w.packed
	if w.err != nil || len(p.raw) == 0 {
		return w.err
	}
	p.out.Reset()
	p.out.Write(binary.AppendUvarint(nil, uint64(len(p.raw))))
	if p.flate == nil {
		p.flate, w.err = flate.NewWriter(&p.out, flate.DefaultCompression)
		if w.err != nil {
			return w.err
		}
	}
	_, err := p.flate.Write(p.raw)
	if w.err = errors.Join(err, p.flate.Flush()); w.err != nil {
		return w.err
	}
	p.raw = p.raw[:0]
	return w.write(framePacked, p.out.Bytes())
}

// unpacker is the reading side.
type unpacker struct {
	piece bytes.Reader // what is left of the present frame, and at most the end of the one before
	flate io.ReadCloser
	buf   []byte
}

// unpack calls fn for every message of one packed frame.
func (u *unpacker) unpack(payload []byte, fn func(kind byte, payload []byte) error) error {
	size, n := binary.Uvarint(payload)
	if n <= 0 || size == 0 || size > maxFrame {
		return errPayload
	}
	if left := u.piece.Len(); left > 0 {
		// The frame before ended where the decoder's window of 32 KiB was full: it gave its last byte before it read the end of
		// its piece, which it still needs.
		piece := make([]byte, left, left+len(payload)-n)
		_, _ = u.piece.Read(piece) // a bytes.Reader gives what it has
		u.piece.Reset(append(piece, payload[n:]...))
	} else {
		u.piece.Reset(payload[n:])
	}
	if u.flate == nil {
		u.flate = flate.NewReader(&u.piece)
	}
	if uint64(cap(u.buf)) < size {
		u.buf = make([]byte, size)
	}
	b := u.buf[:size]
	if _, err := io.ReadFull(u.flate, b); err != nil {
		return errPayload
	}
	if left := u.piece.Len(); left > 0 { // the caller's memory is its own again behind this call
		rest := make([]byte, left)
		_, _ = u.piece.Read(rest)
		u.piece.Reset(rest)
	}
	for len(b) > 0 {
		size, n := binary.Uvarint(b)
		if n <= 0 || size == 0 || size > uint64(len(b)-n) {
			return errPayload
		}
		b = b[n:]
		if b[0] == framePacked {
			return errPayload
		}
		if err := fn(b[0], b[1:size]); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}
