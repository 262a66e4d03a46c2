package evidence

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triad/internal/scenario"
	"triad/internal/stats"
)

func scene(t *testing.T) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Parse("t.yaml", []byte("apiVersion: triad/v1\nname: t\ntitle: t\nphases: {before: 10s}\nload: [{source: service, rate: 10/s}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, seal bool) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a run")
	w, err := Create(dir, Header{ID: "x", Scenario: "t", HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, scene(t))
	if err != nil {
		t.Fatal(err)
	}
	l, err := w.Ledger(PointSent + "0")
	if err != nil {
		t.Fatal(err)
	}
	k, err := w.Hists.Key(HistKey{Metric: "kafka_latency", Source: "service"})
	if err != nil {
		t.Fatal(err)
	}
	for tick := range 3 {
		if err := l.Intent(time.Duration(tick+1) * time.Second); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			l.Mark(Acked, 0, uint64(tick*10+i))
			l.Mark(Acked, 7, uint64(tick*10+i))
			w.Hists.Record(k, time.Duration(tick)*time.Second, time.Duration(i)*time.Millisecond)
		}
		l.Mark(Unknown, 7, uint64(100+tick))
		if err := l.Flush(time.Duration(tick+1) * time.Second); err != nil {
			t.Fatal(err)
		}
		if err := w.Series.Add(time.Duration(tick)*time.Second, Sample{"a_total", Labels{"b": "c"}, float64(tick) / 2}, Sample{PulseSeries, Labels{"point": "ledger"}, 10}); err != nil {
			t.Fatal(err)
		}
		if err := w.Events.Add(Event{Kind: EventNote, Name: "n", At: time.Duration(tick)}); err != nil {
			t.Fatal(err)
		}
	}
	if seal {
		if err := w.Close(""); err != nil {
			t.Fatal(err)
		}
	} else if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRoundTrip(t *testing.T) {
	dir := write(t, true)
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	sets := map[uint32]map[Class]*stats.Set{}
	intent := r.Ledger("sent-0", func(e Entry) error {
		if sets[e.Stream] == nil {
			sets[e.Stream] = map[Class]*stats.Set{}
		}
		if sets[e.Stream][e.Class] == nil {
			sets[e.Stream][e.Class] = &stats.Set{}
		}
		sets[e.Stream][e.Class].AddSpan(e.Span)
		return nil
	})
	if intent != 3*time.Second {
		t.Errorf("intent %v", intent)
	}
	for _, s := range []uint32{0, 7} {
		if d := cmp.Diff([]stats.Span{{Lo: 0, Hi: 30}}, sets[s][Acked].Spans()); d != "" {
			t.Errorf("stream %d: %s", s, d)
		}
	}
	if d := cmp.Diff([]stats.Span{{Lo: 100, Hi: 103}}, sets[7][Unknown].Spans()); d != "" {
		t.Error(d)
	}
	var n uint64
	r.Hists(func(_ HistKey, _ time.Duration, h *stats.Hist) error { n += h.Count(); return nil })
	var values, pulses int
	r.Series(func(_ time.Duration, s Sample) error {
		if s.Name == PulseSeries {
			pulses++
		} else {
			values++
		}
		return nil
	})
	if n != 30 || values != 3 || pulses != 3 || len(r.Events) != 3 || len(r.Damage) != 0 || r.CutShort() {
		t.Errorf("hist %d values %d pulses %d events %d damage %v", n, values, pulses, len(r.Events), r.Damage)
	}
}

// Every flipped byte and every truncation of every judged file must be found.
func TestDamageIsFound(t *testing.T) {
	dir := write(t, true)
	for _, name := range sealedFiles(dir) {
		if name == ScenarioFile || name == HeaderFile {
			continue // text that need not parse any more; covered by the seal below
		}
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, SealFile)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		read := func() []Damage {
			r, err := Open(dir)
			if err != nil {
				return []Damage{{Msg: err.Error()}}
			}
			r.Ledger("sent-0", func(Entry) error { return nil })
			r.Hists(func(HistKey, time.Duration, *stats.Hist) error { return nil })
			r.Series(func(time.Duration, Sample) error { return nil })
			return r.Damage
		}
		for i := range whole {
			bad := append([]byte(nil), whole...)
			bad[i] ^= 0x10
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			if len(read()) == 0 {
				t.Errorf("%s: flipped byte %d was not found", name, i)
			}
		}
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
		if d := read(); len(d) != 0 {
			t.Fatalf("%s: restored, yet %v", name, d)
		}
	}
}

func TestTornTailIsCut(t *testing.T) {
	dir := write(t, false)
	path := filepath.Join(dir, ledgerDir, "sent-0.led")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)-3], 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	r.Ledger("sent-0", func(Entry) error { n++; return nil })
	if n == 0 || len(r.Damage) != 1 || !r.Damage[0].Torn || !r.CutShort() {
		t.Errorf("%d entries, damage %v", n, r.Damage)
	}
}

func TestSealFindsChangedText(t *testing.T) {
	dir := write(t, true)
	path := filepath.Join(dir, HeaderFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, ' '), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Damage) != 1 {
		t.Errorf("damage %v", r.Damage)
	}
}

func TestTracker(t *testing.T) {
	tr := NewTracker()
	for _, c := range []struct {
		seq  uint64
		want Sighting
	}{{0, Sighting{New: true}}, {1, Sighting{New: true}}, {3, Sighting{New: true}}, {1, Sighting{}}, {2, Sighting{New: true, Misordered: true}}, {4, Sighting{New: true}}} {
		if got := tr.Observe(1, 0, c.seq); got != c.want {
			t.Errorf("seq %d: %+v, want %+v", c.seq, got, c.want)
		}
	}
	if tr.Count() != 5 || tr.Gaps() != 0 {
		t.Errorf("count %d gaps %d", tr.Count(), tr.Gaps())
	}
}

func FuzzReadLedger(f *testing.F) {
	f.Add(magic[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, append(append([]byte(nil), magic[:]...), b...), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ReadLedger(path, "x", func(Entry) error { return nil }); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkTracker(b *testing.B) {
	tr := NewTracker()
	for i := 0; b.Loop(); i++ {
		tr.Observe(uint32(i%1000), int32(i%12), uint64(i/1000))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
