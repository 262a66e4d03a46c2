package embedded

import (
	"context"
	"net"
	"sync"
)

// ports gives each component free loopback ports in place of its configured ones, the same after a restart, and
// resolves them: a component is reached by its name and the port that it was configured with.
type ports struct {
	mu     sync.Mutex
	actual map[string]string // owner:port -> loopback address
}

func newPorts() *ports { return &ports{actual: map[string]string{}} }

// listen returns the Listen function of one component.
func (p *ports) listen(owner string) func(network, addr string) (net.Listener, error) {
	return func(network, addr string) (net.Listener, error) {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		key := owner + ":" + port
		p.mu.Lock()
		defer p.mu.Unlock()
		at := p.actual[key]
		if at == "" {
			at = "127.0.0.1:0"
		}
		l, err := net.Listen(network, at) //nolint:noctx // a loopback listener opens at once
		if err == nil {
			p.actual[key] = l.Addr().String()
		}
		return l, err
	}
}

// addr is where a component listens for one of its configured ports; empty before it does.
func (p *ports) addr(owner, port string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.actual[owner+":"+port]
}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// via returns a dialer that resolves the ports of one component and passes every other address on.
func (p *ports) via(owner string, dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if _, port, err := net.SplitHostPort(addr); err == nil {
			if at := p.addr(owner, port); at != "" {
				addr = at
			}
		}
		return dial(ctx, network, addr)
	}
}
