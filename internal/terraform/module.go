package terraform

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Place is a block and the file that it stands in.
type Place struct {
	Block
	File string // slash-separated, relative to the folder given to Load
}

// Module is one folder of .tf files.
type Module struct {
	Path      string           // relative to the folder given to Load, "kafka" or "modules/network"
	Variables map[string]Place // by name
	Outputs   map[string]Place // by name
	Locals    map[string]string
	Resources map[string]Place // by address: "aws_vpc.this"
	Data      map[string]Place // by address: "data.aws_region.here"
	Calls     map[string]Place // module blocks, by name
	Settings  []Place          // terraform blocks
	Files     map[string]Block // by name
}

// Tree is a folder of roots and the modules that they share.
type Tree struct {
	Dir     string
	Roots   []string // paths, sorted: folders that have a provider block
	Modules map[string]Module
}

// Load reads all modules below dir. Folders whose name begins with a dot are left out. What cannot be read is in the error, with
// file and line, and every module that can be is in the Tree.
func Load(dir string) (Tree, error) {
	tree := Tree{Dir: dir, Modules: map[string]Module{}}
	var errs []error
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && path != dir {
				return filepath.SkipDir
			}
			return nil
		}
		rel, _ := filepath.Rel(dir, path)
		rel = filepath.ToSlash(rel)
		if !strings.HasSuffix(rel, ".tf") {
			// Tests and made-up answers are read for their syntax.
			if strings.HasSuffix(rel, ".hcl") && !strings.HasSuffix(rel, ".lock.hcl") {
				if _, err := parseFile(path, rel); err != nil {
					errs = append(errs, err)
				}
			}
			return nil
		}
		file, err := parseFile(path, rel)
		if err != nil {
			errs = append(errs, err)
			return nil
		}
		key := filepath.ToSlash(filepath.Dir(rel))
		m, ok := tree.Modules[key]
		if !ok {
			m = Module{
				Path: key, Variables: map[string]Place{}, Outputs: map[string]Place{}, Locals: map[string]string{}, Resources: map[string]Place{},
				Data: map[string]Place{}, Calls: map[string]Place{}, Files: map[string]Block{},
			}
		}
		errs = append(errs, m.add(rel, file))
		tree.Modules[key] = m
		if len(file.Of("provider")) > 0 && !slices.Contains(tree.Roots, key) {
			tree.Roots = append(tree.Roots, key)
		}
		return nil
	})
	slices.Sort(tree.Roots)
	return tree, errors.Join(append(errs, err)...)
}

func parseFile(path, rel string) (Block, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return Block{}, err
	}
	b, err := Parse(src)
	if err != nil {
		return Block{}, fmt.Errorf("%s:%w", rel, err)
	}
	return b, nil
}

// labels is how many labels each block of a module has.
var labels = map[string]int{"variable": 1, "output": 1, "locals": 0, "resource": 2, "data": 2, "module": 1, "terraform": 0, "provider": 1, "check": 1, "moved": 0, "removed": 0, "import": 0}

func (m *Module) add(file string, b Block) error {
	var errs []error
	m.Files[file] = b
	put := func(kind string, in map[string]Place, name string, p Place) {
		if old, ok := in[name]; ok {
			errs = append(errs, fmt.Errorf("%s:%d: %s %s is declared at %s:%d already", file, p.Line, kind, name, old.File, old.Line))
		}
		in[name] = p
	}
	for _, a := range b.Attributes {
		errs = append(errs, fmt.Errorf("%s:%d: %s is set outside of a block", file, a.Line, a.Name))
	}
	for _, in := range b.Blocks {
		p := Place{in, file}
		want, known := labels[in.Type]
		if !known || len(in.Labels) != want {
			errs = append(errs, fmt.Errorf("%s:%d: %s with %d labels is no block of a module", file, in.Line, in.Type, len(in.Labels)))
			continue
		}
		switch in.Type {
		case "variable":
			put("variable", m.Variables, in.Labels[0], p)
		case "output":
			put("output", m.Outputs, in.Labels[0], p)
		case "module":
			put("module", m.Calls, in.Labels[0], p)
		case "resource":
			put("resource", m.Resources, in.Labels[0]+"."+in.Labels[1], p)
		case "data":
			put("data", m.Data, "data."+in.Labels[0]+"."+in.Labels[1], p)
		case "terraform":
			m.Settings = append(m.Settings, p)
		case "locals":
			for _, a := range in.Attributes {
				if _, ok := m.Locals[a.Name]; ok {
					errs = append(errs, fmt.Errorf("%s:%d: local.%s is set twice", file, a.Line, a.Name))
				}
				m.Locals[a.Name] = a.Expr
			}
		}
	}
	return errors.Join(errs...)
}

var (
	reference = regexp.MustCompile(`(?:^|[^\w."-])((?:var|local|module|data|aws_[a-z0-9_]+)\.[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)?)`)
	indexed   = regexp.MustCompile(`module\.([A-Za-z_][\w-]*)\[[^\]]*\]\.([A-Za-z_][\w-]*)`)
)

// references returns what an expression refers to: "var.x", "local.x", "module.x.y", "data.t.n", "aws_t.n". Strings are searched
// only inside their interpolations; names that begin elsewhere (object keys, iterators) are not references.
func references(expr string) []string {
	text := code(expr)
	seen := map[string]bool{}
	for _, m := range reference.FindAllStringSubmatch(text, -1) {
		parts := strings.Split(m[1], ".")
		switch parts[0] {
		case "var", "local":
			seen[parts[0]+"."+parts[1]] = true
		case "module", "data":
			seen[m[1]] = true
		default:
			seen[parts[0]+"."+parts[1]] = true
		}
	}
	for _, m := range indexed.FindAllStringSubmatch(text, -1) {
		seen["module."+m[1]+"."+m[2]] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// code is the expression with comments and the literal parts of strings blanked out.
func code(expr string) string {
	out := []byte(expr)
	p := parser{src: expr, line: 1}
	blank := func(from, to int) {
		for i := from; i < to && i < len(out); i++ {
			out[i] = ' '
		}
	}
	var walk func(stop byte)
	walk = func(stop byte) {
		depth := 0
		for !p.done() {
			c := p.peek()
			start := p.pos
			switch {
			case c == stop && depth == 0:
				return
			case c == '{':
				depth++
				p.next()
			case c == '}':
				depth--
				p.next()
			case c == '#' || strings.HasPrefix(p.src[p.pos:], "//") || strings.HasPrefix(p.src[p.pos:], "/*"):
				if p.space(false) != nil {
					return
				}
				blank(start, p.pos)
			case strings.HasPrefix(p.src[p.pos:], "<<"):
				if p.heredoc() != nil {
					return
				}
				blank(start, p.pos)
			case c == '"':
				p.next()
				from := start
				for !p.done() && p.peek() != '"' {
					c := p.next()
					if c == '\\' {
						p.next()
					}
					if (c == '$' || c == '%') && p.peek() == c {
						p.next()
						continue
					}
					if (c == '$' || c == '%') && p.peek() == '{' {
						p.next()
						blank(from, p.pos)
						walk('}')
						from = p.pos
					}
				}
				p.next()
				blank(from, p.pos)
			default:
				p.next()
			}
		}
	}
	walk(0)
	return string(out)
}

// expressions calls f for every expression below b, outermost first.
func expressions(b Block, f func(Attribute)) {
	for _, a := range b.Attributes {
		f(a)
	}
	for _, in := range b.Blocks {
		expressions(in, f)
	}
}
