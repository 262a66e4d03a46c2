package main

import (
	"errors"

	"triad/internal/check"
	"triad/internal/scenario"
)

// Exit codes.
const (
	exitPass        = 0
	exitInternal    = 1
	exitUsage       = 2   // usage, or a bad file
	exitFail        = 3   // a check failed
	exitInvalid     = 4   // invalid or inconclusive
	exitProvision   = 5   // the system could not be brought up
	exitInterrupted = 130 // Ctrl-C
)

// exitError carries an exit code; silent ones were printed already.
type exitError struct {
	code   int
	err    error
	silent bool
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// ExitCode is the code to exit with.
func (e *exitError) ExitCode() int { return e.code }

func usage(err error) error { return &exitError{code: exitUsage, err: err} }

// codeOf finds the exit code of an error.
func codeOf(err error) int {
	if err == nil {
		return exitPass
	}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	if _, ok := errors.AsType[*scenario.Error](err); ok {
		return exitUsage
	}
	return exitInternal
}

// verdictCode is the exit code of a run's verdict.
func verdictCode(v check.Verdict) int {
	switch v {
	case check.Pass:
		return exitPass
	case check.Fail:
		return exitFail
	}
	return exitInvalid
}
