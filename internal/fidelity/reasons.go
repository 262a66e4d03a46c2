package fidelity

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"triad/internal/scenario"
)

// Reason is why a row differs, kept by hand.
type Reason struct {
	Scenario string `yaml:"scenario"`
	Figure   string `yaml:"figure"`
	Reason   string `yaml:"reason"`
}

// Explain reads a file of reasons and puts each beside its row, where that differs. known are the scenarios that there are. A
// reason for a row that cannot be, a second one for the same row and an empty one are errors, all at once. idle are reasons
// whose row does not differ, or is not there in these runs.
func (t *Table) Explain(file string, data []byte, known []string) (idle []string, err error) {
	var doc struct {
		Reasons []Reason `yaml:"reasons"`
	}
	at, err := scenario.DecodeStrict(file, data, &doc)
	if err != nil {
		return nil, err
	}
	known = slices.Clone(known)
	for _, b := range t.Scenarios {
		known = append(known, b.Scenario)
	}
	var errs []error
	seen := map[[2]string]bool{}
	for i, r := range doc.Reasons {
		path := fmt.Sprintf("reasons[%d]", i)
		fail := func(format string, args ...any) {
			errs = append(errs, &scenario.Error{File: file, At: at[path], Path: path, Msg: fmt.Sprintf(format, args...)})
		}
		key := [2]string{r.Scenario, r.Figure}
		switch {
		case !slices.Contains(known, r.Scenario):
			fail("no scenario %q", r.Scenario)
		case !slices.Contains(Figures(), r.Figure):
			fail("no figure %q; there are: %s", r.Figure, strings.Join(Figures(), ", "))
		case strings.TrimSpace(r.Reason) == "":
			fail("no reason for %s of %s", r.Figure, r.Scenario)
		case seen[key]:
			fail("a second reason for %s of %s", r.Figure, r.Scenario)
		case !t.explain(r):
			idle = append(idle, r.Figure+" of "+r.Scenario)
		}
		seen[key] = true
	}
	return idle, errors.Join(errs...)
}

func (t *Table) explain(r Reason) bool {
	for _, b := range t.Scenarios {
		for i := range b.Rows {
			if row := &b.Rows[i]; b.Scenario == r.Scenario && row.Figure == r.Figure && row.Agreement == Differs {
				row.Reason = strings.Join(strings.Fields(r.Reason), " ")
				return true
			}
		}
	}
	return false
}

// Unexplained are the rows that differ and have no reason.
func (t *Table) Unexplained() []string {
	var out []string
	for _, b := range t.Scenarios {
		for _, r := range b.Rows {
			if r.Agreement == Differs && r.Reason == "" {
				out = append(out, r.Figure+" of "+b.Scenario)
			}
		}
	}
	return out
}
