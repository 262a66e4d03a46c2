package connect

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxRetryWait is the connector's bound on the wait before one retry.
const maxRetryWait = 24 * time.Hour

// elastic is the Elasticsearch client of one task.
type elastic struct {
	cfg  Sink
	http *http.Client
	next atomic.Uint64 // of URLs, in turn

	mu  sync.Mutex
	rng *rand.Rand
}

func newElastic(cfg Sink, w *wire, tlsCfg *tls.Config, rng *rand.Rand) *elastic {
	secure := tlsCfg
	if secure == nil {
		secure = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
			defer cancel()
			return w.toStore(ctx, network, addr)
		},
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
			defer cancel()
			return over(w.toStore, secure)(ctx, network, addr)
		},
		MaxIdleConnsPerHost: cfg.InFlight + 1,
		IdleConnTimeout:     time.Minute, // max.connection.idle.time.ms
		DisableCompression:  true,
	}
	return &elastic{cfg: cfg, http: &http.Client{Transport: tr}, rng: rng}
}

func (e *elastic) close() { e.http.CloseIdleConnections() }

// statusError is an answer that is not 200: the Java client throws it as an exception.
type statusError struct {
	status int
	body   string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("ElasticsearchStatusException[status line [HTTP/1.1 %d %s]] %s", e.status, http.StatusText(e.status), e.body)
}

var errSocketTimeout = errors.New("java.net.SocketTimeoutException: no byte moved within read.timeout.ms")

// do sends one request and returns the answer's body; any status outside 2xx is a *statusError.
func (e *elastic) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	base := e.cfg.URLs[int(e.next.Add(1)-1)%len(e.cfg.URLs)]
	var conn atomic.Pointer[wireConn]
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if c := wireOf(i.Conn); c != nil {
			c.touch()
			conn.Store(c)
		}
	}}
	var in io.Reader
	if body != nil {
		in = bytes.NewReader(body)
		if e.cfg.Compression {
			var z bytes.Buffer
			w := gzip.NewWriter(&z)
			_, _ = w.Write(body) // to memory: cannot fail
			_ = w.Close()
			in = &z
		}
	}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), method, base+path, in)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		if e.cfg.Compression {
			req.Header.Set("Content-Encoding", "gzip")
		}
	}
	if e.cfg.Username != "" && e.cfg.Password != "" {
		req.SetBasicAuth(e.cfg.Username, e.cfg.Password)
	}
	// The Java client's socket timeout counts from the last byte in either direction.
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { watchIdle(done, &conn, e.cfg.ReadTimeout, func() { cancel(errSocketTimeout) }) })
	defer wg.Wait()
	defer close(done)

	res, err := e.http.Do(req)
	if err != nil {
		return nil, orCause(ctx, err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, orCause(ctx, err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		text := string(out)
		if len(text) > 300 {
			text = text[:300]
		}
		return out, &statusError{res.StatusCode, text}
	}
	return out, nil
}

func orCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// watchIdle calls expire when the connection has moved no byte for the limit, until done is closed.
func watchIdle(done <-chan struct{}, conn *atomic.Pointer[wireConn], limit time.Duration, expire func()) {
	t := time.NewTimer(limit)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case <-t.C:
		}
		wait := limit
		if c := conn.Load(); c != nil {
			if wait = limit - c.idle(); wait <= 0 {
				expire()
				return
			}
		}
		t.Reset(wait)
	}
}

// retryRange is what the wait before the attempt after the given one is drawn from: it doubles, up to a day.
func retryRange(backoff time.Duration, attempt int) time.Duration {
	top := max(backoff, 0)
	for range min(attempt, 62) {
		if top *= 2; top > maxRetryWait {
			return maxRetryWait
		}
	}
	return top
}

// retryWait draws the wait before the attempt after the given one: full jitter.
func (e *elastic) retryWait(attempt int) time.Duration {
	top := retryRange(e.cfg.RetryBackoff, attempt)
	if top == 0 {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Duration(e.rng.Int64N(int64(top)))
}

// retried does an action up to max.retries+1 times; every failure is tried again, as in the connector.
func (e *elastic) retried(ctx context.Context, what string, action func() error) error {
	for attempt := 1; ; attempt++ {
		err := action()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if attempt > e.cfg.MaxRetries {
			return fmt.Errorf("failed to %s due to '%w' after %d attempt(s)", what, err, attempt)
		}
		t := time.NewTimer(e.retryWait(attempt))
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-t.C:
		}
	}
}

// ensureIndex makes the index unless it is there.
func (e *elastic) ensureIndex(ctx context.Context, index string) error {
	path := "/" + url.PathEscape(index)
	exists := false
	err := e.retried(ctx, "check if index "+index+" exists", func() error {
		_, err := e.do(ctx, http.MethodHead, path, nil)
		var st *statusError
		if errors.As(err, &st) && st.status == http.StatusNotFound {
			return nil
		}
		exists = err == nil
		return err
	})
	if err != nil || exists {
		return err
	}
	return e.retried(ctx, "create index "+index, func() error {
		_, err := e.do(ctx, http.MethodPut, path, []byte("{}"))
		var st *statusError
		if errors.As(err, &st) && strings.Contains(st.body, "resource_already_exists_exception") {
			return nil
		}
		return err
	})
}

// hasMapping reports whether the index has any mapped field.
func (e *elastic) hasMapping(ctx context.Context, index string) (bool, error) {
	found := false
	err := e.retried(ctx, "get mapping for index "+index, func() error {
		b, err := e.do(ctx, http.MethodGet, "/"+url.PathEscape(index)+"/_mapping", nil)
		if err != nil {
			return err
		}
		var out map[string]struct {
			Mappings map[string]json.RawMessage `json:"mappings"`
		}
		if err := json.Unmarshal(b, &out); err != nil {
			return err
		}
		for _, ix := range out {
			found = found || len(ix.Mappings) > 0
		}
		return nil
	})
	return found, err
}

// itemError is why Elasticsearch refused one item of a bulk request.
type itemError struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
}

func (e *itemError) String() string {
	return "ElasticsearchException[Elasticsearch exception [type=" + e.Type + ", reason=" + e.Reason + "]]"
}

// bulk sends one bulk request with retries and returns the errors of its items, nil when there is none.
func (e *elastic) bulk(ctx context.Context, body []byte, items int) (errs []*itemError, err error) {
	err = e.retried(ctx, "execute bulk request", func() error {
		out, err := e.do(ctx, http.MethodPost, "/_bulk?timeout=1m", body)
		if err != nil {
			return err
		}
		errs, err = bulkErrors(out, items)
		return err
	})
	return errs, err
}

func bulkErrors(out []byte, items int) ([]*itemError, error) {
	// Most answers say at their beginning that all is well; reading thousands of items to know it again is wasted.
	if head := out[:min(len(out), 48)]; bytes.Contains(head, []byte(`"errors":false`)) {
		return nil, nil
	}
	var res struct {
		Errors *bool `json:"errors"`
		Items  []map[string]struct {
			Error *itemError `json:"error"`
		} `json:"items"`
	}
	if err := json.Unmarshal(out, &res); err != nil {
		return nil, fmt.Errorf("bulk answer: %w", err)
	}
	if res.Errors == nil || len(res.Items) != items {
		return nil, fmt.Errorf("bulk answer: %d items for %d requests", len(res.Items), items)
	}
	if !*res.Errors {
		return nil, nil
	}
	errs := make([]*itemError, items)
	for i, it := range res.Items {
		for _, v := range it {
			errs[i] = v.Error
		}
	}
	return errs, nil
}
