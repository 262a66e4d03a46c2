//go:build !embedded_only

package kind

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"triad/internal/images"
	"triad/internal/kube"
	"triad/internal/manifests"
)

// scriptedEngine is an engine that answers as the cases of a shell script say; it returns what it was asked so far.
func scriptedEngine(t *testing.T, cases string) (images.Engine, func() []string) {
	t.Helper()
	dir := t.TempDir()
	engine, log := filepath.Join(dir, "docker"), filepath.Join(dir, "log")
	if err := os.WriteFile(engine, []byte("#!/bin/sh\necho \"$*\" >> '"+log+"'\ncase \"$*\" in\n"+cases+"\nesac\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TRIAD_ENGINE", engine)
	return images.Engine{Bin: engine}, func() []string {
		b, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
}

// A cluster of another configuration is refused with the command that makes it anew, and made anew only where that was asked for.
func TestRecreate(t *testing.T) {
	for _, recreate := range []bool{false, true} {
		engine, _ := scriptedEngine(t, `ps*) echo node;;
container*) echo '[{"Name": "/triad-kafka-control-plane", "State": {"Status": "running"}, "Config": {"Labels": {}}, "Mounts": [{"Destination": "`+ownerMark+`"}]}]';;`)
		r := &Runtime{engine: engine, opts: Options{StateDir: t.TempDir(), NodeImage: "node:2", Clusters: []string{Kafka}, Recreate: recreate}}
		if err := r.prepareDir(Kafka); err != nil {
			t.Fatal(err)
		}
		if err := r.writeState(Kafka, clusterState{Phase: phaseReady, NodeImage: "node:1", Fingerprint: "of node:1", Nodes: 1}); err != nil {
			t.Fatal(err)
		}
		j, err := r.prepareCluster(t.Context(), Kafka, Profile{Single: true}, "sha256:2")
		switch {
		case recreate && (err != nil || j.found.Condition != Different || len(j.found.Nodes) != 1):
			t.Errorf("asked for: %+v, %v", j.found, err)
		case !recreate && (!errors.Is(err, ErrDifferent) || !strings.Contains(err.Error(), "`sim up --recreate`")):
			t.Errorf("not asked for: %v", err)
		}
	}
}

// What keeps the clusters from coming up is said before the node image is pulled and before anything is removed; what only the image can show, behind it.
func TestPreflightComesFirst(t *testing.T) {
	const info = `info*) echo '{"ServerVersion":"29","OperatingSystem":"Docker Desktop","Architecture":"amd64","CgroupVersion":"2","NCPU":8,"MemTotal":%d}';;
`
	rest := `image*node:1) [ -e "$0.pulled" ] && echo sha256:1 && exit; echo 'Error: No such image: x' >&2; exit 1;;
image*) echo sha256:2;;
pull*) : > "$0.pulled";;
run*inotify*) echo 1;;
esac
exit 0
case x in`
	for name, c := range map[string]struct {
		memory int64
		pulled bool
		bad    string
	}{
		"memory":                    {1 << 30, false, "memory"},
		"what the node image shows": {64 << 30, true, "fs.inotify.max_user_instances"},
	} {
		t.Run(name, func(t *testing.T) {
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			port := free.Addr().(*net.TCPAddr).Port
			if err := free.Close(); err != nil {
				t.Fatal(err)
			}
			engine, calls := scriptedEngine(t, fmt.Sprintf(info, c.memory)+rest)
			r := &Runtime{
				engine: engine, progress: func(string, string, string) {}, clients: map[string]*kube.Client{},
				opts: Options{StateDir: t.TempDir(), NodeImage: "node:1", Nodes: 1, Clusters: []string{Datacenter}, HostPorts: map[int]int{30940: port}, Manifests: "../../../manifests"},
			}
			if err := os.MkdirAll(r.clusterDir(manifests.Added), 0o755); err != nil { // left over by a run that was killed
				t.Fatal(err)
			}
			_, err = r.Up(t.Context(), DeployOptions{})
			pre, ok := errors.AsType[*PreflightError](err)
			if !ok || !strings.Contains(pre.Error(), c.bad+": ") {
				t.Errorf("error %v, want a finding of the preflight about %s", err, c.bad)
			}
			asked := strings.Join(calls(), "\n")
			if strings.Contains(asked, "pull node:1") != c.pulled {
				t.Errorf("node image pulled: want %v; the engine was asked:\n%s", c.pulled, asked)
			}
			if c.pulled && strings.Index(asked, "info") > strings.Index(asked, "pull node:1") {
				t.Errorf("pulled before the machine was looked at:\n%s", asked)
			}
			if _, err := os.Stat(r.clusterDir(manifests.Added)); err != nil {
				t.Errorf("what was left over is removed before the preflight: %v", err)
			}
		})
	}
}
