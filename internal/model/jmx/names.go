package jmx

import (
	"fmt"
	"strings"
)

// names are the exporter's includeObjectNames (all beans when there are none) and excludeObjectNames (which take precedence).
type names struct {
	include, exclude []name
}

// name is a pattern: domain and values may have * and ?, and more says that other properties may be there too.
type name struct {
	domain string
	props  map[string]string
	more   bool
}

// parseNames reads the patterns, domain:key=value,... with * at the end for any other properties.
func parseNames(include, exclude []string) (names, error) {
	var n names
	for _, l := range []struct {
		from []string
		to   *[]name
	}{{include, &n.include}, {exclude, &n.exclude}} {
		for _, s := range l.from {
			p, err := parseName(s)
			if err != nil {
				return names{}, err
			}
			*l.to = append(*l.to, p)
		}
	}
	return n, nil
}

func parseName(s string) (name, error) {
	domain, list, ok := strings.Cut(s, ":")
	if !ok {
		return name{}, fmt.Errorf("object name %q: no colon between domain and properties", s)
	}
	n := name{domain: domain, props: map[string]string{}}
	for prop := range strings.SplitSeq(list, ",") {
		if prop == "*" {
			n.more = true
			continue
		}
		k, v, ok := strings.Cut(prop, "=")
		if !ok || k == "" || v == "" {
			return name{}, fmt.Errorf("object name %q: %q is no property: want key=value, or * for any other", s, prop)
		}
		if _, twice := n.props[k]; twice {
			return name{}, fmt.Errorf("object name %q: property %s twice", s, k)
		}
		n.props[k] = v
	}
	return n, nil
}

// has says whether the exporter reads the bean.
func (n names) has(domain string, props [][2]string) bool {
	in := len(n.include) == 0
	for i := 0; i < len(n.include) && !in; i++ {
		in = n.include[i].match(domain, props)
	}
	for i := 0; i < len(n.exclude) && in; i++ {
		in = !n.exclude[i].match(domain, props)
	}
	return in
}

func (n name) match(domain string, props [][2]string) bool {
	if len(props) < len(n.props) || !n.more && len(props) != len(n.props) || !glob(n.domain, domain) {
		return false
	}
	found := 0
	for _, p := range props {
		if want, ok := n.props[p[0]]; ok {
			if !glob(want, p[1]) {
				return false
			}
			found++
		}
	}
	return found == len(n.props)
}

// glob matches * and ? as ObjectName does: everything else stands for itself.
func glob(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
