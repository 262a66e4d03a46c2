package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Tables of the Mann-Whitney test: with 4 and 4 nothing but the range can be said with 95 %, and it is worth 1 - 2/70.
func TestShiftOfFew(t *testing.T) {
	i, ok := Shift([]float64{1, 2, 3, 4}, []float64{11, 12, 13, 14}, 0.95)
	if !ok || i.Estimate != 10 || i.Lo != 7 || i.Hi != 13 || math.Abs(i.Confidence-(1-2.0/70)) > 1e-12 {
		t.Errorf("%+v %v", i, ok)
	}
	i, ok = Shift([]float64{1, 2, 3}, []float64{11, 12, 13}, 0.95)
	if ok || i.Lo != 8 || i.Hi != 12 || math.Abs(i.Confidence-0.9) > 1e-12 {
		t.Errorf("%+v %v", i, ok)
	}
	// 6 and 6: U of 5 is the largest below 5 % in the tables, which leaves 95.9 %.
	a, b := []float64{0, 100, 200, 300, 400, 500}, []float64{1, 102, 204, 308, 416, 532}
	i, ok = Shift(a, b, 0.95)
	if !ok || i.Confidence < 0.95 || i.Confidence > 0.97 {
		t.Errorf("%+v %v", i, ok)
	}
	if _, ok := Shift(nil, b, 0.95); ok {
		t.Error("an interval of nothing")
	}
}

// The interval holds the true shift as often as it says.
func TestShiftCovers(t *testing.T) {
	for _, n := range []int{4, 6, 9, 60} {
		rng := rand.New(rand.NewPCG(7, uint64(n)))
		const trials = 400
		miss := 0
		for range trials {
			a, b := make([]float64, n), make([]float64, n)
			for i := range n {
				a[i], b[i] = rng.ExpFloat64(), rng.ExpFloat64()+3
			}
			if i, ok := Shift(a, b, 0.95); !ok || i.Lo > 3 || i.Hi < 3 {
				miss++
			}
		}
		if miss > trials*8/100 { // 5 % are allowed; 8 % are three standard errors away
			t.Errorf("%d and %d: missed %d of %d", n, n, miss, trials)
		}
	}
}

func TestAdjusted(t *testing.T) {
	got := Adjusted([]float64{0.04, 0.01, 0.03, 0.5})
	for i, want := range []float64{0.09, 0.04, 0.09, 0.5} {
		if math.Abs(got[i]-want) > 1e-12 {
			t.Errorf("%d: %g, want %g", i, got[i], want)
		}
	}
	if len(Adjusted(nil)) != 0 {
		t.Error("something of nothing")
	}
}

func TestMoreOften(t *testing.T) {
	for _, c := range []struct {
		w, m, x, n int
		want       float64
	}{
		{0, 4, 4, 4, 1.0 / 70},
		{0, 4, 3, 4, 4.0 / 56},
		{0, 5, 1, 5, 0.5},
		{5, 5, 5, 5, 1},
		{0, 0, 3, 3, 1},
		{0, 5, 0, 5, 1},
	} {
		if got := MoreOften(c.w, c.m, c.x, c.n); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v: %g", c, got)
		}
	}
}
