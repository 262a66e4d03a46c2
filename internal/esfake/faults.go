package esfake

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Throttle says how the server refuses bulk work because its queues are full. The zero value refuses nothing.
type Throttle struct {
	// Request is the probability, 0 to 1, that a whole bulk request is answered 429 and nothing of it is done.
	Request float64
	// Item is the probability, 0 to 1, that one item of a bulk request gets status 429 while the others are done.
	Item float64
	// RetryAfter is sent as the Retry-After header of a refused request, in whole seconds; 0 sends none, as
	// Elasticsearch does.
	RetryAfter time.Duration
}

// Hits counts what each fault has done since New. A fault without hits did not bite.
type Hits struct {
	ThrottledRequests int64 // bulk requests answered 429
	ThrottledItems    int64 // bulk items given 429 in a request that was answered 200
	BlockedItems      int64 // items and single writes refused by a block, whoever set it
	TooLarge          int64 // requests answered 413
	Delayed           int64 // requests delayed by Latency
	Refused           int64 // connections and requests cut by Down
}

// faults is the state that the fault methods of Server set. All of it may change while requests run.
type faults struct {
	mu         sync.Mutex
	rng        *rand.Rand
	throttle   Throttle
	floodStage bool
	maxBody    int64
	latency    time.Duration
	down       bool
	changed    chan struct{} // closed and replaced when latency or down changes
	hits       Hits
}

// Throttle makes the server refuse bulk requests and items; the zero Throttle heals it.
func (s *Server) Throttle(t Throttle) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.throttle = t
}

// FloodStage blocks or unblocks writes to every index, also to those made later, as the server does by itself when its disk is full
// (index.blocks.read_only_allow_delete): each item gets status 429 and a cluster_block_exception. Blocks that clients set through the settings API
// are apart from it and stay.
func (s *Server) FloodStage(on bool) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.floodStage = on
}

// MaxBody sets the longest request body in bytes before decompression ends; longer ones are answered 413. 0 restores
// the limit of Options.
func (s *Server) MaxBody(n int64) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	if n <= 0 {
		n = s.opts.MaxBody
	}
	s.faults.maxBody = n
}

// Latency delays every request by d before it is looked at; 0 heals, and releases the requests that wait.
func (s *Server) Latency(d time.Duration) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.latency = d
	s.faults.wake()
}

// Down makes the server behave as one that is not there: connections are reset, established ones at their next request
// and new ones when Serve accepts them. Documents stay.
func (s *Server) Down(on bool) {
	s.faults.mu.Lock()
	s.faults.down = on
	s.faults.wake()
	s.faults.mu.Unlock()
	if on {
		s.conns.resetAll()
	}
}

// Hits returns the counters of the faults.
func (s *Server) Hits() Hits {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return s.faults.hits
}

func (f *faults) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// enter is what a request meets before it is handled. It reports false when the connection must be cut.
func (f *faults) enter(r *http.Request) bool {
	f.mu.Lock()
	wait := f.latency
	delayed := wait > 0
	if delayed {
		f.hits.Delayed++
	}
	start := time.Now()
	for wait > 0 && !f.down {
		changed := f.changed
		f.mu.Unlock()
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-changed:
		case <-r.Context().Done():
		}
		t.Stop()
		f.mu.Lock()
		if r.Context().Err() != nil {
			break
		}
		wait = f.latency - time.Since(start)
	}
	defer f.mu.Unlock()
	if f.down {
		f.hits.Refused++
		return false
	}
	return true
}

func (f *faults) bodyLimit() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.maxBody
}

func (f *faults) tooLarge() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hits.TooLarge++
}

// throttleRequest decides whether a bulk request is refused whole, and sets its headers.
func (f *faults) throttleRequest(h http.Header) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.chance(f.throttle.Request) {
		return false
	}
	f.hits.ThrottledRequests++
	if s := int(f.throttle.RetryAfter / time.Second); s > 0 {
		h.Set("Retry-After", strconv.Itoa(s))
	}
	return true
}

// plan returns which of n items of a bulk request are throttled, nil for none, and whether writes are blocked.
func (f *faults) plan(n int) (throttled []bool, blocked bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.throttle.Item > 0 {
		throttled = make([]bool, n)
		for i := range throttled {
			if f.chance(f.throttle.Item) {
				throttled[i] = true
				f.hits.ThrottledItems++
			}
		}
	}
	return throttled, f.floodStage
}

// chance draws with probability p; mu is held.
func (f *faults) chance(p float64) bool {
	return p > 0 && (p >= 1 || f.rng.Float64() < p)
}

func (f *faults) blocked(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hits.BlockedItems += n
}
