package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"triad/internal/evidence"
)

// harnessNice is the priority that the harness asks for where the system under test is not in its own process. It sends part of the
// load and takes the times: what it waits for a processor is its own fault and spoils a run. It uses a few hundredths of the machine,
// so the system loses nothing by it.
const harnessNice = -10

// harnessProcs is how many threads may run the harness's goroutines at once, whatever the number of processors. A thread that the
// kernel has set aside keeps its place among them: with two places on a busy machine, a goroutine that was due waited 20 ms for
// threads that were not running at all, though the harness used 6 % of one processor.
const harnessProcs = 16

// hurry asks for a higher priority and returns what gives it back. Without the right to (it takes CAP_SYS_NICE) the run goes on with
// the one that it has; the generator's lag and the witness tell whether that was enough.
func (r *runner) hurry() (restore func()) {
	if _, ok := r.env.(meter); !ok {
		return func() {} // one process is the harness and the system: there is nothing to prefer
	}
	procs := runtime.GOMAXPROCS(max(harnessProcs, runtime.GOMAXPROCS(0)))
	if err := raise(harnessNice); err != nil {
		r.note(evidence.EventNote, "priority", fmt.Sprintf("the harness runs at the priority of any process: %v", err))
		return func() { runtime.GOMAXPROCS(procs) }
	}
	return func() {
		runtime.GOMAXPROCS(procs)
		if err := raise(0); err != nil {
			r.Logger.Debug("priority", "error", err)
		}
	}
}

// raise sets the priority of every thread, which Linux has for each of them, and threads to come inherit it; and of the session, by
// which the kernel shares processors where autogroups are on. The session is the caller's terminal too, so it has to be given back; a
// harness that is killed leaves it to the session with whatever runs in it, until that ends.
func raise(nice int) error {
	tasks, _ := filepath.Glob("/proc/self/task/*")
	if len(tasks) == 0 {
		return syscall.Setpriority(syscall.PRIO_PROCESS, 0, nice)
	}
	var errs []error
	for _, t := range tasks {
		id, err := strconv.Atoi(filepath.Base(t))
		if err == nil {
			err = syscall.Setpriority(syscall.PRIO_PROCESS, id, nice)
		}
		if err != nil && !errors.Is(err, syscall.ESRCH) { // a thread that ended since
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return errs[0]
	}
	err := os.WriteFile("/proc/self/autogroup", []byte(strconv.Itoa(nice)), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a kernel without autogroups
	}
	return err
}
