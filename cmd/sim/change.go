package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"triad/internal/check"
	"triad/internal/manifests"
	"triad/internal/report"
	"triad/internal/revision"
	"triad/internal/scenario"
)

// changeFlags are the flags of compare when it makes the runs itself.
type changeFlags struct {
	runFlags
	scenarios []string
	rounds    int
	effect    float64
}

// Names of files in the folder of a change.
const (
	changeJSON     = "compare.json"
	changeMarkdown = "compare.md"
)

// compared is one side of a change: a folder with manifests/, kind/ and scenarios/.
type compared struct {
	check.Revision
	app     *app // with the root of this side
	name    string
	reports string
	all     []*scenario.Scenario
}

// compareRevisions runs scenarios on both revisions in turns and says how the second stands to the first.
func (a *app) compareRevisions(ctx context.Context, base, head string, f changeFlags) (err error) {
	if f.rounds < 1 {
		return usage(fmt.Errorf("--rounds %d: want at least 1; from %d on a difference can be told from chance", f.rounds, check.Rounds))
	}
	if !(f.effect >= 0 && f.effect < 1) {
		return usage(fmt.Errorf("--effect %g: want a share, such as 0.05", f.effect))
	}
	if f.runtime == "eks" {
		return usage(errors.New("--runtime eks: a comparison applies manifests in turns, which nobody wants in production"))
	}
	folder := filepath.Join(a.reportsFolder(f.reports), "compare-"+time.Now().UTC().Format("20060102T150405"))
	scratch, err := os.MkdirTemp("", "triad-compare-")
	if err != nil {
		return usage(fmt.Errorf("scratch folder: %w; TMPDIR names another place", err))
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	var sides [2]*compared
	for i, arg := range []string{base, head} {
		name := []string{"base", "head"}[i]
		if sides[i], err = a.openRevision(ctx, arg, filepath.Join(scratch, name)); err != nil {
			return err
		}
		sides[i].name, sides[i].reports = name, filepath.Join(folder, name)
		if err := sides[i].load(f); err != nil {
			return err
		}
	}
	rt := f.runtime
	if rt == "auto" { // one for all, or the rounds could not be compared
		rt, _ = a.autoRuntime(ctx, sides[0].all[0], f.runFlags)
	}
	f.runtime = rt
	for _, s := range sides {
		for _, sc := range s.all {
			if err := runsOn(sc, rt); err != nil {
				return err
			}
		}
	}
	if f.rounds < check.Rounds {
		fmt.Fprintf(a.stderr, "%d rounds show verdicts and losses; figures can be told from chance from %d rounds on\n", f.rounds, check.Rounds)
	}
	pairs, err := a.rounds(ctx, sides, f)
	interrupted := ctx.Err() != nil
	if err != nil && !interrupted {
		return err
	}
	c, err := check.Weigh(pairs, f.effect)
	if err != nil {
		return err
	}
	c.Base, c.Head, c.Runtime, c.Rounds, c.Interrupted = sides[0].Revision, sides[1].Revision, rt, f.rounds, interrupted
	lines, err := revisionManifests(sides)
	if err != nil {
		return err
	}
	if err := a.writeChange(folder, c, lines); err != nil {
		return err
	}
	if err := a.printChange(c, lines, f.output, folder); err != nil {
		return err
	}
	if interrupted {
		return &exitError{code: exitInterrupted, silent: true}
	}
	return comparedCode(c.Verdict)
}

// comparedCode says by its exit code how one side stands to the other.
func comparedCode(verdict string) error {
	switch verdict {
	case check.Worse:
		return &exitError{code: exitFail, silent: true}
	case check.NotClear:
		return &exitError{code: exitInvalid, silent: true}
	}
	return nil
}

// rounds makes the runs: in every round every scenario once on each side, and the side that begins changes from round to round,
// so that a machine which gets slower favours neither. A round has a seed of its own, the same on both sides.
func (a *app) rounds(ctx context.Context, sides [2]*compared, f changeFlags) ([]check.Pair, error) {
	pairs := make([]check.Pair, len(sides[0].all))
	for i, s := range sides[0].all {
		pairs[i].Scenario = s.Name
	}
	for round := 1; round <= f.rounds; round++ {
		for i := range pairs {
			for n := range sides {
				at := (n + round + 1) % 2
				side := sides[at]
				fmt.Fprintf(a.stderr, "round %d of %d, %s on %s (%s)\n", round, f.rounds, pairs[i].Scenario, side.name, side.Name)
				results, err := side.run(ctx, side.all[i], f.runFlags, round)
				for _, res := range results {
					if at == 0 {
						pairs[i].Base = append(pairs[i].Base, res)
					} else {
						pairs[i].Head = append(pairs[i].Head, res)
					}
				}
				if err != nil {
					return pairs, fmt.Errorf("%s on %s: %w", pairs[i].Scenario, side.name, err)
				}
			}
		}
	}
	return pairs, nil
}

// run makes one run of a side. One that is invalid is made once more, and both count: its verdict is said, its figures are not used.
func (r *compared) run(ctx context.Context, s *scenario.Scenario, f runFlags, round int) ([]*check.Result, error) {
	f.reports, f.output = r.reports, outputTry
	again := *s
	again.Seed += uint64(round - 1)
	var out []*check.Result
	for try := 1; ; try++ {
		res, _, err := r.app.runScenario(ctx, &again, f, nil)
		if res != nil {
			out = append(out, res)
		}
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		if e, ok := errors.AsType[*exitError](err); err != nil && (!ok || !e.silent || e.code != exitFail && e.code != exitInvalid) {
			return out, err
		}
		if res.Verdict != check.Invalid || try == 2 {
			return out, nil
		}
		fmt.Fprintln(r.app.stderr, "invalid, once more: "+res.Summary)
	}
}

// load reads the scenarios of a side. A file is the same on both sides, a name is what the revision says under it.
func (r *compared) load(f changeFlags) error {
	for _, name := range f.scenarios {
		file, err := r.app.findScenario(name)
		if err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
		s, err := scenario.Load(file)
		if err != nil {
			return usage(fmt.Errorf("%s: %w", r.Name, err))
		}
		if s.Search != nil || s.Compare != nil {
			return usage(fmt.Errorf("scenario %s makes many runs by itself; compare asks for one a round", name))
		}
		for _, x := range s.Faults {
			if x.Kind == "roll-out" && x.Target != "" && r.Commit != "" {
				return usage(fmt.Errorf("scenario %s rolls out another revision, which needs the history: give a work tree in place of %s", name, r.Name))
			}
		}
		if s, err = f.shape(s); err != nil {
			return err
		}
		r.all = append(r.all, s)
	}
	if len(r.all) == 0 {
		return usage(errors.New("--scenarios names none"))
	}
	return nil
}

// openRevision opens one side: a folder as it is, or a git revision, unpacked into dir. A folder wins; ./name is always one.
func (a *app) openRevision(ctx context.Context, arg, dir string) (*compared, error) {
	side := *a
	r := &compared{Revision: check.Revision{Name: arg}, app: &side}
	if info, err := os.Stat(arg); err == nil && info.IsDir() {
		if _, err := os.Stat(filepath.Join(arg, "manifests", "images.yaml")); err != nil {
			return nil, usage(fmt.Errorf("%s: a folder to compare has manifests/, kind/ and scenarios/: %w", arg, err))
		}
		abs, err := filepath.Abs(arg)
		if err != nil {
			return nil, err
		}
		side.root = abs
		return r, nil
	}
	if arg == "" || strings.HasPrefix(arg, "-") {
		return nil, usage(fmt.Errorf("%q: neither a folder nor the name of a revision", arg))
	}
	commit, tree, err := revision.Resolve(ctx, a.root, arg)
	if err != nil {
		return nil, usage(fmt.Errorf("%s: neither a folder nor a git revision of %s: %w", arg, a.root, err))
	}
	r.Commit = commit
	if err := revision.Unpack(ctx, a.root, tree, dir, "manifests", "kind", "scenarios"); err != nil {
		return nil, usage(fmt.Errorf("%s: %w", arg, err))
	}
	side.root = dir
	return r, nil
}

// revisionManifests renders both sides, as kind gets them and embedded reads them, and returns the lines in which they differ. What was
// applied lies in the run directories too; rendering says it also where no run was finished.
func revisionManifests(sides [2]*compared) ([]string, error) {
	c := comparison{Manifests: []manifestDiff{}}
	var sets [2]manifests.Set
	for i, s := range sides {
		var err error
		if sets[i], err = s.app.manifestSet(); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	for _, cluster := range manifests.Clusters() {
		var objects [2][]manifests.Object
		for i, set := range sets {
			var err error
			if objects[i], err = set.Render(cluster, "kind"); err != nil {
				return nil, fmt.Errorf("%s: %w", sides[i].Name, err)
			}
		}
		for _, d := range manifests.Compare(cluster, objects[0], objects[1]) {
			c.Manifests = append(c.Manifests, manifestDiff{cluster + "/" + d.Object, strings.Join(d.Path, "/"), d.Kind, d.EKS})
		}
	}
	return c.manifestLines(), nil
}

func (a *app) writeChange(folder string, c *check.Change, lines []string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	var md, js bytes.Buffer
	side := *a
	side.stdout = &js
	if err := errors.Join(report.ChangeMarkdown(&md, c, lines), side.json(change{c, lines})); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(folder, changeMarkdown), md.Bytes(), 0o644), os.WriteFile(filepath.Join(folder, changeJSON), js.Bytes(), 0o644))
}

// change is what is printed as JSON.
type change struct {
	*check.Change
	Manifests []string `json:"manifests"`
}

func (a *app) printChange(c *check.Change, lines []string, output, folder string) error {
	switch output {
	case "json":
		return a.json(change{c, lines})
	case "markdown":
		return report.ChangeMarkdown(a.stdout, c, lines)
	}
	if err := report.ChangeText(a.stdout, c, lines); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, "runs and "+changeMarkdown+": "+folder)
	return nil
}
