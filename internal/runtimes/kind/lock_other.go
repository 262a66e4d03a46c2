//go:build !embedded_only && !unix

package kind

import "context"

// lock does nothing where the system has no flock: two harnesses at once are the user's to avoid there.
func (r *Runtime) lock(context.Context) (unlock func(), err error) { return func() {}, nil }

// LockRun does nothing, as lock.
func (r *Runtime) LockRun(context.Context) (unlock func(), err error) { return func() {}, nil }
