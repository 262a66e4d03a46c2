package prometheus

import (
	"encoding/binary"
	"math"
)

// chunkSamples is how many samples one chunk holds, as in the real program.
const chunkSamples = 120

// chunk holds samples of one series in ascending time, compactly: one byte of head, the change of the time step, and the value as
// nothing (unchanged), a whole difference, or 8 bytes. A counter scraped at a steady pace takes two to four bytes a sample.
type chunk struct {
	buf   []byte
	n     int
	first int64
	last  point
	step  int64
}

const (
	headSameStep = 0x80
	headSame     = 0
	headDelta    = 1
	headRaw      = 2
	exactInteger = 1 << 53
)

// append adds a sample newer than the last.
func (c *chunk) append(p point) {
	if c.n == 0 {
		c.first = p.t
		c.buf = binary.AppendVarint(c.buf[:0], p.t)
		c.buf = binary.LittleEndian.AppendUint64(c.buf, math.Float64bits(p.v))
		c.last, c.n = p, 1
		return
	}
	step := p.t - c.last.t
	head := byte(headRaw)
	whole := isWhole(p.v) && isWhole(c.last.v)
	switch {
	case math.Float64bits(p.v) == math.Float64bits(c.last.v):
		head = headSame
	case whole:
		head = headDelta
	}
	same := c.n > 1 && step == c.step
	if same {
		head |= headSameStep
	}
	c.buf = append(c.buf, head)
	if !same {
		c.buf = binary.AppendVarint(c.buf, step)
	}
	switch head &^ headSameStep {
	case headDelta:
		c.buf = binary.AppendVarint(c.buf, int64(p.v)-int64(c.last.v))
	case headRaw:
		c.buf = binary.LittleEndian.AppendUint64(c.buf, math.Float64bits(p.v))
	}
	c.last, c.step = p, step
	c.n++
}

// isWhole leaves out negative zero: a whole difference would lose its sign.
func isWhole(v float64) bool {
	return math.Abs(v) < exactInteger && v == math.Trunc(v) && !(v == 0 && math.Signbit(v))
}

// points appends the samples with from <= t <= to.
func (c *chunk) points(out []point, from, to int64) []point {
	if c.n == 0 || c.last.t < from || c.first > to {
		return out
	}
	d := decoder{b: c.buf}
	p := point{t: d.varint()}
	p.v = d.float()
	var step int64
	for i := 0; ; i++ {
		if p.t >= from && p.t <= to {
			out = append(out, p)
		}
		if i+1 >= c.n || p.t > to || len(d.b) == 0 {
			return out
		}
		head := d.b[0]
		d.b = d.b[1:]
		if head&headSameStep == 0 {
			step = d.varint()
		}
		p.t += step
		switch head &^ headSameStep {
		case headDelta:
			p.v = float64(int64(p.v) + d.varint())
		case headRaw:
			p.v = d.float()
		}
	}
}
