package conf

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triad/internal/model"
)

const sample = `a: 1
b:
  c: x
  unread: [1, 2]
list:
  - n: 1
  - n: 2
names: [p, q]
`

func TestSection(t *testing.T) {
	f := &File{Name: "f.yaml"}
	s, err := f.Parse([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	if v := Value(s, "a", 0, strconv.Atoi); v != 1 {
		t.Errorf("a = %d", v)
	}
	b := s.Section("b")
	if v := b.String("c", ""); v != "x" {
		t.Errorf("b.c = %q", v)
	}
	for i, l := range s.Sections("list") {
		if v := Value(l, "n", 0, strconv.Atoi); v != i+1 {
			t.Errorf("list[%d] = %d", i, v)
		}
	}
	if d := cmp.Diff([]string{"p", "q"}, s.Strings("names")); d != "" {
		t.Error(d)
	}
	if s.Section("absent") != nil || s.Section("absent").String("x", "def") != "def" {
		t.Error("an absent section does not read as empty")
	}
	b.Rest(nil)
	s.Rest(nil)
	want := []model.NotModelled{{File: "f.yaml", Line: 4, Key: "b.unread", Value: "[1, 2]", Why: "unknown to the model, so it has no effect here"}}
	if d := cmp.Diff(want, f.Notes()); d != "" {
		t.Error(d)
	}
	if err := f.Err(); err != nil {
		t.Error(err)
	}
}

func TestFaults(t *testing.T) {
	f := &File{Name: "f.yaml"}
	s, err := f.Parse([]byte("a: x\nb: [1]\nc: 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	Value(s, "a", 0, strconv.Atoi)
	s.Section("b")
	s.Sections("c")
	got := f.Err().Error()
	for _, want := range []string{"f.yaml:1: a: ", "f.yaml:2: b: want a mapping", "f.yaml:3: c: want a list"} {
		if !strings.Contains(got, want) {
			t.Errorf("faults %q lack %q", got, want)
		}
	}
	for in, want := range map[string]string{
		"":               "empty",
		"a: 1\n---\nb:":  "more than one document",
		"[1]":            "f.yaml:1: want a mapping",
		"a: 1\na: 2":     "f.yaml:2: duplicate key",
		"a: &x 1\nb: *x": "aliases",
		strings.Repeat("a: {", 80) + strings.Repeat("}", 80): "nested too deeply",
	} {
		if _, err := (&File{Name: "f.yaml"}).Parse([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: error %v, want %q", in, err, want)
		}
	}
	if _, err := (&File{Name: "f.yaml", Fold: true}).Parse([]byte("a: 1\nA: 2")); err == nil {
		t.Error("duplicate key in another case accepted")
	}
}
