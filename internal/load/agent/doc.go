// Package agent is the generator as it runs in a pod: it waits for a plan, drives its share of the load into the log
// files or stdout of its node, keeps its ledger on disk and hands it over when asked.
//
// The one rule: it decides nothing; the plan says which streams are its own, and the schedule says when.
package agent
