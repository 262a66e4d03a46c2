// Package scenario holds what a user may ask for: the types of a scenario file, the catalogues of sources, faults,
// metrics and checks, and a strict Load.
//
// The one rule: nothing reaches a run that Load has not judged, and everything Load refuses is named with file, line,
// column, what is allowed and the nearest spelling. It is a leaf.
package scenario
