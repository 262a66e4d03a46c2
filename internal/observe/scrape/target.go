package scrape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// bodyLimit bounds one exposition in bytes. The largest real one of the data path, a broker's JMX exporter, is below 4 MiB.
const bodyLimit = 32 << 20

// ErrTooLarge says that an exposition was longer than 32 MiB and was not used.
var ErrTooLarge = errors.New("exposition larger than 32 MiB")

// Target is one metrics endpoint of one process.
type Target struct {
	Cluster   string `json:"cluster"`   // role of the cluster: datacenter, kafka, monitoring
	Component string `json:"component"` // row of the family tables: fluent-bit, fluentd, connect, kafka, prometheus, node
	Instance  string `json:"instance"`  // pod or broker; keeps counters of replicas apart
	URL       string `json:"url"`       // with scheme and path
}

// Scrape reads the endpoint once. It waits no longer than ctx and the client allow; the caller sets one of them. Redirects
// are the client's matter. Any status but 200 is an error: a 503 with a body is not a reading.
func (t Target) Scrape(ctx context.Context, c *http.Client) ([]Sample, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("scrape %s: %w", t.URL, err)
	}
	req.Header.Set("Accept", Accept)
	resp, err := c.Do(req)
	if err != nil {
		return nil, fmt.Errorf("scrape %s: %w", t.URL, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("scrape %s: server returned HTTP status %s", t.URL, resp.Status)
	}
	body := &countingReader{r: io.LimitReader(resp.Body, bodyLimit+1)}
	samples, err := Parse(body, resp.Header.Get("Content-Type"))
	if body.n > bodyLimit {
		return nil, fmt.Errorf("scrape %s: %w", t.URL, ErrTooLarge)
	}
	if err != nil {
		return nil, fmt.Errorf("scrape %s: %w", t.URL, err)
	}
	return samples, nil
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
