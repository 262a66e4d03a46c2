package esfake

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"
)

func bulkOf(n int) io.Reader {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"index\":{\"_index\":\"f\",\"_id\":\"%d\"}}\n{\"log\":\"x\"}\n", i)
	}
	return strings.NewReader(b.String())
}

func statuses(t *testing.T, m map[string]any) map[float64]int {
	t.Helper()
	out := map[float64]int{}
	for _, it := range m["items"].([]any) {
		out[at(t, it, "index/status").(float64)]++
	}
	return out
}

func TestThrottle(t *testing.T) {
	s, c := client(t, Options{Seed: 7})
	s.Throttle(Throttle{Request: 1, RetryAfter: 2 * time.Second})
	status, m := call(t, c, esapi.BulkRequest{Body: bulkOf(3)})
	if status != 429 || at(t, m, "error/type") != "es_rejected_execution_exception" {
		t.Errorf("throttled request: %d %v", status, m)
	}
	s.Throttle(Throttle{Item: 0.5})
	m = mustCall(t, c, esapi.BulkRequest{Body: bulkOf(1000)})
	got := statuses(t, m)
	if got[429] < 400 || got[429] > 600 || got[201]+got[429] != 1000 {
		t.Errorf("half of the items throttled: %v", got)
	}
	if h := s.Hits(); h.ThrottledRequests != 1 || h.ThrottledItems != int64(got[429]) {
		t.Errorf("hits %+v, statuses %v", h, got)
	}
	s.Throttle(Throttle{})
	m = mustCall(t, c, esapi.BulkRequest{Body: bulkOf(1000)})
	if m["errors"] != false {
		t.Error("errors after heal")
	}
	m = mustCall(t, c, esapi.NodesStatsRequest{Metric: []string{"thread_pool"}})
	if got := at(t, m, "nodes/esfake-0/thread_pool/write/rejected"); got != 2.0 {
		t.Errorf("rejected bulk requests: %v", got)
	}
	// The same seed and the same requests refuse the same items.
	first, again := New(Options{Seed: 7}), New(Options{Seed: 7})
	for i := range 2 {
		for _, s := range []*Server{first, again} {
			s.Throttle(Throttle{Item: 0.3})
		}
		a, _ := first.faults.plan(500)
		b, _ := again.faults.plan(500)
		if !slices.Equal(a, b) {
			t.Errorf("round %d: different items", i)
		}
	}
}

func TestBlocks(t *testing.T) {
	s, c := client(t, Options{})
	mustCall(t, c, esapi.BulkRequest{Body: bulkOf(2)})
	s.FloodStage(true)
	m := mustCall(t, c, esapi.BulkRequest{Body: bulkOf(3)})
	if got := statuses(t, m); got[429] != 3 {
		t.Errorf("flood stage: %v", got)
	}
	if got := at(t, m, "items/0/index/error/type"); got != "cluster_block_exception" {
		t.Errorf("flood stage error: %v", got)
	}
	if status, _ := call(t, c, esapi.IndexRequest{Index: "f", DocumentID: "9", Body: body(`{}`)}); status != 429 {
		t.Errorf("single write: %d", status)
	}
	s.FloodStage(false)
	for key, want := range map[string]float64{"index.blocks.write": 403, "index.blocks.read_only_allow_delete": 429} {
		mustCall(t, c, esapi.IndicesPutSettingsRequest{Index: []string{"f"}, Body: body(`{"` + key + `":true}`)})
		if got := statuses(t, mustCall(t, c, esapi.BulkRequest{Body: bulkOf(2)})); got[want] != 2 {
			t.Errorf("%s: %v", key, got)
		}
		status, _ := call(t, c, esapi.DeleteRequest{Index: "f", DocumentID: "nope"})
		if status != int(want) { // what read_only_allow_delete allows is to delete the index
			t.Errorf("%s: delete %d", key, status)
		}
		mustCall(t, c, esapi.IndicesPutSettingsRequest{Index: []string{"f"}, Body: body(`{"` + key + `":null}`)})
	}
	if got := statuses(t, mustCall(t, c, esapi.BulkRequest{Body: bulkOf(2)})); got[200] != 2 {
		t.Errorf("after the blocks: %v", got)
	}
	if h := s.Hits(); h.BlockedItems != 3+1+2+2+1+1 {
		t.Errorf("hits %+v", h)
	}
}

func TestMaxBody(t *testing.T) {
	s, c := client(t, Options{})
	s.MaxBody(100)
	if status, _ := call(t, c, esapi.BulkRequest{Body: bulkOf(50)}); status != 413 {
		t.Errorf("long body: %d", status)
	}
	mustCall(t, c, esapi.BulkRequest{Body: bulkOf(1)})
	s.MaxBody(0)
	mustCall(t, c, esapi.BulkRequest{Body: bulkOf(50)})
	if h := s.Hits(); h.TooLarge != 1 {
		t.Errorf("hits %+v", h)
	}
}

// TestDownAndServe runs the server on a real listener: Down resets what is connected and what comes, and heals.
func TestDownAndServe(t *testing.T) {
	s := New(Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	hc := &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}
	defer hc.CloseIdleConnections()
	get := func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ln.Addr().String()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := hc.Do(req)
		if err != nil {
			return err
		}
		return res.Body.Close()
	}
	if err := get(); err != nil {
		t.Fatal(err)
	}
	s.Down(true)
	for range 3 {
		if err := get(); err == nil {
			t.Error("answered while down")
		}
	}
	if h := s.Hits(); h.Refused < 3 {
		t.Errorf("hits %+v", h)
	}
	s.Down(false)
	if err := get(); err != nil {
		t.Errorf("after heal: %v", err)
	}
	cancel()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Serve did not return")
	}
}

// pipeListener hands out the server ends of in-memory connections, which synctest can wait on.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, errors.New("listener closed")
	}
}

func (l *pipeListener) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// TestRefreshInterval checks, in virtual time and through HTTP, that a document is found by searches only after the
// tick that follows it, by GET at once, and that latency and wait_for take the time they should.
func TestRefreshInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		ln := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, ln) }()
		do := func(method, path, reqBody string) (int, string) {
			cl, srv := net.Pipe()
			ln.conns <- srv
			defer cl.Close()
			req, err := http.NewRequestWithContext(ctx, method, "http://es"+path, strings.NewReader(reqBody))
			if err != nil {
				t.Fatal(err)
			}
			req.Close = true
			if err := req.Write(cl); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(cl), req)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			return res.StatusCode, string(b)
		}
		count := func() string {
			_, b := do("GET", "/a/_count", "")
			return b[:strings.IndexByte(b, ',')+1] + b[strings.Index(b, `"count"`):]
		}
		has := func(n int) bool { return strings.Contains(count(), fmt.Sprintf(`"count":%d}`, n)) }
		if st, b := do("PUT", "/a", `{"settings":{"index":{"refresh_interval":"5s"}}}`); st != 200 {
			t.Fatal(b)
		}
		time.Sleep(4 * time.Second)
		do("PUT", "/a/_doc/1", `{"log":"x"}`)
		if !has(0) {
			t.Errorf("at 4 s: %s", count())
		}
		if st, _ := do("GET", "/a/_doc/1", ""); st != 200 {
			t.Errorf("realtime get: %d", st)
		}
		time.Sleep(1001 * time.Millisecond)
		if !has(1) {
			t.Errorf("after the first tick: %s", count())
		}
		do("PUT", "/a/_doc/2", `{"log":"y"}`)
		time.Sleep(4900 * time.Millisecond)
		if !has(1) {
			t.Errorf("before the second tick: %s", count())
		}
		time.Sleep(200 * time.Millisecond)
		if !has(2) {
			t.Errorf("after the second tick: %s", count())
		}
		start := time.Now()
		do("PUT", "/a/_doc/3?refresh=wait_for", `{"log":"z"}`)
		if took := time.Since(start); took < 4*time.Second || took > 5*time.Second {
			t.Errorf("wait_for took %v", took)
		}
		if !has(3) {
			t.Errorf("after wait_for: %s", count())
		}
		s.Latency(3 * time.Second)
		start = time.Now()
		do("GET", "/", "")
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("latency of 3 s: %v", took)
		}
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
