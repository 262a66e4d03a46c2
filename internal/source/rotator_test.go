package source_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"triad/internal/source"
)

// files returns the log files in the order they were written.
func files(t *testing.T, path string) (names []string, text []byte) {
	t.Helper()
	rotated, err := filepath.Glob(path + ".*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(rotated, path) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		names, text = append(names, name), append(text, b...)
	}
	return names, text
}

func TestRotatorKeepsEveryLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	var rotations []source.Rotation
	r, err := source.NewRotator(source.RotatorOptions{
		Path: path, MaxBytes: 100, MaxFiles: 50,
		OnRotate: func(rot source.Rotation) { rotations = append(rotations, rot) },
	})
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	for i := range 100 {
		line := fmt.Sprintf("line %03d\n", i)
		want.WriteString(line)
		if n, err := r.Write([]byte(line)); err != nil || n != len(line) {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	names, got := files(t, path)
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("lines over all files (-written +found):\n%s", diff)
	}
	// 12 lines of 9 bytes reach 100 bytes: 8 full files in less than a second, under names of 8 different seconds.
	if len(names) != 9 || len(rotations) != 8 {
		t.Fatalf("%d files, %d rotations, want 9 and 8: %v", len(names), len(rotations), names)
	}
	for i, rot := range rotations {
		if rot.Path != path || rot.Rotated != names[i] || rot.Bytes != 108 || rot.Deleted != nil {
			t.Errorf("rotation %d: %+v, want %s with 108 bytes", i, rot, names[i])
		}
		b, err := os.ReadFile(names[i])
		if err != nil || len(b) != 108 || b[len(b)-1] != '\n' {
			t.Errorf("%s has %d bytes, %v", names[i], len(b), err)
		}
	}
	if diff := cmp.Diff(source.RotatorStats{Writes: 100, Bytes: 900, Rotations: 8}, r.Stats()); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}
	if _, err := r.Write([]byte("late\n")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after Close: %v, want os.ErrClosed", err)
	}
}

func TestRotatorDeletesTheOldest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	other := path + ".note"
	if err := os.WriteFile(other, []byte("not a log"), 0o600); err != nil {
		t.Fatal(err)
	}
	var deleted []string
	opts := source.RotatorOptions{
		Path: path, MaxBytes: 10, MaxFiles: 3,
		OnRotate: func(rot source.Rotation) { deleted = append(deleted, rot.Deleted...) },
	}
	r, err := source.NewRotator(opts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if i == 3 { // a restarted process goes on with the files
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if r, err = source.NewRotator(opts); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Fprintf(r, "line %04d\n", i)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("file that is no rotated log: %v", err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	names, got := files(t, path)
	if len(names) != 3 || string(got) != "line 0003\nline 0004\nline 0005\n" {
		t.Errorf("%d files with %q, want the last 3 lines in 3 files", len(names), got)
	}
	if len(deleted) != 3 || strings.Compare(deleted[0], deleted[1]) >= 0 || strings.Compare(deleted[1], deleted[2]) >= 0 {
		t.Errorf("deleted %v, want 3, oldest first", deleted)
	}
	if s := r.Stats(); s.DeletedFiles != 3 || s.DeletedBytes != 30 || s.Rotations != 3 {
		t.Errorf("stats of the second process: %+v, want 3 files of 30 bytes deleted in 3 rotations", s)
	}
}

func TestRotatorChecksAtIntervals(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "0.log")
		r, err := source.NewRotator(source.RotatorOptions{Path: path, MaxBytes: 10, CheckEvery: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for range 25 { // seconds
			fmt.Fprintln(r, "0123456789")
			time.Sleep(time.Second)
		}
		names, got := files(t, path)
		if len(got) != 25*11 || r.Stats().Rotations != 2 {
			t.Errorf("%d bytes, %+v, want 275 bytes and 2 rotations in 25 s", len(got), r.Stats())
		}
		if want := path + "." + time.Now().Add(-15*time.Second).UTC().Format("20060102-150405"); names[0] != want {
			t.Errorf("first rotated file %s, want %s", names[0], want)
		}
	})
}

// TestRotatorFailsSoft takes the name of the new file away: the line goes to the old file and the rotation is made later.
func TestRotatorFailsSoft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "0.log")
	r, err := source.NewRotator(source.RotatorOptions{Path: path, MaxBytes: 5})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	write := func(s string) {
		t.Helper()
		if _, err := r.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	away := dir + ".away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	write("second\n")
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	write("third\n")
	if _, got := files(t, path); string(got) != "first\nsecond\nthird\n" {
		t.Errorf("files hold %q", got)
	}
	if s := r.Stats(); s.Failed != 1 || s.Rotations != 1 || s.Writes != 3 {
		t.Errorf("stats %+v, want 1 failed and 1 made rotation, 3 writes", s)
	}
}

func TestRotatorConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	r, err := source.NewRotator(source.RotatorOptions{Path: path, MaxBytes: 500, MaxFiles: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 100 {
				fmt.Fprintf(r, "writer %d line %03d\n", w, i)
			}
		})
	}
	wg.Wait()
	_, got := files(t, path)
	next := [4]int{}
	for line := range strings.Lines(string(got)) {
		var w, i int
		if _, err := fmt.Sscanf(line, "writer %d line %d\n", &w, &i); err != nil || i != next[w] {
			t.Fatalf("line %q: %v, want number %d", line, err, next[w])
		}
		next[w]++
	}
	if next != [4]int{100, 100, 100, 100} {
		t.Errorf("lines by writer %v, want 100 each", next)
	}
}

func TestNewRotatorRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	for _, opts := range []source.RotatorOptions{
		{Path: path, MaxFiles: 1},
		{Path: path, MaxBytes: -1},
		{Path: path, CheckEvery: -1},
		{Path: filepath.Join(path, "no", "dir")},
	} {
		if r, err := source.NewRotator(opts); err == nil {
			r.Close()
			t.Errorf("NewRotator(%+v) succeeds", opts)
		}
	}
}

func BenchmarkRotator(b *testing.B) {
	r, err := source.NewRotator(source.RotatorOptions{Path: filepath.Join(b.TempDir(), "0.log")})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	line := append(bytes.Repeat([]byte("x"), 255), '\n')
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Write(line); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}
