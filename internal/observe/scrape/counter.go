package scrape

import (
	"math"
	"time"
)

// Counter accumulates the increase of one counter of one instance from readings of it, across restarts of the process.
//
// A restart sets a counter to zero and takes with it whatever was counted after the last reading. So the increase is an
// interval: Lower counts what was read, Upper adds what the restarts may have hidden. How much a restart may have hidden is known
// only when the caller bounds the rate (MaxRate); without a bound Upper is +Inf once a reset was seen.
// The zero value is ready. It is not safe for concurrent use.
type Counter struct {
	// MaxRate is the highest rate, in units per second, that the counter can have. 0 means unknown.
	MaxRate float64

	seen     bool
	at       time.Time
	value    float64
	start    float64
	lower    float64
	hidden   float64
	resets   int
	readings int
	first    time.Time
	bad      int
}

// Observe adds a reading made at t. start is the start time of the process in seconds since the epoch when the exposition
// has one (process_start_time_seconds and its kin), else 0: a changed start time shows a restart even when the counter has
// already overtaken its old value. NaN, infinite and negative readings are counted as Bad and otherwise ignored, as are
// readings older than the newest one.
func (c *Counter) Observe(t time.Time, value, start float64) {
	if math.IsNaN(value) || math.IsInf(value, 0) || value < 0 || (c.seen && t.Before(c.at)) {
		c.bad++
		return
	}
	c.readings++
	if !c.seen {
		c.seen, c.first, c.at, c.value, c.start = true, t, t, value, start
		return
	}
	restarted := start != 0 && c.start != 0 && start != c.start
	if value < c.value || restarted {
		c.resets++
		c.lower += value
		// Between the last reading and the reset the old process counted at most MaxRate for the time that the new one
		// did not need for its own count.
		if c.MaxRate > 0 {
			c.hidden += math.Max(0, c.MaxRate*t.Sub(c.at).Seconds()-value)
		} else {
			c.hidden = math.Inf(1)
		}
	} else {
		c.lower += value - c.value
	}
	c.at, c.value = t, value
	if start != 0 {
		c.start = start
	}
}

// Increase is what a Counter has seen between its first and its last reading.
type Increase struct {
	Lower     float64   `json:"lower"`      // counted for certain
	Upper     float64   `json:"upper"`      // Lower plus what resets may have hidden; +Inf when that has no bound
	Resets    int       `json:"resets"`     // resets seen; a restart between two readings that left no trace is not among them
	Readings  int       `json:"readings"`   // readings used; fewer than 2 give no increase
	Bad       int       `json:"bad"`        // readings refused
	From      time.Time `json:"from"`       // first reading
	To        time.Time `json:"to"`         // last reading
	LastValue float64   `json:"last_value"` // as exposed
}

// Exact reports whether the increase is a number and not an interval. A counter with fewer than two readings is not exact.
func (i Increase) Exact() bool { return i.Readings >= 2 && i.Lower == i.Upper }

// Increase returns the accumulated increase.
func (c *Counter) Increase() Increase {
	return Increase{
		Lower: c.lower, Upper: c.lower + c.hidden, Resets: c.resets, Readings: c.readings, Bad: c.bad,
		From: c.first, To: c.at, LastValue: c.value,
	}
}
