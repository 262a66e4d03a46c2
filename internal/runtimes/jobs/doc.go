// Package jobs makes the pods that are there for one run: Indexed Jobs of this program, which send a load as shards or read for the harness.
//
// Its one rule: every Job carries the label of its run and ends by itself after the time of the run, whatever became of who made it.
package jobs
