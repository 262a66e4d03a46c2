//go:build !embedded_only

package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"triad/internal/fault"
	"triad/internal/observe/connect"
)

// What is done to Elasticsearch and Connect through their own interfaces.
var (
	_ fault.StoreThrottler = (*env)(nil)
	_ fault.StoreBlocker   = (*env)(nil)
	_ fault.DiskFiller     = (*env)(nil)
	_ fault.TaskFailer     = (*env)(nil)
	_ fault.ConnectPauser  = (*env)(nil)
)

const (
	// taskFailTime is how long tasks have to fail while their writes are refused: a batch goes out every linger.ms, so it is a matter
	// of the next records.
	taskFailTime = 40 * time.Second
	taskPoll     = 200 * time.Millisecond
	// throttleLimit is what Elasticsearch may hold of request bodies while it is throttled. Estimates count twice (the breaker's
	// overhead), so bodies above 512 bytes are refused: every bulk request, and no count or search for one record.
	throttleLimit = "1kb"
)

// ask makes one request to Elasticsearch.
func (e *env) ask(ctx context.Context, method, path, body string) (status int, answer []byte, err error) {
	a := e.Search()
	req, err := http.NewRequestWithContext(ctx, method, a.URL+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if a.Username != "" {
		req.SetBasicAuth(a.Username, a.Password)
	}
	res, err := a.Transport.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, answer, err
}

// ThrottleStore makes Elasticsearch answer bulk requests with 429, by its own circuit breaker for requests in flight. Nothing is
// flooded, so the processors that all clusters share are left alone. The settings are transient: a restart of the server ends them too.
func (e *env) ThrottleStore(ctx context.Context, ratio float64, d time.Duration) (fault.Active, error) {
	if ratio > 0 && ratio < 1 {
		return nil, &fault.UnavailableError{Kind: "es-throttle", Why: "the server refuses whole requests, so a share of them cannot be chosen: leave ratio out"}
	}
	before, err := e.tripped(ctx)
	if err != nil {
		return nil, err
	}
	// Streamed bulk requests are not counted by the breaker: they are read whole while the fault is on.
	f, err := e.storeSettings(ctx, "elasticsearch, bulk requests", d, setting{
		"/_cluster/settings",
		`{"transient":{"network.breaker.inflight_requests.limit":"` + throttleLimit + `","rest.incremental_bulk":false}}`,
		`{"transient":{"network.breaker.inflight_requests.limit":null,"rest.incremental_bulk":null}}`,
	})
	if err != nil {
		return nil, err
	}
	f.hits = func(ctx context.Context) (uint64, string, error) {
		now, err := e.tripped(ctx)
		n := uint64(max(now-before, 0))
		return n, fmt.Sprintf("%d requests answered 429 by the server's own count", n), err
	}
	f.gone = func(ctx context.Context) (bool, error) {
		status, _, err := e.ask(ctx, http.MethodPost, "/_bulk", bulkOfNothing)
		return err == nil && status == http.StatusOK, err
	}
	return f, nil
}

// bulkOfNothing is a bulk request of the size of real ones that changes nothing: it deletes documents that are not there.
var bulkOfNothing = strings.Repeat(`{"delete":{"_index":"triad-no-such-index","_id":"probe"}}`+"\n", 20)

// tripped is how often the breaker for requests in flight has refused one since the server started.
func (e *env) tripped(ctx context.Context) (int64, error) {
	status, answer, err := e.ask(ctx, http.MethodGet, "/_nodes/stats/breaker", "")
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK {
		return 0, fmt.Errorf("elasticsearch breakers: HTTP %d", status)
	}
	var out struct {
		Nodes map[string]struct {
			Breakers map[string]struct {
				Tripped int64 `json:"tripped"`
			} `json:"breakers"`
		} `json:"nodes"`
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return 0, fmt.Errorf("elasticsearch breakers: %w", err)
	}
	n := int64(0)
	for _, node := range out.Nodes {
		n += node.Breakers["inflight_requests"].Tripped
	}
	return n, nil
}

// What a server takes for a full disk. Everything is above one percent.
const (
	watermark      = `"cluster.routing.allocation.disk.watermark.`
	watermarksLow  = watermark + `low":"1%",` + watermark + `high":"1%",` + watermark + `flood_stage":"1%"`
	watermarksBack = watermark + `low":null,` + watermark + `high":null,` + watermark + `flood_stage":null`
)

// BlockStore sets the block that Elasticsearch sets itself when a disk is full. With a disk that is not, the server takes the block away at its next
// look, within half a minute: the flood stage is set below what the disk holds, before the block comes and until it goes.
func (e *env) BlockStore(ctx context.Context, d time.Duration) (fault.Active, error) {
	f, err := e.storeSettings(ctx, "elasticsearch, every index", d,
		setting{"/_cluster/settings", `{"transient":{` + watermarksLow + `}}`, `{"transient":{` + watermarksBack + `}}`},
		setting{"/*-topic/_settings", `{"index.blocks.read_only_allow_delete":true}`, `{"index.blocks.read_only_allow_delete":null}`})
	if err != nil {
		return nil, err
	}
	e.refusing(f)
	return f, nil
}

// refusing proves a write block by a document that is refused, and its end by one that is taken. What was taken is removed again: it is asked when
// the fault is not on yet too, and once more when it is gone.
func (e *env) refusing(f *apiFault) {
	const doc = "/service-topic/_doc/triad-block-probe"
	probe := func(ctx context.Context) (status int, err error) {
		if status, _, err = e.ask(ctx, http.MethodPut, doc, `{"log":"probe of a write block"}`); err == nil && status < 300 {
			_, _, err = e.ask(ctx, http.MethodDelete, doc, "")
		}
		return status, err
	}
	refused := uint64(0)
	f.hits = func(ctx context.Context) (uint64, string, error) {
		status, err := probe(ctx)
		if err == nil && (status == http.StatusForbidden || status == http.StatusTooManyRequests) {
			refused++
		}
		return refused, fmt.Sprintf("a probe was answered %d", status), err
	}
	f.gone = func(ctx context.Context) (bool, error) {
		status, err := probe(ctx)
		return err == nil && status < 300, err
	}
}

// FillDisk makes Elasticsearch believe that its disk is full: the flood stage is set below what the disk holds, and the server blocks
// every index by itself at its next look, and lets go of them when the stage is back.
func (e *env) FillDisk(ctx context.Context, d time.Duration) (fault.Active, error) {
	// The server looks every ten seconds at the least that it allows; the interval goes back last, with the rest.
	f, err := e.storeSettings(ctx, "elasticsearch, its disk", d, setting{
		"/_cluster/settings", `{"transient":{` + watermarksLow + `,"cluster.info.update.interval":"10s"}}`, `{"transient":{` + watermarksBack + `,"cluster.info.update.interval":null}}`,
	})
	if err != nil {
		return nil, err
	}
	e.refusing(f)
	return f, nil
}

// FailTask makes tasks of the sink fail as they fail in earnest: one index refuses writes until the worker says FAILED, and takes them
// again at once. What brings the tasks back is the operator's business, not the fault's.
func (e *env) FailTask(ctx context.Context) (fault.Active, error) {
	f, err := e.storeSettings(ctx, "tasks of the sink", taskFailTime, setting{"/service-topic/_settings", `{"index.blocks.write":true}`, `{"index.blocks.write":null}`})
	if err != nil {
		return nil, err
	}
	failed := uint64(0)
	f.hits = func(ctx context.Context) (uint64, string, error) {
		st, err := e.sinkStatus(ctx)
		failed = max(failed, st.failed)
		return failed, fmt.Sprintf("%d tasks FAILED", failed), err
	}
	err = f.change(ctx, func(ctx context.Context) error {
		wait, cancel := context.WithTimeoutCause(ctx, taskFailTime, fmt.Errorf("no task failed within %s although the store refused its writes", taskFailTime))
		defer cancel()
		for {
			n, _, err := f.Hits(wait)
			if n > 0 {
				return f.disarm(ctx, f.node, f.id)
			}
			select {
			case <-wait.Done():
				return errors.Join(context.Cause(wait), err)
			case <-time.After(taskPoll):
			}
		}
	})
	if err != nil {
		return nil, err
	}
	f.gone = func(ctx context.Context) (bool, error) {
		st, err := e.sinkStatus(ctx)
		return err == nil && st.failed == 0 && st.running > 0, err
	}
	return f, nil
}

// sinkStatus is what the Connect worker says of its connectors.
type sinkStatus struct{ running, failed, paused uint64 }

func (e *env) sinkStatus(ctx context.Context) (sinkStatus, error) {
	var st sinkStatus
	ask, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c := e.clients[Monitoring].HTTP(5 * time.Second)
	defer c.CloseIdleConnections()
	all, err := connect.Ask(ask, connect.Worker{URL: "http://sink-connect-api." + Monitoring + ":8083", Client: c})
	if err != nil {
		return st, err
	}
	for _, c := range all {
		for _, t := range c.Tasks {
			switch t.State {
			case "RUNNING":
				st.running++
			case "FAILED":
				st.failed++
			case "PAUSED":
				st.paused++
			}
		}
	}
	return st, nil
}

// PauseConnect pauses the connector as an administrator does, by the state in its resource: set through the worker, the operator would
// set it back.
func (e *env) PauseConnect(ctx context.Context, d time.Duration) (fault.Active, error) {
	const patch = `kubectl --kubeconfig /etc/kubernetes/admin.conf -n ` + Monitoring + ` patch kafkaconnector logs-to-elasticsearch --type merge -p '{"spec":{"state":"%s"}}' >/dev/null`
	f, err := e.armAPI(ctx, Monitoring, "the sink's connector", fmt.Sprintf(patch, "paused"), fmt.Sprintf(patch, "running")+" || exit 1", d)
	if err != nil {
		return nil, err
	}
	f.hits = func(ctx context.Context) (uint64, string, error) {
		st, err := e.sinkStatus(ctx)
		return st.paused, fmt.Sprintf("%d tasks PAUSED", st.paused), err
	}
	f.gone = func(ctx context.Context) (bool, error) {
		st, err := e.sinkStatus(ctx)
		return err == nil && st.paused == 0 && st.running > 0, err
	}
	return f, nil
}
