package esfake

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/maphash"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// never marks a document that was replaced or deleted but that searches still see, because no refresh has happened.
const never = ^uint32(0)

// docRef is one version of one document. Its number in the index is its sequence number.
type docRef struct {
	at      place
	size    uint32 // bytes of the source; the record is idLen(2) id source
	hidden  uint32 // atomic: refresh epoch from which searches no longer see it; 0 live, never replaced since the last refresh
	version int64
}

// posting is one occurrence of a tag token.
type posting struct {
	doc   uint32
	off   uint32 // of the token in the source
	n     uint8
	field uint16
	prev  uint32 // posting+1 of the same token before this one, 0 none
}

// index is one Elasticsearch index with one shard.
type index struct {
	name    string
	uuid    string
	created time.Time
	seed    maphash.Seed

	mu       sync.RWMutex
	settings settings
	mapping  *mapping // immutable; replaced when a document brings a new field
	arena    arena
	docs     list[docRef]
	ids      table
	posts    list[posting]
	tags     table
	visible  uint32   // documents below it have been refreshed
	epoch    uint32   // refreshes that changed something
	pending  []uint32 // documents to hide at the next refresh
	live     int      // documents a GET finds
	shown    int      // documents a search finds
	ticks    int64    // periodic refreshes done since created
	interval time.Duration
	counts   counts
}

// counts are the operation counters of _stats.
type counts struct {
	indexed, deleted, failed, refreshes int64
	searches                            atomic.Int64
}

func newIndex(name, uuid string, now time.Time, st settings, m *mapping, p *pages) *index {
	return &index{
		name: name, uuid: uuid, created: now, seed: maphash.MakeSeed(), settings: st, mapping: m, interval: st.refresh,
		arena: arena{pages: p}, docs: list[docRef]{pages: p}, ids: table{pages: p}, posts: list[posting]{pages: p}, tags: table{pages: p},
	}
}

// tick does the periodic refreshes that are due. Every writer and reader calls it first, with mu held, so that a
// document written after a tick can never be taken for one written before it.
func (ix *index) tick(now time.Time) {
	if ix.interval <= 0 {
		return
	}
	due := int64(now.Sub(ix.created) / ix.interval)
	if due > ix.ticks {
		ix.ticks = due
		ix.refresh()
	}
}

// setInterval changes the refresh interval; ticks are counted in the new interval from now on.
func (ix *index) setInterval(now time.Time, d time.Duration) {
	ix.tick(now)
	ix.interval = d
	if d > 0 {
		ix.ticks = int64(now.Sub(ix.created) / d)
	}
}

// nextTick returns how long it takes until the next periodic refresh, false when there is none.
func (ix *index) nextTick(now time.Time) (time.Duration, bool) {
	if ix.interval <= 0 {
		return 0, false
	}
	return ix.created.Add(time.Duration(ix.ticks+1) * ix.interval).Sub(now), true
}

// refresh makes everything written so far visible; mu is held.
func (ix *index) refresh() {
	ix.counts.refreshes++
	if ix.visible == ix.docs.n && len(ix.pending) == 0 {
		return
	}
	ix.epoch++
	for _, d := range ix.pending {
		atomic.StoreUint32(&ix.docs.at(d).hidden, ix.epoch)
	}
	ix.pending = ix.pending[:0]
	ix.visible = ix.docs.n
	ix.shown = ix.live
}

// waitRefreshed returns when everything written before the call is visible, or when ctx ends.
func (ix *index) waitRefreshed(ctx context.Context, clock func() time.Time) {
	ix.mu.Lock()
	want := ix.docs.n
	ix.mu.Unlock()
	for {
		now := clock()
		ix.mu.Lock()
		ix.tick(now)
		done := ix.visible >= want && len(ix.pending) == 0
		wait, ok := ix.nextTick(now)
		ix.mu.Unlock()
		if done || !ok {
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

func (ix *index) id(d uint32) []byte { return recordID(ix.arena.chunks, ix.docs.at(d)) }

func recordID(chunks [][]byte, r *docRef) []byte {
	rec := chunks[r.at.chunk][r.at.off:]
	n := int(binary.LittleEndian.Uint16(rec))
	return rec[2 : 2+n : 2+n]
}

func recordSource(chunks [][]byte, r *docRef) []byte {
	rec := chunks[r.at.chunk][r.at.off:]
	n := 2 + int(binary.LittleEndian.Uint16(rec))
	end := n + int(r.size)
	return rec[n:end:end]
}

// lookup finds the newest version of a document; it may be deleted (hidden not 0).
func (ix *index) lookup(id []byte) (doc uint32, slot int, hash uint64, ok bool) {
	hash = maphash.Bytes(ix.seed, id)
	doc, slot, ok = ix.ids.find(hash, func(d uint32) bool { return bytes.Equal(ix.id(d), id) })
	return doc, slot, hash, ok
}

// write is one document to store.
type write struct {
	id       []byte
	source   []byte
	create   bool // refuse when the id exists
	external bool // version is given by the client and must be higher than the stored one
	version  int64
}

// written is the outcome of a write or delete.
type written struct {
	seq     uint32
	version int64
	created bool // index: no such document before; delete: found
}

// put stores a document; mu is held and the index has been ticked.
func (ix *index) put(w write, tags *[]posting) (written, *apiError) {
	old, slot, hash, known := ix.lookup(w.id)
	exists := known && ix.docs.at(old).hidden == 0
	version := int64(1)
	if known {
		version = ix.docs.at(old).version + 1
	}
	if w.create && exists {
		return written{}, ix.conflict(w.id, "document already exists (current version ["+strconv.FormatInt(version-1, 10)+"])")
	}
	if w.external {
		if known && w.version <= ix.docs.at(old).version {
			return written{}, ix.conflict(w.id, "current version ["+strconv.FormatInt(version-1, 10)+
				"] is higher or equal to the one provided ["+strconv.FormatInt(w.version, 10)+"]")
		}
		version = w.version
	}
	*tags = (*tags)[:0]
	m, err := ix.mapping.check(w.source, tags)
	if err != nil {
		ix.counts.failed++
		return written{}, err
	}
	ix.mapping = m
	d := ix.append(w, version)
	ix.ids.set(hash, slot, d, func(e uint32) uint64 { return maphash.Bytes(ix.seed, ix.id(e)) })
	if exists {
		ix.hide(old)
	} else {
		ix.live++
	}
	for _, p := range *tags {
		p.doc = d
		ix.addTag(p)
	}
	ix.counts.indexed++
	return written{seq: d, version: version, created: !exists}, nil
}

func (ix *index) conflict(id []byte, why string) *apiError {
	return &apiError{status: 409, typ: "version_conflict_engine_exception", reason: "[" + string(id) + "]: version conflict, " + why, index: ix.name}
}

// append copies the record into the arena and adds its entry.
func (ix *index) append(w write, version int64) uint32 {
	src := bytes.TrimRight(w.source, " \t\r\n")
	rec, at := ix.arena.put(2 + len(w.id) + len(src))
	binary.LittleEndian.PutUint16(rec, uint16(len(w.id)))
	copy(rec[2:], w.id)
	copy(rec[2+len(w.id):], src)
	d := ix.docs.push(docRef{})
	r := ix.docs.at(d)
	r.at, r.size, r.version = at, uint32(len(src)), version
	return d
}

func (ix *index) hide(d uint32) {
	atomic.StoreUint32(&ix.docs.at(d).hidden, never)
	ix.pending = append(ix.pending, d)
}

// remove deletes a document; mu is held and the index has been ticked. The deletion takes a sequence number.
func (ix *index) remove(id []byte, external bool, v int64) (written, *apiError) {
	old, slot, hash, known := ix.lookup(id)
	found := known && ix.docs.at(old).hidden == 0
	version := int64(1)
	if known {
		version = ix.docs.at(old).version + 1
	}
	if external {
		if known && v <= ix.docs.at(old).version {
			return written{}, ix.conflict(id, "current version ["+strconv.FormatInt(version-1, 10)+
				"] is higher or equal to the one provided ["+strconv.FormatInt(v, 10)+"]")
		}
		version = v
	}
	if found {
		ix.hide(old)
		ix.live--
	}
	d := ix.append(write{id: id}, version)
	atomic.StoreUint32(&ix.docs.at(d).hidden, 1) // a tombstone: never seen by anyone, and above the epoch of no snapshot
	ix.ids.set(hash, slot, d, func(e uint32) uint64 { return maphash.Bytes(ix.seed, ix.id(e)) })
	ix.counts.deleted++
	return written{seq: d, version: version, created: found}, nil
}

func (ix *index) addTag(p posting) {
	tok := recordSource(ix.arena.chunks, ix.docs.at(p.doc))[p.off : p.off+uint32(p.n)]
	hash := hashFolded(ix.seed, tok)
	last, slot, ok := ix.tags.find(hash, func(e uint32) bool {
		q := ix.posts.at(e)
		return q.field == p.field && q.n == p.n && equalTokens(ix.postToken(q), tok)
	})
	if ok {
		p.prev = last + 1
	}
	e := ix.posts.push(p)
	ix.tags.set(hash, slot, e, func(e uint32) uint64 { return hashFolded(ix.seed, ix.postToken(ix.posts.at(e))) })
}

func (ix *index) postToken(p *posting) []byte {
	return recordSource(ix.arena.chunks, ix.docs.at(p.doc))[p.off : p.off+uint32(p.n)]
}

func equalTokens(a, b []byte) bool {
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// get returns the newest version of a document, realtime: a refresh is not needed.
func (ix *index) get(id []byte) (source []byte, ref *docRef, seq uint32, ok bool) {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	d, _, _, ok := ix.lookup(id)
	if !ok || ix.docs.at(d).hidden != 0 {
		return nil, nil, 0, false
	}
	r := ix.docs.at(d)
	return recordSource(ix.arena.chunks, r), r, d, true
}

// snapshot is a point in time of an index: what searches see. It stays valid while the index goes on.
type snapshot struct {
	ix      *index
	chunks  [][]byte
	docs    list[docRef]
	posts   list[posting]
	mapping *mapping
	visible uint32
	epoch   uint32
	shown   int
}

func (ix *index) snapshot(now time.Time) *snapshot {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.tick(now)
	return &snapshot{
		ix: ix, chunks: ix.arena.chunks, docs: ix.docs, posts: ix.posts, mapping: ix.mapping,
		visible: ix.visible, epoch: ix.epoch, shown: ix.shown,
	}
}

// sees reports whether document d is part of the snapshot.
func (s *snapshot) sees(d uint32) bool {
	if d >= s.visible {
		return false
	}
	h := atomic.LoadUint32(&s.docs.at(d).hidden)
	return h == 0 || h == never || h > s.epoch
}

func (s *snapshot) source(d uint32) []byte { return recordSource(s.chunks, s.docs.at(d)) }
func (s *snapshot) id(d uint32) []byte     { return recordID(s.chunks, s.docs.at(d)) }

// tagged returns the documents that hold the tag token in the field, in order of their numbers.
func (s *snapshot) tagged(field uint16, token string) []uint32 {
	ix := s.ix
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	e, _, ok := ix.tags.find(maphash.String(ix.seed, token), func(e uint32) bool {
		q := ix.posts.at(e)
		return q.field == field && equalFolded(ix.postToken(q), token)
	})
	if !ok {
		return nil
	}
	var out []uint32
	for next := e + 1; next != 0; {
		p := ix.posts.at(next - 1)
		if d := p.doc; len(out) == 0 || out[len(out)-1] != d {
			out = append(out, d)
		}
		next = p.prev
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// firstPosting returns the first posting of a document at or after d; postings are in document order.
func (s *snapshot) firstPosting(d uint32) uint32 {
	lo, hi := uint32(0), s.posts.n
	for lo < hi {
		mid := lo + (hi-lo)/2
		if s.posts.at(mid).doc < d {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
