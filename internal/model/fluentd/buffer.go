package fluentd

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"triad/internal/model/forward"
)

// Errors of a buffer that reach the sender as a closed connection.
var (
	errOverflow      = errors.New("buffer space has too many data")
	errChunkOverflow = errors.New("record is larger than the chunk limit")
)

// blockPoll is how often a blocked emit looks for room; it is the sleep of Fluentd.
const blockPoll = time.Second

// buffer holds the chunks of one output: one staged chunk (or one per tag), which grows, and a queue of closed ones.
type buffer struct {
	cfg     Buffer
	pattern string // path with one star for state and id; empty in memory
	asideTo string // directory for chunks that are put aside
	owner   string // id of the output, as part of a path
	log     *slog.Logger
	full    chan struct{} // a chunk was queued because it is full

	mu        sync.Mutex
	rng       *rand.Rand
	stage     map[string]*chunk
	queue     []*chunk
	stageSize int64
	queueSize int64 // queued and taken out for a flush
	dropped   int64 // records that were thrown away, by overflow or at the end of retries
	dropTimes int64 // chunks dropped by drop_oldest_chunk
}

// newBuffer opens the buffer and resumes the chunks of an earlier process.
func newBuffer(cfg Buffer, root, rootDir, owner string, rng *rand.Rand, log *slog.Logger) (*buffer, error) {
	aside := rootDir
	if aside == "" {
		aside = "/tmp/fluent"
	}
	b := &buffer{
		cfg: cfg, log: log, rng: rng, full: make(chan struct{}, 1), stage: map[string]*chunk{},
		asideTo: filepath.Join(root, aside), owner: strings.NewReplacer(" ", "_", `"`, "_", "/", "_", `\`, "_", ":", "_").Replace(owner),
	}
	if !cfg.File {
		return b, nil
	}
	switch path := filepath.Join(root, cfg.Path); {
	case strings.Contains(filepath.Base(path), ".*."):
		b.pattern = path
	case strings.HasSuffix(path, ".*"):
		b.pattern = path + ".log"
	default:
		b.pattern = filepath.Join(path, "buffer.*.log")
	}
	if err := os.MkdirAll(filepath.Dir(b.pattern), 0o755); err != nil {
		return nil, fmt.Errorf("buffer of %s: %w", owner, err)
	}
	return b, b.resume()
}

func (b *buffer) resume() error {
	dir, base := filepath.Split(b.pattern)
	before, after, _ := strings.Cut(base, "*")
	names, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("buffer of %s: %w", b.owner, err)
	}
	for _, e := range names {
		name := e.Name()
		if !strings.HasPrefix(name, before) || !strings.HasSuffix(name, after) || !chunkName.MatchString(name) {
			continue
		}
		path := filepath.Join(dir, name)
		c, staged, err := openChunk(path)
		if err != nil {
			b.putBrokenAside(path, err)
			continue
		}
		if staged && !b.isFull(c) && b.stage[c.tag] == nil {
			b.stage[c.tag] = c
			b.stageSize += c.size
			continue
		}
		if staged {
			if err := c.enqueue(); err != nil {
				return err
			}
		}
		b.queue = append(b.queue, c)
		b.queueSize += c.size
	}
	slices.SortStableFunc(b.queue, func(x, y *chunk) int { return x.modified.Compare(y.modified) })
	return nil
}

// putBrokenAside moves a file that cannot be resumed out of the way, with its content, as Fluentd does.
func (b *buffer) putBrokenAside(path string, why error) {
	b.log.Error("broken chunk file found during resume", "path", path, "error", why)
	if !b.cfg.NoBackup {
		dir := filepath.Join(b.asideTo, "backup", "worker0", b.owner)
		if err := os.MkdirAll(dir, 0o755); err == nil {
			if err := os.Rename(path, filepath.Join(dir, chunkName.FindStringSubmatch(path)[2]+".log")); err != nil {
				b.log.Error("backup of a broken chunk", "path", path, "error", err)
			}
		}
	}
	os.Remove(path)
	os.Remove(path + ".meta")
}

func (b *buffer) newChunk(tag string) (*chunk, error) {
	now := time.Now()
	if b.pattern == "" {
		return &chunk{tag: tag, created: now, modified: now}, nil
	}
	// As Fluentd makes ids: microseconds and random bits, so that names sort by age.
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], uint64(now.UnixMicro())<<12|b.rng.Uint64N(1<<12))
	binary.BigEndian.PutUint64(id[8:], b.rng.Uint64())
	return newFileChunk(b.pattern, hex.EncodeToString(id[:]), tag, now)
}

func (b *buffer) isFull(c *chunk) bool {
	return float64(c.size) >= float64(b.cfg.ChunkLimit)*b.cfg.FullThreshold ||
		b.cfg.ChunkLimitRecords > 0 && float64(c.records) >= float64(b.cfg.ChunkLimitRecords)*b.cfg.FullThreshold
}

func (b *buffer) fits(c *chunk, size, records int) bool {
	return c.size+int64(size) <= b.cfg.ChunkLimit && (b.cfg.ChunkLimitRecords == 0 || c.records+records <= b.cfg.ChunkLimitRecords)
}

func (b *buffer) storable() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cfg.TotalLimit > b.stageSize+b.queueSize
}

// emit stores entries, n of them, and does what the overflow action says when there is no room. While it blocks, the
// caller is blocked, which is the point of that action.
func (b *buffer) emit(ctx context.Context, tag string, entries []byte, n int) error {
	for {
		err := b.write(tag, entries, n)
		if !errors.Is(err, errOverflow) {
			return err
		}
		switch b.cfg.Overflow {
		case "block":
			for !b.storable() {
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(blockPoll):
				}
			}
		case "drop_oldest_chunk":
			b.dropOldest()
			if !b.storable() {
				return err
			}
		default:
			return err
		}
	}
}

// dropOldest throws the oldest queued chunk away. Staged chunks and those being flushed are not touched.
func (b *buffer) dropOldest() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		b.log.Error("no queued chunks to be dropped for drop_oldest_chunk", "plugin_id", b.owner)
		return
	}
	c := b.queue[0]
	b.queue = b.queue[1:]
	b.queueSize -= c.size
	b.dropped += int64(c.records)
	b.dropTimes++
	b.log.Warn("dropping oldest chunk to make space after buffer overflow", "plugin_id", b.owner, "chunk", c.id, "records", c.records)
	if err := c.purge(); err != nil {
		b.log.Error("purge chunk", "chunk", c.id, "error", err)
	}
}

// write stores entries in the staged chunk as a whole, in a new one when they do not fit, or split over several when
// they are larger than a chunk may be.
func (b *buffer) write(tag string, entries []byte, n int) error {
	if n == 0 {
		return nil
	}
	if !b.cfg.ByTag {
		tag = ""
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cfg.TotalLimit <= b.stageSize+b.queueSize {
		return errOverflow
	}
	if c := b.stage[tag]; c != nil && !b.fits(c, len(entries), n) {
		if err := b.enqueueLocked(c); err != nil {
			return err
		}
	}
	if int64(len(entries)) <= b.cfg.ChunkLimit && (b.cfg.ChunkLimitRecords == 0 || n <= b.cfg.ChunkLimitRecords) {
		return b.appendLocked(tag, entries, n)
	}
	var tooLarge error
	start, at, count := 0, 0, 0
	flush := func() error {
		if count == 0 {
			return nil
		}
		if err := b.appendLocked(tag, entries[start:at], count); err != nil {
			return err
		}
		start, count = at, 0
		if c := b.stage[tag]; c != nil && at < len(entries) {
			return b.enqueueLocked(c)
		}
		return nil
	}
	for at < len(entries) {
		size, err := forward.Next(entries[at:])
		if err != nil {
			return err
		}
		if int64(at+size-start) > b.cfg.ChunkLimit || b.cfg.ChunkLimitRecords > 0 && count+1 > b.cfg.ChunkLimitRecords {
			if err := flush(); err != nil {
				return err
			}
		}
		if int64(size) > b.cfg.ChunkLimit {
			// The others are stored, the error is raised after that: the sender sends all of them again, and again.
			tooLarge = fmt.Errorf("%w: %d bytes", errChunkOverflow, size)
			at += size
			start = at
			continue
		}
		at += size
		count++
	}
	return errors.Join(flush(), tooLarge)
}

func (b *buffer) appendLocked(tag string, entries []byte, n int) error {
	c := b.stage[tag]
	if c == nil {
		var err error
		if c, err = b.newChunk(tag); err != nil {
			return err
		}
		b.stage[tag] = c
	}
	if err := c.append(entries, n, time.Now()); err != nil {
		return err
	}
	b.stageSize += int64(len(entries))
	if b.cfg.FlushMode == "immediate" || b.isFull(c) {
		if err := b.enqueueLocked(c); err != nil {
			return err
		}
	}
	if len(b.queue) > 0 {
		select {
		case b.full <- struct{}{}:
		default:
		}
	}
	return nil
}

func (b *buffer) enqueueLocked(c *chunk) error {
	if err := c.enqueue(); err != nil {
		return err
	}
	delete(b.stage, c.tag)
	b.stageSize -= c.size
	b.queueSize += c.size
	b.queue = append(b.queue, c)
	return nil
}

// enqueueOlder queues the staged chunks that were made before the flush interval, both in whole seconds as Fluentd counts them, until the
// queue is full. With an interval of a second a chunk is closed when the next second begins.
func (b *buffer) enqueueOlder(now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	interval := float64(b.cfg.FlushInterval / time.Second)
	for _, tag := range b.tagsLocked() {
		if len(b.queue) >= b.cfg.QueuedChunks {
			return nil
		}
		c := b.stage[tag]
		if float64(c.created.Unix())+interval > float64(now.Unix()) {
			continue
		}
		if err := b.enqueueLocked(c); err != nil {
			return err
		}
	}
	return nil
}

func (b *buffer) tagsLocked() []string {
	tags := make([]string, 0, len(b.stage))
	for t := range b.stage {
		tags = append(tags, t)
	}
	slices.Sort(tags)
	return tags
}

// enqueueAll queues every staged chunk, for the flush at shutdown.
func (b *buffer) enqueueAll() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, tag := range b.tagsLocked() {
		if err := b.enqueueLocked(b.stage[tag]); err != nil {
			return err
		}
	}
	return nil
}

// take gives the oldest queued chunk to a flush; nil when there is none.
func (b *buffer) take() *chunk {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return nil
	}
	c := b.queue[0]
	b.queue = b.queue[1:]
	return c
}

// giveBack puts a chunk whose flush failed at the head of the queue.
func (b *buffer) giveBack(c *chunk) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = slices.Insert(b.queue, 0, c)
}

// done removes a chunk that was flushed.
func (b *buffer) done(c *chunk) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queueSize -= c.size
	if err := c.purge(); err != nil {
		b.log.Error("purge chunk", "chunk", c.id, "error", err)
	}
}

// putAside copies a chunk that can never be flushed to root_dir/backup; the caller then calls done.
func (b *buffer) putAside(c *chunk) {
	b.mu.Lock()
	b.dropped += int64(c.records)
	b.mu.Unlock()
	if b.cfg.NoBackup {
		return
	}
	if err := c.copyTo(filepath.Join(b.asideTo, "backup", "worker0", b.owner), false, c.id+".log"); err != nil {
		b.log.Error("backup of a chunk", "chunk", c.id, "error", err)
	}
}

// clearQueue drops every queued chunk, which is what happens when the limit of retries is reached. A file buffer keeps a
// copy below root_dir/buffer.
func (b *buffer) clearQueue() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.queue {
		if c.path != "" {
			if err := c.copyTo(filepath.Join(b.asideTo, "buffer", b.owner), true, filepath.Base(c.path)); err != nil {
				b.log.Error("evacuation of a chunk", "chunk", c.id, "error", err)
			}
		}
		b.dropped += int64(c.records)
		b.queueSize -= c.size
		if err := c.purge(); err != nil {
			b.log.Error("purge chunk", "chunk", c.id, "error", err)
		}
	}
	b.queue = nil
}

// close lets go of the files and leaves them for the next process.
func (b *buffer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.stage {
		c.close()
	}
	for _, c := range b.queue {
		c.close()
	}
}

// bufferStats is what the monitor sees.
type bufferStats struct {
	stageLength, queueLength int
	stageSize, queueSize     int64
}

func (b *buffer) stats() bufferStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bufferStats{len(b.stage), len(b.queue), b.stageSize, b.queueSize}
}

func (b *buffer) queued() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) > 0
}
