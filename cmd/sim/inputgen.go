package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"triad/internal/load"
	"triad/internal/load/agent"
)

func (a *app) inputgenCommand() *cobra.Command {
	var source, listen, logs, state string
	var kafka bool
	c := &cobra.Command{
		Use:   "inputgen",
		Short: "Generate logs: what runs in the datacenter pods",
		Long: `Generate logs: what runs in the datacenter pods.

Waits for a plan on its control port, then writes log lines on schedule: service
lines to stdout, system lines to files below --logs. It keeps a ledger of every
record below --state. /metrics, /ready, /status, POST /run, POST /stop, /evidence.

With --kafka it also sends what a plan lets enter at the brokers: those of
KAFKA_BROKERS, with KAFKA_USERNAME, KAFKA_PASSWORD and /etc/triad/kafka/ca.crt.`,
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
			if kafka {
				brokers, opts, err := kafkaFromPod()
				if err != nil {
					return usage(fmt.Errorf("--kafka: %w", err))
				}
				cfg.Kafka = append(append(load.ProducerOpts(), kgo.SeedBrokers(brokers...)), opts...)
				cfg.Host = os.Getenv("POD_NAME")
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
			return told(c.Context())
		},
	}
	c.Flags().StringVar(&source, "source", "", "service or system")
	c.Flags().BoolVar(&kafka, "kafka", false, "sources may enter at the brokers")
	c.Flags().StringVar(&listen, "listen", ":9400", "address of the control port")
	c.Flags().StringVar(&logs, "logs", "/var/log", "folder of system log files")
	c.Flags().StringVar(&state, "state", "/var/lib/triad", "folder of ledgers")
	return c
}

// kafkaFromPod is how a pod reaches the brokers: as Fluentd is told to in the same namespace.
func kafkaFromPod() (brokers []string, opts []kgo.Opt, err error) {
	for _, v := range []string{"KAFKA_BROKERS", "KAFKA_USERNAME", "KAFKA_PASSWORD"} {
		if os.Getenv(v) == "" {
			return nil, nil, fmt.Errorf("%s is not set", v)
		}
	}
	pool, err := authority("/etc/triad/kafka/ca.crt")
	if err != nil {
		return nil, nil, err
	}
	return strings.Split(os.Getenv("KAFKA_BROKERS"), ","), []kgo.Opt{
		// A broker that starts accepts connections many seconds before it answers on them.
		kgo.DialTimeout(3 * time.Second),
		kgo.DialTLSConfig(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}),
		kgo.SASL(scram.Auth{User: os.Getenv("KAFKA_USERNAME"), Pass: os.Getenv("KAFKA_PASSWORD")}.AsSha512Mechanism()),
	}, nil
}
