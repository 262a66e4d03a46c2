package forward

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
	"go.uber.org/goleak"

	"triad/internal/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func entry(t time.Time, log string) []byte {
	b := AppendEntryHead(nil, t)
	b = AppendMapLen(b, 1)
	return AppendString(AppendString(b, "log"), log)
}

func entries(n int) []byte {
	var b []byte
	for i := range n {
		b = append(b, entry(time.Unix(1000+int64(i), 5), fmt.Sprintf("line %d", i))...)
	}
	return b
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := msgpack.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestNext holds the walker against the encoder of the library: every kind of value has the length that it has.
func TestNext(t *testing.T) {
	long := strings.Repeat("x", 70000)
	many := map[string]int{}
	for i := range 20 {
		many[fmt.Sprint(i)] = i
	}
	for i, v := range []any{
		nil, true, 1, -1, 200, -200, 70000, -70000, int64(1) << 40, 1.5, float32(1.5), "", "a", long[:40], long[:300], long,
		[]byte{},
		[]byte(long[:300]), []byte(long),
		[]int{1, 2},
		make([]int, 20), make([]int, 70000),
		map[string]any{"a": []any{1, "b"}},
		many,
		time.Unix(1, 2), time.Unix(1<<40, 2),
	} {
		b := marshal(t, v)
		n, err := Next(append(slices.Clip(b), 0xc3))
		if err != nil || n != len(b) {
			t.Errorf("value %d: Next = %d, %v, want %d", i, n, err, len(b))
		}
		if _, err := Next(b[:len(b)-1]); !errors.Is(err, ErrShort) {
			t.Errorf("value %d cut: error %v, want ErrShort", i, err)
		}
		got, err := readValue(bufio.NewReaderSize(bytes.NewReader(b), 16), nil, 1<<20)
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("value %d: readValue gives %d bytes, %v", i, len(got), err)
		}
	}
	for _, h := range []string{"dfffffffff", "ddffffffff", "c6ffffffff", "dbffffffff"} { // lengths that lie
		b, _ := hex.DecodeString(h)
		if _, err := Next(b); !errors.Is(err, ErrShort) {
			t.Errorf("%s: %v", h, err)
		}
		if _, err := readValue(bufio.NewReader(bytes.NewReader(b)), nil, 1<<20); err == nil {
			t.Errorf("%s: no error", h)
		}
	}
}

func TestReadMessageModes(t *testing.T) {
	stream := entries(3)
	plain, err := EncodeMessage("a.b", stream, 3, "tok", false)
	if err != nil {
		t.Fatal(err)
	}
	zipped, err := EncodeMessage("a.b", stream, 3, "tok", true)
	if err != nil {
		t.Fatal(err)
	}
	raw := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	tag := AppendString(nil, "a.b")
	array := raw([]byte{0x93}, stream)
	withMeta := raw([]byte{0x92, 0x92}, entry(time.Unix(1000, 5), "line 0")[1:11], []byte{0x80}, entry(time.Unix(1000, 5), "line 0")[11:])
	opts := marshal(t, map[string]any{"chunk": "tok"})
	bad := marshal(t, []any{"no time", "no record"})
	cases := []struct {
		name    string
		in      []byte
		count   int
		invalid int
		entries []byte
		chunk   string
	}{
		{"packed", plain, 3, 0, stream, "tok"},
		{"packed gzip", zipped, 3, 0, stream, "tok"},
		{"packed as str", raw([]byte{0x92}, tag, AppendString(nil, stream)), 3, 0, stream, ""},
		{"forward", raw([]byte{0x93}, tag, array, opts), 3, 0, stream, "tok"},
		{"forward without options", raw([]byte{0x92}, tag, array), 3, 0, stream, ""},
		{"message", raw([]byte{0x94}, tag, entry(time.Unix(1000, 5), "line 0")[1:11], entry(time.Unix(1000, 5), "line 0")[11:], opts), 1, 0, entries(1), "tok"},
		{"message of three", raw([]byte{0x93}, tag, []byte{0x05}, entry(time.Time{}, "line 0")[11:]), 1, 0, entry(time.Unix(5, 0), "line 0"), ""},
		{"metadata", raw([]byte{0x92}, tag, AppendString(nil, withMeta)), 1, 0, entries(1), ""},
		{"invalid event", raw([]byte{0x92}, tag, AppendString(nil, raw(bad, stream))), 3, 1, stream, ""},
		{"empty", raw([]byte{0x92}, tag, []byte{0xa0}), 0, 0, nil, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := ReadMessage(bufio.NewReader(bytes.NewReader(c.in)), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if m.Tag != "a.b" || m.Count != c.count || m.Invalid != c.invalid || m.Chunk != c.chunk || m.Wire != len(c.in) {
				t.Errorf("got %+v", m)
			}
			if !bytes.Equal(m.Entries, c.entries) {
				t.Errorf("entries %x\nwant    %x", m.Entries, c.entries)
			}
		})
	}
}

func TestReadMessageRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"json":              `["tag",1,{}]`,
		"array of one":      "\x91\xa1a",
		"tag is a number":   "\x93\x01\xa0\x80",
		"options no map":    "\x93\xa1a\xa0\x01",
		"unknown compress":  "\x93\xa1a\xa0\x81\xaacompressed\xa3lzh",
		"gzip that is none": "\x93\xa1a\xa1x\x81\xaacompressed\xa4gzip",
		"cut stream":        "\x92\xa1a\xa2\x92\xd7",
		"too large":         "\x92\xa1a\xc6\x7f\xff\xff\xff",
	} {
		if m, err := ReadMessage(bufio.NewReader(strings.NewReader(in)), 1<<16); err == nil {
			t.Errorf("%s: accepted as %+v", name, m)
		}
	}
}

type sink struct {
	mu   sync.Mutex
	got  []*Message
	fail int // handlers that still fail
}

func (s *sink) handle(_ context.Context, m *Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail > 0 {
		s.fail--
		return errors.New("no room")
	}
	s.got = append(s.got, m)
	return nil
}

func (s *sink) records() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.got {
		n += m.Count
	}
	return n
}

func serve(t *testing.T, opts ServerOptions, h Handler) (addr string, stop func(error)) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewServer(opts, h).Serve(ctx, ln) }()
	var once sync.Once
	stop = func(cause error) {
		once.Do(func() {
			cancel(cause)
			if err := <-done; err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
	}
	t.Cleanup(func() { stop(nil) })
	return ln.Addr().String(), stop
}

func TestClientServer(t *testing.T) {
	for _, key := range []string{"", "secret"} {
		for _, zip := range []bool{false, true} {
			t.Run(fmt.Sprintf("key=%q gzip=%v", key, zip), func(t *testing.T) {
				s := &sink{}
				addr, _ := serve(t, ServerOptions{SharedKey: key, SelfHostname: "srv"}, s.handle)
				c := NewClient(ClientOptions{Addr: addr, RequireAck: true, Gzip: zip, SharedKey: key, SelfHostname: "cli", IOTimeout: 5 * time.Second})
				defer c.Close()
				for range 3 {
					if err := c.Send(t.Context(), "t", entries(10), 10); err != nil {
						t.Fatal(err)
					}
				}
				if n := s.records(); n != 30 {
					t.Errorf("%d records, want 30", n)
				}
				if !bytes.Equal(s.got[0].Entries, entries(10)) {
					t.Error("entries changed on the way")
				}
				if open, busy := c.Conns(); open != 1 || busy != 0 {
					t.Errorf("%d connections, %d busy, want 1 kept alive", open, busy)
				}
			})
		}
	}
}

func TestWrongKey(t *testing.T) {
	s := &sink{}
	addr, _ := serve(t, ServerOptions{SharedKey: "right"}, s.handle)
	c := NewClient(ClientOptions{Addr: addr, RequireAck: true, SharedKey: "wrong", IOTimeout: time.Second})
	defer c.Close()
	if err := c.Send(t.Context(), "t", entries(1), 1); !errors.Is(err, ErrAuth) {
		t.Errorf("error %v, want ErrAuth", err)
	}
	if s.records() != 0 {
		t.Error("records accepted without the key")
	}
}

// TestNoAckOnError: a handler that fails ends the connection, the client hears no acknowledgement and sends again.
func TestNoAckOnError(t *testing.T) {
	s := &sink{fail: 1}
	addr, _ := serve(t, ServerOptions{}, s.handle)
	c := NewClient(ClientOptions{Addr: addr, RequireAck: true, IOTimeout: 5 * time.Second})
	defer c.Close()
	if err := c.Send(t.Context(), "t", entries(2), 2); err == nil {
		t.Fatal("acknowledged although the handler failed")
	}
	if err := c.Send(t.Context(), "t", entries(2), 2); err != nil {
		t.Fatal(err)
	}
	if n := s.records(); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
}

func TestServerRestart(t *testing.T) {
	s := &sink{}
	addr, stop := serve(t, ServerOptions{}, s.handle)
	c := NewClient(ClientOptions{Addr: addr, RequireAck: true, IOTimeout: 5 * time.Second, ConnectTimeout: time.Second})
	defer c.Close()
	if err := c.Send(t.Context(), "t", entries(1), 1); err != nil {
		t.Fatal(err)
	}
	stop(model.ErrKilled)
	if err := c.Send(t.Context(), "t", entries(1), 1); err == nil {
		t.Fatal("sent to a dead server")
	}
	if open, busy := c.Conns(); open != 0 || busy != 0 {
		t.Errorf("%d connections, %d busy, after the server is gone", open, busy)
	}
}

func TestSendTimesOut(t *testing.T) {
	block := make(chan struct{})
	addr, _ := serve(t, ServerOptions{}, func(context.Context, *Message) error { <-block; return nil })
	defer close(block)
	c := NewClient(ClientOptions{Addr: addr, RequireAck: true, IOTimeout: 50 * time.Millisecond})
	defer c.Close()
	if err := c.Send(t.Context(), "t", entries(1), 1); err == nil {
		t.Error("no timeout")
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("enough"))
	defer cancel()
	c2 := NewClient(ClientOptions{Addr: addr, RequireAck: true})
	defer c2.Close()
	if err := c2.Send(ctx, "t", entries(1), 1); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("error %v, want the cause of the context", err)
	}
}

func TestEntries(t *testing.T) {
	var logs []string
	b := entries(3)
	at, err := Entries(b, func(e Entry) error {
		var r map[string]string
		if err := msgpack.Unmarshal(e.Record, &r); err != nil {
			return err
		}
		logs = append(logs, fmt.Sprintf("%d %d %s", e.Time.Unix(), e.Time.Nanosecond(), r["log"]))
		return nil
	})
	if err != nil || at != len(b) {
		t.Fatalf("at %d, %v", at, err)
	}
	if d := cmp.Diff([]string{"1000 5 line 0", "1001 5 line 1", "1002 5 line 2"}, logs); d != "" {
		t.Error(d)
	}
	if at, err := Entries(b[:len(b)-1], func(Entry) error { return nil }); !errors.Is(err, ErrShort) || at != 2*len(b)/3 {
		t.Errorf("cut: at %d, %v", at, err)
	}
}

func FuzzReadMessage(f *testing.F) {
	for _, zip := range []bool{false, true} {
		b, err := EncodeMessage("tag", entries(3), 3, "chunk", zip)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\x94\xa1a\x01\x81\xa1a\xa1b\x80"))
	f.Add([]byte("\x93\xa1a\x91\x92\x01\x80\x81\xa5chunk\xa1x"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bufio.NewReader(bytes.NewReader(in))
		for {
			m, err := ReadMessage(r, 1<<20)
			if err != nil {
				return
			}
			if m == nil {
				continue
			}
			n := 0
			if _, err := Entries(m.Entries, func(Entry) error { n++; return nil }); err != nil || n != m.Count {
				t.Fatalf("%d entries, %v, but count %d", n, err, m.Count)
			}
		}
	})
}

func BenchmarkClientServer(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		NewServer(ServerOptions{}, func(context.Context, *Message) error { return nil }).Serve(ctx, ln) //nolint:errcheck // benchmark
	}()
	defer func() { cancel(); <-done }()
	var chunk []byte
	const n = 1000
	for i := range n {
		chunk = append(chunk, entry(time.Unix(int64(i+1), 0), strings.Repeat("x", 256))...)
	}
	c := NewClient(ClientOptions{Addr: ln.Addr().String(), RequireAck: true})
	defer c.Close()
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		if err := c.Send(ctx, "t", chunk, n); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
}
