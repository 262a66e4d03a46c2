package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"triad/internal/check"
	"triad/internal/claims"
	"triad/internal/evidence"
	"triad/internal/scenario"
)

func (a *app) claimsCommand() *cobra.Command {
	var reports, output string
	c := &cobra.Command{
		Use:   "claims",
		Short: "Say what the runs prove about the eight claims",
		Long: `Say what the runs prove about the eight claims.

Reads every run directory below --reports and prints one row for each claim, C1 to
C8, always all eight: its verdict and the runs that it rests on. The newest run of
a scenario on a runtime counts. One fail is a fail; else the most real runtime that
has runs decides: eks, then kind, then embedded. What the embedded runtime alone has
shown is a pass on the model. A claim that no run is about is unproven, and the row
says what would prove it.

Exits with 3 when a claim failed, else with 0.`,
		Example: "  sim claims\n  sim claims --reports /var/tmp/nightly -o json | jq -r '.[] | [.claim, .verdict] | @tsv'",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			runs, err := a.judgedRuns(a.reportsFolder(reports))
			if err != nil {
				return err
			}
			rows := claims.Judge(runs, a.scenarioNames())
			if output == "json" {
				err = a.json(rows)
			} else {
				err = a.claimsTable(rows, len(runs))
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

// judgedRuns are the runs in a folder. A directory that cannot be judged is named on stderr and left out.
func (a *app) judgedRuns(reports string) ([]claims.Run, error) {
	if _, err := os.Stat(reports); err != nil && reports != a.reportsFolder("") {
		return nil, usage(fmt.Errorf("reports folder: %w", err))
	}
	var out []claims.Run
	for _, name := range a.runNames(reports) {
		run, err := judgedRun(filepath.Join(reports, name))
		if err != nil {
			fmt.Fprintf(a.stderr, "sim: %s is left out: %v\n", name, err)
			continue
		}
		out = append(out, run)
	}
	return out, nil
}

// judgedRun reads the result of a run, or judges its evidence where there is none or one of another format.
func judgedRun(dir string) (claims.Run, error) {
	var (
		h   evidence.Header
		res check.Result
	)
	b, err := os.ReadFile(filepath.Join(dir, evidence.HeaderFile))
	if err == nil {
		err = json.Unmarshal(b, &h)
	}
	if err != nil {
		return claims.Run{}, err
	}
	b, err = os.ReadFile(filepath.Join(dir, evidence.ScenarioFile))
	if err != nil {
		return claims.Run{}, err
	}
	sc, err := scenario.Parse(h.Scenario+".yaml", b)
	if err != nil {
		return claims.Run{}, fmt.Errorf("%s: %w", evidence.ScenarioFile, err)
	}
	b, err = os.ReadFile(filepath.Join(dir, evidence.ResultFile))
	if err == nil && json.Unmarshal(b, &res) == nil && res.SchemaVersion == check.ResultSchema && res.Run == h.ID {
		return claims.Run{Result: &res, Claims: sc.Claims, Created: h.Created}, nil
	}
	judged, err := judgeFiles(dir)
	return claims.Run{Result: judged, Claims: sc.Claims, Created: h.Created}, err
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

func (a *app) claimsTable(rows []claims.Claim, runs int) error {
	fmt.Fprintf(a.stdout, "%d runs\n", runs)
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
