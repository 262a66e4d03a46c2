package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"triad/internal/manifests"
	"triad/internal/probe"
	"triad/internal/scenario"
)

// The embedded runtime has brokers with logins and rights of their own; it has no network that could be open or closed.
var (
	_ probe.Declarer    = (*system)(nil)
	_ probe.KafkaProber = (*system)(nil)
	_ probe.Unavailable = (*system)(nil)
)

// Declared reads the manifests as they are committed, not as this run's settings changed them.
func (s *system) Declared() (probe.Declared, error) { return probe.Read(s.cfg.committed, overlay) }

// Manifests are those that the system was made from, as they are committed.
func (s *system) Manifests() manifests.Set { return s.cfg.committed }

// KafkaAs logs in to the brokers from outside.
func (s *system) KafkaAs(user, password string) ([]string, []kgo.Opt, error) {
	dial, err := s.kafkaDialer(s.net.outside(scenario.Kafka))
	if err != nil {
		return nil, nil, err
	}
	opts := []kgo.Opt{kgo.Dialer(dial)}
	if user != "" {
		opts = append(opts, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()))
	}
	return s.brokers.Addrs(), opts, nil
}

// KafkaPassword is the password of a principal of the manifests.
func (s *system) KafkaPassword(_ context.Context, user string) (string, error) {
	if user == "" || user == generator {
		return "", errors.New("no principal of the manifests")
	}
	p := s.brokers.Password(user)
	if p == "" {
		return "", fmt.Errorf("principal %s: the brokers do not know it", user)
	}
	return p, nil
}

// ProbeUnavailable says what cannot be probed in one process.
func (s *system) ProbeUnavailable(part string) string {
	switch part {
	case probe.Links:
		return "all clusters of the embedded runtime share one loopback interface: links between clusters need real clusters (--runtime kind)"
	case probe.Policies:
		return "the embedded runtime has no pods: network policies need a real cluster (--runtime kind)"
	}
	return ""
}
