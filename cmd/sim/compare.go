package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"triad/internal/check"
	"triad/internal/evidence"
)

func (a *app) compareCommand() *cobra.Command {
	var output string
	var all bool
	c := &cobra.Command{
		Use:   "compare A B",
		Short: "Say what differs between runs, in configuration and in result",
		Long: `Say what differs between runs, in configuration and in result.

A and B are each a run directory (or its name below reports/), a folder with several
run directories, or a list of these with commas between. Each run is judged again by
this version, so both sides are judged alike.

Figures are medians over the runs of a side, with the range in which the true median
lies. A difference is called one (better, worse) only from four runs on each side on,
when it is larger than 5 % and would come by chance in less than one of twenty
comparisons. Records and seconds inside one run depend on each other and prove
nothing about another run, so one run a side shows figures and says that they are too
few.`,
		Example: `  sim compare reports/20261123T093000-smoke-embedded reports/20261123T101500-smoke-embedded
  sim compare nightly/before nightly/after -o json
  sim compare a1,a2,a3,a4 b1,b2,b3,b4 --all`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeRuns(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			var sides [2][]*check.Result
			for i, arg := range args {
				dirs, err := a.findRuns(arg)
				if err != nil {
					return err
				}
				for _, dir := range dirs {
					res, err := judgeFiles(dir)
					if err != nil {
						return err
					}
					sides[i] = append(sides[i], res)
				}
			}
			cmp, err := check.Compare(sides[0], sides[1])
			if err != nil {
				return err
			}
			if output == "json" {
				return a.json(cmp)
			}
			return a.comparison(cmp, all)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	c.Flags().BoolVar(&all, "all", false, "print every figure, also those that are the same on both sides and those over all phases")
	a.completeFlag(c, "output", "text", "json")
	return c
}

// findRuns finds the run directories that one argument of compare names.
func (a *app) findRuns(arg string) ([]string, error) {
	var out []string
	parts := []string{arg}
	if _, err := os.Stat(arg); err != nil { // a folder may have a comma in its name
		parts = strings.Split(arg, ",")
	}
	for _, part := range parts {
		if part == "" {
			continue
		}
		if dir, err := a.findRun(part, ""); err == nil {
			out = append(out, dir)
			continue
		}
		names := a.runNames(part)
		if len(names) == 0 {
			return nil, usage(fmt.Errorf("%s is neither a run directory (it has no %s) nor a folder with such", part, evidence.HeaderFile))
		}
		for _, n := range names {
			out = append(out, filepath.Join(part, n))
		}
	}
	if len(out) == 0 {
		return nil, usage(fmt.Errorf("%q names no run", arg))
	}
	return out, nil
}

func (a *app) comparison(c *check.Comparison, all bool) error {
	for _, s := range []struct {
		name string
		side check.Side
	}{{"A", c.A}, {"B", c.B}} {
		for i, run := range s.side.Runs {
			fmt.Fprintf(a.stdout, "%s  %s: %s\n", s.name, run, s.side.Verdicts[i])
		}
	}
	fmt.Fprintln(a.stdout, "\nConfiguration")
	if len(c.Config) == 0 {
		fmt.Fprintln(a.stdout, "  the same on both sides")
	}
	for _, d := range c.Config {
		fmt.Fprintf(a.stdout, "  %s\n    A  %s\n    B  %s\n", d.Key, values(d.A), values(d.B))
	}
	fmt.Fprintln(a.stdout, "\nResult")
	var rows [][]string
	same := 0
	for _, f := range c.Figures {
		switch {
		case all:
		case strings.Contains(f.Name, ", all,"):
			continue // the same figures stand by phase
		case f.Verdict == check.Same || f.A != nil && f.B != nil && f.A.Median == f.B.Median:
			same++
			continue
		}
		change := ""
		if f.Change != nil {
			change = fmt.Sprintf("%+.1f %%", *f.Change*100)
		}
		p := ""
		if f.P != nil {
			p = fmt.Sprintf("p %.3f", *f.P)
		}
		rows = append(rows, []string{"  " + f.Name, estimate(f.A, f.Unit), estimate(f.B, f.Unit), change, f.Verdict, p})
	}
	if len(rows) > 0 {
		if err := a.table("text", []string{"  FIGURE", "A", "B", "CHANGE", "", ""}, rows); err != nil {
			return err
		}
	}
	if same > 0 {
		fmt.Fprintf(a.stdout, "  %d figures do not differ; --all prints them\n", same)
	}
	if len(c.Notes) > 0 {
		fmt.Fprintln(a.stdout, "\nBefore believing it")
		for _, n := range c.Notes {
			for i, line := range fold(n, 94) {
				mark := "  - "
				if i > 0 {
					mark = "    "
				}
				fmt.Fprintln(a.stdout, mark+line)
			}
		}
	}
	return nil
}

func values(list []string) string {
	if len(list) == 0 {
		return "(none)"
	}
	return strings.Join(list, " | ")
}

// estimate prints a figure with its range, when there is more than one run.
func estimate(e *check.Estimate, unit string) string {
	if e == nil {
		return "–"
	}
	s := quantity(e.Median, unit)
	if e.N > 1 {
		s += fmt.Sprintf(" [%s, %s]", quantity(e.Lo, unit), quantity(e.Hi, unit))
	}
	return s
}

// quantity prints a figure with four digits and its unit; seconds as a duration.
func quantity(v float64, unit string) string {
	if unit == "s" && math.Abs(v) < 1e9 {
		d := time.Duration(v * float64(time.Second))
		for _, step := range []time.Duration{time.Hour, time.Minute, time.Second, time.Millisecond, time.Microsecond} {
			if d.Abs() >= step {
				return d.Round(max(step/1000, 1)).String()
			}
		}
		return d.String()
	}
	s := strconv.FormatFloat(v, 'g', 4, 64)
	if v == math.Trunc(v) && math.Abs(v) < 1e12 {
		s = strconv.FormatFloat(v, 'f', 0, 64)
	}
	if unit == "records" || unit == "" {
		return s
	}
	return s + strings.Replace(" "+unit, " /", "/", 1)
}
