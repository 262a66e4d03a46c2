package link_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"triad/internal/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a connection over real loopback TCP with a link on one end.
type pair struct {
	link         *link.Link
	near, far    net.Conn // dialer's and listener's end
	dial, accept func() (net.Conn, error)
}

// newPair wraps the dialer's end, or the listener's.
func newPair(t testing.TB, wrapListener bool) *pair {
	t.Helper()
	l := link.New(t.Name())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	p := &pair{link: l}
	p.dial = func() (net.Conn, error) { return l.Dial(context.Background(), "tcp", addr) }
	if wrapListener {
		ln = l.Listener(ln)
		p.dial = func() (net.Conn, error) { return net.Dial("tcp", addr) }
	}
	p.accept = ln.Accept
	t.Cleanup(func() {
		l.Close()
		ln.Close()
	})
	p.near, p.far = p.connect(t)
	return p
}

func (p *pair) connect(t testing.TB) (near, far net.Conn) {
	t.Helper()
	near, err := p.dial()
	if err != nil {
		t.Fatal(err)
	}
	far, err = p.accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return near, far
}

func send(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if n, err := c.Write([]byte(s)); err != nil || n != len(s) {
		t.Fatalf("write %q: %d, %v", s, n, err)
	}
}

func expect(t testing.TB, c net.Conn, want string) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

// expectSilence reads for a while and wants nothing but the deadline.
func expectSilence(t testing.TB, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(make([]byte, 100))
	var ne net.Error
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
		t.Fatalf("read %d bytes, %v, want a timeout", n, err)
	}
}

// bothEnds runs a test with the link on the dialer's end and on the listener's.
func bothEnds(t *testing.T, f func(t *testing.T, p *pair)) {
	for name, wrapListener := range map[string]bool{"dialer": false, "listener": true} {
		t.Run(name, func(t *testing.T) { f(t, newPair(t, wrapListener)) })
	}
}

func TestOpen(t *testing.T) {
	bothEnds(t, func(t *testing.T, p *pair) {
		send(t, p.near, "ping")
		expect(t, p.far, "ping")
		send(t, p.far, "pong")
		expect(t, p.near, "pong")
		expectSilence(t, p.near)
		expectSilence(t, p.far)
		if s := p.link.Stats(); s.Hits() != 0 || s.Open != 1 {
			t.Errorf("stats of an open link: %+v, want no hits and 1 connection", s)
		}
		if err := p.near.Close(); err != nil {
			t.Fatal(err)
		}
		p.far.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := p.far.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("read after the peer's close: %d, %v, want EOF", n, err)
		}
		if _, err := p.near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write after close: %v, want net.ErrClosed", err)
		}
		if _, err := p.near.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after close: %v, want net.ErrClosed", err)
		}
		if err := p.near.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second close: %v, want net.ErrClosed", err)
		}
	})
}

func TestDropHoldsBothWays(t *testing.T) {
	bothEnds(t, func(t *testing.T, p *pair) {
		send(t, p.near, "before ")
		expect(t, p.far, "before ")
		p.link.Cut(link.Both, link.Drop)
		send(t, p.near, "during ")
		send(t, p.far, "answer ")
		expectSilence(t, p.far)
		expectSilence(t, p.near)
		if s := p.link.Stats(); s.BytesHeld != uint64(len("during answer ")) {
			t.Errorf("stats %+v, want 14 bytes held", s)
		}
		p.link.Heal()
		send(t, p.near, "after")
		send(t, p.far, "more")
		expect(t, p.far, "during after")
		expect(t, p.near, "answer more")
	})
}

func TestDropOneWay(t *testing.T) {
	for _, dir := range []link.Direction{link.Forward, link.Back} {
		bothEnds(t, func(t *testing.T, p *pair) {
			cutFrom, cutTo, openFrom, openTo := p.near, p.far, p.far, p.near
			if dir == link.Back {
				cutFrom, cutTo, openFrom, openTo = openFrom, openTo, cutFrom, cutTo
			}
			p.link.Cut(dir, link.Drop)
			send(t, cutFrom, "held")
			send(t, openFrom, "passes")
			expect(t, openTo, "passes")
			expectSilence(t, cutTo)
			p.link.Heal()
			expect(t, cutTo, "held")
		})
	}
}

// TestDropInterrupts cuts while operations are already waiting in the kernel.
func TestDropInterrupts(t *testing.T) {
	bothEnds(t, func(t *testing.T, p *pair) {
		got := make(chan string, 1)
		go func() {
			buf := make([]byte, 100)
			n, err := p.near.Read(buf)
			if err != nil {
				got <- err.Error()
				return
			}
			got <- string(buf[:n])
		}()
		time.Sleep(20 * time.Millisecond) // the reader waits by now
		p.link.Cut(link.Back, link.Drop)
		send(t, p.far, "late")
		select {
		case s := <-got:
			t.Fatalf("read %q through a cut", s)
		case <-time.After(50 * time.Millisecond):
		}
		p.link.Heal()
		select {
		case s := <-got:
			if s != "late" {
				t.Fatalf("read %q, want late", s)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("read does not return after Heal")
		}
	})
}

// TestDropBlocksWrites writes into a cut until the buffers are full.
func TestDropBlocksWrites(t *testing.T) {
	p := newPair(t, false)
	p.link.Cut(link.Both, link.Drop)
	if err := p.near.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i * 7 / 5)
	}
	n, err := p.near.Write(data)
	if n != 256<<10 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("write into a cut: %d, %v, want 262144 and a timeout", n, err)
	}
	if s := p.link.Stats(); s.WritesBlocked != 1 || s.BytesHeld != 256<<10 {
		t.Errorf("stats %+v, want one blocked write and 262144 bytes held", s)
	}
	// A write that waits goes on after Heal, behind what was taken.
	if err := p.near.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := p.near.Write(data[n:]); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(20 * time.Millisecond)
	p.link.Heal()
	expect(t, p.far, string(data))
	wg.Wait()
}

// TestWindowOfTheOtherWay: with only the way back cut, acknowledgements are missing and the sender gets no further than
// its window.
func TestWindowOfTheOtherWay(t *testing.T) {
	for _, far := range []bool{false, true} {
		p := newPair(t, false)
		from, to, dir := p.near, p.far, link.Back
		if far {
			from, to, dir = p.far, p.near, link.Forward
		}
		p.link.Cut(dir, link.Drop)
		data := bytes.Repeat([]byte("0123456789abcdef"), 32<<10) // 512 KiB
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := from.Write(data); err != nil {
				t.Error(err)
			}
		})
		expect(t, to, string(data[:256<<10]))
		expectSilence(t, to)
		p.link.Heal()
		expect(t, to, string(data[256<<10:]))
		wg.Wait()
	}
}

func TestDeadlinesInACut(t *testing.T) {
	bothEnds(t, func(t *testing.T, p *pair) {
		p.link.Cut(link.Both, link.Drop)
		// One that is set while the read waits, as net/http does to end a background read.
		done := make(chan error, 1)
		go func() {
			_, err := p.near.Read(make([]byte, 1))
			done <- err
		}()
		time.Sleep(20 * time.Millisecond)
		if err := p.near.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("interrupted read: %v, want a timeout", err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("read does not see its new deadline")
		}
		// A deadline set in the cut holds after it, and one taken away does not.
		if err := p.near.SetReadDeadline(time.Now().Add(80 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		p.link.Heal()
		start := time.Now()
		if _, err := p.near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) < 40*time.Millisecond {
			t.Fatalf("read after Heal: %v after %v, want a timeout after 80ms", err, time.Since(start))
		}
		if err := p.near.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		send(t, p.far, "x")
		if n, err := p.near.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatalf("read without deadline: %d, %v", n, err)
		}
	})
}

func TestReject(t *testing.T) {
	bothEnds(t, func(t *testing.T, p *pair) {
		wrapped := p.near
		if _, ok := p.near.(*net.TCPConn); ok {
			wrapped = p.far
		}
		blocked := make(chan error, 1)
		go func() {
			_, err := wrapped.Read(make([]byte, 1))
			blocked <- err
		}()
		time.Sleep(20 * time.Millisecond)
		p.link.Cut(link.Both, link.Reject)
		for _, c := range []net.Conn{p.near, p.far} {
			if c == wrapped {
				if err := <-blocked; !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("read that waited: %v, want ECONNRESET", err)
				}
			}
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read: %v, want ECONNRESET", err)
			}
		}
		if _, err := wrapped.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write: %v, want ECONNRESET", err)
		}
		if err := wrapped.Close(); err != nil {
			t.Errorf("close of a reset connection: %v", err)
		}
		if s := p.link.Stats(); s.Resets != 1 || s.Open != 0 {
			t.Errorf("stats %+v, want one reset and none open", s)
		}
	})
}

func TestRejectDials(t *testing.T) {
	p := newPair(t, false)
	p.link.Cut(link.Forward, link.Reject)
	_, err := p.dial()
	var op *net.OpError
	if !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &op) || op.Op != "dial" || op.Addr == nil {
		t.Fatalf("dial: %v, want a dial error of ECONNREFUSED", err)
	}
	if s := p.link.Stats(); s.DialsRefused != 1 {
		t.Errorf("stats %+v, want one refused dial", s)
	}
	p.link.Heal()
	near, far := p.connect(t)
	send(t, near, "again")
	expect(t, far, "again")
}

func TestRejectAccepts(t *testing.T) {
	p := newPair(t, true)
	p.link.Cut(link.Both, link.Reject)
	accepted := make(chan net.Conn, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		if c, err := p.accept(); err == nil {
			accepted <- c
		}
	})
	c, err := p.dial() // the kernel accepts
	if err == nil {
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v, want ECONNRESET", err)
		}
		c.Close()
	}
	p.link.Heal()
	c, err = p.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	far := <-accepted
	defer far.Close()
	send(t, c, "in")
	expect(t, far, "in")
	wg.Wait()
}

func TestDropHoldsAccepts(t *testing.T) {
	l := link.New("accepts")
	defer l.Close()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := l.Listener(inner)
	l.Cut(link.Both, link.Drop)
	accepted := make(chan error, 1)
	accept := func() {
		c, err := ln.Accept()
		if err == nil {
			c.Close()
		}
		accepted <- err
	}
	go accept()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	select {
	case err := <-accepted:
		t.Fatalf("accepted in a cut: %v", err)
	case <-time.After(30 * time.Millisecond):
	}
	l.Heal()
	if err := <-accepted; err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.AcceptsHeld != 1 {
		t.Errorf("stats %+v, want one held accept", s)
	}
	// Closing the listener lets a held Accept go.
	l.Cut(link.Both, link.Drop)
	go accept()
	c2, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c2.Close()
	for l.Stats().AcceptsHeld != 2 {
		time.Sleep(time.Millisecond)
	}
	ln.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("held accept after close: %v, want net.ErrClosed", err)
	}
}

func TestReset(t *testing.T) {
	p := newPair(t, false)
	near2, _ := p.connect(t)
	p.link.Reset()
	for _, c := range []net.Conn{p.near, near2, p.far} {
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v, want ECONNRESET", err)
		}
	}
	if s := p.link.Stats(); s.Resets != 2 {
		t.Errorf("stats %+v, want 2 resets", s)
	}
	near, far := p.connect(t) // the link itself is open
	send(t, near, "on")
	expect(t, far, "on")
}

// TestPeerCloseIsHeld: the end of the stream is behind the data, and neither passes a cut.
func TestPeerCloseIsHeld(t *testing.T) {
	p := newPair(t, false)
	p.link.Cut(link.Both, link.Drop)
	send(t, p.far, "last words")
	p.far.Close()
	expectSilence(t, p.near)
	p.link.Heal()
	p.near.SetReadDeadline(time.Now().Add(5 * time.Second))
	got, err := io.ReadAll(p.near)
	if err != nil || string(got) != "last words" {
		t.Errorf("read %q, %v, want the last words and EOF", got, err)
	}
}

// TestCloseDelivers: what was written before Close arrives after the cut, and the peer notices nothing until then.
func TestCloseDelivers(t *testing.T) {
	bothEnds(t, func(t *testing.T, p *pair) {
		from, to := p.near, p.far
		if _, ok := from.(*net.TCPConn); ok {
			from, to = to, from
		}
		p.link.Cut(link.Both, link.Drop)
		send(t, from, "last words")
		if err := from.Close(); err != nil {
			t.Fatal(err)
		}
		expectSilence(t, to)
		if s := p.link.Stats(); s.Open != 1 {
			t.Errorf("stats %+v, want 1 connection that still delivers", s)
		}
		p.link.Heal()
		to.SetReadDeadline(time.Now().Add(5 * time.Second))
		got, err := io.ReadAll(to)
		if err != nil || string(got) != "last words" {
			t.Errorf("read %q, %v, want the last words and EOF", got, err)
		}
	})
}

// TestNothingIsLost moves pseudo-random data both ways while the link is cut by dropping, shaped and healed at random, and
// compares every byte.
func TestNothingIsLost(t *testing.T) {
	const total = 8 << 20
	bothEnds(t, func(t *testing.T, p *pair) {
		var wg sync.WaitGroup
		for i, ends := range [][2]net.Conn{{p.near, p.far}, {p.far, p.near}} {
			from, to := ends[0], ends[1]
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), 1))
				data := rand.NewChaCha8([32]byte{byte(i)})
				for sent := 0; sent < total; {
					buf := make([]byte, min(1+r.IntN(1<<(1+r.IntN(17))), total-sent))
					data.Read(buf)
					// Deadlines of the owner come in between, and what a write says it took counts.
					for len(buf) > 0 {
						from.SetWriteDeadline(time.Now().Add(time.Duration(1+r.IntN(20)) * time.Millisecond))
						n, err := from.Write(buf)
						if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
							t.Errorf("way %d: write after %d bytes: %v", i, sent, err)
							return
						}
						buf, sent = buf[n:], sent+n
					}
				}
			})
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), 2))
				data := rand.NewChaCha8([32]byte{byte(i)})
				buf, want := make([]byte, 64<<10), make([]byte, 64<<10)
				for got := 0; got < total; {
					to.SetReadDeadline(time.Now().Add(time.Duration(1+r.IntN(20)) * time.Millisecond))
					n, err := to.Read(buf[:1+r.IntN(len(buf))])
					if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("way %d: read after %d bytes: %v", i, got, err)
						return
					}
					data.Read(want[:n])
					if !bytes.Equal(buf[:n], want[:n]) {
						t.Errorf("way %d: other bytes than written between %d and %d", i, got, got+n)
						return
					}
					got += n
				}
			})
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			r := rand.New(rand.NewPCG(3, 3))
			dirs := []link.Direction{link.Both, link.Forward, link.Back}
			for {
				switch r.IntN(5) {
				case 0, 1:
					p.link.Cut(dirs[r.IntN(3)], []link.Mode{link.Drop, link.Hold, link.Hold, link.Hold}[r.IntN(4)])
				case 2, 3:
					p.link.Heal()
				default:
					p.link.Shape(time.Duration(r.IntN(3))*time.Millisecond, time.Millisecond, int64(r.IntN(2))*(64<<20))
				}
				select {
				case <-stop:
					p.link.Shape(0, 0, 0)
					p.link.Heal()
					return
				case <-time.After(time.Duration(r.IntN(6000)) * time.Microsecond):
				}
			}
		}()
		span := 2 * time.Second
		if testing.Short() {
			span = 500 * time.Millisecond
		}
		time.AfterFunc(span, func() { close(stop) })
		wg.Wait()
		<-stopped
		if s := p.link.Stats(); s.BytesHeld == 0 || s.BytesShaped == 0 {
			t.Errorf("stats %+v: neither held nor shaped", s)
		}
	})
}
