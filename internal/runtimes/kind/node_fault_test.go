//go:build !embedded_only

package kind

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"triad/internal/images"
)

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// A fault whose injection was given up does not come behind its own undo: neither from a shell that is at it still, nor from one that begins later.
func TestGivenUpInjectionEnds(t *testing.T) {
	for name, late := range map[string]string{"at it": "0", "not begun": "1"} {
		t.Run(name, func(t *testing.T) {
			r, dir := shellEngine(t, late, nil)
			in, began := filepath.Join(dir, "injected"), filepath.Join(dir, "began")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				for late == "0" && !exists(began) || !exists(filepath.Join(dir, "first")) {
					time.Sleep(5 * time.Millisecond)
				}
				cancel()
			}()
			// A child that is at work is not to finish behind the undo either.
			inject := "touch " + began + "\nsh -c 'sleep 2; echo child >> " + in + "'\necho shell >> " + in
			if err := r.armed(ctx, "node", "0123abcd", inject, "echo undone >> "+in, time.Minute); err == nil {
				t.Fatal("a cancelled injection: no error")
			}
			time.Sleep(2500 * time.Millisecond)
			did, _ := os.ReadFile(in)
			if want := map[string]string{"0": "undone\n", "1": ""}[late]; string(did) != want {
				t.Errorf("in this order: %q, want %q", did, want)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "run", "*")); len(left) > 0 {
				t.Errorf("the node carries %v", left)
			}
		})
	}
}

// What carries no undo any more is found and taken away; what has one is left to it.
func TestOrphansAreHealed(t *testing.T) {
	r, dir := shellEngine(t, "0", map[string]string{
		"iptables": `echo "iptables $*" >> "$dir/did"
[ "$3" != -S ] || printf '%s\n' '-P FORWARD ACCEPT' '-N TRIAD-FLOWS' '-N TRIAD-CUT-00000001' '-N TRIAD-CUT-00000002'
`,
		"tc": `echo "tc $*" >> "$dir/did"
[ "$2" != show ] || echo "qdisc htb 1: root refcnt 5 r2q 10 default 0x1"
`,
	})
	if err := os.MkdirAll(filepath.Join(dir, "run", "00000002"), 0o755); err != nil {
		t.Fatal(err)
	}
	healed, err := r.healOrphans(t.Context(), "node")
	if want := "cut 00000001 without an undo, slow link without an undo"; err != nil || strings.Join(healed, ", ") != want {
		t.Errorf("healed %q, %v", healed, err)
	}
	did, _ := os.ReadFile(filepath.Join(dir, "did"))
	if s := string(did); !strings.Contains(s, "-X TRIAD-CUT-00000001\n") || !strings.Contains(s, "tc qdisc del dev eth0 root\n") || strings.Contains(s, "-X TRIAD-CUT-00000002") {
		t.Errorf("did:\n%s", s)
	}
	// A slow link that has its undo stays.
	if err := os.WriteFile(filepath.Join(dir, "run", "00000002", "own-qdisc"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if healed, err := r.healOrphans(t.Context(), "node"); err != nil || len(healed) != 1 {
		t.Errorf("beside a slow link that is on: healed %q, %v", healed, err)
	}
}

// Where nothing was ever made there is nothing to heal, and that is no error.
func TestHealWithoutAStateFolder(t *testing.T) {
	dir := t.TempDir()
	engine := filepath.Join(dir, "docker")
	if err := os.WriteFile(engine, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := &Runtime{engine: images.Engine{Bin: engine}, opts: Options{StateDir: filepath.Join(dir, "state"), Clusters: []string{Datacenter, Kafka, Monitoring}}}
	if healed, err := r.HealAll(t.Context()); err != nil || len(healed) > 0 {
		t.Errorf("healed %v, %v", healed, err)
	}
}
