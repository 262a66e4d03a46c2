// Package pods follows the pods of a cluster as its API server tells of them, and writes every container that ended and every pod that was
// replaced to the evidence, once, with reason, exit code and times.
//
// The one rule: it lists and nothing else, and whether a fault explains what it saw is for judging to say. What could not be listed is said,
// never taken for quiet.
package pods
