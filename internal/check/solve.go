package check

import "math"

// system is a set of unknown losses, one for each hop and group of streams, with linear facts about them. Every loss
// lies in an interval that narrow tightens until nothing changes; a loss whose interval has become one number is exact,
// and it is exact because the numbers leave no other way, not because a rule of thumb chose it.
type system struct {
	lo, hi []float64
	facts  []fact
}

// fact says that the sum of some losses lies in [lo, hi].
type fact struct {
	vars   []int
	lo, hi float64
	why    string
	used   bool // it tightened something
}

// unknown adds a loss in [0, hi].
func (s *system) unknown(hi float64) int {
	s.lo, s.hi = append(s.lo, 0), append(s.hi, hi)
	return len(s.lo) - 1
}

// know adds a fact. Losses cannot be negative, so neither can lo.
func (s *system) know(vars []int, lo, hi float64, why string) {
	if len(vars) > 0 && !math.IsNaN(lo) && !math.IsNaN(hi) {
		s.facts = append(s.facts, fact{vars, max(lo, 0), max(hi, 0), why, false})
	}
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
					s.lo[v], changed, f.used = lo, true, true
				}
				if hi := f.hi - (sumLo - s.lo[v]); hi < s.hi[v] {
					s.hi[v], changed, f.used = hi, true, true
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

// bounds is the interval of a sum of losses: the sum of their intervals, narrowed by facts about exactly these.
func (s *system) bounds(vars []int) (lo, hi float64) {
	for _, v := range vars {
		lo += s.lo[v]
		hi += s.hi[v]
	}
	for _, f := range s.facts {
		if sameVars(f.vars, vars) {
			lo, hi = max(lo, f.lo), min(hi, f.hi)
		}
	}
	return lo, hi
}

func sameVars(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	in := map[int]bool{}
	for _, v := range a {
		in[v] = true
	}
	for _, v := range b {
		if !in[v] {
			return false
		}
	}
	return true
}
