package brokers

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// TestSecureFailover: TLS, SCRAM and ACLs stay in force when brokers die and come back.
func TestSecureFailover(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.Authenticate, cfg.Authorize, cfg.Encrypt = true, true, true
	cfg.Topics = append(cfg.Topics, Topic{Name: "forbidden"})
	cfg.Users = []User{{Name: "writer", ACLs: []ACL{
		{Resource: "topic", Name: "t", Operations: []string{"Write", "Describe"}},
	}}}
	c, _ := startCluster(t, cfg, Options{})
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.CA()) {
		t.Fatal("no certificate authority")
	}
	secure := func(password string) *kgo.Client {
		return client(t, c,
			kgo.DialTLSConfig(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}),
			kgo.SASL(scram.Auth{User: "writer", Pass: password}.AsSha512Mechanism()))
	}
	cl := secure(c.Password("writer"))
	ctx := ctxFor(t, 20*time.Second)
	write := func(topic string) error {
		return cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: 0, Value: []byte("x")}).FirstErr()
	}
	if err := write("t"); err != nil {
		t.Fatal(err)
	}
	kill(t, c, c.Leader("t", 0))
	if err := write("t"); err != nil {
		t.Fatalf("after a kill: %v", err)
	}
	if err := write("forbidden"); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("write to a forbidden topic: %v", err)
	}
	if err := secure("wrong").Ping(ctxFor(t, 500*time.Millisecond)); err == nil {
		t.Error("a wrong password was accepted")
	}
}
