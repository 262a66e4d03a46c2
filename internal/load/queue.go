package load

import (
	"time"

	"triad/internal/scenario"
	"triad/internal/schedule"
	"triad/internal/source"
)

// streamState is a stream on its way through its schedule.
type streamState struct {
	stream  *scenario.Stream
	lines   *source.Stream
	sched   *schedule.Schedule
	due     time.Duration
	seq     uint64
	settled *openRun // outcomes of the stream
}

// streamHeap is a binary heap by due time. It is not container/heap, whose calls through an interface cost more than
// the rest of a step.
type streamHeap []*streamState

// down restores the heap below i, whose due time has grown.
func (h streamHeap) down(i int) {
	s := h[i]
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1].due < h[c].due {
			c++
		}
		if s.due <= h[c].due {
			break
		}
		h[i] = h[c]
		i = c
	}
	h[i] = s
}

func (h streamHeap) init() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

// pop removes the first stream.
func (h *streamHeap) pop() {
	k := len(*h) - 1
	(*h)[0] = (*h)[k]
	*h = (*h)[:k]
	if k > 0 {
		h.down(0)
	}
}

func (s *streamState) advance() bool {
	s.seq = s.sched.Seq()
	var ok bool
	s.due, ok = s.sched.Next()
	return ok
}
