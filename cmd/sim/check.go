package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"triad/internal/scenario"
	"triad/internal/terraform"
)

func (a *app) checkCommand() *cobra.Command {
	var whole bool
	c := &cobra.Command{
		Use:     "check [NAME|FILE...]",
		Example: "  sim check\n  sim check scenarios/burst.yaml my-own.yaml",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		Short: "Judge scenario and manifest files without running anything",
		Long: `Judge scenario and manifest files without running anything.

Without arguments: every scenario, every manifest on both overlays, flows, images,
the difference between kind and EKS, and the Terraform of the clusters (with
--terraform by its own program too, which takes minutes). With arguments: these
scenarios, by name or file.
Everything wrong is printed, with file:line:column, what is allowed and the
nearest spelling.`,
		RunE: func(c *cobra.Command, args []string) error {
			files := args
			if len(files) == 0 {
				var err error
				if files, err = a.scenarioFiles(); err != nil {
					return err
				}
			}
			var errs []error
			read := 0
			for _, f := range files {
				file, err := a.findScenario(f)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				read++
				s, err := scenario.Load(file)
				if err == nil {
					err = a.checkFits(s)
				}
				errs = append(errs, err)
			}
			fmt.Fprintf(a.stdout, "%d scenario files\n", read)
			if len(args) == 0 {
				set, err := a.manifestSet()
				if err != nil {
					return err
				}
				errs = append(errs, a.checkManifests(set), a.checkTerraform(c.Context(), whole))
			}
			if err := errors.Join(errs...); err != nil {
				// Each problem on a line that begins with its place, so that editors find it.
				fmt.Fprintln(a.stderr, err)
				return &exitError{code: exitUsage, silent: true}
			}
			fmt.Fprintln(a.stdout, "all good")
			return nil
		},
	}
	c.Flags().BoolVar(&whole, "terraform", false, "run terraform fmt, validate and test as well, where the program is")
	return c
}

// checkTerraform reads the Terraform of the clusters, and runs its own program on it when asked to.
func (a *app) checkTerraform(ctx context.Context, whole bool) error {
	dir := filepath.Join(a.root, "eks", "terraform")
	if whole {
		skipped, err := terraform.Check(ctx, dir)
		for _, s := range skipped {
			fmt.Fprintln(a.stdout, "skipped: "+s)
		}
		return err
	}
	tree, err := terraform.Load(dir)
	if err != nil {
		return err
	}
	return tree.Judge()
}
