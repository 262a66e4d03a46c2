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
	if err := w.takeLedger(filepath.Join(dir, name+ledgerExt), name); err != nil {
		return err
	}
	return w.merge(filepath.Join(dir, name+".hist"), filepath.Join(dir, name+".tsf"))
}

// Merge brings the run directory of an observer elsewhere into the run: its ledgers as files of their own, its events, and its histograms and
// series as Import does. One that was not closed, or is damaged, is an error, and nothing of it is taken.
func (w *Writer) Merge(dir string) error {
	r, err := Open(dir)
	if err != nil {
		return err
	}
	if r.Seal == nil {
		return errors.New("it was not closed")
	}
	if len(r.Damage) > 0 {
		return errors.New(r.Damage[0].String())
	}
	for _, p := range r.Points() {
		if err := w.takeLedger(filepath.Join(dir, ledgerDir, p+ledgerExt), p); err != nil {
			return err
		}
	}
	for _, e := range r.Events {
		if err := w.Events.Add(e); err != nil {
			return err
		}
	}
	return w.merge(filepath.Join(dir, HistsName), filepath.Join(dir, SeriesName))
}

func (w *Writer) takeLedger(file, point string) error {
	led, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("ledger of %s: %w", point, err)
	}
	return writeWhole(w.LedgerPath(point), led)
}

// merge adds the histograms and series of two files to the run's.
func (w *Writer) merge(hists, series string) error {
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
	note(ReadHists(hists, filepath.Base(hists), w.Hists.window, func(k HistKey, from time.Duration, h *stats.Hist) error {
		id, err := w.Hists.Key(k)
		if err != nil {
			return err
		}
		if w.Hists.merge(id, from, h) > mergedOpen {
			return w.Hists.Flush()
		}
		return nil
	}))
	note(ReadSeries(series, filepath.Base(series), func(at time.Duration, s Sample) error { return w.Series.Add(at, s) }))
	return first
}

// mergedOpen is how many windows may be open while files are merged: those of a whole night were 160 to 260 MB. A window comes in increments
// that lie close, so it is written about as often as files have it.
const mergedOpen = 256

// merge adds a whole histogram to a window, and returns how many are open.
func (h *Hists) merge(key uint64, from time.Duration, o *stats.Hist) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at(key, int64(from/h.window)).Merge(o)
	return len(h.open)
}

// IsGenerator reports whether a point is a generator's ledger.
func IsGenerator(point string) bool { return strings.HasPrefix(point, PointSent) }
