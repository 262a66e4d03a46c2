package stats

import (
	"math"
	"slices"
)

// Slope is a robust slope with its confidence interval. With too few points to bound it, the interval is infinite.
type Slope struct {
	At     float64 // per unit of x; NaN without two different x
	Lo, Hi float64 // 95 % confidence interval; that of a random walk where neighbours hang together too much for Sen's
	N      int     // points
	Corr   float64 // correlation of neighbours around the line, by which the interval was widened
}

// z95 is the 97.5 % quantile of the normal distribution: two-sided 95 %.
const z95 = 1.959964

// TheilSen returns the median of the slopes of all pairs of points (Theil 1950) with the interval of Sen (Estimates of
// the regression coefficient based on Kendall's tau, JASA 63, 1968): the slopes at ranks (N -+ C)/2 of N, with
// C = z * sqrt(n(n-1)(2n+5)/18), the deviation of Kendall's S. Up to 29 % of the points may be outliers: a garbage collection, a
// flush, a burst. Sen's interval takes points as independent, and successive figures of a run are not, so the variance of S is multiplied
// by (1+r)/(1-r), r the correlation of neighbours in what the line leaves over: the correction of Hamed and Rao (A
// modified Mann-Kendall trend test for autocorrelated data, J. Hydrology 204, 1998) for a first-order process.
//
// It takes time and memory in the square of the number of points, which the caller bounds. Points must be in the order
// of x.
func TheilSen(xs, ys []float64) Slope {
	n := min(len(xs), len(ys))
	out := Slope{At: math.NaN(), Lo: math.Inf(-1), Hi: math.Inf(1), N: n}
	var slopes []float64
	for i := range n {
		for k := i + 1; k < n; k++ {
			if xs[k] != xs[i] {
				slopes = append(slopes, (ys[k]-ys[i])/(xs[k]-xs[i]))
			}
		}
	}
	if len(slopes) == 0 {
		return out
	}
	slices.Sort(slopes)
	out.At = Median(slopes)
	rest := make([]float64, n)
	for i := range n {
		rest[i] = ys[i] - out.At*xs[i]
	}
	out.Corr = min(max(lagOne(rest), 0), 0.99)
	f := float64(n)
	c := z95 * math.Sqrt(f*(f-1)*(2*f+5)/18*(1+out.Corr)/(1-out.Corr))
	total := float64(len(slopes))
	// Ranks from 1; rounded outwards.
	lo, hi := int(math.Floor((total-c)/2)), int(math.Ceil((total+c)/2))+1
	if lo >= 1 {
		out.Lo = slopes[lo-1]
	}
	if hi <= len(slopes) {
		out.Hi = slopes[hi-1]
	}
	if span := xs[n-1] - xs[0]; n >= bandPoints && span > 0 {
		wide := bandWidth * (slices.Max(rest) - slices.Min(rest)) / span
		if math.IsInf(out.Lo, -1) {
			out.Lo = out.At - wide
		}
		if math.IsInf(out.Hi, 1) {
			out.Hi = out.At + wide
		}
	}
	return out
}

// Where neighbours hang together so much that Sen's ranks bound nothing, the widest thing that they can be is a random walk: its slope
// over all points is, 98 times in 100, less than three times the width of what the line leaves over (TestTheilSenCoverage). So what grows
// steadily by far more than it wavers is not taken for undecided because it wavers smoothly.
const (
	bandPoints = 12
	bandWidth  = 3
)
