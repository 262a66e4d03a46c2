package terraform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// PluginsEnv names the variable that holds a folder of provider plug-ins (registry.terraform.io/... below it), for machines that
// reach no registry.
const PluginsEnv = "TRIAD_TERRAFORM_PLUGINS"

// Binary names the program, looked for in PATH.
const Binary = "terraform"

// Deadlines of one call of the program. Measured: 20 to 60 s for the tests of a root on two busy cores.
const (
	quickDeadline = 2 * time.Minute
	testDeadline  = 10 * time.Minute
)

// Use says how much of the program terraform a check may use.
type Use int

// The zero value is what a check does when nobody says anything.
const (
	Offline  Use = iota // the program where it is in PATH, with a provider that is on this machine: nothing is downloaded
	Download            // the program where it is in PATH, with a provider from a registry where none is here
	Reading             // the files alone
)

// Report is what a check did beside reading the files, a sentence each.
type Report struct {
	Ran     []string
	Skipped []string // with the reason
}

// Check judges the folder eks/terraform of a repository: it reads every file (Load, Judge) and, where the program terraform is in
// PATH, runs fmt -check, and validate and test where the provider can be had as well, on a copy. What is wrong is in the error, one line
// each for what was read. The flows and images that the code reads are taken from ../../manifests.
func Check(ctx context.Context, dir string, use Use) (rep Report, err error) {
	tree, err := Load(dir)
	if err == nil {
		err = tree.Judge()
	}
	skip := func(format string, args ...any) { rep.Skipped = append(rep.Skipped, fmt.Sprintf(format, args...)) }
	if err != nil {
		// The program would say the same again, slower.
		skip("terraform fmt, validate and test: not run, reading the files found problems")
		return rep, err
	}
	if use == Reading {
		return rep, nil
	}
	bin, lookErr := exec.LookPath(Binary)
	if lookErr != nil {
		skip("terraform fmt, validate and test: the program terraform is not in PATH; the files were read only")
		return rep, nil
	}
	work, err := os.MkdirTemp("", "triad-terraform-")
	if err != nil {
		return rep, fmt.Errorf("terraform check: %w", err)
	}
	defer os.RemoveAll(work)
	if err := copyFor(dir, work); err != nil {
		return rep, fmt.Errorf("terraform check: %w", err)
	}
	r := runner{bin: bin, home: work, plugins: os.Getenv(PluginsEnv)}
	code := filepath.Join(work, "eks", "terraform")
	if out, err := r.run(ctx, quickDeadline, code, "fmt", "-check", "-recursive", "-diff"); err != nil {
		return rep, fmt.Errorf("terraform fmt: %w\n%s", err, out)
	}
	rep.Ran = append(rep.Ran, "terraform fmt")
	if use == Offline {
		if r.plugins = providerHere(dir, tree.Roots); r.plugins == "" {
			skip("terraform validate and test: the provider is not on this machine; set %s to a folder of plug-ins, or download it with sim check --terraform", PluginsEnv)
			return rep, nil
		}
	}
	var errs []error
	for _, root := range tree.Roots {
		s, err := r.root(ctx, filepath.Join(code, filepath.FromSlash(root)), root)
		switch {
		case s != "":
			skip("%s", s)
		case err == nil:
			rep.Ran = append(rep.Ran, "terraform validate and test of "+root)
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return rep, errors.Join(errs...)
}

// providerHere returns a folder of plug-ins that has the provider, or nothing: the one that the environment names, what terraform init has
// left in a root, or one of those in which the program looks of itself. Which version is in it the program finds out.
func providerHere(dir string, roots []string) string {
	var all []string
	if named := os.Getenv(PluginsEnv); named != "" {
		return named // a wrong one is an error, not a reason to look elsewhere
	}
	for _, root := range roots {
		all = append(all, filepath.Join(dir, filepath.FromSlash(root), ".terraform", "providers"))
	}
	if home, err := os.UserHomeDir(); err == nil {
		all = append(all, filepath.Join(home, ".terraform.d", "plugins"))
	}
	all = append(all, "/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins")
	for _, folder := range all {
		if found, _ := os.ReadDir(filepath.Join(folder, "registry.terraform.io", "hashicorp", "aws")); len(found) > 0 {
			return folder
		}
	}
	return ""
}

type runner struct {
	bin     string
	home    string // where plug-ins and everything else that the program writes go
	plugins string // folder of plug-ins that the provider is taken from; "": from a registry
}

func (r runner) root(ctx context.Context, dir, name string) (skipped string, err error) {
	args := []string{"init", "-backend=false", "-input=false"}
	if r.plugins != "" {
		// The program runs elsewhere.
		plugins, err := filepath.Abs(r.plugins)
		if err != nil {
			return "", fmt.Errorf("%s: %w", PluginsEnv, err)
		}
		args = append(args, "-plugin-dir="+plugins)
	}
	if out, err := r.run(ctx, quickDeadline, dir, args...); err != nil {
		if unavailable(out) {
			return fmt.Sprintf("terraform validate and test of %s: the provider cannot be had here (set %s, or reach a registry)", name, PluginsEnv), nil
		}
		return "", fmt.Errorf("terraform init of %s: %w\n%s", name, err, out)
	}
	if out, err := r.run(ctx, quickDeadline, dir, "validate"); err != nil {
		return "", fmt.Errorf("terraform validate of %s: %w\n%s", name, err, out)
	}
	out, err := r.run(ctx, testDeadline, dir, "test")
	if err != nil {
		return "", fmt.Errorf("terraform test of %s: %w\n%s", name, err, out)
	}
	// A folder without tests passes too.
	if !strings.Contains(out, "Success!") || strings.Contains(out, " 0 passed") {
		return "", fmt.Errorf("terraform test of %s: no test was run\n%s", name, out)
	}
	return "", nil
}

// unavailable tells a provider that cannot be fetched from a configuration that is wrong.
func unavailable(out string) bool {
	return strings.Contains(out, "Failed to query available provider packages") || strings.Contains(out, "Failed to install provider")
}

func (r runner) run(ctx context.Context, deadline time.Duration, dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, deadline, fmt.Errorf("terraform %s took longer than %s", args[0], deadline))
	defer cancel()
	args = append([]string{args[0], "-no-color"}, args[1:]...)
	cmd := exec.CommandContext(ctx, r.bin, args...)
	cmd.Dir = dir
	// An interrupted program ends its plug-ins; a killed one leaves them behind.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Env = append(environment(), "TF_DATA_DIR="+filepath.Join(r.home, "data", filepath.Base(dir)), "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1",
		"GOMAXPROCS=2", "GOMEMLIMIT=1GiB")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return out.String(), err
}

// environment is the process' own without anything that names an account, a state or arguments for the program: a check contacts
// nobody and depends on nobody's settings, its plug-in cache and mirrors excepted.
func environment() []string {
	var out []string
	for _, e := range os.Environ() {
		name, value, _ := strings.Cut(e, "=")
		keep := !strings.HasPrefix(name, "AWS_") && !strings.HasPrefix(name, "TF_") || name == "TF_PLUGIN_CACHE_DIR"
		// A settings file that is named and not there is a warning on every call.
		if name == "TF_CLI_CONFIG_FILE" {
			_, err := os.Stat(value)
			keep = err == nil
		}
		if keep {
			out = append(out, e)
		}
	}
	return out
}

// copyFor copies the code and the manifests that it reads to the places that they have in a repository.
func copyFor(dir, work string) error {
	target := filepath.Join(work, "eks", "terraform")
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && rel != "." {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(target, rel), 0o755)
		}
		// State, variables and locks of whoever works here are not part of the code.
		if ext := filepath.Ext(rel); ext != ".tf" && ext != ".hcl" || strings.HasSuffix(rel, ".lock.hcl") || filepath.Base(rel) == "backend.hcl" {
			return nil
		}
		return copyFile(path, filepath.Join(target, rel))
	})
	if err != nil {
		return err
	}
	manifests := filepath.Join(dir, "..", "..", "manifests")
	files, err := filepath.Glob(filepath.Join(manifests, "*.yaml"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(work, "manifests"), 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if err := copyFile(f, filepath.Join(work, "manifests", filepath.Base(f))); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}
