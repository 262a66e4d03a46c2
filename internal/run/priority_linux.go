package run

import (
	"errors"
	"path/filepath"
	"strconv"
	"syscall"
	"unsafe"
)

// Scheduling policies of Linux.
const (
	schedOther = 0
	schedRR    = 2
)

// nicePriority is what is asked for where a real-time policy may not be had: control groups of version 1 have no time for it unless
// somebody gave it to them.
const nicePriority = -10

// prefer puts every thread of the process before those of ordinary programs, or back among them. Threads to come inherit it. Under a
// real-time policy a timer that is due is 1 ms late on a machine whose ordinary programs wait for 200 ms; the kernel leaves 5 % of the
// time to the others whatever happens.
func prefer(on bool) (got string, err error) {
	if !on {
		return "", errors.Join(eachThread(func(id int) error { return setPolicy(id, schedOther, 0) }),
			eachThread(func(id int) error { return syscall.Setpriority(syscall.PRIO_PROCESS, id, 0) }))
	}
	if err := eachThread(func(id int) error { return setPolicy(id, schedRR, 1) }); err == nil {
		return realTime, nil
	}
	err = eachThread(func(id int) error { return syscall.Setpriority(syscall.PRIO_PROCESS, id, nicePriority) })
	return "nice " + strconv.Itoa(nicePriority), err
}

// eachThread calls fn for every thread: Linux has policies and priorities of threads, not of processes.
func eachThread(fn func(id int) error) error {
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		id, err := strconv.Atoi(filepath.Base(t))
		if err == nil {
			err = fn(id)
		}
		if err != nil && !errors.Is(err, syscall.ESRCH) { // a thread that ended since
			return err
		}
	}
	return nil
}

func setPolicy(id, policy int, priority int32) error {
	// struct sched_param has one field.
	_, _, errno := syscall.Syscall(syscall.SYS_SCHED_SETSCHEDULER, uintptr(id), uintptr(policy), uintptr(unsafe.Pointer(&priority)))
	if errno != 0 {
		return errno
	}
	return nil
}
