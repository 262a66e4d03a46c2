package promql

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// Rule is a recording or an alerting rule of a rule file.
type Rule struct {
	Alert, Record string // one of them
	Expr          parser.Expr
	For, KeepFor  time.Duration
	Labels        map[string]string // with those of its group
	Annotations   map[string]string
}

// Name is the name of the alert or of the recorded series.
func (r Rule) Name() string { return cmp.Or(r.Alert, r.Record) }

// Group is one group of a rule file.
type Group struct {
	Name     string
	Interval time.Duration // 0: the server's evaluation interval
	Offset   time.Duration // of its queries, into the past
	Limit    int
	Rules    []Rule
}

// Parser returns the parser with the options that a server has without feature flags.
func Parser() parser.Parser { return parser.NewParser(parser.Options{}) }

// Rules reads a rule file as a server does: expressions, names, templates and unknown keys are judged. Every fault is in the error.
func Rules(content []byte) ([]Group, error) {
	p := Parser()
	parsed, errs := rulefmt.Parse(content, false, model.UTF8Validation, p, slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var out []Group
	for _, g := range parsed.Groups {
		x := Group{Name: g.Name, Interval: time.Duration(g.Interval), Limit: g.Limit}
		if g.QueryOffset != nil {
			x.Offset = time.Duration(*g.QueryOffset)
		}
		for _, y := range g.Rules {
			expr, err := p.ParseExpr(y.Expr)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", cmp.Or(y.Alert, y.Record), err)
			}
			all := map[string]string{}
			maps.Copy(all, g.Labels)
			maps.Copy(all, y.Labels)
			x.Rules = append(x.Rules, Rule{
				Alert: y.Alert, Record: y.Record, Expr: expr, For: time.Duration(y.For), KeepFor: time.Duration(y.KeepFiringFor), Labels: all, Annotations: y.Annotations,
			})
		}
		out = append(out, x)
	}
	return out, nil
}

// Metrics returns the names of the metrics that an expression selects by name.
func Metrics(expr parser.Expr) []string {
	var out []string
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			for _, m := range v.LabelMatchers {
				if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual && !slices.Contains(out, m.Value) {
					out = append(out, m.Value)
				}
			}
		}
		return nil
	})
	return out
}

// Rests finds the first metric that an expression rests on and of which is says true, directly or by way of recording rules.
func Rests(expr parser.Expr, groups []Group, is func(metric string) bool) (metric string, found bool) {
	return rests(expr, groups, is, map[string]bool{})
}

func rests(expr parser.Expr, groups []Group, is func(string) bool, seen map[string]bool) (string, bool) {
	for _, name := range Metrics(expr) {
		if is(name) {
			return name, true
		}
		if seen[name] {
			continue
		}
		seen[name] = true
		for _, g := range groups {
			for _, r := range g.Rules {
				if r.Record != name {
					continue
				}
				if m, ok := rests(r.Expr, groups, is, seen); ok {
					return m, true
				}
			}
		}
	}
	return "", false
}
