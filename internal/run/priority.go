package run

import (
	"fmt"
	"runtime"

	"triad/internal/evidence"
	"triad/internal/load"
)

// hurry asks for a priority above the system under test, where that is not in the harness's own process, and returns what gives it
// back. The harness takes the times: what it waits for a processor is its own fault and spoils them. It
// uses a few hundredths of the machine, so the system loses nothing by it. Without the right to (it takes CAP_SYS_NICE) the run goes
// on at the priority that it has; the generator's lag and the witness tell whether that was enough.
func (r *runner) hurry() (restore func()) {
	if _, ok := r.env.(meter); !ok {
		return func() {} // one process is the harness and the system: there is nothing to prefer
	}
	procs := runtime.GOMAXPROCS(max(load.Procs, runtime.GOMAXPROCS(0)))
	got, err := prefer(true)
	if err != nil {
		r.note(evidence.EventNote, "priority", fmt.Sprintf("the harness runs at the priority of any process: %v", err))
	} else {
		r.note(evidence.EventNote, "priority", "the harness runs at "+got)
	}
	return func() {
		runtime.GOMAXPROCS(procs)
		if err != nil {
			return
		}
		if _, err := prefer(false); err != nil {
			r.Logger.Debug("priority", "error", err)
		}
	}
}
