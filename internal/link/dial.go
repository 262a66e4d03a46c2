package link

import (
	"context"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Dial connects through the link, with a plain net.Dialer below. A dial into a cut that rejects fails with a
// *net.OpError of ECONNREFUSED; into one that drops it hangs until the next SYN behind Heal, until ctx ends, or for 131 s, then ETIMEDOUT. Into one that holds it
// succeeds, and what is said over it waits.
func (l *Link) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return l.DialVia((&net.Dialer{}).DialContext)(ctx, network, addr)
}

// DialVia returns Dial with another dialer below, such as the Dial of a second Link, or one of pipes.
func (l *Link) DialVia(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		fail := func(err error) error {
			return &net.OpError{Op: "dial", Net: network, Addr: address{network, addr}, Err: err}
		}
		if err := l.passSYN(ctx); err != nil {
			return nil, fail(err)
		}
		under, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err // as the dialer below says it: callers look at its type
		}
		c := l.adopt(under, forward)
		if l.state.Load().has(Reject) { // cut while the dial was under way
			c.abort()
			l.stats.dialsRefused.Add(1)
			return nil, fail(refused())
		}
		return c, nil
	}
}

// passSYN returns when a SYN and its answer got through, or why they did not.
func (l *Link) passSYN(ctx context.Context) error {
	var giveUp, trip, again <-chan time.Time
	var lost time.Time
	for {
		st := l.state.Load()
		wake := trip
		if st.has(Drop) && lost.IsZero() {
			lost = time.Now()
		}
		switch {
		case st.has(Reject):
			l.stats.dialsRefused.Add(1)
			return refused()
		case st.has(Drop):
			wake, again = nil, nil
			if giveUp == nil {
				l.stats.dialsHung.Add(1)
				t := time.NewTimer(synTimeout)
				defer t.Stop()
				giveUp = t.C
			}
		case !lost.IsZero():
			wake = nil
			if at := resent(lost, st.open(), resendSYN, evenSYN); at.Before(lost.Add(synTimeout)) { // else none is sent any more
				t := time.NewTimer(time.Until(at))
				defer t.Stop()
				again = t.C
			}
		case st.shape.delay == 0:
			return ctx.Err()
		case trip == nil:
			t := time.NewTimer(2 * st.shape.delay)
			defer t.Stop()
			trip = t.C
			wake = trip
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-giveUp:
			return os.NewSyscallError("connect", syscall.ETIMEDOUT)
		case <-wake:
			return nil
		case <-again:
			lost, again = time.Time{}, nil
		case <-st.changed:
		}
	}
}

func refused() error { return os.NewSyscallError("connect", syscall.ECONNREFUSED) }

// adopt wraps a connection whose own end writes in direction out.
func (l *Link) adopt(under net.Conn, out int) *conn {
	c := &conn{link: l, under: under, in: 1 - out, out: out}
	// The first operations look at the state, and find their way to the direct path from there.
	c.rslow.Store(true)
	c.wslow.Store(true)
	l.mu.Lock()
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	return c
}

type address struct{ network, text string }

func (a address) Network() string { return a.network }
func (a address) String() string  { return a.text }

// Listener returns ln with the link in front of it: what it accepts passes the link. Its Accept keeps connections back
// while a cut drops, and behind it until the next SYN, and resets them while it rejects.
func (l *Link) Listener(ln net.Listener) net.Listener {
	return &listener{Listener: ln, link: l, done: make(chan struct{})}
}

type listener struct {
	net.Listener
	link *Link
	once sync.Once
	done chan struct{}
}

func (ln *listener) Accept() (net.Conn, error) {
	for {
		under, err := ln.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := ln.link.adopt(under, back)
		ok, err := ln.admit(c)
		if err != nil {
			return nil, err
		}
		if ok {
			return c, nil
		}
	}
}

// admit waits while c may not be seen; false when it was reset.
func (ln *listener) admit(c *conn) (bool, error) {
	held := false
	var lost time.Time
	for {
		st := ln.link.state.Load()
		if st.has(Drop) && lost.IsZero() {
			lost = time.Now()
		}
		var again <-chan time.Time
		switch {
		case st.has(Reject):
			if c.abort() {
				ln.link.stats.resets.Add(1)
			}
			return false, nil
		case st.silent():
			if !held {
				held = true
				ln.link.stats.acceptsHeld.Add(1)
			}
		case lost.IsZero():
			return true, nil
		default:
			t := time.NewTimer(time.Until(resent(lost, st.open(), resendSYN, evenSYN)))
			defer t.Stop()
			again = t.C
		}
		select {
		case <-st.changed:
		case <-again:
			lost = time.Time{}
		case <-ln.done:
			c.abort()
			return false, &net.OpError{Op: "accept", Net: ln.Addr().Network(), Addr: ln.Addr(), Err: net.ErrClosed}
		}
	}
}

// Close closes the listener below and lets a waiting Accept go.
func (ln *listener) Close() error {
	ln.once.Do(func() { close(ln.done) })
	return ln.Listener.Close()
}
