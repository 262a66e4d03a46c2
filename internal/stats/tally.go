package stats

import (
	"math/bits"
	"time"
)

// tallyPage is the number of neighbouring buckets that a Tally keeps side by side: 512 bytes.
const tallyPage = 128

// tallyPages is the number of pages that the longest duration reaches.
const tallyPages = (64-(subBits+1))<<subBits/tallyPage + 1<<(subBits+1)/tallyPage

// Tally counts durations for a Hist, in the same buckets, where they come by the million: a count is an addition to an array in place
// of a search in a map. It keeps the memory of every page that was ever hit, so it is for who fills it again and again and not
// for what is kept. The zero value is empty and ready. It is not safe for concurrent use.
type Tally struct {
	pages [tallyPages]*[tallyPage]uint32
	hit   [(tallyPages + 63) / 64]uint64 // pages that have counts
	total uint64
	min   time.Duration
	max   time.Duration
	sum   float64 // ns
}

// Record counts one duration; a negative one counts as zero.
func (t *Tally) Record(d time.Duration) {
	d = max(d, 0)
	i := index(d)
	n := i / tallyPage % tallyPages
	p := t.pages[n]
	if p == nil {
		p = new([tallyPage]uint32)
		t.pages[n] = p
	}
	p[i%tallyPage]++
	t.hit[n/64] |= 1 << (n % 64)
	if d < t.min || t.total == 0 {
		t.min = d
	}
	t.max = max(t.max, d)
	t.sum += float64(d)
	t.total++
}

// Count is the number of durations recorded.
func (t *Tally) Count() uint64 { return t.total }

// Drain adds what t has counted to h and empties it.
func (t *Tally) Drain(h *Hist) {
	if t.total == 0 {
		return
	}
	if h.counts == nil {
		h.counts = make(map[uint32]uint64)
	}
	for w, set := range t.hit {
		for ; set != 0; set &= set - 1 {
			n := w*64 + bits.TrailingZeros64(set)
			for k, c := range t.pages[n] {
				if c > 0 {
					h.counts[uint32(n*tallyPage+k)] += uint64(c)
				}
			}
			clear(t.pages[n][:])
		}
	}
	if h.total == 0 || t.min < h.min {
		h.min = t.min
	}
	h.max = max(h.max, t.max)
	h.total += t.total
	h.sum += t.sum
	clear(t.hit[:])
	t.total, t.min, t.max, t.sum = 0, 0, 0, 0
}
