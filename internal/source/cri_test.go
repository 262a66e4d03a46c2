package source_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"triad/internal/source"
)

var criTime = time.Date(2026, 1, 2, 3, 4, 5, 120_000_000, time.UTC)

func TestAppendCRI(t *testing.T) {
	const head = "2026-01-02T03:04:05.12Z stdout "
	long := strings.Repeat("x", source.CRIMaxLine)
	for _, tc := range []struct{ name, line, want string }{
		{"short", `{"a":1}`, head + "F {\"a\":1}\n"},
		{"empty", "", head + "F \n"},
		{"exactly the limit", long, head + "F " + long + "\n"},
		{"one above", long + "y", head + "P " + long + "\n" + head + "F y\n"},
		{"twice the limit", long + long, head + "P " + long + "\n" + head + "F " + long + "\n"},
		{"three parts", long + long + "z", head + "P " + long + "\n" + head + "P " + long + "\n" + head + "F z\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := source.AppendCRI([]byte("kept"), criTime, true, []byte(tc.line))
			if diff := cmp.Diff("kept"+tc.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseCRI(t *testing.T) {
	for _, tc := range []struct {
		line string
		want source.CRILine
	}{
		{"2026-01-02T03:04:05.12Z stdout F a b", source.CRILine{Time: criTime, Stdout: true, Text: []byte("a b")}},
		{"2026-01-02T03:04:05.12Z stderr P ", source.CRILine{Time: criTime, Partial: true, Text: []byte("")}},
		{"2026-01-02T05:04:05.120000000+02:00 stdout F  x", source.CRILine{Time: criTime, Stdout: true, Text: []byte(" x")}},
	} {
		got, err := source.ParseCRI([]byte(tc.line))
		if err != nil {
			t.Fatalf("%q: %v", tc.line, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tc.line, diff)
		}
	}
	for _, line := range []string{
		"", "text", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z stdout F", "2026-01-02T03:04:05Z stdout X a",
		"2026-01-02T03:04:05Z stdin_ F a", "2026-01-02 stdout F a", "yesterday stdout F a",
		"2026-01-02T03:04:05Z stdout  F a",
	} {
		if got, err := source.ParseCRI([]byte(line)); !errors.Is(err, source.ErrNotCRI) {
			t.Errorf("ParseCRI(%q) = %+v, %v, want ErrNotCRI", line, got, err)
		}
	}
}

func FuzzParseCRI(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05.12Z stdout F a b"))
	f.Add([]byte("2026-01-02T03:04:05+01:00 stderr P "))
	f.Fuzz(func(t *testing.T, line []byte) {
		l, err := source.ParseCRI(line)
		if err != nil {
			return
		}
		if !bytes.HasSuffix(line, l.Text) || bytes.ContainsRune(l.Text, '\n') != bytes.ContainsRune(line, '\n') {
			t.Fatalf("ParseCRI(%q) = %+v", line, l)
		}
	})
}

// TestCRIJoiner writes lines of any length to both streams, part by part in turn, and reads them back.
func TestCRIJoiner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want, got [2][]string
		var parts [2][][]byte
		for s := range 2 {
			for i := range rapid.IntRange(0, 4).Draw(t, "lines") {
				size := rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(source.CRIMaxLine-2, 3*source.CRIMaxLine+2)).Draw(t, "size")
				line := strings.Repeat(string(rune('a'+4*s+i)), size)
				want[s] = append(want[s], line)
				file := source.AppendCRI(nil, criTime.Add(time.Duration(i)*time.Second), s == 0, []byte(line))
				parts[s] = append(parts[s], bytes.Split(bytes.TrimSuffix(file, []byte("\n")), []byte("\n"))...)
			}
		}
		var j source.CRIJoiner
		for len(parts[0])+len(parts[1]) > 0 {
			s := rapid.IntRange(0, 1).Draw(t, "stream")
			if len(parts[s]) == 0 {
				s = 1 - s
			}
			l, err := source.ParseCRI(parts[s][0])
			if err != nil {
				t.Fatal(err)
			}
			parts[s] = parts[s][1:]
			whole, ok := j.Add(l)
			if ok == l.Partial {
				t.Fatalf("Add(partial %v) = %v", l.Partial, ok)
			}
			if !ok {
				continue
			}
			if whole.Partial || whole.Stdout != (s == 0) || !whole.Time.Equal(criTime.Add(time.Duration(len(got[s]))*time.Second)) {
				t.Fatalf("line %d of stream %d: partial %v, stdout %v, time %v", len(got[s]), s, whole.Partial, whole.Stdout, whole.Time)
			}
			got[s] = append(got[s], string(whole.Text))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("lines (-written +joined):\n%s", diff)
		}
	})
}

func TestCRIJoinerFlush(t *testing.T) {
	var j source.CRIJoiner
	if l, ok := j.Flush(true); ok {
		t.Errorf("Flush of an empty joiner = %+v", l)
	}
	j.Add(source.CRILine{Time: criTime, Stdout: true, Partial: true, Text: []byte("half ")})
	j.Add(source.CRILine{Time: criTime.Add(time.Second), Stdout: true, Partial: true, Text: []byte("of it")})
	if n, ok := j.Pending(true); !ok || n != 10 {
		t.Errorf("Pending(stdout) = %d, %v, want 10, true", n, ok)
	}
	if n, ok := j.Pending(false); ok || n != 0 {
		t.Errorf("Pending(stderr) = %d, %v, want none", n, ok)
	}
	got, ok := j.Flush(true)
	want := source.CRILine{Time: criTime, Stdout: true, Partial: true, Text: []byte("half of it")}
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("Flush = %v (-want +got):\n%s", ok, diff)
	}
	// The rest, when it comes after all, is a line of its own.
	rest, ok := j.Add(source.CRILine{Time: criTime, Stdout: true, Text: []byte("rest")})
	if !ok || string(rest.Text) != "rest" {
		t.Errorf("after Flush: %+v, %v", rest, ok)
	}
}

func BenchmarkParseCRI(b *testing.B) {
	line := bytes.TrimSuffix(source.AppendCRI(nil, criTime, true, bytes.Repeat([]byte("x"), 256)), []byte("\n"))
	var j source.CRIJoiner
	b.ReportAllocs()
	for b.Loop() {
		l, err := source.ParseCRI(line)
		if err != nil {
			b.Fatal(err)
		}
		j.Add(l)
	}
}
