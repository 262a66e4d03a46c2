//go:build !embedded_only

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"triad/internal/images"
	"triad/internal/manifests"
	"triad/internal/preflight"
	"triad/internal/runtimes"
	"triad/internal/runtimes/kind"
	"triad/internal/scenario"
)

// autoRuntime is kind when a container engine answers and the scenario runs there, else embedded.
func (a *app) autoRuntime(ctx context.Context, s *scenario.Scenario, _ runFlags) (name, why string) {
	if err := runsOn(s, "kind"); err != nil {
		return "embedded", "the scenario does not run on kind"
	}
	if _, _, err := images.FindEngine(ctx); err != nil {
		return "embedded", "no container engine answers"
	}
	return "kind", "a container engine answers"
}

// kindOptions are the options of the kind runtime from flags and environment. again says that what is there is deployed again: where no images are
// named, those of the last deployment.
func (a *app) kindOptions(imageSet string, again bool) (kind.Options, error) {
	o := kind.Options{Manifests: filepath.Join(a.root, "manifests")}
	if imageSet == "" {
		imageSet = a.getenv("TRIAD_IMAGES")
	}
	o.ImagesAsDeployed = again && imageSet == ""
	if imageSet != "" {
		set, err := manifests.LoadImageSet(imageSet)
		if err != nil {
			return o, usage(err)
		}
		o.Images = set
	}
	return o, nil
}

func (a *app) kubeRuntime(ctx context.Context, s *scenario.Scenario, name string, f runFlags) (runtimes.Runtime, error) {
	if name == "eks" {
		return a.eksRuntime(ctx, s, f)
	}
	o, err := a.kindOptions(f.images, f.resume != "")
	if err != nil {
		return nil, err
	}
	if f.rep.pair > 0 {
		o.Topology = f.rep.topology
		o.Caps = &kind.Caps{CPUs: f.rep.cpus, Memory: f.rep.memory}
	}
	return kind.NewSystem(o, a.logger), nil
}

// checkHost says which limits of this machine are too low for three clusters. They keep nobody from the embedded runtime, so they are
// said and decide nothing; sim up asks for more and refuses.
func (a *app) checkHost(ctx context.Context) {
	low := 0
	for _, f := range preflight.Limits(ctx, preflight.DefaultNeeds(3)) {
		if f.OK {
			continue
		}
		low++
		fmt.Fprintf(a.stdout, "host limit for --runtime kind: %s: %s; %s\n", f.Check, f.Detail, f.Fix)
	}
	if low == 0 {
		fmt.Fprintln(a.stdout, "host limits: enough for three clusters of kind")
	}
}

// endPairs removes what a comparison of topologies has made beside the three clusters.
func (a *app) endPairs(ctx context.Context, f runFlags) error {
	rt, err := a.kind(ctx, f.images)
	if err != nil {
		return nil //nolint:nilerr // the run said so, and has made nothing
	}
	return rt.EndComparison(ctx)
}

func (a *app) kubeCommands() []*cobra.Command {
	return []*cobra.Command{a.upCommand(), a.imagesCommand(), a.downCommand(), a.statusCommand(), a.healCommand(), a.shellCommand(), a.logsCommand()}
}

// kind opens the runtime with progress on stderr.
func (a *app) kind(ctx context.Context, imageSet string) (*kind.Runtime, error) {
	o, err := a.kindOptions(imageSet, false)
	if err != nil {
		return nil, err
	}
	show := a.progressSteps()
	return kind.New(ctx, o, a.logger, show)
}

// progressSteps prints the end of every step.
func (a *app) progressSteps() func(what, state, detail string) {
	p := a.progress()
	return func(what, state, detail string) {
		switch state {
		case "start":
			p.Step(what, "begin", "")
		case "fail":
			p.Step(what, "failed", detail)
		case "done", "skip":
			p.Step(what, "done", detail)
		}
	}
}

func (a *app) upCommand() *cobra.Command {
	var imageSet string
	var keep, recreate bool
	long := `Bring up the three kind clusters and everything in them.

What is there is kept and what differs is changed, so it may be called again at any
time. The principal of a run that was killed, which may read every topic, is removed,
unless pods of that run are there still. A cluster that cannot be made is taken away again, after its logs were read;
--keep leaves its nodes as they are, for a look with sim shell and docker exec. The
next sim up makes it anew, sim down removes it.

A cluster that was made of another node image, number of nodes or configuration is
refused. --recreate deletes such a cluster, with everything in it, and makes it anew;
the others stay as they are.

When something does not become ready, the error names a folder in the state folder with
the likely cause, and with events and logs of everything.

Pods that took a password, an authority or an address at their start are replaced when
it has changed since, and nothing else is.`
	c := &cobra.Command{Use: "up", Short: "Bring up the three kind clusters and everything in them", Long: long, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		o, err := a.kindOptions(imageSet, false)
		if err != nil {
			return err
		}
		o.Keep, o.Recreate = keep, recreate
		rt, err := kind.New(c.Context(), o, a.logger, a.progressSteps())
		if err != nil {
			return &exitError{code: exitProvision, err: err}
		}
		unlock, err := rt.LockRun(c.Context())
		if err != nil {
			return &exitError{code: exitProvision, err: err}
		}
		defer unlock()
		plan, err := rt.Up(c.Context(), kind.DeployOptions{})
		if err != nil {
			return &exitError{code: exitProvision, err: err}
		}
		if err := rt.SweepObserver(c.Context()); err != nil {
			return &exitError{code: exitProvision, err: err}
		}
		for _, l := range plan.Lines() {
			fmt.Fprintln(a.stdout, l)
		}
		fmt.Fprintln(a.stdout, "the system is up")
		return nil
	}}
	c.Flags().StringVar(&imageSet, "images", "", "image set file (default: TRIAD_IMAGES)")
	c.Flags().BoolVar(&keep, "keep", false, "leave the nodes of a cluster that could not be made, to look at them")
	c.Flags().BoolVar(&recreate, "recreate", false, "delete a cluster of another node image, number of nodes or configuration, and make it anew")
	return c
}

func (a *app) imagesCommand() *cobra.Command {
	var imageSet string
	long := `Make the images that no registry has, and print their names.

They are made without a container build and put into the container engine, as sim up
does where they are missing: that of Kafka Connect is Strimzi's Kafka image with the
archive of the Elasticsearch sink in it. Its licence has to be accepted; the error says
how.`
	c := &cobra.Command{Use: "images", Short: "Make the images that no registry has, in the container engine", Long: long, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		rt, err := a.kind(c.Context(), imageSet)
		if err != nil {
			return &exitError{code: exitProvision, err: err}
		}
		refs, err := rt.MakeImages(c.Context())
		if err != nil {
			return &exitError{code: exitProvision, err: err}
		}
		for _, ref := range refs {
			fmt.Fprintln(a.stdout, ref)
		}
		return nil
	}}
	c.Flags().StringVar(&imageSet, "images", "", "image set file (default: TRIAD_IMAGES)")
	return c
}

func (a *app) downCommand() *cobra.Command {
	var runtime string
	var f eksFlags
	c := &cobra.Command{Use: "down", Short: "Remove the kind clusters, or what runs have left on eks", Long: `Remove the kind clusters and everything that was kept about them.

With --runtime eks no cluster is touched but for what runs of Triad's have left behind
there: documents of marked runs, by their ids, and then the marks.`, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		if eks, err := elsewhereThanKind(runtime); err != nil || eks {
			if err != nil {
				return err
			}
			return a.eksDown(c.Context(), f)
		}
		rt, err := a.kind(c.Context(), "")
		if err != nil {
			return &exitError{code: exitProvision, err: err}
		}
		return rt.Down(c.Context())
	}}
	c.Flags().StringVarP(&runtime, "runtime", "r", "kind", "kind or eks")
	f.add(c)
	a.completeFlag(c, "runtime", "kind", "eks")
	return c
}

// elsewhereThanKind reads the flag --runtime of the commands that know kind and eks.
func elsewhereThanKind(runtime string) (eks bool, err error) {
	switch runtime {
	case "kind":
		return false, nil
	case "eks":
		return true, nil
	}
	return false, usage(fmt.Errorf("--runtime %q: want kind or eks", runtime))
}

func (a *app) statusCommand() *cobra.Command {
	var output, runtime string
	var f eksFlags
	c := &cobra.Command{Use: "status", Short: "Say in which state the kind clusters are, or what runs have left on eks", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		if err := checkOutput(output); err != nil {
			return err
		}
		if eks, err := elsewhereThanKind(runtime); err != nil || eks {
			if err != nil {
				return err
			}
			return a.eksStatus(c.Context(), f, output)
		}
		rt, err := a.kind(c.Context(), "")
		if err != nil {
			return &exitError{code: exitProvision, err: err}
		}
		all, err := rt.Status(c.Context())
		if err != nil {
			return err
		}
		if output == "json" {
			return a.json(all)
		}
		for _, s := range all {
			fmt.Fprintf(a.stdout, "%-12s %s\n", s.Cluster, s.Condition)
		}
		return nil
	}}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	c.Flags().StringVarP(&runtime, "runtime", "r", "kind", "kind or eks")
	f.look(c)
	a.completeFlag(c, "runtime", "kind", "eks")
	a.completeFlag(c, "output", "text", "json")
	return c
}

func (a *app) healCommand() *cobra.Command {
	var imageSet string
	c := &cobra.Command{Use: "heal", Short: "Undo every fault that a dead harness left in the kind clusters", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		o, err := a.kindOptions(imageSet, true)
		if err != nil {
			return err
		}
		rt, err := kind.New(c.Context(), o, a.logger, a.progressSteps())
		if err != nil {
			return &exitError{code: exitProvision, err: err}
		}
		healed, err := rt.HealAll(c.Context())
		for _, h := range healed {
			fmt.Fprintf(a.stdout, "%s: %s healed\n", h.Node, h.What)
		}
		if len(healed) == 0 && err == nil {
			fmt.Fprintln(a.stdout, "nothing to heal")
		}
		return err
	}}
	c.Flags().StringVar(&imageSet, "images", "", "image set file to roll back to (default: TRIAD_IMAGES, else what was deployed last)")
	return c
}

// checkManifests judges everything that can be judged without a cluster.
func (a *app) checkManifests(set manifests.Set) error {
	defs := a.getenv("TRIAD_STRIMZI_CRDS")
	if defs != "" {
		if _, err := os.Stat(defs); err != nil {
			return fmt.Errorf("TRIAD_STRIMZI_CRDS: %w", err)
		}
	}
	rep := set.Validate(defs)
	for _, s := range rep.Skipped {
		fmt.Fprintln(a.stdout, "skipped: "+s)
	}
	return errors.Join(rep.Problems...)
}
