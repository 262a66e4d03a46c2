package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/report"
	"triad/internal/run"
	"triad/internal/runtimes"
	"triad/internal/runtimes/embedded"
	"triad/internal/scenario"
)

// runFlags are the flags of sim run, and of everything else that makes runs.
type runFlags struct {
	runtime string
	seed    uint64
	reports string
	images  string
	output  string
}

func (f *runFlags) add(c *cobra.Command) {
	c.Flags().StringVarP(&f.runtime, "runtime", "r", "auto", "auto, embedded, kind or eks")
	c.Flags().Uint64Var(&f.seed, "seed", 0, "seed of everything random (default: the scenario's)")
	c.Flags().StringVar(&f.reports, "reports", "", "folder for run directories (default: reports below the root)")
	c.Flags().StringVar(&f.images, "images", "", "image set file (default: TRIAD_IMAGES)")
	c.Flags().StringVarP(&f.output, "output", "o", "text", "text or json: result.json on stdout")
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run SCENARIO|FILE",
		Short: "Run a scenario and judge it",
		Long: `Run a scenario and judge it.

Shows progress on stderr, prints the result table, the verdict and the path of
report.html, and exits with the code of the verdict.`,
		Example: "  sim run smoke\n  sim run scenarios/broker-failover.yaml --runtime kind\n  sim run burst --output json | jq .verdict",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if f.output != "text" && f.output != "json" {
				return usage(fmt.Errorf("--output %q: want text or json", f.output))
			}
			file, err := a.findScenario(args[0])
			if err != nil {
				return err
			}
			s, err := scenario.Load(file)
			if err != nil {
				return usage(err)
			}
			if f.seed != 0 {
				s.Seed = f.seed
			}
			return a.runScenario(c.Context(), s, f)
		},
	}
	f.add(c)
	return c
}

// chooseRuntime returns the runtime and why it is this one.
func (a *app) chooseRuntime(ctx context.Context, s *scenario.Scenario, f runFlags) (runtimes.Runtime, string, error) {
	name, why := f.runtime, "asked for"
	if name == "auto" {
		name, why = a.autoRuntime(ctx, s, f)
	}
	switch name {
	case "embedded":
		r, err := embedded.New(embedded.Options{Manifests: filepath.Join(a.root, "manifests"), KindConfig: filepath.Join(a.root, "kind")})
		return r, why, err
	case "kind", "eks":
		r, err := a.kubeRuntime(name, f)
		return r, why, err
	}
	return nil, "", usage(fmt.Errorf("--runtime %q: want auto, embedded, kind or eks", name))
}

// runScenario makes one run, judges it and prints the result.
func (a *app) runScenario(ctx context.Context, s *scenario.Scenario, f runFlags) error {
	rt, why, err := a.chooseRuntime(ctx, s, f)
	if err != nil {
		return err
	}
	if err := runsOn(s, rt.Name()); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "%s on %s (%s), seed %d\n", s.Name, rt.Name(), why, s.Seed)
	reports := f.reports
	if reports == "" {
		reports = filepath.Join(a.root, "reports")
	}
	show := a.progress()
	dir, err := run.Run(ctx, run.Options{Scenario: s, Runtime: rt, Why: why, Reports: reports, Version: version(), Commit: commit(),
		Command: a.again(s, rt.Name()), Logger: a.logger, Progress: show, Now: time.Now()})
	show.Close()
	interrupted := ctx.Err() != nil
	if err != nil && !interrupted {
		var p *run.ProvisionError
		if dir == "" || errors.As(err, &p) {
			return err
		}
		fmt.Fprintln(a.stderr, "sim: the run ended early: "+err.Error())
	}
	if dir == "" {
		return &exitError{code: exitInterrupted, err: errors.New("interrupted before the run began")}
	}
	res, jerr := a.judge(dir, f.output)
	switch {
	case interrupted:
		return &exitError{code: exitInterrupted, silent: true}
	case jerr != nil:
		return jerr
	case res.Verdict != check.Pass:
		return &exitError{code: verdictCode(res.Verdict), silent: true}
	}
	return err
}

// again is the command line that repeats a run.
func (a *app) again(s *scenario.Scenario, runtime string) []string {
	name := s.Name
	if filepath.Clean(s.File) != filepath.Join(a.root, "scenarios", s.Name+".yaml") {
		name = s.File
	}
	return []string{"sim", "run", name, "--runtime", runtime, "--seed", fmt.Sprint(s.Seed)}
}

func runsOn(s *scenario.Scenario, runtime string) error {
	for _, r := range s.Runtimes {
		if r == runtime {
			return nil
		}
	}
	return usage(fmt.Errorf("scenario %s says nothing honest on %s; it runs on %s", s.Name, runtime, strings.Join(s.Runtimes, ", ")))
}

// judge judges a run directory, writes its reports and prints the result.
func (a *app) judge(dir, output string) (*check.Result, error) {
	r, err := evidence.Open(dir)
	if err != nil {
		return nil, err
	}
	res, err := check.Judge(r, time.Now().UTC())
	if err != nil {
		return nil, fmt.Errorf("judge %s: %w", dir, err)
	}
	if err := report.WriteAll(r, res); err != nil {
		return res, err
	}
	if output == "json" {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		return res, e.Encode(res)
	}
	if err := report.Terminal(a.stdout, res, a.color(a.stdout)); err != nil {
		return res, err
	}
	path := filepath.Join(dir, "report.html")
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(rel, "..") {
			path = rel
		}
	}
	fmt.Fprintln(a.stdout, "report: "+path)
	return res, nil
}

func (a *app) reportCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "report RUN",
		Short: "Judge a run again from its files alone",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := os.Stat(filepath.Join(args[0], evidence.HeaderFile)); err != nil {
				return usage(fmt.Errorf("%s is no run directory: %w", args[0], err))
			}
			res, err := a.judge(args[0], output)
			if err == nil && res.Verdict != check.Pass {
				return &exitError{code: verdictCode(res.Verdict), silent: true}
			}
			return err
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}
