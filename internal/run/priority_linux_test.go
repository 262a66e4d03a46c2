package run

import (
	"errors"
	"slices"
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
	if got == realTime {
		ordinary := 0
		for _, p := range policies() {
			if p != schedRR {
				ordinary++
			}
		}
		if ordinary > 1 { // the runtime's monitor
			t.Errorf("policies while it is on: %v", policies())
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

// The monitor is the thread that starts before any other, next to the first one.
func TestMonitor(t *testing.T) {
	var threads []int
	if err := eachThread(func(id int) error { threads = append(threads, id); return nil }); err != nil {
		t.Fatal(err)
	}
	found := 0
	for range 20 {
		id, ok := monitor()
		if !ok {
			continue
		}
		if found++; id != slices.Sorted(slices.Values(threads))[1] {
			t.Fatalf("thread %d of %v", id, threads)
		}
	}
	if found == 0 {
		t.Skip("this kernel does not tell what threads wait in")
	}
	t.Logf("found %d of 20 times", found)
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
