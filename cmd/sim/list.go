package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"triad/internal/scenario"
)

func (a *app) listCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "list [scenarios|sources|faults|metrics|checks]",
		Short: "List scenarios or a catalogue",
		Long: `List scenarios or a catalogue.

scenarios  what can be run: the claims that each tests, the runtimes on which it says
           something honest, how long its load lasts, and what is skipped where
sources    log types that a load may name, with their topics
faults     what can be broken, what each needs and takes, and where it is possible
metrics    what thresholds may be about, with units, aggregations and labels
checks     what is judged: invariants always, the others when the run can

These are the tables that sim check and sim run validate files against.`,
		Example:   "  sim list\n  sim list faults\n  sim list metrics -o json | jq -r '.[].name'",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), onlyKnown),
		ValidArgs: []string{"scenarios", "sources", "faults", "metrics", "checks"},
		RunE: func(_ *cobra.Command, args []string) error {
			what := "scenarios"
			if len(args) == 1 {
				what = args[0]
			}
			head, rows, bad := a.rows(what)
			if head == nil {
				return bad
			}
			if err := a.table(output, head, rows); err != nil {
				return err
			}
			if bad != nil {
				// The good ones are listed all the same; each problem on a line that begins with its place, as sim check prints it.
				fmt.Fprintln(a.stderr, bad)
				return &exitError{code: exitUsage, silent: true}
			}
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json: a list of objects")
	a.completeFlag(c, "output", "text", "json")
	return c
}

func (a *app) rows(what string) (head []string, rows [][]string, err error) {
	switch what {
	case "sources":
		head = []string{"NAME", "TOPIC", "BORN IN", "ENTERS AT", "WHAT"}
		for _, s := range scenario.Sources {
			rows = append(rows, []string{s.Name, s.Topic, s.Cluster, strings.Join(s.Enters, ", "), s.Doc})
		}
	case "faults":
		head = []string{"NAME", "NEEDS", "TAKES", "RUNTIMES", "WHAT"}
		for _, f := range scenario.Faults {
			rows = append(rows, []string{f.Name, strings.Join(append([]string{"at"}, f.Needs...), ", "), strings.Join(f.Takes, ", "), strings.Join(f.Runtimes(), ", "), f.Doc})
		}
	case "metrics":
		head = []string{"NAME", "UNIT", "AGGREGATIONS", "LABELS", "WHAT"}
		for _, m := range scenario.Metrics {
			rows = append(rows, []string{m.Name, m.Unit, strings.Join(m.Aggs, ", "), strings.Join(m.Labels, ", "), m.Doc})
		}
	case "checks":
		head = []string{"NAME", "CLAIM", "JUDGED", "WHAT"}
		for _, k := range scenario.Checks {
			when := "when the run can"
			if k.Always {
				when = "always"
			}
			rows = append(rows, []string{k.Name, k.Claim, when, k.Doc})
		}
	default:
		return a.scenarioRows()
	}
	return head, rows, nil
}

// scenarioRows are the scenarios that can be read; the error joins what is wrong in the others.
func (a *app) scenarioRows() (head []string, rows [][]string, err error) {
	files, err := a.scenarioFiles()
	if err != nil {
		return nil, nil, err
	}
	head = []string{"NAME", "CLAIMS", "RUNTIMES", "LASTS", "WHAT"}
	var errs []error
	for _, f := range files {
		s, err := scenario.Load(f)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var title strings.Builder
		title.WriteString(s.Title)
		for _, r := range []string{"embedded", "kind"} {
			for _, why := range notThere(s, r) {
				title.WriteString(" (" + why + ")")
			}
		}
		if s.Expect == "fail" {
			title.WriteString(" (expected to fail: " + s.Because + ")")
		}
		rows = append(rows, []string{s.Name, strings.Join(s.Claims, ","), strings.Join(s.Runtimes, ","), lasts(s), title.String()})
	}
	return head, rows, errors.Join(errs...)
}

// lasts is how long the load of a scenario is, without bringing up and draining, and how often it is run.
func lasts(s *scenario.Scenario) string {
	text := s.Phases.LoadTime().String()
	switch {
	case s.Search != nil:
		text += fmt.Sprintf(" a try, at most %d", s.Search.Tries)
	case s.Compare != nil:
		text += fmt.Sprintf(" a run, %d of them", 2*s.Compare.Pairs)
	}
	return text
}

// noReason stands for a reason that a file does not give. The shipped scenarios give theirs.
const noReason = "the file does not say why"

// notThere says what of a scenario is not possible on a runtime, and why.
func notThere(s *scenario.Scenario, runtime string) []string {
	var out []string
	listed := slices.Contains(s.Runtimes, runtime)
	for _, f := range s.Faults {
		row, _ := scenario.FindFault(f.Kind)
		if why := row.WhyNot(runtime); why != "" {
			verb := "is not possible"
			if listed {
				verb = "is skipped"
			}
			out = append(out, fmt.Sprintf("%s %s on %s: %s", f.Name, verb, runtime, why))
		}
	}
	if !listed && len(out) == 0 {
		out = append(out, fmt.Sprintf("not on %s: %s", runtime, cmp.Or(s.Elsewhere, noReason)))
	}
	if s.Compare != nil && runtime == "embedded" {
		out = append(out, "one cluster instead of three is skipped on embedded: it is one process either way")
	}
	return out
}

func (a *app) scenarioFiles() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(a.root, "scenarios", "*.yaml"))
	if err == nil && len(files) == 0 {
		err = usage(fmt.Errorf("no scenarios below %s; say where they are with --root", a.root))
	}
	return files, err
}

// findScenario finds a scenario by file or by name.
func (a *app) findScenario(arg string) (string, error) {
	files, noFiles := a.scenarioFiles()
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".yaml"))
	}
	_, missing := os.Stat(arg)
	if ext := filepath.Ext(arg); strings.ContainsAny(arg, "/\\") || ext == ".yaml" || ext == ".yml" {
		if errors.Is(missing, fs.ErrNotExist) {
			hint := scenario.DidYouMean(strings.TrimSuffix(filepath.Base(arg), ext), names)
			return "", usage(fmt.Errorf("scenario file: %w; %ssim list names what there is", missing, hint))
		}
		return arg, nil
	}
	if noFiles != nil {
		return "", noFiles
	}
	switch i := slices.Index(names, arg); {
	case i >= 0:
		return files[i], nil
	case missing == nil: // a file under another kind of name
		return arg, nil
	}
	return "", usage(fmt.Errorf("no scenario %q; %sthere are: %s", arg, scenario.DidYouMean(arg, names), strings.Join(names, ", ")))
}
