package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestPairedNeedsFive(t *testing.T) {
	for n := 1; n <= 4; n++ {
		if i, ok := Paired(make([]float64, n), 0.95); ok || math.Abs(i.Confidence-(1-math.Pow(0.5, float64(n)))) > 1e-12 {
			t.Errorf("%d differences: %+v, %v", n, i, ok)
		}
	}
	i, ok := Paired([]float64{3, 1, 2, 5, 4}, 0.95)
	if !ok || i.Lo != 1 || i.Hi != 5 || i.Estimate != 3 || i.Confidence != 1-1.0/32 || i.N != 5 {
		t.Errorf("five: %+v, %v", i, ok)
	}
	if _, ok := Paired(nil, 0.95); ok {
		t.Error("nothing is enough")
	}
}

// The known critical values: with 10 differences, P(T <= 10) = 0.042 and P(T <= 11) = 0.053.
func TestPairedBoundsOfTen(t *testing.T) {
	var d []float64
	for i := range 10 {
		d = append(d, math.Pow(2, float64(i)))
	}
	i, ok := Paired(d, 0.95)
	if !ok || math.Abs(i.Confidence-(1-43.0/1024)) > 1e-9 {
		t.Errorf("ten: %+v, %v", i, ok)
	}
}

// Each bound is right as often as it says.
func TestPairedCovers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const runs = 4000
	low := 0
	for range runs {
		d := make([]float64, 8)
		for k := range d {
			d[k] = 1 + r.NormFloat64()
		}
		if i, _ := Paired(d, 0.95); i.Lo <= 1 {
			low++
		}
	}
	if share := float64(low) / runs; share < 0.94 {
		t.Errorf("the lower bound held in %.3f of the runs", share)
	}
}
