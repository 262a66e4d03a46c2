package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"triad/internal/progress"
	"triad/internal/runtimes/embedded"
	"triad/internal/selftest"
	"triad/internal/view"
)

func (a *app) selftestCommand() *cobra.Command {
	var rounds int
	var seed uint64
	var output, keep string
	var realTime bool
	c := &cobra.Command{
		Use:   "selftest",
		Short: "Prove the checks: sabotage the embedded pipeline and demand that the report names it",
		Long: `Prove the checks: sabotage the embedded pipeline and demand that the report names it.

Loses, doubles, reorders, corrupts and leaks records at every hop in amounts that
are known, damages evidence, stalls the generator, and compares what the report
says with what was done. What takes hours, a cluster or an alert that waits (leaks,
capacity, alerts, dashboards, rollback, an added cluster) is told as evidence of a
run that never was, and judged by the same code. A false alarm is as bad as a miss:
either exits with 3.

With --real-time the generator also goes through a stall of 1.4 s by the clock, 2000
records a second for 30 s, and its account is held against the times that the system
took itself.

One round takes about half a minute. With --rounds N the amounts and places are
others each time, and the limits of detection are printed: for each kind of sabotage
the smallest number of records that was found, and the largest that was missed. A
run that a busy machine spoilt is made again, up to three times.`,
		Example: "  sim selftest\n  sim selftest --rounds 10 --seed 4 --output json | jq .limits\n  sim selftest --keep /var/tmp/selftest",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			if rounds < 1 {
				return usage(fmt.Errorf("--rounds %d: want at least 1", rounds))
			}
			rt, err := embedded.New(embedded.Options{Manifests: filepath.Join(a.root, "manifests"), KindConfig: filepath.Join(a.root, "kind")})
			if err != nil {
				return usage(err)
			}
			set, err := a.manifestSet()
			if err != nil {
				return err
			}
			shown, err := view.Shipped(set)
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
			rep, err := selftest.Run(c.Context(), selftest.Options{Runtime: rt, Shown: shown, Rounds: rounds, RealTime: realTime, Seed: seed, Dir: dir, Logger: a.logger, Progress: progress.NewPlain(a.stderr, 10*time.Second)})
			if err != nil && c.Context().Err() != nil {
				return &exitError{code: exitInterrupted, err: errInterrupted}
			}
			if err != nil {
				return err
			}
			if output == "json" {
				err = a.json(rep)
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
	c.Flags().BoolVar(&realTime, "real-time", false, "go through the stall of 1.4 s by the clock too: 30 s")
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	c.Flags().StringVar(&keep, "keep", "", "keep the run directories in this folder")
	a.completeFlag(c, "output", "text", "json")
	return c
}

func (a *app) selftestTable(rep *selftest.Report) error {
	var rows [][]string
	for _, c := range rep.Cases {
		state := "found"
		if !c.Detected {
			state = "MISSED"
		}
		if c.Detected && rep.Rounds > 1 && c.Amount > 0 {
			continue // the limits below say it in one row for all rounds
		}
		rows = append(rows, []string{state, c.Kind, c.Truth, shorten(c.Reported)})
		for _, w := range c.Wrong {
			rows = append(rows, []string{"", "", "", "  " + w})
		}
	}
	if err := a.table("text", []string{"", "SABOTAGE", "TRUTH", "REPORTED"}, rows); err != nil {
		return err
	}
	if rep.Rounds > 1 {
		fmt.Fprintln(a.stdout, "\nLimits of detection, in records")
		rows = rows[:0]
		for _, l := range rep.Limits {
			rows = append(rows, []string{l.Kind, fmt.Sprintf("%d of %d", l.Found, l.Rounds), orNone(l.SmallestFound), orNone(l.LargestMissed)})
		}
		if err := a.table("text", []string{"SABOTAGE", "FOUND", "SMALLEST FOUND", "LARGEST MISSED"}, rows); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(a.stdout, "\n%d kinds, %d rounds, seed %d: %d found, %d missed, %d false alarms\n", rep.Kinds, rep.Rounds, rep.Seed, rep.Detected, rep.Missed, rep.FalseAlarms)
	return err
}

func orNone(n *uint64) string {
	if n == nil {
		return "–"
	}
	return fmt.Sprint(*n)
}

// shorten keeps a report to what fits beside its truth.
func shorten(s string) string {
	const most = 100
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
