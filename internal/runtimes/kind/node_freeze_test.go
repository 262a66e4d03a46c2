//go:build !embedded_only

package kind

import (
	"errors"
	"os"
	"os/exec"
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

// The watchdog tries again while a node is paused still or the engine does not answer, and a heal that could not unpause one, or not see whether
// one is paused, leaves the watchdog its lease.
func TestUnfreezeTriesAgain(t *testing.T) {
	dir := t.TempDir()
	engine := filepath.Join(dir, "docker")
	script := `#!/bin/sh
case "$1" in
unpause) echo "$2" >> "` + dir + `/tries"; [ "$2" = awake ] || [ "$(grep -c asleep "` + dir + `/tries")" -ge 3 ] ;;
ps) [ ! -e "` + dir + `/away" ] || exit 1; [ "$(grep -c asleep "` + dir + `/tries")" -ge 3 ] || echo asleep ;;
esac
`
	if err := os.WriteFile(engine, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	r := &Runtime{engine: images.Engine{Bin: engine}, opts: Options{StateDir: dir, Clusters: []string{Kafka}}}
	away := filepath.Join(dir, "away")
	for _, engineAway := range []bool{false, true} {
		if engineAway {
			if err := os.WriteFile(away, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(unfreezeScript, "sleep 3", "sleep 0.01"), "triad-watchdog", "awake", "asleep")
		cmd.Env = append(os.Environ(), "engine="+engine)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		tries, err := os.ReadFile(filepath.Join(dir, "tries"))
		if want := strings.Repeat("awake\nasleep\n", 3); err != nil || string(tries) != want {
			t.Errorf("engine away %v: tried %q, want %q (%v)", engineAway, tries, want, err)
		}
		if err := os.Remove(filepath.Join(dir, "tries")); err != nil {
			t.Fatal(err)
		}
	}
	kept := filepath.Join(r.leaseDir(), "0123abcd")
	if err := os.MkdirAll(r.leaseDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.HealAll(t.Context()); err == nil {
		t.Error("healed all with an engine that does not answer: no error")
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("healing all without having seen the nodes: %v", err)
	}

	lease := filepath.Join(dir, "lease")
	if err := os.WriteFile(lease, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	heal := r.unfreeze([]string{"asleep"}, lease, func() {})
	if err := heal(t.Context()); err == nil {
		t.Error("a node that stays paused: no error")
	}
	if _, err := os.Stat(lease); err != nil {
		t.Errorf("the watchdog has lost its lease: %v", err)
	}
	var err error
	for range 2 { // the third try unpauses it
		err = heal(t.Context())
	}
	if _, gone := os.Stat(lease); err != nil || !errors.Is(gone, os.ErrNotExist) {
		t.Errorf("healed: %v, lease: %v", err, gone)
	}
}
