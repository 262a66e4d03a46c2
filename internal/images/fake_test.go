//go:build !embedded_only

package images

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeEngine is a program in the engine's place whose images are files of a folder, called by their references with "_" for "/": what is pulled, tagged or
// loaded is there afterwards.
type fakeEngine struct {
	Engine
	dir string
}

func newFakeEngine(t *testing.T) fakeEngine {
	t.Helper()
	dir := t.TempDir()
	script := `#!/bin/sh
echo "$*" >> "` + dir + `/calls"
file() { echo "` + dir + `/$(echo "$1" | tr / _)"; }
for last; do :; done
case "$*" in
image\ inspect*Labels*) cat "$(file "$last")" | grep -ao 'triad.dev/made-of":"[^"]*' | head -n 1 | cut -d '"' -f 3;;
image\ inspect*) test -e "$(file "$last")" || { echo 'Error: No such image: x' >&2; exit 1; }; sha256sum < "$(file "$last")" | cut -d ' ' -f 1;;
pull*nowhere*) echo 'manifest unknown' >&2; exit 1;;
pull*) echo pulled > "$(file "$last")";;
tag*) cp "$(file "$2")" "$(file "$3")";;
save*) cat "$(file "$last")";;
load*) cat > "$(file loaded)"; cp "$(file loaded)" "$(file made/here:1)";;
*) echo "unexpected: $*" >&2; exit 64;;
esac
`
	bin := filepath.Join(dir, "docker")
	if err := os.WriteFile(bin, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return fakeEngine{Engine{Bin: bin}, dir}
}

// calls are the commands that the engine was given, those that only look left out.
func (f fakeEngine) calls(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "image inspect") {
			out = append(out, line)
		}
	}
	return out
}

// put gives the engine an image.
func (f fakeEngine) put(t *testing.T, ref string, content []byte) {
	t.Helper()
	if err := os.WriteFile(f.file(ref), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f fakeEngine) file(ref string) string {
	return filepath.Join(f.dir, strings.ReplaceAll(ref, "/", "_"))
}
