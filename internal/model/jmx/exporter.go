package jmx

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"triad/internal/model/promtext"
)

// Rules are the configuration of the exporter: which attributes become which metrics.
type Rules struct {
	LowercaseOutputName       bool     `yaml:"lowercaseOutputName"`
	LowercaseOutputLabelNames bool     `yaml:"lowercaseOutputLabelNames"`
	IncludeObjectNames        []string `yaml:"includeObjectNames"`
	ExcludeObjectNames        []string `yaml:"excludeObjectNames"`
	Rules                     []Rule   `yaml:"rules"`

	names names
}

// Rule makes a metric of the attributes in whose text its pattern is found. $1 and so on stand for the pattern's groups.
type Rule struct {
	Pattern string            `yaml:"pattern"`
	Name    string            `yaml:"name"`
	Labels  map[string]string `yaml:"labels"`
	Value   string            `yaml:"value"`       // instead of the attribute's; "" keeps it
	Factor  *float64          `yaml:"valueFactor"` // nil is 1
	Help    string            `yaml:"help"`        // "" is the attribute's name with its bean
	Type    string            `yaml:"type"`        // COUNTER, GAUGE or UNTYPED (the default)

	re     *regexp.Regexp
	labels [][2]string
}

// ParseRules reads the exporter's YAML. It returns the settings that the exporter here does not have; in a rule they are an error,
// since each would change what the rule writes.
func ParseRules(b []byte) (Rules, map[string]yaml.Node, error) {
	var doc struct {
		Rules   `yaml:",inline"`
		Unknown map[string]yaml.Node `yaml:",inline"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		return Rules{}, nil, fmt.Errorf("exporter rules: %w", err)
	}
	r := doc.Rules
	var errs []error
	var err error
	if r.names, err = parseNames(r.IncludeObjectNames, r.ExcludeObjectNames); err != nil {
		errs = append(errs, fmt.Errorf("exporter rules: %w", err))
	}
	for i := range r.Rules {
		if err := r.Rules[i].compile(); err != nil {
			errs = append(errs, fmt.Errorf("exporter rule %d: %w", i+1, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Rules{}, nil, err
	}
	return r, doc.Unknown, nil
}

var groupRef = regexp.MustCompile(`\$(\d+)`)

func (r *Rule) compile() error {
	if r.Pattern == "" || r.Name == "" {
		return errors.New("no pattern or no name: what the exporter does without is not modelled")
	}
	var err error
	if r.re, err = regexp.Compile(r.Pattern); err != nil {
		return fmt.Errorf("pattern: %w", err)
	}
	if r.Type = cmp.Or(strings.ToUpper(r.Type), "UNTYPED"); !slices.Contains([]string{"COUNTER", "GAUGE", "UNTYPED"}, r.Type) {
		return fmt.Errorf("type %q", r.Type)
	}
	// Java's $1 ends where the digits end; Go's $1_x would be a group named 1_x.
	braces := func(tmpl string) string { return groupRef.ReplaceAllString(tmpl, "$${$1}") }
	r.Name, r.Value, r.Help = braces(r.Name), braces(r.Value), braces(r.Help)
	for k, v := range r.Labels {
		r.labels = append(r.labels, [2]string{braces(k), braces(v)})
	}
	slices.SortFunc(r.labels, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) }) // as the exporter's client library has them
	return nil
}

// Matches says whether the rule is for any attribute of the beans.
func (r Rule) Matches(beans []*Bean) bool {
	return slices.ContainsFunc(beans, func(b *Bean) bool {
		return slices.ContainsFunc(b.Attrs, func(a Attribute) bool {
			_, text := b.text(a)
			return r.re.MatchString(text)
		})
	})
}

// Bean is one MBean. The properties stand in the order in which the program writes them, on which patterns depend.
type Bean struct {
	Domain string
	Props  [][2]string
	Attrs  []Attribute
}

// Attribute is one attribute of a bean: a number, or a text.
type Attribute struct {
	Name  string
	Value float64
	Text  string // instead of a number
}

// NewBean returns a bean without attributes. Properties are key and value in turn.
func NewBean(domain string, props ...string) *Bean {
	b := &Bean{Domain: domain, Props: make([][2]string, 0, len(props)/2)}
	for i := 0; i+1 < len(props); i += 2 {
		b.Props = append(b.Props, [2]string{props[i], props[i+1]})
	}
	return b
}

// Num adds an attribute that is a number.
func (b *Bean) Num(name string, v float64) *Bean {
	b.Attrs = append(b.Attrs, Attribute{Name: name, Value: v})
	return b
}

// Count adds an attribute that is a whole number.
func (b *Bean) Count(name string, v int64) *Bean { return b.Num(name, float64(v)) }

// Str adds an attribute that is a text.
func (b *Bean) Str(name, v string) *Bean {
	b.Attrs = append(b.Attrs, Attribute{Name: name, Text: v})
	return b
}

// text is what patterns are looked for in, domain<key=value, ...><>attribute: value; name is what stands before the colon.
func (b *Bean) text(a Attribute) (name, text string) {
	t := make([]byte, 0, 128)
	t = append(append(t, b.Domain...), '<')
	for i, kv := range b.Props {
		if i > 0 {
			t = append(t, ", "...)
		}
		t = append(append(append(t, kv[0]...), '='), kv[1]...)
	}
	t = append(append(t, "><>"...), a.Name...)
	n := len(t)
	t = append(t, ": "...)
	if a.Text != "" {
		t = append(t, a.Text...)
	} else {
		t = strconv.AppendFloat(t, a.Value, 'f', -1, 64)
		if !bytes.Contains(t[n:], []byte(".")) {
			t = append(t, ".0"...) // as Java prints a double
		}
	}
	text = string(t)
	return text[:n], text
}

// Render writes the beans as the exporter would: each attribute by the first rule that matches it, or not at all.
func (r Rules) Render(beans []*Bean) []byte {
	var w promtext.Writer
	seen := map[string]bool{}
	for _, b := range beans {
		if !r.names.has(b.Domain, b.Props) {
			continue
		}
		for _, a := range b.Attrs {
			r.attribute(&w, seen, b, a)
		}
	}
	return w.Bytes()
}

func (r Rules) attribute(w *promtext.Writer, seen map[string]bool, b *Bean, a Attribute) {
	full, text := b.text(a)
	for i := range r.Rules {
		rule := &r.Rules[i]
		at := rule.re.FindStringSubmatchIndex(text)
		if at == nil {
			continue
		}
		expand := func(tmpl string) string { return string(rule.re.ExpandString(nil, tmpl, text, at)) }
		v := a.Value
		if rule.Value != "" {
			var err error
			if v, err = strconv.ParseFloat(expand(rule.Value), 64); err != nil {
				return
			}
		} else if a.Text != "" {
			return // text without a value for it is not a sample
		}
		if rule.Factor != nil {
			v *= *rule.Factor
		}
		name := safeName(expand(rule.Name))
		if r.LowercaseOutputName {
			name = strings.ToLower(name)
		}
		add := w.Untyped
		switch rule.Type {
		case "GAUGE":
			add = w.Gauge
		case "COUNTER":
			add = w.Counter
			// The exporter's client library ends every counter so, whatever its rule calls it.
			if !strings.HasSuffix(name, "_total") {
				name += "_total"
			}
		}
		labels := make([]string, 0, 2*len(rule.labels))
		for _, kv := range rule.labels {
			k, val := safeName(expand(kv[0])), expand(kv[1])
			if r.LowercaseOutputLabelNames {
				k = strings.ToLower(k)
			}
			if k != "" && val != "" {
				labels = append(labels, k, val)
			}
		}
		// Of two attributes that rules give one name the exporter keeps the first.
		id := name + "\x00" + strings.Join(labels, "\x00")
		if seen[id] {
			return
		}
		seen[id] = true
		add(name, cmp.Or(expand(rule.Help), full), v, labels...)
		return
	}
}

// safeName puts one underscore for any run of what a name may not have, and of underscores.
func safeName(s string) string {
	var last rune
	return strings.Map(func(c rune) rune {
		safe := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == ':'
		if !safe {
			c = '_'
			if last == c {
				return -1
			}
		}
		last = c
		return c
	}, s)
}
