package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Defaults of the kubelet: containerLogMaxSize 10Mi and containerLogMaxFiles 5.
const (
	DefaultMaxBytes = 10 << 20
	DefaultMaxFiles = 5
)

// rotatedFormat is the suffix that the kubelet gives to a rotated file, after a dot.
const rotatedFormat = "20060102-150405"

// RotatorOptions configure a Rotator.
type RotatorOptions struct {
	Path       string         // of the file written to; its directory must exist
	MaxBytes   int64          // size from which the file is rotated; 0 means DefaultMaxBytes
	MaxFiles   int            // files kept, with the one written to; at least 2; 0 means DefaultMaxFiles
	CheckEvery time.Duration  // how often the size is looked at: the kubelet does every 10 s; 0 means at each write
	OnRotate   func(Rotation) // called after each rotation, inside Write: it must not call the Rotator; may be nil
}

// Rotation is one rotation that happened.
type Rotation struct {
	Path    string   // the new file
	Rotated string   // what the old one is called now
	Bytes   int64    // its size
	Deleted []string // files deleted to make room, oldest first: what no reader has read of them is gone
}

// RotatorStats count what a Rotator did since it was made.
type RotatorStats struct {
	Writes       uint64 // that returned without error
	Bytes        uint64 // in those
	Rotations    uint64
	Failed       uint64 // rotations that failed; the line then went to the old file
	DeletedFiles uint64
	DeletedBytes uint64
}

// Rotator appends to a log file and rotates it as the kubelet and containerd rotate container logs: at a size, the file
// is renamed to <path>.<yyyymmdd-hhmmss> and a new one is created; the oldest files above the limit are deleted. Files
// stay uncompressed; the kubelet compresses all but the newest rotated file.
//
// Each Write is one write(2) of whole lines, never split over two files. A Write that returned without error is the
// acknowledgement: the bytes are in the file for every reader of this host, and not synced to disk. It is safe for
// concurrent use.
type Rotator struct {
	opts RotatorOptions

	mu      sync.Mutex
	f       *os.File
	size    int64
	checked time.Time
	last    string // suffix of the newest rotated file
	stats   RotatorStats
}

// NewRotator opens the file, appending to what is there from an earlier process.
func NewRotator(opts RotatorOptions) (*Rotator, error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = DefaultMaxBytes
	}
	if opts.MaxFiles == 0 {
		opts.MaxFiles = DefaultMaxFiles
	}
	if opts.MaxBytes < 0 || opts.MaxFiles < 2 || opts.CheckEvery < 0 {
		return nil, fmt.Errorf("rotate %s: max bytes %d must be > 0, max files %d at least 2, check interval %v not negative",
			opts.Path, opts.MaxBytes, opts.MaxFiles, opts.CheckEvery)
	}
	r := &Rotator{opts: opts, checked: time.Now()}
	if err := r.open(); err != nil {
		return nil, err
	}
	old, err := r.rotated()
	if err != nil {
		r.f.Close()
		return nil, err
	}
	if len(old) > 0 {
		r.last = old[len(old)-1][len(opts.Path)+1:]
	}
	return r, nil
}

// open opens the file at Path and makes it the one written to; on an error the one before stays.
func (r *Rotator) open() error {
	f, err := os.OpenFile(r.opts.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open log file: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("stat log file: %w", err)
	}
	r.f, r.size = f, info.Size()
	return nil
}

// Write appends p, whole lines, rotating before it when the file has reached its size. A rotation that fails is counted
// and tried again later: losing the line would be worse than a long file.
func (r *Rotator) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f == nil {
		return 0, fmt.Errorf("write %s: %w", r.opts.Path, os.ErrClosed)
	}
	if r.size >= r.opts.MaxBytes && r.due() {
		if err := r.rotate(); err != nil {
			r.stats.Failed++
		}
	}
	n, err := r.f.Write(p)
	r.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("write log file: %w", err)
	}
	r.stats.Writes++
	r.stats.Bytes += uint64(n)
	return n, nil
}

// due says whether the size is looked at now.
func (r *Rotator) due() bool {
	if r.opts.CheckEvery == 0 {
		return true
	}
	now := time.Now()
	if now.Sub(r.checked) < r.opts.CheckEvery {
		return false
	}
	r.checked = now
	return true
}

func (r *Rotator) rotate() error {
	// As the kubelet does: first make room for the file that is renamed and the new one.
	old, err := r.rotated()
	if err != nil {
		return err
	}
	var deleted []string
	for len(old) > r.opts.MaxFiles-2 {
		var size int64
		if info, err := os.Stat(old[0]); err == nil {
			size = info.Size()
		}
		if err := os.Remove(old[0]); err != nil {
			return fmt.Errorf("delete rotated log: %w", err)
		}
		r.stats.DeletedFiles++
		r.stats.DeletedBytes += uint64(size)
		deleted = append(deleted, old[0])
		old = old[1:]
	}
	// The kubelet rotates a file every 10 s at most. At each write it can be faster than the second in the name, and a
	// rename would then replace a file: the next free second keeps them all, and in order.
	at := time.Now().UTC().Truncate(time.Second)
	if last, err := time.Parse(rotatedFormat, r.last); err == nil && !at.After(last) {
		at = last.Add(time.Second)
	}
	suffix := at.Format(rotatedFormat)
	name := r.opts.Path + "." + suffix
	if err := os.Rename(r.opts.Path, name); err != nil {
		return fmt.Errorf("rename log file: %w", err)
	}
	before, bytes := r.f, r.size
	if err := r.open(); err != nil {
		return errors.Join(err, os.Rename(name, r.opts.Path))
	}
	r.last = suffix
	r.stats.Rotations++
	if err := before.Close(); err != nil {
		return fmt.Errorf("close rotated log: %w", err)
	}
	if r.opts.OnRotate != nil {
		r.opts.OnRotate(Rotation{Path: r.opts.Path, Rotated: name, Bytes: bytes, Deleted: deleted})
	}
	return nil
}

// rotated lists the rotated files, oldest first. The suffix sorts by time.
func (r *Rotator) rotated() ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(r.opts.Path))
	if err != nil {
		return nil, fmt.Errorf("list rotated logs: %w", err)
	}
	base := filepath.Base(r.opts.Path) + "."
	var names []string
	for _, e := range entries {
		suffix, ok := strings.CutPrefix(e.Name(), base)
		if !ok {
			continue
		}
		if _, err := time.Parse(rotatedFormat, suffix); err == nil {
			names = append(names, r.opts.Path+"."+suffix)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Stats returns the counts so far.
func (r *Rotator) Stats() RotatorStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// Close closes the file; later writes fail with os.ErrClosed. A second Close does nothing.
func (r *Rotator) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f == nil {
		return nil
	}
	f := r.f
	r.f = nil
	if err := f.Close(); err != nil {
		return fmt.Errorf("close log file: %w", err)
	}
	return nil
}
