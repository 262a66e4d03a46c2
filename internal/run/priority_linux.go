package run

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
		if id, ok := monitor(); ok {
			setSlack(id, 0)
		}
		return "", errors.Join(eachThread(func(id int) error { return setPolicy(id, schedOther, 0) }),
			eachThread(func(id int) error { return syscall.Setpriority(syscall.PRIO_PROCESS, id, 0) }))
	}
	if err := eachThread(func(id int) error { return setPolicy(id, schedRR, 1) }); err == nil {
		spareMonitor()
		return realTime, nil
	}
	err = eachThread(func(id int) error { return syscall.Setpriority(syscall.PRIO_PROCESS, id, nicePriority) })
	return "nice " + strconv.Itoa(nicePriority), err
}

// monitorSlack is how late the kernel may wake the monitor, in nanoseconds.
const monitorSlack = 1_000_000

// spareMonitor takes the thread by which the Go runtime watches the others back to the front of the ordinary programs. While anything runs it sleeps for
// 20 µs at a time, and threads of a real-time policy wake to the microsecond: it took a third of the harness's processor time on kind, 1.3 of 4.0 s in a
// run of es-read-only, and a twelfth so. What it does (a place whose thread waits in a system call goes to another thread) may come a millisecond later. Where
// it cannot be told apart everything stays as it is.
func spareMonitor() {
	id, ok := monitor()
	if !ok || setPolicy(id, schedOther, 0) != nil {
		return
	}
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, id, -20) // whoever may have a real-time policy may have this
	setSlack(id, monitorSlack)
}

// setSlack sets a thread's timer slack; 0 is the kernel's own. A kernel without the file leaves it.
func setSlack(id, ns int) {
	_ = os.WriteFile("/proc/"+strconv.Itoa(id)+"/timerslack_ns", []byte(strconv.Itoa(ns)), 0) // see above
}

// monitor finds the runtime's monitor: the only thread that sleeps by the clock, where others wait for each other or for the network.
func monitor() (id int, ok bool) {
	seen := map[int]int{}
	for range 64 {
		err := eachThread(func(id int) error {
			b, err := os.ReadFile("/proc/self/task/" + strconv.Itoa(id) + "/syscall")
			if nr, _, _ := strings.Cut(string(b), " "); err == nil && nr == strconv.Itoa(syscall.SYS_NANOSLEEP) {
				seen[id]++
			}
			return nil
		})
		if err != nil || len(seen) > 1 {
			return 0, false
		}
		for id, n := range seen {
			if n >= 3 {
				return id, true
			}
		}
	}
	return 0, false
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
