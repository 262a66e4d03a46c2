//go:build !embedded_only

package kind

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"sigs.k8s.io/kind/pkg/cluster"
	kindlog "sigs.k8s.io/kind/pkg/log"

	"triad/internal/images"
	"triad/internal/kube"
)

// Runtime works on the kind clusters of one state folder. It is safe for concurrent use, except that Up and Down exclude each other
// through a lock in the state folder, across processes too.
type Runtime struct {
	opts     Options
	engine   images.Engine
	info     images.EngineInfo
	log      *slog.Logger
	progress kube.ProgressFunc

	mu      sync.Mutex
	clients map[string]*kube.Client
}

// New finds the container engine and returns a runtime that has not touched anything yet. log may be nil; progress may be nil. The
// error wraps images.ErrNoEngine when no engine answers.
func New(ctx context.Context, opts Options, log *slog.Logger, progress kube.ProgressFunc) (*Runtime, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	engine, info, err := images.FindEngine(ctx)
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if progress == nil {
		progress = func(string, string, string) {}
	}
	return &Runtime{opts: opts, engine: engine, info: info, log: log, progress: progress, clients: map[string]*kube.Client{}}, nil
}

// Engine returns the container engine and what it said of itself.
func (r *Runtime) Engine() (images.Engine, images.EngineInfo) { return r.engine, r.info }

// Options returns the options with their defaults filled in.
func (r *Runtime) Options() Options { return r.opts }

// Client returns the client of a running cluster.
func (r *Runtime) Client(cluster string) (*kube.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.clients[cluster]; c != nil {
		return c, nil
	}
	c, err := kube.Open(r.KubeconfigPath(cluster), Context(r.host(cluster)))
	if err != nil {
		return nil, err
	}
	r.clients[cluster] = c
	return c, nil
}

func (r *Runtime) dropClient(cluster string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.clients, cluster)
}

// provider returns the kind library, told to use the same engine as everything else here.
func (r *Runtime) provider() *cluster.Provider {
	opts := []cluster.ProviderOption{cluster.ProviderWithLogger(kindLogger{r.log})}
	if r.engine.Name() == "podman" {
		opts = append(opts, cluster.ProviderWithPodman())
	} else {
		opts = append(opts, cluster.ProviderWithDocker())
	}
	return cluster.NewProvider(opts...)
}

// kindLogger passes what the kind library says on to slog, at debug level: the runtime speaks for itself.
type kindLogger struct{ log *slog.Logger }

func (l kindLogger) Warn(m string)             { l.log.Warn("kind warning", "text", m) }
func (l kindLogger) Warnf(f string, a ...any)  { l.Warn(fmt.Sprintf(f, a...)) }
func (l kindLogger) Error(m string)            { l.log.Error("kind error", "text", m) }
func (l kindLogger) Errorf(f string, a ...any) { l.Error(fmt.Sprintf(f, a...)) }

// V returns the logger of a level. All go to debug: kind's level 0 is for kind's own command line.
func (l kindLogger) V(v kindlog.Level) kindlog.InfoLogger { return kindInfo{l.log, v} }

type kindInfo struct {
	log   *slog.Logger
	level kindlog.Level
}

func (i kindInfo) Info(m string) {
	if i.Enabled() {
		i.log.Debug("kind", "text", m)
	}
}
func (i kindInfo) Infof(f string, a ...any) { i.Info(fmt.Sprintf(f, a...)) }
func (i kindInfo) Enabled() bool            { return i.level <= 1 }
