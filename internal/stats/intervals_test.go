package stats

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Scattered insertion goes through pages: the set must still be the map, whatever is read in between.
func TestScatteredSetAgainstMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		size := uint64(rapid.IntRange(500, 20_000).Draw(rt, "size"))
		stride := uint64(rapid.IntRange(1, 40).Draw(rt, "stride"))
		var s Set
		in := map[uint64]bool{}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			switch r.IntN(6) {
			case 0: // a comb, which opens many gaps
				for v := r.Uint64N(size); v < size; v += stride {
					if s.Add(v) == in[v] {
						t.Fatalf("Add(%d) again %v", v, in[v])
					}
					in[v] = true
				}
			case 1, 2: // scattered
				for range 50 {
					v := r.Uint64N(size)
					if s.Add(v) == in[v] {
						t.Fatalf("Add(%d) again %v", v, in[v])
					}
					in[v] = true
				}
			case 3, 4: // spans, short and long
				lo := r.Uint64N(size)
				sp := Span{lo, min(lo+1+r.Uint64N(700), size)}
				var fresh uint64
				for v := sp.Lo; v < sp.Hi; v++ {
					if !in[v] {
						fresh++
					}
					in[v] = true
				}
				if got := s.AddSpan(sp); got != fresh {
					t.Fatalf("AddSpan(%v) = %d, want %d", sp, got, fresh)
				}
			case 5: // reading folds
				if len(s.Spans()) > 0 && len(s.pages) > 0 {
					t.Fatal("pages are left")
				}
			}
			if s.Len() != uint64(len(in)) {
				t.Fatalf("len %d, want %d", s.Len(), len(in))
			}
			for range 30 {
				if v := r.Uint64N(size + 10); s.Has(v) != in[v] {
					t.Fatalf("Has(%d) = %v", v, s.Has(v))
				}
			}
		}
		var want []Span
		for v := range size {
			if !in[v] {
				continue
			}
			if k := len(want); k > 0 && want[k-1].Hi == v {
				want[k-1].Hi++
			} else {
				want = append(want, Span{v, v + 1})
			}
		}
		if !slices.Equal(s.Spans(), want) {
			t.Fatalf("%d spans, want %d", len(s.Spans()), len(want))
		}
	})
}

// More pages than a set keeps open: the oldest fold, and nothing is lost.
func TestPagesAreBounded(t *testing.T) {
	var s Set
	const n = 200 * pageLen
	for v := uint64(0); v < n; v += 2 {
		s.Add(v)
	}
	r := rand.New(rand.NewPCG(3, 4))
	in := map[uint64]bool{}
	for range 5000 {
		v := r.Uint64N(n/2)*2 + 1
		if s.Add(v) == in[v] {
			t.Fatalf("Add(%d) again %v", v, in[v])
		}
		in[v] = true
		if len(s.pages) > maxPages {
			t.Fatalf("%d pages", len(s.pages))
		}
	}
	if s.Len() != n/2+uint64(len(in)) || !s.Has(0) || s.Has(n+1) {
		t.Fatalf("len %d", s.Len())
	}
	if m, ok := s.Max(); !ok || m < n-2 {
		t.Fatalf("max %d", m)
	}
}

// Twelve readers of one stream, 60,000 numbers apart: what a stream of 2,000 records a second without a key looks like
// with 30 s of skew between partitions.
func BenchmarkSetScattered(b *testing.B) {
	const readers, apart = 12, 5000
	var s Set
	for i := 0; b.Loop(); i++ {
		p := uint64(i % readers)
		v := uint64(i/readers)*readers + p + (readers-1-p)*apart*readers
		s.Add(v)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
