package house

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// imports returns, for every package folder, what its non-test files import.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "tools" || strings.HasPrefix(d.Name(), ".") && d.Name() != ".." && path != root) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir, _ := filepath.Rel(root, filepath.Dir(path))
		dir = filepath.ToSlash(dir)
		out[dir] = append(out[dir], "")
		for _, i := range f.Imports {
			out[dir] = append(out[dir], strings.Trim(i.Path.Value, `"`))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 10 {
		t.Fatalf("only %d packages found", len(out))
	}
	return out
}

// The import rule of the design: leaves below evidence below check below report, none of which knows the outside.
func TestImportRule(t *testing.T) {
	allowed := map[string][]string{
		"internal/scenario": {},
		"internal/record":   {},
		"internal/stats":    {},
		"internal/schedule": {"scenario"},
		"internal/source":   {"record"},
		"internal/evidence": {"record", "scenario", "stats", "schedule"},
		"internal/check":    {"evidence", "stats", "scenario", "schedule", "record"},
		"internal/report":   {"check", "evidence", "stats", "scenario", "schedule", "record"},
		"internal/fidelity": {"check", "evidence", "stats", "scenario"},
	}
	outside := []string{"net/http", "github.com/twmb/", "k8s.io/", "sigs.k8s.io/kind", "sigs.k8s.io/kustomize", "github.com/elastic/", "github.com/prometheus/"}
	all := imports(t)
	for pkg, own := range allowed {
		if all[pkg] == nil {
			t.Errorf("%s: not there", pkg)
		}
		for _, i := range all[pkg] {
			if rest, ok := strings.CutPrefix(i, "triad/internal/"); ok && !slices.Contains(own, rest) {
				t.Errorf("%s imports %s; it may import %v", pkg, i, own)
			}
			for _, o := range outside {
				if strings.HasPrefix(i, o) {
					t.Errorf("%s imports %s: judging must work offline, without clients", pkg, i)
				}
			}
		}
	}
	for pkg, is := range all {
		for _, i := range is {
			if rest, ok := strings.CutPrefix(i, "triad/internal/runtimes/"); ok && !strings.HasPrefix(pkg, "internal/runtimes") && pkg != "cmd/sim" {
				t.Errorf("%s imports runtimes/%s: runtimes are named only in cmd/sim", pkg, rest)
			}
		}
	}
}

func TestEveryPackageHasItsRule(t *testing.T) {
	for pkg := range imports(t) {
		b, err := os.ReadFile(filepath.Join(root, pkg, "doc.go"))
		if err != nil {
			t.Errorf("%s: no doc.go", pkg)
			continue
		}
		if !strings.Contains(string(b), "one rule") && !strings.Contains(string(b), "rule:") {
			t.Errorf("%s: doc.go does not say the one rule of the package", pkg)
		}
	}
}

func TestEveryDependencyHasAReason(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	reasons, err := os.ReadFile(filepath.Join(root, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	direct := 0
	for line := range strings.SplitSeq(string(mod), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 || strings.Contains(line, "// indirect") || !strings.Contains(f[0], ".") || !strings.HasPrefix(f[1], "v") {
			continue
		}
		direct++
		if !strings.Contains(string(reasons), "`"+f[0]+"`") {
			t.Errorf("docs/dependencies.md does not say why %s is there", f[0])
		}
	}
	if direct < 10 {
		t.Fatalf("only %d direct dependencies found in go.mod", direct)
	}
	for line := range strings.SplitSeq(string(reasons), "\n") {
		if name, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ = strings.Cut(name, "`")
			if !strings.Contains(string(mod), "\t"+name+" v") {
				t.Errorf("docs/dependencies.md names %s, which go.mod does not require", name)
			}
		}
	}
}
