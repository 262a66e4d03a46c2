package evidence

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Pulse counts records at an observation point in buckets of fixed length and writes them as PulseSeries. A bucket
// that gets more records after it was written is written again with the difference: readers add. Safe for concurrent
// use.
type Pulse struct {
	series *SeriesFile
	point  string
	every  time.Duration
	mu     sync.Mutex
	counts map[string]*pulseCounts
}

// pulseCounts are the buckets of one source; the latest is kept apart, because nearly every record falls into it.
type pulseCounts struct {
	total  uint64
	bucket int64
	n      uint64
	older  map[int64]uint64
}

type pulseAt struct {
	bucket int64
	source string
	n      uint64
}

// NewPulse returns the pulse of a point: ledger, kafka, search or dead-letter.
func NewPulse(s *SeriesFile, point string, every time.Duration) *Pulse {
	return &Pulse{series: s, point: point, every: every, counts: map[string]*pulseCounts{}}
}

// Every is the length of a bucket.
func (p *Pulse) Every() time.Duration { return p.every }

// Add counts n records of a source at time t.
func (p *Pulse) Add(source string, t time.Duration, n uint64) {
	bucket := int64(max(t, 0) / p.every)
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.counts[source]
	if c == nil {
		c = &pulseCounts{older: map[int64]uint64{}}
		p.counts[source] = c
	}
	c.total += n
	switch {
	case bucket == c.bucket:
		c.n += n
	case bucket > c.bucket:
		if c.n > 0 {
			c.older[c.bucket] += c.n
		}
		c.bucket, c.n = bucket, n
	default:
		c.older[bucket] += n
	}
}

// Total is the number of records counted so far.
func (p *Pulse) Total() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var n uint64
	for _, c := range p.counts {
		n += c.total
	}
	return n
}

// Flush writes the buckets that ended before now, or all of them when all is set.
func (p *Pulse) Flush(now time.Duration, all bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var due []pulseAt
	for source, c := range p.counts {
		over := func(bucket int64) bool { return all || time.Duration(bucket+1)*p.every <= now }
		for b, n := range c.older {
			if over(b) {
				due = append(due, pulseAt{b, source, n})
				delete(c.older, b)
			}
		}
		if c.n > 0 && over(c.bucket) {
			due = append(due, pulseAt{c.bucket, source, c.n})
			c.n = 0
		}
	}
	slices.SortFunc(due, func(a, b pulseAt) int {
		return cmp.Or(cmp.Compare(a.bucket, b.bucket), strings.Compare(a.source, b.source))
	})
	for i := 0; i < len(due); {
		var samples []Sample
		b := due[i].bucket
		for ; i < len(due) && due[i].bucket == b; i++ {
			samples = append(samples, Sample{PulseSeries, Labels{"point": p.point, "source": due[i].source}, float64(due[i].n)})
		}
		if err := p.series.Add(time.Duration(b)*p.every, samples...); err != nil {
			return err
		}
	}
	return p.series.Flush()
}
