package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"triad/internal/scenario"
	"triad/internal/stats"
)

// Observation points where the harness sees record identities. The generator's ledgers are called sent-0, sent-1, ...
const (
	PointSent       = "sent-"
	PointKafka      = "kafka"
	PointDeadLetter = "dead-letter"
	PointSearch     = "search" // the final exact reconciliation of the store
)

// ShardOf is the name of the ledger that one of several observers of a point writes.
func ShardOf(point string, shard int) string { return point + "-" + strconv.Itoa(shard) }

// PointOf is the point of a ledger: that of its observer, whether it is the only one or one of several. Generators are points of their own.
func PointOf(ledger string) string {
	for _, point := range []string{PointKafka, PointDeadLetter, PointSearch} {
		if shard, ok := strings.CutPrefix(ledger, point+"-"); ok {
			if _, err := strconv.ParseUint(shard, 10, 16); err == nil {
				return point
			}
		}
	}
	return ledger
}

// Files of a run directory.
const (
	HeaderFile   = "run.json"
	ScenarioFile = "scenario.yaml"
	EventsFile   = "events.jsonl"
	SeriesName   = "series.tsf"
	HistsName    = "latency.hist"
	SealFile     = "closed.json"
	ResultFile   = "result.json"
	BaselineFile = "baseline.json" // the result of an earlier run, to compare with; only where one was given
	ledgerDir    = "ledger"
	ledgerExt    = ".led"
)

// Writer is a run directory being written. Its parts are safe for concurrent use.
type Writer struct {
	Dir    string
	Events *EventLog
	Series *SeriesFile
	Hists  *Hists

	mu      sync.Mutex
	header  Header
	keep    map[string]int64 // of a run that goes on: ledgers that are there, and how much of each is whole
	start   time.Time        // the header's, with the monotonic reading that UTC and JSON strip
	ledgers map[string]*Ledger
	broken  error // a file that is written whole could not be
}

// Size is how many bytes the files of the evidence have so far; logs and reports do not count.
func (w *Writer) Size() int64 {
	var n int64
	for _, dir := range []string{w.Dir, filepath.Join(w.Dir, ledgerDir)} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
				n += info.Size()
			}
		}
	}
	return n
}

// Create makes the run directory, which must not exist, with run.json, scenario.yaml and empty logs in it. It is made
// under another name and renamed when it is whole, so a process that is killed here leaves no directory that a reader
// would take for a run. A directory that is there already is an error that wraps fs.ErrExist.
func Create(dir string, h Header, s *scenario.Scenario) (*Writer, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("reports folder: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return nil, fmt.Errorf("reports folder: %w", err)
	}
	h.Schema = Schema
	w := &Writer{Dir: tmp, header: h, ledgers: map[string]*Ledger{}}
	if err := w.fill(s); err != nil {
		return nil, errors.Join(err, w.closeFiles(), os.RemoveAll(tmp))
	}
	// Renaming onto an empty directory works on some systems: look first.
	_, err = os.Lstat(dir)
	if err == nil {
		err = fs.ErrExist
	} else if errors.Is(err, fs.ErrNotExist) {
		err = os.Rename(tmp, dir) // says ErrExist as well when another run took the name since the look
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("run directory %s: %w", dir, err), w.closeFiles(), os.RemoveAll(tmp))
	}
	w.Dir = dir
	return w, nil
}

// fill writes and opens the files of a new run directory.
func (w *Writer) fill(s *scenario.Scenario) error {
	if err := os.Chmod(w.Dir, 0o755); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	if err := os.Mkdir(filepath.Join(w.Dir, ledgerDir), 0o755); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	y, err := s.YAML()
	if err != nil {
		return err
	}
	if err := errors.Join(w.WriteFile(ScenarioFile, y), w.writeHeader()); err != nil {
		return err
	}
	if w.Events, err = CreateEvents(filepath.Join(w.Dir, EventsFile)); err != nil {
		return err
	}
	if err := lockFile(w.Events.f); err != nil { // tells that the run is under way, to whoever would go on with it
		return fmt.Errorf("run directory: %w", err)
	}
	if w.Series, err = CreateSeries(filepath.Join(w.Dir, SeriesName)); err != nil {
		return err
	}
	w.Hists, err = CreateHists(filepath.Join(w.Dir, HistsName), w.header.HistWindow)
	return err
}

// closeFiles closes what fill opened.
func (w *Writer) closeFiles() error {
	var errs []error
	if w.Events != nil {
		errs = append(errs, w.Events.f.Close())
	}
	if w.Series != nil {
		errs = append(errs, w.Series.file.f.Close())
	}
	if w.Hists != nil {
		errs = append(errs, w.Hists.file.f.Close())
	}
	return errors.Join(errs...)
}

// WriteFile writes a small file of the run whole or not at all; name may have folders.
func (w *Writer) WriteFile(name string, data []byte) error {
	return writeWhole(filepath.Join(w.Dir, name), data)
}

func writeWhole(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	_, err = f.Write(data)
	// Synced before it takes the name: after a loss of power an old file is whole, a new empty one would not be.
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("run directory: %w", err), os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	return nil
}

// writeHeader keeps a failure, so that the directory is not sealed: the caller holds the lock.
func (w *Writer) writeHeader() error {
	b, err := json.MarshalIndent(w.header, "", "  ")
	if err != nil {
		return err
	}
	err = w.WriteFile(HeaderFile, append(b, '\n'))
	if w.broken == nil {
		w.broken = err
	}
	return err
}

// Header returns a copy of the header as it stands.
func (w *Writer) Header() Header {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.header
}

// Update changes the header on disk.
func (w *Writer) Update(change func(*Header)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.header)
	return w.writeHeader()
}

// Begin says when the schedule begins, and writes it into the header. Offsets are counted from start as it is given:
// by its monotonic reading, when it has one, so that a step of the wall clock moves none.
func (w *Writer) Begin(start time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start, w.header.Start = start, start.UTC()
	return w.writeHeader()
}

// Start is when the schedule begins, with its monotonic reading; zero before Begin.
func (w *Writer) Start() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.start
}

// Since is the offset of t from the start of the load; 0 before Begin.
func (w *Writer) Since(t time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.start.IsZero() {
		return 0
	}
	return t.Sub(w.start)
}

// Err is the first error of writing any part of the evidence, nil when there is none. What comes after an error is not
// written, so a run that goes on proves nothing more.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	errs := []error{w.broken, w.Events.failed(), w.Series.file.failed(), w.Hists.file.failed()}
	for _, l := range w.ledgers {
		errs = append(errs, l.file.failed())
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Now is the offset of the present.
func (w *Writer) Now() time.Duration { return w.Since(time.Now()) }

// Ledger returns the ledger of a point, made at the first call.
func (w *Writer) Ledger(point string) (*Ledger, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.ledgers[point]; l != nil {
		return l, nil
	}
	l, err := w.openLedger(point)
	if err == nil {
		w.ledgers[point] = l
	}
	return l, err
}

// LedgerPath is where the ledger of a point lies; generators in pods write theirs elsewhere and it is fetched to here.
func (w *Writer) LedgerPath(point string) string {
	return filepath.Join(w.Dir, ledgerDir, point+ledgerExt)
}

// Flush writes what ledgers and histograms hold in memory.
func (w *Writer) Flush() error {
	now := w.Now()
	w.mu.Lock()
	ls := make([]*Ledger, 0, len(w.ledgers))
	for _, l := range w.ledgers {
		ls = append(ls, l)
	}
	w.mu.Unlock()
	errs := []error{w.Hists.Flush(), w.Series.Flush()}
	for _, l := range ls {
		errs = append(errs, l.Flush(now))
	}
	return errors.Join(errs...)
}

// Close closes every file and seals the directory; interrupted says why the run ended early, empty when it did not.
func (w *Writer) Close(interrupted string) error {
	now := w.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	errs := []error{w.broken, w.Events.Close(), w.Series.Close(), w.Hists.Close()}
	for _, l := range w.ledgers {
		errs = append(errs, l.Close(now))
	}
	if err := errors.Join(errs...); err != nil {
		return err // not sealed: the evidence has a hole
	}
	seal := Seal{Closed: time.Now().UTC(), Interrupted: interrupted, Files: map[string]FileSeal{}}
	for _, name := range sealedFiles(w.Dir) {
		fsum, err := sum(filepath.Join(w.Dir, name))
		if err != nil {
			return err
		}
		seal.Files[name] = fsum
	}
	seal.Sum = noSum
	b, err := json.MarshalIndent(seal, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	own := sha256.Sum256(b)
	return w.WriteFile(SealFile, bytes.Replace(b, []byte(noSum), []byte(hex.EncodeToString(own[:])), 1))
}

// noSum stands in a seal where its own checksum goes while that is computed.
var noSum = strings.Repeat("0", 2*sha256.Size)

// whole reports whether the bytes of a seal are those that were written.
func (s *Seal) whole(b []byte) bool {
	if s.Sum == "" {
		return true // written before seals had one
	}
	own := sha256.Sum256(bytes.Replace(b, []byte(s.Sum), []byte(noSum), 1))
	return hex.EncodeToString(own[:]) == s.Sum
}

// sealedFiles are the files that judging and comparing read.
func sealedFiles(dir string) []string {
	out := []string{HeaderFile, ScenarioFile, EventsFile, SeriesName, HistsName}
	if _, err := os.Stat(filepath.Join(dir, BaselineFile)); err == nil {
		out = append(out, BaselineFile)
	}
	ls, _ := filepath.Glob(filepath.Join(dir, ledgerDir, "*"+ledgerExt))
	for _, l := range ls {
		out = append(out, ledgerDir+"/"+filepath.Base(l))
	}
	ms, _ := filepath.Glob(filepath.Join(dir, manifestsDir, "*"+manifestsExt))
	for _, m := range ms {
		out = append(out, manifestsDir+"/"+filepath.Base(m))
	}
	return out
}

func sum(path string) (FileSeal, error) {
	f, err := os.Open(path)
	if err != nil {
		return FileSeal{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return FileSeal{n, hex.EncodeToString(h.Sum(nil))}, err
}

// Run is a run directory being read.
type Run struct {
	Dir      string
	Header   Header
	Scenario *scenario.Scenario
	Events   []Event
	Seal     *Seal // nil when the run was cut short
	Damage   []Damage
}

// ReadHeader reads run.json alone.
func ReadHeader(dir string) (Header, error) {
	var h Header
	b, err := os.ReadFile(filepath.Join(dir, HeaderFile))
	if err != nil {
		return h, fmt.Errorf("run directory: %w", err)
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, fmt.Errorf("%s: %w", HeaderFile, err)
	}
	if h.Schema < 1 || h.Schema > Schema {
		return h, fmt.Errorf("%s: evidence format %d is not known to this version (up to %d)", HeaderFile, h.Schema, Schema)
	}
	if h.HistWindow <= 0 || h.PulseEvery <= 0 {
		return h, fmt.Errorf("%s: no histogram window or pulse", HeaderFile)
	}
	return h, nil
}

// Open reads the small files of a run directory and checks every file against the seal. Missing or damaged parts are
// in Damage; the error is for what leaves nothing to judge.
func Open(dir string) (*Run, error) {
	h, err := ReadHeader(dir)
	if err != nil {
		return nil, err
	}
	r := &Run{Dir: dir, Header: h}
	y, err := os.ReadFile(filepath.Join(dir, ScenarioFile))
	if err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	if r.Scenario, err = scenario.Parse(r.Header.Scenario+".yaml", y); err != nil {
		return nil, fmt.Errorf("%s: %w", ScenarioFile, err)
	}
	events, d, err := ReadEvents(filepath.Join(dir, EventsFile), EventsFile)
	r.note(EventsFile, d, err)
	r.Events = events
	r.checkSeal()
	return r, nil
}

func (r *Run) note(name string, d *Damage, err error) {
	switch {
	case err != nil:
		r.Damage = append(r.Damage, Damage{File: name, Msg: err.Error()})
	case d != nil:
		if slices.Contains(r.Damage, *d) {
			return
		}
		r.Damage = append(r.Damage, *d)
	}
}

func (r *Run) checkSeal() {
	b, err := os.ReadFile(filepath.Join(r.Dir, SealFile))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var s Seal
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		r.note(SealFile, nil, err)
		return
	}
	if !s.whole(b) {
		r.note(SealFile, &Damage{File: SealFile, Msg: "the seal is not what was written"}, nil)
	}
	r.Seal = &s
	for name, want := range s.Files {
		got, err := sum(filepath.Join(r.Dir, filepath.FromSlash(name)))
		if err != nil {
			r.note(name, nil, err)
		} else if got != want {
			r.note(name, &Damage{File: name, Msg: "the file is not what was sealed"}, nil)
		}
	}
}

// Points returns the observation points that have a ledger: generators first.
func (r *Run) Points() []string {
	ls, _ := filepath.Glob(filepath.Join(r.Dir, ledgerDir, "*"+ledgerExt))
	var out []string
	for _, l := range ls {
		out = append(out, strings.TrimSuffix(filepath.Base(l), ledgerExt))
	}
	slices.SortFunc(out, func(a, b string) int {
		sa, sb := strings.HasPrefix(a, PointSent), strings.HasPrefix(b, PointSent)
		if sa != sb {
			if sa {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return out
}

// Ledger calls fn for every entry of a point's ledger and returns the end of its last intent. A point without a ledger
// has no entries. Damage found is added to r.
func (r *Run) Ledger(point string, fn func(Entry) error) time.Duration {
	name := ledgerDir + "/" + point + ledgerExt
	intent, d, err := ReadLedger(filepath.Join(r.Dir, ledgerDir, point+ledgerExt), name, fn)
	if errors.Is(err, fs.ErrNotExist) {
		return intent
	}
	r.note(name, d, err)
	return intent
}

// Hists calls fn for every histogram increment.
func (r *Run) Hists(fn func(k HistKey, from time.Duration, h *stats.Hist) error) {
	d, err := ReadHists(filepath.Join(r.Dir, HistsName), HistsName, r.Header.HistWindow, fn)
	r.note(HistsName, d, err)
}

// Series calls fn for every sample.
func (r *Run) Series(fn func(at time.Duration, s Sample) error) {
	d, err := ReadSeries(filepath.Join(r.Dir, SeriesName), SeriesName, fn)
	r.note(SeriesName, d, err)
}

// CutShort reports whether the run ended without its seal.
func (r *Run) CutShort() bool { return r.Seal == nil }
