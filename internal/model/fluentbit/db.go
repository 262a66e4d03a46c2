package fluentbit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
)

// offsets is the database of one input: how far each file was read, by device and inode. The real program has a SQLite
// table; this one has rows of fixed length that are written in place with one pwrite(2), so that a kill leaves the old
// row or the new one. A row with a wrong checksum counts as absent.
type offsets struct {
	f    *os.File
	rows map[fileID]*row
	free []int64 // positions of deleted rows
	end  int64
}

// fileID names a file as long as it exists.
type fileID struct{ dev, ino uint64 }

type row struct {
	at     int64
	name   uint64 // hash of the last part of the path under which it was found
	offset int64
	before mark
}

// mark is a hash of the bytes just before an offset, at most markMost of them: by it a file that has the inode of another is told from it.
type mark struct {
	hash uint64
	size int64 // 0: there is none, and everything fits
}

const markMost = 32

// markOf reads the mark of an offset; one that cannot be read is none.
func markOf(f io.ReaderAt, offset int64) mark {
	var b [markMost]byte
	n := min(offset, markMost)
	if n <= 0 {
		return mark{}
	}
	if got, _ := f.ReadAt(b[:n], offset-n); int64(got) != n {
		return mark{}
	}
	h := fnv.New64a()
	h.Write(b[:n])
	return mark{h.Sum64(), n}
}

// fits reports whether the bytes before an offset are those of the mark.
func (m mark) fits(f io.ReaderAt, offset int64) bool { return m.size == 0 || markOf(f, offset) == m }

const (
	rowSize  = 64
	rowMagic = 0x74726f77
)

func openOffsets(path string) (*offsets, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("offset database: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("offset database: %w", err)
	}
	d := &offsets{f: f, rows: map[fileID]*row{}}
	var b [rowSize]byte
	for {
		n, err := f.ReadAt(b[:], d.end)
		if n < rowSize {
			if errors.Is(err, io.EOF) {
				return d, nil // a torn row at the end is overwritten by the next one
			}
			f.Close()
			return nil, fmt.Errorf("offset database: %w", err)
		}
		if id, r, ok := decodeRow(b[:]); ok {
			r.at = d.end
			d.rows[id] = &r
		} else {
			d.free = append(d.free, d.end)
		}
		d.end += rowSize
	}
}

func encodeRow(b []byte, id fileID, r *row) {
	le := binary.LittleEndian
	le.PutUint32(b, rowMagic)
	le.PutUint64(b[8:], id.dev)
	le.PutUint64(b[16:], id.ino)
	le.PutUint64(b[24:], r.name)
	le.PutUint64(b[32:], uint64(r.offset))
	le.PutUint64(b[40:], r.before.hash)
	b[48] = byte(r.before.size)
	le.PutUint32(b[rowSize-4:], crc32.ChecksumIEEE(b[:rowSize-4]))
}

func decodeRow(b []byte) (fileID, row, bool) {
	le := binary.LittleEndian
	if le.Uint32(b) != rowMagic || le.Uint32(b[rowSize-4:]) != crc32.ChecksumIEEE(b[:rowSize-4]) {
		return fileID{}, row{}, false
	}
	return fileID{le.Uint64(b[8:]), le.Uint64(b[16:])}, row{name: le.Uint64(b[24:]), offset: int64(le.Uint64(b[32:])), before: mark{le.Uint64(b[40:]), int64(b[48])}}, true
}

func nameHash(path string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(filepath.Base(path)))
	return h.Sum64()
}

// get returns the offset of a file, and the mark of what stood before it. With byName the row must have been written under the name of
// target, which is the file that a link leads to: so a file that was found by a link of another name never fits, as in the real program. A
// row of another name is deleted, since its inode belongs to a new file.
func (d *offsets) get(id fileID, target string, byName bool) (int64, mark, bool, error) {
	r := d.rows[id]
	if r == nil {
		return 0, mark{}, false, nil
	}
	if byName && r.name != nameHash(target) {
		return 0, mark{}, false, d.delete(id)
	}
	return r.offset, r.before, true, nil
}

// set writes the offset of a file that was found under a path.
func (d *offsets) set(id fileID, path string, offset int64, before mark) error {
	r := d.rows[id]
	if r == nil {
		r = &row{at: d.end, name: nameHash(path)}
		if n := len(d.free); n > 0 {
			r.at, d.free = d.free[n-1], d.free[:n-1]
		} else {
			d.end += rowSize
		}
		d.rows[id] = r
	}
	r.offset, r.before = offset, before
	var b [rowSize]byte
	encodeRow(b[:], id, r)
	if _, err := d.f.WriteAt(b[:], r.at); err != nil {
		return fmt.Errorf("offset database: %w", err)
	}
	return nil
}

func (d *offsets) delete(id fileID) error {
	r := d.rows[id]
	if r == nil {
		return nil
	}
	delete(d.rows, id)
	d.free = append(d.free, r.at)
	if _, err := d.f.WriteAt(make([]byte, rowSize), r.at); err != nil {
		return fmt.Errorf("offset database: %w", err)
	}
	return nil
}

// deleteStale removes the rows of files that are not in keep, as the real program does once at its start.
func (d *offsets) deleteStale(keep map[fileID]bool) error {
	for id := range d.rows {
		if !keep[id] {
			if err := d.delete(id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *offsets) close() { d.f.Close() }
