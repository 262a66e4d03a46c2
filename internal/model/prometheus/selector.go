package prometheus

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// matcher is one label condition of a selector.
type matcher struct {
	name, value string
	op          string // =, !=, =~, !~
	re          *regexp.Regexp
}

func (m matcher) matches(v string) bool {
	switch m.op {
	case "=":
		return v == m.value
	case "!=":
		return v != m.value
	case "=~":
		return m.re.MatchString(v)
	}
	return !m.re.MatchString(v)
}

func matches(ms []matcher, l Labels) bool {
	for _, m := range ms {
		if !m.matches(l.Get(m.name)) {
			return false
		}
	}
	return true
}

// selector is a plain vector selector, or a range selector when window > 0.
type selector struct {
	matchers []matcher
	window   time.Duration
}

// errNotModelled says that an expression is more than a selector.
var errNotModelled = errors.New("not modelled: only selectors like name{label=\"value\",other=~\"re\"} and their ranges are evaluated")

// parseError has the words of the real program where a test has seen them.
type parseError struct {
	at  int
	msg string
}

func (e parseError) Error() string {
	if e.at < 0 {
		return "unknown position: parse error: " + e.msg
	}
	return fmt.Sprintf("1:%d: parse error: %s", e.at+1, e.msg)
}

// parseSelector reads name{..}[range]. Anything that may be PromQL but is no selector is errNotModelled.
func parseSelector(q string) (selector, error) {
	p := selectorParser{in: q}
	p.space()
	if p.done() {
		return selector{}, parseError{-1, "no expression found in input"}
	}
	var s selector
	if name := p.ident(true); name != "" {
		s.matchers = append(s.matchers, matcher{name: metricName, op: "=", value: name})
	}
	p.space()
	if p.take('{') {
		ms, err := p.matchers()
		if err != nil {
			return selector{}, err
		}
		s.matchers = append(s.matchers, ms...)
	}
	p.space()
	if len(s.matchers) == 0 && !p.done() {
		return selector{}, errNotModelled
	}
	if p.take('[') {
		end := strings.IndexByte(p.in[p.at:], ']')
		if end < 0 {
			return selector{}, parseError{p.at, "unclosed left bracket"}
		}
		d, err := model.ParseDuration(strings.TrimSpace(p.in[p.at : p.at+end]))
		if err != nil || d <= 0 {
			// Subqueries have a colon here.
			return selector{}, errNotModelled
		}
		s.window = time.Duration(d)
		p.at += end + 1
	}
	p.space()
	if !p.done() {
		return selector{}, errNotModelled
	}
	for _, m := range s.matchers {
		if !m.matches("") {
			return s, nil
		}
	}
	return selector{}, parseError{0, "vector selector must contain at least one non-empty matcher"}
}

type selectorParser struct {
	in string
	at int
}

func (p *selectorParser) done() bool { return p.at >= len(p.in) }

func (p *selectorParser) space() {
	for !p.done() && strings.IndexByte(" \t\n\r", p.in[p.at]) >= 0 {
		p.at++
	}
}

func (p *selectorParser) take(c byte) bool {
	if !p.done() && p.in[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *selectorParser) ident(colon bool) string {
	start := p.at
	for ; !p.done(); p.at++ {
		c := p.in[p.at]
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || colon && c == ':'
		if !letter && (p.at == start || c < '0' || c > '9') {
			break
		}
	}
	return p.in[start:p.at]
}

func (p *selectorParser) matchers() ([]matcher, error) {
	var out []matcher
	for {
		p.space()
		if p.take('}') {
			return out, nil
		}
		at := p.at
		name := p.ident(false)
		if name == "" && !p.done() && p.in[p.at] == '"' {
			// {"name", ...} is the UTF-8 form.
			return nil, errNotModelled
		}
		p.space()
		op := ""
		for _, o := range []string{"=~", "!~", "!=", "="} {
			if strings.HasPrefix(p.in[p.at:], o) {
				op = o
				break
			}
		}
		if name == "" || op == "" {
			if p.done() {
				return nil, parseError{at, "unexpected end of input inside braces"}
			}
			return nil, parseError{at, "unexpected character inside braces"}
		}
		p.at += len(op)
		p.space()
		value, err := p.quoted()
		if err != nil {
			return nil, err
		}
		m := matcher{name: name, op: op, value: value}
		if strings.HasSuffix(op, "~") {
			if m.re, err = regexp.Compile("^(?s:" + value + ")$"); err != nil {
				return nil, parseError{at, err.Error()}
			}
		}
		out = append(out, m)
		p.space()
		if !p.take(',') {
			p.space()
			if !p.take('}') {
				return nil, parseError{p.at, "unexpected end of input inside braces"}
			}
			return out, nil
		}
	}
}

func (p *selectorParser) quoted() (string, error) {
	if p.done() {
		return "", parseError{p.at, "unexpected end of input in label matching, expected string"}
	}
	q := p.in[p.at]
	start := p.at
	if q != '"' && q != '\'' && q != '`' {
		return "", parseError{p.at, "unexpected identifier in label matching, expected string"}
	}
	for i := start + 1; i < len(p.in); i++ {
		if p.in[i] == '\\' && q != '`' {
			i++
			continue
		}
		if p.in[i] != q {
			continue
		}
		p.at = i + 1
		raw := p.in[start : i+1]
		if q == '\'' {
			raw = `"` + strings.ReplaceAll(strings.ReplaceAll(raw[1:len(raw)-1], `\'`, `'`), `"`, `\"`) + `"`
		}
		v, err := strconv.Unquote(raw)
		if err != nil {
			return "", parseError{start, "invalid quoted string"}
		}
		return v, nil
	}
	return "", parseError{start, "unterminated quoted string"}
}
