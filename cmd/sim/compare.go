package main

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/manifests"
)

func (a *app) compareCommand() *cobra.Command {
	var f changeFlags
	var all bool
	c := &cobra.Command{
		Use:   "compare A B | compare BASE HEAD --scenarios NAME,...",
		Short: "Say what differs between runs, or run two revisions in turns and say which is better",
		Long: `Say what differs between runs, in configuration and in result.

A and B are each a run directory (or its name below --reports), a folder with several
run directories, or a list of these with commas between. Each run is judged again by
this version, so both sides are judged alike.

Figures are medians over the runs of a side, with the range in which the true median
lies. A difference is called one (better, worse) only from four runs on each side on,
when it is larger than 5 % and would come by chance in less than one of twenty
comparisons. Records and seconds inside one run depend on each other and prove
nothing about another run, so one run a side shows figures and says that they are too
few.

With --scenarios it makes the runs itself. BASE and HEAD are then git revisions, or
folders with manifests/, kind/ and scenarios/; a revision is unpacked into a scratch
folder that is removed at the end, also by Ctrl-C. This same program runs each scenario
on both, in turns over --rounds, and says for each scenario and figure: better, worse
or no difference, with the range in which the change lies. Verdicts that are others and
records that are lost, doubled or spoilt where none were are always said, whatever
their number. A scenario named by its file is the same on both sides; one named by name
is the one of the side's revision. All runs, compare.json and compare.md (the comment
of a pull request) lie in a folder compare-TIME below --reports.

Exits with 0 for better or no difference, 3 for worse, 4 where it cannot tell. Of runs
that are there one figure is enough for worse, and below four on a side none can be
told.`,
		Example: `  sim compare reports/20261123T093000-smoke-embedded reports/20261123T101500-smoke-embedded
  sim compare nightly/before nightly/after -o json
  sim compare a1,a2,a3,a4 b1,b2,b3,b4 --all
  sim compare origin/main . --scenarios smoke,broker-failover --rounds 6
  sim compare v1.4.0 v1.5.0 --scenarios kafka-outage --runtime kind -o markdown`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeRuns(2, &f.reports),
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("scenarios") {
				if err := checkOutput(f.output, "markdown"); err != nil {
					return err
				}
				return a.compareRevisions(c.Context(), args[0], args[1], f)
			}
			for _, name := range []string{"rounds", "effect", "runtime", "seed", "duration", "images"} {
				if c.Flags().Changed(name) {
					return usage(fmt.Errorf("--%s is for runs that are made now: name the --scenarios", name))
				}
			}
			output := f.output
			if err := checkOutput(output); err != nil {
				return err
			}
			var sides [2][]*check.Result
			var dirs [2][]string
			for i, arg := range args {
				var err error
				if dirs[i], err = a.findRuns(arg, f.reports); err != nil {
					return err
				}
				for _, dir := range dirs[i] {
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
			out := comparison{Comparison: cmp}
			if out.Manifests, out.Unknown, err = a.compareManifests(dirs); err != nil {
				return err
			}
			if output == "json" {
				err = a.json(out)
			} else {
				err = a.comparison(out, all)
			}
			if err != nil {
				return err
			}
			return comparedCode(cmp.Verdict())
		},
	}
	c.Flags().StringSliceVar(&f.scenarios, "scenarios", nil, "run these on both revisions: names or files, with commas between")
	c.Flags().IntVar(&f.rounds, "rounds", 6, "with --scenarios: runs of each scenario on each side")
	c.Flags().Float64Var(&f.effect, "effect", check.Effect, "with --scenarios: smallest change of a figure that is called one, as a share")
	c.Flags().StringVarP(&f.runtime, "runtime", "r", "auto", "with --scenarios: auto, embedded or kind")
	c.Flags().Uint64Var(&f.seed, "seed", 0, "with --scenarios: seed of the first round (default: the scenario's)")
	c.Flags().Var(durationFlag{&f.duration}, "duration", "with --scenarios: stretch the load, as sim run does")
	c.Flags().StringVar(&f.images, "images", "", "with --scenarios: image set file (default: TRIAD_IMAGES)")
	c.Flags().StringVar(&f.reports, "reports", "", "folder in which runs are looked for by name, or --scenarios puts its own (default: reports below the root)")
	c.Flags().StringVarP(&f.output, "output", "o", "text", "text or json; with --scenarios also markdown")
	c.Flags().BoolVar(&all, "all", false, "print every figure, also those that are the same on both sides and those over all phases")
	a.completeFlag(c, "output", "text", "json", "markdown")
	a.completeFlag(c, "runtime", "auto", "embedded", "kind")
	return c
}

// findRuns finds the run directories that one argument of compare names.
func (a *app) findRuns(arg, reports string) ([]string, error) {
	var out []string
	parts := []string{arg}
	if _, err := os.Stat(arg); err != nil { // a folder may have a comma in its name
		parts = strings.Split(arg, ",")
	}
	for _, part := range parts {
		if part == "" {
			continue
		}
		if dir, err := a.findRun(part, reports); err == nil {
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

// comparison is what the command prints.
type comparison struct {
	*check.Comparison
	Manifests []manifestDiff `json:"manifests"`
	// Unknown says why manifests were not compared.
	Unknown string `json:"manifests_unknown,omitempty"`
}

// manifestDiff is one place in the applied objects in which the sides differ.
type manifestDiff struct {
	Object string `json:"object"` // cluster/Kind/name
	Path   string `json:"path"`   // empty: only one side has the object
	A      any    `json:"a"`
	B      any    `json:"b"`
}

// compareManifests compares the objects of the first run of each side. Within a side they are the same when its runs are
// repetitions; where they are not, the sides cannot be compared by them.
func (a *app) compareManifests(dirs [2][]string) (out []manifestDiff, unknown string, err error) {
	out = []manifestDiff{}
	var sides [2]map[string][]byte
	for i, side := range dirs {
		for n, dir := range side {
			m, err := evidence.ReadManifests(dir)
			if err != nil {
				return nil, "", fmt.Errorf("%s: %w", dir, err)
			}
			switch {
			case len(m) == 0:
				return out, filepath.Base(dir) + " was made before runs kept their manifests", nil
			case n == 0:
				sides[i] = m
			case !maps.EqualFunc(sides[i], m, bytes.Equal):
				return out, fmt.Sprintf("the runs of side %c have different ones themselves", 'A'+i), nil
			}
		}
	}
	clusters := map[string]bool{}
	for _, m := range sides {
		for c := range m {
			clusters[c] = true
		}
	}
	for _, c := range slices.Sorted(maps.Keys(clusters)) {
		var objects [2][]manifests.Object
		for i := range sides {
			if objects[i], err = manifests.ParseStream(sides[i][c]); err != nil {
				return nil, "", fmt.Errorf("manifests of %s: %w", c, err)
			}
		}
		for _, d := range manifests.Compare(c, objects[0], objects[1]) {
			out = append(out, manifestDiff{c + "/" + d.Object, strings.Join(d.Path, "/"), d.Kind, d.EKS})
		}
	}
	return out, "", nil
}

// manifestLines prints the differences; long texts, as configuration files are, by their first line that differs.
func (c comparison) manifestLines() []string {
	if c.Unknown != "" {
		return []string{"not compared: " + c.Unknown}
	}
	var out []string
	for _, d := range c.Manifests {
		switch {
		case d.Path == "" && d.A == nil:
			out = append(out, d.Object+": only in B")
		case d.Path == "":
			out = append(out, d.Object+": only in A")
		default:
			x, y := firstDifference(d.A, d.B)
			out = append(out, fmt.Sprintf("%s %s", d.Object, d.Path), "  A  "+x, "  B  "+y)
		}
	}
	if len(out) == 0 {
		out = append(out, "the same on both sides")
	}
	return out
}

func firstDifference(a, b any) (x, y string) {
	x, y = "(none)", "(none)"
	if a != nil {
		x = fmt.Sprint(a)
	}
	if b != nil {
		y = fmt.Sprint(b)
	}
	xs, ys := strings.Split(x, "\n"), strings.Split(y, "\n")
	for i := range min(len(xs), len(ys)) {
		if xs[i] != ys[i] {
			x, y = xs[i], ys[i]
			if len(xs)+len(ys) > 2 {
				at := fmt.Sprintf("line %d: ", i+1)
				x, y = at+strings.TrimSpace(x), at+strings.TrimSpace(y)
			}
			break
		}
		if i == min(len(xs), len(ys))-1 {
			x, y = fmt.Sprintf("%d lines", len(xs)), fmt.Sprintf("%d lines", len(ys))
		}
	}
	const most = 160
	for _, s := range []*string{&x, &y} {
		if len(*s) > most {
			*s = (*s)[:most-3] + "..."
		}
	}
	return x, y
}

func (a *app) comparison(c comparison, all bool) error {
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
	fmt.Fprintln(a.stdout, "\nManifests")
	for _, l := range c.manifestLines() {
		fmt.Fprintln(a.stdout, "  "+l)
	}
	fmt.Fprintln(a.stdout, "\nResult")
	var rows [][]string
	same := 0
	for _, f := range c.Figures {
		switch {
		case all:
		case check.OverAll(f.Name):
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
