package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"triad/internal/observe/agent"
)

func (a *app) observerCommand() *cobra.Command {
	var listen, state string
	c := &cobra.Command{
		Use:   "observer",
		Short: "Read Kafka for a harness elsewhere: what runs in the observers' pods",
		Long: `Read Kafka for a harness elsewhere: what runs in the observers' pods.

Waits for a plan on its control port, then reads the partitions that are its own and
keeps what it sees below --state, until it is told to stop. /ready, /status, POST /open,
POST /run, POST /stop, /evidence. The brokers are those of KAFKA_BROKERS, with
KAFKA_USERNAME, KAFKA_PASSWORD and /etc/triad/kafka/ca.crt.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			brokers, opts, err := kafkaFromPod()
			if err != nil {
				return usage(err)
			}
			var lc net.ListenConfig
			l, err := lc.Listen(c.Context(), "tcp", listen)
			if err != nil {
				return usage(fmt.Errorf("control port: %w", err))
			}
			cfg := agent.Config{Brokers: brokers, Opts: opts, State: state, Logger: slog.New(slog.NewTextHandler(a.stderr, nil))}
			if err := agent.New(cfg).Serve(c.Context(), l); err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
			return told(c.Context())
		},
	}
	c.Flags().StringVar(&listen, "listen", ":9400", "address of the control port")
	c.Flags().StringVar(&state, "state", "/var/lib/triad", "folder of what was seen")
	return c
}

// told is the end of a program that serves until it is told to stop. It is no success: to a Job a pod that was evicted would be one that is
// done, and would not come again.
func told(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return &exitError{code: exitInterrupted, err: errInterrupted, silent: true}
}
