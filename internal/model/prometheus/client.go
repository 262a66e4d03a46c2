package prometheus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/exp/api/remote"
)

// writeClient sends write requests with the official client package. That package retries by itself, with jitter and a limit; the
// real program's own client doubles from min_backoff to max_backoff, for ever, and lets Retry-After replace the wait. So each call of
// the package is cut off after its first attempt and the waiting is done here.
type writeClient struct {
	api   *remote.API
	http  *http.Client
	cfg   RemoteWrite
	files files
}

func newWriteClient(cfg RemoteWrite, f files, dial dialer) (*writeClient, error) {
	t, err := cfg.HTTP.transport(f, dial)
	if err != nil {
		return nil, fmt.Errorf("remote write %s: %w", cfg.Name, err)
	}
	c := &writeClient{cfg: cfg, files: f}
	c.http = &http.Client{Timeout: cfg.Timeout, Transport: &attemptTransport{next: t, c: c}}
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("remote write %s: %w", cfg.Name, err)
	}
	// The package joins the path it is given to that of the base URL.
	path := strings.TrimPrefix(u.Path, "/")
	u.Path = ""
	opts := []remote.APIOption{
		remote.WithAPIHTTPClient(c.http), remote.WithAPIPath(path),
		remote.WithAPIBackoff(remote.BackoffConfig{Min: time.Hour, Max: time.Hour}),
	}
	if !cfg.Queue.RetryOnRateLimit {
		opts = append(opts, remote.WithAPINoRetryOnRateLimit())
	}
	if c.api, err = remote.NewAPI(u.String(), opts...); err != nil {
		return nil, fmt.Errorf("remote write %s: %w", cfg.Name, err)
	}
	return c, nil
}

func (c *writeClient) close() { c.http.CloseIdleConnections() }

// attempt is what one try tells the transport and learns from it.
type attempt struct {
	number     int
	retryAfter time.Duration
	bytes      int64
}

type attemptKey struct{}

// deliver sends a batch until it is accepted, refused, or ctx ends (an error then, too: the batch is gone with the process).
func (c *writeClient) deliver(ctx context.Context, batch []queuedSample, q *queue) error {
	wait := c.cfg.Queue.MinBackoff
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch = q.dropOld(batch, n)
		if len(batch) == 0 {
			return nil
		}
		// Counted once for each attempt, as the real program does: what was sent at least once is samples less retried.
		q.m.samples.Add(float64(len(batch)))
		a := &attempt{number: n}
		begin := time.Now()
		retry, err := c.try(context.WithValue(ctx, attemptKey{}, a), batch)
		q.m.duration.Observe(time.Since(begin).Seconds())
		if err == nil {
			q.m.bytes.Add(float64(a.bytes))
			return nil
		}
		if !retry {
			return err
		}
		q.m.retried.Add(float64(len(batch)))
		q.logger.Warn("failed to send batch, retrying", "err", err)
		pause := wait
		if a.retryAfter > 0 {
			pause = a.retryAfter
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		wait = min(2*wait, c.cfg.Queue.MaxBackoff)
	}
}

// dropOld leaves out samples beyond sample_age_limit, on retries only: before the first attempt the queue has looked.
func (q *queue) dropOld(batch []queuedSample, try int) []queuedSample {
	if q.cfg.Queue.SampleAgeLimit <= 0 || try == 0 {
		return batch
	}
	kept := batch[:0:0]
	for _, s := range batch {
		if q.tooOld(s.t) {
			q.m.dropped.WithLabelValues("too_old").Inc()
			continue
		}
		kept = append(kept, s)
	}
	return kept
}

// try makes one attempt and says whether its error is worth another.
func (c *writeClient) try(ctx context.Context, batch []queuedSample) (retry bool, err error) {
	req := &writeRequest{series: make([]timeSeries, len(batch))}
	for i, s := range batch {
		req.series[i] = timeSeries{labels: s.labels, samples: []point{s.point}}
	}
	once, cancel := context.WithCancel(ctx)
	defer cancel()
	var recoverable error
	_, err = c.api.Write(once, remote.WriteV1MessageType, req, remote.WithWriteRetryCallback(func(e error) {
		recoverable = e
		cancel()
	}))
	if recoverable != nil {
		return true, recoverable
	}
	return false, err
}

// attemptTransport adds what the real program's client adds to a request, and takes from a response what the package throws away.
type attemptTransport struct {
	next *http.Transport
	c    *writeClient
}

func (t *attemptTransport) CloseIdleConnections() { t.next.CloseIdleConnections() }

func (t *attemptTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", "Prometheus/3.16.0")
	for k, v := range t.c.cfg.Headers {
		r.Header.Set(k, v)
	}
	a, _ := r.Context().Value(attemptKey{}).(*attempt)
	if a != nil {
		a.bytes = r.ContentLength
		if a.number > 0 {
			r.Header.Set("Retry-Attempt", strconv.Itoa(a.number))
		}
	}
	if err := t.c.cfg.HTTP.authorize(t.c.files, r); err != nil {
		return nil, err
	}
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if a != nil {
		a.retryAfter = retryAfter(resp.Header.Get("Retry-After"))
	}
	// The status decides; a body that breaks off must not make an accepted request look refused, nor a 500 look final.
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		body = append(body, " ("+err.Error()+")"...)
	}
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

func retryAfter(v string) time.Duration {
	if t, err := time.Parse(http.TimeFormat, v); err == nil {
		return time.Until(t).Truncate(time.Second)
	}
	if n, err := strconv.Atoi(v); err == nil {
		return time.Duration(n) * time.Second
	}
	return 0
}
