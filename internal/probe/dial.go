package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// DialOptions are how Dial tries. The zero value is usable.
type DialOptions struct {
	// Timeout of one attempt; 0 means 2 s: on a network of one site an answer takes milliseconds, and what is dropped never comes.
	Timeout time.Duration
	// Parallel attempts; 0 means 16.
	Parallel int
	// WhileOpen tries an address again for as long as it is open, at most for so long: what closes a path may need a moment to
	// take effect. 0 tries once.
	WhileOpen time.Duration
}

// pause is between two attempts at an address that is still open.
const pause = 500 * time.Millisecond

// Dial opens a TCP connection to every address (host:port) and closes it at once. Results are in the order of the addresses; an
// address that is none is an error, a connection that does not come about is a result.
func Dial(ctx context.Context, addrs []string, o DialOptions) ([]Connect, error) {
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	if o.Parallel == 0 {
		o.Parallel = 16
	}
	out := make([]Connect, len(addrs))
	for i, a := range addrs {
		_, p, err := net.SplitHostPort(a)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", a, err)
		}
		port, err := strconv.Atoi(p)
		if err != nil || port < 1 || port > 65535 {
			return nil, fmt.Errorf("address %q: %q is no port", a, p)
		}
		out[i] = Connect{Addr: a, Port: port}
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, o.Parallel)
	for i := range out {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			out[i].Open, out[i].Detail = dialWhile(ctx, out[i].Addr, o)
		})
	}
	wg.Wait()
	return out, ctx.Err()
}

func dialWhile(ctx context.Context, addr string, o DialOptions) (open bool, detail string) {
	end := time.Now().Add(o.WhileOpen)
	for {
		open, detail = dialOnce(ctx, addr, o.Timeout)
		if !open || !time.Now().Before(end) {
			return open, detail
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return open, detail
		}
	}
}

func dialOnce(ctx context.Context, addr string, timeout time.Duration) (open bool, detail string) {
	d := net.Dialer{Timeout: timeout}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err == nil {
		_ = c.Close() // nothing was sent
		return true, ""
	}
	var ne net.Error
	switch {
	case errors.As(err, &ne) && ne.Timeout():
		return false, fmt.Sprintf("no answer within %v", timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return false, "refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return false, "unreachable"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return false, "prohibited"
	}
	return false, err.Error()
}

// Listen accepts connections on an address and closes them until ctx ends: something for a probe to reach.
func Listen(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("listener: %w", err)
		}
		_ = c.Close()
	}
}
