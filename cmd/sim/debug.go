//go:build !embedded_only

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"triad/internal/kube"
	"triad/internal/runtimes/kind"
	"triad/internal/scenario"
)

// shellCommand hands a person the cluster that went wrong.
func (a *app) shellCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "shell CLUSTER [-- KUBECTL-ARGUMENTS]",
		Short: "A shell with kubectl for one of the kind clusters, or one kubectl command",
		Long: `A shell with kubectl for one of the kind clusters, or one kubectl command.

The cluster's own kubeconfig and namespace are used; yours are not read and not
changed. Alone it starts $SHELL with KUBECONFIG set, and the exit code is the shell's.
With arguments behind -- it runs kubectl with them, and the exit code is kubectl's.`,
		Example:           "  sim shell kafka\n  sim shell kafka -- get pods\n  sim shell monitoring -- exec -it elasticsearch-0 -- bash",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeClusters,
		RunE: func(c *cobra.Command, args []string) error {
			cluster := args[0]
			if !slices.Contains(scenario.ClusterNames, cluster) {
				return usage(fmt.Errorf("no cluster %q; there are: %s", cluster, strings.Join(scenario.ClusterNames, ", ")))
			}
			if len(args) > 1 && c.ArgsLenAtDash() != 1 {
				return usage(fmt.Errorf("arguments of kubectl stand behind --: sim shell %s -- %s", cluster, strings.Join(args[1:], " ")))
			}
			rt, err := a.running(c.Context(), cluster)
			if err != nil {
				return err
			}
			if len(args) > 1 {
				return a.child(c.Context(), exec.CommandContext(c.Context(), "kubectl", append([]string{"--kubeconfig", rt.KubeconfigPath(cluster), "--namespace", cluster}, args[1:]...)...))
			}
			shell := a.getenv("SHELL")
			if shell == "" {
				shell = "/bin/sh"
			}
			// Interrupts belong to the shell: it is not ended by the context that they end.
			sh := exec.Command(shell) //nolint:noctx // see above
			sh.Env = append(os.Environ(), "KUBECONFIG="+rt.KubeconfigPath(cluster), "TRIAD_CLUSTER="+cluster, `PS1=(triad `+cluster+`) \$ `)
			fmt.Fprintf(a.stderr, "kubectl speaks to %s now; pods are in the namespace %s (kubectl -n %s get pods); exit leaves\n", kind.Context(cluster), cluster, cluster)
			return a.child(c.Context(), sh)
		},
	}
}

// child runs a program on this terminal, with its exit code as ours.
func (a *app) child(ctx context.Context, c *exec.Cmd) error {
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, a.stdout, a.stderr
	err := c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if ctx.Err() != nil {
			return &exitError{code: exitInterrupted, silent: true}
		}
		return &exitError{code: exit.ExitCode(), err: err, silent: true}
	}
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w (every node has one too: docker exec -it NODE kubectl --kubeconfig /etc/kubernetes/admin.conf)", err)
	}
	return err
}

// running opens the runtime and demands that a cluster runs.
func (a *app) running(ctx context.Context, clusters ...string) (*kind.Runtime, error) {
	rt, err := a.kind(ctx, "")
	if err != nil {
		return nil, &exitError{code: exitProvision, err: err}
	}
	all, err := rt.Status(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if slices.Contains(clusters, s.Cluster) && s.Condition != kind.Running {
			return nil, &exitError{code: exitProvision, err: fmt.Errorf("cluster %s is %s; sim up brings it up", s.Cluster, s.Condition)}
		}
	}
	return rt, nil
}

func completeClusters(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return scenario.ClusterNames, cobra.ShellCompDirectiveNoFileComp
}

// componentNames are the names that sim logs takes: those of the images, and connect as the scenarios call it.
func (a *app) componentNames() ([]string, error) {
	set, err := a.manifestSet()
	if err != nil {
		return nil, err
	}
	list, err := set.Images()
	if err != nil {
		return nil, usage(err)
	}
	return append(slices.Sorted(maps.Keys(list.References())), "connect"), nil
}

func (a *app) logsCommand() *cobra.Command {
	var follow, previous bool
	var since time.Duration
	var tail int64
	c := &cobra.Command{
		Use:   "logs COMPONENT",
		Short: "Print the logs of a component's pods in the kind clusters",
		Long: `Print the logs of a component's pods in the kind clusters.

All containers of all its pods in all clusters, each line behind the name of its pod.
--previous puts the log of the instance before the last restart in front, where there
was one. Components are called as in manifests/images.yaml.`,
		Example: "  sim logs fluentd\n  sim logs kafka --since 5m\n  sim logs connect --follow\n  sim logs elasticsearch --previous --tail 50",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 || a.findRoot() != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			names, _ := a.componentNames()
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			names, err := a.componentNames()
			if err != nil {
				return err
			}
			component := args[0]
			if !slices.Contains(names, component) {
				return usage(fmt.Errorf("no component %q; there are: %s", component, strings.Join(names, ", ")))
			}
			if component == "connect" {
				component = "kafka-connect"
			}
			switch {
			case since < 0:
				return usage(fmt.Errorf("--since %v: want a duration above 0", since))
			case tail < 0:
				return usage(fmt.Errorf("--tail %d: want a number above 0", tail))
			case follow && previous:
				return usage(errors.New("--follow and --previous: what is over does not go on"))
			}
			rt, err := a.running(c.Context())
			if err != nil {
				return err
			}
			return a.printLogs(c.Context(), rt, component, previous, kube.LogOptions{Follow: follow, Since: since, Tail: tail})
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until Ctrl-C")
	c.Flags().BoolVarP(&previous, "previous", "p", false, "the instance before the last restart too")
	c.Flags().DurationVar(&since, "since", 0, "not older than this, as 90s or 5m")
	c.Flags().Int64Var(&tail, "tail", 0, "the last lines of each container only")
	return c
}

// printLogs prints the logs of one component, of one container after another, or of all at once when they are followed.
func (a *app) printLogs(ctx context.Context, rt *kind.Runtime, component string, previous bool, o kube.LogOptions) error {
	found, err := rt.Containers(ctx, component)
	if err != nil {
		return &exitError{code: exitProvision, err: err}
	}
	if len(found) == 0 {
		return &exitError{code: exitProvision, err: fmt.Errorf("no pod of %s runs in the clusters that are up; sim status says which are", component)}
	}
	out := &lines{w: a.stdout}
	var errs []error
	if previous {
		before := o
		before.Previous = true
		for _, x := range found {
			// A container that never restarted has no log from before, and says so as an error.
			_ = out.copyLog(ctx, x, before)
		}
	}
	if !o.Follow {
		for _, x := range found {
			errs = append(errs, out.copyLog(ctx, x, o))
		}
		return errors.Join(errs...)
	}
	all := make([]error, len(found))
	var wg sync.WaitGroup
	for i, x := range found {
		wg.Go(func() { all[i] = out.copyLog(ctx, x, o) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // Ctrl-C is how following ends
	}
	return errors.Join(all...)
}

// lines writes whole lines of several logs to one place.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) copyLog(ctx context.Context, x kind.Found, o kube.LogOptions) error {
	o.Container = x.Name
	r, err := x.Client.Logs(ctx, x.Namespace, x.Pod, o)
	if err != nil {
		return err
	}
	defer r.Close()
	name := x.Cluster + "/" + x.Pod
	if x.Several {
		name += "/" + x.Name
	}
	if o.Previous {
		name += " (before)"
	}
	const longest = 1 << 20
	s := bufio.NewScanner(r)
	s.Buffer(nil, longest)
	for s.Scan() {
		l.mu.Lock()
		_, err := fmt.Fprintf(l.w, "%s | %s\n", name, s.Bytes())
		l.mu.Unlock()
		if err != nil {
			return err
		}
	}
	if err := s.Err(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("log of %s: %w", name, err)
	}
	return nil
}
