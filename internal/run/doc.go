// Package run is the one place where the steps of a run are listed.
//
// The one rule: whatever happens, faults are healed, the evidence is closed, and what was not done is in it.
package run
