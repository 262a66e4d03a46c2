package fluentbit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"triad/internal/model/forward"
	"triad/internal/source"
)

const (
	pollEvery   = 20 * time.Millisecond  // look for new bytes
	rotateEvery = 100 * time.Millisecond // look whether a path has become another file
	multiFlush  = 4 * time.Second        // FLB_ML_FLUSH_TIMEOUT: a line whose last part does not come is taken as it is
	readsAtOnce = 16                     // reads of one file before the others get their turn
)

// tail is the loop of one input: the only goroutine that touches its files and its database.
type tail struct {
	e     *engine
	in    *input
	cfg   Tail
	db    *offsets
	files map[fileID]*tailFile
	order []*tailFile
	given map[fileID]bool // files given up because of a long line

	opened, closed, rotated, skippedLines atomic.Int64
}

type tailFile struct {
	id      fileID
	f       *os.File
	path    string // as found, without the root
	full    string
	tag     string
	offset  int64 // of the first byte that is not in buf
	buf     []byte
	scanned int  // bytes of buf known to have no newline
	skip    bool // the rest of a too long line is being skipped
	rotated time.Time
	checked time.Time
	join    source.CRIJoiner
	partial time.Time // when the first part of a line that is not complete came
}

func newTail(e *engine, in *input, cfg Tail) (*tail, error) {
	t := &tail{e: e, in: in, cfg: cfg, files: map[fileID]*tailFile{}, given: map[fileID]bool{}}
	if cfg.DB == "" {
		return t, nil
	}
	var err error
	t.db, err = openOffsets(filepath.Join(e.opts.Root, cfg.DB))
	return t, err
}

func (t *tail) close() {
	for _, f := range t.order {
		f.f.Close()
	}
	if t.db != nil {
		t.db.close()
	}
}

// run tails until ctx ends.
func (t *tail) run(ctx context.Context) {
	t.scan(true)
	if t.db != nil {
		keep := map[fileID]bool{}
		for id := range t.files {
			keep[id] = true
		}
		t.note("stale rows", t.db.deleteStale(keep))
	}
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	refresh := time.NewTicker(t.cfg.Refresh)
	defer refresh.Stop()
	purge := time.NewTicker(t.cfg.RotateWait)
	defer purge.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-refresh.C:
			t.scan(false)
		case <-purge.C:
			t.purge(time.Now())
		case <-poll.C:
		}
		for again := true; again && ctx.Err() == nil; {
			again = false
			for _, f := range slices.Clone(t.order) {
				again = t.read(ctx, f) || again
			}
		}
	}
}

func (t *tail) note(what string, err error) {
	if err != nil {
		t.e.log.Error("not done", "what", what, "input", t.cfg.Name, "error", err)
	}
}

// scan looks for files that fit the paths and are not read yet.
func (t *tail) scan(start bool) {
	root := escapeGlob(t.e.opts.Root)
	for _, p := range t.cfg.Paths {
		found, err := filepath.Glob(filepath.Join(root, p))
		t.note("scan", err)
		for _, full := range found {
			path := full
			if t.e.opts.Root != "" {
				path = filepath.Join("/", strings.TrimPrefix(full, filepath.Clean(t.e.opts.Root)))
			}
			if !t.excluded(path) {
				t.open(full, path, start)
			}
		}
	}
}

func escapeGlob(p string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(p)
}

func (t *tail) excluded(path string) bool {
	for _, x := range t.cfg.Exclude {
		if ok, err := filepath.Match(x, path); ok && err == nil {
			return true
		}
		if ok, err := filepath.Match(x, filepath.Base(path)); ok && err == nil {
			return true
		}
	}
	return false
}

func identify(st os.FileInfo) fileID {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}
	}
	return fileID{uint64(s.Dev), s.Ino} //nolint:unconvert // narrower elsewhere than on Linux
}

func links(st os.FileInfo) uint64 {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Nlink) //nolint:unconvert // narrower elsewhere than on this architecture
	}
	return 1
}

func (t *tail) open(full, path string, start bool) {
	st, err := os.Stat(full)
	if err != nil || !st.Mode().IsRegular() {
		return
	}
	if id := identify(st); t.files[id] != nil || t.given[id] {
		return
	}
	f, err := os.Open(full)
	if err != nil {
		t.note("open", err)
		return
	}
	if st, err = f.Stat(); err != nil || t.files[identify(st)] != nil { // another file by now
		f.Close()
		return
	}
	tf := &tailFile{id: identify(st), f: f, path: path, full: full, tag: composeTag(t.cfg.Tag, path)}
	head := t.cfg.NewFromHead
	if start {
		head = t.cfg.FromHead
	}
	known := false
	if t.db != nil {
		var off int64
		target, err := filepath.EvalSymlinks(full)
		if err != nil {
			target = full
		}
		var before mark
		off, before, known, err = t.db.get(tf.id, target, t.cfg.CompareFilename)
		t.note("offset database", err)
		if known && off <= st.Size() && before.fits(f, off) {
			tf.offset = off // else the file was truncated, or is another with its inode, and is read from its start
		}
	}
	if !known && !head {
		tf.offset = st.Size()
	}
	if t.db != nil && !known {
		t.note("offset database", t.db.set(tf.id, path, tf.offset, markOf(f, tf.offset)))
	}
	t.files[tf.id] = tf
	t.order = append(t.order, tf)
	t.opened.Add(1)
}

// composeTag puts the path into the tag: no slash at the start, dots for the others.
func composeTag(tag, path string) string {
	return strings.Replace(tag, "*", strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", "."), 1)
}

func (t *tail) drop(f *tailFile) {
	f.f.Close()
	delete(t.files, f.id)
	t.order = slices.DeleteFunc(t.order, func(x *tailFile) bool { return x == f })
	t.closed.Add(1)
}

// purge closes files that were rotated long enough ago, read to the end or not, and files that were deleted.
func (t *tail) purge(now time.Time) {
	for _, f := range slices.Clone(t.order) {
		if !f.rotated.IsZero() && now.Sub(f.rotated) >= t.cfg.RotateWait {
			t.drop(f)
			continue
		}
		if st, err := f.f.Stat(); err != nil || links(st) == 0 {
			if t.db != nil {
				t.note("offset database", t.db.delete(f.id))
			}
			t.drop(f)
		}
	}
	if len(t.given) > 10000 { // bounds the memory; such a file is then tried once more
		clear(t.given)
	}
}

// read takes what is new in a file. It returns true when there may be more.
func (t *tail) read(ctx context.Context, f *tailFile) bool {
	for range readsAtOnce {
		if t.e.paused(t.in) || ctx.Err() != nil {
			return false
		}
		at := len(f.buf)
		f.buf = slices.Grow(f.buf, t.cfg.BufferSize)
		n, err := f.f.ReadAt(f.buf[at:min(cap(f.buf), at+t.cfg.BufferSize)], f.offset)
		f.buf = f.buf[:at+n]
		f.offset += int64(n)
		if n > 0 {
			if !t.process(f) {
				return false
			}
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			t.note("read", err)
		}
		t.atEnd(f)
		return false
	}
	return true
}

// atEnd looks after a file that has nothing new: lines that wait for their last part, truncation, rotation.
func (t *tail) atEnd(f *tailFile) {
	now := time.Now()
	if !f.partial.IsZero() && now.Sub(f.partial) >= multiFlush {
		t.flushPartial(f)
	}
	if now.Sub(f.checked) < rotateEvery || !f.rotated.IsZero() {
		return
	}
	f.checked = now
	if st, err := f.f.Stat(); err == nil && st.Size() < f.offset {
		f.offset, f.buf, f.scanned, f.skip = 0, f.buf[:0], 0, false
		t.commit(f)
		return
	}
	st, err := os.Stat(f.full)
	if err == nil && identify(st) == f.id {
		return
	}
	if fst, ferr := f.f.Stat(); err != nil && ferr == nil && links(fst) == 0 {
		return // deleted, which purge sees
	}
	f.rotated = now
	t.rotated.Add(1)
	if err == nil {
		t.open(f.full, f.path, false)
	}
}

// process cuts the buffer into lines, gives them to the engine as one batch, and commits the offset. It returns false
// when the file is given up.
func (t *tail) process(f *tailFile) bool {
	var batch []byte
	n, start := 0, 0
	now := time.Now()
	base := f.offset - int64(len(f.buf))
	for {
		i := bytes.IndexByte(f.buf[max(start, f.scanned):], '\n')
		if i < 0 {
			break
		}
		end := max(start, f.scanned) + i
		line := f.buf[start:end]
		at := base + int64(start)
		start = end + 1
		f.scanned = 0
		if f.skip {
			f.skip = false
			continue
		}
		if len(line) > 0 && line[len(line)-1] == '\r' {
			line = line[:len(line)-1]
		}
		if len(line) == 0 && t.cfg.SkipEmpty {
			continue
		}
		var k int
		batch, k = t.line(batch, f, line, at, now)
		n += k
	}
	rest := copy(f.buf, f.buf[start:])
	f.buf = f.buf[:rest]
	f.scanned = rest
	alive := true
	if rest >= t.cfg.BufferMax {
		if t.cfg.SkipLong {
			if !f.skip {
				t.skippedLines.Add(1)
				t.e.log.Warn("skipping a long line", "file", f.path)
			}
			f.skip, f.buf, f.scanned = true, f.buf[:0], 0
		} else {
			t.e.log.Error("lines are too long, skipping file", "file", f.path)
			alive = false
		}
	} else if f.skip {
		f.buf, f.scanned = f.buf[:0], 0
	}
	if n > 0 {
		t.e.ingest(t.in, f.tag, batch, n)
	}
	t.commit(f)
	if !alive {
		t.given[f.id] = true
		t.drop(f)
	}
	return alive
}

// commit writes the position of the first byte that is not processed. Parts of a CRI line that is not complete count as
// processed, as in the real program: a kill between the parts loses the first ones.
func (t *tail) commit(f *tailFile) {
	if t.db != nil {
		at := f.offset - int64(len(f.buf))
		t.note("offset database", t.db.set(f.id, f.path, at, markOf(f.f, at)))
	}
}

// line appends the entry of one line, or keeps it when it is a part of one.
func (t *tail) line(dst []byte, f *tailFile, line []byte, at int64, now time.Time) ([]byte, int) {
	if !t.cfg.CRI {
		return t.entry(dst, f, at, now, nil, line), 1
	}
	l, err := source.ParseCRI(line)
	if err != nil {
		return t.entry(dst, f, at, now, nil, line), 1
	}
	whole, ok := f.join.Add(l)
	if !ok {
		if f.partial.IsZero() {
			f.partial = now
		}
		return dst, 0
	}
	f.partial = time.Time{}
	return t.entry(dst, f, at, whole.Time, &whole, whole.Text), 1
}

// finish takes what waits for the rest of a line as it is: the process stops.
func (t *tail) finish() {
	for _, f := range t.order {
		t.flushPartial(f)
	}
}

// flushPartial gives up waiting for the rest of a line.
func (t *tail) flushPartial(f *tailFile) {
	var batch []byte
	n := 0
	for _, stdout := range []bool{true, false} {
		if l, ok := f.join.Flush(stdout); ok {
			batch = t.entry(batch, f, f.offset, l.Time, &l, l.Text)
			n++
		}
	}
	f.partial = time.Time{}
	if n > 0 {
		t.e.ingest(t.in, f.tag, batch, n)
	}
}

// entry appends one record: for a CRI line the fields of its parser, then the path, then the line.
func (t *tail) entry(dst []byte, f *tailFile, at int64, when time.Time, cri *source.CRILine, text []byte) []byte {
	n := 1
	if cri != nil {
		n += 3
	}
	if t.cfg.PathKey != "" {
		n++
	}
	if t.cfg.OffsetKey != "" {
		n++
	}
	dst = forward.AppendEntryHead(dst, when)
	dst = forward.AppendMapLen(dst, n)
	if cri != nil {
		stream, flag := "stderr", "F"
		if cri.Stdout {
			stream = "stdout"
		}
		if cri.Partial {
			flag = "P"
		}
		var stamp [40]byte
		dst = forward.AppendString(forward.AppendString(dst, "time"), cri.Time.AppendFormat(stamp[:0], time.RFC3339Nano))
		dst = forward.AppendString(forward.AppendString(dst, "stream"), stream)
		dst = forward.AppendString(forward.AppendString(dst, "_p"), flag)
	}
	if t.cfg.PathKey != "" {
		dst = forward.AppendString(forward.AppendString(dst, t.cfg.PathKey), f.path)
	}
	if t.cfg.OffsetKey != "" {
		dst = forward.AppendString(dst, t.cfg.OffsetKey)
		dst = forward.AppendUint(dst, uint64(at))
	}
	return forward.AppendString(forward.AppendString(dst, t.cfg.Key), text)
}
