//go:build !embedded_only

package kind

import (
	"context"
	"fmt"

	"triad/internal/runtimes"
)

var _ runtimes.Rejoiner = (*System)(nil)

// Rejoin heals what a harness that was killed left, and takes the clusters as they are: a deployment could restart the generators, whose
// ledgers would be gone. Only component observer is made again where sim up or another run has removed it: it restarts nothing.
func (s *System) Rejoin(ctx context.Context, session runtimes.Session) (healed []string, err error) {
	rt, err := s.prepare(ctx, session)
	if err != nil {
		return nil, err
	}
	defer s.releaseOn(&err)
	found, err := rt.HealAll(ctx)
	for _, h := range found {
		healed = append(healed, h.Node+": "+h.What)
	}
	if err != nil {
		return healed, fmt.Errorf("heal what the killed harness left: %w", err)
	}
	if s.plan, err = rt.Plan(ctx, s.deploy); err != nil {
		return healed, err
	}
	return healed, rt.restoreObserver(ctx, s.plan)
}
