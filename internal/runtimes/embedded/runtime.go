package embedded

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"triad/internal/manifests"
	"triad/internal/runtimes"
)

// Options of the runtime.
type Options struct {
	Manifests  string // folder of manifests
	KindConfig string // folder with the kind configurations: the kubelet's log rotation stands there
}

// Runtime is the embedded runtime. It keeps nothing between runs.
type Runtime struct {
	opts Options
	set  manifests.Set
}

var _ runtimes.Runtime = (*Runtime)(nil)

// New opens the manifests.
func New(o Options) (*Runtime, error) {
	set, err := manifests.Open(o.Manifests)
	if err != nil {
		return nil, err
	}
	return &Runtime{opts: o, set: set}, nil
}

// Name is embedded.
func (r *Runtime) Name() string { return "embedded" }

// Up has nothing to bring up: a system lives as long as its run.
func (r *Runtime) Up(context.Context, runtimes.Session) error { return nil }

// Connect reads the manifests and starts the models.
func (r *Runtime) Connect(ctx context.Context, s runtimes.Session) (runtimes.Env, error) {
	cfg, err := readConfig(r.set, r.opts.KindConfig, s)
	if err != nil {
		return nil, err
	}
	sys, err := newSystem(cfg, s)
	if err != nil {
		return nil, err
	}
	if err := sys.start(ctx); err != nil {
		closing := context.WithoutCancel(ctx)
		if cerr := sys.Close(closing); cerr != nil {
			s.Logger.Warn("close after a failed start", "error", cerr)
		}
		return nil, err
	}
	return sys, nil
}

// CollectLogs says where the logs are: the models log where the harness does.
func (r *Runtime) CollectLogs(_ context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("logs: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "README"), []byte("The log of the harness and of its models is sim.log, from level info on; sim run --verbose prints more.\n"), 0o644)
}

// Down has nothing to take down.
func (r *Runtime) Down(context.Context) error { return nil }
