package prometheus

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	triad "triad/internal/model"
)

// parser reads one configuration file and gathers all faults and everything that no reader asked for.
type parser struct {
	file  string
	errs  []error
	notes []triad.NotModelled
}

func (p *parser) fault(line int, path, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("%s:%d: %s: %s", p.file, line, path, fmt.Sprintf(format, args...)))
}

func (p *parser) note(n *yaml.Node, path, why string) {
	v := n.Value
	if n.Kind != yaml.ScalarNode {
		if b, err := yaml.Marshal(n); err == nil {
			v = strings.Join(strings.Fields(string(b)), " ")
		}
	}
	if len(v) > 120 {
		v = strings.ToValidUTF8(v[:117], "") + "..."
	}
	p.notes = append(p.notes, triad.NotModelled{File: p.file, Line: n.Line, Key: path, Value: v, Why: why})
}

// document reads the only document of a file. An empty file is an empty section.
func (p *parser) document(config []byte) section {
	dec := yaml.NewDecoder(bytes.NewReader(config))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) {
			p.errs = append(p.errs, fmt.Errorf("%s: %w", p.file, err))
		}
		return p.section("", &yaml.Node{Kind: yaml.MappingNode, Line: 1})
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		p.fault(second.Line, "document", "more than one document")
	}
	return p.section("", doc.Content[0])
}

// section is a mapping whose keys are taken one by one; what is left over is not modelled.
type section struct {
	p    *parser
	path string
	node *yaml.Node
	keys map[string]*yaml.Node
	used map[string]bool
}

func (p *parser) section(path string, n *yaml.Node) section {
	s := section{p: p, path: path, node: n, keys: map[string]*yaml.Node{}, used: map[string]bool{}}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return s
	}
	if n.Kind != yaml.MappingNode {
		p.fault(n.Line, path, "must be a mapping")
		return s
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		for v.Kind == yaml.AliasNode {
			v = v.Alias
		}
		if _, dup := s.keys[k.Value]; dup {
			p.fault(k.Line, s.join(k.Value), "duplicate key")
		}
		s.keys[k.Value] = v
	}
	return s
}

func (s section) join(key string) string {
	if s.path == "" {
		return key
	}
	return s.path + "." + key
}

func (s section) take(key string) *yaml.Node {
	s.used[key] = true
	n := s.keys[key]
	if n != nil && n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	return n
}

func (s section) scalar(key string) (string, *yaml.Node) {
	n := s.take(key)
	if n == nil {
		return "", nil
	}
	if n.Kind != yaml.ScalarNode {
		s.p.fault(n.Line, s.join(key), "must be a scalar")
		return "", nil
	}
	return n.Value, n
}

func (s section) text(key string, dst *string) {
	if v, n := s.scalar(key); n != nil {
		*dst = v
	}
}

func (s section) duration(key string, dst *time.Duration) {
	if v, n := s.scalar(key); n != nil {
		d, err := model.ParseDuration(v)
		if err != nil {
			s.p.fault(n.Line, s.join(key), "%v", err)
			return
		}
		*dst = time.Duration(d)
	}
}

func (s section) count(key string, dst *int) {
	if v, n := s.scalar(key); n != nil {
		i, err := strconv.Atoi(v)
		if err != nil || i < 0 {
			s.p.fault(n.Line, s.join(key), "%q is not a whole number >= 0", v)
			return
		}
		*dst = i
	}
}

func (s section) flag(key string, dst *bool) {
	if v, n := s.scalar(key); n != nil {
		b, err := strconv.ParseBool(v)
		if err != nil {
			s.p.fault(n.Line, s.join(key), "%q is not a boolean", v)
			return
		}
		*dst = b
	}
}

func (s section) strings(key string) []string {
	var out []string
	for _, n := range s.list(key) {
		if n.Kind != yaml.ScalarNode {
			s.p.fault(n.Line, s.join(key), "must be a list of scalars")
			continue
		}
		out = append(out, n.Value)
	}
	return out
}

func (s section) list(key string) []*yaml.Node {
	n := s.take(key)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		s.p.fault(n.Line, s.join(key), "must be a list")
		return nil
	}
	return n.Content
}

func (s section) labels(key string) map[string]string {
	n := s.take(key)
	if n == nil {
		return nil
	}
	sub := s.p.section(s.join(key), n)
	m := map[string]string{}
	for k := range sub.keys {
		v, _ := sub.scalar(k)
		m[k] = v
	}
	return m
}

func (s section) child(key string) (section, bool) {
	n := s.take(key)
	if n == nil {
		return s.p.section(s.join(key), &yaml.Node{Kind: yaml.MappingNode, Line: s.node.Line}), false
	}
	return s.p.section(s.join(key), n), true
}

// accept takes keys that change nothing that the model shows.
func (s section) accept(keys ...string) {
	for _, k := range keys {
		s.used[k] = true
	}
}

// rest notes what nobody took.
func (s section) rest(why string) {
	for i := 0; s.node != nil && i+1 < len(s.node.Content); i += 2 {
		k := s.node.Content[i].Value
		if n, ok := s.keys[k]; ok && !s.used[k] {
			s.used[k] = true
			s.p.note(n, s.join(k), why)
		}
	}
}

// note takes one key and says why it is not modelled.
func (s section) note(key, why string) {
	if n := s.take(key); n != nil {
		s.p.note(n, s.join(key), why)
	}
}

func (p *parser) result() ([]triad.NotModelled, error) {
	// Sections are maps, so the order of reading is not the order of the file.
	slices.SortStableFunc(p.notes, func(a, b triad.NotModelled) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
	})
	return p.notes, errors.Join(p.errs...)
}
