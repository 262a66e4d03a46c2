package evidence

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"

	"triad/internal/stats"
)

// Bounds of a latency: exact, or the two ends of the interval (last miss, first hit] of a polled one.
const (
	Exact = ""
	Lower = "lower"
	Upper = "upper"
)

// HistKey names a family of histograms: one for each window of scheduled time.
type HistKey struct {
	Metric string // kafka_latency, e2e_latency, generator_lag, target_block, query_latency, ...
	Source string
	Topic  string
	Bound  string // Exact, Lower, Upper
}

const (
	frameKey     byte = 1
	frameHist    byte = 2 // of format 1
	frameCompact byte = 3
)

// Hists appends histograms. A record counts in the window of its scheduled time, however late it is seen: windows are
// written as increments, so a window may come in many frames, and merging them is exact. Safe for concurrent use.
type Hists struct {
	file    *frameFile
	window  time.Duration
	flush   sync.Mutex // one Flush at a time; guards flushed
	flushed time.Time
	mu      sync.Mutex
	ids     map[HistKey]uint64
	open    map[histAt]*stats.Hist
	recent  []recentHist // by key: the window recorded into last, because the next record is nearly always in it
	free    []*stats.Hist
	tallied []*Recorder
}

type recentHist struct {
	window int64
	hist   *stats.Hist
}

type histAt struct {
	key    uint64
	window int64
}

// CreateHists makes a new histogram file with windows of the given length.
func CreateHists(path string, window time.Duration) (*Hists, error) {
	f, err := createFrames(path)
	if err != nil {
		return nil, err
	}
	return newHists(f, window), nil
}

func newHists(f *frameFile, window time.Duration) *Hists {
	return &Hists{file: f, window: window, ids: map[HistKey]uint64{}, open: map[histAt]*stats.Hist{}}
}

// Key returns the number of a family, to be used with Record.
func (h *Hists) Key(k HistKey) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if id, ok := h.ids[k]; ok {
		return id, nil
	}
	id := uint64(len(h.ids))
	b := binary.AppendUvarint(nil, id)
	for _, s := range []string{k.Metric, k.Source, k.Topic, k.Bound} {
		b = appendText(b, s)
	}
	if err := h.file.pack(frameKey, b); err != nil {
		return 0, err
	}
	h.ids[k] = id
	h.recent = append(h.recent, recentHist{})
	return id, nil
}

// Record counts value for a record that was scheduled at the given time.
func (h *Hists) Record(key uint64, scheduled, value time.Duration) {
	window := int64(max(scheduled, 0) / h.window)
	h.mu.Lock()
	h.at(key, window).Record(value)
	h.mu.Unlock()
}

// at returns the open histogram of a window, for whoever holds the lock.
func (h *Hists) at(key uint64, window int64) *stats.Hist {
	r := &h.recent[key]
	if r.hist != nil && r.window == window {
		return r.hist
	}
	at := histAt{key, window}
	hist := h.open[at]
	if hist == nil {
		if k := len(h.free); k > 0 {
			hist, h.free = h.free[k-1], h.free[:k-1]
		} else {
			hist = &stats.Hist{}
		}
		h.open[at] = hist
	}
	*r = recentHist{window, hist}
	return hist
}

// flushEvery is how often those who share histograms have them written: a second, less what a ticker may be early.
const flushEvery = 900 * time.Millisecond

// FlushDue writes all open windows when that was not done for a second, or when it is the last call. Everybody who records calls it once a
// second: each time that it is done costs an increment of every open window.
func (h *Hists) FlushDue(last bool) error {
	h.flush.Lock()
	defer h.flush.Unlock()
	if !last && time.Since(h.flushed) < flushEvery {
		return nil
	}
	return h.write()
}

// Flush writes all open windows now.
func (h *Hists) Flush() error {
	h.flush.Lock()
	defer h.flush.Unlock()
	return h.write()
}

// write is Flush for whoever holds its lock.
func (h *Hists) write() error {
	h.flushed = time.Now()
	// Recording never waits for the disk: the open windows are taken out first and written then.
	h.mu.Lock()
	tallied := h.tallied
	h.mu.Unlock()
	for _, r := range tallied {
		r.drain()
	}
	h.mu.Lock()
	open := h.open
	h.open = make(map[histAt]*stats.Hist, len(open))
	clear(h.recent)
	h.mu.Unlock()
	var b []byte
	// Families of one window are often equal (nothing was blocked, nothing was late): side by side they pack well.
	order := slices.SortedFunc(maps.Keys(open), func(a, b histAt) int {
		return cmp.Or(cmp.Compare(a.window, b.window), cmp.Compare(a.key, b.key))
	})
	for _, at := range order {
		hist := open[at]
		b = binary.AppendUvarint(b[:0], at.key)
		b = binary.AppendUvarint(b, uint64(at.window))
		b = hist.AppendCompact(b)
		if err := h.file.pack(frameCompact, b); err != nil {
			return err
		}
		hist.Reset()
	}
	if err := h.file.emit(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, hist := range open {
		if len(h.free) < 64 {
			h.free = append(h.free, hist)
		}
	}
	return nil
}

// Close flushes, syncs and closes.
func (h *Hists) Close() error {
	err := h.Flush()
	if cerr := h.file.close(); err == nil {
		err = cerr
	}
	return err
}

// ReadHists calls fn for every increment of every window; from is the start of the window in scheduled time.
func ReadHists(path, name string, window time.Duration, fn func(k HistKey, from time.Duration, h *stats.Hist) error) (*Damage, error) {
	keys := map[uint64]HistKey{}
	return readFrames(path, name, func(kind byte, payload []byte) error {
		u := &uvarints{b: payload}
		switch kind {
		case frameFresh:
			clear(keys)
		case frameKey:
			id := u.next()
			k := HistKey{u.text(), u.text(), u.text(), u.text()}
			if u.bad {
				return errPayload
			}
			keys[id] = k
		case frameHist, frameCompact:
			k, ok := keys[u.next()]
			w := u.next()
			if u.bad || !ok || w > 1<<40 {
				return errPayload
			}
			read := stats.ReadCompact
			if kind == frameHist {
				read = stats.ReadHist
			}
			h, _, err := read(u.b)
			if err != nil {
				return err
			}
			return fn(k, time.Duration(w)*window, h)
		}
		return nil
	})
}
