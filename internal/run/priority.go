package run

import (
	"fmt"
	"runtime"

	"triad/internal/evidence"
	"triad/internal/load"
)

// places is how many threads may run goroutines at once. One with a real-time priority never waits for a processor, and each place more costs
// wake-ups: on two cores the harness took 0.73 s in a run of smoke with one place, 1.0 s with two or sixteen. Without the priority a thread that
// waits keeps its place: see load.Procs.
func places(priority string, have int) int {
	if priority == realTime {
		return max(have/2, 1)
	}
	return max(load.Procs, have)
}

// realTime is what prefer says that it got where threads have a real-time policy.
const realTime = "the lowest real-time priority"

// hurry asks for a priority above the system under test, where that is not in the harness's own process, and returns what gives it
// back. The harness takes the times: what it waits for a processor is its own fault and spoils them. It
// uses a few hundredths of the machine, so the system loses nothing by it. Without the right to (it takes CAP_SYS_NICE) the run goes
// on at the priority that it has; the generator's lag and the witness tell whether that was enough.
func (r *runner) hurry() (restore func()) {
	if _, ok := r.env.(meter); !ok {
		return func() {} // one process is the harness and the system: there is nothing to prefer
	}
	got, err := prefer(true)
	procs := runtime.GOMAXPROCS(places(got, runtime.GOMAXPROCS(0)))
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
