package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"triad/internal/fidelity"
)

func (a *app) fidelityCommand() *cobra.Command {
	var reports []string
	var write, reasons, keep, output string
	c := &cobra.Command{
		Use:   "fidelity",
		Short: "Set the embedded runtime against real clusters, scenario by scenario",
		Long: `Set the embedded runtime against real clusters, scenario by scenario.

Takes every run directory below --reports as it was judged, and sets the runs of a
scenario on embedded against those on kind: the times of recovery, the largest
backlogs and what was lost, interval against interval. A figure agrees when the
intervals overlap or the medians differ by at most 25 %. With less than five runs on
kind a row is too few, whatever it shows; where the program is Triad's model on kind
too it is n/a.

Interrupted runs are left out and named. An invalid run counts for what was lost and
for nothing else.

With --write the table replaces what stands between
  ` + fidelity.Begin + `
  ` + fidelity.End + `
in a Markdown file. Reasons for rows that differ are kept by hand in
docs/fidelity-reasons.yaml:
  reasons:
    - {scenario: broker-failover, figure: first good, reason: what the model leaves out}

With --keep what a table needs of every run that counts is written into a file, to
what is there from other days, and counts from then on without its directory.

Exits with 4 when there is no run to count, else with 0.`,
		Example: "  sim fidelity\n  sim fidelity --reports nightly/embedded --reports nightly/kind --write docs/fidelity.md\n  sim fidelity --keep docs/fidelity-runs.json --write docs/fidelity.md\n  sim fidelity -o json | jq -r '.scenarios[] | .scenario as $s | .rows[] | [$s, .figure, .agreement] | @tsv'",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			if len(reports) == 0 {
				reports = []string{a.reportsFolder("")}
			}
			runs, out, err := a.fidelityRuns(c.Context(), reports, keep)
			if err != nil {
				return err
			}
			from := strings.Join(reports, ", ")
			if keep != "" {
				from += ", " + keep
			}
			t, err := a.fidelityTable(runs, out, reasons, from, keep != "")
			if err != nil {
				return err
			}
			if keep != "" {
				text, err := fidelity.Keep(runs)
				if err != nil {
					return err
				}
				if err := replaceFile("--keep", keep, text, 0o644); err != nil {
					return err
				}
			}
			if write != "" {
				if err := writeSection(write, func(old string) (string, error) { return fidelity.Replace(old, t.Markdown()) }); err != nil {
					return err
				}
			}
			if output == "json" {
				return a.json(t)
			}
			return a.fidelityText(t)
		},
	}
	c.Flags().StringArrayVar(&reports, "reports", nil, "folder with run directories at any depth; may be given more than once (default: reports below the root)")
	c.Flags().StringVar(&write, "write", "", "Markdown file whose section is replaced")
	c.Flags().StringVar(&reasons, "reasons", "", "file of reasons (default: docs/fidelity-reasons.yaml below the root, where there is one)")
	c.Flags().StringVar(&keep, "keep", "", "file of runs that are kept: those in it count, and those that are found are added")
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	a.completeFlag(c, "output", "text", "json")
	return c
}

// fidelityRuns reads the runs below folders and those that were kept. A folder that was not asked for need not be there.
func (a *app) fidelityRuns(ctx context.Context, reports []string, keep string) (runs []fidelity.Run, out []fidelity.Out, err error) {
	var dirs []string
	for _, folder := range reports {
		found, err := fidelity.Find([]string{folder})
		if err != nil && (!errors.Is(err, fs.ErrNotExist) || folder != a.reportsFolder("")) {
			return nil, nil, usage(err)
		}
		dirs = append(dirs, found...)
	}
	for _, dir := range dirs {
		if ctx.Err() != nil {
			return nil, nil, &exitError{code: exitInterrupted, err: context.Cause(ctx)}
		}
		r, err := fidelity.Load(dir)
		if err != nil {
			out = append(out, fidelity.Out{Run: filepath.Base(dir), Why: err.Error()})
			continue
		}
		runs = append(runs, r)
	}
	if keep == "" {
		return runs, out, nil
	}
	old, err := fidelity.ReadKept(keep)
	if err != nil {
		return nil, nil, usage(err)
	}
	return fidelity.Merge(old, runs), out, nil
}

// fidelityTable compares the runs and puts the reasons beside what differs. The reasons below the root are for the runs that are kept: without
// those (whole), one that is not used says nothing.
func (a *app) fidelityTable(runs []fidelity.Run, out []fidelity.Out, reasons, from string, whole bool) (*fidelity.Table, error) {
	known := a.scenarioNames()
	t := fidelity.Compare(runs, known, out)
	if len(t.Scenarios) == 0 {
		lines := []string{fmt.Sprintf("no run below %s counts, so nothing can be compared", from)}
		for _, l := range t.Left() {
			lines = append(lines, "  left out: "+l)
		}
		return nil, &exitError{code: exitInvalid, err: errors.New(strings.Join(lines, "\n"))}
	}
	file := reasons
	if file == "" {
		file = filepath.Join(a.root, "docs", "fidelity-reasons.yaml")
	}
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && reasons == "":
	case err != nil:
		return nil, usage(fmt.Errorf("reasons: %w", err))
	default:
		idle, err := t.Explain(file, b, known)
		if err != nil {
			return nil, usage(err)
		}
		if whole || reasons != "" {
			for _, i := range idle {
				fmt.Fprintf(a.stderr, "sim: the reason for %s is not used: no such row differs here\n", i)
			}
		}
	}
	for _, u := range t.Unexplained() {
		fmt.Fprintf(a.stderr, "sim: %s differs and no reason is named\n", u)
	}
	return t, nil
}

func (a *app) fidelityText(t *fidelity.Table) error {
	fmt.Fprintf(a.stdout, "runs that count: %d on embedded, %d on kind; left out: %d\n", t.Sim.Runs, t.Real.Runs, len(t.LeftOut))
	for _, l := range t.Left() {
		fmt.Fprintln(a.stdout, "  "+l)
	}
	for _, b := range t.Scenarios {
		fmt.Fprintf(a.stdout, "\n%s\n  %s\n", b.Scenario, b.Counts())
		var rows [][]string
		for _, r := range b.Rows {
			verdict := r.String()
			if r.Reason != "" {
				verdict += " (" + r.Reason + ")"
			}
			rows = append(rows, []string{"  " + r.Figure, r.Cell(r.Sim), fmt.Sprint(r.Sim.N), r.Cell(r.Real), fmt.Sprint(r.Real.N), verdict})
		}
		if err := a.table("text", []string{"  FIGURE", "EMBEDDED", "N", "KIND", "N", "AGREEMENT"}, rows); err != nil {
			return err
		}
	}
	if len(t.Missing) > 0 {
		fmt.Fprintf(a.stdout, "\nno run that counts on either side: %s\n", strings.Join(t.Missing, ", "))
	}
	return nil
}
