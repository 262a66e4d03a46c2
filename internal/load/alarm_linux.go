package load

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm is a timer of the kernel (timerfd_create(2)) that the runtime waits for as for any file. It is as exact as a nap, and no thread sleeps in
// a call meanwhile: after each of those the runtime's monitor looks 20 µs apart, for a millisecond, for the next (BenchmarkWait). Where every
// processor has a goroutine to run, it may be late by the ten milliseconds after which the runtime looks for files in any case.
type alarm struct {
	file *os.File
	fd   int
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("timerfd_create: %w", err)
	}
	return &alarm{os.NewFile(uintptr(fd), "timerfd"), fd}, nil
}

func (a *alarm) close() { _ = a.file.Close() }

// wait sleeps for d, and reports whether it did: false when ctx ended, which hurry has to be told of. There is no deadline beside it: one for
// each wait costs as much as is saved, because the runtime wakes the thread that waits for files to tell it of an earlier timer.
func (a *alarm) wait(ctx context.Context, d time.Duration) bool {
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if unix.TimerfdSettime(a.fd, 0, &at, nil) != nil {
		time.Sleep(min(d, coarse))
		return ctx.Err() == nil
	}
	var expirations [8]byte
	_, _ = a.file.Read(expirations[:])
	return ctx.Err() == nil
}

// hurry ends this wait and every later one.
func (a *alarm) hurry() { _ = a.file.SetReadDeadline(time.Unix(1, 0)) }
