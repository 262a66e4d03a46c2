package link_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"triad/internal/link"
)

// pipes returns a link over in-memory pipes, whose time is that of the bubble, and its dialer. The other ends come out of
// the channel.
func pipes(name string) (*link.Link, func(ctx context.Context) (net.Conn, error), <-chan net.Conn) {
	l := link.New(name)
	far := make(chan net.Conn, 16)
	dial := l.DialVia(func(context.Context, string, string) (net.Conn, error) {
		a, b := net.Pipe()
		far <- b
		return a, nil
	})
	return l, func(ctx context.Context) (net.Conn, error) { return dial(ctx, "tcp", "kafka:9094") }, far
}

// took returns how long f took, which is exact inside a bubble.
func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func within(t *testing.T, what string, got, low, high time.Duration) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s took %v, want between %v and %v", what, got, low, high)
	}
}

func TestShapeDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, dial, far := pipes("delay")
		defer l.Close()
		const ms = time.Millisecond
		l.Shape(40*ms, 0, 0)
		var near net.Conn
		within(t, "dial", took(func() {
			var err error
			if near, err = dial(t.Context()); err != nil {
				t.Fatal(err)
			}
		}), 80*ms, 80*ms)
		peer := <-far
		defer peer.Close()
		defer near.Close()
		go io.Copy(peer, peer) // an echo
		within(t, "round trip", took(func() {
			send(t, near, "ping")
			expect(t, near, "ping")
		}), 80*ms, 80*ms)
		// Delays do not add up: ten writes in a row are on their way together.
		within(t, "ten round trips in flight", took(func() {
			for range 10 {
				send(t, near, "0123456789")
				time.Sleep(2 * ms)
			}
			for range 10 {
				expect(t, near, "0123456789")
			}
		}), 98*ms, 100*ms)
		// Taking the delay away is for what is on its way, too.
		send(t, near, "hurry")
		time.Sleep(10 * ms)
		l.Shape(0, 0, 0)
		within(t, "the rest of the way", took(func() { expect(t, near, "hurry") }), 0, 0)
		if s := l.Stats(); s.BytesShaped != 2*(4+100)+5 || s.BytesHeld != 0 {
			t.Errorf("stats %+v, want 213 bytes shaped", s)
		}
	})
}

func TestShapeJitterKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, dial, far := pipes("jitter")
		defer l.Close()
		near, err := dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		peer := <-far
		defer peer.Close()
		defer near.Close()
		l.Shape(20*time.Millisecond, 15*time.Millisecond, 0)
		go func() {
			for i := range 100 {
				near.Write([]byte{byte(i)})
				time.Sleep(5 * time.Millisecond)
			}
		}()
		start := time.Now()
		seen := map[time.Duration]bool{}
		for i := range 100 {
			var b [1]byte
			if _, err := io.ReadFull(peer, b[:]); err != nil || b[0] != byte(i) {
				t.Fatalf("byte %d is %d, %v", i, b[0], err)
			}
			late := time.Since(start) - time.Duration(i)*5*time.Millisecond
			within(t, "one byte", late, 5*time.Millisecond, 35*time.Millisecond)
			seen[late] = true
		}
		if len(seen) < 20 {
			t.Errorf("%d different delays of 100", len(seen))
		}
	})
}

func TestShapeBandwidthIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, dial, far := pipes("bandwidth")
		defer l.Close()
		const size = 500_000
		l.Shape(0, 0, 100_000)
		done := make(chan time.Duration, 4)
		start := time.Now()
		for range 2 {
			near, err := dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			peer := <-far
			defer near.Close()
			defer peer.Close()
			for _, way := range [][2]net.Conn{{near, peer}, {peer, near}} {
				go way[0].Write(make([]byte, size))
				go func() {
					if _, err := io.ReadFull(way[1], make([]byte, size)); err != nil {
						t.Error(err)
					}
					done <- time.Since(start)
				}()
			}
		}
		// Each way carries 2 x 500 kB at 100 kB/s: 10 s; both connections get their half. 10 ms are given in advance.
		for range 4 {
			within(t, "1 MB at 100 kB/s", <-done, 9900*time.Millisecond, 10*time.Second)
		}
	})
}

func TestDialHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, dial, far := pipes("hang")
		defer l.Close()
		l.Cut(link.Back, link.Drop)
		within(t, "dial into a black hole", took(func() {
			if _, err := dial(t.Context()); !errors.Is(err, syscall.ETIMEDOUT) {
				t.Errorf("dial: %v, want ETIMEDOUT", err)
			}
		}), 131*time.Second, 131*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		within(t, "dial with a deadline", took(func() {
			_, err := dial(ctx)
			var ne net.Error
			if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
				t.Errorf("dial: %v, want a timeout", err)
			}
		}), 3*time.Second, 3*time.Second)
		time.AfterFunc(5*time.Second, l.Heal)
		within(t, "dial until Heal", took(func() {
			c, err := dial(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
			(<-far).Close()
		}), 5*time.Second, 5*time.Second)
		time.AfterFunc(time.Second, func() { l.Cut(link.Both, link.Reject) })
		l.Cut(link.Forward, link.Drop)
		if _, err := dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial while a drop becomes a reject: %v, want ECONNREFUSED", err)
		}
		if s := l.Stats(); s.DialsHung != 4 || s.DialsRefused != 1 {
			t.Errorf("stats %+v, want 4 hung dials and 1 refused", s)
		}
	})
}

// TestDropInterruptsWrites cuts while a write waits for its peer below: the rest of it must not pass.
func TestDropInterruptsWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, dial, far := pipes("blocked")
		defer l.Close()
		near, err := dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		peer := <-far
		defer peer.Close()
		defer near.Close()
		written := make(chan error, 1)
		go func() {
			_, err := near.Write([]byte("first half, second half"))
			written <- err
		}()
		expect(t, peer, "first half, ")
		synctest.Wait() // the rest waits in the pipe
		l.Cut(link.Forward, link.Drop)
		if err := <-written; err != nil {
			t.Errorf("interrupted write: %v, want none: the rest is in the buffer", err)
		}
		expectSilence(t, peer)
		if s := l.Stats(); s.BytesHeld != uint64(len("second half")) {
			t.Errorf("stats %+v, want 11 bytes held", s)
		}
		l.Heal()
		expect(t, peer, "second half")
	})
}

// TestOrphan: what a closed connection could not deliver in two minutes is given up.
func TestOrphan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, dial, far := pipes("orphan")
		defer l.Close()
		near, err := dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		peer := <-far
		defer peer.Close()
		l.Cut(link.Forward, link.Drop)
		send(t, near, "never read")
		near.Close()
		within(t, "the orphan", took(func() {
			if b, err := io.ReadAll(peer); len(b) != 0 || err != nil {
				t.Errorf("read %q, %v, want the end only", b, err)
			}
		}), 2*time.Minute, 2*time.Minute)
		synctest.Wait()
		if s := l.Stats(); s.Open != 0 {
			t.Errorf("stats %+v, want none open", s)
		}
	})
}

func TestSetLingerZeroDiscards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, dial, far := pipes("hard")
		defer l.Close()
		near, err := dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		peer := <-far
		defer peer.Close()
		l.Cut(link.Both, link.Drop)
		send(t, near, "gone")
		near.(interface{ SetLinger(int) error }).SetLinger(0)
		near.Close()
		if b, err := io.ReadAll(peer); len(b) != 0 || err != nil {
			t.Errorf("read %q, %v, want the end only", b, err)
		}
	})
}

// TestStacked puts two links in a row: each is cut on its own, and their delays add up.
func TestStacked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner, dialInner, far := pipes("inner")
		outer := link.New("outer")
		defer inner.Close()
		defer outer.Close()
		dial := outer.DialVia(func(ctx context.Context, _, _ string) (net.Conn, error) { return dialInner(ctx) })
		near, err := dial(t.Context(), "tcp", "kafka:9094")
		if err != nil {
			t.Fatal(err)
		}
		peer := <-far
		defer peer.Close()
		defer near.Close()
		for i, l := range []*link.Link{inner, outer} {
			l.Cut(link.Both, link.Drop)
			send(t, near, "held")
			peer.SetReadDeadline(time.Now().Add(time.Second))
			if _, err := peer.Read(make([]byte, 9)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("link %d: read through a cut: %v", i, err)
			}
			l.Heal()
			expect(t, peer, "held")
		}
		inner.Shape(10*time.Millisecond, 0, 0)
		outer.Shape(30*time.Millisecond, 0, 0)
		within(t, "two delays", took(func() {
			send(t, near, "slow")
			expect(t, peer, "slow")
		}), 40*time.Millisecond, 40*time.Millisecond)
		outer.Cut(link.Forward, link.Reject)
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read after the outer link rejects: %v, want ECONNRESET", err)
		}
		if a, b := inner.Stats().Open, outer.Stats().Open; a != 0 || b != 0 {
			t.Errorf("%d and %d connections open, want none", a, b)
		}
	})
}

func TestClosedLink(t *testing.T) {
	p := newPair(t, false)
	p.link.Cut(link.Both, link.Drop)
	send(t, p.near, "x")
	p.link.Close()
	if _, err := p.near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want ECONNRESET", err)
	}
	p.link.Heal()
	if _, err := p.dial(); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial over a closed link: %v, want ECONNREFUSED", err)
	}
	p.link.Close()
}

// null is a connection that costs nothing.
type null struct{ net.Conn }

func (null) Write(p []byte) (int, error)      { return len(p), nil }
func (null) Read(p []byte) (int, error)       { return len(p), nil }
func (null) Close() error                     { return nil }
func (null) SetDeadline(time.Time) error      { return nil }
func (null) SetReadDeadline(time.Time) error  { return nil }
func (null) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkOverhead is what the wrapper adds to one Write and one Read with nothing set; unlike BenchmarkThroughput it
// does not depend on what else the machine does.
func BenchmarkOverhead(b *testing.B) {
	l := link.New("overhead")
	defer l.Close()
	dial := l.DialVia(func(context.Context, string, string) (net.Conn, error) { return null{}, nil })
	c, err := dial(b.Context(), "tcp", "null")
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkThroughput compares a bare loopback connection with one over a link on which nothing is set.
func BenchmarkThroughput(b *testing.B) {
	for _, size := range []int{1 << 10, 32 << 10} {
		for _, kind := range []string{"bare", "link", "listener"} {
			b.Run(kind+"/"+map[int]string{1 << 10: "1KiB", 32 << 10: "32KiB"}[size], func(b *testing.B) {
				p := newPair(b, kind == "listener")
				near, far := p.near, p.far
				if kind == "bare" {
					ln, err := net.Listen("tcp", "127.0.0.1:0")
					if err != nil {
						b.Fatal(err)
					}
					defer ln.Close()
					if near, err = net.Dial("tcp", ln.Addr().String()); err != nil {
						b.Fatal(err)
					}
					defer near.Close()
					if far, err = ln.Accept(); err != nil {
						b.Fatal(err)
					}
					defer far.Close()
				}
				total := make(chan int64)
				go func() {
					buf := make([]byte, 64<<10)
					var sum int64
					for {
						n, err := far.Read(buf)
						sum += int64(n)
						if err != nil {
							total <- sum
							return
						}
					}
				}()
				buf := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				n := int64(0)
				for b.Loop() {
					if _, err := near.Write(buf); err != nil {
						b.Fatal(err)
					}
					n += int64(size)
				}
				near.Close()
				if got := <-total; got != n {
					b.Fatalf("%d bytes arrived of %d", got, n)
				}
			})
		}
	}
}
