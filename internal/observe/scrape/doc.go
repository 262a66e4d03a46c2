// Package scrape reads the metrics endpoints of components as evidence: the exposition formats that Prometheus reads,
// flattened to samples, and counters accumulated across process restarts.
//
// The one rule: a number that a restart may have hidden is a bound, never a value. A half-read exposition is no reading.
// The observers of a run call it, and the Prometheus agent model, which reads the same endpoints for the same reason.
package scrape
