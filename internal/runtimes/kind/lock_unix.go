//go:build !embedded_only && unix

package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockWait is how long a second harness waits for the first to finish its up or down.
const lockWait = 10 * time.Second

// lock keeps a second harness from changing the same clusters at the same time. The kernel gives it back when the process ends,
// however it ends.
func (r *Runtime) lock(ctx context.Context) (unlock func(), err error) {
	return r.hold(ctx, "lock", lockWait, "another sim is working on these clusters")
}

// LockRun keeps a second run away from clusters on which one is under way: each would remove the other's pods.
func (r *Runtime) LockRun(ctx context.Context) (unlock func(), err error) {
	return r.hold(ctx, runLock, 0, "another run is under way on these clusters; wait for it")
}

func (r *Runtime) hold(ctx context.Context, name string, wait time.Duration, why string) (unlock func(), err error) {
	if err := os.MkdirAll(r.opts.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	path := filepath.Join(r.opts.StateDir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	deadline := time.Now().Add(wait)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || !time.Now().Before(deadline) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w: %s", path, err, why)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, context.Cause(ctx))
		case <-time.After(200 * time.Millisecond):
		}
	}
}
