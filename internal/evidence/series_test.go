package evidence

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// Values of every kind come back as they were: whole and not, huge, negative, going down, and back to whole.
func TestSeriesValues(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.tsf")
	w, err := CreateSeries(path)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 6))
	pick := []float64{0, 1, -1, 0.5, 1e18, -1e18, 1e300, math.Inf(1), math.MaxInt64, math.MinInt64, 1 << 53, 3, 2.25, 12}
	type at struct {
		at    time.Duration
		name  string
		value float64
	}
	var want []at
	last := map[string]float64{}
	for i := range 2000 {
		var in []Sample
		for range 1 + r.IntN(5) {
			name := string(rune('a' + r.IntN(20)))
			v := pick[r.IntN(len(pick))]
			if r.IntN(2) == 0 {
				v = float64(r.IntN(1000))
			}
			in = append(in, Sample{name, Labels{"l": name}, v})
			if old, ok := last[name]; !ok || old != v {
				want = append(want, at{time.Duration(i), name, v})
			}
			last[name] = v
		}
		if err := w.Add(time.Duration(i), in...); err != nil {
			t.Fatal(err)
		}
		if r.IntN(10) == 0 {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	k := 0
	d, err := ReadSeries(path, "s", func(when time.Duration, s Sample) error {
		if k < len(want) && (want[k] != at{when, s.Name, s.Value} || s.Labels["l"] != s.Name) {
			t.Fatalf("sample %d: %v %s %v, want %+v", k, when, s.Name, s.Value, want[k])
		}
		k++
		return nil
	})
	if err != nil || d != nil || k != len(want) {
		t.Fatalf("%d samples of %d, damage %v, %v", k, len(want), d, err)
	}
}

// A hole in a counter is an event: a second one of the same length is one more, and no value that did not change.
func TestEqualHoles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.tsf")
	w, err := CreateSeries(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Duration{5 * time.Second, 40 * time.Second} {
		if err := w.Add(at, Sample{GapSeries, Labels{"cluster": "kafka"}, 15}, Sample{LagSeries, Labels{"topic": "a"}, 15}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	if d, err := ReadSeries(path, "s", func(_ time.Duration, s Sample) error { n[s.Name]++; return nil }); err != nil || d != nil {
		t.Fatal(d, err)
	}
	if n[GapSeries] != 2 || n[LagSeries] != 1 {
		t.Errorf("%v", n)
	}
}
