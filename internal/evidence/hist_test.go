package evidence

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"triad/internal/stats"
)

// increments counts how often each window of a file was written, and how many values it has.
func increments(t *testing.T, path string) (frames int, values uint64) {
	t.Helper()
	d, err := ReadHists(path, "h", time.Second, func(_ HistKey, _ time.Duration, h *stats.Hist) error {
		frames++
		values += h.Count()
		return nil
	})
	if err != nil || d != nil {
		t.Fatal(err, d)
	}
	return frames, values
}

// However many share histograms and have them written, a window is written once a second.
func TestFlushDue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h.hist")
	h, err := CreateHists(path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	key, err := h.Key(HistKey{Metric: "kafka_latency"})
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		h.Record(key, 0, time.Millisecond)
		if err := h.FlushDue(false); err != nil {
			t.Fatal(err)
		}
	}
	if frames, values := increments(t, path); frames != 1 || values != 1 {
		t.Errorf("six owners within a second wrote %d increments of %d values", frames, values)
	}
	h.flushed = h.flushed.Add(-flushEvery)
	if err := h.FlushDue(false); err != nil {
		t.Fatal(err)
	}
	if frames, values := increments(t, path); frames != 2 || values != 6 {
		t.Errorf("a second later there are %d increments of %d values", frames, values)
	}
	h.Record(key, 0, time.Millisecond)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, values := increments(t, path); values != 7 {
		t.Errorf("%d of 7 values are there at the end", values)
	}
}

// What generators have written in a night is merged without being held in memory.
func TestMergeOpensFewWindows(t *testing.T) {
	dir := t.TempDir()
	const windows, generators = 2000, 2
	w := create(t, filepath.Join(dir, "run"))
	for g := range generators {
		name := fmt.Sprintf("%s%d", PointSent, g)
		led, err := CreateLedger(filepath.Join(dir, name+ledgerExt))
		if err != nil {
			t.Fatal(err)
		}
		h, err := CreateHists(filepath.Join(dir, name+".hist"), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for _, metric := range []string{"generator_lag", "target_block"} {
			key, err := h.Key(HistKey{Metric: metric})
			if err != nil {
				t.Fatal(err)
			}
			for n := range windows {
				h.Record(key, time.Duration(n)*time.Second, time.Millisecond)
			}
		}
		if err := led.Close(0); err != nil {
			t.Fatal(err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if err := w.Import(dir, name); err != nil {
			t.Fatal(err)
		}
		if n := len(w.Hists.open); n > mergedOpen {
			t.Errorf("%d windows are open after the merge", n)
		}
	}
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	if _, values := increments(t, filepath.Join(w.Dir, HistsName)); values != 2*windows*generators {
		t.Errorf("%d values are there, want %d", values, 2*windows*generators)
	}
}
