// Package fidelity sets what the embedded runtime said beside what real clusters said, scenario by scenario and figure by
// figure, from the results of runs.
//
// The one rule: every row says how many runs it rests on; too few, a model on both sides and no data are never agreement.
package fidelity
