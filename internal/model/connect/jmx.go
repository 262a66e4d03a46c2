package connect

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"triad/internal/model/jmx"
	"triad/internal/model/promtext"
)

// Metrics says whether and how the JMX exporter shows the beans of the worker.
type Metrics struct {
	Enabled         bool
	LowercaseNames  bool // lowercaseOutputName
	LowercaseLabels bool // lowercaseOutputLabelNames
	Names           jmx.Names
	Rules           []Rule
}

// Rule is one rule of the JMX exporter. The first that matches a bean's attribute decides.
type Rule struct {
	Pattern *regexp.Regexp // against domain<property=value, ...><>attribute: value
	Name    string         // with $1 for what the pattern's groups found
	Labels  [][2]string
	Value   string  // instead of the attribute's; "" keeps it
	Factor  float64 // valueFactor (1)
	Help    string
	Type    string // COUNTER, GAUGE or UNTYPED
}

// metrics reads spec.metricsConfig and the rules in the ConfigMap that it names.
func (p *parser) metrics(n *yaml.Node, maps []*yaml.Node) Metrics {
	m := Metrics{Enabled: true}
	if t := text(child(n, "type")); t != "jmxPrometheusExporter" {
		p.skip(n, "spec.metricsConfig.type", "only the JMX exporter is modelled: no metrics are served")
		m.Enabled = false
		return m
	}
	ref := child(n, "valueFrom", "configMapKeyRef")
	name, key := text(child(ref, "name")), text(child(ref, "key"))
	for _, cm := range maps {
		if text(child(cm, "metadata", "name")) != name {
			continue
		}
		if data := child(cm, "data", key); data != nil {
			file := p.file
			p.file = "ConfigMap/" + name
			p.rules(&m, data)
			p.file = file
			return m
		}
	}
	p.bad(n, "metricsConfig: no ConfigMap %s with the key %s", name, key)
	return m
}

func (p *parser) rules(m *Metrics, data *yaml.Node) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(data.Value), &doc); err != nil || len(doc.Content) != 1 {
		p.bad(data, "rules of the JMX exporter: not a YAML document: %v", err)
		return
	}
	top := newProps(doc.Content[0])
	r := reader{p, &top}
	r.flag(&m.LowercaseNames, "lowercaseOutputName")
	r.flag(&m.LowercaseLabels, "lowercaseOutputLabelNames")
	var err error
	if m.Names, err = jmx.Parse(texts(&top, "includeObjectNames"), texts(&top, "excludeObjectNames")); err != nil {
		p.bad(data, "rules of the JMX exporter: %v", err)
	}
	_, list := top.get("rules")
	if list != nil {
		for i, e := range list.Content {
			rule, err := parseRule(e)
			if err != nil {
				p.bad(data, "rules[%d]: %v", i, err)
				continue
			}
			m.Rules = append(m.Rules, rule)
		}
	}
	top.rest(p, "", func(string) string { return "a setting of the exporter that the model does not have" })
}

// texts is a list of strings.
func texts(top *props, key string) []string {
	_, list := top.get(key)
	var out []string
	if list != nil {
		for _, n := range list.Content {
			out = append(out, n.Value)
		}
	}
	return out
}

func parseRule(n *yaml.Node) (Rule, error) {
	rule := Rule{Factor: 1, Type: "UNTYPED"}
	var err error
	pairs(n, func(key string, v *yaml.Node) {
		switch key {
		case "pattern":
			var e error
			// The exporter looks for the pattern anywhere in the name.
			if rule.Pattern, e = regexp.Compile(v.Value); e != nil {
				err = fmt.Errorf("pattern: %w", e)
			}
		case "name":
			rule.Name = v.Value
		case "labels":
			pairs(v, func(k string, lv *yaml.Node) { rule.Labels = append(rule.Labels, [2]string{k, lv.Value}) })
		case "value":
			rule.Value = v.Value
		case "valueFactor":
			f, e := strconv.ParseFloat(v.Value, 64)
			if e != nil {
				err = fmt.Errorf("valueFactor: %w", e)
			}
			rule.Factor = f
		case "help":
			rule.Help = v.Value
		case "type":
			rule.Type = strings.ToUpper(v.Value)
		default:
			err = fmt.Errorf("%s is not supported", key)
		}
	})
	if err == nil && (rule.Name == "" || rule.Pattern == nil) {
		err = fmt.Errorf("a rule needs a pattern and a name here")
	}
	return rule, err
}

// bean is one MBean: its attributes have numbers or text.
type bean struct {
	domain string
	props  [][2]string
	attrs  []attr
}

type attr struct {
	name  string
	value float64
	text  string // instead of a number
}

func (b *bean) num(name string, v float64) { b.attrs = append(b.attrs, attr{name: name, value: v}) }
func (b *bean) count(name string, v int64) { b.num(name, float64(v)) }
func (b *bean) str(name, v string)         { b.attrs = append(b.attrs, attr{name: name, text: v}) }
func newBean(domain string, props ...string) *bean {
	b := &bean{domain: domain}
	for i := 0; i+1 < len(props); i += 2 {
		b.props = append(b.props, [2]string{props[i], props[i+1]})
	}
	return b
}

// render writes the beans as the exporter would: each attribute through the first rule that matches it.
func (m Metrics) render(beans []*bean) []byte {
	var w promtext.Writer
	seen := map[string]bool{}
	for _, b := range beans {
		if !m.Names.Has(b.domain, b.props) {
			continue
		}
		var head strings.Builder
		head.WriteString(b.domain + "<")
		for i, kv := range b.props {
			if i > 0 {
				head.WriteString(", ")
			}
			head.WriteString(kv[0] + "=" + kv[1])
		}
		head.WriteString("><>")
		for _, a := range b.attrs {
			m.attribute(&w, seen, head.String(), a)
		}
	}
	return w.Bytes()
}

func (m Metrics) attribute(w *promtext.Writer, seen map[string]bool, head string, a attr) {
	shown := a.text
	if shown == "" {
		shown = strconv.FormatFloat(a.value, 'f', -1, 64)
		if !strings.Contains(shown, ".") {
			shown += ".0" // as Java prints a double
		}
	}
	full := head + a.name + ": " + shown
	for _, rule := range m.Rules {
		at := rule.Pattern.FindStringSubmatchIndex(full)
		if at == nil {
			continue
		}
		expand := func(tmpl string) string {
			return string(rule.Pattern.ExpandString(nil, braces(tmpl), full, at))
		}
		v := a.value
		if rule.Value != "" {
			f, err := strconv.ParseFloat(expand(rule.Value), 64)
			if err != nil {
				return
			}
			v = f
		} else if a.text != "" {
			return // text without a value for it is not a sample
		}
		name := safeName(expand(rule.Name))
		if m.LowercaseNames {
			name = strings.ToLower(name)
		}
		var labels []string
		for _, kv := range rule.Labels {
			k, val := safeName(expand(kv[0])), expand(kv[1])
			if m.LowercaseLabels {
				k = strings.ToLower(k)
			}
			if k != "" && val != "" {
				labels = append(labels, k, val)
			}
		}
		// Of two attributes that a rule gives one name the exporter keeps the first.
		id := name + "\x00" + strings.Join(labels, "\x00")
		if seen[id] {
			return
		}
		seen[id] = true
		help := rule.Help
		if help == "" {
			help = head + a.name
		} else {
			help = expand(help)
		}
		if rule.Type == "COUNTER" {
			// The exporter's client library ends every counter so, whatever its rule calls it.
			if !strings.HasSuffix(name, "_total") {
				name += "_total"
			}
			w.Counter(name, help, v*rule.Factor, labels...)
		} else {
			w.Gauge(name, help, v*rule.Factor, labels...)
		}
		return
	}
}

var groupRef = regexp.MustCompile(`\$(\d+)`)

// braces turns $1_x into ${1}_x: Go would take 1_x for the name of a group.
func braces(tmpl string) string { return groupRef.ReplaceAllString(tmpl, "$${$1}") }

var unsafeRun = regexp.MustCompile(`[^a-zA-Z0-9:_]+`)

func safeName(s string) string {
	s = unsafeRun.ReplaceAllString(s, "_")
	for strings.Contains(s, "__") {
		s = strings.ReplaceAll(s, "__", "_")
	}
	return s
}
