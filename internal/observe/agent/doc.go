// Package agent is an observer as it runs in a pod: it reads the partitions of Kafka that are its own, or at the end of a run a slice of the
// store, keeps ledgers, histograms and pulses of them on its disk, and hands them over; and it is how the harness has several of them read for it.
//
// The one rule: it sees what one observer of all partitions would have seen of its own, and what it did not read is said, never taken for
// lost.
package agent
