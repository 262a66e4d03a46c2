package evidence

import (
	"sync"
	"time"

	"triad/internal/stats"
)

// openWindows is how many windows a Recorder keeps at once. Outcomes of the partitions of a topic come interleaved, so around the end
// of a window records of both sides of it alternate; a delay that spans more windows than this costs time, not counts.
const openWindows = 4

// Recorder counts several values for each record, for who has millions of records a second: its owner locks it once for many records,
// and nobody else waits for that lock but a Flush. What it counts goes to its Hists when they are flushed.
type Recorder struct {
	mu      sync.Mutex
	hists   *Hists
	keys    []uint64
	lo, hi  time.Duration // of the window recorded into last
	last    *recorderWindow
	windows [openWindows]recorderWindow
}

type recorderWindow struct {
	window  int64
	tallies []stats.Tally // by the order of the keys
}

// Recorder returns a recorder of the families given.
func (h *Hists) Recorder(keys ...HistKey) (*Recorder, error) {
	r := &Recorder{hists: h}
	for _, k := range keys {
		id, err := h.Key(k)
		if err != nil {
			return nil, err
		}
		r.keys = append(r.keys, id)
	}
	for i := range r.windows {
		r.windows[i] = recorderWindow{window: int64(i), tallies: make([]stats.Tally, len(keys))}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tallied = append(h.tallied, r)
	return r, nil
}

// Lock begins recording.
func (r *Recorder) Lock() { r.mu.Lock() }

// Unlock ends it.
func (r *Recorder) Unlock() { r.mu.Unlock() }

// Window returns the tallies, in the order of the keys, of the window in which a record was scheduled. They may be used until the next
// call, or Unlock.
func (r *Recorder) Window(scheduled time.Duration) []stats.Tally {
	if scheduled >= r.hi || scheduled < r.lo || r.last == nil {
		r.turn(scheduled)
	}
	return r.last.tallies
}

func (r *Recorder) turn(scheduled time.Duration) {
	n := int64(max(scheduled, 0) / r.hists.window)
	w := &r.windows[n%openWindows]
	if w.window != n {
		r.empty(w)
		w.window = n
	}
	r.last, r.lo, r.hi = w, time.Duration(n)*r.hists.window, time.Duration(n+1)*r.hists.window
}

// drain hands over what was counted.
func (r *Recorder) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.windows {
		r.empty(&r.windows[i])
	}
}

func (r *Recorder) empty(w *recorderWindow) {
	r.hists.mu.Lock()
	defer r.hists.mu.Unlock()
	for i := range w.tallies {
		if w.tallies[i].Count() > 0 {
			w.tallies[i].Drain(r.hists.at(r.keys[i], w.window))
		}
	}
}
