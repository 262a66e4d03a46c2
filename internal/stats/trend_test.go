package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

func ramp(n int, f func(i int) float64) (xs, ys []float64) {
	for i := range n {
		xs, ys = append(xs, float64(i)), append(ys, f(i))
	}
	return xs, ys
}

// The ten slopes, by hand: -.15 -.13 -.08 -.07 -.0575 -.055 -.045 -.0333 .01 .04.
func TestTheilSenByHand(t *testing.T) {
	s := TheilSen([]float64{1, 2, 3, 4, 5}, []float64{1.26, 1.27, 1.12, 1.16, 1.03})
	if math.Abs(s.At+0.05625) > 1e-9 {
		t.Fatalf("slope %v", s.At)
	}
}

func TestTheilSenIgnoresOutliers(t *testing.T) {
	s := TheilSen(ramp(40, func(i int) float64 {
		if i%5 == 2 {
			return 1e6
		}
		return 100 + 3*float64(i)
	}))
	if math.Abs(s.At-3) > 1e-9 || s.Lo > 3 || s.Hi < 3 {
		t.Fatalf("%+v", s)
	}
}

func TestTheilSenNeedsPoints(t *testing.T) {
	for n := range 5 {
		s := TheilSen(ramp(n, func(i int) float64 { return float64(i) }))
		if !math.IsInf(s.Lo, -1) || !math.IsInf(s.Hi, 1) {
			t.Errorf("%d points bound the slope to %v..%v", n, s.Lo, s.Hi)
		}
	}
	if s := TheilSen([]float64{1, 1, 1}, []float64{1, 2, 3}); !math.IsNaN(s.At) {
		t.Errorf("points of one time have the slope %v", s.At)
	}
}

// The interval holds the true slope about as often as it says, also when neighbours are correlated.
func TestTheilSenCoverage(t *testing.T) {
	const rounds, n, slope = 600, 40, 0.5
	for _, corr := range []float64{0, 0.5} {
		rng := rand.New(rand.NewPCG(7, uint64(corr*10)))
		held := 0
		for range rounds {
			e := 0.0
			s := TheilSen(ramp(n, func(i int) float64 {
				e = corr*e + rng.NormFloat64()
				return slope*float64(i) + e
			}))
			if s.Lo <= slope && slope <= s.Hi {
				held++
			}
		}
		if share := float64(held) / rounds; share < 0.88 {
			t.Errorf("correlation %v: the interval held the slope in %.2f of the rounds", corr, share)
		}
	}
}

// Where Sen's ranks bound nothing, the interval is that of a random walk: it holds the slope of walks, which have none. A steady growth
// that wavers slowly and little has a slope all the same.
func TestTheilSenOfWalks(t *testing.T) {
	const rounds = 1000
	for _, n := range []int{12, 40} {
		rng := rand.New(rand.NewPCG(9, uint64(n)))
		held, wide := 0, 0
		for range rounds {
			e := 0.0
			s := TheilSen(ramp(n, func(int) float64 {
				e += rng.NormFloat64()
				return e
			}))
			if math.Abs((s.Hi-s.At)-(s.At-s.Lo)) > 1e-9 {
				continue // Sen's
			}
			wide++
			if s.Lo <= 0 && 0 <= s.Hi {
				held++
			}
		}
		if float64(held) < 0.97*float64(wide) || wide == 0 {
			t.Errorf("%d points: the interval held the slope of %d of %d walks", n, held, wide)
		}
	}
	s := TheilSen(ramp(39, func(i int) float64 { return 12*float64(i) + math.Sin(float64(i)/6) }))
	if s.Corr < 0.8 || s.Lo < 11 || s.Lo > 12 || s.Hi < 12 || s.Hi > 13 {
		t.Errorf("a steady growth that wavers slowly: %+v", s)
	}
}
