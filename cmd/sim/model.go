package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"triad/internal/model"
	"triad/internal/model/fluentbit"
	"triad/internal/model/fluentd"
)

// modelCommand runs Triad's model of a component where its image cannot be had: same configuration, paths and ports.
func (a *app) modelCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "model COMPONENT -- [ARGUMENTS OF THE REAL PROGRAM]",
		Short: "Run Triad's model of Fluent Bit or Fluentd in its place",
		Long: `Run Triad's model of Fluent Bit or Fluentd in its place.

Takes the arguments of the real program (-c FILE) and reads the same configuration.
What the model does not honour is logged, and stands in the report of a run.`,
	}
	onlyCommands(c)
	run := func(name string, fn func(ctx context.Context, file string, text []byte, env map[string]string, log *slog.Logger) error) *cobra.Command {
		return &cobra.Command{Use: name + " -- -c FILE", Short: "Model of " + name, Args: cobra.ArbitraryArgs, RunE: func(c *cobra.Command, args []string) error {
			file, err := configArg(args)
			if err != nil {
				return usage(err)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return usage(fmt.Errorf("configuration: %w", err))
			}
			log := slog.New(slog.NewTextHandler(a.stderr, nil))
			err = fn(c.Context(), file, text, environment(), log)
			if errors.Is(err, context.Canceled) || c.Context().Err() != nil {
				return nil //nolint:nilerr // it ended because it was told to
			}
			return err
		}}
	}
	c.AddCommand(run("fluent-bit", func(ctx context.Context, file string, text []byte, env map[string]string, log *slog.Logger) error {
		cfg, skipped, err := fluentbit.Parse(text, file, env)
		if err != nil {
			return usage(err)
		}
		logSkipped(log, skipped)
		m, err := fluentbit.New(cfg, fluentbit.Options{Logger: log})
		if err != nil {
			return err
		}
		return m.Run(ctx)
	}), run("fluentd", func(ctx context.Context, file string, text []byte, env map[string]string, log *slog.Logger) error {
		cfg, skipped, err := fluentd.Parse(text, file, env)
		if err != nil {
			return usage(err)
		}
		logSkipped(log, skipped)
		m, err := fluentd.New(cfg, fluentd.Options{Logger: log})
		if err != nil {
			return err
		}
		return m.Run(ctx)
	}))
	return c
}

func logSkipped(log *slog.Logger, rows []model.NotModelled) {
	for _, n := range rows {
		log.Warn("not modelled", "parameter", n.String())
	}
}

// configArg finds the configuration file among the arguments of the real program: -c FILE, --config FILE, --config=FILE.
func configArg(args []string) (string, error) {
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "--config="); ok {
			return v, nil
		}
		if (a == "-c" || a == "--config") && i+1 < len(args) {
			return args[i+1], nil
		}
	}
	return "", errors.New("no -c FILE among the arguments")
}

func environment() map[string]string {
	out := map[string]string{}
	for _, kv := range os.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		out[k] = v
	}
	return out
}
