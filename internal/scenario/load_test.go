package scenario

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestGoodFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/good/*.yaml")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, f := range files {
		s, err := Load(f)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		b, err := s.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse("run/scenario.yaml", b); err != nil {
			t.Errorf("%s: the copy in a run directory cannot be run again: %v", f, err)
		}
		again, err := Parse(f, b)
		if err != nil {
			t.Errorf("%s resolved: %v\n%s", f, err, b)
		} else if d := cmp.Diff(s, again, cmpopts.IgnoreUnexported(Scenario{})); d != "" {
			t.Errorf("%s: resolved file differs: %s", f, d)
		}
	}
}

func TestBadFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	if len(files) < 10 {
		t.Fatalf("only %d files", len(files))
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(b), "\n")
		want := strings.TrimPrefix(first, "# want: ")
		if _, err := Load(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", f, err, want)
		} else if !strings.Contains(err.Error(), filepath.Base(f)+":") {
			t.Errorf("%s: no place in %v", f, err)
		}
	}
}

func TestShippedScenarios(t *testing.T) {
	files, _ := filepath.Glob("../../scenarios/*.yaml")
	for _, f := range files {
		if _, err := Load(f); err != nil {
			t.Errorf("%v", err)
		}
	}
}

func TestTime(t *testing.T) {
	p := Phases{WarmUp: Duration(time.Second), Before: Duration(2 * time.Second), During: Duration(4 * time.Second)}
	for text, want := range map[string]time.Duration{"20s": 20 * time.Second, "during": 3 * time.Second, "during+1s": 4 * time.Second, "after-500ms": 6500 * time.Millisecond, "warm-up+1s": time.Second} {
		var tm Time
		if err := tm.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := p.Resolve(tm); got != want {
			t.Errorf("%s = %v, want %v", text, got, want)
		} else if tm.String() != text {
			t.Errorf("%s prints %s", text, tm)
		}
	}
}

func FuzzParse(f *testing.F) {
	b, _ := os.ReadFile("testdata/good/everything.yaml")
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) {
		if s, err := Parse("x", b); err == nil {
			s.Streams()
		}
	})
}

func FuzzThreshold(f *testing.F) {
	f.Add("e2e_latency{source=service, phase=during} p(99.9) < 10s")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := ParseThreshold(s); err != nil && err.Error() == "" {
			t.Fatal("empty error")
		}
	})
}
