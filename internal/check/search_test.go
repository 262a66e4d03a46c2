package check

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"triad/internal/scenario"
)

func searched(from, to, precision float64) *scenario.Search {
	return &scenario.Search{From: scenario.Rate(from), To: scenario.Rate(to), Precision: scenario.Share(precision), Tries: 64, Step: scenario.Duration(10 * time.Second)}
}

// play runs a search against a system that answers as told, and returns its tries.
func play(c *scenario.Search, answer func(rate float64, n int) Verdict) []Try {
	var tries []Try
	for {
		rate, ok := NextTry(c, tries)
		if !ok {
			return tries
		}
		tries = append(tries, Try{Rate: rate, Verdict: answer(rate, len(tries)), Why: "as told"})
	}
}

func rates(tries []Try) []float64 {
	var out []float64
	for _, t := range tries {
		out = append(out, t.Rate)
	}
	return out
}

// Whatever the capacity, a system that answers the same each time is found within the precision, and twice, and what must pass did or did not.
func TestSearchFindsCapacity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.Float64Range(1, 1000).Draw(t, "from")
		to := from * rapid.Float64Range(1.5, 200).Draw(t, "span")
		precision := rapid.Float64Range(0.02, 0.5).Draw(t, "precision")
		capacity := from * rapid.Float64Range(0.5, 300).Draw(t, "capacity")
		c := searched(from, to, precision)
		least := rapid.Float64Range(from, to).Draw(t, "at least")
		c.AtLeast = scenario.Rate(least)
		tries := play(c, func(rate float64, _ int) Verdict {
			if rate <= capacity {
				return Pass
			}
			return Fail
		})
		b := bracketOf(tries)
		for _, x := range tries {
			if x.Rate < from || x.Rate > to {
				t.Fatalf("tried %v outside %v to %v", x.Rate, from, to)
			}
		}
		switch {
		case capacity < from:
			if len(tries) != 1 || b.failed != from {
				t.Fatalf("capacity %v below %v: tried %v", capacity, from, rates(tries))
			}
		case capacity >= to:
			if b.passed != to || b.failed != 0 || b.byRate[to].pass != passTwice {
				t.Fatalf("capacity %v above %v: %+v, tried %v", capacity, to, b, rates(tries))
			}
		default:
			if b.passed > capacity || b.failed <= capacity || b.failed/b.passed > 1+precision+0.011 || b.byRate[b.passed].pass != passTwice {
				t.Fatalf("capacity %v: between %v and %v, tried %v", capacity, b.passed, b.failed, rates(tries))
			}
			if b.passed < least && least < b.failed {
				t.Fatalf("capacity %v, %v must pass: between %v and %v, tried %v", capacity, least, b.passed, b.failed, rates(tries))
			}
		}
	})
}

// Whatever a system answers, a search ends: at most askedMost times each rate, and never more than its tries.
func TestSearchEnds(t *testing.T) {
	verdicts := []Verdict{Pass, Fail, Invalid, Inconclusive}
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 1))
		c := searched(100, 100_000, 0.02)
		c.Tries = 2 + rng.IntN(40)
		tries := play(c, func(float64, int) Verdict { return verdicts[rng.IntN(4)] })
		if len(tries) == 0 || len(tries) > c.Tries {
			t.Fatalf("seed %d: %d tries of %d", seed, len(tries), c.Tries)
		}
		asked := map[float64]int{}
		for _, x := range tries {
			if asked[x.Rate]++; asked[x.Rate] > askedMost {
				t.Fatalf("seed %d: %v tried too often: %v", seed, x.Rate, rates(tries))
			}
		}
	}
}

// The same tries lead to the same rate, in whatever order they were made.
func TestSearchIsAFunctionOfItsTries(t *testing.T) {
	c := searched(250, 8000, 0.1)
	tries := play(c, func(rate float64, _ int) Verdict {
		if rate <= 1830 {
			return Pass
		}
		return Fail
	})
	for n := 1; n < len(tries); n++ {
		some := append([]Try(nil), tries[:n]...)
		want, wok := NextTry(c, some)
		rand.New(rand.NewPCG(3, uint64(n))).Shuffle(n, func(i, k int) { some[i], some[k] = some[k], some[i] })
		if got, ok := NextTry(c, some); got != want || ok != wok {
			t.Fatalf("%v in another order: %v, not %v", rates(some), got, want)
		}
	}
	if last := tries[len(tries)-1].Rate; last > 1830 || last < 1830/1.11 {
		t.Fatalf("the last try is %v: %v", last, rates(tries))
	}
}

// A try that the machine spoiled once is made again, and one that it spoils each time bounds the search from above without
// being a failure of the system.
func TestSearchAndABusyMachine(t *testing.T) {
	c := searched(250, 8000, 0.1)
	spoiled := false
	b := bracketOf(play(c, func(rate float64, _ int) Verdict {
		switch {
		case rate == 1000 && !spoiled:
			spoiled = true
			return Invalid
		case rate <= 1830:
			return Pass
		}
		return Fail
	}))
	if b.open != 0 || b.passed == 0 || b.failed == 0 || b.failed/b.passed > 1.11 {
		t.Fatalf("%+v", b)
	}
	b = bracketOf(play(c, func(rate float64, _ int) Verdict {
		if rate <= 1830 {
			return Pass
		}
		return Invalid
	}))
	if b.failed != 0 || !b.openHarness || b.open/b.passed > 1.11 || math.IsNaN(b.open) {
		t.Fatalf("%+v", b)
	}
}
