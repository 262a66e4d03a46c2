package stats

import (
	"iter"
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

// Set is a set of sequence numbers. Where it has few gaps it is sorted spans of 16 bytes each, so its memory follows the
// number of gaps and not of members. Where gaps lie close it is bitmap pages, so that it never takes more than two bits
// for each number between the first and the last, however many gaps are open (a test holds it): this bound is why nothing
// is written to disk. Where numbers come in scattered, far behind the end, a bounded number of pages is kept
// for that, so that an insertion costs the same however many gaps are open.
//
// The zero value is empty. It is not safe for concurrent use, not even by readers alone, because reading tidies up.
type Set struct {
	spans []Span
	pages []*page // by index; a page has all members of its range, and spans none of them
	hot   []*page // of pages, those that were written to lately: they may have few runs
	n     uint64
	tick  uint64
}

const (
	pageShift = 12 // 4,096 numbers, 512 bytes
	pageLen   = 1 << pageShift
	// maxHot bounds the pages of one set that are kept whatever is in them: 35 KB. A reader of 12 partitions works at 12
	// places at once.
	maxHot = 64
	// maxRuns is the number of spans in the range of a page from which the page is smaller.
	maxRuns = 32
	// nearEnd is the number of spans that are cheaper to move than to look up a page.
	nearEnd = 64
)

// page is the bitmap of one range of pageLen numbers.
type page struct {
	index uint64
	count int
	hot   bool
	used  uint64
	words [pageLen / 64]uint64
}

func (p *page) span() Span { return Span{p.index << pageShift, (p.index + 1) << pageShift} }

func (p *page) has(v uint64) bool { return p.words[v%pageLen/64]>>(v%64)&1 == 1 }

// runs is the number of spans that the page would be.
func (p *page) runs() int {
	n := 0
	var last uint64 // the bit before the word
	for _, w := range p.words {
		n += bits.OnesCount64(w &^ (w<<1 | last))
		last = w >> 63
	}
	return n
}

// next returns the first run at or after v, cut off at the end of the page.
func (p *page) next(v uint64) (Span, bool) {
	hi := p.span().Hi
	for v < hi {
		w := p.words[v%pageLen/64] >> (v % 64)
		if w == 0 {
			v = (v/64 + 1) * 64
			continue
		}
		lo := v + uint64(bits.TrailingZeros64(w))
		for v = lo; v < hi; {
			left := 64 - v%64
			n := min(uint64(bits.TrailingZeros64(^(p.words[v%pageLen/64] >> (v % 64)))), left)
			v += n
			if n < left {
				break
			}
		}
		return Span{lo, v}, true
	}
	return Span{}, false
}

// fill sets the bits of a, which lies in the page, and returns how many were new.
func (p *page) fill(a Span) uint64 {
	before := p.count
	for v := a.Lo; v < a.Hi; {
		n := min(64-v%64, a.Hi-v)
		mask := ^uint64(0) >> (64 - n) << (v % 64)
		w := &p.words[v%pageLen/64]
		p.count += bits.OnesCount64(mask &^ *w)
		*w |= mask
		v += n
	}
	return uint64(p.count - before)
}

// Spans returns the spans in ascending order; the caller must not change them. All needs no memory for them.
func (s *Set) Spans() []Span {
	s.tidy()
	if len(s.pages) == 0 {
		return s.spans
	}
	return slices.Collect(s.All())
}

// All iterates over the spans in ascending order: disjoint, and none touches the next.
func (s *Set) All() iter.Seq[Span] {
	return func(yield func(Span) bool) {
		c := s.cursor()
		for a, ok := c.next(); ok; a, ok = c.next() {
			if !yield(a) {
				return
			}
		}
	}
}

// Gaps is the number of gaps between members.
func (s *Set) Gaps() int {
	n := -1
	for range s.All() {
		n++
	}
	return max(n, 0)
}

// cursor walks over the spans of a set that does not change meanwhile.
type cursor struct {
	s    *Set
	i, p int
	at   uint64 // in page p
	held Span   // the next to be returned, which may still grow
	have bool
}

func (s *Set) cursor() cursor {
	s.tidy()
	c := cursor{s: s}
	c.held, c.have = c.piece()
	return c
}

// next returns the next span.
func (c *cursor) next() (Span, bool) {
	if !c.have {
		return Span{}, false
	}
	out := c.held
	for {
		c.held, c.have = c.piece()
		if !c.have || c.held.Lo > out.Hi {
			return out, true
		}
		out.Hi = c.held.Hi // two pieces that meet at the border of a page
	}
}

func (c *cursor) piece() (Span, bool) {
	s := c.s
	for c.p < len(s.pages) {
		p := s.pages[c.p]
		if c.i < len(s.spans) && s.spans[c.i].Lo < p.span().Lo {
			break
		}
		if a, ok := p.next(max(c.at, p.span().Lo)); ok {
			c.at = a.Hi
			return a, true
		}
		c.p++
	}
	if c.i < len(s.spans) {
		c.i++
		return s.spans[c.i-1], true
	}
	return Span{}, false
}

// Len is the number of members.
func (s *Set) Len() uint64 { return s.n }

// Max returns the largest member; ok is false when s is empty.
func (s *Set) Max() (m uint64, ok bool) {
	if k := len(s.spans); k > 0 {
		m, ok = s.spans[k-1].Hi-1, true
	}
	if k := len(s.pages); k > 0 {
		p := s.pages[k-1] // a page is never empty
		for i := len(p.words) - 1; i >= 0; i-- {
			if p.words[i] != 0 {
				return max(m, p.span().Lo+uint64(i)*64+uint64(bits.Len64(p.words[i]))-1), true
			}
		}
	}
	return m, ok
}

// Has reports whether v is a member.
func (s *Set) Has(v uint64) bool {
	if p := s.page(v >> pageShift); p != nil {
		return p.has(v)
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
	if p := s.page(v >> pageShift); p != nil {
		return s.mark(p, Span{v, v + 1}) == 1
	}
	k := len(s.spans)
	switch {
	case k == 0 || v > s.spans[k-1].Hi:
		s.spans = append(s.spans, Span{v, v + 1})
		s.n++
		s.crowded(k)
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
	return s.mark(s.open(v>>pageShift), Span{v, v + 1}) == 1
}

// page returns the page of an index, or nil.
func (s *Set) page(index uint64) *page {
	k := len(s.pages)
	if k == 0 || s.pages[k-1].index < index {
		return nil
	}
	if i := s.pageAt(index); s.pages[i].index == index {
		return s.pages[i]
	}
	return nil
}

// pageAt returns the place of the first page whose index is at least that.
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

// mark sets the bits of a in its page and returns how many were new.
func (s *Set) mark(p *page, a Span) uint64 {
	s.tick++
	p.used = s.tick
	if !p.hot {
		s.heat(p)
	}
	var added uint64
	if a.Len() == 1 {
		w, bit := &p.words[a.Lo%pageLen/64], uint64(1)<<(a.Lo%64)
		if *w&bit != 0 {
			return 0
		}
		*w |= bit
		p.count++
		added = 1
	} else {
		added = p.fill(a)
	}
	s.n += added
	if p.count == pageLen {
		s.cool(p)
	}
	return added
}

// heat makes p one of the pages that are written to; the one that was not for longest cools when there are too many.
func (s *Set) heat(p *page) {
	if len(s.hot) >= maxHot {
		old := s.hot[0]
		for _, q := range s.hot {
			if q.used < old.used {
				old = q
			}
		}
		s.cool(old)
	}
	p.hot = true
	s.hot = append(s.hot, p)
}

// cool turns a hot page into spans, if that is smaller.
func (s *Set) cool(p *page) {
	i := slices.Index(s.hot, p)
	s.hot[i] = s.hot[len(s.hot)-1]
	s.hot = s.hot[:len(s.hot)-1]
	p.hot = false
	if p.runs() <= maxRuns {
		s.melt(p)
	}
}

// open makes a hot page of what the spans have in its range.
func (s *Set) open(index uint64) *page {
	p := s.take(index)
	s.tick++
	p.used = s.tick
	s.heat(p)
	return p
}

// take moves what the spans have in the range of a page that is not there yet into it.
func (s *Set) take(index uint64) *page {
	p := &page{index: index}
	r := p.span()
	i := sort.Search(len(s.spans), func(i int) bool { return s.spans[i].Hi > r.Lo })
	j := i
	var rest [2]Span
	k := 0
	for ; j < len(s.spans) && s.spans[j].Lo < r.Hi; j++ {
		a := s.spans[j]
		p.fill(Span{max(a.Lo, r.Lo), min(a.Hi, r.Hi)})
		if a.Lo < r.Lo {
			rest[k] = Span{a.Lo, r.Lo}
			k++
		}
		if a.Hi > r.Hi {
			rest[k] = Span{r.Hi, a.Hi}
			k++
		}
	}
	if i < j {
		s.spans = slices.Replace(s.spans, i, j, rest[:k]...)
	}
	s.pages = slices.Insert(s.pages, s.pageAt(index), p)
	return p
}

// melt turns a page, which is not hot, into spans.
func (s *Set) melt(p *page) {
	at := s.pageAt(p.index)
	s.pages = slices.Delete(s.pages, at, at+1)
	r := p.span()
	// Spans [i, j) touch the range: at most one on each side.
	i := sort.Search(len(s.spans), func(i int) bool { return s.spans[i].Hi >= r.Lo })
	j := i
	for j < len(s.spans) && s.spans[j].Lo <= r.Hi {
		j++
	}
	runs := make([]Span, 0, maxRuns+2)
	push := func(a Span) {
		if k := len(runs); k > 0 && runs[k-1].Hi == a.Lo {
			runs[k-1].Hi = a.Hi
		} else {
			runs = append(runs, a)
		}
	}
	if i < j && s.spans[i].Lo < r.Lo {
		push(s.spans[i])
	}
	for a, ok := p.next(r.Lo); ok; a, ok = p.next(a.Hi) {
		push(a)
	}
	if i < j && s.spans[j-1].Hi > r.Hi {
		push(s.spans[j-1])
	}
	s.spans = slices.Replace(s.spans, i, j, runs...)
}

// tidy cools every page.
func (s *Set) tidy() {
	for len(s.hot) > 0 {
		s.cool(s.hot[len(s.hot)-1])
	}
}

// crowded makes a page around span i when there are so many spans that it is smaller. It looks at some of the windows of
// maxRuns spans around i: one of them is full when there are a quarter more.
func (s *Set) crowded(i int) {
	index := s.spans[i].Lo >> pageShift
	for from := i - maxRuns; from <= i; from += maxRuns / 4 {
		if from >= 0 && from+maxRuns < len(s.spans) && s.spans[from].Lo>>pageShift == index && s.spans[from+maxRuns].Lo>>pageShift == index {
			s.take(index)
			return
		}
	}
}

// AddSpan adds [Lo, Hi) and returns how many of its members were new.
func (s *Set) AddSpan(a Span) uint64 {
	if a.Hi <= a.Lo {
		return 0
	}
	const short = 256 // above it a span is added as a span whatever lies around it
	k := len(s.spans)
	if a.Len() <= short && (k > 0 && a.Lo < s.spans[k-1].Lo) && k-s.after(a.Lo) >= nearEnd {
		before := s.n
		for v := a.Lo; v < a.Hi; v++ {
			s.Add(v)
		}
		return s.n - before
	}
	if len(s.pages) == 0 || s.pages[len(s.pages)-1].index < a.Lo>>pageShift {
		return s.insert(a)
	}
	before := s.n
	for a.Lo < a.Hi {
		i := s.pageAt(a.Lo >> pageShift)
		if i == len(s.pages) || s.pages[i].span().Lo >= a.Hi {
			s.insert(a)
			break
		}
		p := s.pages[i]
		r := p.span()
		if a.Lo < r.Lo {
			s.insert(Span{a.Lo, r.Lo})
			a.Lo = r.Lo
		}
		part := Span{a.Lo, min(a.Hi, r.Hi)}
		s.mark(p, part)
		a.Lo = part.Hi
	}
	return s.n - before
}

// insert adds a span of which no number lies in the range of a page.
func (s *Set) insert(a Span) uint64 {
	// Spans [i, j) overlap or touch a.
	i := len(s.spans)
	if i > 0 && s.spans[i-1].Hi >= a.Lo {
		i = sort.Search(len(s.spans), func(i int) bool { return s.spans[i].Hi >= a.Lo })
	}
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
	added := a.Len() - had
	s.n += added
	if i < j {
		s.spans[i] = m
		s.spans = append(s.spans[:i+1], s.spans[j:]...)
		return added
	}
	s.spans = slices.Insert(s.spans, i, a)
	s.crowded(i)
	return added
}

// Union adds all members of o.
func (s *Set) Union(o *Set) {
	for a := range o.All() {
		s.AddSpan(a)
	}
}

// Minus returns the members of s that o lacks.
func (s *Set) Minus(o *Set) *Set {
	var out Set
	c := o.cursor()
	b, ok := c.next()
	for a := range s.All() {
		for ok && b.Hi <= a.Lo {
			b, ok = c.next()
		}
		for ok && b.Lo < a.Hi {
			if b.Lo > a.Lo {
				out.AddSpan(Span{a.Lo, b.Lo})
			}
			a.Lo = b.Hi
			if b.Hi >= a.Hi {
				break // it may reach into the next as well
			}
			b, ok = c.next()
		}
		if a.Lo < a.Hi {
			out.AddSpan(a)
		}
	}
	out.tidy()
	return &out
}

// Intersect returns the members that both have.
func (s *Set) Intersect(o *Set) *Set {
	var out Set
	c := o.cursor()
	b, ok := c.next()
	for a := range s.All() {
		for ok && b.Lo < a.Hi {
			if lo, hi := max(a.Lo, b.Lo), min(a.Hi, b.Hi); lo < hi {
				out.AddSpan(Span{lo, hi})
			}
			if b.Hi > a.Hi {
				break // it may reach into the next as well
			}
			b, ok = c.next()
		}
	}
	out.tidy()
	return &out
}
