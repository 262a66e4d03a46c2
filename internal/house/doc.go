// Package house holds the tests that keep the layout as it was decided: the import rule, a doc.go in every package, a
// reason for every dependency.
//
// The one rule: a rule about the house that matters is a test here, not a sentence somewhere.
package house
