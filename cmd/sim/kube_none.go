//go:build embedded_only

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"triad/internal/manifests"
	"triad/internal/runtimes"
	"triad/internal/scenario"
)

// This build leaves out what only real clusters need, so that a first run compiles in a minute.

var errSmall = errors.New("this build knows the embedded runtime only; build the whole with make build")

func (a *app) autoRuntime(context.Context, *scenario.Scenario, runFlags) (name, why string) {
	return "embedded", "this build knows no other"
}

func (a *app) kubeRuntime(context.Context, *scenario.Scenario, string, runFlags) (runtimes.Runtime, error) {
	return nil, usage(errSmall)
}

// checkHost says nothing: the limits are those of clusters that this build does not make.
func (a *app) checkHost(context.Context) {}

func (a *app) endPairs(context.Context, runFlags) error { return nil }

func (a *app) kubeCommands() []*cobra.Command { return nil }

// checkManifests renders and compares; strict types and schemas need the whole program.
func (a *app) checkManifests(set manifests.Set) error {
	var errs []error
	for _, overlay := range manifests.Overlays() {
		_, err := set.RenderAll(overlay)
		errs = append(errs, err)
	}
	_, err := set.AlertNames("kind") // rule files, by Prometheus's own parser
	errs = append(errs, err)
	d, err := set.Diff()
	if err == nil {
		err = d.Err()
	}
	fmt.Fprintln(a.stdout, "manifests rendered and compared; this build leaves out strict types and schemas: make build")
	return errors.Join(append(errs, err)...)
}
