package plan

import (
	"errors"
	"fmt"
	"strings"
)

// Marks in a Markdown file between which a plan stands.
const (
	Begin = "<!-- sim plan: begin -->"
	End   = "<!-- sim plan: end -->"
)

// Replace puts text between the marks of doc.
func Replace(doc, text string) (string, error) {
	before, rest, ok := strings.Cut(doc, Begin)
	_, after, ok2 := strings.Cut(rest, End)
	if !ok || !ok2 || strings.Contains(after, Begin) {
		return "", errors.New("want " + Begin + " and then " + End + ", once each")
	}
	return before + Begin + "\n" + strings.TrimSpace(text) + "\n" + End + after, nil
}

var cell = strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;")

// Markdown is a plan as a table with its sources below.
func (p *Plan) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "**%.0f lines a second of %.0f bytes, runs of %s, planned with %.0f %% of what was measured, manifests of `overlays/%s`.**\n\n", p.Rate, p.Bytes, spanText(p.Duration), p.Headroom*100, p.System.Overlay)
	b.WriteString("| part | what | figure | basis | how | from |\n|---|---|---|---|---|---|\n")
	sources, numbers := p.sources()
	for _, r := range p.Rows {
		var from []string
		for _, f := range r.From {
			from = append(from, fmt.Sprint(numbers[f]))
		}
		how := r.How
		if r.Beyond > 10 {
			how += fmt.Sprintf(" (**measured at a %.0fth of this rate**)", r.Beyond)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.Part, cell.Replace(r.What), cell.Replace(r.Text()), r.Basis, cell.Replace(how), strings.Join(from, ", "))
	}
	b.WriteString("\nFrom:\n\n")
	for i, s := range sources {
		fmt.Fprintf(&b, "%d. %s\n", i+1, cell.Replace(s))
	}
	b.WriteString("\nWhere the limits are:\n\n")
	for _, l := range p.Limits {
		b.WriteString("- " + cell.Replace(l) + "\n")
	}
	return b.String()
}

// sources are all that the rows rest on, each once, with its number.
func (p *Plan) sources() (list []string, number map[string]int) {
	number = map[string]int{}
	for _, r := range p.Rows {
		for _, f := range r.From {
			if number[f] == 0 {
				list = append(list, f)
				number[f] = len(list)
			}
		}
	}
	return list, number
}

// Sources are what the rows rest on, numbered from 1, and the numbers of each row.
func (p *Plan) Sources() (list []string, rows [][]int) {
	list, number := p.sources()
	for _, r := range p.Rows {
		var ns []int
		for _, f := range r.From {
			ns = append(ns, number[f])
		}
		rows = append(rows, ns)
	}
	return list, rows
}
