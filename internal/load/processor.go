package load

import (
	"syscall"
	"time"
)

// ProcessorTime is what this process has used so far; 0 where the system does not tell. Unlike the clock it does not count what
// others took.
func ProcessorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
