package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"triad/internal/stats"
)

// ErrNotResumable says that a run directory is none that a run could go on in.
var ErrNotResumable = errors.New("the run cannot go on")

// Left is what a run whose harness was killed had written, as far as going on needs it.
type Left struct {
	Last   time.Duration                    // the last sign of life of the harness
	Events []Event                          //
	Seen   map[string]map[uint32]*stats.Set // by point and stream: what was seen there
	Mark   map[string][]byte                // by point: how far its observer was
	Pulses map[string]map[string]uint64     // by point and source: records counted
}

// Resumable says why nothing can go on in a run directory: it has ended, or had not begun; nil when it may.
func Resumable(dir string, h Header) error {
	if _, err := os.Stat(filepath.Join(dir, SealFile)); err == nil {
		return fmt.Errorf("%w: it has ended and its evidence is closed; sim report judges it again", ErrNotResumable)
	}
	if h.Start.IsZero() {
		return fmt.Errorf("%w: it was killed before its load began, so there is nothing to go on with; run it again", ErrNotResumable)
	}
	return nil
}

// Reopen goes on with the directory of a run whose harness was killed. Torn ends are cut off, what comes is appended, and the ledger of
// the final reading, which is made once more, begins anew.
//
// A ledger with marks is cut behind its last one: its observer reads again from there, and what it had written behind it is seen once
// more and no duplicate.
func Reopen(dir string) (_ *Writer, _ *Left, err error) {
	h, err := ReadHeader(dir)
	if err != nil {
		return nil, nil, err
	}
	refuse := func(format string, args ...any) (*Writer, *Left, error) {
		return nil, nil, fmt.Errorf("%w: %s", ErrNotResumable, fmt.Sprintf(format, args...))
	}
	if err := Resumable(dir, h); err != nil {
		return nil, nil, err
	}
	w := &Writer{Dir: dir, header: h, ledgers: map[string]*Ledger{}, keep: map[string]int64{}}
	left := &Left{
		Seen: map[string]map[uint32]*stats.Set{}, Mark: map[string][]byte{}, Pulses: map[string]map[string]uint64{},
	}
	events := filepath.Join(dir, EventsFile)
	// Opened first and locked: two harnesses that write one directory would leave neither's evidence.
	f, err := os.OpenFile(events, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("evidence file: %w", err)
	}
	w.Events = &EventLog{f: f}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.closeFiles())
		}
	}()
	if lockFile(f) != nil {
		return refuse("another process writes its evidence: it is still under way")
	}
	ledgers, err := filepath.Glob(filepath.Join(dir, ledgerDir, "*"+ledgerExt))
	if err != nil {
		return nil, nil, err
	}
	for _, path := range ledgers {
		if IsGenerator(strings.TrimSuffix(filepath.Base(path), ledgerExt)) {
			return refuse("it was killed while it collected the ledgers of its generators, behind its end; sim report says what there is")
		}
	}
	whole, err := wholeEvents(events, left)
	if err != nil {
		return nil, nil, err
	}
	series, err := left.readSeries(filepath.Join(dir, SeriesName))
	if err != nil {
		return nil, nil, err
	}
	var hists int64
	d, err := readFramesAt(filepath.Join(dir, HistsName), HistsName, func(byte, []byte) error { return nil }, func(end int64) { hists = end })
	if err = tornOnly(d, err); err != nil {
		return nil, nil, err
	}
	var again []string // the store is read anew
	for _, path := range ledgers {
		if PointOf(strings.TrimSuffix(filepath.Base(path), ledgerExt)) == PointSearch {
			again = append(again, path)
		} else if err := left.readLedger(w, path); err != nil {
			return nil, nil, err
		}
	}
	// Nothing was changed up to here.
	for _, path := range again {
		if err := os.Remove(path); err != nil {
			return nil, nil, fmt.Errorf("evidence file: %w", err)
		}
	}
	if err := f.Truncate(whole); err != nil {
		return nil, nil, fmt.Errorf("evidence file: %w", err)
	}
	file, err := reopenFrames(filepath.Join(dir, SeriesName), series)
	if err != nil {
		return nil, nil, err
	}
	w.Series = newSeriesFile(file)
	if file, err = reopenFrames(filepath.Join(dir, HistsName), hists); err != nil {
		return nil, nil, err
	}
	w.Hists = newHists(file, h.HistWindow)
	// Offsets are counted by the monotonic clock from here on, from the start as the wall clock has it.
	now := time.Now()
	w.start = now.Add(-now.Round(0).Sub(h.Start))
	return w, left, nil
}

// tornOnly lets a torn end pass, which is what a killed writer leaves.
func tornOnly(d *Damage, err error) error {
	if err == nil && d != nil && !d.Torn {
		return fmt.Errorf("%w: its evidence is damaged: %s", ErrNotResumable, d)
	}
	return err
}

func wholeEvents(path string, left *Left) (int64, error) {
	events, d, err := ReadEvents(path, EventsFile)
	if err := tornOnly(d, err); err != nil {
		return 0, err
	}
	left.Events = events
	for _, e := range events {
		left.Last = max(left.Last, e.At)
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("evidence file: %w", err)
	}
	if d != nil {
		return d.At, nil
	}
	return info.Size(), nil
}

func (left *Left) readSeries(path string) (whole int64, err error) {
	d, err := readSeries(path, SeriesName, func(at time.Duration, s Sample) error {
		if s.Name == StallSeries { // written by the harness once a second, at the time that it was
			left.Last = max(left.Last, at)
		}
		if s.Name == PulseSeries {
			p := s.Labels["point"]
			if left.Pulses[p] == nil {
				left.Pulses[p] = map[string]uint64{}
			}
			left.Pulses[p][s.Labels["source"]] += uint64(s.Value)
		}
		return nil
	}, func(end int64) { whole = end })
	return whole, tornOnly(d, err)
}

// readLedger finds out how much of a ledger is kept, and what it says up to there.
func (left *Left) readLedger(w *Writer, path string) error {
	point := strings.TrimSuffix(filepath.Base(path), ledgerExt)
	var (
		keep   int64
		marked bool
		fresh  []Entry // behind the last mark
		mark   []byte
	)
	sets := map[uint32]*stats.Set{}
	take := func() {
		for _, e := range fresh {
			if e.Class != Seen && e.Class != Acked {
				continue
			}
			if sets[e.Stream] == nil {
				sets[e.Stream] = &stats.Set{}
			}
			sets[e.Stream].AddSpan(e.Span)
		}
		fresh = fresh[:0]
	}
	add := func(e Entry) error {
		fresh = append(fresh, e)
		if mark == nil && len(fresh) >= 4096 { // a ledger without marks is kept as it is
			take()
		}
		return nil
	}
	_, d, err := readLedger(path, filepath.Base(path), add, func(m []byte) { mark, marked = bytes.Clone(m), true }, func(end int64) {
		if marked || mark == nil {
			keep = end
		}
		if marked {
			take()
			marked = false
		}
	})
	if err := tornOnly(d, err); err != nil {
		return err
	}
	if mark == nil {
		take()
	}
	w.keep[point] = keep
	left.Mark[point] = mark
	left.Seen[point] = sets
	return nil
}

// openLedger makes a ledger, or goes on with that of a run that goes on.
func (w *Writer) openLedger(point string) (*Ledger, error) {
	keep, ok := w.keep[point]
	if !ok {
		return CreateLedger(w.LedgerPath(point))
	}
	f, err := reopenFrames(w.LedgerPath(point), keep)
	if err != nil {
		return nil, err
	}
	return newLedger(f), nil
}

// Abandon closes the files of a run that could not go on after all, without a seal: it can be tried again.
func (w *Writer) Abandon() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	errs := []error{w.closeFiles()}
	for _, l := range w.ledgers {
		errs = append(errs, l.file.f.Close())
	}
	return errors.Join(errs...)
}
