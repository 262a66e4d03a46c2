package check

import (
	"math"
	"slices"
)

// system is a set of unknown losses, one for each hop and group of streams, with linear facts about them. Every loss
// lies in an interval that narrow tightens until nothing changes; a loss whose interval has become one number is exact,
// and it is exact because the numbers leave no other way, not because a rule of thumb chose it.
type system struct {
	lo, hi []float64
	facts  []fact
	groups int // the first facts: what each group lost in all
}

// fact says that the sum of some losses lies in [lo, hi].
type fact struct {
	vars   []int
	lo, hi float64
	why    string
}

// unknown adds a loss in [0, hi].
func (s *system) unknown(hi float64) int {
	s.lo, s.hi = append(s.lo, 0), append(s.hi, hi)
	return len(s.lo) - 1
}

// know adds a fact. Losses cannot be negative: a lower end below zero says nothing, and an upper end below zero means
// that a counter has not counted everything, so the fact is refused.
func (s *system) know(vars []int, lo, hi float64, why string) bool {
	if len(vars) == 0 || math.IsNaN(lo) || math.IsNaN(hi) || hi < 0 {
		return false
	}
	s.facts = append(s.facts, fact{vars, max(lo, 0), hi, why})
	return true
}

// narrow propagates the facts. It returns false when they contradict each other: then a counter does not count what it
// is thought to count, and nothing inside is certain.
func (s *system) narrow() bool {
	const rounds = 100 // each round tightens some interval by a whole record; in practice two or three are enough
	for range rounds {
		changed := false
		for k := range s.facts {
			f := &s.facts[k]
			var sumLo, sumHi float64
			for _, v := range f.vars {
				sumLo += s.lo[v]
				sumHi += s.hi[v]
			}
			if sumLo > f.hi || sumHi < f.lo {
				return false
			}
			for _, v := range f.vars {
				if lo := f.lo - (sumHi - s.hi[v]); lo > s.lo[v] && !math.IsInf(sumHi, 1) {
					s.lo[v], changed = lo, true
				}
				if hi := f.hi - (sumLo - s.lo[v]); hi < s.hi[v] {
					s.hi[v], changed = hi, true
				}
			}
			if changed {
				for _, v := range f.vars {
					if s.lo[v] > s.hi[v] {
						return false
					}
				}
			}
		}
		if !changed {
			return true
		}
	}
	return true
}

// bounds is the interval of a sum of losses. The first facts say what each group lost in all, exactly, so what a group
// lost elsewhere bounds what it lost here; facts about a larger set bound it in the same way.
func (s *system) bounds(vars []int) (lo, hi float64) {
	in := map[int]bool{}
	for _, v := range vars {
		in[v] = true
	}
	part := func(f fact) (lo, hi float64, all bool) {
		var n int
		var inLo, inHi, outLo, outHi float64
		for _, v := range f.vars {
			if in[v] {
				n++
				inLo, inHi = inLo+s.lo[v], inHi+s.hi[v]
			} else {
				outLo, outHi = outLo+s.lo[v], outHi+s.hi[v]
			}
		}
		return max(inLo, f.lo-outHi), min(inHi, f.hi-outLo), n == len(vars)
	}
	for _, f := range s.facts[:s.groups] {
		l, h, _ := part(f)
		lo, hi = lo+l, hi+h
	}
	for _, f := range s.facts[s.groups:] {
		if l, h, all := part(f); all {
			lo, hi = max(lo, l), min(hi, h)
		}
	}
	return lo, hi
}

func (s *system) clone() system {
	return system{slices.Clone(s.lo), slices.Clone(s.hi), slices.Clone(s.facts), s.groups}
}
