package link

import (
	"os"
	"time"
)

// Write writes p to the link. That it returned without error says no more than with TCP: the bytes are on their way.
func (c *conn) Write(p []byte) (int, error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.wslow.Load() {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.writeSlow(p, 0, nil)
	}
	n, err := c.under.Write(p)
	if err == nil || !c.wslow.Load() {
		return n, err
	}
	// The state changed meanwhile: the rest goes another way.
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeSlow(p, n, err)
}

// writeSlow goes on after n bytes of p were written with the result err.
func (c *conn) writeSlow(p []byte, n int, err error) (int, error) {
	blocked := false
	for {
		if n == len(p) && (err == nil || isTimeout(err)) {
			return n, nil
		}
		if dead := c.dead(); dead != nil {
			return n, c.fail("write", dead)
		}
		if err != nil && !isTimeout(err) {
			return n, err
		}
		if c.werr != nil {
			return n, c.werr
		}
		if expired(c.wdl) {
			return n, c.fail("write", os.ErrDeadlineExceeded)
		}
		st := c.link.state.Load()
		queued := c.wpump || !c.tx.empty() || st.cut[c.out].silent() || st.shaped()
		room := len(p) - n
		if st.cut[c.in].silent() {
			// No acknowledgement gets back: the window ends the flow.
			room = min(room, sendBuffer-c.wahead)
		} else {
			c.wahead = 0
		}
		if queued {
			room = min(room, st.chunk(), st.buffer()-c.tx.bytes)
		}
		if room <= 0 {
			if !blocked && st.silent() {
				blocked = true
				c.link.stats.writesBlocked.Add(1)
			}
			c.wait(st, c.wdl)
			continue
		}
		m := room
		if queued {
			c.tx.push(p[n:n+room], st.chunk(), c.link.jitterFor(st))
			c.tx.lose(c.out, st)
			c.count(st, c.out, room)
			c.startWritePump()
			c.wake()
		} else {
			m, err = c.writeDirect(p[n:n+room], st)
		}
		n += m
		c.wahead += m
	}
}

// writeDirect writes to the connection below with the owner's deadline, and opens the direct path if the link is clear.
func (c *conn) writeDirect(p []byte, st *state) (int, error) {
	if err := c.under.SetWriteDeadline(c.wdl); err != nil {
		return 0, err
	}
	c.wheld = false
	if st.clear() {
		c.wslow.Store(false)
	}
	c.mu.Unlock()
	defer c.mu.Lock()
	return c.under.Write(p)
}

// startWritePump makes the pump run, which owns the connection below for writing until it ends; false when it cannot.
func (c *conn) startWritePump() bool {
	if !c.wpump {
		c.wheld = true
		c.wpump = c.link.spawn(c.writePump)
	}
	return c.wpump
}

// writePump delivers what is queued, each chunk when it is due, and at the end closes a connection that its owner closed.
func (c *conn) writePump() {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() {
		c.wpump = false
		c.wake()
	}()
	for !c.gone {
		st := c.link.state.Load()
		if expired(c.linger) {
			c.abortLocked()
			return
		}
		if st.cut[c.out].silent() && (c.closed || !c.tx.empty()) {
			c.tx.lose(c.out, st)
			c.wait(st, c.linger)
			continue
		}
		if c.tx.empty() {
			if c.closed {
				_ = c.closeUnder() // nobody is left to hear of an error
			}
			return
		}
		if t := c.link.ready(&c.tx, c.out, st); time.Now().Before(t) {
			c.wait(st, earlier(t, c.linger))
			continue
		}
		if err := c.under.SetWriteDeadline(c.linger); err != nil {
			c.broken(err)
			return
		}
		head := c.tx.pop()
		c.mu.Unlock()
		n, err := c.under.Write(head.data)
		c.mu.Lock()
		if c.gone {
			return
		}
		c.tx.bytes -= n
		c.wake()
		switch {
		case err != nil && !isTimeout(err):
			c.broken(err)
			return
		case n < len(head.data): // interrupted: the state may have changed
			head.data = head.data[n:]
			c.tx.unpop(head)
		}
	}
}

// broken ends writing after an error of the connection below: what is queued cannot be delivered any more, and the next
// Write says so.
func (c *conn) broken(err error) {
	c.werr = err
	c.tx = queue{}
	if c.closed {
		c.abortLocked()
	}
}
