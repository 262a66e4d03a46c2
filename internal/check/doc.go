// Package check turns evidence into verdicts.
//
// The one rule: it reads a run directory and nothing else, so the same evidence always gives the same verdict, and no
// figure comes from inside the system under test that a real system would not show as well. No data is never pass.
package check
