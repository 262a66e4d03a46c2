package stats

import "sort"

// Span is the half-open range [Lo, Hi) of sequence numbers.
type Span struct {
	Lo, Hi uint64
}

// Len is the number of sequence numbers in s.
func (s Span) Len() uint64 { return s.Hi - s.Lo }

// Set is a set of sequence numbers kept as sorted, disjoint, non-adjacent spans, so its memory follows the number of
// gaps and not of members. The zero value is empty. It is not safe for concurrent use.
type Set struct {
	spans []Span
	n     uint64
}

// Spans returns the spans in ascending order; the caller must not change them.
func (s *Set) Spans() []Span { return s.spans }

// Len is the number of members.
func (s *Set) Len() uint64 { return s.n }

// Max returns the largest member; ok is false when s is empty.
func (s *Set) Max() (m uint64, ok bool) {
	if len(s.spans) == 0 {
		return 0, false
	}
	return s.spans[len(s.spans)-1].Hi - 1, true
}

// Has reports whether v is a member.
func (s *Set) Has(v uint64) bool {
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
	if k := len(s.spans); k > 0 && s.spans[k-1].Hi == v {
		s.spans[k-1].Hi++
		s.n++
		return true
	}
	return s.AddSpan(Span{v, v + 1}) == 1
}

// AddSpan adds [Lo, Hi) and returns how many of its members were new.
func (s *Set) AddSpan(a Span) uint64 {
	if a.Hi <= a.Lo {
		return 0
	}
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
	for _, sp := range o.spans {
		s.AddSpan(sp)
	}
}

// Minus returns the members of s that o lacks.
func (s *Set) Minus(o *Set) *Set {
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
