package evidence

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// stepped returns t as the clock would have read it after a step of d seconds: the wall reading moves, the monotonic
// reading does not. Package time offers no such thing, so the test reaches into its representation (wall seconds are
// the bits from 30 on) and checks the outcome.
func stepped(t *testing.T, at time.Time, seconds int64) time.Time {
	t.Helper()
	out := at
	*(*uint64)(unsafe.Pointer(&out)) += uint64(seconds) << 30
	if out.Sub(at) != 0 || out.Round(0).Sub(at.Round(0)) != time.Duration(seconds)*time.Second {
		t.Skip("this version of Go represents times in another way")
	}
	return out
}

func create(t *testing.T, dir string) *Writer {
	t.Helper()
	w, err := Create(dir, Header{ID: "x", Scenario: "t", HistWindow: time.Second, PulseEvery: 100 * time.Millisecond}, scene(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.closeFiles() })
	return w
}

// A step of the wall clock during a run must not move a single offset: the report would show an outage or negative
// latencies that nobody had.
func TestOffsetsSurviveClockStep(t *testing.T) {
	w := create(t, filepath.Join(t.TempDir(), "run"))
	start := time.Now()
	if w.Since(start.Add(time.Hour)) != 0 {
		t.Error("an offset before Begin is not 0")
	}
	if err := w.Begin(start); err != nil {
		t.Fatal(err)
	}
	for _, step := range []int64{3600, -3600} {
		at := stepped(t, start.Add(5*time.Second), step)
		if got := w.Since(at); got != 5*time.Second {
			t.Errorf("5 s after the start, with the clock stepped by %d s, the offset is %v", step, got)
		}
	}
	h := w.Header()
	if !h.Start.Equal(start) || h.Start.Location() != time.UTC {
		t.Errorf("the header says %v, want %v", h.Start, start.UTC())
	}
}

func TestCreateTakesNoOthersDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "reports", "run")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Create(dir, Header{HistWindow: 1, PulseEvery: 1}, scene(t))
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("an empty directory of that name: %v", err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	made, refused := 0, 0
	for range 8 {
		wg.Go(func() {
			w, err := Create(filepath.Join(filepath.Dir(dir), "race"), Header{HistWindow: 1, PulseEvery: 1}, scene(t))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
				_ = w.closeFiles()
			case errors.Is(err, fs.ErrExist):
				refused++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made != 1 || refused != 7 {
		t.Errorf("%d made, %d refused", made, refused)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(dir), ".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// Whatever moment a process dies at while it makes the directory, a directory under the run's name is one that Open
// reads.
func TestCreatedDirectoryOpens(t *testing.T) {
	w := create(t, filepath.Join(t.TempDir(), "run"))
	r, err := Open(w.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if !r.CutShort() || len(r.Damage) != 0 {
		t.Errorf("a new directory: cut short %v, damage %v", r.CutShort(), r.Damage)
	}
}

func TestErrAfterFailedWrite(t *testing.T) {
	w := create(t, filepath.Join(t.TempDir(), "run"))
	if err := w.Err(); err != nil {
		t.Fatal(err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	defer full.Close()
	l, err := w.Ledger(PointKafka)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.file.f.Close(); err != nil {
		t.Fatal(err)
	}
	l.file.f = full
	l.Mark(Seen, 0, 1)
	if err := l.Flush(time.Second); err == nil {
		t.Error("a write to a full disk was taken for good")
	}
	if w.Err() == nil {
		t.Error("Err says nothing of a full disk")
	}
	if err := w.Close(""); err == nil {
		t.Error("evidence with a hole was closed")
	}
	if _, err := os.Stat(filepath.Join(w.Dir, SealFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("evidence with a hole was sealed: %v", err)
	}
}

// Whatever bit of whatever file of a closed run changes, reading it says so. Only a seal that is found to have no sum of
// its own any more is let through: a flip inside that key, which touches nothing that is judged.
func TestEveryFlipIsDetected(t *testing.T) {
	dir := write(t, true)
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 7 {
		t.Fatalf("files %v: %v", files, err)
	}
	flips := 0
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		key := -1
		if filepath.Base(path) == SealFile {
			key = bytes.Index(b, []byte(`"sum"`))
		}
		for i := range b {
			if testing.Short() && i%7 != 0 || key >= 0 && i >= key && i < key+5 {
				continue
			}
			flips++
			bad := bytes.Clone(b)
			bad[i] ^= 1 << (i % 8)
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			r, err := Open(dir)
			if err == nil && len(r.Damage) == 0 {
				t.Errorf("byte %d of %s was %q, is %q, and nobody noticed", i, filepath.Base(path), b[i], bad[i])
			}
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := Open(dir); err != nil || len(r.Damage) != 0 {
		t.Errorf("put back as it was: %v %v", err, r.Damage)
	}
	t.Logf("%d flips", flips)
}

// A file cut at any byte is noticed as well.
func TestEveryCutIsDetected(t *testing.T) {
	dir := write(t, true)
	for _, name := range sealedFiles(dir) {
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(b); n += 1 + len(b)/40 {
			if err := os.WriteFile(path, b[:n], 0o644); err != nil {
				t.Fatal(err)
			}
			if r, err := Open(dir); err == nil && len(r.Damage) == 0 {
				t.Errorf("%s cut at %d of %d: nobody noticed", name, n, len(b))
			}
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
