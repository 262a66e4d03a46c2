package run

import (
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	scratchPrefix = "triad-run-"
	scratchLock   = "lock"
	// scratchAge keeps the sweep away from a folder whose owner has just made it and does not hold its lock yet.
	scratchAge = time.Minute
)

// newScratch makes a scratch folder for one run and removes those that killed runs left behind. A folder belongs to
// whoever holds the lock on the file in it, which the kernel gives up when its holder dies, however it dies.
func newScratch() (dir string, release func(), err error) {
	sweepScratch(os.TempDir())
	dir, err = os.MkdirTemp("", scratchPrefix)
	if err != nil {
		return "", nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, scratchLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		_ = os.RemoveAll(dir) // nothing in it yet
		return "", nil, err
	}
	return dir, func() {
		_ = os.RemoveAll(dir) // what is left is swept by the next run
		_ = f.Close()
	}, nil
}

// sweepScratch removes the scratch folders that have no owner. Errors leave a folder where it is.
func sweepScratch(in string) {
	dirs, err := filepath.Glob(filepath.Join(in, scratchPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < scratchAge {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, scratchLock), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(dir)
		}
		_ = f.Close()
	}
}
