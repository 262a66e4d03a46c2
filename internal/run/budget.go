package run

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"triad/internal/evidence"
	"triad/internal/load"
	"triad/internal/runtimes"
)

const (
	budgetTime = 10 * time.Second       // for the whole measurement, on a machine that has little to give
	idleTime   = 400 * time.Millisecond // over which the idle system is watched
	// tightShare is the share of all processors from which a load is said to saturate the machine: the estimate does not
	// know of bursts within a second, nor of what else runs there.
	tightShare = 0.8
)

// budget says before the load how many processors it will take, where the system under test shares them with the
// harness. A budget that cannot be measured is no reason not to run.
func (r *runner) budget(ctx context.Context) error {
	b, ok := r.env.(runtimes.Budgeter)
	if !ok || r.Sabotage != nil { // the self-test makes its own load, and many runs
		return nil
	}
	return r.step("processor budget", func() (string, error) {
		measure, cancel := context.WithTimeout(ctx, budgetTime)
		defer cancel()
		idle := idleCores(measure)
		stages, err := b.Budget(measure)
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if err != nil {
			r.Logger.Warn("processor budget not measured", "error", err)
			return "not measured: " + err.Error(), nil
		}
		budget := newBudget(runtime.GOMAXPROCS(0), idle, stages)
		if budget.Warn != "" {
			r.Logger.Warn("the load will probably saturate this machine", "need_cores", budget.Need, "cores", budget.Cores)
		}
		return budgetText(budget), r.w.Update(func(h *evidence.Header) { h.Budget = &budget })
	})
}

// idleCores is how many processors the process takes now.
func idleCores(ctx context.Context) float64 {
	cpu, at := load.ProcessorTime(), time.Now()
	t := time.NewTimer(idleTime)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return (load.ProcessorTime() - cpu).Seconds() / max(time.Since(at).Seconds(), 1e-3)
}

// newBudget adds the stages up.
func newBudget(cores int, idle float64, stages []evidence.StageCost) evidence.CPUBudget {
	b := evidence.CPUBudget{Cores: cores, Idle: idle, Need: idle, Stages: stages}
	for _, s := range stages {
		b.Need += s.PerRecord.Seconds() * s.Peak
		b.Peak = max(b.Peak, s.Peak)
	}
	if b.Need >= tightShare*float64(cores) {
		b.Warn = fmt.Sprintf("the load will probably saturate this machine: latencies will be those of a lack of processors, and the run may be invalid; above about %.0f records/s there is no room", roomFor(b))
	}
	return b
}

// roomFor is the rate at which the budget reaches tightShare.
func roomFor(b evidence.CPUBudget) float64 {
	if b.Need <= b.Idle {
		return 0
	}
	return max(b.Peak*(tightShare*float64(b.Cores)-b.Idle)/(b.Need-b.Idle), 0)
}

// budgetText is the budget in one line, the dearest stage first.
func budgetText(b evidence.CPUBudget) string {
	stages := slices.Clone(b.Stages)
	slices.SortStableFunc(stages, func(x, y evidence.StageCost) int { return int(y.PerRecord - x.PerRecord) })
	parts := make([]string, 0, len(stages))
	for _, s := range stages {
		parts = append(parts, fmt.Sprintf("%s %.1f us", s.Name, float64(s.PerRecord)/1e3))
	}
	text := fmt.Sprintf("about %.2f of %d processors at %.0f records/s (idle %.2f; a record: %s)", b.Need, b.Cores, b.Peak, b.Idle, strings.Join(parts, ", "))
	if b.Warn != "" {
		text += "; WARNING: " + b.Warn
	}
	return text
}
