// Package selftest tests the tester: it sabotages the embedded pipeline in ways that are known exactly and demands that
// the report names each, with the right count and place, and nothing else.
//
// The one rule: sabotage may look inside; judging never does. A false alarm is as bad as a miss.
package selftest
