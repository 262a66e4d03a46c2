package main

import (
	"path/filepath"
	"strings"
	"testing"

	"triad/internal/scenario"
)

// What a list says of a step that is not possible has its reason: for every kind of fault and in every shipped scenario.
func TestListSaysWhyNot(t *testing.T) {
	for _, f := range scenario.Faults {
		if (f.WhyNot("embedded") == "") != f.Embedded || (f.WhyNot("kind") == "") != f.Kind {
			t.Errorf("%s: embedded %v (%q), kind %v (%q)", f.Name, f.Embedded, f.WhyNot("embedded"), f.Kind, f.WhyNot("kind"))
		}
	}
	_, rows, err := (&app{root: filepath.Join("..", "..")}).scenarioRows()
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, r := range rows {
		said[r[0]] = r[4]
		if strings.Contains(r[4], noReason) {
			t.Errorf("%s: %s", r[0], r[4])
		}
	}
	for name, want := range map[string]string{
		"noisy-neighbour":  "noisy-neighbour is not possible on embedded: ",
		"rollback":         "roll-out is skipped on embedded: ",
		"rotation-overrun": "not on kind: ",
		"topology-compare": "is skipped on embedded: ",
	} {
		if !strings.Contains(said[name], want) {
			t.Errorf("%s: %q is not said: %s", name, want, said[name])
		}
	}
}
