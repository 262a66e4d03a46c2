package source

import "time"

const millisLen = len("2006-01-02T15:04:05.000Z")

// Clock writes times to the millisecond, as RFC 3339 has them, and remembers the last: of a million records a second, a thousand share
// each. The zero value is ready. It is not safe for concurrent use.
type Clock struct {
	text     [millisLen]byte
	from, to int64 // unix ns that are the text
	second   int64 // in unix ns: where the second of the text begins
	known    bool
}

// Append appends a time in unix nanoseconds.
func (c *Clock) Append(dst []byte, ns int64) []byte {
	c.turn(ns)
	return append(dst, c.text[:]...)
}

// turn makes text that of ns and returns when it began to be.
func (c *Clock) turn(ns int64) int64 {
	if ns >= c.from && ns < c.to {
		return c.from
	}
	if !c.known || ns < c.second || ns-c.second >= int64(time.Second) {
		at := newStamp(ns)
		g := gen{b: c.text[:0], at: at}
		g.rfc3339(3)
		c.second, c.known = ns-int64(at.nano), true
	}
	ms := (ns - c.second) / int64(time.Millisecond)
	g := gen{b: c.text[:millisLen-4]}
	g.digits(int(ms), 3)
	c.from = c.second + ms*int64(time.Millisecond)
	c.to = c.from + int64(time.Millisecond)
	return c.from
}
