package preflight

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"triad/internal/images"
)

// fakeEngine puts a program in the engine's place that answers by a shell case over its arguments.
func fakeEngine(t *testing.T, cases string) images.Engine {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "docker")
	if err := os.WriteFile(bin, []byte("#!/bin/sh\ncase \"$*\" in\n"+cases+"\n*) echo \"unexpected: $*\" >&2; exit 64;;\nesac\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TRIAD_ENGINE", bin)
	return images.Engine{Bin: bin}
}

func find(t *testing.T, all []Finding, check string) Finding {
	t.Helper()
	for _, f := range all {
		if f.Check == check {
			return f
		}
	}
	t.Fatalf("no finding %q in %+v", check, all)
	return Finding{}
}

func TestEveryBadFindingHasAFix(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	fakeEngine(t, `info*) echo '{"ServerVersion":"29","OperatingSystem":"Docker Desktop","Architecture":"riscv64","CgroupVersion":"1","NCPU":2,"MemTotal":2147483648,"SecurityOptions":["name=rootless"]}';;
image*inspect*\ here/*) echo sha256:1;;
image*inspect*) echo 'Error: No such image: x' >&2; exit 1;;
manifest*far*) echo '{}';;
manifest*) echo 'no such host' >&2; exit 1;;
run*inotify*) echo 16;;
run*) echo 'Error: Specified qdisc kind is unknown.' >&2; exit 2;;`)
	n := DefaultNeeds(3)
	n.Ports = map[int]int{30094: port}
	n.NodeImage = "here/node:1"
	n.Images = []string{"far/away:1", "made/here:1", "made/not:1", "nowhere/x:1"}
	n.Made = map[string]Look{
		"made/here:1": func(context.Context) (string, string) { return "of parts", "" },
		"made/not:1":  func(context.Context) (string, string) { return "a part is missing", "`get it`" },
	}
	all := Run(t.Context(), n)
	want := map[string]Level{
		"engine": OK, "ports": Fail, "architecture": Warn, "cgroup": Fail, "memory": Fail, "disk": Warn, "fs.inotify.max_user_instances": Fail,
		"fs.inotify.max_user_watches": Fail, "image far/away:1": OK, "image made/here:1": OK, "image made/not:1": Fail, "image nowhere/x:1": Fail, "netem": Capability, "bandwidth": Capability, "packet filter": Capability,
	}
	for check, level := range want {
		f := find(t, all, check)
		if f.Level != level {
			t.Errorf("%s: level %s (%s), want %s", check, f.Level, f.Detail, level)
		}
	}
	for _, f := range all {
		if f.OK == (f.Fix != "") || f.Detail == "" {
			t.Errorf("%s: ok %v, detail %q, fix %q: a finding that is not good needs a fix, a good one none", f.Check, f.OK, f.Detail, f.Fix)
		}
	}
	if f := find(t, all, "ports"); !strings.Contains(f.Detail, fmt.Sprint(port)) {
		t.Errorf("ports: %q does not name %d", f.Detail, port)
	}
	if f := find(t, all, "image made/here:1"); !strings.Contains(f.Detail, "of parts") {
		t.Errorf("an image that is made: %q", f.Detail)
	}
	if f := find(t, all, "image made/not:1"); !strings.Contains(f.Detail, "a part is missing") || !strings.Contains(f.Fix, "`get it`") {
		t.Errorf("an image that cannot be made: %q, %q", f.Detail, f.Fix)
	}
	if len(Bad(all)) != 7 {
		t.Errorf("%d findings are in the way: %+v", len(Bad(all)), Bad(all))
	}
	n.NodeImage = "" // not there yet
	for _, f := range Run(t.Context(), n) {
		if f.Level == Capability {
			t.Errorf("without a node and an image of one: %+v", f)
		}
	}
}

func TestPortsThatTriadHoldsAreFine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	if f := portFindings(map[int]int{1: port}, map[int]bool{port: true}); !f[0].OK {
		t.Errorf("held port: %+v", f)
	}
	if f := portFindings(map[int]int{1: port}, nil); f[0].OK {
		t.Errorf("taken port: %+v", f)
	}
}

func TestNoEngineSaysHowToGetOne(t *testing.T) {
	t.Setenv("TRIAD_ENGINE", filepath.Join(t.TempDir(), "docker"))
	all := Run(t.Context(), DefaultNeeds(3))
	if len(all) != 1 || all[0].Level != Fail || all[0].Fix == "" {
		t.Fatalf("findings without an engine: %+v", all)
	}
	for err, want := range map[error]string{
		errors.New(`docker: exec: "docker": executable file not found; podman: exec: "podman": executable file not found`): "--runtime embedded",
		errors.New("docker: permission denied while trying to connect"):                                                    "usermod",
	} {
		if f := engineFinding(images.EngineInfo{}, err); !strings.Contains(f.Fix, want) {
			t.Errorf("fix of %v: %q, want %q in it", err, f.Fix, want)
		}
	}
}

func TestLimitsStartNothing(t *testing.T) {
	fakeEngine(t, `info*) echo '{"ServerVersion":"29","OperatingSystem":"Docker Desktop","Architecture":"amd64","CgroupVersion":"2","NCPU":2,"MemTotal":2147483648}';;`)
	all := Limits(t.Context(), DefaultNeeds(3))
	for check, level := range map[string]Level{"memory": Fail, "disk": Warn, "fs.inotify.max_user_instances": Warn, "fs.inotify.max_user_watches": Warn} {
		if f := find(t, all, check); f.Level != level || f.Fix == "" || strings.Contains(f.Detail, "unexpected") {
			t.Errorf("%+v, want %s", f, level)
		}
	}
	t.Setenv("TRIAD_ENGINE", filepath.Join(t.TempDir(), "docker"))
	all = Limits(t.Context(), DefaultNeeds(3))
	if f := find(t, all, "engine"); f.OK || len(all) != 3 {
		t.Errorf("without an engine: %+v", all)
	}
}

func TestSysctlsAreReadWhereTheEngineRuns(t *testing.T) {
	host := func(_ context.Context, script string) (string, error) {
		if strings.Contains(script, "instances") {
			return "8192\n", nil
		}
		return "", errors.New("away")
	}
	got := sysctls(t.Context(), host, images.EngineInfo{Desktop: true}, map[string]int{"fs.inotify.max_user_instances": 512, "fs.inotify.max_user_watches": 1})
	if !got[0].OK || got[1].OK || got[1].Level != Warn {
		t.Errorf("findings: %+v", got)
	}
}

func TestKindPreflight(t *testing.T) {
	if os.Getenv("TRIAD_KIND_TESTS") == "" {
		t.Skip("TRIAD_KIND_TESTS is not set: the real machine is not looked at")
	}
	if _, _, err := images.FindEngine(t.Context()); err != nil {
		t.Skip(err)
	}
	n := DefaultNeeds(3)
	if n.NodeImage = os.Getenv("TRIAD_NODE_IMAGE"); n.NodeImage == "" {
		t.Skip("TRIAD_NODE_IMAGE is not set: there is nothing to ask the kernel with")
	}
	all := Run(t.Context(), n)
	for _, f := range all {
		t.Logf("%-30s %-10s ok=%-5v %s  %s", f.Check, f.Level, f.OK, f.Detail, f.Fix)
	}
	if b := Bad(all); len(b) > 0 {
		t.Errorf("in the way: %+v", b)
	}
	if !find(t, all, "packet filter").OK || !find(t, all, "bandwidth").OK {
		t.Error("a kernel that runs kind has a packet filter and htb")
	}
}
