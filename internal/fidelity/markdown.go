package fidelity

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"triad/internal/evidence"
)

// Marks around what is written, and the heading for where they are missing.
const (
	Begin   = "<!-- fidelity:begin -->"
	End     = "<!-- fidelity:end -->"
	Heading = "## Sim against real"
)

// Replace puts text between the marks of a document; without marks it adds the section at the end.
func Replace(doc, text string) (string, error) {
	begins, ends := strings.Count(doc, Begin), strings.Count(doc, End)
	text = Begin + "\n" + strings.TrimSpace(text) + "\n" + End
	switch {
	case begins == 0 && ends == 0:
		if doc = strings.TrimRight(doc, "\n"); doc != "" {
			doc += "\n\n"
		}
		return doc + Heading + "\n\n" + text + "\n", nil
	case ends == 0:
		return "", fmt.Errorf("%s without %s: what to replace cannot be told", Begin, End)
	case begins == 0:
		return "", fmt.Errorf("%s without %s: what to replace cannot be told", End, Begin)
	case begins > 1 || ends > 1:
		return "", fmt.Errorf("%d times %s and %d times %s: want one of each", begins, Begin, ends, End)
	}
	before, rest, _ := strings.Cut(doc, Begin)
	_, after, ok := strings.Cut(rest, End)
	if !ok {
		return "", errors.New(End + " stands before " + Begin)
	}
	return before + text + after, nil
}

// Markdown is what stands between the marks.
func (t *Table) Markdown() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("Written by `sim fidelity --write`, from the results of runs; what is changed here by hand is lost.\n")
	p("| | embedded | kind |")
	p("|---|---|---|")
	p("| runs that count | %d | %d |", t.Sim.Runs, t.Real.Runs)
	p("| newest | %s | %s |", day(t.Sim.Newest), day(t.Real.Newest))
	p("| commit of Triad | %s | %s |", commits(t.Sim.Commits), commits(t.Real.Commits))
	p("| processors of the machine | %s | %s |", numbers(t.Sim.Cores), numbers(t.Real.Cores))
	p("")
	for _, f := range []struct{ fidelity, words string }{
		{evidence.Real, "Real on kind"}, {evidence.StandIn, "Stand-ins there"}, {evidence.Model, "Triad's models there too"}, {evidence.Absent, "Absent there"},
	} {
		if names := t.named(f.fidelity); names != "" {
			p("- %s: %s.", f.words, names)
		}
	}
	p("")
	p("%s", strings.Join(Reading(), "\n"))
	for _, s := range t.Scenarios {
		p("\n### %s\n", s.Scenario)
		p("%s\n", s.Counts())
		p("| figure | embedded | n | kind | n | agreement | reason |")
		p("|---|---|---|---|---|---|---|")
		for _, r := range s.Rows {
			p("| %s | %s | %d | %s | %d | %s | %s |", r.Figure, r.Cell(r.Sim), r.Sim.N, r.Cell(r.Real), r.Real.N, cell(r.String()), cell(r.Reason))
		}
	}
	if len(t.Missing) > 0 {
		p("\nNo run that counts, on either side: %s.", strings.Join(t.Missing, ", "))
	}
	if lines := t.Left(); len(lines) > 0 {
		p("\nRuns left out: %d.\n", len(t.LeftOut))
		for _, l := range lines {
			p("- %s", cell(l))
		}
	}
	return b.String()
}

// Reading says how the rows are to be read, in sentences.
func Reading() []string {
	return []string{
		"A figure is the lowest and the highest of n runs. `agrees`: the intervals overlap, each wider by the resolution of its times, or the medians differ by at most",
		fmt.Sprintf("%.0f %% of the real one. `too few`: less than %d runs on kind or none on embedded. `n/a`: on kind the program is Triad's model as well. Only `agrees` is agreement.", tolerance*100, enoughReal),
		"Interrupted runs are left out. An invalid run counts for what was lost, not for times and backlogs. Backlogs before and behind Kafka are records between two observation points;",
		"that of a hop is its fullest buffer, where a gauge tells it.",
	}
}

// Counts says how many runs a block rests on.
func (b Block) Counts() string {
	side := func(c Count) string {
		s := plural(c.Runs, "run")
		if c.Invalid > 0 {
			s += fmt.Sprintf(", of which %d invalid", c.Invalid)
		}
		return s
	}
	out := "embedded: " + side(b.Sim) + "; kind: " + side(b.Real) + "."
	if b.NoFault {
		out += " No fault was injected, so there is nothing to come back from."
	}
	return out
}

// Left says how many runs were left out for what; one reason a line.
func (t *Table) Left() []string {
	by := map[string][]string{}
	for _, o := range t.LeftOut {
		why, _, interrupted := strings.Cut(o.Why, ":")
		if !interrupted || why != "interrupted" {
			why = o.Why
		}
		by[why] = append(by[why], o.Run)
	}
	var out []string
	for _, why := range slices.Sorted(maps.Keys(by)) {
		out = append(out, fmt.Sprintf("%d: %s (%s)", len(by[why]), why, strings.Join(by[why], ", ")))
	}
	return out
}

// Cell is an interval in words.
func (r Row) Cell(i Interval) string {
	out := "–"
	if i.N > 0 {
		if out = quantity(*i.Min, r.Unit); quantity(*i.Max, r.Unit) != out {
			out += " to " + quantity(*i.Max, r.Unit)
			if i.N > 2 {
				out += ", median " + quantity(*i.Median, r.Unit)
			}
		}
	}
	var notes []string
	for _, v := range slices.Sorted(maps.Keys(i.Verdicts)) {
		notes = append(notes, fmt.Sprintf("%s %d", v, i.Verdicts[v]))
	}
	if i.Unseen > 0 {
		notes = append(notes, fmt.Sprintf("not seen in %d", i.Unseen))
	}
	if len(notes) > 0 {
		out += " (" + strings.Join(notes, ", ") + ")"
	}
	return out
}

func quantity(v float64, unit string) string {
	switch unit {
	case "s":
		return strconv.FormatFloat(v, 'f', 1, 64) + " s"
	case "bytes":
		return strconv.FormatFloat(v/1024, 'f', 0, 64) + " KiB"
	case "records":
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + " " + unit
}

func (t *Table) named(fidelity string) string {
	var out []string
	for _, c := range t.Components {
		if c.Fidelity != fidelity {
			continue
		}
		s := c.Name
		if len(c.Versions) > 0 {
			s += " " + strings.Join(c.Versions, " and ")
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func day(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format(time.DateOnly)
}

func commits(list []string) string {
	out := make([]string, 0, len(list))
	for _, c := range list {
		id, dirty, changed := strings.Cut(c, "+")
		if c = id[:min(len(id), 12)]; changed {
			c += "+" + dirty
		}
		out = append(out, cell(c))
	}
	return dash(strings.Join(out, ", "))
}

func numbers(list []int) string {
	var out []string
	for _, n := range list {
		out = append(out, strconv.Itoa(n))
	}
	return dash(strings.Join(out, ", "))
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// cell keeps a text from ending a cell of a table or beginning a tag or a comment.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ").Replace(s)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
