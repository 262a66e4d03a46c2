package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"triad/internal/observe/agent"
	"triad/internal/observe/elastic"
)

func (a *app) observerCommand() *cobra.Command {
	var listen, state string
	var store bool
	c := &cobra.Command{
		Use:   "observer",
		Short: "Read Kafka or the store for a harness elsewhere: what runs in the observers' pods",
		Long: `Read Kafka or the store for a harness elsewhere: what runs in the observers' pods.

Waits for a plan on its control port, then reads the partitions that are its own and
keeps what it sees below --state, until it is told to stop. /ready, /status, POST /open,
POST /run, POST /stop, /evidence. The brokers are those of KAFKA_BROKERS, with
KAFKA_USERNAME, KAFKA_PASSWORD and /etc/triad/kafka/ca.crt.

With --store it reads slices of the store at the end of a run: POST /read. The store is
that of ELASTICSEARCH_URL, and where that begins with https with ELASTICSEARCH_USERNAME,
ELASTICSEARCH_PASSWORD and /etc/triad/elasticsearch/ca.crt.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg := agent.Config{State: state, Logger: slog.New(slog.NewTextHandler(a.stderr, nil))}
			var err error
			if store {
				cfg.Store, err = storeFromPod()
			} else {
				cfg.Brokers, cfg.Opts, err = kafkaFromPod()
			}
			if err != nil {
				return usage(err)
			}
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
	c.Flags().BoolVar(&store, "store", false, "read the store, not Kafka")
	c.Flags().StringVar(&listen, "listen", ":9400", "address of the control port")
	c.Flags().StringVar(&state, "state", "/var/lib/triad", "folder of what was seen")
	return c
}

// storeFromPod is how a pod reaches the store beside it.
func storeFromPod() (elastic.Access, error) {
	a := elastic.Access{URL: os.Getenv("ELASTICSEARCH_URL"), Username: os.Getenv("ELASTICSEARCH_USERNAME"), Password: os.Getenv("ELASTICSEARCH_PASSWORD")}
	switch {
	case a.URL == "":
		return a, errors.New("ELASTICSEARCH_URL is not set")
	case !strings.HasPrefix(a.URL, "https:"):
		return a, nil
	case a.Username == "" || a.Password == "":
		return a, errors.New("ELASTICSEARCH_USERNAME and ELASTICSEARCH_PASSWORD are not set")
	}
	pool, err := authority("/etc/triad/elasticsearch/ca.crt")
	a.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	return a, err
}

// authority reads the certificates that a pod trusts.
func authority(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", path)
	}
	return pool, nil
}

// told is the end of a program that serves until it is told to stop. It is no success: to a Job a pod that was evicted would be one that is
// done, and would not come again.
func told(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return &exitError{code: exitInterrupted, err: errInterrupted, silent: true}
}
