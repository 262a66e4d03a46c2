// Package promtext writes the Prometheus text format for models that imitate the metrics of another program.
//
// The one rule: a family is written once, with its help and type before its samples, in the order in which it was
// first named, so that the output compares line by line with that of the real program.
package promtext
