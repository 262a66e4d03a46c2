// Command sim is Triad's command line: one file for each command.
//
// The one rule: results go to stdout, progress and logs to stderr, and the exit code is that of exit.go.
package main
