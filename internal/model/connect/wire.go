package connect

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// dialFunc opens a connection.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// wire is everything the worker has on the network. After kill it is as dead as the sockets of a killed process.
type wire struct {
	dial dialFunc
	mu   sync.Mutex
	open map[*wireConn]struct{}
	dead bool
}

// wireConn remembers when bytes last moved, for the socket timeout of the Elasticsearch client.
type wireConn struct {
	net.Conn
	w        *wire
	broker   bool
	once     sync.Once
	detached atomic.Bool  // the owner was killed; the socket stays open without it
	last     atomic.Int64 // unix nanoseconds
}

func newWire(dial dialFunc) *wire {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &wire{dial: dial, open: map[*wireConn]struct{}{}}
}

// toBroker and toStore open connections to Kafka and to Elasticsearch.
func (w *wire) toBroker(ctx context.Context, network, addr string) (net.Conn, error) {
	return w.connect(ctx, network, addr, true)
}

func (w *wire) toStore(ctx context.Context, network, addr string) (net.Conn, error) {
	return w.connect(ctx, network, addr, false)
}

func (w *wire) connect(ctx context.Context, network, addr string, broker bool) (net.Conn, error) {
	w.mu.Lock()
	dead := w.dead
	w.mu.Unlock()
	if dead {
		return nil, syscall.ECONNABORTED
	}
	c, err := w.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	wc := &wireConn{Conn: c, w: w, broker: broker}
	wc.touch()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		_ = c.Close()
		return nil, syscall.ECONNABORTED
	}
	w.open[wc] = struct{}{}
	return wc, nil
}

// over wraps a dial function in TLS; a nil configuration leaves it as it is.
func over(dial dialFunc, cfg *tls.Config) dialFunc {
	if cfg == nil {
		return dial
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		own := cfg.Clone()
		if own.ServerName == "" {
			if host, _, err := net.SplitHostPort(addr); err == nil {
				own.ServerName = host
			}
		}
		t := tls.Client(c, own)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = c.Close()
			return nil, err
		}
		return t, nil
	}
}

// kill lets no new connection be made and takes every open one from its owner. Those to Elasticsearch are reset. Those
// to brokers fall silent and are reset after linger: a broker does not care for the connection of a group member, only
// for its session, and the in-process brokers forget to end the session of a member whose connection broke while it
// waited for its join, which a real broker never does.
func (w *wire) kill(linger time.Duration) {
	w.mu.Lock()
	w.dead = true
	all := make([]*wireConn, 0, len(w.open))
	for c := range w.open {
		all = append(all, c)
	}
	w.mu.Unlock()
	for _, c := range all {
		under := c.Conn
		reset := func() {
			if l, ok := under.(interface{ SetLinger(sec int) error }); ok {
				_ = l.SetLinger(0) // RST, as the kernel answers for a process that is gone
			}
			_ = under.Close()
		}
		if !c.broker {
			reset()
			continue
		}
		c.detached.Store(true)
		_ = under.SetDeadline(time.Unix(1, 0)) // who reads or writes now gets an error
		time.AfterFunc(linger, reset)
	}
}

func (c *wireConn) touch() { c.last.Store(time.Now().UnixNano()) }

func (c *wireConn) idle() time.Duration { return time.Duration(time.Now().UnixNano() - c.last.Load()) }

func (c *wireConn) Read(b []byte) (int, error) {
	if c.detached.Load() {
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.touch()
	}
	return n, err
}

func (c *wireConn) Write(b []byte) (int, error) {
	if c.detached.Load() {
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Write(b)
	if n > 0 {
		c.touch()
	}
	return n, err
}

func (c *wireConn) Close() error {
	c.once.Do(func() {
		c.w.mu.Lock()
		delete(c.w.open, c)
		c.w.mu.Unlock()
	})
	if c.detached.Load() {
		return nil
	}
	return c.Conn.Close()
}

// Deadlines of an owner that was killed must not bring the socket back to life.
func (c *wireConn) SetDeadline(t time.Time) error {
	return c.unless(func() error { return c.Conn.SetDeadline(t) })
}

func (c *wireConn) SetReadDeadline(t time.Time) error {
	return c.unless(func() error { return c.Conn.SetReadDeadline(t) })
}

func (c *wireConn) SetWriteDeadline(t time.Time) error {
	return c.unless(func() error { return c.Conn.SetWriteDeadline(t) })
}

func (c *wireConn) unless(set func() error) error {
	if c.detached.Load() {
		return net.ErrClosed
	}
	err := set()
	if c.detached.Load() {
		// Killed between the look and the call: the call has undone the deadline that ends pending reads.
		return c.Conn.SetDeadline(time.Unix(1, 0))
	}
	return err
}

// wireOf finds the connection below TLS.
func wireOf(c net.Conn) *wireConn {
	switch c := c.(type) {
	case *wireConn:
		return c
	case *tls.Conn:
		return wireOf(c.NetConn())
	}
	return nil
}
