// Package eks is the runtime for clusters that are not Triad's: it is handed a file that names three kubeconfig contexts, says what it
// would do, asks, and sends a small tagged stream through what is there.
//
// The one rule: it brings nothing up, and does nothing that would have to be undone by itself alone. It writes what it was confirmed to write, on
// the canary's own topic and index, marks it so that it can be found without it, and takes it out again. It strikes what it was permitted to
// strike, one thing at a time, while somebody's limits hold, and only what the clusters mend themselves.
package eks
