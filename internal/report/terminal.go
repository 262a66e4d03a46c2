package report

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"triad/internal/check"
	"triad/internal/scenario"
)

// terminalWidth is the number of columns that the result table keeps to.
const terminalWidth = 100

// SGR codes: bold for headings, colours of verdicts that read on dark and light.
var terminalCodes = map[string]string{
	"bold": "1", "dim": "2", string(check.Pass): "1;32", string(check.Fail): "1;31", string(check.Invalid): "1;35",
	string(check.Inconclusive): "1;33", string(check.Skipped): "2",
}

// screen collects the text for a terminal.
type screen struct {
	bytes.Buffer
	color bool
}

// paint wraps s in the codes of a style; without colour it returns s.
func (s *screen) paint(style, text string) string {
	code := terminalCodes[style]
	if !s.color || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) f(format string, args ...any) { fmt.Fprintf(&s.Buffer, format, args...) }

func (s *screen) heading(text string) { s.f("\n%s\n", s.paint("bold", text)) }

// Terminal writes the result for a person at a terminal of 100 columns: what happened at each hop, how long things
// took, what was judged, and last the verdict in one line. Control characters in texts of the run are replaced.
func Terminal(w io.Writer, res *check.Result, color bool) error {
	s := &screen{color: color}
	s.f("%s\n", s.paint("bold", clean(fmt.Sprintf("%s on %s, seed %d", res.Scenario, res.Runtime, res.Seed))))
	if res.Title != "" {
		s.wrap(res.Title, "", "")
	}
	s.search(res)
	s.hops(res)
	s.latency(res)
	s.faults(res)
	s.restarts(res)
	s.buffers(res)
	s.trends(res)
	s.checks(res)
	if len(res.Skipped) > 0 {
		s.heading("Skipped")
		for _, x := range res.Skipped {
			s.wrap(x.What+": "+x.Why, "  ", "    ")
		}
	}
	if rests := restsOn(res); len(rests) > 0 {
		s.heading("Rests on")
		s.wrap(strings.Join(rests, ", "), "  ", "  ")
	}
	if len(res.Limits) > 0 {
		s.heading(clean("What " + res.Runtime + " cannot show"))
		for _, l := range res.Limits {
			s.wrap(l, "  - ", "    ")
		}
	}
	for _, d := range res.Damage {
		s.wrap("damaged evidence: "+d, "", "  ")
	}
	s.f("\n")
	if res.Interrupted != "" {
		s.wrap("The run was interrupted: "+res.Interrupted, "", "  ")
	}
	for _, x := range res.Resumed {
		s.wrap("The run was resumed: "+x.String()+".", "", "  ")
	}
	if res.Expected == "fail" {
		s.wrap("The scenario documents a known weakness and expects a fail.", "", "  ")
	}
	word := strings.ToUpper(string(res.Verdict))
	pad := strings.Repeat(" ", utf8.RuneCountInString(word)+2)
	for i, line := range fold(clean(res.Summary), terminalWidth-len(pad)) {
		if i == 0 {
			s.f("%s  %s\n", s.paint(string(res.Verdict), word), line)
		} else {
			s.f("%s%s\n", pad, line)
		}
	}
	_, err := w.Write(s.Bytes())
	return err
}

// clean replaces control characters, so that no text of a run can move the cursor.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if unicode.IsControl(r) || !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// fold breaks text into lines of at most width columns; a longer word is cut.
func fold(text string, width int) []string {
	var out []string
	line, n := "", 0
	for word := range strings.FieldsSeq(text) {
		for {
			k := utf8.RuneCountInString(word)
			if n > 0 && n+1+k <= width {
				line, n = line+" "+word, n+1+k
				break
			}
			if n > 0 {
				out = append(out, line)
				line, n = "", 0
			}
			if k <= width {
				line, n = word, k
				break
			}
			r := []rune(word)
			out = append(out, string(r[:width]))
			word = string(r[width:])
		}
	}
	return append(out, line)
}

// wrap writes text, cleaned, with an indent for the first and one for the other lines.
func (s *screen) wrap(text, first, rest string) {
	for i, line := range fold(clean(text), terminalWidth-len(first)) {
		if i == 0 {
			s.f("%s%s\n", first, line)
		} else {
			s.f("%s%s\n", rest, line)
		}
	}
}

// grid is a table: a column whose heading begins with > is flush right.
type grid struct {
	head []string
	rows [][]string
}

func (g *grid) add(cells ...string) {
	for i := range cells {
		cells[i] = clean(cells[i])
	}
	g.rows = append(g.rows, cells)
}

// table writes g with two blanks between its columns; style may colour a whole cell.
func (s *screen) table(g *grid, style func(row, col int) string) {
	width := make([]int, len(g.head))
	for i, h := range g.head {
		width[i] = utf8.RuneCountInString(strings.TrimPrefix(h, ">"))
	}
	for _, r := range g.rows {
		for i, c := range r {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	write := func(cells []string, paint func(col int) string) {
		var line strings.Builder
		line.WriteString("  ")
		for i, c := range cells {
			text, right := c, strings.HasPrefix(g.head[i], ">")
			gap := strings.Repeat(" ", width[i]-utf8.RuneCountInString(text))
			if st := paint(i); st != "" {
				text = s.paint(st, text)
			}
			switch {
			case right:
				line.WriteString(gap + text)
			case i < len(cells)-1:
				line.WriteString(text + gap)
			default:
				line.WriteString(text)
			}
			if i < len(cells)-1 {
				line.WriteString("  ")
			}
		}
		s.f("%s\n", strings.TrimRight(line.String(), " "))
	}
	head := make([]string, len(g.head))
	for i, h := range g.head {
		head[i] = strings.TrimPrefix(h, ">")
	}
	write(head, func(int) string { return "dim" })
	for r, cells := range g.rows {
		write(cells, func(col int) string {
			if style == nil {
				return ""
			}
			return style(r, col)
		})
	}
}

func (s *screen) hops(res *check.Result) {
	if len(res.Hops) == 0 {
		return
	}
	s.heading("Hops")
	g := &grid{head: []string{"hop", ">in", ">out", ">waiting", ">dead-lettered", ">lost", ">duplicated", "certainty"}}
	for _, h := range res.Hops {
		g.add(h.Name, countOr(h.In), countOr(h.Out), countOr(h.Buffered), countOr(h.DeadLettered), lostOf(h), countOr(h.Duplicated), h.Certainty)
	}
	s.table(g, func(row, col int) string {
		if col == 5 && lossy(res.Hops[row]) {
			return string(check.Fail)
		}
		return ""
	})
	for _, x := range res.Segments {
		if x.Lost == 0 {
			continue
		}
		s.wrap(fmt.Sprintf("%s: %s", segmentName(x.Name), segmentWords(x)), "  ", "    ")
		for _, r := range x.Ranges[:min(len(x.Ranges), 3)] {
			where := ""
			if r.Hop != "" {
				where = " in hop " + r.Hop
			}
			s.wrap(fmt.Sprintf("%s records of %s%s, due %s to %s: %s", count(r.Hi-r.Lo+1), r.Source, where, instant(r.From), instant(r.To), strings.Join(r.Samples, " ")), "    ", "      ")
		}
		if n := len(x.Ranges); n > 3 {
			s.f("    and %d more ranges\n", n-3)
		}
	}
}

// latency shows the two latencies that thresholds are about and what the services feel, by source and phase.
func (s *screen) latency(res *check.Result) {
	g := &grid{head: []string{"latency", "source", "phase", ">records", ">p50", ">p99", ">max"}}
	last := [2]string{}
	for _, metric := range []string{"kafka_latency", "e2e_latency", "target_block"} {
		var rows []check.Latency
		sources := map[string]bool{}
		for _, l := range res.Latency {
			if l.Metric == metric && slices.Contains([]string{scenario.Before, scenario.During, scenario.After}, l.Phase) {
				rows = append(rows, l)
				if l.Source != check.PhaseAll {
					sources[l.Source] = true
				}
			}
		}
		slices.SortStableFunc(rows, func(a, b check.Latency) int { return strings.Compare(a.Source, b.Source) })
		for _, l := range rows {
			// With many sources only their sum; with some, each.
			if sum := l.Source == check.PhaseAll; sum != (len(sources) == 0 || len(sources) > 6) {
				continue
			}
			name, source := metric, l.Source
			if last == [2]string{name, source} {
				name, source = "", ""
			} else if last[0] == name {
				name = ""
			}
			last = [2]string{metric, l.Source}
			g.add(name, source, l.Phase, count(l.Count), interval(l.P50, l.P50Upper), interval(l.P99, l.P99Upper), interval(l.Max, l.MaxUpper))
		}
	}
	if len(g.rows) == 0 {
		return
	}
	s.heading("Latency, from the scheduled time")
	s.table(g, nil)
}

func (s *screen) faults(res *check.Result) {
	if len(res.Faults) == 0 {
		return
	}
	s.heading("Faults")
	g := &grid{head: []string{"fault", "target", ">injected", ">bit", ">healed", ">gone", ">hits"}}
	for _, f := range res.Faults {
		target := f.Target
		if target == "" {
			target = f.Cluster
		}
		g.add(f.Name, cut(target, 34), instantOr(f.InjectedAt), instantOr(f.BitAt), instantOr(f.HealedAt), instantOr(f.GoneAt), count(f.Hits))
	}
	s.table(g, nil)
	for _, f := range res.Faults {
		if f.Detail != "" {
			s.wrap(f.Name+": "+f.Detail, "  ", "    ")
		}
	}
	r := res.Recovery
	if r.Noticed == nil && r.FirstGood == nil && r.Drained == nil && r.InBand == nil {
		return
	}
	if rows := recoveryRows(res); len(rows) > 0 {
		g := &grid{head: []string{"recovery from", "verdict", ">noticed", ">first good", ">drained", ">in band"}}
		for _, x := range rows {
			g.add(cut(x.Fault, 34), string(x.Verdict), x.Noticed, x.FirstGood, x.Drained, x.InBand)
		}
		s.table(g, func(row, col int) string {
			if col == 1 {
				return string(rows[row].Verdict)
			}
			return ""
		})
		for _, x := range rows {
			if x.Detail != "" {
				s.wrap(x.Fault+": "+x.Detail, "  ", "    ")
			}
		}
	}
	of := ""
	if r.Fault != "" {
		of = " from the worst, " + r.Fault
	}
	text := fmt.Sprintf("Recovery"+of+": noticed after %s; after the heal: first good record %s, drained %s, back in band %s (known to %s, the band to %s)", spanOr(r.Noticed), spanOr(r.FirstGood),
		spanOr(r.Drained), spanOr(r.InBand), span(time.Duration(r.Resolution)), span(time.Duration(r.InBandResolution))) + strings.TrimSuffix(clockWords(r), ".")
	s.wrap(text, "  ", "    ")
	if r.DrainRate != nil && r.LiveRate != nil {
		s.wrap(fmt.Sprintf("Drained at %s/s beside a live rate of %s/s, peak %s/s", number(*r.DrainRate), number(*r.LiveRate), quantityOr(r.PeakRate, "")), "  ", "    ")
	}
}

// search lists the tries of a search.
func (s *screen) search(res *check.Result) {
	c := res.Capacity
	if c == nil || len(c.Tries) == 0 {
		return
	}
	s.heading("Search")
	t := newSearchTable(c)
	g := &grid{head: []string{">try", ">rate", "verdict"}}
	for _, name := range t.Gates {
		g.head = append(g.head, ">"+cut(name, 22))
	}
	for _, row := range t.Rows {
		cells := []string{fmt.Sprint(row.Try), row.Rate, string(row.Verdict)}
		for _, f := range row.Figures {
			cells = append(cells, f.Value)
		}
		g.add(cells...)
	}
	s.table(g, func(row, col int) string {
		if col == 2 {
			return string(t.Rows[row].Verdict)
		}
		return ""
	})
	s.wrap(searchWords(c), "  ", "  ")
}

// trends lists what must not grow.
func (s *screen) trends(res *check.Result) {
	rows := trendRows(res)
	if len(rows) == 0 {
		return
	}
	s.heading("Trend")
	g := &grid{head: []string{"what", "of", "verdict", ">level", ">growth", ">between", ">allowed"}}
	for _, r := range rows {
		g.add(r.What, cut(r.Of, 24), string(r.Verdict), r.Level, r.Growth, r.Between, r.Limit)
	}
	s.table(g, func(row, col int) string {
		if col == 2 {
			return string(rows[row].Verdict)
		}
		return ""
	})
}

// cut shortens text to n columns.
func cut(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}

func (s *screen) restarts(res *check.Result) {
	rows := restartRows(res)
	if len(rows) == 0 {
		return
	}
	s.heading("Restarts that no fault explains, and out of memory")
	for _, x := range rows {
		s.wrap(fmt.Sprintf("%s (%s) %s; between %s, explained by %s", x.Where, x.Component, x.How, x.Between, x.Fault), "  ", "    ")
	}
}

func (s *screen) buffers(res *check.Result) {
	if len(res.Buffers) == 0 {
		return
	}
	s.heading("Buffers")
	g := &grid{head: []string{"hop", "buffer", ">peak", ">fills at", ">lasts", "certainty"}}
	for _, b := range res.Buffers {
		rate := none
		if b.FillRate != nil {
			rate = quantity(*b.FillRate, b.Unit) + "/s"
		}
		g.add(b.Hop, cut(b.Component, 40), quantityOr(b.Peak, b.Unit), rate, spanOr(b.Horizon), b.Certainty)
	}
	s.table(g, nil)
}

// checks lists what was judged: the verdict, the name, and the detail wrapped beside it.
func (s *screen) checks(res *check.Result) {
	for _, gate := range []bool{false, true} {
		name := 0
		var list []check.Check
		for _, c := range res.Checks {
			if c.Gate == gate {
				c.Name, c.Claim = clean(c.Name), clean(c.Claim)
				list = append(list, c)
				name = max(name, utf8.RuneCountInString(c.Name))
			}
		}
		if len(list) == 0 {
			continue
		}
		if gate {
			s.heading("Thresholds")
		} else {
			s.heading("Checks")
		}
		for _, c := range list {
			verdict := s.paint(string(c.Verdict), fmt.Sprintf("%-12s", c.Verdict))
			if gate {
				s.f("  %s  %s\n", verdict, cut(c.Name, terminalWidth-16))
				s.wrap(noteIf(c.Detail != "", c.Detail, quantityOr(c.Value, c.Unit)), strings.Repeat(" ", 16), strings.Repeat(" ", 16))
				continue
			}
			indent := strings.Repeat(" ", 16+name+2+4)
			for i, line := range fold(clean(c.Detail), terminalWidth-len(indent)) {
				if i == 0 {
					s.f("%s\n", strings.TrimRight(fmt.Sprintf("  %s  %-*s  %-2s  %s", verdict, name, c.Name, c.Claim, line), " "))
				} else {
					s.f("%s%s\n", indent, line)
				}
			}
		}
	}
}
