package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/report"
	"triad/internal/revision"
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
	// duration is how long the load is to last, 0: as the scenario says.
	duration scenario.Duration
	shards   int    // pods that share each load, 0: as the scenario says
	to       string // git revision to roll out, empty: as the scenario says
	pairs    int    // repetitions of a scenario that compares topologies, 0: as the scenario says
	rep      repetition
	eks      eksFlags
	baseline string    // result.json of an earlier run, empty: none
	resume   string    // run directory of a run that goes on, empty: a new run
	began    time.Time // when its load began
}

// eksFlags are the flags of everything that goes to clusters that are not Triad's.
type eksFlags struct {
	contexts string   // file that names them
	confirm  []string // ids of clusters in which something may be written
	// inCluster: the program runs in a pod of one of the clusters.
	inCluster bool
}

// look adds what a command needs that only looks.
func (f *eksFlags) look(c *cobra.Command) {
	c.Flags().StringVar(&f.contexts, "contexts", "", "eks: file that names the three clusters; see docs/production-safety.md")
	c.Flags().BoolVar(&f.inCluster, "in-cluster", false, "eks: run in a pod of the cluster that has no kubeconfig in the file, as its service account")
}

func (f *eksFlags) add(c *cobra.Command) {
	f.look(c)
	c.Flags().StringArrayVar(&f.confirm, "yes-production", nil, "eks: id of a cluster in which something may be written; once for each")
}

func (f *runFlags) add(a *app, c *cobra.Command) {
	c.Flags().StringVarP(&f.runtime, "runtime", "r", "auto", "auto, embedded, kind or eks")
	c.Flags().Uint64Var(&f.seed, "seed", 0, "seed of everything random (default: the scenario's)")
	c.Flags().StringVar(&f.reports, "reports", "", "folder for run directories (default: reports below the root)")
	c.Flags().StringVar(&f.images, "images", "", "image set file (default: TRIAD_IMAGES)")
	c.Flags().StringVarP(&f.output, "output", "o", "text", "text or json: result.json on stdout")
	c.Flags().IntVar(&f.shards, "shards", 0, "shards that share each load; see above (default: load.parallelism of the scenario)")
	c.Flags().IntVar(&f.pairs, "pairs", 0, "repetitions of a scenario that compares topologies (default: the scenario's)")
	c.Flags().StringVar(&f.to, "to", "", "git revision whose manifests a roll-out rolls forward to")
	c.Flags().StringVar(&f.resume, "resume", "", "go on with a run whose harness was killed: its run directory")
	c.Flags().StringVar(&f.baseline, "baseline", "", "result.json of an earlier long run on the same class of runner, to compare the calm with")
	c.Flags().Var(durationFlag{&f.duration}, "duration", "stretch the load to this length, e.g. 6h; see above")
	f.eks.add(c)
	a.completeFlag(c, "runtime", "auto", "embedded", "kind", "eks")
	a.completeFlag(c, "output", "text", "json")
}

// shape is the scenario as the flags change it.
func (f *runFlags) shape(s *scenario.Scenario) (*scenario.Scenario, error) {
	if f.seed != 0 {
		s.Seed = f.seed
	}
	var err error
	if f.duration != 0 {
		if s.Search != nil {
			return nil, usage(fmt.Errorf("--duration: %s is a search, which takes as many tries as it takes; search.within bounds it", s.Name))
		}
		if s, err = stretch(s, f.duration.D()); err != nil {
			return nil, usage(fmt.Errorf("--duration %v: %w", f.duration, err))
		}
	}
	if f.shards != 0 {
		if s, err = s.Sharded(f.shards); err != nil {
			return nil, usage(fmt.Errorf("--shards %d: %w", f.shards, err))
		}
	}
	return s, nil
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run SCENARIO|FILE | --resume RUN",
		Short: "Run a scenario and judge it",
		Long: `Run a scenario and judge it.

SCENARIO is a name from sim list, FILE any scenario file. Progress goes to stderr;
stdout gets the result table, the verdict and the path of report.html, or with
--output json the content of result.json. The exit code is that of the verdict:
0 pass, 3 fail, 4 invalid or inconclusive; see sim --help for the others.

The runtime auto is kind when a container engine answers and the scenario runs
there, else embedded; the first line says which and why.

Everything that the verdict rests on lies in a directory of its own below
--reports: sim report judges it again from these files alone. Ctrl-C heals the
faults, drains for a moment, closes and judges the evidence and exits with 130
within ten seconds; a second Ctrl-C ends the program at once. A run that is killed
leaves evidence that is judged inconclusive, never pass.

A scenario with a search makes many runs, one for each rate that it tries, until the
highest rate that passed and the lowest that failed are as near as it asks for. The
last run has the result of all; each has a directory of its own.

On eks nothing is brought up: --contexts names three clusters that are somebody's. The
three API servers, who you are there and everything that would be done are printed
first; then the id of each cluster in which something is written has to be typed, or
given with --yes-production. Without it nothing is written.

--duration 6h stretches the load: the phase during in a scenario with faults, whose
faults then strike again every ten minutes (or as often as their list is long, if
that is longer; faults with rotate go on in turn); else the phase before.

--shards N has each load sent by N shards and Kafka read by N observers, as parallelism at a
load and observers in a scenario do: each owns some of the streams or partitions, and what
they wrote is merged. On kind they are the pods of Indexed Jobs made for the run, on eks such
pods where the contexts file allows jobs, else those that stand there and the harness, on
embedded parts of this process. A load has at most one shard for each of its streams.

--baseline FILE keeps the result.json of an earlier long run with the evidence, and the
check baseline compares the calms between the faults of both: latencies and memory, by the
test of Mann and Whitney and a least effect. It takes eight calms, half an hour of soak. One
file for each class of runner; one of another machine, load or scenario is inconclusive.

--resume RUN goes on with a run whose harness was killed (kill -9, a lost machine), on
real clusters, where generators and system went on without it. It stays the same run:
same directory, same records, same schedule. What was left of faults is healed first;
what went through Kafka meanwhile is read now. The result says when nobody watched, and
what rests on that time is inconclusive. A run that has ended, or is under way still, is
refused. On eks --contexts is given again, and everything is asked again.`,
		Example: `  sim run smoke
  sim run scenarios/broker-failover.yaml --runtime kind
  sim run burst --seed 7 --reports /var/tmp/reports
  sim run smoke --output json | jq -r .verdict
  sim run soak --duration 6h
  sim run prod-canary --runtime eks --contexts eks.yaml
  sim run --resume reports/20261127T183000-soak-kind
  sim run rollback --to v1.4.0`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeScenarios,
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkOutput(f.output); err != nil {
				return err
			}
			if f.resume != "" {
				return a.resumeRun(c, args, f)
			}
			if len(args) != 1 {
				return usage(fmt.Errorf("accepts 1 arg, a scenario or its file (or --resume with a run directory), received %d", len(args)))
			}
			file, err := a.findScenario(args[0])
			if err != nil {
				return err
			}
			s, err := scenario.Load(file)
			if err == nil {
				err = a.checkFits(s)
			}
			if err != nil {
				return usage(err)
			}
			if s, err = f.shape(s); err != nil {
				return err
			}
			if err := a.rollTo(c.Context(), s, f.to); err != nil {
				return err
			}
			if s.Compare != nil {
				return a.runPairs(c.Context(), s, f)
			}
			if f.pairs != 0 {
				return usage(fmt.Errorf("--pairs %d: scenario %s compares no topologies", f.pairs, s.Name))
			}
			if s.Search != nil && s.Search.Rate == 0 {
				return a.search(c.Context(), s, f)
			}
			_, _, err = a.runScenario(c.Context(), s, f, nil)
			return err
		},
	}
	f.add(a, c)
	return c
}

// chooseRuntime returns the runtime and why it is this one.
func (a *app) chooseRuntime(ctx context.Context, s *scenario.Scenario, f runFlags) (runtimes.Runtime, string, error) {
	name, why := f.runtime, "asked for"
	if name == "auto" {
		name, why = a.autoRuntime(ctx, s, f)
	}
	if name == "embedded" || name == "kind" { // eks needs the pinned images alone
		if _, err := a.manifestSet(); err != nil {
			return nil, "", err
		}
	}
	switch name {
	case "embedded":
		r, err := embedded.New(embedded.Options{Manifests: filepath.Join(a.root, "manifests"), KindConfig: filepath.Join(a.root, "kind")})
		return r, why, err
	case "kind", "eks":
		if err := runsOn(s, name); err != nil {
			return nil, "", err // before anybody is asked anything
		}
		r, err := a.kubeRuntime(ctx, s, name, f)
		return r, why, err
	}
	return nil, "", usage(fmt.Errorf("--runtime %q: want auto, embedded, kind or eks", name))
}

// runScenario makes one run, judges it and prints the result. In a search it is one try, and only the last is printed. dir is empty
// when there is no run directory.
func (a *app) runScenario(ctx context.Context, s *scenario.Scenario, f runFlags, t *tryOf) (res *check.Result, dir string, err error) {
	rt, why, err := a.chooseRuntime(ctx, s, f)
	if err != nil {
		return nil, "", err
	}
	if err := runsOn(s, rt.Name()); err != nil {
		return nil, "", err
	}
	if t == nil || len(t.tries) == 0 {
		fmt.Fprintf(a.stderr, "%s on %s (%s), seed %d\n", s.Name, rt.Name(), why, s.Seed)
	}
	var baseline []byte
	if f.baseline != "" {
		if baseline, err = readBaseline(f.baseline); err != nil {
			return nil, "", usage(fmt.Errorf("--baseline %s: %w", f.baseline, err))
		}
	}
	var tries []evidence.Try
	if t != nil {
		tries = t.tries
		fmt.Fprintf(a.stderr, "try %d: %s\n", len(tries)+1, s.Search.Rate)
	}
	show := a.progress()
	logger := a.logger
	if w, ok := show.(io.Writer); ok {
		logger = a.logTo(w) // lines go above the bars, not through them
	}
	said := context.AfterFunc(ctx, func() {
		show.Step("interrupted", "done", "healing and closing the evidence, ten seconds at most; again to give up at once")
	})
	dir, err = run.Run(ctx, run.Options{
		Scenario: s, Runtime: rt, Why: why, Reports: a.reportsFolder(f.reports), Version: version(), Commit: commit(),
		Command: a.again(s, rt.Name(), f), Logger: logger, Progress: show, Now: time.Now(),
		Pair: f.rep.pair, Earlier: f.rep.earlier, Tries: tries, Resume: f.resume,
		Baseline: baseline,
	})
	said()
	show.Close()
	interrupted := ctx.Err() != nil
	var (
		provision *run.ProvisionError
		unwritten *run.EvidenceError
	)
	switch {
	case dir == "" && interrupted:
		return nil, dir, &exitError{code: exitInterrupted, err: errors.New("interrupted before the run began")}
	case errors.Is(err, evidence.ErrNotResumable) && dir == "":
		return nil, dir, usage(err)
	case errors.As(err, &provision) && dir == "":
		return nil, dir, fmt.Errorf("%w; the run has not gone on, and can be resumed when that is mended", err)
	case errors.Is(err, run.ErrScratch):
		return nil, dir, usage(fmt.Errorf("%w; TMPDIR names another place", err))
	case dir == "":
		return nil, dir, usage(fmt.Errorf("%w; --reports names another folder", err))
	case interrupted:
	case errors.As(err, &provision):
		return nil, dir, err
	case errors.As(err, &unwritten):
		return nil, dir, fmt.Errorf("%w; free some space, or name another folder with --reports", err)
	case err != nil:
		fmt.Fprintln(a.stderr, "sim: the run ended early: "+err.Error())
	}
	out := f.output
	if t != nil {
		out = outputTry
	}
	res, jerr := a.judge(dir, out)
	switch {
	case interrupted:
		if jerr != nil {
			fmt.Fprintln(a.stderr, "sim: "+jerr.Error())
		}
		return res, dir, &exitError{code: exitInterrupted, silent: true}
	case jerr != nil:
		return res, dir, jerr
	case res.Verdict != check.Pass:
		return res, dir, &exitError{code: verdictCode(res.Verdict), silent: true}
	}
	return res, dir, err
}

// reportsFolder is the folder of run directories.
func (a *app) reportsFolder(flag string) string {
	if flag != "" {
		return flag
	}
	return filepath.Join(a.root, "reports")
}

// again is the command line that repeats a run.
func (a *app) again(s *scenario.Scenario, runtime string, f runFlags) []string {
	name := s.Name
	if filepath.Clean(s.File) != filepath.Join(a.root, "scenarios", s.Name+".yaml") {
		name = s.File
	}
	args := []string{"sim", "run", name, "--runtime", runtime, "--seed", fmt.Sprint(s.Seed)}
	if f.to != "" {
		args = append(args, "--to", f.to)
	}
	if f.eks.contexts != "" {
		args = append(args, "--contexts", f.eks.contexts) // who repeats it confirms it anew
	}
	if f.eks.inCluster {
		args = append(args, "--in-cluster")
	}
	if f.pairs != 0 {
		args = append(args, "--pairs", fmt.Sprint(f.pairs))
	}
	if f.duration != 0 {
		args = append(args, "--duration", f.duration.String())
	}
	if f.shards != 0 {
		args = append(args, "--shards", fmt.Sprint(f.shards))
	}
	return args
}

// rollTo makes every roll-out of a scenario roll forward to a git revision. One that the repository does not have is found out here, before
// clusters are brought up.
func (a *app) rollTo(ctx context.Context, s *scenario.Scenario, rev string) error {
	if rev == "" {
		return nil
	}
	n := 0
	for i := range s.Faults {
		if s.Faults[i].Kind == "roll-out" {
			s.Faults[i].Target = "rev:" + rev
			n++
		}
	}
	if n == 0 {
		return usage(fmt.Errorf("--to %s: scenario %s rolls nothing out; rollback does", rev, s.Name))
	}
	if _, _, err := revision.Resolve(ctx, filepath.Join(a.root, "manifests"), rev); err != nil {
		return usage(fmt.Errorf("--to %s: no revision of the repository around %s (%w); git log --oneline -- manifests names some", rev, a.root, err))
	}
	return nil
}

func runsOn(s *scenario.Scenario, runtime string) error {
	if slices.Contains(s.Runtimes, runtime) {
		return nil
	}
	return usage(fmt.Errorf("scenario %s says nothing honest on %s; it runs on %s", s.Name, runtime, strings.Join(s.Runtimes, ", ")))
}

// outputTry is the output of a try that is not the last of its search: nothing but its report.
const outputTry = "try"

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
	// The verdict is printed even where no report can be written.
	written := report.WriteAll(r, res)
	if output == outputTry {
		return res, written
	}
	if output == "json" {
		return res, errors.Join(a.json(res), written)
	}
	if err := report.Terminal(a.stdout, res, a.color()); err != nil || written != nil {
		return res, errors.Join(err, written)
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
	var output, reports string
	c := &cobra.Command{
		Use:   "report RUN",
		Short: "Judge a run again from its files alone",
		Long: `Judge a run again from its files alone.

RUN is a run directory, or the name of one below --reports. Nothing but its files is
read: not the system, not the scenario as it is now. So a run can be judged years
later, by a newer version of the checks. result.json, report.html, summary.md and
junit.xml are written again; in a directory that cannot be written to, the verdict
is printed alone. The exit code is that of the verdict, as with sim run.

A run that was killed has no seal and is judged inconclusive; torn or changed files
are named and what rests on them is not judged.`,
		Example:           "  sim report reports/20261123T093000-smoke-embedded\n  sim report 20261123T093000-smoke-embedded -o json | jq .checks",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRuns(1, &reports),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			dir, err := a.findRun(args[0], reports)
			if err != nil {
				return err
			}
			res, err := a.judge(dir, output)
			if res != nil && readOnly(err) {
				fmt.Fprintln(a.stderr, "sim: the reports were not written: "+err.Error())
				err = nil
			}
			if err == nil && res.Verdict != check.Pass {
				return &exitError{code: verdictCode(res.Verdict), silent: true}
			}
			return err
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json: result.json on stdout")
	c.Flags().StringVar(&reports, "reports", "", "folder in which a run is looked for by its name (default: reports below the root)")
	a.completeFlag(c, "output", "text", "json")
	return c
}

// readOnly reports whether writing failed because the place is not to be written to.
func readOnly(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// findRun finds a run directory by path, or by its name in the folder of reports.
func (a *app) findRun(arg, reports string) (string, error) {
	for _, dir := range []string{arg, filepath.Join(a.reportsFolder(reports), arg)} {
		if _, err := os.Stat(filepath.Join(dir, evidence.HeaderFile)); err == nil {
			return dir, nil
		}
	}
	return "", usage(fmt.Errorf("%s is no run directory: it has no %s; nor has %s one of this name", arg, evidence.HeaderFile, a.reportsFolder(reports)))
}
