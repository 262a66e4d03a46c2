package brokers

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// peekSize is how much of a request is kept to understand it: the fields read are at the start, behind the client id and
// at most one more name.
const peekSize = 1024

// conn stands between a client and kfake. It follows the framing in both directions, remembers what kind of request each
// response answers, holds back what a frozen broker or a stalled high watermark would hold back, and rewrites the few
// responses that name brokers.
//
// kfake reads a request as four bytes and a body, processes one request of a connection at a time, and writes a response
// with one Write; conn relies on the last two.
type conn struct {
	net.Conn // the client side, TLS included
	raw      net.Conn
	f        *front
	br       *bufio.Reader
	done     chan struct{}
	once     sync.Once

	// The reader's place in the stream.
	head  [4]byte
	headN int
	left  int
	peek  []byte

	mu      sync.Mutex
	pending []request
}

// request is what a response has to know about its request.
type request struct {
	key, version int16
	corr         int32
	acks         int16
	deadline     time.Time // of a produce or fetch request, by the client's own timeout
	group        string
	join         *join
}

func newConn(f *front, raw net.Conn, cfg *tls.Config) *conn {
	outer := serverConn(raw, cfg)
	return &conn{Conn: outer, raw: raw, f: f, br: bufio.NewReaderSize(outer, 16<<10), done: make(chan struct{}), peek: make([]byte, 0, peekSize)}
}

// Close implements net.Conn.
func (cn *conn) Close() error {
	cn.once.Do(func() {
		close(cn.done)
		cn.f.forget(cn)
		cn.mu.Lock()
		defer cn.mu.Unlock()
		for _, q := range cn.pending {
			if q.join != nil {
				cn.f.c.abandoned(q.join)
			}
		}
	})
	return cn.raw.Close()
}

// reset closes the connection as the kernel does when the process is killed: the peer gets a reset.
func (cn *conn) reset() {
	inner := cn.raw
	for {
		if l, ok := inner.(interface{ SetLinger(sec int) error }); ok {
			_ = l.SetLinger(0)
			break
		}
		u, ok := inner.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		inner = u.NetConn()
	}
	_ = cn.Close()
}

// pass waits until the broker is not frozen.
func (cn *conn) pass() error {
	for {
		gate := cn.f.currentGate()
		select {
		case <-cn.done:
			return net.ErrClosed
		case <-gate:
			return nil
		default:
		}
		cn.f.hit(func(h *Hits) { h.Unanswered++ })
		select {
		case <-cn.done:
			return net.ErrClosed
		case <-gate:
		}
	}
}

// Read implements net.Conn for kfake.
func (cn *conn) Read(p []byte) (int, error) {
	n, err := cn.br.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		var whole bool
		if rest, whole = cn.frame(rest); whole {
			if err := cn.pass(); err != nil {
				return 0, err
			}
			cn.understand()
		}
	}
	return n, err
}

// frame follows the framing over b and stops after the end of a request.
func (cn *conn) frame(b []byte) (rest []byte, whole bool) {
	if cn.left == 0 {
		k := copy(cn.head[cn.headN:], b)
		cn.headN += k
		if cn.headN == len(cn.head) {
			cn.headN = 0
			cn.left = int(binary.BigEndian.Uint32(cn.head[:]))
			cn.peek = cn.peek[:0]
		}
		return b[k:], false
	}
	k := min(cn.left, len(b))
	if room := peekSize - len(cn.peek); room > 0 {
		cn.peek = append(cn.peek, b[:min(k, room)]...)
	}
	cn.left -= k
	return b[k:], cn.left == 0
}

// understand notes the request whose start is in peek.
func (cn *conn) understand() {
	r := kbin.Reader{Src: cn.peek}
	q := request{key: r.Int16(), version: r.Int16(), corr: r.Int32()}
	_ = r.UnsafeNullableString() // client id
	switch kmsg.Key(q.key) {
	case kmsg.Produce:
		if q.version >= 9 {
			kmsg.SkipTags(&r)
			_ = r.UnsafeCompactNullableString()
		} else {
			_ = r.UnsafeNullableString()
		}
		q.acks = r.Int16()
		q.deadline = time.Now().Add(time.Duration(r.Int32()) * time.Millisecond)
		if q.acks == 0 {
			return // never answered
		}
	case kmsg.Fetch:
		if q.version >= 12 {
			kmsg.SkipTags(&r)
		}
		if q.version < 15 {
			r.Int32() // replica id
		}
		q.deadline = time.Now().Add(time.Duration(r.Int32()) * time.Millisecond)
	case kmsg.OffsetCommit:
		if q.version >= 8 {
			kmsg.SkipTags(&r)
			q.group = r.CompactString()
		} else {
			q.group = r.String()
		}
		q.deadline = time.Now().Add(cn.f.c.cfg.OffsetsCommitTimeout)
	case kmsg.JoinGroup:
		q.join = cn.f.c.understandJoin(q.version, r.Src)
	case kmsg.FindCoordinator:
		cn.f.c.learn(q.version, r.Src)
	}
	cn.mu.Lock()
	cn.pending = append(cn.pending, q)
	cn.mu.Unlock()
}

// Write implements net.Conn for kfake: b is one whole response.
func (cn *conn) Write(b []byte) (int, error) {
	out := b
	if len(b) >= 8 {
		if q, ok := cn.answers(int32(binary.BigEndian.Uint32(b[4:]))); ok {
			var err error
			if out, err = cn.f.c.respond(cn, q, b); err != nil {
				return 0, err
			}
		}
	}
	if err := cn.pass(); err != nil {
		return 0, err
	}
	if _, err := cn.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// answers takes the request with this correlation id off the list.
func (cn *conn) answers(corr int32) (request, bool) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	for i, q := range cn.pending {
		if q.corr == corr {
			cn.pending = append(cn.pending[:i], cn.pending[i+1:]...)
			return q, true
		}
	}
	return request{}, false
}
