package load

import (
	"sync"
	"sync/atomic"
	"time"

	"triad/internal/evidence"
	"triad/internal/stats"
)

// Outcome is what a sink tells what became of a record: whoever sends one calls Done exactly once.
type Outcome struct {
	run     *openRun
	seq     uint64
	due, at time.Duration // scheduled and attempted
	block   time.Duration
	left    *atomic.Int32 // how often the record is sent, when not once: the last that is done counts
}

func newCopies(n int) *atomic.Int32 {
	left := &atomic.Int32{}
	left.Store(int32(n))
	return left
}

// Done says that the record was acknowledged now or, with an error, that it may or may not have entered.
func (o Outcome) Done(err error) { o.run.of.settle(&o, time.Since(o.run.of.start), err) }

// outcomes collects what became of a generator's records, under one lock: a record costs some additions, and what is written for many is
// written once (publish).
type outcomes struct {
	start    time.Time
	source   string
	evidence Evidence
	pulse    time.Duration

	mu       sync.Mutex
	timed    *evidence.Recorder // target_block, send_corrected, send_uncorrected
	acked    uint64
	unknown  uint64
	streams  []*openRun
	bucket   time.Duration // of the pulse: its end
	inBucket uint64
}

// openRun is the last run of records of a stream with one class, not in the ledger yet when it is not empty.
type openRun struct {
	of     *outcomes
	stream uint32
	class  evidence.Class
	span   stats.Span
}

func newOutcomes(start time.Time, source string, ev Evidence) (*outcomes, error) {
	timed, err := ev.Hists.Recorder(evidence.HistKey{Metric: "target_block", Source: source}, evidence.HistKey{Metric: "send_corrected", Source: source},
		evidence.HistKey{Metric: "send_uncorrected", Source: source})
	if err != nil {
		return nil, err
	}
	return &outcomes{start: start, source: source, evidence: ev, pulse: ev.Pulse.Every(), timed: timed}, nil
}

// stream registers a stream.
func (c *outcomes) stream(id uint32) *openRun {
	r := &openRun{of: c, stream: id}
	c.streams = append(c.streams, r)
	return r
}

// settle counts the outcome of a record that is known at the time given.
func (c *outcomes) settle(o *Outcome, now time.Duration, err error) {
	if o.left != nil && o.left.Add(-1) != 0 {
		return
	}
	c.mu.Lock()
	class := evidence.Acked
	if err != nil {
		class = evidence.Unknown
		c.unknown++
	} else {
		c.acked++
		if now >= c.bucket || now < c.bucket-c.pulse {
			c.beat(now)
		}
		c.inBucket++
	}
	if r := o.run; r.class == class && r.span.Hi == o.seq {
		r.span.Hi++
	} else {
		c.close(r)
		r.class, r.span = class, stats.Span{Lo: o.seq, Hi: o.seq + 1}
	}
	c.timed.Lock()
	w := c.timed.Window(o.due)
	w[0].Record(now - o.at + o.block)
	w[1].Record(now - o.due)
	w[2].Record(now - o.at)
	c.timed.Unlock()
	c.mu.Unlock()
}

// beat begins the bucket of the pulse in which now is.
func (c *outcomes) beat(now time.Duration) {
	if c.inBucket > 0 {
		c.evidence.Pulse.Add(c.source, c.bucket-c.pulse, c.inBucket)
		c.inBucket = 0
	}
	c.bucket = max(now, 0).Truncate(c.pulse) + c.pulse
}

// close hands a run to the ledger.
func (c *outcomes) close(r *openRun) {
	if r.span.Len() > 0 {
		c.evidence.Ledger.MarkSpan(r.class, r.stream, r.span)
	}
	r.span.Lo = r.span.Hi
}

// publish hands what was collected to the ledger and the pulse, to be written. Histograms are taken when their file is flushed.
func (c *outcomes) publish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.streams {
		c.close(r)
	}
	c.beat(c.bucket - c.pulse)
}

func (c *outcomes) counts() (acked, unknown uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.acked, c.unknown
}

// settled is the number of records whose outcome is known.
func (c *outcomes) settled() uint64 {
	acked, unknown := c.counts()
	return acked + unknown
}
