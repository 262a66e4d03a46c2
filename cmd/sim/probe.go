package main

import (
	"encoding/json"
	"errors"
	"net"
	"time"

	"github.com/spf13/cobra"

	"triad/internal/probe"
)

// probeCommand is what the pods of a security probe run. It is hidden: people run the scenario security-isolation.
func (a *app) probeCommand() *cobra.Command {
	var o probe.DialOptions
	var listen string
	c := &cobra.Command{
		Use:    "probe ADDRESS...",
		Short:  "Try to connect to addresses and print the results as JSON",
		Hidden: true,
		Long: `Try to connect to addresses (host:port) and print the results as JSON.

A connection is closed again without a byte sent. Whatever is open or closed, the
command succeeds: what should be is not its business. With --listen it is the
other end: it accepts connections and closes them, until it is stopped.`,
		Example: "  sim probe 10.0.0.7:22 10.0.0.7:30094\n  sim probe --listen :8080",
		Args: func(_ *cobra.Command, args []string) error {
			if (len(args) == 0) == (listen == "") {
				return usage(errors.New("want addresses, or --listen and none"))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if listen != "" {
				var lc net.ListenConfig
				l, err := lc.Listen(c.Context(), "tcp", listen)
				if err != nil {
					return usage(err)
				}
				return probe.Listen(c.Context(), l)
			}
			results, err := probe.Dial(c.Context(), args, o)
			if err != nil && results == nil {
				return usage(err)
			}
			return errors.Join(err, json.NewEncoder(a.stdout).Encode(results))
		},
	}
	c.Flags().StringVar(&listen, "listen", "", "accept connections on this address instead")
	c.Flags().DurationVar(&o.Timeout, "timeout", 2*time.Second, "of one attempt")
	c.Flags().IntVar(&o.Parallel, "parallel", 16, "attempts at a time")
	c.Flags().DurationVar(&o.WhileOpen, "while-open", 0, "try an address again while it is open, at most for so long")
	return c
}
