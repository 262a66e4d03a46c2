package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"triad/internal/manifests"
	"triad/internal/scenario"
)

// manifestSet opens the manifests below the root.
func (a *app) manifestSet() (manifests.Set, error) {
	set, err := manifests.Open(filepath.Join(a.root, "manifests"))
	return set, a.badManifests(err)
}

// badManifests makes a usage error of manifests that cannot be read, with advice where there are none.
func (a *app) badManifests(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("no manifests below %s; say where they are with --root (%w)", a.root, err)
	}
	return usage(err)
}

func (a *app) manifestsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "manifests",
		Short: "Render, compare and list the manifests",
		Long: `Render, compare and list the manifests.

The bases of the three clusters are the same everywhere; overlays for kind and eks may
change only what manifests/differences.yaml allows. All of this needs no cluster.`,
		Example: "  sim manifests render kafka\n  sim manifests render monitoring eks\n  sim manifests diff kind eks\n  sim manifests images",
	}
	onlyCommands(c)
	c.AddCommand(a.renderCommand(), a.diffCommand(), &cobra.Command{
		Use: "images", Short: "Print the pinned images", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			set, err := a.manifestSet()
			if err != nil {
				return err
			}
			list, err := set.Images()
			if err != nil {
				return usage(err)
			}
			refs := list.References()
			for _, name := range slices.Sorted(maps.Keys(refs)) {
				fmt.Fprintf(a.stdout, "%-20s %s\n", name, refs[name])
			}
			return nil
		},
	})
	return c
}

func (a *app) diffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff [kind eks]",
		Short: "Print every difference of the overlays with its reason; an undeclared one exits with 3",
		Long: `Print every difference of the overlays kind and eks, below the entry of manifests/differences.yaml
that allows it: its objects and path, what kind of difference it is, and why it is there. A difference
that no entry allows, and an entry that no difference needs, exit with 3.`,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var rest []string
			if len(args) < 2 {
				rest = slices.DeleteFunc(manifests.Overlays(), func(o string) bool { return slices.Contains(args, o) })
			}
			return rest, cobra.ShellCompDirectiveNoFileComp
		},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && !slices.Equal(slices.Sorted(slices.Values(args)), slices.Sorted(slices.Values(manifests.Overlays()))) {
				return fmt.Errorf("overlays %q: the two that are compared are %q, which need not be named", args, manifests.Overlays())
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error {
			set, err := a.manifestSet()
			if err != nil {
				return err
			}
			d, err := set.Diff()
			if err != nil {
				return usage(err)
			}
			for _, e := range d.Entries() {
				fmt.Fprintf(a.stdout, "%s: %s\n", e.Allowance, e.Why)
				for _, x := range e.Differences {
					fmt.Fprintf(a.stdout, "  %s\n", x)
				}
			}
			if err := d.Err(); err != nil {
				return &exitError{code: exitFail, err: err}
			}
			return nil
		},
	}
}

func (a *app) renderCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "render CLUSTER [OVERLAY]",
		Short: "Print the objects of a cluster as they would be applied (overlay: kind, or eks)",
		Args:  cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return append([][]string{scenario.ClusterNames, manifests.Overlays()}, nil)[min(len(args), 2)], cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			overlay := append(args, "kind")[1]
			for _, x := range []struct {
				what, got string
				known     []string
			}{{"cluster", args[0], scenario.ClusterNames}, {"overlay", overlay, manifests.Overlays()}} {
				if !slices.Contains(x.known, x.got) {
					return usage(fmt.Errorf("no %s %q; there are: %v", x.what, x.got, x.known))
				}
			}
			set, err := a.manifestSet()
			if err != nil {
				return err
			}
			objects, err := set.Render(args[0], overlay)
			if err != nil {
				return usage(err)
			}
			for _, o := range objects {
				y, err := o.YAML()
				if err != nil {
					return err
				}
				fmt.Fprintf(a.stdout, "---\n%s", y)
			}
			return nil
		},
	}
}
