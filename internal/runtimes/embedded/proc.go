package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"triad/internal/model"
)

// restartDelay is how long a killed container takes to run again: the kubelet's first restart comes without back-off,
// and the laboratory's forwarders were running again about a second after kill -9.
const restartDelay = time.Second

// runner is what every model is.
type runner interface {
	Run(ctx context.Context) error
}

// proc is one process of the system: a model that can be killed and started again on the same files.
type proc struct {
	name   string
	make   func() (runner, error)
	logger *slog.Logger

	mu     sync.Mutex
	cancel context.CancelCauseFunc
	done   chan struct{}
	timer  *time.Timer
	ended  bool // stopped for good
	kills  atomic.Uint64
	starts atomic.Uint64
}

// start runs a new instance.
func (p *proc) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.startLocked()
}

func (p *proc) startLocked() error {
	if p.ended || p.cancel != nil {
		return nil
	}
	r, err := p.make()
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan struct{})
	p.cancel, p.done = cancel, done
	p.starts.Add(1)
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, model.ErrKilled) {
			p.logger.Warn("process ended", "process", p.name, "error", err)
		}
		cancel(nil)
	}()
	return nil
}

// end cancels the running instance with a cause and waits for it; false when none was running.
func (p *proc) end(cause error) bool {
	p.mu.Lock()
	cancel, done := p.cancel, p.done
	p.cancel = nil
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	if cancel == nil {
		return false
	}
	cancel(cause)
	<-done
	return true
}

// kill ends the process as kill -9 does; it comes back after restartDelay, or after hold when that is longer.
func (p *proc) kill(hold time.Duration) {
	if !p.end(model.ErrKilled) {
		return
	}
	p.kills.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.timer = time.AfterFunc(max(hold, restartDelay), func() {
		if err := p.start(); err != nil {
			p.logger.Error("restart", "process", p.name, "error", err)
		}
	})
}

// running reports whether an instance runs.
func (p *proc) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cancel != nil
}

// stop ends the process for good, and at once: the system that it belongs to is thrown away, and a stop in good order may wait for others.
func (p *proc) stop() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.end(model.ErrKilled)
}
