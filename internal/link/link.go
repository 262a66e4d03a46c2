package link

import (
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Direction says which way of a link is cut.
type Direction uint8

// The directions.
const (
	Both    Direction = iota
	Forward           // from the dialer to the listener
	Back              // from the listener to the dialer
)

// Mode says how a way is cut.
type Mode uint8

// The modes. Zero is a way that is open.
const (
	// Reject answers as a packet filter that rejects, or a host without the process: open connections are reset, and
	// dials refused with ECONNREFUSED.
	Reject Mode = iota + 1
	// Drop answers nothing, as a black hole: writes go into a bounded buffer and then block, reads and dials hang. What was lost goes
	// again with TCP's next retransmission behind Heal, what was dialed with the next SYN, and either not behind its own deadline.
	Drop
	// Hold is a peer whose processes stand still: its kernel takes connections and data, nothing is lost, and all goes on at once with Heal.
	Hold
)

// silent says whether nothing passes and nobody is told.
func (m Mode) silent() bool { return m == Drop || m == Hold }

// The two ways of a link, as indices.
const (
	forward = 0
	back    = 1
)

const (
	// sendBuffer is how much a connection holds of what was written into a cut before its writes block, in bytes. Linux
	// grows a send buffer from 16 KiB to at most 4 MiB (net.ipv4.tcp_wmem); this is between, nearer to a connection
	// that had been sending for a while. It is also how far one way gets when only the other is cut: acknowledgements
	// are missing.
	sendBuffer = 256 << 10
	// delayBuffer takes its place under a delay, so that the buffer does not add a limit of bandwidth of its own below
	// 4 MiB per round trip.
	delayBuffer = 4 << 20
	// chunkBytes is the largest unit in which data passes a queue, and in which connections share a limited bandwidth.
	chunkBytes = 16 << 10
	// laneSlack is how much unused time of a limited bandwidth can be caught up with: timers are late by about a
	// millisecond, and a limit must not turn into less than it says.
	laneSlack = 10 * time.Millisecond
	// synTimeout is how long a dial hangs before it fails with ETIMEDOUT: 4+1+2+4+8+16+32+64 s, four even retransmissions of a SYN and six
	// (net.ipv4.tcp_syn_retries) that back off.
	synTimeout = 131 * time.Second
	// resend is when TCP sends again what nobody acknowledged, and doubled each time up to resendMost (TCP_RTO_MIN and TCP_RTO_MAX of Linux, and
	// what its timers are rounded up by: on kind seven of them took 26.5 s). A SYN goes again after a second, evenSYN times before that is
	// doubled (net.ipv4.tcp_syn_linear_timeouts, Linux 6.5 and later).
	resend     = 208 * time.Millisecond
	resendSYN  = time.Second
	evenSYN    = 4
	resendMost = 2 * time.Minute
	// lingerTimeout is how long a closed connection tries to get rid of what was written before it is reset, about
	// what Linux gives an orphan (net.ipv4.tcp_orphan_retries).
	lingerTimeout = 2 * time.Minute
)

// state is what is set on a link. It is never changed: a new one takes its place, and changed of the old one is closed.
type state struct {
	cut     [2]Mode
	healed  [2]time.Time // when the last Drop of a way ended
	shape   shape
	changed chan struct{}
}

type shape struct {
	delay, jitter time.Duration
	rate          int64 // bytes per second, 0 for no limit
}

func (s *state) has(m Mode) bool { return s.cut[forward] == m || s.cut[back] == m }

func (s *state) silent() bool { return s.cut[forward].silent() || s.cut[back].silent() }

// open is when the last Drop of either way ended.
func (s *state) open() time.Time {
	if s.healed[forward].After(s.healed[back]) {
		return s.healed[forward]
	}
	return s.healed[back]
}

// resent is when what was first lost at a time passes a way that is open since another: sent again after a first wait, so many times evenly
// before the wait is doubled.
func resent(lost, open time.Time, wait time.Duration, even int) time.Time {
	for n := 1; ; n++ {
		if lost = lost.Add(wait); !lost.Before(open) {
			return lost
		}
		if n > even {
			wait = min(2*wait, resendMost)
		}
	}
}

func (s *state) shaped() bool { return s.shape != shape{} }

func (s *state) clear() bool { return s.cut == [2]Mode{} && !s.shaped() }

// buffer is the number of bytes a connection holds per way.
func (s *state) buffer() int {
	if s.shape.delay > 0 {
		return delayBuffer
	}
	return sendBuffer
}

// chunk is the number of bytes that pass as one: at most 20 ms of a limited bandwidth, so that a slow link trickles.
func (s *state) chunk() int {
	if s.shape.rate == 0 {
		return chunkBytes
	}
	return int(min(max(s.shape.rate/50, 64), chunkBytes))
}

// Link is one link between two places. All methods are safe for concurrent use.
type Link struct {
	name  string
	state atomic.Pointer[state]
	lanes [2]lane
	stats counters

	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed bool
	wg     sync.WaitGroup

	rngMu sync.Mutex
	rng   *rand.Rand
}

// lane is the bandwidth of one way, shared by all connections.
type lane struct {
	mu   sync.Mutex
	free time.Time // when what was promised so far has left
}

// New returns a link that passes everything on. The name seeds its jitter.
func New(name string) *Link {
	h := fnv.New64a()
	h.Write([]byte(name))
	l := &Link{name: name, conns: map[*conn]struct{}{}, rng: rand.New(rand.NewPCG(h.Sum64(), 0))}
	l.state.Store(&state{changed: make(chan struct{})})
	return l
}

// Name returns the name given to New.
func (l *Link) Name() string { return l.name }

// Cut cuts one or both ways, in addition to what is cut already. When it returns, nothing that is written afterwards
// passes in that direction until Heal. With Reject all open connections are reset, whatever the direction.
func (l *Link) Cut(dir Direction, mode Mode) {
	l.update(func(s *state) {
		if dir != Back {
			s.cut[forward] = mode
		}
		if dir != Forward {
			s.cut[back] = mode
		}
	})
	if mode == Reject {
		l.Reset()
	}
}

// Heal ends all cuts; a Shape stays. What was held is delivered in order: behind a Drop, when TCP sends it again.
func (l *Link) Heal() {
	l.update(func(s *state) { s.cut = [2]Mode{} })
}

// Shape delays what passes, each way, by delay plus or minus up to jitter (so a round trip takes twice the delay), and
// limits each way to bytesPerSecond for all connections together. Order is kept. Zeros take the limits away again, also
// for what is on its way. A dial takes one round trip. Negative values count as zero, and jitter is at most delay.
func (l *Link) Shape(delay, jitter time.Duration, bytesPerSecond int64) {
	delay = max(delay, 0)
	l.update(func(s *state) {
		s.shape = shape{delay: delay, jitter: min(max(jitter, 0), delay), rate: max(bytesPerSecond, 0)}
	})
	for i := range l.lanes {
		lane := &l.lanes[i]
		lane.mu.Lock()
		lane.free = time.Time{}
		lane.mu.Unlock()
	}
}

// Reset resets all open connections, as they are when the peer's process crashes: both ends see ECONNRESET, and what was
// not delivered is gone.
func (l *Link) Reset() {
	for _, c := range l.open() {
		if c.abort() {
			l.stats.resets.Add(1)
		}
	}
}

// Close resets all open connections, refuses new ones and waits for the link's goroutines. A link whose connections are
// all closed, and that is healed, has none left and need not be closed.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.update(func(s *state) { s.cut = [2]Mode{Reject, Reject} })
	for _, c := range l.open() {
		c.abort()
	}
	l.wg.Wait()
}

// update puts a changed state in place and makes every connection look at it.
func (l *Link) update(change func(*state)) {
	l.mu.Lock()
	old := l.state.Load()
	next := &state{cut: old.cut, healed: old.healed, shape: old.shape, changed: make(chan struct{})}
	change(next)
	if l.closed {
		next.cut = [2]Mode{Reject, Reject}
	}
	for way, was := range old.cut {
		if was == Drop && next.cut[way] != Drop {
			next.healed[way] = time.Now()
		}
	}
	l.state.Store(next)
	l.mu.Unlock()
	close(old.changed)
	// A connection adopted from here on has seen the new state: it is registered before its first look.
	for _, c := range l.open() {
		c.poke()
	}
}

func (l *Link) open() []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	conns := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	return conns
}

// spawn runs f on a goroutine that Close waits for; false when the link is closed.
func (l *Link) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.wg.Go(f)
	return true
}

func (l *Link) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// reserve takes n bytes of a way's bandwidth and returns when they have left.
func (l *Link) reserve(way, n int, rate int64, now time.Time) time.Time {
	lane := &l.lanes[way]
	lane.mu.Lock()
	defer lane.mu.Unlock()
	if earliest := now.Add(-laneSlack); lane.free.Before(earliest) {
		lane.free = earliest
	}
	lane.free = lane.free.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	return lane.free
}

// draw returns a number in [-1, 1).
func (l *Link) draw() float64 {
	l.rngMu.Lock()
	defer l.rngMu.Unlock()
	return 2*l.rng.Float64() - 1
}
