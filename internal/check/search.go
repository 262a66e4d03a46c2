package check

import (
	"math"
	"slices"
	"strconv"

	"triad/internal/scenario"
)

// Bounds of a search besides those of its scenario.
const (
	// passTwice is how often the highest rate must pass: once may be luck, and everything else that is said rests on it.
	passTwice = 2
	// openMost is how often a rate that could not be judged is tried before the search takes it as the end of what the harness
	// can do: a machine that was busy for a moment is not a limit.
	openMost = 3
	// askedMost is how often one rate is tried at all.
	askedMost = 4
)

// bracket is what a list of tries says about the capacity.
type bracket struct {
	passed, failed, open float64 // 0: none
	openWhy              string  // what kept the open rate from being judged
	openHarness          bool
	against              float64 // a rate that passed above one that failed, and never failed itself
	byRate               map[float64]*tally
}

type tally struct{ pass, fail, invalid, inconclusive int }

func (t *tally) open() int { return t.invalid + t.inconclusive }
func (t *tally) all() int  { return t.pass + t.fail + t.open() }

// bracketOf sorts tries. One fail counts for a rate, whatever else it did: near its limit a system bears a rate once and not the next time. A rate
// counts as passed when it passed and nothing at it or below it failed.
func bracketOf(tries []Try) bracket {
	b := bracket{byRate: map[float64]*tally{}}
	for _, t := range tries {
		x := b.byRate[t.Rate]
		if x == nil {
			x = &tally{}
			b.byRate[t.Rate] = x
		}
		switch t.Verdict {
		case Pass:
			x.pass++
		case Fail:
			x.fail++
		case Invalid:
			x.invalid++
		default:
			x.inconclusive++
		}
	}
	for r, x := range b.byRate {
		if x.fail > 0 && (b.failed == 0 || r < b.failed) {
			b.failed = r
		}
	}
	for r, x := range b.byRate {
		switch {
		case x.pass == 0:
		case b.failed == 0 || r < b.failed:
			b.passed = max(b.passed, r)
		case x.fail == 0:
			b.against = max(b.against, r)
		}
	}
	for r, x := range b.byRate {
		if x.pass == 0 && x.fail == 0 && r > b.passed && (b.failed == 0 || r < b.failed) && (b.open == 0 || r < b.open) {
			b.open, b.openHarness = r, x.invalid > 0
		}
	}
	for _, t := range tries {
		if t.Rate == b.open {
			b.openWhy = t.Why
		}
	}
	return b
}

// upper is the lowest rate above the passed one that does not pass, for whatever reason; 0: none.
func (b bracket) upper() float64 {
	if b.open > 0 {
		return b.open
	}
	return b.failed
}

// NextTry is the rate that a search tries after the given tries, a pure function of both: doubling until a rate does not pass,
// then the geometric middle, because precision is a ratio, then the rate that must pass where that is still open, and at last the
// highest rate that passed once more. ok is false when the search is over.
func NextTry(c *scenario.Search, tries []Try) (rate float64, ok bool) {
	if len(tries) == 0 {
		return float64(c.From), true
	}
	if len(tries) >= c.Tries {
		return 0, false
	}
	b := bracketOf(tries)
	upper := b.upper()
	switch {
	case b.open > 0 && b.byRate[b.open].open() < openMost:
		return b.open, true
	case b.passed == 0:
		return 0, false // the lowest rate does not pass
	case upper == 0 && b.passed < float64(c.To):
		return min(2*b.passed, float64(c.To)), true
	case upper > 0 && upper/b.passed > 1+float64(c.Precision):
		if mid := round3(math.Sqrt(b.passed * upper)); mid > b.passed && mid < upper {
			return mid, true
		}
	}
	if least := float64(c.AtLeast); b.passed < least && least < upper {
		return least, true // what must pass is between what did and what did not
	}
	if x := b.byRate[b.passed]; x.pass < passTwice && x.all() < askedMost {
		return b.passed, true
	}
	return 0, false
}

// round3 keeps three digits: no search is more precise, and people read these figures.
func round3(v float64) float64 {
	f, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	if err != nil {
		return v
	}
	return f
}

// rates lists the rates tried, ascending.
func (b bracket) rates() []float64 {
	var out []float64
	for r := range b.byRate {
		out = append(out, r)
	}
	slices.Sort(out)
	return out
}
