package main

import (
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"triad/internal/progress"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// progress shows bars on a terminal, plain lines otherwise.
func (a *app) progress() progress.Sink {
	if a.terminal && a.getenv("TERM") != "dumb" {
		return progress.NewBars(a.stderr)
	}
	return progress.NewPlain(a.stderr, 5*time.Second)
}

// color reports whether results may be coloured.
func (a *app) color(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f) && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}
