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
	var program bool
	c := &cobra.Command{
		Use:     "check [NAME|FILE...]",
		Example: "  sim check\n  sim check scenarios/burst.yaml my-own.yaml",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		Short: "Judge scenario and manifest files without running anything",
		Long: `Judge scenario and manifest files without running anything.

Without arguments: every scenario, every manifest on both overlays, flows, images,
the difference between kind and EKS, and the Terraform of the clusters, which is
read in any case. Where the program terraform is in PATH it runs fmt, and where
the provider is on this machine too validate and test, which takes minutes;
--terraform downloads the provider for it, --terraform=false does without the
program. Limits of this machine that are too low for three clusters of kind are
said, and decide nothing. With arguments: these scenarios, by name or file.
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
				use := terraform.Offline
				if c.Flags().Changed("terraform") {
					use = terraform.Reading
					if program {
						use = terraform.Download
					}
				}
				a.checkHost(c.Context())
				set, err := a.manifestSet()
				if err != nil {
					return err
				}
				errs = append(errs, a.checkManifests(set), a.checkTerraform(c.Context(), use))
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
	c.Flags().BoolVar(&program, "terraform", false, "run terraform validate and test though the provider has to be downloaded; =false: do not run terraform")
	return c
}

// checkTerraform reads the Terraform of the clusters and runs its own program on it as far as it may.
func (a *app) checkTerraform(ctx context.Context, use terraform.Use) error {
	rep, err := terraform.Check(ctx, filepath.Join(a.root, "eks", "terraform"), use)
	for _, s := range rep.Ran {
		fmt.Fprintln(a.stdout, "ran: "+s)
	}
	for _, s := range rep.Skipped {
		fmt.Fprintln(a.stdout, "skipped: "+s)
	}
	return err
}
