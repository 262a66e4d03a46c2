package source_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"triad/internal/record"
	"triad/internal/source"
)

// A Writer writes what Append does, whatever was written before: numbers that get longer, times that go back, streams and sizes that
// take turns, lines of which nothing is kept.
func TestWriterAgainstAppend(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	w := source.NewWriter(42)
	type key struct {
		kind source.Kind
		id   uint32
		size int
	}
	streams := map[key]*source.Stream{}
	kinds := source.Kinds()
	for i := range 60_000 {
		k := key{kinds[r.IntN(len(kinds))], uint32(r.IntN(60)), []int{0, 200, 256, 300, 430, 500, 1024, 3000}[r.IntN(8)]}
		s := streams[k]
		if s == nil {
			s = w.Stream(k.kind, 4711, k.id, k.size)
			streams[k] = s
		}
		tag := record.Tag{Run: 4711, Stream: k.id, Seq: uint64(i), Scheduled: midnight*1e9 + int64(i)*int64(r.IntN(3_000_000))}
		switch i % 50 {
		case 0:
			tag.Seq, tag.Scheduled = r.Uint64()>>r.IntN(64), int64(r.Uint64()>>r.IntN(64))
		case 1:
			tag.Seq = 36*36*36 - 1 + uint64(i/50%3)
		}
		want := source.Append(nil, k.kind, 42, tag, k.size)
		got := s.AppendLine([]byte("kept"), tag.Seq, tag.Scheduled)[4:]
		if !bytes.Equal(got, want) {
			t.Fatalf("%v %+v: AppendLine gives\n%s\nwant\n%s", k, tag, got, want)
		}
		doc := s.AppendJSON([]byte(`"`), tag.Seq, tag.Scheduled)
		var back string
		if err := json.Unmarshal(append(doc, '"'), &back); err != nil || back != string(want) {
			t.Fatalf("%v %+v: AppendJSON gives %v\n%s\nwant\n%s", k, tag, err, doc, want)
		}
	}
}

func TestClock(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var c source.Clock
	ns := int64(midnight * 1e9)
	for range 100_000 {
		switch r.IntN(4) {
		case 0:
			ns += r.Int64N(1000)
		case 1:
			ns += r.Int64N(3_000_000)
		case 2:
			ns -= r.Int64N(3_000_000_000)
		default:
			ns += r.Int64N(1 << 40)
		}
		if got, want := string(c.Append(nil, ns)), time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Fatalf("%d is %s, want %s", ns, got, want)
		}
	}
}

func TestWriterDoesNotAllocate(t *testing.T) {
	w := source.NewWriter(1)
	buf := make([]byte, 0, 4096)
	for _, kind := range source.Kinds() {
		s := w.Stream(kind, 1, 1, 512)
		seq := uint64(0)
		next := func() {
			seq++
			buf = s.AppendLine(buf[:0], seq%40_000, tagAt(1, seq).Scheduled)
			buf = s.AppendJSON(buf[:0], seq%40_000, tagAt(1, seq).Scheduled)
		}
		for range 40_000 { // every body and every number of digits
			next()
		}
		seq = 36 * 36 * 36
		next()
		seq = 36*36*36 + 1
		if n := testing.AllocsPerRun(500, next); n > 0.1 {
			t.Errorf("%s: %v allocations per line, want 0", kind, n)
		}
	}
}

func BenchmarkWriter(b *testing.B) {
	for _, kind := range source.Kinds() {
		b.Run(string(kind), func(b *testing.B) {
			w := source.NewWriter(1)
			var streams [16]*source.Stream
			for i := range streams {
				streams[i] = w.Stream(kind, 4711, uint32(i), 256)
			}
			buf := make([]byte, 0, 1024)
			seq, at := uint64(0), int64(midnight*1e9)
			b.ReportAllocs()
			for b.Loop() {
				seq++
				at += 500 // two million a second
				buf = streams[seq%16].AppendJSON(buf[:0], 100_000+seq/16, at)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
