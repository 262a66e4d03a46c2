package stats

import (
	"math"
	"math/rand/v2"
	"testing"

	"golang.org/x/perf/benchmath"
	"pgregory.net/rapid"
)

func TestDifferAgainstBenchmath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Streams of their own: with the same draws on both sides the samples would be ties, where Greater is an approximation.
		gen := func(name string, stream uint64) []float64 {
			n := rapid.IntRange(4, 30).Draw(t, name+"_n")
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, name), stream))
			shift := rapid.Float64Range(0, 2).Draw(t, name+"_shift")
			out := make([]float64, n)
			for i := range out {
				out[i] = r.NormFloat64() + shift
			}
			return out
		}
		a, b := gen("a", 1), gen("b", 2)
		th := benchmath.DefaultThresholds
		want := benchmath.AssumeNothing.Compare(benchmath.NewSample(append([]float64(nil), a...), &th), benchmath.NewSample(append([]float64(nil), b...), &th)).P
		if got := Differ(a, b); math.Abs(got-want) > 1e-9 {
			t.Fatalf("%d and %d values: p %v, benchmath %v", len(a), len(b), got, want)
		}
	})
}

func TestGreater(t *testing.T) {
	low, high := []float64{1, 2, 3, 4, 5}, []float64{6, 7, 8, 9, 10}
	// All of 5 above all of 5: one ordering of 252.
	if p := Greater(low, high); math.Abs(p-1.0/252) > 1e-12 {
		t.Errorf("p %v", p)
	}
	if p := Greater(high, low); p < 0.99 {
		t.Errorf("the wrong side is %v likely", p)
	}
	if p := Greater([]float64{3, 3, 3}, []float64{3, 3, 3}); p != 1 {
		t.Errorf("equal samples: p %v", p)
	}
	if p := Greater(nil, high); !math.IsNaN(p) {
		t.Errorf("no data: p %v", p)
	}
}

// The share of false alarms on one correlated series cut in two must stay near the level; without thinning it does not.
func TestThinKeepsTheLevel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const rounds, level = 400, 0.05
	raw, thin := 0, 0
	for range rounds {
		var xs []float64
		v := 0.0
		for range 160 {
			v = 0.8*v + r.NormFloat64()
			xs = append(xs, v)
		}
		if Greater(xs[:80], xs[80:]) < level {
			raw++
		}
		a, _ := Thin(xs[:80])
		b, _ := Thin(xs[80:])
		if Greater(a, b) < level {
			thin++
		}
	}
	if float64(raw)/rounds < 3*level {
		t.Errorf("the raw series has only %d false alarms of %d: the case proves nothing", raw, rounds)
	}
	if float64(thin)/rounds > 2*level {
		t.Errorf("thinned: %d false alarms of %d", thin, rounds)
	}
}

func TestBandOf(t *testing.T) {
	b := BandOf([]float64{10, 11, 9, 10, 30})
	if !b.Has(30) || !b.Has(9) || b.Has(31) || b.N != 5 || b.Median != 10 {
		t.Errorf("%+v", b)
	}
	if e := BandOf(nil); e.Has(0) {
		t.Error("an empty band has a member")
	}
}

// Equal figures carry no correlation, whatever the rounding of their mean leaves over.
func TestThinEqualFigures(t *testing.T) {
	for _, v := range []float64{0.303103999, 0.1, 1e9 / 3, 1e-9 / 7, 0} {
		xs := make([]float64, 13)
		for i := range xs {
			xs[i] = v
		}
		if thin, block := Thin(xs); block != 1 || len(thin) != 13 {
			t.Errorf("%v: %d figures in blocks of %d", v, len(thin), block)
		}
	}
}
