// Package check turns evidence into verdicts.
//
// The one rule: it reads a run directory and nothing else, so the same evidence always gives the same verdict, and no
// figure comes from inside the system under test that a real system would not show as well. No data is never pass.
//
// A newer judge can say more about an old run, but not everything: the windows and buckets of histograms, the length of a
// pulse, which records were polled, and the spans in which ledgers tell of records were fixed when the run was written.
package check
