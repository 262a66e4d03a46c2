// Package eks is the runtime for clusters that are not Triad's: it is handed a file that names three kubeconfig contexts, says what it
// would do, asks, and sends a small tagged stream through what is there.
//
// The one rule: it brings nothing up and breaks nothing. It writes what it was confirmed to write, on the canary's own topic and index, marks
// it so that it can be found without it, and takes it out again.
package eks
