package stats

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHistQuantileAgainstSort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vals := rapid.SliceOfN(rapid.Int64Range(0, int64(24*time.Hour)), 1, 200).Draw(t, "vals")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		var h, a, b Hist
		for i, v := range vals {
			h.Record(time.Duration(v))
			if i%2 == 0 {
				a.Record(time.Duration(v))
			} else {
				b.Record(time.Duration(v))
			}
		}
		slices.Sort(vals)
		rank := min(max(int(math.Ceil(q*float64(len(vals)))), 1), len(vals))
		want := vals[rank-1]
		got, ok := h.Quantile(q)
		if !ok || float64(got) < float64(want)-1 || float64(got) > float64(want)*1.001+float64(Unit) {
			t.Fatalf("quantile %v: got %v want %v", q, got, time.Duration(want))
		}
		a.Merge(&b)
		if m, _ := a.Quantile(q); m != got {
			t.Fatalf("merged %v, whole %v", m, got)
		}
		enc, _ := a.AppendBinary(nil)
		back, rest, err := ReadHist(enc)
		if err != nil || len(rest) != 0 || back.Count() != h.Count() || back.Max() != h.Max() {
			t.Fatalf("decode: %v rest %d", err, len(rest))
		}
		compact := a.AppendCompact(nil)
		again, rest, err := ReadCompact(append(compact, 7))
		if err != nil || len(rest) != 1 || again.Min() != h.Min() || again.Mean() != back.Mean() || len(compact) > len(enc) {
			t.Fatalf("decode compact: %v rest %d, %d bytes after %d", err, len(rest), len(compact), len(enc))
		}
		second, _ := again.AppendBinary(nil)
		if !slices.Equal(second, enc) {
			t.Fatalf("the compact form tells another histogram: %x, %x", second, enc)
		}
		for n := range compact {
			if _, _, err := ReadCompact(compact[:n]); err == nil {
				t.Fatalf("cut at %d of %d: no error", n, len(compact))
			}
		}
	})
}

func TestSetAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spans := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Span {
			lo := rapid.Uint64Range(0, 60).Draw(t, "lo")
			return Span{lo, lo + rapid.Uint64Range(0, 9).Draw(t, "n")}
		}), 0, 30).Draw(t, "spans")
		var s, o Set
		in, other := map[uint64]bool{}, map[uint64]bool{}
		for i, sp := range spans {
			set, m := &s, in
			if i%3 == 0 {
				set, m = &o, other
			}
			var fresh uint64
			for v := sp.Lo; v < sp.Hi; v++ {
				if !m[v] {
					fresh++
				}
				m[v] = true
			}
			if got := set.AddSpan(sp); got != fresh {
				t.Fatalf("AddSpan(%v) = %d, want %d", sp, got, fresh)
			}
		}
		minus, both := s.Minus(&o), s.Intersect(&o)
		for v := range uint64(80) {
			if s.Has(v) != in[v] || minus.Has(v) != (in[v] && !other[v]) || both.Has(v) != (in[v] && other[v]) {
				t.Fatalf("member %d: set %v minus %v both %v", v, s.Has(v), minus.Has(v), both.Has(v))
			}
		}
		if s.Len() != uint64(len(in)) {
			t.Fatalf("len %d want %d", s.Len(), len(in))
		}
		for i := 1; i < len(s.spans); i++ {
			if s.spans[i-1].Hi >= s.spans[i].Lo {
				t.Fatalf("spans touch: %v", s.spans)
			}
		}
	})
}

func FuzzReadHist(f *testing.F) {
	var h Hist
	h.Record(time.Millisecond)
	b, _ := h.AppendBinary(nil)
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) {
		if h, _, err := ReadHist(b); err == nil {
			h.Quantile(0.5)
		}
	})
}

func FuzzReadCompact(f *testing.F) {
	var h Hist
	h.Record(time.Millisecond)
	h.Record(time.Hour)
	f.Add(h.AppendCompact(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, rest, err := ReadCompact(b)
		if err != nil {
			return
		}
		h.Quantile(0.5)
		if h.Count() > 0 && h.Min() > h.Max() || len(rest) > len(b) {
			t.Errorf("min %v max %v, %d of %d bytes left", h.Min(), h.Max(), len(rest), len(b))
		}
	})
}

func BenchmarkHistRecord(b *testing.B) {
	var h Hist
	for i := 0; b.Loop(); i++ {
		h.Record(time.Duration(i%100000) * time.Microsecond)
	}
}
