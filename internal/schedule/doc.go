// Package schedule computes when each record is due.
//
// The one rule: the n-th time is a pure function of scenario, seed and stream; nothing that happens in a run can move
// it. The generator and the judge call the same code, so the schedule says what must exist.
package schedule
