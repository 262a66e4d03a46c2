package stats

import (
	"cmp"
	"math"
	"slices"
)

// Shift estimates how far b lies above a, without assuming how either is distributed: the median of all differences of one
// of b and one of a (Hodges and Lehmann), with the bounds that belong to the Mann-Whitney test. Both bounds together hold
// with at least the wanted confidence; ok is false when there are too few values for that, and then the bounds are the
// differences that were seen, with the confidence that this is worth. NaN when one is empty.
func Shift(a, b []float64, confidence float64) (i Interval, ok bool) {
	n, m := len(a), len(b)
	if n == 0 || m == 0 {
		return Interval{Estimate: math.NaN(), Lo: math.NaN(), Hi: math.NaN()}, false
	}
	diffs := make([]float64, 0, n*m)
	for _, x := range a {
		for _, y := range b {
			diffs = append(diffs, y-x)
		}
	}
	slices.Sort(diffs)
	i = Interval{Estimate: Median(diffs), N: n * m}
	// k is how many differences may be cut off at each end: the largest with P(U < k) at most half of what may be wrong.
	// Beyond the sizes for which the distribution is worked out, the normal one is within its rounding.
	k, worth := 0, 0.0
	if n*m <= exactLimit {
		for ; k < n*m/2; k++ {
			tail := tailU(n, m, n*m-k) // P(U <= k), by symmetry
			if tail > (1-confidence)/2 {
				break
			}
			worth = tail
		}
	} else {
		sd := math.Sqrt(float64(n*m) / 12 * float64(n+m+1))
		k = max(int(float64(n*m)/2-math.Sqrt2*math.Erfinv(confidence)*sd), 0)
		worth = (1 - confidence) / 2
	}
	if k == 0 {
		i.Lo, i.Hi = diffs[0], diffs[len(diffs)-1]
		if n*m <= exactLimit {
			i.Confidence = 1 - 2*tailU(n, m, n*m)
		}
		return i, false
	}
	i.Lo, i.Hi, i.Confidence = diffs[k-1], diffs[len(diffs)-k], 1-2*worth
	return i, true
}

// Adjusted turns the p-values of several tests into ones that may be held against a level together (Holm): with at most the
// level's probability is any difference called one that is chance, whatever else differs. The order is kept and ps is not
// changed.
func Adjusted(ps []float64) []float64 {
	order := make([]int, len(ps))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(ps[i], ps[j]) })
	out := make([]float64, len(ps))
	most := 0.0
	for n, i := range order { // from the smallest on
		most = max(most, min(ps[i]*float64(len(ps)-n), 1))
		out[i] = most
	}
	return out
}

// MoreOften returns the one-sided p-value of Fisher's exact test: how likely it is that at least x of n happen on the
// second side when w of m happened on the first and both are as likely. 1 when a side is empty.
func MoreOften(w, m, x, n int) float64 {
	if m == 0 || n == 0 {
		return 1
	}
	var p float64
	for k := x; k <= min(n, w+x); k++ {
		if w+x-k <= m {
			p += math.Exp(choose(n, k) + choose(m, w+x-k) - choose(n+m, w+x))
		}
	}
	return min(p, 1)
}

// LeastChance is the smallest two-sided chance that a rank test of n values against m can come to: every one of the n above every one of
// the m, or below, is one of the ways to take n of n+m. At most 1.
func LeastChance(n, m int) float64 { return min(1, 2*math.Exp(-choose(n+m, n))) }

// choose is the logarithm of the number of ways to take k of n.
func choose(n, k int) float64 {
	lg := func(x int) float64 {
		v, _ := math.Lgamma(float64(x + 1))
		return v
	}
	return lg(n) - lg(k) - lg(n-k)
}
