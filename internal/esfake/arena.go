package esfake

import "hash/maphash"

// chunkSize is the size of one arena chunk; a longer record gets a chunk of its own.
const chunkSize = 1 << 20

// place is where a record lies in an arena.
type place struct {
	chunk uint32
	off   uint32
}

// arena keeps byte records that never move and are never freed one by one. Readers that took a copy of chunks may read
// records written before they did so while a writer appends: the bytes are disjoint.
type arena struct {
	pages  *pages
	chunks [][]byte // each of its full length from the start, so that a chunk header never changes
	tail   int      // bytes used of the last chunk
	used   int64
}

// put reserves n bytes and returns them with their place.
func (a *arena) put(n int) ([]byte, place) {
	last := len(a.chunks) - 1
	if last < 0 || len(a.chunks[last])-a.tail < n {
		a.chunks = append(a.chunks, a.pages.get(max(n, chunkSize)))
		a.tail = 0
		last++
	}
	off := a.tail
	a.tail += n
	a.used += int64(n)
	return a.chunks[last][off:a.tail:a.tail], place{uint32(last), uint32(off)}
}

// blockLen is the number of entries in one block of a list.
const blockLen = 1 << 14

// list is an append-only list whose entries never move, so that growing it copies nothing and a reader with a copy of
// the outer slice sees every entry appended before the copy. T has no pointers.
type list[T any] struct {
	pages  *pages
	blocks [][]T
	n      uint32
}

func (l *list[T]) at(i uint32) *T { return &l.blocks[i/blockLen][i%blockLen] }

func (l *list[T]) push(v T) uint32 {
	if l.n%blockLen == 0 {
		l.blocks = append(l.blocks, entries[T](l.pages, blockLen))
	}
	*l.at(l.n) = v
	l.n++
	return l.n - 1
}

// table is an open-addressing hash table of entry numbers; the keys stay where they are (in the arena) and are reached
// through the callbacks. It costs 5 to 11 bytes an entry.
type table struct {
	pages *pages
	slots []uint32 // entry number + 1; 0 is empty
	n     int
}

// find returns the entry with the hash for which eq holds.
func (t *table) find(hash uint64, eq func(entry uint32) bool) (entry uint32, slot int, ok bool) {
	if len(t.slots) == 0 {
		return 0, -1, false
	}
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := t.slots[i]
		if s == 0 {
			return 0, int(i), false
		}
		if eq(s - 1) {
			return s - 1, int(i), true
		}
	}
}

// set stores entry in the slot that find returned, growing the table first when it is three quarters full.
func (t *table) set(hash uint64, slot int, entry uint32, rehash func(entry uint32) uint64) {
	if slot >= 0 && t.slots[slot] != 0 {
		t.slots[slot] = entry + 1
		return
	}
	if (t.n+1)*4 > len(t.slots)*3 {
		old := t.slots
		t.slots = t.grown(max(64, 2*len(old)))
		for _, s := range old {
			if s != 0 {
				t.insert(rehash(s-1), s)
			}
		}
		slot = -1
	}
	t.n++
	if slot >= 0 {
		t.slots[slot] = entry + 1
		return
	}
	t.insert(hash, entry+1)
}

// grown is memory for n slots. Small tables stay in the process: a page holds more.
func (t *table) grown(n int) []uint32 {
	if n < pageSize/4 {
		return make([]uint32, n)
	}
	return entries[uint32](t.pages, n)
}

func (t *table) insert(hash uint64, s uint32) {
	mask := uint64(len(t.slots) - 1)
	i := hash & mask
	for t.slots[i] != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = s
}

// hashFolded hashes tok as its lower-case form.
func hashFolded(seed maphash.Seed, tok []byte) uint64 {
	var buf [maxTokenLen]byte
	b := buf[:len(tok)]
	for i, c := range tok {
		b[i] = lower(c)
	}
	return maphash.Bytes(seed, b)
}
