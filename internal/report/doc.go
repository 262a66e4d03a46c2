// Package report says what a result means: as one HTML page without network, as text for a terminal, as Markdown for a
// step summary of a build, as JUnit for its test tab and as JSON for programs.
//
// The one rule: it judges nothing. Every verdict and every figure of the tables comes from check.Result; the evidence is
// read only for curves over time, distributions and the description of the run.
package report
