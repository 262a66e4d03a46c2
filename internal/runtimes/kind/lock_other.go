//go:build !embedded_only && !unix

package kind

import "context"

// lock does nothing where the system has no flock: two harnesses at once are the user's to avoid there.
func (r *Runtime) lock(context.Context) (unlock func(), err error) { return func() {}, nil }

func (r *Runtime) lockRun(context.Context) (unlock func(), err error) { return func() {}, nil }
