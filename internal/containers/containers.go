//go:build !embedded_only

package containers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/network"

	"triad/internal/manifests"
)

// removeTime bounds the removal of one container: a process that ignores SIGTERM is killed after the engine's ten seconds.
const removeTime = time.Minute

// Image returns the reference of a component in the image set. It skips the test, with the reason, where there is no
// engine or no image.
func Image(tb testing.TB, component string) string {
	tb.Helper()
	if testing.Short() {
		tb.Skip("short: containers are left out")
	}
	file := os.Getenv("TRIAD_IMAGES")
	if file == "" {
		tb.Skip("TRIAD_IMAGES names no image set: no image of the real programs is known to be here")
	}
	set, err := manifests.LoadImageSet(file)
	if err != nil {
		tb.Fatal(err)
	}
	ref := set.Images[component]
	if ref == "" {
		tb.Skipf("the image set has no image of %s", component)
	}
	if err := engine(tb.Context()); err != nil {
		tb.Skipf("no container engine answers: %v", err)
	}
	return ref
}

// engine asks the engine whether it is there. Looking for one panics where testcontainers finds no socket at all.
func engine(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	p, err := testcontainers.NewDockerProvider(testcontainers.WithLogger(log.Default()))
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }() // it was only asked
	return p.Health(ctx)
}

// logger keeps testcontainers' own chatter to what a failing test shows.
type logger struct{ tb testing.TB }

// Printf implements log.Logger.
func (l logger) Printf(format string, v ...any) { l.tb.Logf(format, v...) }

// Network makes a network that lives as long as the test.
func Network(tb testing.TB) string {
	tb.Helper()
	n, err := network.New(tb.Context(), network.WithLabels(map[string]string{"dev.triad.test": tb.Name()}))
	if err != nil {
		tb.Fatalf("network: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), removeTime)
		defer cancel()
		if err := n.Remove(ctx); err != nil {
			tb.Errorf("network %s is left behind: %v", n.Name, err)
		}
	})
	return n.Name
}

// Container is a running container of a test.
type Container struct {
	testcontainers.Container
	tb testing.TB
}

// Run starts a container that lives as long as the test. When the test fails the end of its log is shown. TRIAD_TEST_CGROUP names
// the parent control group of every container: on a machine that does other work it can be given a share of the processors
// that this work does not eat into, without which a recording of time is one of the machine.
func Run(tb testing.TB, req testcontainers.ContainerRequest) *Container {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 5*time.Minute)
	defer cancel()
	if req.Labels == nil {
		req.Labels = map[string]string{}
	}
	req.Labels["dev.triad.test"] = tb.Name()
	if parent := os.Getenv("TRIAD_TEST_CGROUP"); parent != "" {
		modify := req.HostConfigModifier
		req.HostConfigModifier = func(h *container.HostConfig) {
			if modify != nil {
				modify(h)
			}
			h.CgroupParent = parent
		}
	}
	c, err := testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{ContainerRequest: req, Started: true, Logger: logger{tb}})
	if c != nil {
		tb.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), removeTime)
			defer cancel()
			if tb.Failed() {
				tb.Logf("log of %s:\n%s", req.Image, logTail(ctx, c))
			}
			if err := c.Terminate(ctx, testcontainers.StopTimeout(0)); err != nil {
				tb.Errorf("container %s is left behind: %v", c.GetContainerID(), err)
			}
		})
	}
	if err != nil {
		tb.Fatalf("container of %s: %v", req.Image, err)
	}
	return &Container{c, tb}
}

func logTail(ctx context.Context, c testcontainers.Container) string {
	r, err := c.Logs(ctx)
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	b, _ := io.ReadAll(io.LimitReader(r, 4<<20))
	return string(b[max(0, len(b)-4000):])
}

// Addr is an address of a port of the container, seen from here: the container's own where it can be reached (no proxy of
// the engine lies between, which a busy machine would slow), else the port of the engine's machine that is mapped to it.
func (c *Container) Addr(port string) string {
	c.tb.Helper()
	number, _, _ := strings.Cut(port, "/")
	d := net.Dialer{Timeout: time.Second}
	if ip, err := c.ContainerIP(c.tb.Context()); err == nil && ip != "" {
		own := net.JoinHostPort(ip, number)
		conn, err := d.DialContext(c.tb.Context(), "tcp", own)
		if err == nil {
			conn.Close()
		}
		if err == nil || errors.Is(err, syscall.ECONNREFUSED) { // nobody listens there yet, and the container says so itself
			return own
		}
	}
	p, err := c.MappedPort(c.tb.Context(), port)
	if err != nil {
		c.tb.Fatal(err)
	}
	// Where the tests run in a container themselves testcontainers takes the default gateway for the engine's machine, which
	// is wrong when the engine is inside with them.
	if os.Getenv("TESTCONTAINERS_HOST_OVERRIDE") == "" {
		here := net.JoinHostPort("127.0.0.1", p.Port())
		if conn, err := d.DialContext(c.tb.Context(), "tcp", here); err == nil {
			conn.Close()
			return here
		}
	}
	host, err := c.Host(c.tb.Context())
	if err != nil {
		c.tb.Fatal(err)
	}
	return net.JoinHostPort(host, p.Port())
}

// Shell runs a script in the container and returns its standard output; a script that fails ends the test.
func (c *Container) Shell(script string) string {
	c.tb.Helper()
	out, err := c.Try(script)
	if err != nil {
		c.tb.Fatal(err)
	}
	return out
}

// Try is Shell for a caller that can go on after a failure, and for other goroutines than the test's.
func (c *Container) Try(script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.tb.Context()), time.Minute)
	defer cancel()
	code, r, err := c.Exec(ctx, []string{"sh", "-c", script}, exec.Multiplexed())
	if err != nil {
		return "", fmt.Errorf("script %q: %w", script, err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return "", fmt.Errorf("script %q: %w", script, err)
	}
	if code != 0 {
		return string(b), fmt.Errorf("script %q: exit %d: %s", script, code, b)
	}
	return strings.TrimSpace(string(b)), nil
}

// Eventually asks until cond holds, and ends the test with its last error when it does not in time.
func Eventually(tb testing.TB, within time.Duration, what string, cond func(ctx context.Context) error) {
	tb.Helper()
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(tb.Context(), 5*time.Second)
		err = cond(ctx)
		cancel()
		if err == nil {
			return
		}
	}
	tb.Fatalf("%s: not after %s: %v", what, within, err)
}

// Logger logs to the test.
func Logger(tb testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}
