package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"triad/internal/stats"
)

// Import brings what a generator elsewhere wrote (name.led, name.hist, name.tsf in dir) into the run: its ledger as a
// file of its own, its histograms and series merged into the run's, which is exact. A torn tail is cut, as the reader
// of the run would cut it.
func (w *Writer) Import(dir, name string) error {
	led, err := os.ReadFile(filepath.Join(dir, name+ledgerExt))
	if err != nil {
		return fmt.Errorf("ledger of %s: %w", name, err)
	}
	if err := writeWhole(w.LedgerPath(name), led); err != nil {
		return err
	}
	var first error
	note := func(d *Damage, err error) {
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil && first == nil:
			first = err
		case d != nil && !d.Torn && first == nil:
			first = errors.New(d.String())
		}
	}
	note(ReadHists(filepath.Join(dir, name+".hist"), name+".hist", w.Hists.window, func(k HistKey, from time.Duration, h *stats.Hist) error {
		id, err := w.Hists.Key(k)
		if err != nil {
			return err
		}
		w.Hists.merge(id, from, h)
		return nil
	}))
	note(ReadSeries(filepath.Join(dir, name+".tsf"), name+".tsf", func(at time.Duration, s Sample) error { return w.Series.Add(at, s) }))
	return first
}

// merge adds a whole histogram to a window.
func (h *Hists) merge(key uint64, from time.Duration, o *stats.Hist) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at(key, int64(from/h.window)).Merge(o)
}

// IsGenerator reports whether a point is a generator's ledger.
func IsGenerator(point string) bool { return strings.HasPrefix(point, PointSent) }
