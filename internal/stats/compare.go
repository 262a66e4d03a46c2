package stats

import (
	"math"
	"slices"
)

// Median returns the middle of xs, or the mean of the two middle values; NaN when xs is empty. xs is not changed.
func Median(xs []float64) float64 { return QuantileOf(xs, 0.5) }

// QuantileOf returns the q-quantile (0 to 1) of xs by linear interpolation between the order statistics around it; NaN
// when xs is empty. xs is not changed.
func QuantileOf(xs []float64, q float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	s := slices.Clone(xs)
	slices.Sort(s)
	at := q * float64(len(s)-1)
	i := int(at)
	if i+1 >= len(s) {
		return s[len(s)-1]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}

// Mean returns the arithmetic mean; NaN when xs is empty.
func Mean(xs []float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	var sum float64
	for _, x := range xs {
		sum += x
	}
	return sum / float64(len(xs))
}

// Band is the range in which a figure lay while nothing was wrong.
type Band struct {
	Lo, Hi float64
	Median float64
	N      int // figures that it was made from
}

// BandOf makes a band from per-interval figures: everything that was seen, and at least three robust standard
// deviations (1.4826 times the median absolute deviation) around the median, so that a band of few figures is not
// narrower than their noise.
func BandOf(xs []float64) Band {
	if len(xs) == 0 {
		return Band{Lo: math.NaN(), Hi: math.NaN(), Median: math.NaN()}
	}
	m := Median(xs)
	dev := make([]float64, len(xs))
	for i, x := range xs {
		dev[i] = math.Abs(x - m)
	}
	s := 3 * 1.4826 * Median(dev)
	return Band{Lo: min(slices.Min(xs), m-s), Hi: max(slices.Max(xs), m+s), Median: m, N: len(xs)}
}

// Has reports whether x lies in b.
func (b Band) Has(x float64) bool { return x >= b.Lo && x <= b.Hi }

// Thin makes successive figures of one run fit for tests that want independent ones: it measures the correlation of
// neighbours and replaces each block of figures by their median. The block is twice as long as (1+r)/(1-r), the number
// of figures of a first-order autoregressive series that carry as much information as one independent one (twice,
// because neighbouring blocks are still correlated), and at most a third of xs.
func Thin(xs []float64) (thinned []float64, block int) {
	block = 1
	if r := lagOne(xs); r > 0 {
		block = min(int(math.Ceil(2*(1+r)/(1-min(r, 0.99)))), max(len(xs)/3, 1))
	}
	if block == 1 {
		return xs, 1
	}
	for i := 0; i+block <= len(xs); i += block {
		thinned = append(thinned, Median(xs[i:i+block]))
	}
	return thinned, block
}

// lagOne is the correlation of neighbours. One below twice its standard error under independence counts as none.
func lagOne(xs []float64) float64 {
	if len(xs) < 4 {
		return 0
	}
	m := Mean(xs)
	var num, den float64
	for i, x := range xs {
		den += (x - m) * (x - m)
		if i > 0 {
			num += (x - m) * (xs[i-1] - m)
		}
	}
	// What is left of equal figures is the rounding of their mean, which is the same for all of them and would correlate perfectly.
	if den <= 1e-24*m*m*float64(len(xs)) {
		return 0
	}
	r := num / den
	if r <= 2/math.Sqrt(float64(len(xs))) {
		return 0
	}
	return r + (1+3*r)/float64(len(xs)) // the estimate from a short series is too small by about this
}

// exactLimit is the largest product of sample sizes for which the exact distribution of U is computed.
const exactLimit = 2500

// Greater returns the one-sided p-value of the Mann-Whitney U test: how likely it is that b exceeds a at least so much
// when both come from one distribution. It is exact for small samples without ties and uses the normal approximation,
// with corrections for ties and continuity, otherwise. NaN when one is empty.
func Greater(a, b []float64) float64 {
	n, m := len(a), len(b)
	if n == 0 || m == 0 {
		return math.NaN()
	}
	u, ties, tied := uStatistic(a, b)
	if !tied && n*m <= exactLimit {
		return tailU(n, m, int(math.Round(u)))
	}
	N := float64(n + m)
	mean := float64(n*m) / 2
	sd := math.Sqrt(float64(n*m) / 12 * (N + 1 - ties/(N*(N-1))))
	if sd == 0 {
		return 1 // all values are equal
	}
	return 0.5 * math.Erfc((u-mean-0.5)/sd/math.Sqrt2)
}

// Differ returns the two-sided p-value of the same test.
func Differ(a, b []float64) float64 { return min(1, 2*min(Greater(a, b), Greater(b, a))) }

// uStatistic counts the pairs in which b is greater, a tie as a half; ties is the sum of t^3-t over groups of ties.
func uStatistic(a, b []float64) (u, ties float64, tied bool) {
	type item struct {
		v float64
		b bool
	}
	all := make([]item, 0, len(a)+len(b))
	for _, x := range a {
		all = append(all, item{x, false})
	}
	for _, x := range b {
		all = append(all, item{x, true})
	}
	slices.SortFunc(all, func(x, y item) int {
		switch {
		case x.v < y.v:
			return -1
		case x.v > y.v:
			return 1
		}
		return 0
	})
	below := 0.0 // members of a below the present group
	for i := 0; i < len(all); {
		j, fromA, fromB := i, 0.0, 0.0
		for ; j < len(all) && all[j].v == all[i].v; j++ {
			if all[j].b {
				fromB++
			} else {
				fromA++
			}
		}
		u += fromB * (below + fromA/2)
		if t := float64(j - i); t > 1 {
			ties += t*t*t - t
			tied = true
		}
		below += fromA
		i = j
	}
	return u, ties, tied
}

// tailU is P(U >= u) for samples of n and m without ties: the number of orderings with U = k follows the recurrence
// f(n,m,k) = f(n-1,m,k-m) + f(n,m-1,k), computed as probabilities so that nothing overflows.
func tailU(n, m, u int) float64 {
	// prob[j][k]: probability of U = k with i of a and j of b, row by row over i.
	prob := make([][]float64, m+1)
	for j := range prob {
		prob[j] = []float64{1}
	}
	for i := 1; i <= n; i++ {
		next := make([][]float64, m+1)
		next[0] = []float64{1}
		for j := 1; j <= m; j++ {
			p := make([]float64, i*j+1)
			wa, wb := float64(i)/float64(i+j), float64(j)/float64(i+j)
			for k, v := range prob[j] { // the largest is one of a: no b above it
				p[k] += wa * v
			}
			for k, v := range next[j-1] { // the largest is one of b: above all i of a
				p[k+i] += wb * v
			}
			next[j] = p
		}
		prob = next
	}
	var tail float64
	for k := max(u, 0); k < len(prob[m]); k++ {
		tail += prob[m][k]
	}
	return min(tail, 1)
}
