package esfake

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
)

// bulkBody makes a bulk request of n documents of about 300 bytes, as the sink writes them.
func bulkBody(start, n int) []byte {
	var b bytes.Buffer
	pad := bytes.Repeat([]byte("lorem ipsum "), 12)
	for i := start; i < start+n; i++ {
		fmt.Fprintf(&b, `{"index":{"_index":"service-topic","_id":"service-topic+%d+%d"}}`+"\n", i%12, i)
		fmt.Fprintf(&b, `{"log":"{\"level\":\"info\",\"msg\":\"%s\"} tq_1a_%d_%x tt_abc_1234567","host":"n%d","n":%d}`+"\n", pad, i%10, i, i%3, i)
	}
	return b.Bytes()
}

// BenchmarkBulk measures ingest through the HTTP handler. docs/s is per core: one request runs at a time.
func BenchmarkBulk(b *testing.B) {
	b.Run("memory", func(b *testing.B) { benchmarkBulk(b, "") })
	b.Run("file", func(b *testing.B) { benchmarkBulk(b, b.TempDir()) })
}

func benchmarkBulk(b *testing.B, dir string) {
	const batch = 1000
	s := New(Options{Dir: dir})
	h := s.Handler()
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	bodies := make([][]byte, 0, 64)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		if n%(64*batch) == 0 {
			b.StopTimer()
			bodies = bodies[:0]
			for i := range 64 {
				bodies = append(bodies, bulkBody(n+i*batch, batch))
			}
			b.StartTimer()
		}
		req := httptest.NewRequest(http.MethodPost, "/_bulk", bytes.NewReader(bodies[n/batch%64]))
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		if rec.Code != http.StatusOK {
			b.Fatal(rec.Body.String())
		}
		n += batch
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "docs/s")
	b.StopTimer()
	bodies = nil
	runtime.GC()
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "heap-bytes/doc")
	b.ReportMetric(float64(runtime.NumCPU()), "cores")
	if s.indices["service-topic"].live != n {
		b.Fatal("documents lost")
	}
}

// BenchmarkSearch measures the two queries of the observers on a million documents.
func BenchmarkSearch(b *testing.B) {
	const docs = 1_000_000
	if testing.Short() {
		b.Skip("fills a million documents")
	}
	s := New(Options{})
	h := s.Handler()
	post := func(path string, body []byte) []byte {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
		if rec.Code != http.StatusOK {
			b.Fatal(rec.Body.String())
		}
		out, _ := io.ReadAll(rec.Body)
		return out
	}
	for i := 0; i < docs; i += 10_000 {
		post("/_bulk", bulkBody(i, 10_000))
	}
	post("/_refresh", nil)
	b.Run("term", func(b *testing.B) {
		i := 0
		for b.Loop() {
			q := fmt.Sprintf(`{"query":{"term":{"log":"tq_1a_%d_%x"}},"_source":false}`, i%10, i)
			if out := post("/service-topic/_search", []byte(q)); !bytes.Contains(out, []byte(`"value":1`)) {
				b.Fatal(string(out))
			}
			i = (i + 7919) % docs
		}
	})
	b.Run("prefix-count", func(b *testing.B) {
		for b.Loop() {
			if out := post("/service-topic/_count", []byte(`{"query":{"prefix":{"log":"tq_1a_"}}}`)); !bytes.Contains(out, []byte(`"count":1000000`)) {
				b.Fatal(string(out))
			}
		}
	})
	b.Run("prefix-page", func(b *testing.B) {
		at := 0
		for b.Loop() {
			q := fmt.Sprintf(`{"query":{"prefix":{"log":"tq_1a_"}},"size":10000,"_source":["log"],"track_total_hits":false,"sort":["_doc"],"search_after":[%d]}`, at)
			post("/service-topic/_search", []byte(q))
			at = (at + 10_000) % (docs - 20_000)
		}
	})
}
