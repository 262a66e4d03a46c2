package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"triad/internal/model"
)

// File is one configuration being read.
type File struct {
	Name string
	// Resolve turns a scalar into its value, for formats that replace variables; nil takes the text as it stands.
	Resolve func(n *yaml.Node) (string, error)
	// Fold compares keys without regard to case.
	Fold bool

	notes []model.NotModelled
	errs  []error
}

// Section is one mapping of the file. The zero of *Section (nil) is an absent one and reads as empty.
type Section struct {
	file *File
	node *yaml.Node
	path string
	used map[string]bool
}

// Parse reads one YAML document whose root is a mapping. More documents, another root, and duplicate keys anywhere are
// errors with file and line.
func (f *File) Parse(data []byte) (*Section, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: empty configuration", f.Name)
		}
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document", f.Name)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: want a mapping at the root", f.Name, root.Line)
	}
	if err := f.checkTree(root, 0); err != nil {
		return nil, err
	}
	return f.section(root, ""), nil
}

// maxDepth bounds nesting; the real files have five levels.
const maxDepth = 64

// checkTree refuses duplicate keys, aliases (a model would have to copy what the real program shares) and deep nesting.
func (f *File) checkTree(n *yaml.Node, depth int) error {
	if depth > maxDepth {
		return f.errorf(n, "nested too deeply")
	}
	switch n.Kind {
	case yaml.AliasNode:
		return f.errorf(n, "aliases are not supported")
	case yaml.MappingNode:
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := f.fold(n.Content[i].Value)
			if n.Content[i].Kind != yaml.ScalarNode {
				return f.errorf(n.Content[i], "key is no scalar")
			}
			if seen[k] {
				return f.errorf(n.Content[i], "duplicate key %q", k)
			}
			seen[k] = true
		}
	}
	for _, c := range n.Content {
		if err := f.checkTree(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (f *File) fold(s string) string {
	if f.Fold {
		return strings.ToLower(s)
	}
	return s
}

func (f *File) section(n *yaml.Node, path string) *Section {
	return &Section{file: f, node: n, path: path, used: map[string]bool{}}
}

func (f *File) errorf(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s:%d: "+format, append([]any{f.Name, n.Line}, args...)...)
}

// Errorf records a fault of the file at the section, or at one of its keys when key is not empty.
func (s *Section) Errorf(key, format string, args ...any) {
	n, path := s.node, s.path
	if key != "" {
		path = s.keyPath(key)
		if k, _ := s.find(key); k != nil {
			n = k
		}
	}
	s.file.errs = append(s.file.errs, s.file.errorf(n, "%s: %s", path, fmt.Sprintf(format, args...)))
}

// Err returns all faults found so far, joined.
func (f *File) Err() error { return errors.Join(f.errs...) }

// Notes returns what is not modelled, in the order of the file.
func (f *File) Notes() []model.NotModelled {
	notes := slices.Clone(f.notes)
	slices.SortStableFunc(notes, func(a, b model.NotModelled) int { return a.Line - b.Line })
	return notes
}

func (s *Section) keyPath(key string) string {
	if s.path == "" {
		return key
	}
	return s.path + "." + key
}

func (s *Section) find(key string) (k, v *yaml.Node) {
	if s == nil {
		return nil, nil
	}
	for i := 0; i+1 < len(s.node.Content); i += 2 {
		if s.file.fold(s.node.Content[i].Value) == key {
			return s.node.Content[i], s.node.Content[i+1]
		}
	}
	return nil, nil
}

func (s *Section) take(key string) *yaml.Node {
	_, v := s.find(key)
	if v != nil {
		s.used[key] = true
	}
	return v
}

// Line is the line of the section in the file.
func (s *Section) Line() int {
	if s == nil {
		return 0
	}
	return s.node.Line
}

// Has says whether the key is there, without reading it.
func (s *Section) Has(key string) bool {
	k, _ := s.find(key)
	return k != nil
}

// Section reads a mapping below the key; nil when the key is absent. Another kind of value is a fault.
func (s *Section) Section(key string) *Section {
	n := s.take(key)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		if n.Kind != yaml.ScalarNode || n.Tag != "!!null" {
			s.Errorf(key, "want a mapping")
		}
		return nil
	}
	return s.file.section(n, s.keyPath(key))
}

// Sections reads a list of mappings below the key.
func (s *Section) Sections(key string) []*Section {
	n := s.take(key)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		s.Errorf(key, "want a list")
		return nil
	}
	var out []*Section
	for i, c := range n.Content {
		if c.Kind != yaml.MappingNode {
			s.file.errs = append(s.file.errs, s.file.errorf(c, "%s[%d]: want a mapping", s.keyPath(key), i))
			continue
		}
		out = append(out, s.file.section(c, fmt.Sprintf("%s[%d]", s.keyPath(key), i)))
	}
	return out
}

// Strings reads a scalar or a list of scalars below the key; nil when the key is absent.
func (s *Section) Strings(key string) []string {
	n := s.take(key)
	if n == nil {
		return nil
	}
	nodes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		nodes = n.Content
	}
	out := []string{}
	for _, c := range nodes {
		v, err := s.scalar(c)
		if err != nil {
			s.Errorf(key, "%v", err)
			continue
		}
		out = append(out, v)
	}
	return out
}

func (s *Section) scalar(n *yaml.Node) (string, error) {
	if n.Kind != yaml.ScalarNode {
		return "", errors.New("want a scalar")
	}
	if s.file.Resolve != nil {
		return s.file.Resolve(n)
	}
	return n.Value, nil
}

// Pairs reads a mapping of scalars below the key as key and value, in the order of the file.
func (s *Section) Pairs(key string) [][2]string {
	sub := s.Section(key)
	if sub == nil {
		return nil
	}
	var out [][2]string
	for i := 0; i+1 < len(sub.node.Content); i += 2 {
		v, err := sub.scalar(sub.node.Content[i+1])
		if err != nil {
			sub.Errorf(sub.node.Content[i].Value, "%v", err)
			continue
		}
		out = append(out, [2]string{sub.node.Content[i].Value, v})
	}
	return out
}

// Value reads one scalar with parse, or gives def when the key is absent. A value that parse refuses is a fault.
func Value[T any](s *Section, key string, def T, parse func(string) (T, error)) T {
	n := s.take(key)
	if n == nil {
		return def
	}
	text, err := s.scalar(n)
	if err != nil {
		s.Errorf(key, "%v", err)
		return def
	}
	v, err := parse(text)
	if err != nil {
		s.Errorf(key, "%v", err)
		return def
	}
	return v
}

// String reads one scalar as text.
func (s *Section) String(key, def string) string {
	return Value(s, key, def, func(v string) (string, error) { return v, nil })
}

// NotModelled lists one key of the section as not modelled, if it is there, and marks it as read.
func (s *Section) NotModelled(key, why string) {
	k, v := s.find(key)
	if k == nil {
		return
	}
	s.used[key] = true
	s.file.notes = append(s.file.notes, model.NotModelled{
		File: s.file.Name, Line: k.Line, Key: s.keyPath(key), Value: valueText(v), Why: why,
	})
}

// Rest lists every key that was not read. why gives the reason for a key; an empty one stands for "unknown to the
// model".
func (s *Section) Rest(why func(key string) string) {
	if s == nil {
		return
	}
	for i := 0; i+1 < len(s.node.Content); i += 2 {
		key := s.file.fold(s.node.Content[i].Value)
		if s.used[key] {
			continue
		}
		reason := ""
		if why != nil {
			reason = why(key)
		}
		if reason == "" {
			reason = "unknown to the model, so it has no effect here"
		}
		s.NotModelled(key, reason)
	}
}

// Skip marks keys as read that need no model and change no result.
func (s *Section) Skip(keys ...string) {
	for _, k := range keys {
		s.take(k)
	}
}

func valueText(n *yaml.Node) string {
	const limit = 120
	text := n.Value
	if n.Kind != yaml.ScalarNode {
		b, err := yaml.Marshal(n)
		if err != nil {
			return "?"
		}
		text = strings.Join(strings.Fields(string(b)), " ")
	}
	if len(text) > limit {
		text = text[:limit] + "..."
	}
	return text
}
