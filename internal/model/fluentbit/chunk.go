package fluentbit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"triad/internal/model/forward"
)

// chunkMax is the size from which a chunk takes no more records: FLB_INPUT_CHUNK_FS_MAX_SIZE.
const chunkMax = 2048000

// Layout of a chunk file, after that of the real program: two magic bytes, room for a checksum and lengths up to byte 22,
// the length of the tag in two bytes, the tag, the records.
const chunkHead = 24

var chunkMagic = [2]byte{0xc1, 0x00}

// chunk holds records of one tag, in a file or in memory.
type chunk struct {
	in      *input
	out     *output
	tag     string
	path    string // empty in memory
	f       *os.File
	head    int64 // bytes before the records
	mem     []byte
	size    int64 // bytes of records
	records int

	busy    bool // belongs to the output, takes no more records
	sending bool // is being sent now, so it cannot be evicted
	waiting bool // for a retry, and not in memory meanwhile
	gone    chan struct{}
}

// page is what files of chunks grow by: the real program maps them.
const page = 4096

// end is where the records end in the file.
func (c *chunk) end() int64 { return c.head + c.size }

// total is what counts against limits: the bytes of the file, which has whole pages.
func (c *chunk) total() int64 {
	if c.f == nil {
		return c.end()
	}
	return (c.end() + page - 1) / page * page
}

func newFileChunk(dir, name, tag string) (*chunk, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("new chunk: %w", err)
	}
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("new chunk: %w", err)
	}
	head := make([]byte, chunkHead, chunkHead+len(tag))
	copy(head, chunkMagic[:])
	binary.BigEndian.PutUint16(head[chunkHead-2:], uint16(len(tag)))
	head = append(head, tag...)
	if _, err := f.Write(head); err != nil {
		f.Close()
		return nil, errors.Join(fmt.Errorf("new chunk: %w", err), os.Remove(path))
	}
	return &chunk{tag: tag, path: path, f: f, head: int64(len(head)), gone: make(chan struct{})}, nil
}

// openChunk takes up a chunk of an earlier process. What a cut of the file left half at its end is cut off.
func openChunk(path string) (*chunk, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	c := &chunk{path: path, f: f, gone: make(chan struct{})}
	if err := c.load(); err != nil {
		f.Close()
		return nil, fmt.Errorf("chunk %s: %w", path, err)
	}
	return c, nil
}

func (c *chunk) load() error {
	b, err := io.ReadAll(io.LimitReader(c.f, 1<<30))
	if err != nil {
		return err
	}
	if len(b) < chunkHead || [2]byte(b) != chunkMagic {
		return errors.New("bad layout")
	}
	n := int(binary.BigEndian.Uint16(b[chunkHead-2:]))
	if len(b) < chunkHead+n {
		return errors.New("cut off in its tag")
	}
	c.tag, c.head = string(b[chunkHead:chunkHead+n]), int64(chunkHead+n)
	at, err := forward.Entries(b[c.head:], func(forward.Entry) error { c.records++; return nil })
	if err != nil && !errors.Is(err, forward.ErrShort) {
		return err
	}
	c.size = int64(at)
	if c.end() < int64(len(b)) {
		return c.f.Truncate(c.end())
	}
	return nil
}

// append adds records with one write(2).
func (c *chunk) append(b []byte, n int) error {
	if c.f == nil {
		c.mem = append(c.mem, b...)
	} else if _, err := c.f.WriteAt(b, c.end()); err != nil {
		return errors.Join(fmt.Errorf("write chunk: %w", err), c.f.Truncate(c.end()))
	}
	c.size += int64(len(b))
	c.records += n
	return nil
}

func (c *chunk) read() ([]byte, error) {
	if c.f == nil {
		return c.mem, nil
	}
	b := make([]byte, c.size)
	if _, err := c.f.ReadAt(b, c.head); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read chunk: %w", err)
	}
	return b, nil
}

func (c *chunk) close() {
	if c.f != nil {
		c.f.Close()
	}
}

func (c *chunk) remove() error {
	if c.f == nil {
		c.mem = nil
		return nil
	}
	c.close()
	return os.Remove(c.path)
}
