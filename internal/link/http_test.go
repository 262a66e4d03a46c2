package link_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"time"

	"triad/internal/link"
)

// TestHTTP runs net/http with TLS over a link on either end: it sets deadlines of all kinds, interrupts its own reads and
// keeps connections for later.
func TestHTTP(t *testing.T) {
	for _, wrapListener := range []bool{false, true} {
		l := link.New("http")
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(w, r.Body)
		}))
		srv.Config.ReadHeaderTimeout = 5 * time.Second
		tr := &http.Transport{}
		if wrapListener {
			srv.Listener = l.Listener(srv.Listener)
		} else {
			tr.DialContext = l.Dial
		}
		srv.StartTLS()
		tr.TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig
		client := &http.Client{Transport: tr}
		call := func(timeout time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL, http.NoBody)
			if err != nil {
				return err
			}
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			_, err = io.Copy(io.Discard, resp.Body)
			return err
		}
		for range 3 {
			if err := call(5 * time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if s := l.Stats(); s.Open != 1 {
			t.Errorf("stats %+v, want one connection that is kept", s)
		}
		l.Cut(link.Both, link.Drop)
		if err := call(50 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("call in a cut: %v, want a timeout", err)
		}
		if s := l.Stats(); s.BytesHeld == 0 {
			t.Errorf("stats %+v, want the request held", s)
		}
		l.Heal()
		if err := call(5 * time.Second); err != nil {
			t.Errorf("call after Heal: %v", err)
		}
		// A cut shorter than the caller's patience is a pause.
		l.Cut(link.Both, link.Drop)
		time.AfterFunc(50*time.Millisecond, l.Heal)
		start := time.Now()
		if err := call(5 * time.Second); err != nil || time.Since(start) < 40*time.Millisecond {
			t.Errorf("call across a pause: %v after %v, want success after 50ms", err, time.Since(start))
		}
		if !wrapListener {
			l.Cut(link.Both, link.Reject)
			if err := call(5 * time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("call while rejecting: %v, want ECONNREFUSED", err)
			}
			l.Heal()
		}
		l.Shape(10*time.Millisecond, 2*time.Millisecond, 1<<20)
		if err := call(5 * time.Second); err != nil {
			t.Errorf("call over a slow link: %v", err)
		}
		l.Shape(0, 0, 0)
		tr.CloseIdleConnections()
		srv.Close()
		l.Close()
	}
}
