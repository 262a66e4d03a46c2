package link

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is one end of a connection over a link.
//
// While nothing is set on the link, Read and Write call the connection below directly; one atomic load is all they add.
// When something is set, poke interrupts them by a deadline in the past on the connection below, and they go on in
// readSlow and writeSlow, where queues and pumps (one goroutine per way, only while needed) take over. When the link is
// clear and the queues are empty, they go back to the direct path.
type conn struct {
	link    *Link
	under   net.Conn
	in, out int // ways

	rmu, wmu     sync.Mutex  // one Read and one Write at a time
	rslow, wslow atomic.Bool // the direct path is not to be taken; cleared under mu only

	mu           sync.Mutex
	notify       chan struct{} // closed when anything below changes; nil when nobody waits
	rdl, wdl     time.Time     // deadlines as the owner set them
	rheld, wheld bool          // the deadlines below are not the owner's
	rx, tx       queue
	rpump, wpump bool
	rahead       int   // bytes read while only the way out was cut
	wahead       int   // bytes written while only the way in was cut
	werr         error // of the write pump
	closed       bool  // by the owner
	reset        bool
	gone         bool      // the connection below is closed
	hard         bool      // SetLinger(0): Close discards
	linger       time.Time // when a closed connection gives up
}

var _ net.Conn = (*conn)(nil)

// past is a deadline that interrupts.
func past() time.Time { return time.Unix(1, 0) }

// poke takes the operations under way off the direct path and makes everything look at the state again.
func (c *conn) poke() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupt()
}

func (c *conn) interrupt() {
	if c.gone {
		return
	}
	// In this order: an operation that sees the deadline must find that it is not its own.
	c.rslow.Store(true)
	c.wslow.Store(true)
	c.rheld, c.wheld = true, true
	// It fails only on a connection that is closed, which the operations see for themselves.
	_ = c.under.SetDeadline(past())
}

// wait returns when st is no longer the link's state, when anything happened on the connection, or at until unless that
// is zero. mu is held before and after, not during.
func (c *conn) wait(st *state, until time.Time) {
	if c.notify == nil {
		c.notify = make(chan struct{})
	}
	notify := c.notify
	c.mu.Unlock()
	defer c.mu.Lock()
	var expired <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-notify:
	case <-st.changed:
	case <-expired:
	}
}

// wake ends all waits; mu is held.
func (c *conn) wake() {
	if c.notify != nil {
		close(c.notify)
		c.notify = nil
	}
}

// abort resets the connection at both ends; false when it is gone already.
func (c *conn) abort() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.abortLocked()
}

func (c *conn) abortLocked() bool {
	if c.gone {
		return false
	}
	c.reset, c.gone = true, true
	c.rslow.Store(true)
	c.wslow.Store(true)
	c.rx, c.tx = queue{}, queue{}
	c.wake()
	if t, ok := c.under.(interface{ SetLinger(sec int) error }); ok {
		_ = t.SetLinger(0) // close with RST instead of FIN
	}
	_ = c.under.Close()
	c.link.forget(c)
	return true
}

// Close closes the connection. What was written and not yet delivered, because of a cut or a delay, still is, as the
// kernel does after close(2); after two minutes it is given up and the connection reset. The peer sees nothing of the
// Close while the way to it is cut.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.closed = true
	c.rslow.Store(true)
	c.wslow.Store(true)
	c.rx = queue{}
	defer c.wake()
	if c.gone {
		return nil // reset: close succeeds all the same
	}
	lingers := c.wpump || !c.tx.empty() || c.link.state.Load().cut[c.out].silent()
	if lingers && !c.hard {
		c.linger = time.Now().Add(lingerTimeout)
		c.interrupt()
		if c.startWritePump() {
			return nil
		}
	}
	if lingers {
		c.abortLocked()
		return nil
	}
	return c.closeUnder()
}

func (c *conn) closeUnder() error {
	c.gone = true
	c.link.forget(c)
	return c.under.Close()
}

// dead returns why operations of the owner can no longer succeed; mu is held.
func (c *conn) dead() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.reset:
		return syscall.ECONNRESET
	}
	return nil
}

// fail makes the error that package net would return.
func (c *conn) fail(op string, err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{
		Op: op, Net: c.under.LocalAddr().Network(), Source: c.under.LocalAddr(), Addr: c.under.RemoteAddr(), Err: err,
	}
}

// LocalAddr returns the address of this end.
func (c *conn) LocalAddr() net.Addr { return c.under.LocalAddr() }

// RemoteAddr returns the address of the other end.
func (c *conn) RemoteAddr() net.Addr { return c.under.RemoteAddr() }

// SetDeadline sets both deadlines.
func (c *conn) SetDeadline(t time.Time) error {
	return c.setDeadlines(true, true, t)
}

// SetReadDeadline sets the deadline of reads, also of one that waits, in a cut or not.
func (c *conn) SetReadDeadline(t time.Time) error {
	return c.setDeadlines(true, false, t)
}

// SetWriteDeadline sets the deadline of writes, also of one that waits, in a cut or not.
func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadlines(false, true, t)
}

func (c *conn) setDeadlines(read, write bool, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	var err error
	if read {
		if c.rdl = t; !c.rheld {
			err = c.under.SetReadDeadline(t)
		}
	}
	if write {
		if c.wdl = t; !c.wheld {
			err = errors.Join(err, c.under.SetWriteDeadline(t))
		}
	}
	c.wake()
	if c.reset {
		return nil // a reset connection takes deadlines; its reads and writes say what happened
	}
	return err
}

// SetLinger is SetLinger of *net.TCPConn: with 0, Close discards what is not delivered and resets the connection.
func (c *conn) SetLinger(sec int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hard = sec == 0
	if t, ok := c.under.(interface{ SetLinger(sec int) error }); ok {
		return t.SetLinger(sec)
	}
	return nil
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

func expired(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// earlier returns the earlier time, where zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
