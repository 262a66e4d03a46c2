package link

import (
	"os"
	"time"
)

// Read reads what passed the link.
func (c *conn) Read(p []byte) (int, error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if c.rslow.Load() {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.readSlow(p)
	}
	n, err := c.under.Read(p)
	if !c.rslow.Load() {
		return n, err
	}
	// The state changed meanwhile.
	c.mu.Lock()
	defer c.mu.Unlock()
	if n, err, ok := c.arrived(p, n, err); ok {
		return n, err
	}
	return c.readSlow(p)
}

// arrived judges the result of a direct read: true when it is the owner's, false when it was an interruption or came
// after a cut and is kept for later.
func (c *conn) arrived(p []byte, n int, err error) (int, error, bool) {
	if n == 0 && (err == nil && len(p) > 0 || isTimeout(err)) {
		return 0, nil, false
	}
	if dead := c.dead(); dead != nil {
		return 0, c.fail("read", dead), true
	}
	if isTimeout(err) {
		err = nil // with data: the next read finds out whether it was the owner's
	}
	st := c.link.state.Load()
	if !st.cut[c.in].silent() {
		return n, err, true
	}
	// Read after poke had interrupted all others: it had passed its check of the deadline before. The queue is empty,
	// since the direct path is taken only then, and so the order is kept.
	c.hold(p[:n], err, st)
	return 0, nil, false
}

// hold queues what came in.
func (c *conn) hold(p []byte, err error, st *state) {
	c.count(st, c.in, len(p))
	for len(p) > 0 {
		n := min(len(p), st.chunk())
		c.rx.push(p[:n], st.chunk(), c.link.jitterFor(st))
		p = p[n:]
	}
	if err != nil && !isTimeout(err) {
		c.rx.fail(err, c.link.jitterFor(st))
	}
	c.rx.lose(c.in, st)
	c.wake()
}

// count counts n bytes that are kept on a way.
func (c *conn) count(st *state, way, n int) {
	if st.cut[way].silent() {
		c.link.stats.bytesHeld.Add(uint64(n))
	} else if st.shaped() {
		c.link.stats.bytesShaped.Add(uint64(n))
	}
}

func (c *conn) readSlow(p []byte) (int, error) {
	for {
		if dead := c.dead(); dead != nil {
			return 0, c.fail("read", dead)
		}
		if expired(c.rdl) {
			return 0, c.fail("read", os.ErrDeadlineExceeded)
		}
		st := c.link.state.Load()
		if st.cut[c.in].silent() {
			c.rx.lose(c.in, st)
			// The pump reads on into the queue as the kernel into its buffer, and so knows how much the cut held.
			c.startReadPump()
			c.wait(st, c.rdl)
			continue
		}
		room := len(p)
		if st.cut[c.out].silent() {
			// Our acknowledgements do not get through: the peer's window ends the flow.
			room = min(room, sendBuffer-c.rahead)
		} else {
			c.rahead = 0
		}
		switch {
		case room <= 0 && len(p) > 0:
			c.wait(st, c.rdl)
		case !c.rx.empty():
			head := &c.rx.chunks[0]
			if t := c.link.ready(&c.rx, c.in, st); time.Now().Before(t) {
				c.wait(st, earlier(t, c.rdl))
				continue
			}
			if head.err != nil {
				return 0, head.err // and again next time
			}
			n := copy(p[:room], head.data)
			if head.data = head.data[n:]; len(head.data) == 0 {
				c.rx.pop()
			}
			c.rx.bytes -= n
			c.rahead += n
			c.wake() // the pump may wait for room
			return n, nil
		case c.rpump:
			c.wait(st, c.rdl)
		case st.shaped():
			c.startReadPump()
		default:
			n, err, ok := c.readDirect(p[:room], st)
			if ok {
				return n, err
			}
		}
	}
}

// readDirect reads from the connection below with the owner's deadline, and opens the direct path if the link is clear.
func (c *conn) readDirect(p []byte, st *state) (int, error, bool) {
	if err := c.under.SetReadDeadline(c.rdl); err != nil {
		return 0, err, true
	}
	c.rheld = false
	if st.clear() {
		// A change of the state after st was loaded pokes when mu is free.
		c.rslow.Store(false)
	}
	c.mu.Unlock()
	n, err := c.under.Read(p)
	c.mu.Lock()
	if !c.rslow.Load() {
		return n, err, true
	}
	n, err, ok := c.arrived(p, n, err)
	c.rahead += n
	return n, err, ok
}

// startReadPump makes the pump run, which owns the connection below for reading until it ends.
func (c *conn) startReadPump() {
	if c.rpump || c.rx.ended() {
		return
	}
	c.rheld = true
	c.rpump = c.link.spawn(c.readPump)
}

// readPump moves what arrives into the queue while it is needed there: in a cut or under a shape.
func (c *conn) readPump() {
	buf := make([]byte, chunkBytes)
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() {
		c.rpump = false
		c.wake()
	}()
	for {
		st := c.link.state.Load()
		if c.dead() != nil || c.rx.ended() || !st.cut[c.in].silent() && !st.shaped() {
			return
		}
		if c.rx.bytes >= st.buffer() {
			c.wait(st, time.Time{})
			continue
		}
		if err := c.under.SetReadDeadline(time.Time{}); err != nil {
			c.hold(nil, err, st)
			continue
		}
		c.mu.Unlock()
		n, err := c.under.Read(buf)
		c.mu.Lock()
		if c.dead() == nil {
			c.hold(buf[:n], err, c.link.state.Load())
		}
	}
}
