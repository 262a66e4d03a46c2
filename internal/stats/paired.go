package stats

import (
	"math"
	"slices"
)

// Interval is an estimate with the range in which the true value lies.
type Interval struct {
	Estimate float64 `json:"estimate"`
	Lo       float64 `json:"lo"`
	Hi       float64 `json:"hi"`
	// Confidence that it lies in the range; of Paired, that it is not below Lo and, apart from that, that it is not above Hi.
	Confidence float64 `json:"confidence"`
	N          int     `json:"n"` // differences that it is made of
}

// Paired estimates the centre of paired differences without assuming how they are distributed beyond symmetry: the median
// of their Walsh averages (Hodges and Lehmann), with the bounds that belong to Wilcoxon's signed-rank test. Each bound
// alone holds with at least the wanted confidence; ok is false when there are too few differences for that, and then the
// bounds are the range that was seen, with the confidence that this is worth. NaN when there is none.
func Paired(differences []float64, confidence float64) (i Interval, ok bool) {
	n := len(differences)
	if n == 0 {
		return Interval{Estimate: math.NaN(), Lo: math.NaN(), Hi: math.NaN()}, false
	}
	walsh := make([]float64, 0, n*(n+1)/2)
	for a := range n {
		for b := a; b < n; b++ {
			walsh = append(walsh, (differences[a]+differences[b])/2)
		}
	}
	slices.Sort(walsh)
	i = Interval{Estimate: Median(walsh), N: n}
	// k is how many averages may be cut off at one end: the largest with P(T < k) at most 1-confidence.
	tail, k, worth := 0.0, 0, 0.0
	for t, p := range signedRank(n) {
		if tail+p > 1-confidence {
			break
		}
		tail += p
		k, worth = t+1, tail
	}
	if k == 0 {
		i.Lo, i.Hi = walsh[0], walsh[len(walsh)-1]
		i.Confidence = 1 - math.Pow(0.5, float64(n)) // all differences on one side
		return i, false
	}
	i.Lo, i.Hi, i.Confidence = walsh[k-1], walsh[len(walsh)-k], 1-worth
	return i, true
}

// signedRank is the distribution of Wilcoxon's signed-rank statistic for n differences: the sum of the ranks 1 to n, each
// with a chance of one half.
func signedRank(n int) []float64 {
	p := []float64{1}
	for r := 1; r <= n; r++ {
		next := make([]float64, len(p)+r)
		for t, v := range p {
			next[t] += v / 2
			next[t+r] += v / 2
		}
		p = next
	}
	return p
}
