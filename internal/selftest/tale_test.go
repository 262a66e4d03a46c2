package selftest

import (
	"path/filepath"
	"testing"

	"triad/internal/manifests"
	"triad/internal/view"
)

// Every told run, with other amounts, places and times in each round.
func TestTales(t *testing.T) {
	set, err := manifests.Open(filepath.Join("..", "..", "manifests"))
	if err != nil {
		t.Fatal(err)
	}
	shown, err := view.Shipped(set)
	if err != nil {
		t.Fatal(err)
	}
	rounds := 6
	if testing.Short() {
		rounds = 1
	}
	var rep Report
	for round := range rounds {
		if err := rep.tales(t.Context(), Options{Seed: 1, Dir: t.TempDir(), Shown: shown}, round); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range rep.Cases {
		if !c.Detected {
			t.Errorf("round %d, %s: truth %q, reported %q: %v", c.Round, c.Kind, c.Truth, c.Reported, c.Wrong)
		}
	}
}
