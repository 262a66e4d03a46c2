package brokers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
)

// kfake's brokers stop for good when their listener's Accept fails. So each gets a port that never closes before the
// cluster does, and the sockets in front of it come and go as the modelled broker does.

// port is the listener that a kfake broker sees.
type port struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPort(addr net.Addr) *port {
	return &port{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *port) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// Addr implements net.Listener: it is the address that metadata names.
func (p *port) Addr() net.Addr { return p.addr }

// deliver hands a connection to kfake.
func (p *port) deliver(c net.Conn) error {
	select {
	case p.conns <- c:
		return nil
	case <-p.done:
		return net.ErrClosed
	}
}

// front is what clients see of one broker: a socket while it listens, and its connections.
type front struct {
	c    *Cluster
	id   int
	port *port
	// free releases the port number, which is held while the broker is down: a connect is refused, nobody else can take
	// the number, and no client can end up connected to itself.
	free func()

	mu    sync.Mutex
	ln    net.Listener // nil while the broker does not listen
	conns map[*conn]struct{}
	gate  chan struct{} // closed while the broker answers; replaced by an open one while it is frozen
	hits  Hits
	wg    sync.WaitGroup
}

// reserve finds or takes a port number and opens the socket.
func (f *front) reserve(port int) error {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	held, free, err := holdPort(addr)
	if err != nil {
		return fmt.Errorf("port of broker %d: %w", f.id, err)
	}
	ln, err := f.c.listenOn("tcp", held)
	if err != nil {
		free()
		return fmt.Errorf("listener of broker %d: %w", f.id, err)
	}
	f.free, f.ln, f.port = free, ln, newPort(ln.Addr())
	return nil
}

// serve accepts connections until ln closes.
func (f *front) serve(ln net.Listener) {
	for {
		raw, err := ln.Accept()
		if err != nil {
			return
		}
		cn := newConn(f, raw, f.c.tls)
		f.mu.Lock()
		if f.ln != ln {
			f.mu.Unlock()
			cn.reset()
			return
		}
		f.conns[cn] = struct{}{}
		f.mu.Unlock()
		// A frozen process accepts nothing, but its kernel does: the client is connected and hears nothing.
		if cn.pass() != nil || f.port.deliver(cn) != nil {
			_ = cn.Close()
		}
	}
}

// open makes the broker accept connections, on its old port.
func (f *front) open() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ln == nil {
		ln, err := f.c.listenOn("tcp", f.port.addr.String())
		if err != nil {
			return fmt.Errorf("listener of broker %d: %w", f.id, err)
		}
		f.ln = ln
	}
	ln := f.ln
	f.wg.Go(func() { f.serve(ln) })
	return nil
}

// shut closes the socket and every connection: with a reset as the kernel does for a killed process, or in order.
func (f *front) shut(reset bool) {
	f.mu.Lock()
	ln := f.ln
	f.ln = nil
	conns := make([]*conn, 0, len(f.conns))
	for cn := range f.conns {
		conns = append(conns, cn)
	}
	clear(f.conns)
	if reset {
		f.hits.ConnsReset += uint64(len(conns))
	}
	f.mu.Unlock()
	if ln != nil {
		_ = ln.Close()
	}
	for _, cn := range conns {
		if reset {
			cn.reset()
		} else {
			_ = cn.Close()
		}
	}
}

// answer opens or closes the gate that every request and response passes.
func (f *front) answer(yes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.gate:
		if !yes {
			f.gate = make(chan struct{})
		}
	default:
		if yes {
			close(f.gate)
		}
	}
}

func (f *front) currentGate() chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gate
}

func (f *front) forget(cn *conn) {
	f.mu.Lock()
	delete(f.conns, cn)
	f.mu.Unlock()
}

func (f *front) hit(fn func(h *Hits)) {
	f.mu.Lock()
	fn(&f.hits)
	f.mu.Unlock()
}

func closedChan() chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}

// dialInternal connects to a broker past its socket, for what the model itself asks kfake.
func (c *Cluster) dialInternal(ctx context.Context, _, addr string) (net.Conn, error) {
	for _, f := range c.fronts {
		if f.port.addr.String() != addr {
			continue
		}
		client, server := net.Pipe()
		select {
		case f.port.conns <- server:
			return client, nil
		case <-f.port.done:
			return nil, net.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, errors.New("no broker at " + addr)
}

// serverConn wraps a raw connection in TLS when the cluster encrypts.
func serverConn(raw net.Conn, cfg *tls.Config) net.Conn {
	if cfg == nil {
		return raw
	}
	return tls.Server(raw, cfg)
}
