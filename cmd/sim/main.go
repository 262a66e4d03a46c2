package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"triad/internal/scenario"
)

// app is every touch of the outside: streams, environment, folders. Commands use nothing else.
type app struct {
	stdout, stderr io.Writer
	getenv         func(string) string
	verbose        bool
	root           string // folder with scenarios/, manifests/ and kind/
	logger         *slog.Logger
	terminal       bool // stderr is one
	colour         bool // stdout is a terminal
}

func main() {
	// A stand-in image carries this binary under the names of the programs that it models.
	args := standInArgs(os.Args)
	// A reader that goes away (sim run ... | head) must not kill a run between a fault and its healing.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := interruptible(context.Background())
	a := &app{stdout: output{os.Stdout}, stderr: os.Stderr, getenv: os.Getenv, terminal: isTerminal(os.Stderr), colour: isTerminal(os.Stdout)}
	code := a.main(ctx, args)
	stop()
	os.Exit(code)
}

var errInterrupted = errors.New("interrupted")

// interruptible returns a context that the first Ctrl-C, SIGTERM or lost terminal ends. The second one ends the process,
// which leaves what kill -9 leaves.
func interruptible(parent context.Context) (context.Context, func()) {
	asks := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		asks = append(asks, syscall.SIGHUP)
	}
	got := make(chan os.Signal, 2)
	signal.Notify(got, asks...)
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		<-got
		cancel(errInterrupted)
		<-got
		os.Exit(exitInterrupted)
	}()
	return ctx, func() { signal.Stop(got); cancel(nil) }
}

// main runs one command line and returns its exit code.
func (a *app) main(ctx context.Context, args []string) int {
	root := a.command()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitPass
	}
	var e *exitError
	if !errors.As(err, &e) || !e.silent {
		fmt.Fprintln(a.stderr, "sim: "+strings.TrimSpace(err.Error()))
	}
	return codeOf(err)
}

func (a *app) command() *cobra.Command {
	c := &cobra.Command{
		Use:           "sim",
		Short:         "Turn the claims about a split log platform into measured verdicts",
		Long:          longHelp,
		Example:       rootExamples,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version() + " " + commit(),
		Args:          cobra.ArbitraryArgs, // so that an unknown command comes to RunE and is a usage error
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return usage(fmt.Errorf("no command %q; %ssee sim --help", args[0], didYouMean(c, args[0])))
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			a.logger = a.logTo(a.stderr)
			return a.findRoot()
		},
	}
	c.SetOut(a.stdout)
	c.SetErr(a.stderr)
	c.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "log what happens to stderr")
	c.PersistentFlags().StringVar(&a.root, "root", "", "folder with scenarios/ and manifests/ (default: the nearest above the current one)")
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	c.AddCommand(a.runCommand(), a.listCommand(), a.checkCommand(), a.reportCommand(), a.compareCommand(), a.claimsCommand(), a.planCommand(), a.fidelityCommand(), a.schemaCommand(), a.selftestCommand(), a.manifestsCommand(), a.inputgenCommand(), a.observerCommand(), a.modelCommand(), a.probeCommand(), a.docsCommand())
	c.AddCommand(a.kubeCommands()...)
	cobraCommands(c)
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
	return c
}

// cobraCommands makes a usage error of what cobra's own two commands answer with help and success: a topic and a shell that there is not.
func cobraCommands(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd() // it keeps the stream that the root has now
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = func(_ *cobra.Command, args []string) error {
				topic, rest, err := root.Find(args)
				if err == nil && len(rest) > 0 && topic.HasSubCommands() {
					return noCommand(topic, rest[0])
				}
				return err
			}
		case "completion":
			onlyCommands(c)
		}
	}
}

// onlyCommands makes c a command that only holds others: alone it prints its help, and what is none of them is a usage error.
func onlyCommands(c *cobra.Command) {
	c.Args = cobra.ArbitraryArgs
	c.ValidArgsFunction = cobra.NoFileCompletions
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		return noCommand(c, args[0])
	}
}

// noCommand says that c holds no command of that name, and which it holds.
func noCommand(c *cobra.Command, got string) error {
	var there []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			there = append(there, sub.Name())
		}
	}
	return usage(fmt.Errorf("no command %q of %s; %sthere are: %s", got, c.CommandPath(), didYouMean(c, got), strings.Join(there, ", ")))
}

// didYouMean is the nearest command below c, as a question; empty when none is near.
func didYouMean(c *cobra.Command, got string) string {
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(got); len(near) > 0 {
		return fmt.Sprintf("did you mean %q? ", near[0])
	}
	return ""
}

// onlyKnown wants arguments that are among the command's ValidArgs, and says which these are.
func onlyKnown(c *cobra.Command, args []string) error {
	for _, got := range args {
		if slices.Contains(c.ValidArgs, got) {
			continue
		}
		return fmt.Errorf("invalid argument %q for %s; %sthere are: %s", got, c.CommandPath(), scenario.DidYouMean(got, c.ValidArgs), strings.Join(c.ValidArgs, ", "))
	}
	return nil
}

// wrapArgs makes wrong arguments a usage error.
func wrapArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				if _, ok := errors.AsType[*exitError](err); ok {
					return err // it says what there is
				}
				return usage(fmt.Errorf("%w; see %s --help", err, cmd.CommandPath()))
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}

const longHelp = `Triad brings up a log platform of three clusters (datacenter, kafka, monitoring),
drives it with generated logs and faults, and judges what arrived, when, what was
lost and at which hop.

Exit codes:
  0    pass: every check passed
  1    internal: Triad itself failed, or could not write its files
  2    usage: a wrong flag, argument or file
  3    fail: a check failed
  4    invalid or inconclusive: the run proves nothing, and says why
  5    the system could not be brought up
  130  interrupted: faults were healed and the evidence closed and judged

stdout is results, stderr is progress and logs.

Environment:
  TRIAD_ROOT               folder with scenarios/ and manifests/, as --root
  TRIAD_IMAGES             image set file, as --images
  TRIAD_NODE_IMAGE         node image for kind
  TRIAD_KIND_NODES         1: Kafka on one node, 4: on three workers; else as the machine allows
  TRIAD_STRIMZI_CRDS       folder with Strimzi's definitions, in place of a download
  TRIAD_ELASTICSEARCH_SINK the sink's archive, or a folder with it, in place of a download
  TRIAD_ACCEPT_LICENSE     assets whose licence you accept: elasticsearch-sink
  TRIAD_TRUST_FIRST        assets of which the first archive is trusted where none is pinned
  TRIAD_ENGINE             docker, podman or a path
  TRIAD_SIM_BINARY         static Linux build of sim for the pods, needed on macOS
  TRIAD_STATE_DIR          folder of kubeconfigs and state, for a second set of clusters
  TRIAD_TERRAFORM_PLUGINS  folder of provider plug-ins, with which sim check runs terraform test
  NO_COLOR                 no colours
  TMPDIR                   where runs keep their scratch files`

const rootExamples = `  sim list                                what can be run, and which claim it tests
  sim run smoke                           the smallest run that proves the whole path
  sim run broker-failover -r embedded     kill a partition leader, without a container engine
  sim report reports/<run>                judge a run again from its files
  sim claims                              what the runs say about the eight claims`

// findRoot finds the folder with manifests/ and scenarios/: --root, TRIAD_ROOT, or the nearest above the current one.
func (a *app) findRoot() error {
	if a.root == "" {
		a.root = a.getenv("TRIAD_ROOT")
	}
	if a.root != "" {
		return nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if info, err := os.Stat(filepath.Join(at, "manifests", "images.yaml")); err == nil && !info.IsDir() {
			a.root = at
			return nil
		}
		if at == filepath.Dir(at) {
			a.root = dir
			return nil
		}
	}
}

func version() string {
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" && b.Main.Version != "(devel)" {
		return b.Main.Version
	}
	return "devel"
}

func commit() string {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	rev, dirty := "unknown", ""
	for _, s := range b.Settings {
		switch s.Key {
		case "vcs.revision":
			rev = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+changes"
			}
		}
	}
	return rev + dirty
}

// standInArgs turns an invocation under another program's name into the model command.
func standInArgs(argv []string) []string {
	switch filepath.Base(argv[0]) {
	case "fluent-bit":
		return append([]string{"model", "fluent-bit", "--"}, argv[1:]...)
	case "fluentd":
		return append([]string{"model", "fluentd", "--"}, argv[1:]...)
	}
	return argv[1:]
}
