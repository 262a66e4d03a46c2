package stats

import (
	"math/bits"
	"slices"
	"sort"
)

// Span is the half-open range [Lo, Hi) of sequence numbers.
type Span struct {
	Lo, Hi uint64
}

// Len is the number of sequence numbers in s.
func (s Span) Len() uint64 { return s.Hi - s.Lo }

// Set is a set of sequence numbers kept as sorted, disjoint, non-adjacent spans, so its memory follows the number of
// gaps and not of members. Where numbers come in scattered, far behind the end, it keeps a bounded number of bitmap
// pages, so that an insertion costs the same however many gaps are open; they are folded into spans when they are full,
// when there are too many of them, and before the set is read as spans. The zero value is empty. It is not safe for
// concurrent use, not even by readers alone, because reading folds.
type Set struct {
	spans []Span
	n     uint64
	pages []*page // by index; each decides alone which members its range has
	tick  uint64
}

const (
	pageShift = 12 // 4,096 numbers, 512 bytes
	pageLen   = 1 << pageShift
	// maxPages bounds the bitmaps of one set: 34 KB. A reader of 12 partitions works at 12 places at once.
	maxPages = 64
	// nearEnd is the number of spans that are cheaper to move than to look up a page.
	nearEnd = 64
)

// page is the bitmap of one range of pageLen numbers.
type page struct {
	index uint64
	count int
	used  uint64
	words [pageLen / 64]uint64
}

// Spans returns the spans in ascending order; the caller must not change them.
func (s *Set) Spans() []Span {
	s.fold()
	return s.spans
}

// Len is the number of members.
func (s *Set) Len() uint64 { return s.n }

// Max returns the largest member; ok is false when s is empty.
func (s *Set) Max() (m uint64, ok bool) {
	s.fold()
	if len(s.spans) == 0 {
		return 0, false
	}
	return s.spans[len(s.spans)-1].Hi - 1, true
}

// Has reports whether v is a member.
func (s *Set) Has(v uint64) bool {
	if p := s.page(v >> pageShift); p != nil {
		return p.words[v%pageLen/64]>>(v%64)&1 == 1
	}
	i := s.after(v)
	return i > 0 && v < s.spans[i-1].Hi
}

// after returns the index of the first span that begins after v.
func (s *Set) after(v uint64) int {
	if k := len(s.spans); k > 0 && s.spans[k-1].Lo <= v { // the usual case: at the end
		return k
	}
	return sort.Search(len(s.spans), func(i int) bool { return s.spans[i].Lo > v })
}

// Add adds v and reports whether it was new.
func (s *Set) Add(v uint64) bool {
	k := len(s.spans)
	if p := s.page(v >> pageShift); p != nil {
		return s.mark(p, v)
	}
	switch {
	case k == 0 || v > s.spans[k-1].Hi:
		s.spans = append(s.spans, Span{v, v + 1})
		s.n++
		return true
	case v == s.spans[k-1].Hi:
		s.spans[k-1].Hi++
		s.n++
		return true
	}
	i := s.after(v)
	if i > 0 && v < s.spans[i-1].Hi {
		return false
	}
	if k-i < nearEnd {
		return s.insert(Span{v, v + 1}) == 1
	}
	return s.mark(s.open(v>>pageShift), v)
}

// page returns the open page of an index, or nil.
func (s *Set) page(index uint64) *page {
	if len(s.pages) == 0 {
		return nil
	}
	i := s.pageAt(index)
	if i < len(s.pages) && s.pages[i].index == index {
		return s.pages[i]
	}
	return nil
}

func (s *Set) pageAt(index uint64) int {
	lo, hi := 0, len(s.pages)
	for lo < hi {
		if m := (lo + hi) / 2; s.pages[m].index < index {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// mark sets the bit of v in its page.
func (s *Set) mark(p *page, v uint64) bool {
	s.tick++
	p.used = s.tick
	w, bit := &p.words[v%pageLen/64], uint64(1)<<(v%64)
	if *w&bit != 0 {
		return false
	}
	*w |= bit
	p.count++
	s.n++
	if p.count == pageLen {
		s.close(p)
	}
	return true
}

// open makes a page of what the spans have in its range; the page that was not used for longest goes when there are too
// many.
func (s *Set) open(index uint64) *page {
	if len(s.pages) >= maxPages {
		old := s.pages[0]
		for _, p := range s.pages {
			if p.used < old.used {
				old = p
			}
		}
		s.close(old)
	}
	p := &page{index: index}
	lo, hi := index<<pageShift, (index+1)<<pageShift
	for i := sort.Search(len(s.spans), func(i int) bool { return s.spans[i].Hi > lo }); i < len(s.spans) && s.spans[i].Lo < hi; i++ {
		for v := max(s.spans[i].Lo, lo); v < min(s.spans[i].Hi, hi); v++ {
			p.words[v%pageLen/64] |= 1 << (v % 64)
			p.count++
		}
	}
	s.pages = slices.Insert(s.pages, s.pageAt(index), p)
	return p
}

// close turns a page into spans.
func (s *Set) close(p *page) {
	at := s.pageAt(p.index)
	s.pages = slices.Delete(s.pages, at, at+1)
	lo, hi := p.index<<pageShift, (p.index+1)<<pageShift
	// Spans [i, j) overlap or touch the range; what they have in it is in the page too.
	i := sort.Search(len(s.spans), func(i int) bool { return s.spans[i].Hi >= lo })
	j := i
	for j < len(s.spans) && s.spans[j].Lo <= hi {
		j++
	}
	var runs Set
	if i < j && s.spans[i].Lo < lo {
		runs.push(Span{s.spans[i].Lo, min(s.spans[i].Hi, lo)})
	}
	for v := lo; v < hi; {
		w := p.words[v%pageLen/64] >> (v % 64)
		if w == 0 {
			v = (v/64 + 1) * 64
			continue
		}
		v += uint64(bits.TrailingZeros64(w))
		w = p.words[v%pageLen/64] >> (v % 64)
		n := min(uint64(bits.TrailingZeros64(^w)), 64-v%64)
		runs.push(Span{v, v + n})
		v += n
	}
	if i < j && s.spans[j-1].Hi > hi {
		runs.push(Span{max(s.spans[j-1].Lo, hi), s.spans[j-1].Hi})
	}
	s.spans = slices.Replace(s.spans, i, j, runs.spans...)
}

// fold closes every page.
func (s *Set) fold() {
	for len(s.pages) > 0 {
		s.close(s.pages[len(s.pages)-1])
	}
}

// AddSpan adds [Lo, Hi) and returns how many of its members were new.
func (s *Set) AddSpan(a Span) uint64 {
	if a.Hi <= a.Lo {
		return 0
	}
	const short = 256 // above it a span is added as a span whatever lies around it
	k := len(s.spans)
	if k > 0 && len(s.pages) == 0 && a.Lo >= s.spans[k-1].Lo || a.Len() > short {
		s.closeAll(a)
		return s.insert(a)
	}
	if s.covered(a) || k-s.after(a.Lo) >= nearEnd {
		before := s.n
		for v := a.Lo; v < a.Hi; v++ {
			s.Add(v)
		}
		return s.n - before
	}
	return s.insert(a)
}

// covered reports whether an open page overlaps a.
func (s *Set) covered(a Span) bool {
	i := s.pageAt(a.Lo >> pageShift)
	return i < len(s.pages) && s.pages[i].index <= (a.Hi-1)>>pageShift
}

// closeAll closes the pages that overlap a.
func (s *Set) closeAll(a Span) {
	for s.covered(a) {
		s.close(s.pages[s.pageAt(a.Lo>>pageShift)])
	}
}

// insert adds a span of which no number lies in an open page.
func (s *Set) insert(a Span) uint64 {
	// Spans [i, j) overlap or touch a.
	i := sort.Search(len(s.spans), func(i int) bool { return s.spans[i].Hi >= a.Lo })
	j := i
	var had uint64
	m := a
	for ; j < len(s.spans) && s.spans[j].Lo <= a.Hi; j++ {
		o := s.spans[j]
		if lo, hi := max(o.Lo, a.Lo), min(o.Hi, a.Hi); hi > lo {
			had += hi - lo
		}
		m.Lo, m.Hi = min(m.Lo, o.Lo), max(m.Hi, o.Hi)
	}
	if i == j {
		s.spans = append(s.spans, Span{})
		copy(s.spans[i+1:], s.spans[i:])
		s.spans[i] = a
	} else {
		s.spans[i] = m
		s.spans = append(s.spans[:i+1], s.spans[j:]...)
	}
	added := a.Len() - had
	s.n += added
	return added
}

// Union adds all members of o.
func (s *Set) Union(o *Set) {
	for _, sp := range o.Spans() {
		s.AddSpan(sp)
	}
}

// Minus returns the members of s that o lacks.
func (s *Set) Minus(o *Set) *Set {
	s.fold()
	o.fold()
	var out Set
	j := 0
	for _, a := range s.spans {
		lo := a.Lo
		for j < len(o.spans) && o.spans[j].Hi <= lo {
			j++
		}
		for k := j; k < len(o.spans) && o.spans[k].Lo < a.Hi; k++ {
			if o.spans[k].Lo > lo {
				out.push(Span{lo, o.spans[k].Lo})
			}
			lo = max(lo, o.spans[k].Hi)
		}
		if lo < a.Hi {
			out.push(Span{lo, a.Hi})
		}
	}
	return &out
}

// Intersect returns the members that both have.
func (s *Set) Intersect(o *Set) *Set {
	s.fold()
	o.fold()
	var out Set
	i, j := 0, 0
	for i < len(s.spans) && j < len(o.spans) {
		a, b := s.spans[i], o.spans[j]
		if lo, hi := max(a.Lo, b.Lo), min(a.Hi, b.Hi); lo < hi {
			out.push(Span{lo, hi})
		}
		if a.Hi < b.Hi {
			i++
		} else {
			j++
		}
	}
	return &out
}

// push appends a span that lies behind all others.
func (s *Set) push(a Span) {
	if k := len(s.spans); k > 0 && s.spans[k-1].Hi == a.Lo {
		s.spans[k-1].Hi = a.Hi
	} else {
		s.spans = append(s.spans, a)
	}
	s.n += a.Len()
}
