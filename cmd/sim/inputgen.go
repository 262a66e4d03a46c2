package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"

	"github.com/spf13/cobra"

	"triad/internal/load"
	"triad/internal/load/agent"
)

func (a *app) inputgenCommand() *cobra.Command {
	var source, listen, logs, state string
	c := &cobra.Command{
		Use:   "inputgen",
		Short: "Generate logs: what runs in the datacenter pods",
		Long: `Generate logs: what runs in the datacenter pods.

Waits for a plan on its control port, then writes log lines on schedule: service
lines to stdout, system lines to files below --logs. It keeps a ledger of every
record below --state. /metrics, /ready, /status, POST /run, POST /stop, /evidence.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg := agent.Config{LogDir: logs, State: state, Logger: slog.New(slog.NewTextHandler(a.stderr, nil))}
			switch source {
			case "service":
				cfg.Stdout = a.stdout
			case "system":
			default:
				return usage(fmt.Errorf("--source %q: want service or system", source))
			}
			runtime.GOMAXPROCS(max(load.Procs, runtime.GOMAXPROCS(0)))
			var lc net.ListenConfig
			l, err := lc.Listen(c.Context(), "tcp", listen)
			if err != nil {
				return usage(fmt.Errorf("control port: %w", err))
			}
			if err := agent.New(cfg).Serve(c.Context(), l); err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		},
	}
	c.Flags().StringVar(&source, "source", "", "service or system")
	c.Flags().StringVar(&listen, "listen", ":9400", "address of the control port")
	c.Flags().StringVar(&logs, "logs", "/var/log", "folder of system log files")
	c.Flags().StringVar(&state, "state", "/var/lib/triad", "folder of ledgers")
	return c
}
