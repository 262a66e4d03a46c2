package link

import "time"

// chunk is data on its way, or the error that ends it.
type chunk struct {
	data    []byte
	err     error
	at      time.Time // when it came
	jitter  float64   // in [-1, 1)
	leaves  time.Time // when its bandwidth is used up; zero before it asked for any
	granted shape     // under which it asked
}

// queue holds the chunks of one way of one connection, in order.
type queue struct {
	chunks []chunk
	bytes  int       // in chunks, and in the one being written
	lost   time.Time // when the first chunk went into a cut that drops; zero when it did not
}

func (q *queue) empty() bool { return len(q.chunks) == 0 }

// ended says whether nothing can come after what is queued.
func (q *queue) ended() bool { return !q.empty() && q.chunks[len(q.chunks)-1].err != nil }

// push adds a copy of data. Small pieces that come within a millisecond join, up to limit bytes, so that a thousand
// small writes do not cost a thousand chunks.
func (q *queue) push(data []byte, limit int, jitter float64) {
	now := time.Now()
	q.bytes += len(data)
	if n := len(q.chunks); n > 0 {
		last := &q.chunks[n-1]
		if last.leaves.IsZero() && last.err == nil && now.Sub(last.at) < time.Millisecond && len(last.data)+len(data) <= limit {
			last.data = append(last.data, data...)
			return
		}
	}
	q.chunks = append(q.chunks, chunk{data: append([]byte(nil), data...), at: now, jitter: jitter})
}

func (q *queue) fail(err error, jitter float64) {
	q.chunks = append(q.chunks, chunk{err: err, at: time.Now(), jitter: jitter})
}

// lose notes that what is queued on a way goes into a cut that drops. What has got behind an earlier one is lost anew.
func (q *queue) lose(way int, st *state) {
	if st.cut[way] != Drop || q.empty() {
		return
	}
	now := time.Now()
	if q.lost.IsZero() || st.healed[way].After(q.lost) && !now.Before(resent(q.lost, st.healed[way], resend, 0)) {
		q.lost = now
	}
}

// pop takes the first chunk off; its bytes stay counted until they are delivered.
func (q *queue) pop() chunk {
	c := q.chunks[0]
	q.lost = time.Time{}
	q.chunks[0] = chunk{}
	if q.chunks = q.chunks[1:]; len(q.chunks) == 0 {
		q.chunks = nil
	}
	return c
}

func (q *queue) unpop(c chunk) { q.chunks = append([]chunk{c}, q.chunks...) }

// ready returns when the first chunk may be delivered on a way under st; a time that has passed means now.
func (l *Link) ready(q *queue, way int, st *state) time.Time {
	if !q.lost.IsZero() {
		if at := resent(q.lost, st.healed[way], resend, 0); time.Now().Before(at) {
			return at
		}
	}
	if !st.shaped() {
		return time.Time{}
	}
	k := &q.chunks[0]
	due := k.at.Add(st.shape.delay + time.Duration(k.jitter*float64(st.shape.jitter)))
	now := time.Now()
	if now.Before(due) || st.shape.rate == 0 || len(k.data) == 0 {
		return due
	}
	if k.leaves.IsZero() || k.granted != st.shape {
		k.leaves, k.granted = l.reserve(way, len(k.data), st.shape.rate, now), st.shape
	}
	return k.leaves
}

// jitterFor draws for a new chunk.
func (l *Link) jitterFor(st *state) float64 {
	if st.shape.jitter == 0 {
		return 0
	}
	return l.draw()
}
