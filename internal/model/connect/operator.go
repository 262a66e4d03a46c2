package connect

import (
	"context"
	"log/slog"
	"time"
)

// maxRestartWait bounds the wait between automatic restarts, in units (minutes).
const maxRestartWait = 60

// autoRestart is the operator's memory of one connector.
type autoRestart struct {
	count int
	last  time.Time
}

// backoff is the wait after the given number of restarts: n*n+n units, at most 60.
func backoff(count int, unit time.Duration) time.Duration {
	return time.Duration(min(count*count+count, maxRestartWait)) * unit
}

// operate does what Strimzi's operator does until ctx ends: at each reconciliation it puts the connectors into the state
// of their resources and restarts what has failed.
func (m *Model) operate(ctx context.Context) {
	tick := time.NewTicker(m.cfg.Operator.Reconcile)
	defer tick.Stop()
	memory := map[string]*autoRestart{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, c := range m.connectors {
			if want := targetState(c.cfg.State); c.target() != want {
				c.setState(want)
			}
			if !c.cfg.AutoRestart.Enabled {
				continue
			}
			a := memory[c.cfg.Name]
			if a == nil {
				a = &autoRestart{}
				memory[c.cfg.Name] = a
			}
			m.autoRestart(c, a, time.Now())
		}
	}
}

// autoRestart looks at one connector once.
func (m *Model) autoRestart(c *connector, a *autoRestart, now time.Time) {
	bad := 0
	for _, t := range c.list() {
		if failed(t) {
			bad++
		}
	}
	waited := a.count == 0 || now.Sub(a.last) > backoff(a.count, m.cfg.Operator.Unit)
	switch {
	case bad == 0:
		if a.count > 0 && waited {
			*a = autoRestart{} // stable for as long as the next wait would have been
		}
	case c.cfg.AutoRestart.MaxRestarts > 0 && a.count >= c.cfg.AutoRestart.MaxRestarts, !waited:
	default:
		a.count++
		a.last = now
		m.log.Info("operator restarts a failed connector", slog.String("connector", c.cfg.Name), slog.Int("failed_tasks", bad), slog.Int("restarts", a.count))
		c.restart(failed)
	}
}
