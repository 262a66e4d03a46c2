package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// ErrNoEngine says that neither Docker nor Podman answers. The error that wraps it carries what each of them said.
var ErrNoEngine = errors.New("no container engine answers")

// engineProbeTimeout bounds one question to an engine that may hang: a daemon that is alive answers within a second or two.
const engineProbeTimeout = 10 * time.Second

// pipeWait is how long output may trickle in after a command was killed, before its pipes are closed.
const pipeWait = 2 * time.Second

// Engine is the command line of a container engine. The zero value is not usable: take one from FindEngine.
type Engine struct {
	// Bin is the program: "docker" or "podman", or a path to one of them.
	Bin string
}

// EngineInfo is what the engine says about the machine that it runs on, which need not be this one (Docker Desktop, a remote host).
type EngineInfo struct {
	Name          string // docker or podman
	Version       string
	OS            string // of the engine's machine, as it names itself
	Arch          string // Go's name: amd64, arm64
	CgroupVersion string // "1" or "2"
	CPUs          int
	MemoryBytes   int64
	RootDir       string // where images and containers lie on the engine's machine
	Desktop       bool   // Docker Desktop or another virtual machine: container addresses are not reachable from here
	Rootless      bool
	Containerd    bool // images are kept in containerd's store: archives have to be asked for by platform
}

// FindEngine returns the first engine that answers, Docker before Podman. TRIAD_ENGINE (docker, podman or a path) picks one.
// The error wraps ErrNoEngine and says what each engine answered.
func FindEngine(ctx context.Context) (Engine, EngineInfo, error) {
	bins := []string{"docker", "podman"}
	if forced := os.Getenv("TRIAD_ENGINE"); forced != "" {
		bins = []string{forced}
	}
	var why []string
	for _, bin := range bins {
		e := Engine{Bin: bin}
		info, err := e.Info(ctx)
		if err == nil {
			return e, info, nil
		}
		why = append(why, fmt.Sprintf("%s: %v", bin, err))
	}
	return Engine{}, EngineInfo{}, fmt.Errorf("%w: %s", ErrNoEngine, strings.Join(why, "; "))
}

// Name returns "docker" or "podman", the kind of engine behind Bin.
func (e Engine) Name() string {
	if strings.Contains(e.Bin, "podman") {
		return "podman"
	}
	return "docker"
}

// Run runs one engine command and returns its standard output without the last line end. The error carries the command and what
// it wrote to standard error.
func (e Engine) Run(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	if err := e.Pipe(ctx, nil, &out, args...); err != nil {
		return strings.TrimRight(out.String(), "\n"), err
	}
	return strings.TrimRight(out.String(), "\n"), nil
}

// Pipe runs one engine command with the given standard input and output; either may be nil.
func (e Engine) Pipe(ctx context.Context, stdin io.Reader, stdout io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, e.Bin, args...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, &stderr
	cmd.WaitDelay = pipeWait
	if err := cmd.Run(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return &EngineError{Args: append([]string{e.Bin}, args...), Stderr: tail(stderr.String(), 2000), Err: err}
	}
	return nil
}

// EngineError is a failed engine command.
type EngineError struct {
	Args   []string
	Stderr string
	Err    error
}

// Error names the command in short and what it said.
func (e *EngineError) Error() string {
	args := e.Args
	if len(args) > 6 {
		args = append(append([]string{}, args[:6]...), "...")
	}
	msg := strings.Join(args, " ")
	if s := strings.TrimSpace(e.Stderr); s != "" {
		return fmt.Sprintf("%s: %v: %s", msg, e.Err, s)
	}
	return fmt.Sprintf("%s: %v", msg, e.Err)
}

// Unwrap returns the cause: an exec.ExitError, or why the context ended.
func (e *EngineError) Unwrap() error { return e.Err }

// Info asks the engine about itself. It fails when the engine does not answer within ten seconds.
func (e Engine) Info(ctx context.Context) (EngineInfo, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, engineProbeTimeout, errors.New("no answer within 10 s"))
	defer cancel()
	out, err := e.Run(ctx, "info", "--format", "{{json .}}")
	if err != nil {
		return EngineInfo{}, err
	}
	if e.Name() == "podman" {
		return parsePodmanInfo([]byte(out))
	}
	return parseDockerInfo([]byte(out))
}

func parseDockerInfo(b []byte) (EngineInfo, error) {
	var d struct {
		ServerVersion, OperatingSystem, Architecture, CgroupVersion, DockerRootDir string
		NCPU                                                                       int
		MemTotal                                                                   int64
		SecurityOptions                                                            []string
		DriverStatus                                                               [][2]string
		ServerErrors                                                               []string
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return EngineInfo{}, fmt.Errorf("docker info: %w", err)
	}
	// The client prints an empty object with the errors inside, and exits 0 in some versions, when the daemon is away.
	if d.ServerVersion == "" {
		return EngineInfo{}, fmt.Errorf("docker info: no server: %s", strings.Join(d.ServerErrors, "; "))
	}
	info := EngineInfo{
		Name: "docker", Version: d.ServerVersion, OS: d.OperatingSystem, Arch: goArch(d.Architecture), CgroupVersion: d.CgroupVersion,
		CPUs: d.NCPU, MemoryBytes: d.MemTotal, RootDir: d.DockerRootDir,
		Desktop: strings.Contains(d.OperatingSystem, "Docker Desktop"),
	}
	for _, s := range d.DriverStatus {
		info.Containerd = info.Containerd || strings.HasPrefix(s[1], "io.containerd.snapshotter")
	}
	for _, o := range d.SecurityOptions {
		if strings.Contains(o, "name=rootless") {
			info.Rootless = true
		}
	}
	return info, nil
}

func parsePodmanInfo(b []byte) (EngineInfo, error) {
	var p struct {
		Host struct {
			Arch, CgroupVersion string
			CPUs                int
			MemTotal            int64
			ServiceIsRemote     bool
			Distribution        struct{ Distribution, Version string }
			Security            struct{ Rootless bool }
		}
		Store   struct{ GraphRoot string }
		Version struct{ Version string }
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return EngineInfo{}, fmt.Errorf("podman info: %w", err)
	}
	if p.Version.Version == "" {
		return EngineInfo{}, errors.New("podman info: no version in the answer")
	}
	return EngineInfo{
		Name: "podman", Version: p.Version.Version, OS: strings.TrimSpace(p.Host.Distribution.Distribution + " " + p.Host.Distribution.Version),
		Arch: goArch(p.Host.Arch), CgroupVersion: strings.TrimPrefix(p.Host.CgroupVersion, "v"), CPUs: p.Host.CPUs, MemoryBytes: p.Host.MemTotal,
		RootDir: p.Store.GraphRoot, Desktop: p.Host.ServiceIsRemote, Rootless: p.Host.Security.Rootless,
	}, nil
}

// goArch turns the kernel's name of an architecture into Go's.
func goArch(a string) string {
	switch a {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return a
}

// ImageID returns the engine's id of an image, "" when the engine does not have it.
func (e Engine) ImageID(ctx context.Context, ref string) (string, error) {
	out, err := e.Run(ctx, "image", "inspect", "--format", "{{.Id}}", ref)
	if err != nil {
		var ee *EngineError
		if errors.As(err, &ee) && isAbsent(ee.Stderr) {
			return "", nil
		}
		return "", err
	}
	return out, nil
}

func isAbsent(stderr string) bool {
	s := strings.ToLower(stderr)
	return strings.Contains(s, "no such image") || strings.Contains(s, "image not known") || strings.Contains(s, "no such object")
}

// tail keeps the last n bytes of s: the end of a log says why.
func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "..." + s[len(s)-n:]
}
