package forward

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"triad/internal/model"
)

// Message is what one protocol message carries, in any of the three modes.
type Message struct {
	Tag string
	// Entries holds the valid events one after the other as [time, record], uncompressed. A handler may keep it.
	Entries []byte
	Count   int    // events in Entries
	Invalid int    // events left out because they have no time or no record
	Chunk   string // token to be acknowledged; empty when the client did not ask
	Wire    int    // bytes on the wire
}

// Handler takes a message. An error ends the connection without an acknowledgement, so that the client sends again.
type Handler func(ctx context.Context, m *Message) error

// ServerOptions configure a Server. The zero value serves without a key.
type ServerOptions struct {
	SharedKey    string // ask for it by HELO when not empty
	SelfHostname string // name given in PONG
	MaxMessage   int    // bytes of one message and of its decompressed entries; 0 means 256 MiB, as Fluentd's limit for decompression
	Logger       *slog.Logger
}

const defaultMaxMessage = 256 << 20

// Server is one listening side of the protocol.
type Server struct {
	opts    ServerOptions
	handler Handler

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// NewServer makes a server that gives its messages to h. Messages of one connection come one after the other;
// connections are independent.
func NewServer(opts ServerOptions, h Handler) *Server {
	if opts.MaxMessage <= 0 {
		opts.MaxMessage = defaultMaxMessage
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{opts: opts, handler: h, conns: map[net.Conn]struct{}{}}
}

// Serve accepts connections until ctx ends, closes the listener and all connections, and returns when the last handler
// has returned. With the cancel cause model.ErrKilled connections are reset. The error is nil when ctx ended it.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() {
		ln.Close()
		s.closeAll(errors.Is(context.Cause(ctx), model.ErrKilled))
	})
	defer stop()
	defer ln.Close()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				continue
			}
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		}
		s.mu.Lock()
		s.conns[conn] = struct{}{}
		s.mu.Unlock()
		if ctx.Err() != nil { // closeAll may have run before the connection was listed
			conn.Close()
		}
		wg.Go(func() {
			err := s.serveConn(ctx, conn)
			if err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) {
				s.opts.Logger.Debug("forward connection ended", "peer", conn.RemoteAddr().String(), "error", err)
			}
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
			conn.Close()
		})
	}
}

func (s *Server) closeAll(reset bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if l, ok := c.(interface{ SetLinger(int) error }); ok && reset {
			l.SetLinger(0) //nolint:errcheck // the connection is closed next
		}
		c.Close()
	}
}

func (s *Server) serveConn(ctx context.Context, conn net.Conn) error {
	r := bufio.NewReaderSize(conn, 64<<10)
	if s.opts.SharedKey != "" {
		if err := s.handshake(conn, r); err != nil {
			return err
		}
	}
	for {
		m, err := ReadMessage(r, s.opts.MaxMessage)
		if err != nil {
			return err
		}
		if m == nil {
			continue
		}
		if err := s.handler(ctx, m); err != nil {
			return fmt.Errorf("message with tag %s: %w", m.Tag, err)
		}
		if m.Chunk == "" {
			continue
		}
		ack, err := msgpack.Marshal(map[string]string{"ack": m.Chunk})
		if err != nil {
			return err
		}
		if ctx.Err() != nil { // a process that is gone says nothing
			return context.Cause(ctx)
		}
		if _, err := conn.Write(ack); err != nil {
			return err
		}
	}
}

// handshakeTimeout bounds the exchange of keys.
const handshakeTimeout = 30 * time.Second

func (s *Server) handshake(conn net.Conn, r *bufio.Reader) error {
	conn.SetDeadline(time.Now().Add(handshakeTimeout)) //nolint:errcheck // the next read says it
	h := helo{nonce: newSalt(), keepalive: true}
	b, err := h.encode()
	if err != nil {
		return err
	}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	raw, err := readValue(r, nil, maxHandshake)
	if err != nil {
		return err
	}
	p, perr := decodePing(raw)
	key := []byte(s.opts.SharedKey)
	if perr == nil && p.keyDigest != digest(p.salt, []byte(p.hostname), h.nonce, key) {
		perr = fmt.Errorf("%w: shared_key mismatch", ErrAuth)
	}
	answer := pong{ok: perr == nil}
	if perr != nil {
		answer.reason = "shared_key mismatch"
	} else {
		answer.hostname = s.opts.SelfHostname
		answer.keyDigest = digest(p.salt, []byte(s.opts.SelfHostname), h.nonce, key)
	}
	if b, err = answer.encode(); err != nil {
		return err
	}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	conn.SetDeadline(time.Time{}) //nolint:errcheck // as above
	return perr
}

// options are the ones of a message that the server understands.
type options struct {
	chunk      string
	compressed string
}

// ReadMessage reads one message of at most max bytes. It returns nil for a heartbeat (a nil value). A message in JSON
// is not read: agents send msgpack. The error is io.EOF at a clean end, ErrShort, ErrFormat or ErrTooLarge otherwise.
func ReadMessage(r *bufio.Reader, max int) (*Message, error) {
	c, err := r.Peek(1)
	if err != nil {
		return nil, err
	}
	if c[0] == codeNil {
		r.Discard(1) //nolint:errcheck // this byte was peeked
		return nil, nil
	}
	if c[0] == '{' || c[0] == '[' {
		return nil, fmt.Errorf("%w: JSON is not spoken here", ErrFormat)
	}
	h, err := r.Peek(headLen(c[0]))
	if err != nil {
		return nil, cut(err)
	}
	n, size, err := ArrayLen(h)
	if err != nil || n < 2 || n > 4 {
		return nil, fmt.Errorf("%w: message is no array of 2 to 4", ErrFormat)
	}
	r.Discard(size) //nolint:errcheck // these bytes were peeked
	m := &Message{Wire: size}
	raw, err := readValue(r, nil, max)
	if err != nil {
		return nil, err
	}
	m.Wire += len(raw)
	tag, _, err := Bytes(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: tag is no string", ErrFormat)
	}
	m.Tag = string(tag)
	body, err := readValue(r, nil, max)
	if err != nil {
		return nil, err
	}
	m.Wire += len(body)
	rest := n - 2
	var entries []byte
	var message []byte // record of Message mode
	if content, _, err := Bytes(body); err == nil {
		entries = content
	} else if _, _, err := ArrayLen(body); err == nil && rest <= 1 {
		// Forward mode: entries stay an array, below.
	} else {
		if rest == 0 {
			return nil, fmt.Errorf("%w: message without record", ErrFormat)
		}
		if message, err = readValue(r, nil, max); err != nil {
			return nil, err
		}
		m.Wire += len(message)
		rest--
	}
	var opt options
	if rest > 1 {
		return nil, fmt.Errorf("%w: too many elements", ErrFormat)
	}
	if rest == 1 {
		raw, err := readValue(r, nil, maxHandshake)
		if err != nil {
			return nil, err
		}
		m.Wire += len(raw)
		if opt, err = decodeOptions(raw); err != nil {
			return nil, err
		}
	}
	m.Chunk = opt.chunk
	switch {
	case message != nil:
		m.add(append(append([]byte{0x92}, body...), message...))
		return m, nil
	case entries == nil:
		return m, m.addArray(body)
	}
	if entries, err = decompress(entries, opt.compressed, max); err != nil {
		return nil, err
	}
	return m, m.addStream(entries)
}

func decodeOptions(raw []byte) (options, error) {
	if raw[0] == codeNil {
		return options{}, nil
	}
	d := msgpack.NewDecoder(bytes.NewReader(raw))
	v, err := d.DecodeInterface()
	if err != nil {
		return options{}, fmt.Errorf("%w: options: %w", ErrFormat, err)
	}
	m, ok := v.(map[string]any)
	if !ok {
		return options{}, fmt.Errorf("%w: options are no map", ErrFormat)
	}
	return options{chunk: string(asBytes(m["chunk"])), compressed: string(asBytes(m["compressed"]))}, nil
}

func decompress(b []byte, how string, max int) ([]byte, error) {
	switch how {
	case "", "text":
		return b, nil
	case "gzip":
	default:
		return nil, fmt.Errorf("%w: compression %q", ErrFormat, how)
	}
	zr, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%w: gzip: %w", ErrFormat, err)
	}
	out, err := io.ReadAll(io.LimitReader(zr, int64(max)+1))
	if err != nil {
		return nil, fmt.Errorf("%w: gzip: %w", ErrFormat, err)
	}
	if len(out) > max {
		return nil, ErrTooLarge
	}
	return out, nil
}

// addStream takes a stream of entries. The usual case, every entry valid and plain, copies nothing.
func (m *Message) addStream(b []byte) error {
	plain := true
	_, err := walk(b, func(raw []byte) {
		if plain && !isPlain(raw) {
			plain = false
		}
	})
	if err != nil {
		return err
	}
	if plain {
		m.Entries = b
		_, err = walk(b, func([]byte) { m.Count++ })
		return err
	}
	m.Entries = make([]byte, 0, len(b))
	_, err = walk(b, m.add)
	return err
}

// addArray takes the entries of Forward mode.
func (m *Message) addArray(b []byte) error {
	n, at, err := ArrayLen(b)
	if err != nil {
		return err
	}
	m.Entries = make([]byte, 0, len(b))
	for range n {
		k, err := Next(b[at:])
		if err != nil {
			return err
		}
		m.add(b[at : at+k])
		at += k
	}
	return nil
}

func walk(b []byte, yield func(raw []byte)) (int, error) {
	at := 0
	for at < len(b) {
		n, err := Next(b[at:])
		if err != nil {
			return at, err
		}
		yield(b[at : at+n])
		at += n
	}
	return at, nil
}

// isPlain says whether an entry can be kept as it is: valid, with a time of its own and without metadata.
func isPlain(raw []byte) bool {
	if raw[0] != 0x92 || len(raw) > 1 && (raw[1]&0xf0 == 0x90 || raw[1] == codeArray16 || raw[1] == codeArray32) {
		return false
	}
	e, err := ParseEntry(raw)
	return err == nil && e.Time.Unix() != 0
}

// add takes one entry as Fluentd does: what has no valid time or record is skipped, and a zero time becomes now.
func (m *Message) add(raw []byte) {
	e, err := ParseEntry(raw)
	if err != nil {
		m.Invalid++
		return
	}
	if e.Time.Unix() == 0 {
		e.Time = time.Now()
	}
	m.Entries = append(AppendEntryHead(m.Entries, e.Time), e.Record...)
	m.Count++
}
