//go:build embedded_only

package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// This build leaves out what only real clusters need, so that a first run compiles in a minute.

var errSmall = errors.New("this build knows the embedded runtime only; build the whole with make build")

func (a *app) autoRuntime(context.Context, *scenario.Scenario, runFlags) (name, why string) {
	return "embedded", "this build knows no other"
}

func (a *app) kubeRuntime(string, runFlags) (runtimes.Runtime, error) { return nil, usage(errSmall) }

func (a *app) kubeCommands() []*cobra.Command { return nil }
