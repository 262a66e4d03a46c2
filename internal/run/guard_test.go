package run_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/fault"
	"triad/internal/progress"
	"triad/internal/run"
	"triad/internal/runtimes"
	"triad/internal/runtimes/embedded"
	"triad/internal/scenario"
)

// guarded is the embedded runtime as one that others depend on: it has to be let go when the guard says so.
type guarded struct {
	runtimes.Runtime
	guard func(ctx context.Context, arrived func() runtimes.Arrived) (string, error)
}

type guardedEnv struct {
	runtimes.Env
	fault.StoreStopper
	guarded
}

func (g guarded) Connect(ctx context.Context, s runtimes.Session) (runtimes.Env, error) {
	e, err := g.Runtime.Connect(ctx, s)
	if err != nil {
		return nil, err
	}
	return guardedEnv{e, e.(fault.StoreStopper), g}, nil
}

func (e guardedEnv) Guard(ctx context.Context, arrived func() runtimes.Arrived) (string, error) {
	return e.guard(ctx, arrived)
}

type silent struct{}

func (silent) Step(string, string, string) {}
func (silent) Status(progress.Status)      {}
func (silent) Close()                      {}

// TestGivenUp: a guard that objects ends the load and heals what is broken at once; what was still to come does not come, and the run is
// judged inconclusive with the reason. A guard that does not object is asked until every fault is over.
func TestGivenUp(t *testing.T) {
	root := filepath.Join("..", "..")
	file := filepath.Join(t.TempDir(), "guarded.yaml")
	text := `apiVersion: triad/v1
name: guarded
title: a guard watches
phases: {warm-up: 1s, before: 1s, during: 60s, drain: 20s}
load:
  - {source: service, rate: 50/s}
faults:
  - {kind: es-down, name: away, at: during, for: 40s}
  - {kind: es-down, name: again, at: during+50s, for: 5s}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := scenario.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	rt, err := embedded.New(embedded.Options{Manifests: filepath.Join(root, "manifests"), KindConfig: filepath.Join(root, "kind")})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	dir, err := run.Run(t.Context(), run.Options{
		Scenario: s, Reports: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Progress: silent{}, Now: began,
		Runtime: guarded{rt, func(ctx context.Context, arrived func() runtimes.Arrived) (string, error) {
			for arrived().Acknowledged < 200 { // four seconds: the first fault is on
				select {
				case <-ctx.Done():
					return "it was not watched to the end", nil
				case <-time.After(50 * time.Millisecond):
				}
			}
			return "the worst that was seen", errors.New("somebody suffers")
		}},
	})
	if gave, ok := errors.AsType[*run.GivenUpError](err); !ok || gave.Error() != "given up: somebody suffers" {
		t.Fatal(err)
	}
	r, err := evidence.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	res, err := check.Judge(r, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if res.Verdict == check.Pass || !strings.Contains(strings.Join(res.Reasons, "\n"), "somebody suffers") {
		t.Errorf("%s: %v", res.Verdict, res.Reasons)
	}
	seen := map[string]bool{}
	for _, e := range r.Events {
		seen[e.Kind+" "+e.Name+" "+e.State] = true
		if e.Kind == evidence.EventNote && e.Name == "abort conditions" && e.Detail == "the worst that was seen" {
			seen["note"] = true
		}
	}
	for _, want := range []string{"fault away healed", "fault again skipped", "note"} {
		if !seen[want] {
			t.Errorf("no event %q: %v", want, seen)
		}
	}
}
