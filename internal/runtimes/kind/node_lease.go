//go:build !embedded_only

package kind

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

// A lease is for what nodes cannot undo themselves: the harness renews it while it lives, and a watchdog process on the host, which does
// not need the harness, undoes what it is for when it runs out.
const (
	leaseTTL   = 15 * time.Second
	leaseEvery = 5 * time.Second
)

// watchdogScript waits until the deadline in the lease file ($1) has passed, and does then what follows it, with the engine ($2) and the
// arguments behind. A lease that is gone was healed: nothing is touched, another fault may have begun since. It reads the clock, not a
// countdown: a machine that slept wakes up late and acts at once.
const watchdogScript = `lease=$1; engine=$2; shift 2
while until=$(cat "$lease" 2>/dev/null); do
  if [ "$(date +%s)" -ge "$until" ]; then break; fi
  sleep 1
done
[ -f "$lease" ] || exit 0
`

// lease starts the watchdog that runs undo with args, in a shell in which $engine is the engine, and renews the lease until stop. It ends
// at longest whatever the harness does.
func (r *Runtime) lease(file string, longest time.Duration, undo string, args []string) (stop func(), err error) {
	end := time.Now().Add(longest + undoGrace)
	renew := func() error {
		until := time.Now().Add(leaseTTL)
		if until.After(end) {
			until = end
		}
		return writeFileAtomic(file, []byte(strconv.FormatInt(until.Unix(), 10)), 0o600)
	}
	if err := renew(); err != nil {
		return nil, err
	}
	script := watchdogScript + undo + `rm -f "$lease"`
	if err := startDetached("sh", append([]string{"-c", script, "triad-watchdog", file, r.engine.Bin}, args...)...); err != nil {
		_ = os.Remove(file)
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	done, renewed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(renewed)
		for {
			select {
			case <-done:
				return
			case <-time.After(leaseEvery):
				if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
					return
				}
				_ = renew() // what fails once is tried again: two of three renewals may
			}
		}
	}()
	return sync.OnceFunc(func() { close(done); <-renewed }), nil
}
