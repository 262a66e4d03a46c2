// Package promapi asks a Prometheus, real or modelled, for the samples it keeps, and measures what is missing from a series
// whose every sample is known beforehand.
//
// The one rule: raw samples are asked for with a range selector, because a range query fills every hole shorter than the
// look-back (5 minutes by default) with the sample before it.
package promapi
