//go:build !linux

package load

import (
	"context"
	"errors"
	"time"
)

// alarm is not there: the runtime's own timers wait as finely as the kernel does.
type alarm struct{}

func newAlarm() (*alarm, error) { return nil, errors.ErrUnsupported }

func (*alarm) wait(context.Context, time.Duration) bool { return false }
func (*alarm) hurry()                                   {}
func (*alarm) close()                                   {}
