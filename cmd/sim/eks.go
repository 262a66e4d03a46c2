//go:build !embedded_only

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"triad/internal/manifests"
	"triad/internal/runtimes"
	"triad/internal/runtimes/eks"
	"triad/internal/scenario"
)

// eksSystem opens the contexts file. Nothing is asked yet.
func (a *app) eksSystem(f eksFlags) (*eks.System, error) {
	if f.contexts == "" {
		return nil, usage(errors.New("the eks runtime needs --contexts FILE: nothing is taken from the current context; see docs/production-safety.md"))
	}
	contexts, err := eks.LoadContexts(f.contexts, f.inCluster)
	if err != nil {
		return nil, usage(err)
	}
	pinned, err := manifests.Pinned(filepath.Join(a.root, "manifests"))
	if err != nil {
		return nil, a.badManifests(err)
	}
	o := eks.Options{Contexts: contexts, Confirmed: f.confirm, Out: a.stderr, Pinned: pinned, Logger: a.logger}
	if a.terminal && isTerminal(os.Stdin) {
		in := bufio.NewReader(os.Stdin)
		o.Ask = func(question string) (string, error) {
			fmt.Fprint(a.stderr, question)
			return in.ReadString('\n')
		}
	}
	return eks.New(o), nil
}

// refusal gives a refusal of the guard the exit code of a wrong use, and everything else that of a system that cannot be reached.
func refusal(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*eks.RefusedError](err); ok {
		return usage(err)
	}
	return &exitError{code: exitProvision, err: err}
}

// eksRuntime is the runtime for one scenario, with the run confirmed.
func (a *app) eksRuntime(ctx context.Context, s *scenario.Scenario, f runFlags) (runtimes.Runtime, error) {
	sys, err := a.eksSystem(f.eks)
	if err != nil {
		return nil, err
	}
	if err := sys.Allow(ctx, s, f.began); err != nil {
		return nil, refusal(err)
	}
	return sys, nil
}

func (a *app) eksDown(ctx context.Context, f eksFlags) error {
	sys, err := a.eksSystem(f)
	if err != nil {
		return err
	}
	return refusal(sys.Down(ctx))
}

// leftover is a row of sim status --runtime eks.
type leftover struct {
	Name      string    `json:"name"`
	Run       uint32    `json:"run"`
	Scenario  string    `json:"scenario"`
	Holder    string    `json:"holder"`
	Began     time.Time `json:"began"`
	Live      bool      `json:"live"` // it may still be under way
	Documents uint64    `json:"documents"`
	Jobs      int       `json:"jobs,omitempty"`
}

func (a *app) eksStatus(ctx context.Context, f eksFlags, output string) error {
	sys, err := a.eksSystem(f)
	if err != nil {
		return err
	}
	left, err := sys.Leftovers(ctx)
	if err != nil {
		return refusal(err)
	}
	rows := []leftover{}
	for _, l := range left {
		rows = append(rows, leftover{l.Name, l.Run, l.Scenario, l.Holder, l.Began, l.Live(), l.Documents, l.Jobs})
	}
	if output == "json" {
		return a.json(rows)
	}
	if len(rows) == 0 {
		fmt.Fprintln(a.stdout, "nothing is left of any run")
	}
	for _, r := range rows {
		state := "left behind"
		if r.Live {
			state = "under way"
		}
		fmt.Fprintf(a.stdout, "%s  %s  %s of %s since %s, %d documents", r.Name, state, r.Scenario, r.Holder, r.Began.Format(time.RFC3339), r.Documents)
		if r.Jobs > 0 {
			fmt.Fprintf(a.stdout, ", %d Jobs", r.Jobs)
		}
		fmt.Fprintln(a.stdout)
	}
	return nil
}
