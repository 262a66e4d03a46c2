package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/run"
	"triad/internal/scenario"
)

// resumeRun goes on with a run whose harness was killed. Everything about it is in its directory, so no flag that says what to run goes
// with it.
func (a *app) resumeRun(c *cobra.Command, args []string, f runFlags) error {
	if len(args) > 0 {
		return usage(fmt.Errorf("--resume %s: the run directory says which scenario it is; leave %s away", f.resume, args[0]))
	}
	for _, name := range []string{"runtime", "seed", "duration", "shards", "pairs", "to", "baseline"} {
		if c.Flags().Changed(name) {
			return usage(fmt.Errorf("--resume %s: the run goes on as it began; leave --%s away", f.resume, name))
		}
	}
	dir, err := a.findRun(f.resume, f.reports)
	if err != nil {
		return err
	}
	h, err := evidence.ReadHeader(dir)
	if err != nil {
		return usage(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, evidence.ScenarioFile))
	if err != nil {
		return usage(err)
	}
	s, err := scenario.Parse(h.Scenario+".yaml", text)
	if err != nil {
		return usage(err)
	}
	if err := run.Resumable(dir, h, s); err != nil {
		return usage(err)
	}
	if !slices.Contains(s.Runtimes, h.Runtime) {
		return usage(fmt.Errorf("%s: scenario %s does not run on %s", dir, s.Name, h.Runtime))
	}
	f.resume, f.began, f.runtime = dir, h.Start, h.Runtime
	_, _, err = a.runScenario(c.Context(), s, f, nil)
	return err
}

// readBaseline reads the result of an earlier run that a run is to be compared with, or that of a run directory.
func readBaseline(file string) ([]byte, error) {
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		file = filepath.Join(file, evidence.ResultFile)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	_, err = check.ParseBaseline(b)
	return b, err
}
