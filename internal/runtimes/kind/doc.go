// Package kind is the runtime that keeps Triad's clusters on one machine: it creates, recognises, starts and deletes three kind
// clusters, deploys the real systems into them, and works on their nodes for faults.
//
// The one rule: everything it makes can be found again without it. A cluster carries its owner's mark in its containers, a fault
// leaves its undo in the node with a timer that does not need the harness, and Down and HealAll look at what is there, not at
// what was remembered.
package kind
