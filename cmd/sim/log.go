package main

import (
	"context"
	"io"
	"log/slog"
)

// logTo makes the logger of a command. Without --verbose, what the parts of the system under test complain of is left
// out unless they give up: during an outage that is the outage, and it is in logs/sim.log of the run.
func (a *app) logTo(w io.Writer) *slog.Logger {
	if a.verbose {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(calm{Handler: slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn})})
}

// calm lets only errors of components through.
type calm struct {
	slog.Handler
	component bool
}

// Enabled asks for errors of a component, and for what the handler wants of everything else.
func (h calm) Enabled(ctx context.Context, l slog.Level) bool {
	return (!h.component || l >= slog.LevelError) && h.Handler.Enabled(ctx, l)
}

// WithAttrs looks for the attribute that marks a component.
func (h calm) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, at := range attrs {
		h.component = h.component || at.Key == "component"
	}
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

// WithGroup opens a group.
func (h calm) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}
