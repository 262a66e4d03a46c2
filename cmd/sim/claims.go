package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"triad/internal/check"
	"triad/internal/claims"
	"triad/internal/evidence"
)

func (a *app) claimsCommand() *cobra.Command {
	var reports, output string
	c := &cobra.Command{
		Use:   "claims",
		Short: "Say what the runs prove about the eight claims",
		Long: `Say what the runs prove about the eight claims.

Judges the run directories below --reports from their evidence and prints one row for each claim, C1 to
C8, always all eight: its verdict and the runs that it rests on. The newest run of
a scenario on a runtime counts. One fail is a fail; else the most real runtime that
has runs decides: eks, then kind, then embedded. What the embedded runtime alone has
shown is a pass on the model. A claim that no run is about is unproven, and the row
says what would prove it.

Exits with 3 when a claim failed, else with 0.`,
		Example: "  sim claims\n  sim claims --reports /var/tmp/nightly -o json | jq -r '.[] | [.claim, .verdict] | @tsv'",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			runs, all, err := a.judgedRuns(c.Context(), a.reportsFolder(reports))
			if err != nil {
				return err
			}
			rows := claims.Judge(runs, a.scenarioNames())
			if output == "json" {
				err = a.json(rows)
			} else {
				err = a.claimsTable(rows, all, len(runs))
			}
			for _, r := range rows {
				if err == nil && r.Verdict == claims.Failed {
					err = &exitError{code: exitFail, silent: true}
				}
			}
			return err
		},
	}
	c.Flags().StringVar(&reports, "reports", "", "folder of run directories (default: reports below the root)")
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	a.completeFlag(c, "output", "text", "json")
	return c
}

// scenarioNames are the scenarios below the root, none when there are no such files.
func (a *app) scenarioNames() []string {
	files, err := a.scenarioFiles()
	if err != nil {
		return []string{}
	}
	out := []string{}
	for _, f := range files {
		out = append(out, strings.TrimSuffix(filepath.Base(f), ".yaml"))
	}
	return out
}

// judgedRuns are the runs in a folder that count: the newest of each scenario and runtime, judged now from their
// evidence. A directory that cannot be judged is named on stderr and left out. all is how many directories there are.
func (a *app) judgedRuns(ctx context.Context, reports string) (runs []claims.Run, all int, err error) {
	if _, err := os.Stat(reports); err != nil && reports != a.reportsFolder("") {
		return nil, 0, usage(fmt.Errorf("reports folder: %w", err))
	}
	leaveOut := func(name string, err error) { fmt.Fprintf(a.stderr, "sim: %s is left out: %v\n", name, err) }
	newest := map[[2]string]evidence.Header{}
	for _, name := range a.runNames(reports) {
		h, err := evidence.ReadHeader(filepath.Join(reports, name))
		if err != nil {
			leaveOut(name, err)
			continue
		}
		all++
		h.ID = name // the directory may have been renamed
		k := [2]string{h.Scenario, h.Runtime}
		if old, ok := newest[k]; !ok || h.Created.After(old.Created) {
			newest[k] = h
		}
	}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for _, h := range newest {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			r, err := evidence.Open(filepath.Join(reports, h.ID))
			var res *check.Result
			if err == nil {
				res, err = check.Judge(r, time.Now().UTC())
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				leaveOut(h.ID, err)
				return nil
			}
			runs = append(runs, claims.Run{Result: res, Claims: r.Scenario.Claims, Requires: r.Scenario.Requires, Created: h.Created})
			return nil
		})
	}
	return runs, all, g.Wait()
}

// judgeFiles judges a run directory and writes nothing.
func judgeFiles(dir string) (*check.Result, error) {
	r, err := evidence.Open(dir)
	if err != nil {
		return nil, err
	}
	res, err := check.Judge(r, time.Now().UTC())
	if err != nil {
		return nil, fmt.Errorf("judge %s: %w", dir, err)
	}
	return res, nil
}

func (a *app) claimsTable(rows []claims.Claim, all, counted int) error {
	fmt.Fprintf(a.stdout, "%d runs, of which the newest of each scenario and runtime count: %d\n", all, counted)
	for _, r := range rows {
		fmt.Fprintf(a.stdout, "\n%s  %s  %s\n", r.Claim, a.paint(fmt.Sprintf("%-17s", strings.ToUpper(string(r.Verdict))), r.Verdict), r.Title)
		for i, line := range fold(r.Detail, 94) {
			mark := "    "
			if i > 0 {
				mark = "      "
			}
			fmt.Fprintln(a.stdout, mark+line)
		}
		for _, p := range r.Runs {
			verdict := string(p.Verdict)
			if p.Expected {
				verdict += " (expected to fail)"
			}
			fmt.Fprintf(a.stdout, "    - %s: %s\n", p.Run, verdict)
		}
	}
	return nil
}

// paint colours the verdict of a claim on a terminal.
func (a *app) paint(text string, v claims.Verdict) string {
	code := map[claims.Verdict]string{claims.Proven: "1;32", claims.OnTheModel: "32", claims.Failed: "1;31", claims.Invalid: "1;35", claims.Inconclusive: "1;33", claims.Unproven: "2"}[v]
	if !a.color() {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// fold breaks text into lines of at most width characters where it can.
func fold(text string, width int) []string {
	var out []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			out = append(out, line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(out, line)
}
