// Package fault injects and heals declared faults: a table of kinds, the capabilities they ask an environment for, and
// the journal that lets another process undo what a dead harness left.
//
// The one rule: a fault proves that it bit and that it is gone, or says that it did not.
package fault
