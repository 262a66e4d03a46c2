package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Help and README name every variable that the code reads.
func TestEveryVariableIsNamed(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	assets, err := os.ReadFile(filepath.Join(root(t), "manifests", "assets.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	read := map[string]string{}
	for asset := range strings.SplitSeq(string(assets), "\n  - name: ") {
		if m := regexp.MustCompile(`\n    env: (TRIAD_[A-Z_]+)\n`).FindStringSubmatch(asset); m != nil {
			read[m[1]] = "manifests/assets.yaml"
		}
	}
	literal := regexp.MustCompile(`"(TRIAD_[A-Z_]+)"`)
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root(t), dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range literal.FindAllStringSubmatch(string(text), -1) {
				read[m[1]] = path
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// In the code, and nobody sets them for sim.
	others := map[string]string{
		"TRIAD_CLUSTER":     "sim sets it, for a shell and for Prometheus",
		"TRIAD_MANIFESTS":   "tests of the kind runtime set it; sim knows its root",
		"TRIAD_TEST_CGROUP": "tests against containers read it",
	}
	for name, where := range read {
		if others[name] != "" {
			continue
		}
		if !regexp.MustCompile(`(?m)^  ` + name + ` `).MatchString(longHelp) {
			t.Errorf("%s (%s) is not in sim --help", name, where)
		}
		if !strings.Contains(string(readme), "\n| `"+name+"` |") {
			t.Errorf("%s (%s) is not in the table of README.md", name, where)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^  (TRIAD_[A-Z_]+) |^\\| `(TRIAD_[A-Z_]+)` \\|").FindAllStringSubmatch(longHelp+"\n"+string(readme), -1) {
		if name := m[1] + m[2]; read[name] == "" {
			t.Errorf("%s is read nowhere", name)
		}
	}
}
