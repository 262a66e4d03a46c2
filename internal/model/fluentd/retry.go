package fluentd

import (
	"math"
	"math/rand/v2"
	"time"
)

// retryState says when the next flush may be tried after a failed one. It is the state machine of Fluentd, without a
// secondary output.
type retryState struct {
	cfg            Retry
	start          time.Time
	steps          int
	next           time.Time
	reachedTimeout bool
	timedOut       bool
}

// randomWidth is the part of an interval by which Fluentd varies it up or down.
const randomWidth = 0.125

func newRetry(cfg Retry, now time.Time) *retryState {
	return &retryState{cfg: cfg, start: now, next: now.Add(cfg.Wait)}
}

// step moves on after one more failure.
func (r *retryState) step(now time.Time, rng *rand.Rand) {
	r.steps++
	r.next = r.calc(now, rng)
	if r.cfg.Forever {
		return
	}
	late := !r.next.Before(r.start.Add(r.cfg.Timeout))
	if r.reachedTimeout {
		r.timedOut = late
	} else {
		r.reachedTimeout = late
	}
}

func (r *retryState) calc(now time.Time, rng *rand.Rand) time.Time {
	d := r.interval()
	if r.cfg.Randomize {
		d += time.Duration(float64(d) * randomWidth * (2*rng.Float64() - 1))
	}
	next := now.Add(d)
	if end := r.start.Add(r.cfg.Timeout); !r.cfg.Forever && !next.Before(end) {
		return end
	}
	return next
}

func (r *retryState) interval() time.Duration {
	if r.cfg.Periodic {
		return r.cfg.Wait
	}
	f := r.cfg.Wait.Seconds() * math.Pow(r.cfg.Base, float64(r.steps))
	if limit := r.cfg.MaxInterval; limit > 0 && f > limit.Seconds() {
		return limit
	}
	const longest = 1e9 // seconds; keeps the conversion in range, and nobody waits for it
	return time.Duration(min(f, longest) * float64(time.Second))
}

// exhausted says that the buffer gives up.
func (r *retryState) exhausted() bool {
	return !r.cfg.Forever && (r.timedOut || r.cfg.MaxTimes > 0 && r.steps >= r.cfg.MaxTimes)
}
