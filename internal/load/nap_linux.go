package load

import (
	"syscall"
	"time"
)

// nap sleeps in the kernel, or a little less when a signal comes.
func nap(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&ts, nil)
}
