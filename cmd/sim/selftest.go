package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"triad/internal/progress"
	"triad/internal/runtimes/embedded"
	"triad/internal/selftest"
)

func (a *app) selftestCommand() *cobra.Command {
	var rounds int
	var seed uint64
	var output, keep string
	c := &cobra.Command{
		Use:   "selftest",
		Short: "Prove the checks: sabotage the embedded pipeline and demand that the report names it",
		Long: `Prove the checks: sabotage the embedded pipeline and demand that the report names it.

Loses, doubles, reorders, corrupts and leaks records at every hop in amounts that
are known, damages evidence, stalls the generator, and compares what the report
says with what was done. A false alarm is as bad as a miss: either exits with 3.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			rt, err := embedded.New(embedded.Options{Manifests: filepath.Join(a.root, "manifests"), KindConfig: filepath.Join(a.root, "kind")})
			if err != nil {
				return usage(err)
			}
			dir := keep
			if dir == "" {
				if dir, err = os.MkdirTemp("", "triad-selftest-"); err != nil {
					return err
				}
				defer os.RemoveAll(dir)
			}
			rep, err := selftest.Run(c.Context(), selftest.Options{Runtime: rt, Rounds: max(rounds, 1), Seed: seed, Dir: dir, Logger: a.logger, Progress: progress.NewPlain(a.stderr, 10*time.Second)})
			if err != nil {
				return err
			}
			if output == "json" {
				e := json.NewEncoder(a.stdout)
				e.SetIndent("", "  ")
				err = e.Encode(rep)
			} else {
				err = a.selftestTable(rep)
			}
			if err == nil && (rep.Missed > 0 || rep.FalseAlarms > 0) {
				return &exitError{code: exitFail, silent: true}
			}
			return err
		},
	}
	c.Flags().IntVar(&rounds, "rounds", 1, "sabotaged runs, each with other amounts and places")
	c.Flags().Uint64Var(&seed, "seed", 1, "seed of amounts and places")
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	c.Flags().StringVar(&keep, "keep", "", "keep the run directories in this folder")
	return c
}

func (a *app) selftestTable(rep *selftest.Report) error {
	rows := make([][]string, 0, len(rep.Cases))
	for _, c := range rep.Cases {
		state := "found"
		if !c.Detected {
			state = "MISSED"
		}
		rows = append(rows, []string{state, c.Kind, c.Truth, c.Reported})
		for _, w := range c.Wrong {
			rows = append(rows, []string{"", "", "", "  " + w})
		}
	}
	if err := a.table("text", []string{"", "SABOTAGE", "TRUTH", "REPORTED"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "%d kinds, %d rounds, seed %d: %d found, %d missed, %d false alarms\n", rep.Kinds, rep.Rounds, rep.Seed, rep.Detected, rep.Missed, rep.FalseAlarms)
	return err
}
