package report

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"triad/internal/check"
)

// ChangeMark stands in the first line of the Markdown of a change, so that a program finds its own comment again.
const ChangeMark = "<!-- triad: sim compare -->"

// commentLimit is the longest Markdown of a change. GitHub refuses comments above 65,536 characters.
const commentLimit = 60_000

// ChangeText prints a change for a terminal. manifests are the lines in which the applied objects differ.
func ChangeText(w io.Writer, c *check.Change, manifests []string) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n%s  %s\n", changeTitle(c), strings.ToUpper(c.Verdict), c.Summary)
	fmt.Fprintln(&b, "\nManifests (A: base, B: head)")
	for _, l := range manifests {
		fmt.Fprintln(&b, "  "+l)
	}
	for _, s := range c.Scenarios {
		fmt.Fprintf(&b, "\n%s: %s\n", s.Scenario, s.Verdict)
		for _, f := range s.Findings {
			fmt.Fprintf(&b, "  ! %s: %s, then %s: %s%s\n", f.What, f.Base, f.Head, answer(f.Verdict), because(f))
		}
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for i, f := range s.Figures {
			if i == 0 {
				fmt.Fprintln(t, "  FIGURE\tBASE\tHEAD\tCHANGE\t95 % RANGE\t\t")
			}
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Name, figureValue(f.A, f.Unit), figureValue(f.B, f.Unit), share(f.Change), shareRange(f), answer(f.Verdict), pValue(f.Adjusted))
		}
		if err := t.Flush(); err != nil {
			return err
		}
		for _, n := range s.Notes {
			fmt.Fprintln(&b, "  - "+n)
		}
	}
	fmt.Fprintln(&b)
	for _, n := range changeNotes(c) {
		fmt.Fprintln(&b, n)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// ChangeMarkdown writes a change as the comment of a pull request. What does not fit is left out and said.
func ChangeMarkdown(w io.Writer, c *check.Change, manifests []string) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n### Triad: %s\n\n%s\n\n", ChangeMark, c.Verdict, md(c.Summary))
	fmt.Fprintf(&b, "%s\n\n", md(changeTitle(c)))
	for _, s := range c.Scenarios {
		fmt.Fprintf(&b, "#### %s: %s\n\n", md(s.Scenario), s.Verdict)
		if len(s.Findings) > 0 {
			fmt.Fprint(&b, "| verdicts and records | base | head | |\n|---|---|---|---|\n")
			for _, f := range s.Findings {
				fmt.Fprintf(&b, "| %s | %s | %s | %s%s |\n", md(f.What), f.Base, f.Head, strong(f.Verdict), md(because(f)))
			}
			fmt.Fprintln(&b)
		}
		same := 0
		var rows, rest strings.Builder
		for _, f := range s.Figures {
			out := &rows
			if f.Verdict == check.Same || f.Verdict == check.TooFew {
				same++
				out = &rest
			}
			fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s | %s |\n", md(f.Name), figureValue(f.A, f.Unit), figureValue(f.B, f.Unit), share(f.Change), shareRange(f), strong(f.Verdict), pValue(f.Adjusted))
		}
		const head = "| figure | base | head | change | 95 % range of it | | |\n|---|---|---|---|---|---|---|\n"
		if rows.Len() > 0 {
			fmt.Fprintf(&b, "%s%s\n", head, rows.String())
		}
		if same > 0 {
			fmt.Fprintf(&b, "<details><summary>Figures in which no difference is seen: %d</summary>\n\n%s%s\n</details>\n\n", same, head, rest.String())
		}
		for _, n := range s.Notes {
			fmt.Fprintf(&b, "- %s\n", md(n))
		}
		fmt.Fprintln(&b)
	}
	// A line of a configuration may hold the fence itself.
	fmt.Fprintf(&b, "<details><summary>What differs in the manifests (A: base, B: head)</summary>\n\n~~~~\n%s\n~~~~\n</details>\n\n", strings.ReplaceAll(strings.Join(manifests, "\n"), "~~~~", "~ ~ ~"))
	for _, n := range changeNotes(c) {
		fmt.Fprintln(&b, md(n)+"  ")
	}
	out := b.String()
	if len(out) > commentLimit {
		at := strings.LastIndex(out[:commentLimit], "\n")
		out = out[:at] + "\n\nThe rest does not fit into a comment: see compare.json.\n"
	}
	_, err := io.WriteString(w, out)
	return err
}

func changeTitle(c *check.Change) string {
	name := func(r check.Revision) string {
		if r.Commit != "" && !strings.HasPrefix(r.Commit, r.Name) {
			return fmt.Sprintf("%s (%.12s)", r.Name, r.Commit)
		}
		return r.Name
	}
	return fmt.Sprintf("%s against %s, on %s, %d rounds in turns", name(c.Head), name(c.Base), c.Runtime, c.Rounds)
}

func changeNotes(c *check.Change) []string {
	out := []string{fmt.Sprintf("A figure is called different when it changed by %.3g %% or more and by more than chance: in less than 1 of %.0f comparisons of the same would any figure of a scenario be (Mann-Whitney over whole runs, Holm).", c.Effect*100, 1/c.Level)}
	if c.Runtime == "embedded" {
		out = append(out, "The embedded runtime is a model: what it says of latencies and rates is about configuration (intervals, batches, retries), never about the speed of the real programs.")
	}
	if c.Interrupted {
		out = append(out, "Interrupted: the rounds that were finished are compared.")
	}
	return out
}

func because(f check.Finding) string {
	out := ""
	if f.Detail != "" {
		out = " (" + f.Detail + ")"
	}
	if f.Verdict == check.NotClear || f.Verdict == check.Same {
		out += fmt.Sprintf("; chance alone does so much with p %.2g", f.Chance)
	}
	return out
}

func answer(v string) string {
	if v == check.NotClear {
		return "may be chance"
	}
	return v
}

func strong(v string) string {
	if v == check.Worse || v == check.Better {
		return "**" + v + "**"
	}
	return answer(v)
}

func figureValue(e *check.Estimate, unit string) string {
	if e == nil {
		return none
	}
	one := func(v float64) string {
		switch unit {
		case "s":
			return span(time.Duration(v * 1e9))
		case "records", "":
			return number(v)
		case "/s":
			return number(v) + "/s"
		}
		return number(v) + " " + unit
	}
	if lo, hi := one(e.Lo), one(e.Hi); e.N > 1 && lo != hi {
		return fmt.Sprintf("%s [%s, %s]", one(e.Median), lo, hi)
	}
	return one(e.Median)
}

func share(v *float64) string {
	if v == nil {
		return none
	}
	return fmt.Sprintf("%+.1f %%", *v*100)
}

// shareRange is the range in which the change lies.
func shareRange(f check.ChangeFigure) string {
	if f.ShareLo == nil || f.ShareHi == nil || f.Shift == nil || math.IsNaN(*f.ShareLo) {
		return none
	}
	one := func(v float64) string {
		switch {
		case v < -10:
			return "below -1000"
		case v > 10:
			return "above +1000"
		}
		return fmt.Sprintf("%+.1f", v*100)
	}
	return one(*f.ShareLo) + " to " + one(*f.ShareHi) + " %"
}

func pValue(p *float64) string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("p %.3f", *p)
}
