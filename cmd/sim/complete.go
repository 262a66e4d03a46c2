package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"triad/internal/evidence"
	"triad/internal/scenario"
)

// completeFlag offers the values of a flag to the shell. The flag must exist.
func (a *app) completeFlag(c *cobra.Command, name string, values ...string) {
	err := c.RegisterFlagCompletionFunc(name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return values, cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag was misspelt in this program
	}
}

// completeScenarios offers the names of scenarios with their titles, and scenario files.
func (a *app) completeScenarios(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if strings.ContainsAny(toComplete, "/.") || a.findRoot() != nil {
		return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
	}
	files, err := a.scenarioFiles()
	if err != nil {
		return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
	}
	var out []string
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		if s, err := scenario.Load(f); err == nil {
			name = cobra.CompletionWithDesc(name, s.Title)
		}
		out = append(out, name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeRuns offers the run directories below the folder that a flag names, newest first, for up to most arguments.
func (a *app) completeRuns(most int, reports *string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if a.findRoot() != nil {
			return nil, cobra.ShellCompDirectiveFilterDirs
		}
		return a.runNames(a.reportsFolder(*reports)), cobra.ShellCompDirectiveDefault
	}
}

// runNames are the names of the run directories in a folder, newest first: their names begin with the time.
func (a *app) runNames(reports string) []string {
	entries, err := os.ReadDir(reports)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(reports, e.Name(), evidence.HeaderFile)); err == nil && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}
