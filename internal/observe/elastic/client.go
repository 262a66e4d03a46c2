package elastic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v8/esapi"
)

// Access says how the store is reached.
type Access struct {
	URL       string
	Transport http.RoundTripper // nil: http.DefaultTransport
	Username  string
	Password  string
}

// Client asks the store. It is safe for concurrent use.
type Client struct {
	t *elastictransport.Client
}

// NewClient prepares a client; it does not connect.
func NewClient(a Access) (*Client, error) {
	u, err := url.Parse(a.URL)
	if err != nil {
		return nil, fmt.Errorf("elasticsearch address: %w", err)
	}
	t, err := elastictransport.New(elastictransport.Config{URLs: []*url.URL{u}, Transport: a.Transport, Username: a.Username, Password: a.Password, DisableRetry: true})
	if err != nil {
		return nil, fmt.Errorf("elasticsearch transport: %w", err)
	}
	return &Client{t}, nil
}

type request interface {
	Do(ctx context.Context, t esapi.Transport) (*esapi.Response, error)
}

// do runs a request and decodes its body into out, when out is not nil.
func (c *Client) do(ctx context.Context, what string, r request, out any) error {
	res, err := r.Do(ctx, c.t)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer res.Body.Close()
	if res.IsError() {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		return fmt.Errorf("%s: HTTP %d: %s", what, res.StatusCode, strings.TrimSpace(string(b)))
	}
	if out == nil {
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("%s: answer: %w", what, err)
	}
	return nil
}

// Ping asks for the server's version.
func (c *Client) Ping(ctx context.Context) (version string, err error) {
	var out struct {
		Version struct {
			Number string `json:"number"`
		} `json:"version"`
	}
	err = c.do(ctx, "elasticsearch info", esapi.InfoRequest{}, &out)
	return out.Version.Number, err
}

// Count returns how many documents of the indices hold a token that begins with prefix. Missing indices count zero.
func (c *Client) Count(ctx context.Context, indices []string, prefix string) (uint64, error) {
	yes := true
	var out struct {
		Count  uint64 `json:"count"`
		Shards shards `json:"_shards"`
	}
	err := c.do(ctx, "elasticsearch count", esapi.CountRequest{
		Index: indices, IgnoreUnavailable: &yes, AllowNoIndices: &yes,
		Body: strings.NewReader(`{"query":{"prefix":{"log":` + quote(prefix) + `}}}`),
	}, &out)
	if err == nil && out.Shards.Failed > 0 {
		err = fmt.Errorf("elasticsearch count: %d shards failed", out.Shards.Failed)
	}
	return out.Count, err
}

// sameCopy makes every question go to the same copy of a shard: copies refresh at different moments, and what one says is compared
// with what it said before.
const sameCopy = "triad"

// Total returns how many documents of an index are searchable, whosoever they are. It costs the store next to nothing.
func (c *Client) Total(ctx context.Context, index string) (uint64, error) {
	yes := true
	var out struct {
		Count  uint64 `json:"count"`
		Shards shards `json:"_shards"`
	}
	err := c.do(ctx, "elasticsearch count", esapi.CountRequest{Index: []string{index}, IgnoreUnavailable: &yes, AllowNoIndices: &yes, Preference: sameCopy}, &out)
	if err == nil && out.Shards.Failed > 0 {
		err = fmt.Errorf("elasticsearch count: %d shards failed", out.Shards.Failed)
	}
	return out.Count, err
}

// Size is what the store keeps of a topic: primary shards only.
type Size struct {
	Documents, Bytes uint64
}

// Sizes asks how much the store keeps of each topic, in all indices that begin with its name: those that a rollover made are of it too. A
// topic without an index is left out.
func (c *Client) Sizes(ctx context.Context, topics []string) (map[string]Size, error) {
	var patterns []string
	for _, t := range topics {
		patterns = append(patterns, t+"*")
	}
	var out struct {
		Indices map[string]struct {
			Primaries struct {
				Docs struct {
					Count uint64 `json:"count"`
				} `json:"docs"`
				Store struct {
					Size uint64 `json:"size_in_bytes"`
				} `json:"store"`
			} `json:"primaries"`
		} `json:"indices"`
	}
	if err := c.do(ctx, "elasticsearch statistics", esapi.IndicesStatsRequest{Index: patterns, Metric: []string{"docs", "store"}}, &out); err != nil {
		return nil, err
	}
	sizes := map[string]Size{}
	for index, x := range out.Indices {
		topic := ""
		for _, t := range topics {
			if strings.HasPrefix(index, t) && len(t) > len(topic) {
				topic = t
			}
		}
		if topic == "" {
			continue // none that was asked for
		}
		s := sizes[topic]
		s.Documents += x.Primaries.Docs.Count
		s.Bytes += x.Primaries.Store.Size
		sizes[topic] = s
	}
	return sizes, nil
}

type shards struct {
	Failed int `json:"failed"`
}

// Found asks for each token whether a searchable document holds it: in one search, because what a search costs is to be one, not to look
// for one token more.
func (c *Client) Found(ctx context.Context, index string, tokens []string) ([]bool, error) {
	yes := true
	// A record may be in the store more than once.
	size := 4*len(tokens) + 10
	list, err := json.Marshal(tokens)
	if err != nil {
		return nil, err
	}
	out, err := c.search(ctx, esapi.SearchRequest{
		Index: []string{index}, IgnoreUnavailable: &yes, AllowNoIndices: &yes, Preference: sameCopy,
		Body: strings.NewReader(fmt.Sprintf(`{"size":%d,"_source":["log"],"track_total_hits":false,"sort":["_doc"],"query":{"terms":{"log":%s}}}`, size, list)),
	})
	if err != nil {
		return nil, err
	}
	if len(out.Hits.Hits) == size {
		return nil, fmt.Errorf("elasticsearch search: %d documents or more for %d records: what was not found may be there", size, len(tokens))
	}
	at := make(map[string]int, len(tokens))
	for i, t := range tokens {
		at[t] = i
	}
	found := make([]bool, len(tokens))
	for _, h := range out.Hits.Hits {
		if h.Source.Log == nil {
			continue
		}
		for word := range strings.FieldsFuncSeq(*h.Source.Log, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
			if i, ok := at[word]; ok {
				found[i] = true
			}
		}
	}
	return found, nil
}

// RefusedError is a search that the store answered with an error.
type RefusedError struct {
	Status int
	Reason string
}

// Error prints status and reason.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("elasticsearch refused the search with %d: %s", e.Status, e.Reason)
}

// Matching counts the documents of an index pattern that match a query string, lie in a time range and have every one of the fields.
// It asks by _msearch, the only way that Grafana lets through.
func (c *Client) Matching(ctx context.Context, index, query, timeField string, from, to time.Time, fields []string) (uint64, error) {
	filter := []any{map[string]any{"range": map[string]any{timeField: map[string]any{"gte": from.UnixMilli(), "lte": to.UnixMilli(), "format": "epoch_millis"}}}}
	// The two forms that need no query string: everything, and everything of some indices.
	if in, ok := strings.CutPrefix(query, "_index:"); ok && !strings.ContainsAny(in, " ()\"") {
		index, query = in, "*"
	}
	if query != "*" {
		filter = append(filter, map[string]any{"query_string": map[string]any{"query": query, "analyze_wildcard": true}})
	}
	for _, f := range fields {
		if !strings.HasPrefix(f, "_") { // fields of the store itself are in every document
			filter = append(filter, map[string]any{"exists": map[string]any{"field": f}})
		}
	}
	head, err := json.Marshal(map[string]any{"index": index, "ignore_unavailable": true, "allow_no_indices": true})
	if err != nil {
		return 0, err
	}
	body, err := json.Marshal(map[string]any{"size": 0, "track_total_hits": true, "query": map[string]any{"bool": map[string]any{"filter": filter}}})
	if err != nil {
		return 0, err
	}
	var out struct {
		Responses []struct {
			Status int `json:"status"`
			Hits   struct {
				Total struct {
					Value uint64 `json:"value"`
				} `json:"total"`
			} `json:"hits"`
			Shards shards `json:"_shards"`
			Error  struct {
				Type   string `json:"type"`
				Reason string `json:"reason"`
			} `json:"error"`
		} `json:"responses"`
	}
	if err := c.do(ctx, "elasticsearch msearch", esapi.MsearchRequest{Body: strings.NewReader(string(head) + "\n" + string(body) + "\n")}, &out); err != nil {
		return 0, err
	}
	if len(out.Responses) != 1 {
		return 0, fmt.Errorf("elasticsearch msearch: %d answers to one search", len(out.Responses))
	}
	r := out.Responses[0]
	if r.Error.Type != "" {
		return 0, &RefusedError{r.Status, r.Error.Type + ": " + r.Error.Reason}
	}
	if r.Shards.Failed > 0 {
		return 0, fmt.Errorf("elasticsearch msearch: %d shards failed", r.Shards.Failed)
	}
	return r.Hits.Total.Value, nil
}

// Hit is one document of the final reading.
type Hit struct {
	Index  string          `json:"_index"`
	ID     string          `json:"_id"`
	Sort   json.RawMessage `json:"sort"`
	Source struct {
		Log *string `json:"log"`
	} `json:"_source"`
}

// documents is the answer to a search for documents.
type documents struct {
	PIT  string `json:"pit_id"`
	Hits struct {
		Hits []Hit `json:"hits"`
	} `json:"hits"`
	Shards   shards `json:"_shards"`
	TimedOut bool   `json:"timed_out"`
}

// search is one search, answered by every shard or an error.
func (c *Client) search(ctx context.Context, req esapi.SearchRequest) (out documents, err error) {
	if err := c.do(ctx, "elasticsearch search", req, &out); err != nil {
		return documents{}, err
	}
	if out.Shards.Failed > 0 || out.TimedOut {
		return documents{}, errors.New("elasticsearch search: shards failed or timed out: the answer is not whole")
	}
	return out, nil
}

// keepAlive is how long a point in time outlives the last page that was read of it.
const keepAlive = "5m"

// Slice is a part of a point in time, K of N, or all of it with N = 1. Slices have every document once between them when the point in time is the
// same one: they are ranges of document numbers, which no other has alike (Elasticsearch Guide, "Search slicing").
type Slice struct {
	PIT string `json:"pit"`
	K   int    `json:"k"`
	N   int    `json:"n"`
}

// Open refreshes the indices and opens a point in time.
func (c *Client) Open(ctx context.Context, indices []string) (pit string, err error) {
	yes := true
	if err := c.do(ctx, "elasticsearch refresh", esapi.IndicesRefreshRequest{Index: indices, IgnoreUnavailable: &yes, AllowNoIndices: &yes}, nil); err != nil {
		return "", err
	}
	var out struct {
		ID string `json:"id"`
	}
	err = c.do(ctx, "elasticsearch point in time", esapi.OpenPointInTimeRequest{Index: indices, KeepAlive: keepAlive, IgnoreUnavailable: &yes}, &out)
	return out.ID, err
}

// Close ends a point in time. One that is gone is no error.
func (c *Client) Close(ctx context.Context, pit string) error {
	err := c.do(ctx, "elasticsearch close point in time", esapi.ClosePointInTimeRequest{Body: strings.NewReader(`{"id":` + quote(pit) + `}`)}, nil)
	if err != nil && strings.Contains(err.Error(), "HTTP 404") {
		return nil
	}
	return err
}

// Read calls fn for every document of a slice that holds a token with the prefix, by search_after to its end, so that nothing is missed and
// nothing comes twice.
func (c *Client) Read(ctx context.Context, s Slice, prefix string, fn func(Hit) error) error {
	const page = 5000
	id, part, after := s.PIT, "", ""
	if s.N > 1 {
		part = fmt.Sprintf(`,"slice":{"id":%d,"max":%d}`, s.K, s.N)
	}
	for {
		body := fmt.Sprintf(`{"size":%d,"_source":["log"],"track_total_hits":false,"query":{"prefix":{"log":%s}},"pit":{"id":%s,"keep_alive":"%s"},"sort":[{"_shard_doc":"asc"}]%s%s}`, page, quote(prefix), quote(id), keepAlive, part, after)
		out, err := c.search(ctx, esapi.SearchRequest{Body: strings.NewReader(body)})
		if err != nil {
			return err
		}
		if out.PIT != "" {
			id = out.PIT
		}
		for _, h := range out.Hits.Hits {
			if err := fn(h); err != nil {
				return err
			}
		}
		if len(out.Hits.Hits) == 0 {
			return nil
		}
		after = `,"search_after":` + string(out.Hits.Hits[len(out.Hits.Hits)-1].Sort)
	}
}

// All is Read of a point in time of its own.
func (c *Client) All(ctx context.Context, indices []string, prefix string, fn func(Hit) error) error {
	pit, err := c.Open(ctx, indices)
	if err != nil {
		return err
	}
	return errors.Join(c.Read(ctx, Slice{pit, 0, 1}, prefix, fn), c.Close(context.WithoutCancel(ctx), pit))
}

func quote(s string) string {
	b, _ := json.Marshal(s) // a string always marshals
	return string(b)
}
