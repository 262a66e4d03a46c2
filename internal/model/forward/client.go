package forward

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// ErrAck says that the server answered something else than the acknowledgement of the chunk.
var ErrAck = errors.New("acknowledgement of another chunk")

// ClientOptions configure a Client. Addr is required.
type ClientOptions struct {
	Addr           string
	Dial           func(ctx context.Context, network, addr string) (net.Conn, error) // nil means net.Dialer
	ConnectTimeout time.Duration                                                     // to connect and shake hands; 0 means 10 s, as Fluent Bit
	IOTimeout      time.Duration                                                     // for the acknowledgement; 0 means no limit but ctx
	KeepaliveIdle  time.Duration                                                     // an idle connection is closed after it; 0 means 30 s
	NoKeepalive    bool                                                              // one connection per chunk
	MaxUses        int                                                               // a connection is closed after so many chunks; 0 means 2000
	RequireAck     bool
	Gzip           bool
	SharedKey      string
	SelfHostname   string
	Username       string
	Password       string
}

// Client sends chunks over a pool of connections that grows with the chunks under way at once.
type Client struct {
	opts ClientOptions

	mu     sync.Mutex
	idle   []*clientConn
	open   map[*clientConn]struct{}
	closed bool
}

type clientConn struct {
	net.Conn
	r    *bufio.Reader
	uses int
	last time.Time
}

// NewClient makes a client; it connects when there is something to send.
func NewClient(opts ClientOptions) *Client {
	if opts.Dial == nil {
		opts.Dial = (&net.Dialer{}).DialContext
	}
	if opts.ConnectTimeout <= 0 {
		opts.ConnectTimeout = 10 * time.Second
	}
	if opts.KeepaliveIdle <= 0 {
		opts.KeepaliveIdle = 30 * time.Second
	}
	if opts.MaxUses <= 0 {
		opts.MaxUses = 2000
	}
	return &Client{opts: opts, open: map[*clientConn]struct{}{}}
}

// Send sends entries, count of them, as one PackedForward message and returns when the server has acknowledged it (or,
// without RequireAck, when it is written). After an error it is not known whether the server has it.
func (c *Client) Send(ctx context.Context, tag string, entries []byte, count int) error {
	conn, err := c.get(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // unblocks the exchange
	err = c.exchange(conn, tag, entries, count)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	c.put(conn, err == nil)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("send to %s: %w", c.opts.Addr, context.Cause(ctx))
	}
	return err
}

func (c *Client) exchange(conn *clientConn, tag string, entries []byte, count int) error {
	token := ""
	if c.opts.RequireAck {
		// As Fluent Bit makes it: the first 16 bytes of the SHA-512 of the payload.
		sum := sha512.Sum512(entries)
		token = base64.StdEncoding.EncodeToString(sum[:16])
	}
	head, payload, tail, err := encodeMessage(tag, entries, count, token, c.opts.Gzip)
	if err != nil {
		return err
	}
	var deadline time.Time
	if c.opts.IOTimeout > 0 {
		deadline = time.Now().Add(c.opts.IOTimeout)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	bufs := net.Buffers{head, payload, tail}
	if _, err := bufs.WriteTo(conn.Conn); err != nil {
		return fmt.Errorf("send to %s: %w", c.opts.Addr, err)
	}
	if token == "" {
		return nil
	}
	raw, err := readValue(conn.r, nil, maxHandshake)
	if err != nil {
		return fmt.Errorf("acknowledgement from %s: %w", c.opts.Addr, err)
	}
	var ack map[string]any
	if err := msgpack.Unmarshal(raw, &ack); err != nil {
		return fmt.Errorf("%w: %w", ErrAck, err)
	}
	if string(asBytes(ack["ack"])) != token {
		return ErrAck
	}
	return nil
}

// EncodeMessage returns one PackedForward message as Fluent Bit sends it.
func EncodeMessage(tag string, entries []byte, count int, chunk string, zip bool) ([]byte, error) {
	head, payload, tail, err := encodeMessage(tag, entries, count, chunk, zip)
	return append(append(head, payload...), tail...), err
}

func encodeMessage(tag string, entries []byte, count int, chunk string, zip bool) (head, payload, tail []byte, err error) {
	payload = entries
	if zip {
		var b bytes.Buffer
		zw := gzip.NewWriter(&b)
		if _, err := zw.Write(entries); err != nil {
			return nil, nil, nil, err
		}
		if err := zw.Close(); err != nil {
			return nil, nil, nil, err
		}
		payload = b.Bytes()
	}
	head = AppendString([]byte{0x93}, tag)
	head = binary.BigEndian.AppendUint32(append(head, codeBin32), uint32(len(payload)))
	var b bytes.Buffer
	enc := msgpack.NewEncoder(&b)
	n := 2
	if chunk != "" {
		n++
	}
	if zip {
		n++
	}
	err = enc.EncodeMapLen(n)
	put := func(key string, v any) {
		if err == nil {
			err = enc.EncodeMulti(key, v)
		}
	}
	if chunk != "" {
		put("chunk", chunk)
	}
	put("size", int64(count))
	if zip {
		put("compressed", "gzip")
	}
	put("fluent_signal", int64(0)) // logs
	return head, payload, b.Bytes(), err
}

func (c *Client) get(ctx context.Context) (*clientConn, error) {
	c.mu.Lock()
	for len(c.idle) > 0 {
		conn := c.idle[len(c.idle)-1]
		c.idle = c.idle[:len(c.idle)-1]
		if time.Since(conn.last) < c.opts.KeepaliveIdle && conn.alive() {
			c.mu.Unlock()
			return conn, nil
		}
		delete(c.open, conn)
		conn.Close()
	}
	c.mu.Unlock()
	dctx, cancel := context.WithTimeout(ctx, c.opts.ConnectTimeout)
	defer cancel()
	nc, err := c.opts.Dial(dctx, "tcp", c.opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.opts.Addr, err)
	}
	conn := &clientConn{Conn: nc, r: bufio.NewReaderSize(nc, 4<<10)}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		nc.Close()
		return nil, net.ErrClosed
	}
	c.open[conn] = struct{}{}
	c.mu.Unlock()
	if c.opts.SharedKey != "" {
		stop := context.AfterFunc(dctx, func() { nc.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // unblocks the handshake
		err := c.handshake(conn)
		if !stop() && err == nil {
			err = context.Cause(dctx)
		}
		if err != nil {
			c.put(conn, false)
			return nil, fmt.Errorf("handshake with %s: %w", c.opts.Addr, err)
		}
	}
	return conn, nil
}

// alive looks for an end of the connection that arrived while it was idle. It sees a close, not a cut.
func (c *clientConn) alive() bool {
	if c.r.Buffered() > 0 {
		return false // nothing may come unasked
	}
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Microsecond)); err != nil {
		return false
	}
	_, err := c.r.Peek(1)
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func (c *Client) put(conn *clientConn, good bool) {
	conn.uses++
	conn.last = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !good || c.closed || c.opts.NoKeepalive || conn.uses >= c.opts.MaxUses {
		delete(c.open, conn)
		conn.Close()
		return
	}
	c.idle = append(c.idle, conn)
}

func (c *Client) handshake(conn *clientConn) error {
	raw, err := readValue(conn.r, nil, maxHandshake)
	if err != nil {
		return err
	}
	h, err := decodeHelo(raw)
	if err != nil {
		return err
	}
	p := newPing(c.opts.SelfHostname, c.opts.SharedKey, c.opts.Username, c.opts.Password, h)
	b, err := p.encode()
	if err != nil {
		return err
	}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	if raw, err = readValue(conn.r, nil, maxHandshake); err != nil {
		return err
	}
	answer, err := decodePong(raw)
	if err != nil {
		return err
	}
	if !answer.ok {
		return fmt.Errorf("%w: %s", ErrAuth, answer.reason)
	}
	if answer.keyDigest != digest(p.salt, []byte(answer.hostname), h.nonce, []byte(c.opts.SharedKey)) {
		return fmt.Errorf("%w: the server does not know the key", ErrAuth)
	}
	return nil
}

// Conns returns how many connections are open, and how many of them are busy with a chunk.
func (c *Client) Conns() (open, busy int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open), len(c.open) - len(c.idle)
}

// Close closes all connections, also busy ones. A Send that is under way or comes later fails. It returns nil.
func (c *Client) Close() error {
	c.close(false)
	return nil
}

// Abort is Close with a TCP reset, as the connections of a killed process end.
func (c *Client) Abort() { c.close(true) }

func (c *Client) close(reset bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for conn := range c.open {
		if l, ok := conn.Conn.(interface{ SetLinger(int) error }); ok && reset {
			l.SetLinger(0) //nolint:errcheck // the connection is closed next
		}
		conn.Close()
	}
	c.idle = nil
}

var _ io.Closer = (*Client)(nil)
