package stats

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// A Hist that was filled by way of a Tally is the one that was filled directly, whatever came and however often it was drained.
func TestTallyIsAHist(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var tally Tally
	for round := range 50 {
		var direct, drained Hist
		for n := range 2000 {
			d := time.Duration(r.Uint64() >> (1 + r.IntN(63)))
			switch {
			case n%100 == 0:
				d = -d
			case n == 77 && round%2 == 0:
				d = math.MaxInt64
			}
			direct.Record(d)
			tally.Record(d)
			if n%700 == 0 {
				tally.Drain(&drained)
			}
		}
		tally.Drain(&drained)
		if tally.Count() != 0 || drained.Count() != direct.Count() || drained.Min() != direct.Min() || drained.Max() != direct.Max() {
			t.Fatalf("round %d: %d values in [%v, %v], want %d in [%v, %v]", round, drained.Count(), drained.Min(), drained.Max(), direct.Count(), direct.Min(), direct.Max())
		}
		// The sums are of the same numbers in another order.
		if a, b := float64(drained.Mean()), float64(direct.Mean()); math.Abs(a-b) > 1e-9*math.Abs(b)+1 {
			t.Fatalf("round %d: mean %v, want %v", round, drained.Mean(), direct.Mean())
		}
		drained.sum = direct.sum
		if !bytes.Equal(drained.AppendCompact(nil), direct.AppendCompact(nil)) {
			t.Fatalf("round %d: other buckets", round)
		}
	}
	var empty Hist
	tally.Drain(&empty)
	if empty.Count() != 0 {
		t.Error("draining an empty tally counted something")
	}
}

func BenchmarkTally(b *testing.B) {
	var t Tally
	for i := 0; b.Loop(); i++ {
		t.Record(time.Duration(i&0xffff) * 100)
	}
}
