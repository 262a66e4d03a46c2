//go:build !linux

package load

import "time"

// nap sleeps. Outside Linux the runtime's own timers wait as finely as the kernel does.
func nap(d time.Duration) { time.Sleep(d) }
