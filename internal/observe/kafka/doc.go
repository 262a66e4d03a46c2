// Package kafka reads every partition of the topics of a run, read_committed, from the run's start, and writes what it
// saw to the evidence.
//
// The one rule: it belongs to no consumer group, commits nothing and changes nothing.
package kafka
