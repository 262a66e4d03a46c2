package stats

import (
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

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
			case 5: // reading tidies up
				if len(s.Spans()) > 0 && len(s.hot) > 0 {
					t.Fatal("hot pages are left")
				}
			}
			invariants(t, &s)
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
		if max, ok := s.Max(); ok != (len(want) > 0) || ok && max != want[len(want)-1].Hi-1 {
			t.Fatalf("max %d %v", max, ok)
		}
		// The algebra of two such sets, dense and sparse.
		var o Set
		at := map[uint64]bool{}
		for v := r.Uint64N(5); v < size; v += 1 + r.Uint64N(stride) {
			n := 1 + r.Uint64N(3)
			o.AddSpan(Span{v, v + n})
			for k := range n {
				at[v+k] = true
			}
		}
		minus, both, sum := s.Minus(&o), s.Intersect(&o), Set{}
		sum.Union(&s)
		sum.Union(&o)
		for _, x := range []*Set{minus, both, &sum, &o} {
			invariants(t, x)
		}
		for v := range size + 3 {
			if minus.Has(v) != (in[v] && !at[v]) || both.Has(v) != (in[v] && at[v]) || sum.Has(v) != (in[v] || at[v]) {
				t.Fatalf("%d: in s %v, in o %v; minus %v, both %v, sum %v", v, in[v], at[v], minus.Has(v), both.Has(v), sum.Has(v))
			}
		}
		if minus.Len()+both.Len() != s.Len() || both.Len()+sum.Len() != s.Len()+o.Len() {
			t.Fatalf("lengths %d %d %d of %d and %d", minus.Len(), both.Len(), sum.Len(), s.Len(), o.Len())
		}
	})
}

// invariants are what the parts of a set promise each other.
func invariants(t *testing.T, s *Set) {
	t.Helper()
	var n uint64
	for i, a := range s.spans {
		if a.Hi <= a.Lo || i > 0 && s.spans[i-1].Hi >= a.Lo {
			t.Fatalf("span %d of %v", i, s.spans)
		}
		n += a.Len()
		if k := s.pageAt(a.Lo >> pageShift); k < len(s.pages) && s.pages[k].span().Lo < a.Hi {
			t.Fatalf("span %v reaches into page %d", a, s.pages[k].index)
		}
	}
	hot := 0
	for i, p := range s.pages {
		if i > 0 && s.pages[i-1].index >= p.index || p.count == 0 || p.count == pageLen || p.hot != slices.Contains(s.hot, p) {
			t.Fatalf("page %d: index %d, %d members, hot %v", i, p.index, p.count, p.hot)
		}
		if p.hot {
			hot++
		}
		n += uint64(p.count)
	}
	if n != s.n || hot != len(s.hot) || hot > maxHot {
		t.Fatalf("%d members of %d, %d hot pages of %d", n, s.n, hot, len(s.hot))
	}
}

// The bound on which it rests that nothing is spilled to disk: whatever the gaps and in whatever order the numbers come,
// a set takes at most two bits for each number of its range, and 100 KB.
func TestMemoryIsBounded(t *testing.T) {
	const n = 1 << 20
	r := rand.New(rand.NewPCG(8, 9))
	forward := func(keep func(v uint64) bool) func(*Set) {
		return func(s *Set) {
			for v := range uint64(n) {
				if keep(v) {
					s.Add(v)
				}
			}
		}
	}
	for name, build := range map[string]func(*Set){
		"every second":    forward(func(v uint64) bool { return v%2 == 0 }),
		"every third":     forward(func(v uint64) bool { return v%3 == 0 }),
		"half at random":  forward(func(uint64) bool { return r.IntN(2) == 0 }),
		"1 % lost":        forward(func(uint64) bool { return r.IntN(100) > 0 }),
		"1 % there":       forward(func(uint64) bool { return r.IntN(100) == 0 }),
		"a page in eight": forward(func(v uint64) bool { return v%2 == 0 && v>>15%8 == 0 }),
		"32 a page":       forward(func(v uint64) bool { return v%128 == 0 }),
		"in the middle": func(s *Set) { // two, four, eight, ... in each page, each between the others
			for step := uint64(pageLen / 2); step >= 32; step /= 2 {
				for v := step; v < n; v += 2 * step {
					s.Add(v)
				}
			}
		},
		"backwards": func(s *Set) {
			for v := uint64(n); v > 0; v -= 2 {
				s.Add(v)
			}
		},
		"scattered": func(s *Set) {
			for range n {
				s.Add(r.Uint64N(n))
			}
		},
		"spans": func(s *Set) {
			for range n / 64 {
				lo := r.Uint64N(n)
				s.AddSpan(Span{lo, lo + 1 + r.Uint64N(700)})
			}
		},
		"twelve readers": func(s *Set) {
			for i := range uint64(n / 24) {
				for p := range uint64(12) {
					if v := i*24 + p*2 + (11-p)*10_000; v < n {
						s.Add(v)
					}
				}
			}
		},
	} {
		var s Set
		build(&s)
		for _, x := range []*Set{&s, s.Minus(&Set{}), s.Intersect(&s)} {
			bytes := cap(x.spans)*16 + len(x.pages)*(int(unsafe.Sizeof(page{}))+8)
			if limit := n/8*2 + 100<<10; bytes > limit {
				t.Errorf("%s: %d bytes for %d gaps, want at most %d", name, bytes, x.Gaps(), limit)
			}
			if x.Len() != s.Len() {
				t.Errorf("%s: %d of %d", name, x.Len(), s.Len())
			}
		}
	}
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
		if len(s.hot) > maxHot {
			t.Fatalf("%d hot pages", len(s.hot))
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
