//go:build !linux

package run

import "syscall"

// prefer puts the process before ordinary programs, or back among them.
func prefer(on bool) (got string, err error) {
	nice := 0
	if on {
		nice = -10
	}
	return "a raised priority", syscall.Setpriority(syscall.PRIO_PROCESS, 0, nice)
}
