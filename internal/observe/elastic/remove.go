package elastic

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/elastic/go-elasticsearch/v8/esapi"
)

// removeBatch is how many documents one request takes out.
const removeBatch = 1000

// Remove takes documents out of the store, by index and id, and returns how many went. One that is gone already is no error. No observer
// calls it: it is for runs that must leave nothing behind. By id, and not by query, because what goes is then exactly what was read.
func (c *Client) Remove(ctx context.Context, hits []Hit) (removed uint64, err error) {
	for len(hits) > 0 {
		n := min(len(hits), removeBatch)
		var b bytes.Buffer
		for _, h := range hits[:n] {
			b.WriteString(`{"delete":{"_index":` + quote(h.Index) + `,"_id":` + quote(h.ID) + "}}\n")
		}
		hits = hits[n:]
		var out struct {
			Items []map[string]struct {
				Status int    `json:"status"`
				Result string `json:"result"`
				Error  struct {
					Type   string `json:"type"`
					Reason string `json:"reason"`
				} `json:"error"`
			} `json:"items"`
		}
		if err := c.do(ctx, "elasticsearch bulk delete", esapi.BulkRequest{Body: &b}, &out); err != nil {
			return removed, err
		}
		if len(out.Items) != n {
			return removed, fmt.Errorf("elasticsearch bulk delete: %d answers to %d documents", len(out.Items), n)
		}
		var refused error
		for _, item := range out.Items {
			r, ok := item["delete"]
			switch {
			case !ok:
				refused = errors.New("elasticsearch bulk delete: an answer to another action")
			case r.Result == "deleted":
				removed++
			case r.Status != 404:
				refused = fmt.Errorf("elasticsearch bulk delete: %d %s: %s", r.Status, r.Error.Type, r.Error.Reason)
			}
		}
		if refused != nil {
			return removed, refused
		}
	}
	return removed, nil
}
