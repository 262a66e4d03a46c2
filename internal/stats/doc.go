// Package stats holds the arithmetic of measuring: histograms, sets of sequence numbers, comparison of samples.
//
// The one rule: it is a leaf and knows nothing of Triad; every figure it returns says how exact it is.
package stats
