package fluentd

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"triad/internal/model/forward"
)

// chunk is one piece of a buffer. In a file buffer it is a file of entries and a file of metadata beside it, named as
// Fluentd names them: b<id> while it is staged, q<id> once it is queued.
type chunk struct {
	id       string // hex
	tag      string // when the buffer is split by tag
	size     int64
	records  int
	created  time.Time
	modified time.Time

	path string // of the entries; empty in memory
	data *os.File
	meta *os.File
	mem  []byte
}

// metaHeader stands before the metadata in its file.
var metaHeader = [2]byte{0xc1, 0x00}

type chunkMeta struct {
	Timekey   *int64         `msgpack:"timekey"`
	Tag       *string        `msgpack:"tag"`
	Variables map[string]any `msgpack:"variables"`
	Seq       int            `msgpack:"seq"`
	ID        []byte         `msgpack:"id"`
	Records   int            `msgpack:"s"`
	Created   float64        `msgpack:"c"`
	Modified  float64        `msgpack:"m"`
}

func newFileChunk(pattern, id, tag string, now time.Time) (*chunk, error) {
	c := &chunk{id: id, tag: tag, created: now, modified: now, path: strings.Replace(pattern, "*", "b"+id, 1)}
	var err error
	if c.data, err = os.OpenFile(c.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		return nil, fmt.Errorf("new chunk: %w", err)
	}
	if c.meta, err = os.OpenFile(c.path+".meta", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		c.data.Close()
		os.Remove(c.path)
		return nil, fmt.Errorf("new chunk: %w", err)
	}
	return c, c.writeMeta()
}

// append adds entries with one write(2), so that a kill leaves all of them or none.
func (c *chunk) append(b []byte, n int, now time.Time) error {
	if c.data == nil {
		c.mem = append(c.mem, b...)
	} else if _, err := c.data.WriteAt(b, c.size); err != nil {
		return errors.Join(fmt.Errorf("write chunk: %w", err), c.data.Truncate(c.size))
	}
	c.size += int64(len(b))
	c.records += n
	c.modified = now
	return c.writeMeta()
}

func (c *chunk) writeMeta() error {
	if c.meta == nil {
		return nil
	}
	id, err := hex.DecodeString(c.id)
	if err != nil {
		return err
	}
	m := chunkMeta{ID: id, Records: c.records, Created: float64(c.created.Unix()), Modified: float64(c.modified.Unix())}
	if c.tag != "" {
		m.Tag = &c.tag
	}
	body, err := msgpack.Marshal(&m)
	if err != nil {
		return fmt.Errorf("chunk metadata: %w", err)
	}
	b := binary.BigEndian.AppendUint32(metaHeader[:], uint32(len(body)))
	if _, err := c.meta.WriteAt(append(b, body...), 0); err != nil {
		return fmt.Errorf("chunk metadata: %w", err)
	}
	return nil
}

// enqueue renames the files from staged to queued.
func (c *chunk) enqueue() error {
	if c.data == nil {
		return nil
	}
	to := strings.Replace(c.path, ".b"+c.id+".", ".q"+c.id+".", 1)
	if err := os.Rename(c.path, to); err != nil {
		return fmt.Errorf("enqueue chunk: %w", err)
	}
	if err := os.Rename(c.path+".meta", to+".meta"); err != nil {
		return fmt.Errorf("enqueue chunk: %w", err)
	}
	c.path = to
	return nil
}

func (c *chunk) read() ([]byte, error) {
	if c.data == nil {
		return c.mem, nil
	}
	b := make([]byte, c.size)
	if _, err := c.data.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read chunk: %w", err)
	}
	return b, nil
}

// close lets go of the files and leaves them.
func (c *chunk) close() {
	if c.data != nil {
		c.data.Close()
	}
	if c.meta != nil {
		c.meta.Close()
	}
}

// purge removes the chunk for good.
func (c *chunk) purge() error {
	c.close()
	if c.path == "" {
		c.mem = nil
		return nil
	}
	return errors.Join(os.Remove(c.path), os.Remove(c.path+".meta"))
}

// copyTo puts a copy of the files into a directory.
func (c *chunk) copyTo(dir string, withMeta bool, name string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := c.read()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
		return err
	}
	if !withMeta || c.path == "" {
		return nil
	}
	if b, err = os.ReadFile(c.path + ".meta"); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".meta"), b, 0o644)
}

var chunkName = regexp.MustCompile(`\.([bq])([0-9a-f]{32})\.[^/]*$`)

// errBroken says that a file of a buffer is no chunk that can be resumed.
var errBroken = errors.New("broken chunk")

// openChunk resumes a chunk that an earlier process left. What a cut of the file left half is cut off: the sender
// has no acknowledgement for it.
func openChunk(path string) (_ *chunk, staged bool, err error) {
	m := chunkName.FindStringSubmatch(path)
	if m == nil {
		return nil, false, errBroken
	}
	c := &chunk{id: m[2], path: path}
	if c.data, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, false, err
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	_, missing := os.Stat(path + ".meta")
	if c.meta, err = os.OpenFile(path+".meta", os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, false, err
	}
	st, err := c.data.Stat()
	if err != nil {
		return nil, false, err
	}
	if st.Size() == 0 {
		return nil, false, fmt.Errorf("%w: empty", errBroken)
	}
	c.created, c.modified = st.ModTime(), st.ModTime()
	// One without metadata is taken for a chunk as old versions made them; one with broken metadata is broken.
	if err := c.readMeta(); err != nil && missing == nil {
		return nil, false, err
	}
	c.size = st.Size()
	b, err := c.read()
	if err != nil {
		return nil, false, err
	}
	c.records = 0
	at, err := forward.Entries(b, func(forward.Entry) error { c.records++; return nil })
	if err != nil && !errors.Is(err, forward.ErrShort) || at == 0 {
		return nil, false, fmt.Errorf("%w: %w", errBroken, err)
	}
	if int64(at) < c.size {
		if err := c.data.Truncate(int64(at)); err != nil {
			return nil, false, err
		}
		c.size = int64(at)
	}
	return c, m[1] == "b", nil
}

func (c *chunk) readMeta() error {
	b, err := io.ReadAll(io.LimitReader(c.meta, 1<<20))
	if err != nil {
		return err
	}
	if len(b) < 6 || [2]byte(b) != metaHeader {
		return fmt.Errorf("%w: metadata", errBroken)
	}
	n := int(binary.BigEndian.Uint32(b[2:]))
	if n > len(b)-6 {
		return fmt.Errorf("%w: metadata is cut off", errBroken)
	}
	var m chunkMeta
	if err := msgpack.Unmarshal(b[6:6+n], &m); err != nil {
		return fmt.Errorf("%w: metadata: %w", errBroken, err)
	}
	if m.Tag != nil {
		c.tag = *m.Tag
	}
	c.created, c.modified = floatTime(m.Created), floatTime(m.Modified)
	return nil
}

func floatTime(f float64) time.Time { return time.Unix(0, int64(f*1e9)) }
