package schedule

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"triad/internal/scenario"
)

func scene(rate float64, streams int, arrivals string, stages ...scenario.Stage) *scenario.Scenario {
	return &scenario.Scenario{
		Seed: 3, Phases: scenario.Phases{Before: scenario.Duration(10 * time.Second)},
		Load: []scenario.Input{{Source: "service", Rate: scenario.Rate(rate), Streams: streams, Instances: 1, Arrivals: arrivals, Shape: stages}},
	}
}

func all(s *scenario.Scenario, id int) []time.Duration {
	sc := New(s, scenario.Stream{ID: uint32(id)})
	var out []time.Duration
	for {
		d, ok := sc.Next()
		if !ok {
			return out
		}
		out = append(out, d)
	}
}

func TestConstantIsEven(t *testing.T) {
	s := scene(100, 4, "uniform")
	total := 0
	for id := range 4 {
		ds := all(s, id)
		total += len(ds)
		for i := 1; i < len(ds); i++ {
			if gap := ds[i] - ds[i-1]; gap != 40*time.Millisecond {
				t.Fatalf("gap %v", gap)
			}
		}
		if want := time.Duration(id) * 10 * time.Millisecond; ds[0] != want {
			t.Fatalf("stream %d starts at %v, want %v", id, ds[0], want)
		}
	}
	if total != 1000 {
		t.Fatalf("%d records, want 1000", total)
	}
}

func TestTotalIsIntegralAndMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r0 := rapid.Float64Range(1, 500).Draw(t, "r0")
		r1 := rapid.Float64Range(0, 500).Draw(t, "r1")
		at := rapid.IntRange(0, 5).Draw(t, "at")
		over := rapid.IntRange(0, 5).Draw(t, "over")
		s := scene(r0, 1, "uniform", scenario.Stage{At: scenario.Time{Offset: time.Duration(at) * time.Second}, Over: scenario.Duration(time.Duration(over) * time.Second), Rate: scenario.Rate(r1)})
		ds := all(s, 0)
		want := r0*float64(at) + (r0+r1)/2*float64(over) + r1*float64(10-at-over)
		if math.Abs(float64(len(ds))-math.Ceil(want-1e-9)) > 1 {
			t.Fatalf("%d records, integral %v", len(ds), want)
		}
		for i, d := range ds {
			if i > 0 && d < ds[i-1] || d < 0 || d > 10*time.Second {
				t.Fatalf("time %d is %v after %v", i, d, ds[max(i-1, 0)])
			}
		}
		cut := time.Duration(rapid.IntRange(0, 11).Draw(t, "cut")) * time.Second
		var n uint64
		for _, d := range ds {
			if d < cut {
				n++
			}
		}
		if got := Count(s, scenario.Stream{}, cut); got != n {
			t.Fatalf("Count(%v) = %d, want %d", cut, got, n)
		}
	})
}

func TestPoissonMeanAndSeed(t *testing.T) {
	s := scene(2000, 1, "poisson")
	a, b := all(s, 0), all(s, 0)
	if len(a) != len(b) || a[17] != b[17] {
		t.Fatal("the same seed gave another schedule")
	}
	if n := float64(len(a)); math.Abs(n-20000) > 5*math.Sqrt(20000) {
		t.Fatalf("%v records, want about 20000", n)
	}
}

// The mean is over all of the time: a step to ten times the rate in the second half counts for half.
func TestMean(t *testing.T) {
	if m := Mean(scene(100, 4, "uniform", scenario.Stage{At: scenario.Time{Offset: 5 * time.Second}, Rate: 1000})); math.Abs(m-550) > 1e-9 {
		t.Errorf("%v, want 550", m)
	}
}
