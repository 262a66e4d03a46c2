package esfake

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// With a folder, documents and what finds them lie in a file that has no name any more: what is in the process does not grow with them,
// and every answer is the one that a store in memory gives.
func TestDocumentsInAFile(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("documents are in a file on Linux alone")
	}
	const docs, batch = 60_000, 2000
	dir := t.TempDir()
	held := map[string]uint64{}
	answers := map[string]string{}
	for _, where := range []string{"", dir} {
		s := New(Options{Dir: where, Seed: 1})
		if s.InMemory() != (where == "") {
			t.Fatalf("in %q: in memory is %v", where, s.InMemory())
		}
		srv := httptest.NewServer(s.Handler())
		before := heap()
		for from := 0; from < docs; from += batch {
			var body bytes.Buffer
			for i := from; i < from+batch; i++ {
				fmt.Fprintf(&body, `{"index":{"_id":"topic+%d+%d"}}`+"\n"+`{"@timestamp":%d,"log":"record %d of stream %d %s"}`+"\n", i%12, i, i, i, i%7, strings.Repeat("x", 200))
			}
			ask(t, srv.URL+"/topic/_bulk", "application/x-ndjson", body.String())
		}
		held[where] = heap() - min(before, heap())
		ask(t, srv.URL+"/topic/_refresh", "application/json", "")
		answers[where] = cutTook(ask(t, srv.URL+"/topic/_search", "application/json", `{"size":3,"query":{"range":{"@timestamp":{"gte":31000,"lt":31010}}},"sort":["@timestamp"]}`)) +
			cutTook(ask(t, srv.URL+"/topic/_count", "application/json", `{"query":{"match_all":{}}}`)) + ask(t, srv.URL+"/topic/_mget", "application/json", `{"ids":["topic+1+1","topic+11+59999","topic+0+1"]}`)
		srv.Close()
		runtime.KeepAlive(s)
	}
	if a, b := answers[""], answers[dir]; a != b || !strings.Contains(a, "record 31000 ") {
		t.Errorf("two answers:\n%s\n%s", a, b)
	}
	if m, f := held[""], held[dir]; f > m/10 || m < docs*200 {
		t.Errorf("the process holds %d bytes of documents in memory, and %d of documents in a file", m, f)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

// A folder in which no file can be made leaves documents in memory, and says so.
func TestDocumentsWithoutAFolder(t *testing.T) {
	s := New(Options{Dir: t.TempDir() + "/none"})
	if !s.InMemory() {
		t.Error("not in memory, and there is no folder")
	}
}

// Pages that nobody owns any more are unmapped: a process that makes many stores keeps none.
func TestPagesAreGivenBack(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("documents are in a file on Linux alone")
	}
	dir := t.TempDir()
	func() {
		p, err := newPages(dir)
		if err != nil {
			t.Fatal(err)
		}
		p.get(8 << 20)[0] = 1
		runtime.KeepAlive(p)
	}()
	for range 200 {
		runtime.GC()
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(maps), dir) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("still mapped")
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func ask(t *testing.T, url, kind, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v %.300s", url, resp.Status, err, b)
	}
	return string(b)
}

// cutTook removes what differs between two answers to one question.
func cutTook(s string) string {
	_, rest, _ := strings.Cut(s, ",")
	return rest
}
