package evidence

import (
	"slices"
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
	counts map[pulseAt]float64
	total  map[string]uint64
}

type pulseAt struct {
	bucket int64
	source string
}

// NewPulse returns the pulse of a point: ledger, kafka, search or dead-letter.
func NewPulse(s *SeriesFile, point string, every time.Duration) *Pulse {
	return &Pulse{series: s, point: point, every: every, counts: map[pulseAt]float64{}, total: map[string]uint64{}}
}

// Add counts n records of a source at time t.
func (p *Pulse) Add(source string, t time.Duration, n uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[pulseAt{int64(max(t, 0) / p.every), source}] += float64(n)
	p.total[source] += n
}

// Total is the number of records counted so far.
func (p *Pulse) Total() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var n uint64
	for _, v := range p.total {
		n += v
	}
	return n
}

// Flush writes the buckets that ended before now, or all of them when all is set.
func (p *Pulse) Flush(now time.Duration, all bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var due []pulseAt
	for at := range p.counts {
		if all || time.Duration(at.bucket+1)*p.every <= now {
			due = append(due, at)
		}
	}
	slices.SortFunc(due, func(a, b pulseAt) int { return int(a.bucket - b.bucket) })
	for i := 0; i < len(due); {
		var samples []Sample
		b := due[i].bucket
		for ; i < len(due) && due[i].bucket == b; i++ {
			samples = append(samples, Sample{PulseSeries, Labels{"point": p.point, "source": due[i].source}, p.counts[due[i]]})
			delete(p.counts, due[i])
		}
		if err := p.series.Add(time.Duration(b)*p.every, samples...); err != nil {
			return err
		}
	}
	return nil
}
