package esfake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Version is the Elasticsearch version that the server says it is.
const Version = "8.19.7"

// Options are the parameters of a Server; the zero value is usable.
type Options struct {
	// Users are the names and passwords of HTTP basic authentication. Empty: everyone may do everything.
	Users map[string]string
	// ArrivalField, when not empty, is a member added to every document that is written, with the server's time as
	// RFC 3339 with nanoseconds: what an ingest pipeline that sets a field to _ingest.timestamp does. The field is
	// mapped as a date_nanos.
	ArrivalField string
	// MaxBody is the longest request body in bytes; 0 means 100 MiB, the default of http.max_content_length.
	MaxBody int64
	// Dir is the folder of a file that holds the documents and what finds them; empty: they are in memory.
	Dir string
	// Seed makes throttling and generated ids repeatable.
	Seed uint64
	// ClusterName is what the server calls its cluster; empty means "monitoring".
	ClusterName string
	// Logger gets one line per refused or failed request at debug level; nil discards.
	Logger *slog.Logger
}

// Server is the store. Its methods may be called at any time from any goroutine.
type Server struct {
	opts   Options
	log    *slog.Logger
	routes []route
	faults faults
	conns  connSet
	began  time.Time
	pages  *pages // nil: documents are in memory

	mu         sync.RWMutex
	indices    map[string]*index
	templates  map[string]template
	components map[string]template
	pipelines  map[string]pipeline
	cluster    settings // persistent cluster settings, flat
	pits       map[string]*pit
	rng        *rand.Rand // ids; guarded by mu

	bulks         atomic.Int64
	bulksRejected atomic.Int64
	bulksActive   atomic.Int64
}

// New returns a server without indices.
func New(opts Options) *Server {
	if opts.MaxBody <= 0 {
		opts.MaxBody = 100 << 20
	}
	if opts.ClusterName == "" {
		opts.ClusterName = "monitoring"
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		opts: opts, log: opts.Logger, began: time.Now(),
		indices: map[string]*index{}, templates: map[string]template{}, components: map[string]template{}, pipelines: map[string]pipeline{},
		cluster: settings{flat: map[string]string{}}, pits: map[string]*pit{},
		rng: rand.New(rand.NewPCG(opts.Seed, 1)),
	}
	s.faults.rng = rand.New(rand.NewPCG(opts.Seed, 2))
	s.faults.maxBody = opts.MaxBody
	s.faults.changed = make(chan struct{})
	s.routes = s.endpoints()
	if opts.Dir != "" {
		var err error
		if s.pages, err = newPages(opts.Dir); err != nil {
			s.log.Warn("documents are kept in memory", "error", err)
		}
	}
	return s
}

// InMemory reports whether documents are in the memory of the process, and not in a file of Options.Dir.
func (s *Server) InMemory() bool {
	if s.pages == nil {
		return true
	}
	s.pages.mu.Lock()
	defer s.pages.mu.Unlock()
	return s.pages.full != nil
}

// Handler returns the HTTP handler. Down cuts connections through it only at their next request; Serve does it at once.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Serve answers on ln until ctx ends, closes ln and every connection, and waits for the handlers. It returns nil when
// ctx ended, else the error of the listener.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(&gate{Listener: ln, s: s}) }()
	var err error
	select {
	case <-ctx.Done():
		_ = srv.Close()
		<-done //nolint:errcheck // it says that it is closed
	case err = <-done:
		_ = srv.Close()
	}
	s.conns.wait()
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil //nolint:nilerr // it ended because it was told to
	}
	return fmt.Errorf("elasticsearch listener: %w", err)
}

// gate is a listener that resets connections while the server is down.
type gate struct {
	net.Listener
	s *Server
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g.s.faults.mu.Lock()
		down := g.s.faults.down
		if down {
			g.s.faults.hits.Refused++
		}
		g.s.faults.mu.Unlock()
		if !down {
			return g.s.conns.add(c), nil
		}
		reset(c)
	}
}

// abortive makes Close send RST instead of FIN, where the connection can.
func abortive(c net.Conn) {
	if l, ok := c.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0)
	}
}

func reset(c net.Conn) {
	abortive(c)
	_ = c.Close()
}

// connSet knows the open connections, so that they can be reset.
type connSet struct {
	mu   sync.Mutex
	open map[*trackedConn]struct{}
	wg   sync.WaitGroup
}

type trackedConn struct {
	net.Conn
	set  *connSet
	once sync.Once
}

func (cs *connSet) add(c net.Conn) net.Conn {
	t := &trackedConn{Conn: c, set: cs}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.open == nil {
		cs.open = map[*trackedConn]struct{}{}
	}
	cs.open[t] = struct{}{}
	cs.wg.Add(1)
	return t
}

func (t *trackedConn) Close() error {
	t.once.Do(func() {
		t.set.mu.Lock()
		delete(t.set.open, t)
		t.set.mu.Unlock()
		t.set.wg.Done()
	})
	return t.Conn.Close()
}

func (cs *connSet) resetAll() {
	cs.mu.Lock()
	all := make([]*trackedConn, 0, len(cs.open))
	for t := range cs.open {
		all = append(all, t)
	}
	cs.mu.Unlock()
	for _, t := range all {
		abortive(t.Conn)
		_ = t.Close()
	}
}

func (cs *connSet) wait() { cs.wg.Wait() }

// cut ends the connection of a request without an answer.
func cut(w http.ResponseWriter) {
	if h, ok := w.(http.Hijacker); ok {
		if c, _, err := h.Hijack(); err == nil {
			if t, ok := c.(*trackedConn); ok {
				abortive(t.Conn)
				_ = t.Close()
				return
			}
			reset(c)
			return
		}
	}
	panic(http.ErrAbortHandler)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if !s.faults.enter(r) {
		cut(w)
		return
	}
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	if len(s.opts.Users) > 0 {
		user, pass, ok := r.BasicAuth()
		if want, known := s.opts.Users[user]; !ok || !known || want != pass {
			w.Header().Set("WWW-Authenticate", `Basic realm="security", charset="UTF-8"`)
			s.fail(w, r, &apiError{
				status: http.StatusUnauthorized, typ: "security_exception",
				reason: "unable to authenticate user [" + user + "] for REST request [" + r.URL.Path + "]",
			})
			return
		}
	}
	s.dispatch(w, r)
}
