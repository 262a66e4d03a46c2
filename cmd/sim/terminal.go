package main

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/term"

	"triad/internal/progress"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// progress shows bars on a terminal, plain lines otherwise.
func (a *app) progress() progress.Sink {
	if a.terminal && a.getenv("TERM") != "dumb" {
		columns, _, err := term.GetSize(int(os.Stderr.Fd()))
		if err != nil {
			columns = 80
		}
		return progress.NewBars(a.stderr, columns, a.getenv("NO_COLOR") == "")
	}
	return progress.NewPlain(a.stderr, 5*time.Second)
}

// color reports whether results may be coloured.
func (a *app) color() bool {
	return a.colour && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}

// output is a stream of this process whose reader may go away: what nobody reads any more is no error, and changes no
// exit code.
type output struct{ f *os.File }

// Write writes to the stream.
func (o output) Write(p []byte) (int, error) {
	n, err := o.f.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		return len(p), nil
	}
	return n, err
}
