// Package claims gathers what runs say about the eight claims of the platform: one row for each, always all eight, with
// the runs that it rests on.
//
// The one rule: only the newest run of a scenario on a runtime counts, and no run is no proof.
package claims
