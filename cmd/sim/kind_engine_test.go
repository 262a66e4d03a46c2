//go:build !embedded_only

package main

import (
	"cmp"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"triad/internal/check"
)

// engineDoor lets a client in to the engine, until it is shut: then the engine is there for everybody else.
type engineDoor struct {
	net.Listener
	engine string
	mu     sync.Mutex
	shut   bool
	open   []net.Conn
	wg     sync.WaitGroup
}

func openDoor(t *testing.T) *engineDoor {
	t.Helper()
	engine, unix := strings.CutPrefix(cmp.Or(os.Getenv("DOCKER_HOST"), "unix:///var/run/docker.sock"), "unix://")
	if !unix {
		t.Skipf("the engine is at %s, which is not a socket of this machine", os.Getenv("DOCKER_HOST"))
	}
	dir, err := os.MkdirTemp("", "door") //nolint:usetesting // a path of a socket has a hundred letters, and the names of tests are in t.TempDir's
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	d := &engineDoor{Listener: l, engine: engine}
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(dir, "s"))
	d.wg.Go(d.serve)
	t.Cleanup(func() { d.Shut(); d.wg.Wait(); _ = os.RemoveAll(dir) })
	return d
}

func (d *engineDoor) serve() {
	for {
		in, err := d.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("unix", d.engine)
		if err != nil {
			_ = in.Close()
			continue
		}
		d.mu.Lock()
		if d.open = append(d.open, in, out); d.shut {
			_, _ = in.Close(), out.Close()
		}
		d.mu.Unlock()
		for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
			d.wg.Go(func() {
				_, _ = io.Copy(way[0], way[1])
				if half, ok := way[0].(*net.UnixConn); ok {
					_ = half.CloseWrite()
				}
			})
		}
	}
}

// Shut ends every connection, and lets nobody in any more.
func (d *engineDoor) Shut() {
	_ = d.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	for _, c := range d.open {
		_ = c.Close()
	}
}

const engineScenario = `apiVersion: triad/v1
name: engine
title: the container engine does not answer any more
runtimes: [kind]
phases: {warm-up: 5s, before: 15s, during: 30s, after: 20s, drain: 120s}
load:
  - {source: service, rate: 50/s, streams: 4, instances: 2}
  - {source: control, rate: 10/s}
faults:
  - {kind: link-cut, from: datacenter, to: kafka, at: during+5s, for: 15s}
thresholds: ["lost == 0"]
requires: [evidence, load, faults, loss]
`

// TestKindEngineGone takes the container engine away from the harness in the middle of a run, before a fault and while one lasts; the system goes on. The
// run ends by itself and keeps every record that arrived. A fault that cannot be made, or of which nobody can say that it is gone, is no proof: the run does
// not pass. The cut ends without the harness.
func TestKindEngineGone(t *testing.T) {
	binary := os.Getenv("TRIAD_SIM_BINARY")
	if os.Getenv("TRIAD_KIND_TESTS") == "" || binary == "" {
		t.Skip("TRIAD_KIND_TESTS or TRIAD_SIM_BINARY is not set: needs a container engine and takes five minutes")
	}
	for name, until := range map[string]string{"before a fault": `"phase","name":"during"`, "during a fault": `"state":"bit"`} {
		t.Run(name, func(t *testing.T) {
			door := openDoor(t)
			res, said := struckRun(t, binary, engineScenario, until, door.Shut)
			for _, c := range []string{"evidence", "corruption", "isolation", "phantom", "loss"} {
				verdictIs(t, *res, c, check.Pass)
			}
			if res.Verdict == check.Pass || res.Verdict == check.Fail {
				t.Errorf("%s: %s", res.Verdict, res.Summary)
			}
			if res.Totals.Acknowledged == 0 || res.Totals.Lost != 0 || res.Totals.Seen < res.Totals.Acknowledged {
				t.Errorf("totals: %+v", res.Totals)
			}
			if !strings.Contains(said, "docker") {
				t.Errorf("the engine is not named:\n%s", said)
			}
			t.Setenv("DOCKER_HOST", "unix://"+door.engine)
			var healed, log strings.Builder
			a := &app{stdout: &healed, stderr: &log, getenv: os.Getenv}
			if code := a.main(t.Context(), []string{"--root", root(t), "heal"}); code != 0 || !strings.Contains(healed.String()+log.String(), "nothing to heal") {
				t.Errorf("the cut is there when the run has ended: exit %d\n%s%s", code, healed.String(), log.String())
			}
		})
	}
}
