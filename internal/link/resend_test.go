package link_test

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"triad/internal/link"
)

// TestResent: what a cut swallowed comes with TCP's next retransmission behind the heal, either way, and what is written meanwhile
// behind it; a connection that had nothing under way goes on at once, and so does one whose peer stood still.
func TestResent(t *testing.T) {
	const ms = time.Millisecond
	for _, x := range []struct {
		name      string
		mode      link.Mode
		cut, late time.Duration // late: from the heal to the arrival of what was written 100 ms into the cut
	}{
		{"before the first", link.Drop, 200 * ms, 108 * ms},                                       // 208 ms after it
		{"before the second", link.Drop, 400 * ms, 324 * ms},                                      // 208+416
		{"seventh", link.Drop, 26 * time.Second, 100*ms + 127*208*ms - 26*time.Second},            // 208 (1+2+...+64)
		{"as late as it gets", link.Drop, 10 * time.Minute, 100*ms + 692784*ms - 600*time.Second}, // 208 (1+2+...+512), then 120 s each
		{"peer stood still", link.Hold, 26 * time.Second, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, dial, far := pipes(t.Name())
				defer l.Close()
				connect := func() (near, peer net.Conn) {
					near, err := dial(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					return near, <-far
				}
				near, peer := connect()
				calm, calmPeer := connect()
				for _, c := range []net.Conn{near, peer, calm, calmPeer} {
					defer c.Close()
				}
				got := make(chan string, 1)
				go func() {
					buf := make([]byte, 100)
					n, _ := near.Read(buf)
					got <- string(buf[:n])
				}()
				l.Cut(link.Both, x.mode)
				time.Sleep(100 * ms)
				go peer.Write([]byte("answer"))
				send(t, near, "lost")
				time.Sleep(x.cut - 100*ms)
				l.Heal()
				within(t, "a connection with nothing under way", took(func() {
					go calm.Write([]byte("fresh"))
					expect(t, calmPeer, "fresh")
				}), 0, 0)
				within(t, "what was lost", took(func() {
					send(t, near, " and more")
					b := make([]byte, len("lost and more"))
					if _, err := io.ReadFull(peer, b); err != nil || string(b) != "lost and more" {
						t.Errorf("read %q, %v", b, err)
					}
				}), x.late, x.late)
				within(t, "what was lost on the way back", took(func() {
					if s := <-got; s != "answer" {
						t.Errorf("read %q", s)
					}
				}), 0, 0)
				within(t, "the next", took(func() {
					go near.Write([]byte("fresh"))
					expect(t, peer, "fresh")
				}), 0, 0)
			})
		})
	}
}

// TestResentSYN: a dial that hangs goes on with its next SYN behind the heal, 1, 2, 3, 4, 5, 7, 11, 19, 35 or 67 s after the first, and ends
// where none comes.
func TestResentSYN(t *testing.T) {
	for cut, want := range map[time.Duration]time.Duration{
		500 * time.Millisecond: time.Second, 3500 * time.Millisecond: 4 * time.Second, 10 * time.Second: 11 * time.Second, 40 * time.Second: 67 * time.Second, 70 * time.Second: 131 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			l, dial, far := pipes(t.Name())
			defer l.Close()
			l.Cut(link.Back, link.Drop)
			time.AfterFunc(cut, l.Heal)
			within(t, "a dial", took(func() {
				c, err := dial(t.Context())
				if (err == nil) != (want < 131*time.Second) {
					t.Error(err)
				}
				if err == nil {
					c.Close()
					(<-far).Close()
				}
			}), want, want)
		})
	}
}

// A peer that stands still has its kernel take the connection: the dial succeeds, and what is said over it waits.
func TestHoldTakesDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, dial, far := pipes(t.Name())
		defer l.Close()
		l.Cut(link.Both, link.Hold)
		time.AfterFunc(20*time.Second, l.Heal)
		var near net.Conn
		within(t, "a dial", took(func() {
			var err error
			if near, err = dial(t.Context()); err != nil {
				t.Fatal(err)
			}
		}), 0, 0)
		peer := <-far
		defer near.Close()
		defer peer.Close()
		send(t, near, "hello")
		within(t, "what is said", took(func() {
			if _, err := io.ReadFull(peer, make([]byte, len("hello"))); err != nil {
				t.Error(err)
			}
		}), 20*time.Second, 20*time.Second)
	})
}
