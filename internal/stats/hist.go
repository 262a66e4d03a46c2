package stats

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"slices"
	"time"
)

// subBits is the number of bits kept below the leading one: a bucket is at most 1/1024 of its lower edge wide, which is
// under 0.1 %.
const subBits = 10

// Unit is the resolution of a Hist: values below it share one bucket.
const Unit = time.Microsecond

// Hist counts durations in log-linear buckets of at most 0.1 % width from 1 us upwards, without an upper clamp. It is
// sparse: its memory follows the number of different buckets hit, so that one histogram for each second and source
// stays small, and merging two is exact. The zero value is empty and ready. It is not safe for concurrent use.
//
// hdrhistogram allocates all its counters at once (225 KB for this range), which is why it is not used here.
type Hist struct {
	counts map[uint32]uint64
	total  uint64
	min    time.Duration
	max    time.Duration
	sum    float64 // ns
}

func index(d time.Duration) uint32 {
	v := uint64(max(d, 0)) / uint64(Unit)
	if v < 1<<(subBits+1) {
		return uint32(v)
	}
	shift := bits.Len64(v) - (subBits + 1)
	return uint32(shift)<<subBits + uint32(v>>shift)
}

// edges returns the half-open range of values that share bucket i.
func edges(i uint32) (lo, hi time.Duration) {
	if i < 1<<(subBits+1) {
		return time.Duration(i) * Unit, time.Duration(i+1) * Unit
	}
	shift := i>>subBits - 1
	m := uint64(i - shift<<subBits)
	return time.Duration(m<<shift) * Unit, time.Duration((m+1)<<shift) * Unit
}

// Record counts one duration; a negative one counts as zero.
func (h *Hist) Record(d time.Duration) { h.RecordN(d, 1) }

// RecordN counts n equal durations.
func (h *Hist) RecordN(d time.Duration, n uint64) {
	if n == 0 {
		return
	}
	d = max(d, 0)
	if h.counts == nil {
		h.counts = make(map[uint32]uint64)
	}
	h.counts[index(d)] += n
	if h.total == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.total += n
	h.sum += float64(d) * float64(n)
}

// Count is the number of durations recorded.
func (h *Hist) Count() uint64 { return h.total }

// Min is the smallest duration recorded, exact; 0 when empty.
func (h *Hist) Min() time.Duration { return h.min }

// Max is the largest duration recorded, exact; 0 when empty.
func (h *Hist) Max() time.Duration { return h.max }

// Mean is the arithmetic mean of the exact values; 0 when empty.
func (h *Hist) Mean() time.Duration {
	if h.total == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.total))
}

// Merge adds the counts of o.
func (h *Hist) Merge(o *Hist) {
	if o.total == 0 {
		return
	}
	if h.counts == nil {
		h.counts = make(map[uint32]uint64, len(o.counts))
	}
	for i, n := range o.counts {
		h.counts[i] += n
	}
	if h.total == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.total += o.total
	h.sum += o.sum
}

// resetMost is how many buckets a histogram keeps the memory of: a map that was large once stays so.
const resetMost = 256

// Reset empties h and keeps its memory, unless that is a lot.
func (h *Hist) Reset() {
	if len(h.counts) > resetMost {
		h.counts = nil
	}
	clear(h.counts)
	h.total, h.min, h.max, h.sum = 0, 0, 0, 0
}

// Bucket is one non-empty bucket: N values in [Lo, Hi).
type Bucket struct {
	Lo, Hi time.Duration
	N      uint64
}

// Buckets returns the non-empty buckets in ascending order.
func (h *Hist) Buckets() []Bucket {
	out := make([]Bucket, 0, len(h.counts))
	for _, i := range h.sorted() {
		lo, hi := edges(i)
		out = append(out, Bucket{lo, hi, h.counts[i]})
	}
	return out
}

func (h *Hist) sorted() []uint32 {
	idx := make([]uint32, 0, len(h.counts))
	for i := range h.counts {
		idx = append(idx, i)
	}
	slices.Sort(idx)
	return idx
}

// Quantile returns the value at or below which the share q (0 to 1) of all recorded durations lies: the upper edge of
// the bucket that holds the ceil(q*n)-th value, never above Max. ok is false when h is empty.
func (h *Hist) Quantile(q float64) (d time.Duration, ok bool) {
	if h.total == 0 {
		return 0, false
	}
	rank := uint64(math.Ceil(q * float64(h.total)))
	rank = min(max(rank, 1), h.total)
	var seen uint64
	for _, i := range h.sorted() {
		seen += h.counts[i]
		if seen >= rank {
			_, hi := edges(i)
			return max(min(hi-1, h.max), h.min), true
		}
	}
	return h.max, true
}

// Above returns how many recorded durations are greater than d, counting the bucket that holds d as not above.
func (h *Hist) Above(d time.Duration) uint64 {
	at := index(d)
	var n uint64
	for i, c := range h.counts {
		if i > at {
			n += c
		}
	}
	return n
}

// AppendBinary appends the compact form that ReadHist reads: varints, delta-coded, without a checksum of its own.
func (h *Hist) AppendBinary(b []byte) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(len(h.counts)))
	b = binary.AppendUvarint(b, uint64(h.min))
	b = binary.AppendUvarint(b, uint64(h.max))
	b = binary.AppendUvarint(b, math.Float64bits(h.sum))
	var last uint32
	for _, i := range h.sorted() {
		b = binary.AppendUvarint(b, uint64(i-last))
		b = binary.AppendUvarint(b, h.counts[i])
		last = i
	}
	return b, nil
}

// AppendCompact appends the form that ReadCompact reads. It is smaller than that of AppendBinary, which is kept for what
// was written before: the extremes are told from their buckets, and the sum is a whole number of nanoseconds.
func (h *Hist) AppendCompact(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(h.counts)))
	if len(h.counts) == 0 {
		return b
	}
	idx := h.sorted()
	var last uint32
	for _, i := range idx {
		b = binary.AppendUvarint(b, uint64(i-last))
		b = binary.AppendUvarint(b, h.counts[i])
		last = i
	}
	first, _ := edges(idx[0])
	end, _ := edges(last)
	b = binary.AppendUvarint(b, uint64(h.min-first))
	b = binary.AppendUvarint(b, uint64(h.max-end))
	return binary.AppendUvarint(b, uint64(min(h.sum, math.MaxInt64)))
}

// ReadCompact decodes one histogram from the front of b and returns the rest.
func ReadCompact(b []byte) (*Hist, []byte, error) {
	bad := false
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			bad, b = true, nil
			return 0
		}
		b = b[n:]
		return v
	}
	n := next()
	switch {
	case bad || n > uint64(len(b))/2: // every bucket takes at least two bytes
		return nil, nil, errHist
	case n == 0:
		return &Hist{}, b, nil
	}
	h := &Hist{counts: make(map[uint32]uint64, n)}
	var at, first uint64
	for k := range n {
		at += next()
		c := next()
		if bad || at > math.MaxUint32 || c == 0 || h.total+c < h.total {
			return nil, nil, errHist
		}
		if k == 0 {
			first = at
		}
		h.counts[uint32(at)] += c
		h.total += c
	}
	lo, loEnd := edges(uint32(first))
	hi, hiEnd := edges(uint32(at))
	h.min, h.max, h.sum = lo+time.Duration(next()), hi+time.Duration(next()), float64(next())
	if bad || h.min < lo || h.min >= loEnd || h.max < hi || h.max >= hiEnd {
		return nil, nil, errHist
	}
	return h, b, nil
}

var errHist = errors.New("histogram: truncated or malformed")

// ReadHist decodes one histogram from the front of b and returns the rest.
func ReadHist(b []byte) (*Hist, []byte, error) {
	var head [4]uint64
	for k := range head {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, nil, errHist
		}
		head[k], b = v, b[n:]
	}
	if head[0] > uint64(len(b)) { // every bucket takes at least two bytes
		return nil, nil, errHist
	}
	h := &Hist{counts: make(map[uint32]uint64, head[0]), min: time.Duration(head[1]), max: time.Duration(head[2]), sum: math.Float64frombits(head[3])}
	var at uint64
	for range head[0] {
		d, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, nil, errHist
		}
		b = b[n:]
		c, n := binary.Uvarint(b)
		if n <= 0 || c == 0 {
			return nil, nil, errHist
		}
		b = b[n:]
		at += d
		if at > math.MaxUint32 {
			return nil, nil, errHist
		}
		h.counts[uint32(at)] += c
		h.total += c
	}
	return h, b, nil
}
