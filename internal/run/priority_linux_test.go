package run

import (
	"errors"
	"syscall"
	"testing"

	"triad/internal/load"
)

// A priority that was asked for is given back: what runs behind a run in the same process is an ordinary program again.
func TestPriorityIsGivenBack(t *testing.T) {
	policies := func() (seen []int) {
		err := eachThread(func(id int) error {
			p, _, errno := syscall.Syscall(syscall.SYS_SCHED_GETSCHEDULER, uintptr(id), 0, 0)
			if errno != 0 {
				return errno
			}
			seen = append(seen, int(p))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return seen
	}
	got, err := prefer(true)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skipf("no right to a higher priority: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Log(got)
	if got == "the lowest real-time priority" {
		for _, p := range policies() {
			if p != schedRR {
				t.Errorf("policies while it is on: %v", policies())
				break
			}
		}
	}
	if _, err := prefer(false); err != nil {
		t.Fatal(err)
	}
	for _, p := range policies() {
		if p != schedOther {
			t.Errorf("policies afterwards: %v", policies())
			break
		}
	}
}

func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		priority   string
		have, want int
	}{{realTime, 1, 1}, {realTime, 2, 1}, {realTime, 8, 4}, {"nice -10", 2, load.Procs}, {"", 64, 64}} {
		if got := places(c.priority, c.have); got != c.want {
			t.Errorf("%q on %d: %d, want %d", c.priority, c.have, got, c.want)
		}
	}
}
