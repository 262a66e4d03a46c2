package fluentd

import (
	"fmt"
	"regexp"
	"strings"
)

// Pattern is the pattern of a match or filter: several globs separated by blanks. A star
// stands for one part of a tag, two stars for any number of parts, {a,b} for alternatives, /re/ for a regular expression.
type Pattern struct {
	text string
	res  []*regexp.Regexp
}

// String returns the pattern as written.
func (p Pattern) String() string { return p.text }

// Match says whether a tag fits.
func (p Pattern) Match(tag string) bool {
	for _, re := range p.res {
		if re.MatchString(tag) {
			return true
		}
	}
	return false
}

// ParsePattern compiles a pattern.
func ParsePattern(text string) (Pattern, error) {
	p := Pattern{text: text}
	for g := range strings.FieldsSeq(text) {
		expr, err := globExpr(g)
		if err != nil {
			return Pattern{}, err
		}
		re, err := regexp.Compile(expr)
		if err != nil {
			return Pattern{}, fmt.Errorf("pattern %q: %w", g, err)
		}
		p.res = append(p.res, re)
	}
	if len(p.res) == 0 {
		return Pattern{}, fmt.Errorf("empty pattern")
	}
	return p, nil
}

func globExpr(g string) (string, error) {
	if len(g) > 1 && g[0] == '/' && g[len(g)-1] == '/' {
		return g[1 : len(g)-1], nil
	}
	var b strings.Builder
	b.WriteString(`^`)
	dot := false // a dot that was read and not written yet: ** may swallow it
	depth := 0
	for i := 0; i < len(g); i++ {
		c := g[i]
		if dot && !strings.HasPrefix(g[i:], "**") {
			b.WriteString(`\.`)
			dot = false
		}
		switch {
		case strings.HasPrefix(g[i:], "**"):
			i++
			switch {
			case i+1 < len(g) && g[i+1] == '.': // **. or .**. : any parts with their dots
				i++
				if dot {
					b.WriteString(`\.`)
				}
				b.WriteString(`(?:.*\.)?`)
			case dot:
				b.WriteString(`(?:\..*)?`)
			default:
				b.WriteString(`.*`)
			}
			dot = false
		case c == '*':
			b.WriteString(`[^.]*`)
		case c == '.':
			dot = true
		case c == '{':
			depth++
			b.WriteString(`(?:`)
		case c == '}' && depth > 0:
			depth--
			b.WriteByte(')')
		case c == ',' && depth > 0:
			b.WriteByte('|')
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	if dot {
		b.WriteString(`\.`)
	}
	if depth != 0 {
		return "", fmt.Errorf("pattern %q: brace is not closed", g)
	}
	b.WriteString(`$`)
	return b.String(), nil
}
