package prometheus

import (
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Fault is one way in which a receiver misbehaves: Down, or Delay and Status, which may be combined.
type Fault struct {
	Down       bool          // connections are reset as they come, scrapes stop; a hit is a connection
	Delay      time.Duration // requests wait this long first; a hit is a request
	Status     int           // requests are refused with this status; a hit is a request
	RetryAfter time.Duration // header of a refusal, whole seconds, when > 0
	Path       string        // prefix of the paths that Delay and Status touch; "" means /api/v1/write
}

// Injected is a fault at work.
type Injected struct {
	fault Fault
	hits  atomic.Uint64
	set   *faults
}

// Hits is how often the fault has bitten so far.
func (i *Injected) Hits() uint64 { return i.hits.Load() }

// Remove ends the fault; a second call does nothing.
func (i *Injected) Remove() { i.set.remove(i) }

// faults are the active faults of one receiver and the connections that Down resets.
type faults struct {
	mu     sync.Mutex
	active []*Injected
	conns  map[*trackedConn]struct{}
}

func (f *faults) inject(x Fault) *Injected {
	if x.Path == "" {
		x.Path = "/api/v1/write"
	}
	i := &Injected{fault: x, set: f}
	f.mu.Lock()
	f.active = append(f.active, i)
	var reset []*trackedConn
	if x.Down {
		for c := range f.conns {
			reset = append(reset, c)
		}
	}
	f.mu.Unlock()
	for _, c := range reset {
		c.reset()
		i.hits.Add(1)
	}
	return i
}

func (f *faults) remove(i *Injected) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = slices.DeleteFunc(f.active, func(x *Injected) bool { return x == i })
}

// down returns the fault that makes the receiver absent, or nil.
func (f *faults) down() *Injected {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.active {
		if i.fault.Down {
			return i
		}
	}
	return nil
}

// middleware applies Delay and Status. The delay ends with the request.
func (f *faults) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		active := slices.Clone(f.active)
		f.mu.Unlock()
		for _, i := range active {
			if i.fault.Down || !strings.HasPrefix(r.URL.Path, i.fault.Path) {
				continue
			}
			i.hits.Add(1)
			if i.fault.Delay > 0 {
				select {
				case <-r.Context().Done():
					return
				case <-time.After(i.fault.Delay):
				}
			}
			if i.fault.Status != 0 {
				if s := i.fault.RetryAfter; s > 0 {
					w.Header().Set("Retry-After", strconv.Itoa(int(s.Seconds())))
				}
				http.Error(w, http.StatusText(i.fault.Status), i.fault.Status)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// faultListener resets connections while the receiver is down. The port stays bound, so that each attempt can be counted: a client sees
// a reset where it would see a refusal.
type faultListener struct {
	net.Listener
	f *faults
}

func (l faultListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		t := &trackedConn{Conn: c, f: l.f}
		if d := l.f.down(); d != nil {
			d.hits.Add(1)
			t.reset()
			continue
		}
		l.f.mu.Lock()
		l.f.conns[t] = struct{}{}
		l.f.mu.Unlock()
		return t, nil
	}
}

type trackedConn struct {
	net.Conn
	f *faults
}

func (c *trackedConn) Close() error {
	c.f.mu.Lock()
	delete(c.f.conns, c)
	c.f.mu.Unlock()
	return c.Conn.Close()
}

func (c *trackedConn) reset() {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		// Linger 0 makes the close a reset, as the end of a process does to what it had not read.
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
