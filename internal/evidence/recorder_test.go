package evidence

import (
	"bytes"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"triad/internal/stats"
)

// What several recorders count while the file is flushed is in it, in the windows in which it was scheduled, and nothing twice.
func TestRecordersAgainstOneHist(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h.hist")
	h, err := CreateHists(path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	keys := []HistKey{{Metric: "a", Source: "s"}, {Metric: "b", Source: "s"}}
	type at struct {
		key  HistKey
		from time.Duration
	}
	want := map[at]*stats.Hist{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for g := range 3 {
		rec, err := h.Recorder(keys...)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			own := map[at]*stats.Hist{}
			for i := range 20_000 {
				// Three streams of records: on time, one window behind, and nine.
				due := time.Duration(i)*time.Millisecond - time.Duration([]int{0, 1, 9}[i%3])*time.Second
				rec.Lock()
				for k := range keys {
					v := time.Duration(i%500*(g+1)*(k+1)) * time.Microsecond
					rec.Window(due)[k].Record(v)
					a := at{keys[k], max(due, 0).Truncate(time.Second)}
					if own[a] == nil {
						own[a] = &stats.Hist{}
					}
					own[a].Record(v)
				}
				rec.Unlock()
			}
			mu.Lock()
			defer mu.Unlock()
			for a, x := range own {
				if want[a] == nil {
					want[a] = &stats.Hist{}
				}
				want[a].Merge(x)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for flushing := true; flushing; {
		select {
		case <-done:
			flushing = false
		default:
			if err := h.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	got := map[at]*stats.Hist{}
	if d, err := ReadHists(path, "h", time.Second, func(k HistKey, from time.Duration, x *stats.Hist) error {
		a := at{k, from}
		if got[a] == nil {
			got[a] = &stats.Hist{}
		}
		got[a].Merge(x)
		return nil
	}); err != nil || d != nil {
		t.Fatal(err, d)
	}
	if len(got) != len(want) {
		t.Errorf("%d windows, want %d", len(got), len(want))
	}
	for a, w := range want {
		if g := got[a]; g == nil || !bytes.Equal(g.AppendCompact(nil), w.AppendCompact(nil)) {
			t.Errorf("%v is not what was counted", a)
		}
	}
}
