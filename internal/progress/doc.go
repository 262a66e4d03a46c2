// Package progress shows a run while it goes: bars on a terminal, plain lines otherwise. It is the only writer of
// progress; results go to stdout and never through here.
//
// The one rule: it never blocks a run and never decides anything.
package progress
