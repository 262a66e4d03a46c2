package terraform

import (
	"fmt"
	"strings"
)

// Attribute is a name and an expression, which is kept as it was written.
type Attribute struct {
	Name string
	Expr string // without surrounding space, comments included
	Line int    // of the name, from 1
}

// Block is a block with its labels, attributes and inner blocks. A file is a Block without type.
type Block struct {
	Type       string
	Labels     []string
	Attributes []Attribute
	Blocks     []Block
	Line       int // of the type, from 1
}

// Attribute returns the attribute of that name in the block itself.
func (b Block) Attribute(name string) (Attribute, bool) {
	for _, a := range b.Attributes {
		if a.Name == name {
			return a, true
		}
	}
	return Attribute{}, false
}

// Of returns the inner blocks of a type.
func (b Block) Of(typ string) []Block {
	var out []Block
	for _, in := range b.Blocks {
		if in.Type == typ {
			out = append(out, in)
		}
	}
	return out
}

// Text returns the value of an attribute that is a string without interpolation, and whether it is one.
func (a Attribute) Text() (string, bool) {
	e := a.Expr
	if len(e) < 2 || e[0] != '"' || e[len(e)-1] != '"' || strings.ContainsAny(e[1:len(e)-1], `"\`) || strings.Contains(e, "${") {
		return "", false
	}
	return e[1 : len(e)-1], true
}

// Parse reads a file of HCL's native syntax. The error of a file that is not begins with the line.
func Parse(src []byte) (Block, error) {
	p := parser{src: string(src), line: 1}
	file, err := p.body(false)
	if err != nil {
		return Block{}, fmt.Errorf("%d: %w", p.line, err)
	}
	file.Line = 1
	return file, nil
}

type parser struct {
	src  string
	pos  int
	line int
}

func (p *parser) peek() byte {
	if p.pos < len(p.src) {
		return p.src[p.pos]
	}
	return 0
}

func (p *parser) next() byte {
	c := p.peek()
	if c == '\n' {
		p.line++
	}
	p.pos++
	return c
}

func (p *parser) done() bool { return p.pos >= len(p.src) }

// space skips blanks and comments, and line ends when told to.
func (p *parser) space(lines bool) error {
	for !p.done() {
		c := p.peek()
		switch {
		case c == ' ' || c == '\t' || c == '\r' || lines && c == '\n':
			p.next()
		case c == '#' || strings.HasPrefix(p.src[p.pos:], "//"):
			for !p.done() && p.peek() != '\n' {
				p.next()
			}
		case strings.HasPrefix(p.src[p.pos:], "/*"):
			if err := p.longComment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

func (p *parser) longComment() error {
	start := p.line
	end := strings.Index(p.src[p.pos+2:], "*/")
	if end < 0 {
		p.line = start
		return fmt.Errorf("a comment without end")
	}
	for stop := p.pos + 2 + end + 2; p.pos < stop; {
		p.next()
	}
	return nil
}

func letter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (p *parser) identifier() string {
	start := p.pos
	for !p.done() && (letter(p.peek()) || p.pos > start && (p.peek() >= '0' && p.peek() <= '9' || p.peek() == '-')) {
		p.next()
	}
	return p.src[start:p.pos]
}

// body reads attributes and blocks up to the closing brace, or up to the end of the file.
func (p *parser) body(inner bool) (Block, error) {
	var out Block
	seen := map[string]bool{}
	for {
		if err := p.space(true); err != nil {
			return out, err
		}
		if p.done() {
			if inner {
				return out, fmt.Errorf("a block without its closing brace")
			}
			return out, nil
		}
		if p.peek() == '}' && inner {
			p.next()
			return out, nil
		}
		line := p.line
		name := p.identifier()
		if name == "" {
			return out, fmt.Errorf("%q where an attribute or a block begins", p.peek())
		}
		if err := p.space(false); err != nil {
			return out, err
		}
		if p.peek() == '=' && !strings.HasPrefix(p.src[p.pos:], "==") {
			p.next()
			expr, err := p.expression()
			if err != nil {
				return out, fmt.Errorf("%s: %w", name, err)
			}
			if seen[name] {
				p.line = line
				return out, fmt.Errorf("%s: set twice", name)
			}
			seen[name] = true
			out.Attributes = append(out.Attributes, Attribute{name, expr, line})
			continue
		}
		b, err := p.block(name)
		if err != nil {
			return out, err
		}
		b.Line = line
		out.Blocks = append(out.Blocks, b)
	}
}

func (p *parser) block(typ string) (Block, error) {
	var labels []string
	for {
		if err := p.space(false); err != nil {
			return Block{}, err
		}
		switch c := p.peek(); {
		case c == '{':
			p.next()
			b, err := p.body(true)
			b.Type, b.Labels = typ, labels
			return b, err
		case c == '"':
			start := p.pos
			if err := p.quoted(); err != nil {
				return Block{}, err
			}
			labels = append(labels, p.src[start+1:p.pos-1])
		case letter(c):
			labels = append(labels, p.identifier())
		default:
			return Block{}, fmt.Errorf("%s: neither = nor a block follows", typ)
		}
	}
}

// expression reads to the end of the line outside all brackets.
func (p *parser) expression() (string, error) {
	if err := p.space(false); err != nil {
		return "", err
	}
	start, end := p.pos, p.pos
	var open []byte
	for !p.done() {
		c := p.peek()
		switch {
		case c == '\n' && len(open) == 0:
			return p.finish(start, end)
		case c == '#' || strings.HasPrefix(p.src[p.pos:], "//") || strings.HasPrefix(p.src[p.pos:], "/*"):
			if err := p.space(false); err != nil {
				return "", err
			}
			continue
		case c == '"':
			if err := p.quoted(); err != nil {
				return "", err
			}
		case strings.HasPrefix(p.src[p.pos:], "<<"):
			if err := p.heredoc(); err != nil {
				return "", err
			}
			end = p.pos
			if len(open) == 0 {
				return p.finish(start, end)
			}
			continue
		case c == '(' || c == '[' || c == '{':
			open = append(open, c)
			p.next()
		case c == ')' || c == ']' || c == '}':
			if len(open) == 0 {
				if c == '}' { // a block on one line: foo { a = 1 }
					return p.finish(start, end)
				}
				return "", fmt.Errorf("%q closes nothing", c)
			}
			if pair := string(open[len(open)-1]) + string(c); pair != "()" && pair != "[]" && pair != "{}" {
				return "", fmt.Errorf("%q closes %q", c, open[len(open)-1])
			}
			open = open[:len(open)-1]
			p.next()
		default:
			p.next()
		}
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			end = p.pos
		}
	}
	if len(open) > 0 {
		return "", fmt.Errorf("%q is not closed", open[len(open)-1])
	}
	return p.finish(start, end)
}

func (p *parser) finish(start, end int) (string, error) {
	if end <= start {
		return "", fmt.Errorf("no expression after =")
	}
	return p.src[start:end], nil
}

// quoted reads a string with its interpolations, in which strings may be again.
func (p *parser) quoted() error {
	p.next()
	for !p.done() {
		switch c := p.next(); {
		case c == '\\':
			p.next()
		case c == '"':
			return nil
		case c == '\n':
			return fmt.Errorf("a string is not closed on its line")
		case (c == '$' || c == '%') && p.peek() == c: // $${ stands for itself
			p.next()
		case (c == '$' || c == '%') && p.peek() == '{':
			p.next()
			if err := p.interpolation(); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("a string without end")
}

func (p *parser) interpolation() error {
	for depth := 1; depth > 0; {
		if p.done() {
			return fmt.Errorf("an interpolation without end")
		}
		switch p.peek() {
		case '"':
			if err := p.quoted(); err != nil {
				return err
			}
			continue
		case '{':
			depth++
		case '}':
			depth--
		}
		p.next()
	}
	return nil
}

// heredoc reads <<EOT or <<-EOT up to the line that is the word alone.
func (p *parser) heredoc() error {
	p.next()
	p.next()
	if p.peek() == '-' {
		p.next()
	}
	word := p.identifier()
	if word == "" || p.peek() != '\n' {
		return fmt.Errorf("<< without a word after it")
	}
	p.next()
	for !p.done() {
		start := p.pos
		for !p.done() && p.peek() != '\n' {
			p.next()
		}
		if strings.TrimSpace(p.src[start:p.pos]) == word {
			return nil
		}
		p.next()
	}
	return fmt.Errorf("text after <<%s without its end", word)
}
