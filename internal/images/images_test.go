//go:build !embedded_only

package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// staticProgram builds a small static Linux program.
func staticProgram(t *testing.T, goarch string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() { println(\"here\") }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "program")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", out, filepath.Join(dir, "main.go"))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+goarch, "GOFLAGS=")
	cmd.Dir = dir
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, b)
	}
	return out
}

func TestBuildOwnIsReproducibleAndLinked(t *testing.T) {
	program := staticProgram(t, runtime.GOARCH)
	first, err := BuildOwn(t.Context(), program, runtime.GOARCH, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	second, err := BuildOwn(t.Context(), program, runtime.GOARCH, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a, errA := os.ReadFile(first.Archive)
	b, errB := os.ReadFile(second.Archive)
	if errA != nil || errB != nil || !bytes.Equal(a, b) || first.ID != second.ID || first.Ref != second.Ref {
		t.Errorf("two builds differ: %s and %s (%v, %v)", first.Ref, second.Ref, errA, errB)
	}
	img, err := tarball.ImageFromPath(first.Archive, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Config.User != "65532:65532" || cfg.Architecture != runtime.GOARCH || cfg.OS != "linux" {
		t.Errorf("configuration: user %q, %s/%s", cfg.Config.User, cfg.OS, cfg.Architecture)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := map[string]string{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeLink || h.Typeflag == tar.TypeReg {
			got[h.Name] = h.Linkname
		}
		if h.Name == "tmp/" && h.Mode != 0o1777 {
			t.Errorf("mode of /tmp: %o", h.Mode)
		}
	}
	want := map[string]string{"usr/local/bin/sim": ""}
	for _, p := range StandInPaths() {
		want[p] = "usr/local/bin/sim"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// What older builds left is removed after a day, and nothing else is.
func TestPruneOwn(t *testing.T) {
	dir := t.TempDir()
	keep := Own{Archive: filepath.Join(dir, "sim-now.tar")}
	for _, name := range []string{"sim-now.tar", "sim-old.tar", "sim-new.tar", "files-old.json"} {
		f := filepath.Join(dir, name)
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(name, "new") {
			then := time.Now().Add(-25 * time.Hour)
			if err := os.Chtimes(f, then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := PruneOwn(keep); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	if want := []string{"files-old.json", "sim-new.tar", "sim-now.tar"}; !slices.Equal(left, want) {
		t.Errorf("left %v, want %v", left, want)
	}
}

func TestBuildOwnRefusesWhatDoesNotRunInNodes(t *testing.T) {
	script := filepath.Join(t.TempDir(), "sim")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	for name, tc := range map[string]struct{ program, arch, want string }{
		"not a program":        {script, runtime.GOARCH, "not a Linux program"},
		"another architecture": {staticProgram(t, other), runtime.GOARCH, "the nodes are " + runtime.GOARCH},
	} {
		_, err := BuildOwn(t.Context(), tc.program, tc.arch, t.TempDir())
		if !errors.Is(err, ErrNotForNodes) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "go build") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNodeRef(t *testing.T) {
	for ref, want := range map[string]string{
		"quay.io/a/b:1.0":                         "quay.io/a/b:1.0",
		"quay.io/a/b:1.0@sha256:0123456789abcdef": "quay.io/a/b:1.0",
		"quay.io/a/b@sha256:0123456789abcdef":     "quay.io/a/b:sha256-0123456789ab",
		"host:5000/b@sha256:0123456789abcdef":     "host:5000/b:sha256-0123456789ab",
	} {
		if got := NodeRef(ref); got != want {
			t.Errorf("NodeRef(%s) = %s, want %s", ref, got, want)
		}
	}
}

func TestStoreName(t *testing.T) {
	for ref, want := range map[string]string{
		"grafana/grafana:12": "docker.io/grafana/grafana:12", "busybox": "docker.io/library/busybox:latest",
		"lab.local/kafka:4": "lab.local/kafka:4", "localhost/a:1": "localhost/a:1", "host:5000/a": "host:5000/a:latest",
	} {
		if got := storeName(ref); got != want {
			t.Errorf("storeName(%s) = %s, want %s", ref, got, want)
		}
	}
}

func TestParseNodeImages(t *testing.T) {
	have := parseNodeImages(`REF TYPE DIGEST SIZE PLATFORMS LABELS
docker.io/triad/sim:1 application/vnd.docker.distribution.manifest.v2+json sha256:aa 34.1 MiB linux/amd64 io.cri-containerd.image=managed,triad.dev/id=sha256:bb
lab.local/kafka:4 application/vnd.oci.image.manifest.v1+json sha256:cc 1 GiB linux/amd64 io.cri-containerd.image=managed
`)
	if diff := cmp.Diff(map[string]string{"docker.io/triad/sim:1": "sha256:bb", "triad/sim:1": "sha256:bb"}, have); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func TestEngineInfo(t *testing.T) {
	info, err := parseDockerInfo([]byte(`{"ServerVersion":"29.1","OperatingSystem":"Docker Desktop","Architecture":"aarch64","CgroupVersion":"2","NCPU":8,"MemTotal":8589934592,
	"DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]],"SecurityOptions":["name=seccomp,profile=builtin"]}`))
	want := EngineInfo{Name: "docker", Version: "29.1", OS: "Docker Desktop", Arch: "arm64", CgroupVersion: "2", CPUs: 8, MemoryBytes: 8 << 30, Desktop: true, Containerd: true}
	if err != nil || info != want {
		t.Errorf("docker info: %+v, %v, want %+v", info, err, want)
	}
	if _, err := parseDockerInfo([]byte(`{"ServerVersion":"","ServerErrors":["Cannot connect to the Docker daemon"]}`)); err == nil || !strings.Contains(err.Error(), "Cannot connect") {
		t.Errorf("docker info without a server: %v", err)
	}
	p, err := parsePodmanInfo([]byte(`{"host":{"arch":"amd64","cgroupVersion":"v2","cpus":4,"memTotal":17179869184,"serviceIsRemote":false,"distribution":{"distribution":"fedora","version":"42"},"security":{"rootless":true}},"store":{"graphRoot":"/x"},"version":{"Version":"5.2"}}`))
	wantP := EngineInfo{Name: "podman", Version: "5.2", OS: "fedora 42", Arch: "amd64", CgroupVersion: "2", CPUs: 4, MemoryBytes: 16 << 30, RootDir: "/x", Rootless: true}
	if err != nil || p != wantP {
		t.Errorf("podman info: %+v, %v, want %+v", p, err, wantP)
	}
}
