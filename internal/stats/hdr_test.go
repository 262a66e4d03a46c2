package stats

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// TestQuantilesAsHdrHistogram compares with the histogram that the field trusts: same values in, and every quantile
// must agree within the sum of both bucket widths (0.1 % each).
func TestQuantilesAsHdrHistogram(t *testing.T) {
	shapes := map[string]func(rng *rand.Rand) time.Duration{
		"log-normal": func(rng *rand.Rand) time.Duration {
			return time.Duration(math.Exp(rng.NormFloat64()*1.5+2) * float64(time.Millisecond))
		},
		"stall": func(rng *rand.Rand) time.Duration {
			if rng.IntN(20) == 0 {
				return time.Duration(rng.Int64N(int64(1400 * time.Millisecond)))
			}
			return time.Duration(rng.Int64N(int64(2 * time.Millisecond)))
		},
		"hours": func(rng *rand.Rand) time.Duration { return time.Duration(rng.Int64N(int64(24 * time.Hour))) },
	}
	for name, next := range shapes {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, 1))
			want := hdrhistogram.New(1, int64(25*time.Hour/Unit), 3)
			var got Hist
			for range 200_000 {
				d := max(next(rng), Unit).Truncate(Unit)
				got.Record(d)
				if err := want.RecordValue(int64(d / Unit)); err != nil {
					t.Fatal(err)
				}
			}
			for _, q := range []float64{0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1} {
				g, ok := got.Quantile(q)
				w := time.Duration(want.ValueAtQuantile(q*100)) * Unit
				if !ok || math.Abs(float64(g-w)) > 0.002*float64(w)+float64(Unit) {
					t.Errorf("quantile %v is %v, HdrHistogram says %v", q, g, w)
				}
			}
		})
	}
}
