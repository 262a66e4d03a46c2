package load

import (
	"syscall"
	"time"
)

// ProcessorTime is what this process has used so far; 0 where the system does not tell. Unlike the clock it does not count what
// others took.
func ProcessorTime() time.Duration { return used(syscall.RUSAGE_SELF) }

// ChildrenTime is what the programs that this process started have used, once they have ended; 0 where the system does not tell.
func ChildrenTime() time.Duration { return used(syscall.RUSAGE_CHILDREN) }

func used(who int) time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(who, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
