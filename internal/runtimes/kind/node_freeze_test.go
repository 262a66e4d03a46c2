//go:build !embedded_only

package kind

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"triad/internal/images"
)

// A node that the kernel could not freeze at once is paused by a later try; any other error is told at once.
func TestPauseTriesAgain(t *testing.T) {
	dir := t.TempDir()
	engine := filepath.Join(dir, "docker")
	script := `#!/bin/sh
echo "$2" >> "` + dir + `/tries"
case "$2" in
busy) [ "$(wc -l < "` + dir + `/tries")" -ge 3 ] || { echo "OCI runtime pause failed: unable to freeze: unknown" >&2; exit 1; } ;;
gone) echo "No such container: gone" >&2; exit 1 ;;
esac
`
	if err := os.WriteFile(engine, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	r := &Runtime{engine: images.Engine{Bin: engine}}
	if err := r.pause(t.Context(), "busy"); err != nil {
		t.Error(err)
	}
	if err := r.pause(t.Context(), "gone"); err == nil || !strings.Contains(err.Error(), "No such container") {
		t.Errorf("an error that is no freezer's: %v", err)
	}
	tries, err := os.ReadFile(filepath.Join(dir, "tries"))
	if want := "busy\nbusy\nbusy\ngone\n"; err != nil || string(tries) != want {
		t.Errorf("tried %q, want %q (%v)", tries, want, err)
	}
}
