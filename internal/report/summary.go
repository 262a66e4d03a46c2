package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"triad/internal/check"
)

// markdown escapes what Markdown or HTML would take as markup, and keeps the text in one line and one cell.
var markdown = strings.NewReplacer("\\", "\\\\", "`", "\\`", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "<", "&lt;", ">", "&gt;", "&", "&amp;", "|", "\\|",
	"#", "\\#", "~", "\\~", "@", "&#64;", "\r", " ", "\n", " ")

func md(s string) string { return markdown.Replace(s) }

// mdCode prints s as code; a code span has no escapes, so what would end it or the cell is replaced.
func mdCode(s string) string {
	return "`" + strings.NewReplacer("`", "'", "|", "¦", "\n", " ", "\r", " ").Replace(s) + "`"
}

// Summary writes Markdown for the step summary of a build: verdict and sentence first, then hops, what did not pass,
// faults and recovery, and the rest folded away.
func Summary(w io.Writer, res *check.Result) error {
	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	p("## %s: %s on %s\n\n", capital(string(res.Verdict)), md(res.Scenario), md(res.Runtime))
	if res.Title != "" {
		p("%s\n\n", md(res.Title))
	}
	p("**%s**\n\n", md(res.Summary))
	if res.Expected == "fail" {
		p("The scenario documents a known weakness and expects a fail.\n\n")
	}
	if res.Interrupted != "" {
		p("The run was interrupted: %s\n\n", md(res.Interrupted))
	}
	for _, x := range res.Resumed {
		p("The run was resumed: %s.\n\n", md(x.String()))
	}
	if c := res.Capacity; c != nil && len(c.Tries) > 0 {
		t := newSearchTable(c)
		p("%s\n\n| try | rate | verdict |", md(searchWords(c)))
		for _, name := range t.Gates {
			p(" %s |", md(name))
		}
		p("\n|--:|--:|---|%s\n", strings.Repeat("--:|", len(t.Gates)))
		for _, row := range t.Rows {
			p("| %d | %s | %s |", row.Try, md(row.Rate), row.Verdict)
			for _, f := range row.Figures {
				p(" %s |", md(f.Value))
			}
			p("\n")
		}
		p("\n")
	}
	if len(res.Hops) > 0 {
		p("| hop | in | out | waiting | lost | duplicated | certainty |\n|---|--:|--:|--:|--:|--:|---|\n")
		for _, h := range res.Hops {
			lost := lostOf(h)
			if lossy(h) {
				lost = "**" + lost + "**"
			}
			p("| %s | %s | %s | %s | %s | %s | %s |\n", md(h.Name), countOr(h.In), countOr(h.Out), countOr(h.Buffered), lost, countOr(h.Duplicated), md(h.Certainty))
		}
		p("\n")
	}
	var bad, good []check.Check
	for _, c := range res.Checks {
		if c.Verdict == check.Pass || c.Verdict == check.Skipped {
			good = append(good, c)
		} else {
			bad = append(bad, c)
		}
	}
	checks := func(list []check.Check) {
		p("| verdict | check | value | limit | detail |\n|---|---|--:|--:|---|\n")
		for _, c := range list {
			name := md(c.Name)
			if c.Gate {
				name = mdCode(c.Name)
			} else if c.Claim != "" {
				name += " (" + md(c.Claim) + ")"
			}
			p("| %s | %s | %s | %s | %s |\n", c.Verdict, name, md(quantityOr(c.Value, c.Unit)), md(quantityOr(c.Limit, c.Unit)), md(c.Detail))
		}
		p("\n")
	}
	if len(bad) > 0 {
		p("### Did not pass\n\n")
		checks(bad)
	}
	if len(res.Faults) > 0 {
		p("### Faults\n\n| fault | target | injected | bit | healed | gone | hits |\n|---|---|--:|--:|--:|--:|--:|\n")
		for _, f := range res.Faults {
			p("| %s | %s | %s | %s | %s | %s | %s |\n", md(f.Name), md(f.Target), instantOr(f.InjectedAt), instantOr(f.BitAt), instantOr(f.HealedAt), instantOr(f.GoneAt), count(f.Hits))
		}
		r := res.Recovery
		p("\nRecovery: noticed after %s; after the heal first good record %s, drained %s, back in band %s.\n\n", spanOr(r.Noticed), spanOr(r.FirstGood), spanOr(r.Drained), spanOr(r.InBand))
	}
	if rows := recoveryRows(res); len(rows) > 0 {
		p("| recovery from | verdict | noticed | first good | drained | in band |\n|---|---|--:|--:|--:|--:|\n")
		for _, x := range rows {
			p("| %s | %s | %s | %s | %s | %s |\n", md(x.Fault), x.Verdict, x.Noticed, x.FirstGood, x.Drained, x.InBand)
		}
		p("\n")
	}
	if rows := restartRows(res); len(rows) > 0 {
		p("### Restarts\n\n| container or pod | component | between | what happened | explained by |\n|---|---|--:|---|---|\n")
		for _, x := range rows {
			p("| %s | %s | %s | %s | %s |\n", md(x.Where), md(x.Component), x.Between, md(x.How), md(x.Fault))
		}
		p("\n")
	}
	if rows := trendRows(res); len(rows) > 0 {
		p("### Trend\n\n| verdict | what | of | level | growth | between | allowed |\n|---|---|---|--:|--:|--:|--:|\n")
		for _, r := range rows {
			p("| %s | %s | %s | %s | %s | %s | %s |\n", r.Verdict, md(r.What), md(r.Of), md(r.Level), md(r.Growth), md(r.Between), md(r.Limit))
		}
		p("\n")
	}
	if rows := sumLatency(res); len(rows) > 0 {
		p("<details><summary>Latency over all sources</summary>\n\n| latency | phase | records | p50 | p99 | max |\n|---|---|--:|--:|--:|--:|\n")
		for _, l := range rows {
			p("| %s | %s | %s | %s | %s | %s |\n", md(metricName(l.Metric)), md(l.Phase), count(l.Count), interval(l.P50, l.P50Upper), interval(l.P99, l.P99Upper), interval(l.Max, l.MaxUpper))
		}
		p("\n</details>\n\n")
	}
	if len(good) > 0 {
		p("<details><summary>%d checks passed or skipped</summary>\n\n", len(good))
		checks(good)
		p("</details>\n\n")
	}
	if len(res.Skipped) > 0 {
		p("<details><summary>Skipped (%d)</summary>\n\n", len(res.Skipped))
		for _, s := range res.Skipped {
			p("- **%s**: %s\n", md(s.What), md(s.Why))
		}
		p("\n</details>\n\n")
	}
	if rests := restsOn(res); len(rests) > 0 {
		p("Rests on: %s.\n\n", md(strings.Join(rests, ", ")))
	}
	for _, l := range res.Limits {
		p("> %s\n>\n", md(l))
	}
	if len(res.Limits) > 0 {
		p("\n")
	}
	p("Run %s, seed %d, judged %s.\n", mdCode(res.Run), res.Seed, stamp(res.Judged))
	_, err := w.Write(b.Bytes())
	return err
}

// sumLatency are the rows over all sources in the phases with a name.
func sumLatency(res *check.Result) []check.Latency {
	var out []check.Latency
	for _, l := range res.Latency {
		if l.Source == check.PhaseAll && l.Phase != check.PhaseAll {
			out = append(out, l)
		}
	}
	return out
}

// restsOn are the models, stand-ins and absent parts that any verdict rests on.
func restsOn(res *check.Result) []string {
	var out []string
	seen := map[string]bool{}
	for _, c := range res.Checks {
		for _, r := range c.Rests {
			if !seen[r] {
				seen[r] = true
				out = append(out, r)
			}
		}
	}
	return out
}
