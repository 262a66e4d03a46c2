package prometheus

import (
	"maps"
	"regexp"
	"strings"
)

// relabelRule is one step of relabel_configs, metric_relabel_configs or write_relabel_configs.
type relabelRule struct {
	action      string
	source      []string
	separator   string
	target      string
	regex       *regexp.Regexp
	replacement string
}

// actions that are modelled. hashmod is not: it only shards targets among servers, and there is one.
var relabelActions = map[string]bool{
	"replace": true, "keep": true, "drop": true, "keepequal": true, "dropequal": true,
	"labelmap": true, "labeldrop": true, "labelkeep": true, "lowercase": true, "uppercase": true,
}

func parseRelabel(s section, key string) []relabelRule {
	var out []relabelRule
	for i, n := range s.list(key) {
		r := s.p.section(s.join(key)+"["+itoa(i)+"]", n)
		rule := relabelRule{action: "replace", separator: ";", replacement: "$1"}
		expr := "(.*)"
		r.text("action", &rule.action)
		rule.action = strings.ToLower(rule.action)
		r.text("separator", &rule.separator)
		r.text("target_label", &rule.target)
		r.text("replacement", &rule.replacement)
		r.text("regex", &expr)
		rule.source = r.strings("source_labels")
		r.accept("modulus")
		re, err := regexp.Compile("^(?s:" + expr + ")$")
		if err != nil {
			s.p.fault(n.Line, r.join("regex"), "%v", err)
			continue
		}
		rule.regex = re
		if !relabelActions[rule.action] {
			s.p.note(n, r.path, "action "+rule.action+" is not modelled; the step is left out")
			continue
		}
		if needsTarget(rule.action) && rule.target == "" {
			s.p.fault(n.Line, r.path, "action %s needs target_label", rule.action)
			continue
		}
		r.rest("unknown key of a relabelling step")
		out = append(out, rule)
	}
	return out
}

func needsTarget(action string) bool {
	switch action {
	case "replace", "keepequal", "dropequal", "lowercase", "uppercase":
		return true
	}
	return false
}

// relabel applies the rules in order and reports whether the label set is kept. m is changed in place.
func relabel(m map[string]string, rules []relabelRule) bool {
	for _, r := range rules {
		vals := make([]string, len(r.source))
		for i, n := range r.source {
			vals[i] = m[n]
		}
		src := strings.Join(vals, r.separator)
		switch r.action {
		case "keep":
			if !r.regex.MatchString(src) {
				return false
			}
		case "drop":
			if r.regex.MatchString(src) {
				return false
			}
		case "keepequal":
			if m[r.target] != src {
				return false
			}
		case "dropequal":
			if m[r.target] == src {
				return false
			}
		case "lowercase":
			set(m, r.target, strings.ToLower(src))
		case "uppercase":
			set(m, r.target, strings.ToUpper(src))
		case "replace":
			if idx := r.regex.FindStringSubmatchIndex(src); idx != nil {
				target := string(r.regex.ExpandString(nil, r.target, src, idx))
				set(m, target, string(r.regex.ExpandString(nil, r.replacement, src, idx)))
			}
		case "labelmap":
			for n, v := range copyMap(m) {
				if r.regex.MatchString(n) {
					set(m, r.regex.ReplaceAllString(n, r.replacement), v)
				}
			}
		case "labeldrop":
			for n := range copyMap(m) {
				if r.regex.MatchString(n) {
					delete(m, n)
				}
			}
		case "labelkeep":
			for n := range copyMap(m) {
				if !r.regex.MatchString(n) {
					delete(m, n)
				}
			}
		}
	}
	return true
}

func set(m map[string]string, name, value string) {
	if value == "" {
		delete(m, name)
		return
	}
	m[name] = value
}

func copyMap(m map[string]string) map[string]string {
	c := make(map[string]string, len(m))
	maps.Copy(c, m)
	return c
}
