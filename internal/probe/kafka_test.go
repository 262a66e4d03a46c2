package probe_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"triad/internal/manifests"
	"triad/internal/model/brokers"
	"triad/internal/probe"
)

func declared(t *testing.T) (probe.Declared, manifests.Set) {
	t.Helper()
	set, err := manifests.Open(filepath.Join("..", "..", "manifests"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := probe.Read(set, "kind")
	if err != nil {
		t.Fatal(err)
	}
	return d, set
}

// system are real sockets, TLS, SCRAM and ACLs: the brokers of the embedded runtime, as the manifests declare them.
type system struct {
	c    *brokers.Cluster
	pool *x509.CertPool
}

func (s system) KafkaAs(user, password string) ([]string, []kgo.Opt, error) {
	opts := []kgo.Opt{kgo.DialTLSConfig(&tls.Config{RootCAs: s.pool, MinVersion: tls.VersionTLS12})}
	if user != "" {
		opts = append(opts, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()))
	}
	return s.c.Addrs(), opts, nil
}

func (s system) KafkaPassword(_ context.Context, user string) (string, error) {
	if p := s.c.Password(user); p != "" {
		return p, nil
	}
	return "", fmt.Errorf("principal %s: there is no such user", user)
}

// start runs the brokers of the manifests, changed by sabotage.
func start(t *testing.T, set manifests.Set, sabotage func(*brokers.Config)) system {
	t.Helper()
	all, err := set.RenderAll("kind", "observer")
	if err != nil {
		t.Fatal(err)
	}
	text, err := all["kafka"].ResourcesYAML("Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser", "ConfigMap")
	if err != nil {
		t.Fatal(err)
	}
	cfg, _, err := brokers.ParseStrimzi([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if sabotage != nil {
		sabotage(&cfg)
	}
	c, err := brokers.New(cfg, brokers.Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.WaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.CA()) {
		t.Fatal("no certificate authority")
	}
	return system{c, pool}
}

func user(t *testing.T, cfg *brokers.Config, name string) *brokers.User {
	t.Helper()
	for i := range cfg.Users {
		if cfg.Users[i].Name == name {
			return &cfg.Users[i]
		}
	}
	t.Fatalf("no user %s in the manifests", name)
	return nil
}

// wrong are the names and states of the results that are not as declared.
func wrong(results []probe.Result) []string {
	var out []string
	for _, r := range results {
		if !r.AsDeclared() {
			out = append(out, r.Name+" "+r.State)
		}
	}
	slices.Sort(out)
	return out
}

func find(t *testing.T, results []probe.Result, name string) probe.Result {
	t.Helper()
	i := slices.IndexFunc(results, func(r probe.Result) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("no result %q", name)
	}
	return results[i]
}

func offsets(t *testing.T, s system, topics []string) map[string]int64 {
	t.Helper()
	_, opts, err := s.KafkaAs("observer", s.c.Password("observer"))
	if err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(s.c.Addrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	out := map[string]int64{}
	for _, topic := range topics {
		n, err := ends(t.Context(), cl, topic)
		if err != nil {
			t.Fatal(err)
		}
		out[topic] = n
	}
	return out
}

// TestBrokersAsDeclared: the committed manifests give exactly the rights that they declare, every principal is asked for every
// operation, and nothing is left behind.
func TestBrokersAsDeclared(t *testing.T) {
	t.Parallel()
	d, set := declared(t)
	s := start(t, set, nil)
	before := offsets(t, s, d.Topics)
	results := probe.Brokers(t.Context(), s, d)
	if w := wrong(results); len(w) > 0 {
		t.Errorf("not as declared:\n%s", strings.Join(w, "\n"))
	}
	if diff := cmp.Diff(before, offsets(t, s, d.Topics)); diff != "" {
		t.Errorf("the probe changed a topic: %s", diff)
	}
	for _, p := range d.Principals {
		for _, topic := range append(slices.Clone(d.Topics), "__consumer_offsets", "triad-undeclared") {
			for _, op := range []string{"Describe", "Read", "Write"} {
				r := find(t, results, p.Name+"->topic/"+topic+":"+op)
				if r.Attrs["method"] != "exercised" || r.State != probe.Open && r.State != probe.Closed {
					t.Errorf("%s: %s by %s: %s", r.Name, r.State, r.Attrs["method"], r.Detail)
				}
			}
		}
		for _, op := range []string{"Describe", "Read"} {
			find(t, results, p.Name+"->group/triad-connect:"+op)
		}
	}
	// A few that must not depend on how the rules are read.
	for name, want := range map[string]string{
		"fluentd->topic/service-topic:Write":                  probe.Open,
		"fluentd->topic/service-topic:Read":                   probe.Closed,
		"fluentd->topic/canary-topic:Write":                   probe.Open,
		"fluentd->topic/dead-letter-topic:Describe":           probe.Closed,
		"connect->topic/system-auth-topic:Read":               probe.Open,
		"connect->topic/system-auth-topic:Write":              probe.Closed,
		"connect->topic/dead-letter-topic:Write":              probe.Open,
		"connect->group/connect-logs-to-elasticsearch:Read":   probe.Open,
		"connect->group/canary-probe:Read":                    probe.Closed,
		"canary->topic/service-topic:Read":                    probe.Closed,
		"canary->group/canary-probe:Read":                     probe.Open,
		"canary->group/triad-undeclared:Read":                 probe.Closed,
		"observer->topic/__consumer_offsets:Read":             probe.Open,
		"observer->topic/service-topic:Write":                 probe.Closed,
		"observer->cluster/kafka:Describe":                    probe.Open,
		"connect->cluster/kafka:Describe":                     probe.Closed,
		"connect->topic/triad-connect-status:DescribeConfigs": probe.Open,
		"fluentd->topic/service-topic:Delete":                 probe.Closed,
		"unknown principal->kafka:login":                      probe.Closed,
		"canary with a wrong password->kafka:login":           probe.Closed,
		"no login->kafka:login":                               probe.Closed,
		"rules that are not declared":                         probe.Closed,
	} {
		if r := find(t, results, name); r.State != want {
			t.Errorf("%s is %s, want %s: %s", name, r.State, want, r.Detail)
		}
	}
	for _, r := range results {
		if r.Harness != (strings.HasPrefix(r.Name, "observer->") || strings.HasPrefix(r.Name, "rules ")) {
			t.Errorf("%s: harness %v", r.Name, r.Harness)
		}
	}
}

// TestSabotagedBrokers: what is wrong in the brokers is found, under its name, and nothing else is.
func TestSabotagedBrokers(t *testing.T) {
	t.Parallel()
	d, set := declared(t)
	cases := []struct {
		name     string
		sabotage func(t *testing.T, c *brokers.Config)
		want     []string
	}{
		{"one right too many", func(t *testing.T, c *brokers.Config) {
			u := user(t, c, "fluentd")
			u.ACLs = append(u.ACLs, brokers.ACL{Resource: "topic", Name: "system-auth-topic", Operations: []string{"Read"}})
		}, []string{"fluentd->topic/system-auth-topic:Read open", "rule User:fluentd may Read topic literal system-auth-topic open"}},
		{"one right missing", func(t *testing.T, c *brokers.Config) {
			u := user(t, c, "connect")
			u.ACLs = slices.DeleteFunc(u.ACLs, func(a brokers.ACL) bool { return a.Name == "service-topic" })
		}, []string{
			"connect->topic/service-topic:Describe closed", "connect->topic/service-topic:Read closed",
			"rule User:connect may Describe topic literal service-topic closed", "rule User:connect may Read topic literal service-topic closed",
		}},
		{"a prefix instead of a name", func(t *testing.T, c *brokers.Config) {
			u := user(t, c, "canary")
			for i := range u.ACLs {
				if u.ACLs[i].Name == "canary-" {
					u.ACLs[i].Name = ""
					u.ACLs[i].Name, u.ACLs[i].Prefix = "*", false
				}
			}
		}, []string{
			"canary->group/connect-logs-to-elasticsearch:Describe open", "canary->group/connect-logs-to-elasticsearch:Read open",
			"canary->group/triad-connect:Describe open", "canary->group/triad-connect:Read open",
			"canary->group/triad-undeclared:Describe open", "canary->group/triad-undeclared:Read open",
			"rule User:canary may Read group literal * open", "rule User:canary may Read group prefix canary- closed",
		}},
		{"a principal that nobody declared", func(_ *testing.T, c *brokers.Config) {
			c.Users = append(c.Users, brokers.User{Name: "mallory", ACLs: []brokers.ACL{{Resource: "topic", Name: "*", Operations: []string{"All"}}}})
		}, []string{"rule User:mallory may All topic literal * open"}},
		{"a declared principal that is not there", func(_ *testing.T, c *brokers.Config) {
			c.Users = slices.DeleteFunc(c.Users, func(u brokers.User) bool { return u.Name == "canary" })
		}, []string{
			"canary->kafka:login unknown",
			"rule User:canary may Describe topic literal canary-topic closed", "rule User:canary may DescribeConfigs topic literal canary-topic closed",
			"rule User:canary may Read group prefix canary- closed",
			"rule User:canary may Read topic literal canary-topic closed", "rule User:canary may Write topic literal canary-topic closed",
		}},
		{"a right to alter", func(t *testing.T, c *brokers.Config) {
			u := user(t, c, "connect")
			u.ACLs = append(u.ACLs, brokers.ACL{Resource: "topic", Name: "service-topic", Operations: []string{"Delete"}})
		}, []string{"connect->topic/service-topic:Delete open", "rule User:connect may Delete topic literal service-topic open"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, set, func(cfg *brokers.Config) { c.sabotage(t, cfg) })
			if diff := cmp.Diff(c.want, wrong(probe.Brokers(t.Context(), s, d))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestOpenBrokers: brokers that authorize nobody fail on every undeclared right, and brokers that let anybody in on the login.
func TestOpenBrokers(t *testing.T) {
	t.Parallel()
	d, set := declared(t)
	s := start(t, set, func(c *brokers.Config) { c.Authorize = false })
	results := probe.Brokers(t.Context(), s, d)
	for _, r := range results {
		if r.Attrs["method"] == "exercised" && r.State != probe.Open {
			t.Errorf("%s is %s on brokers without authorization: %s", r.Name, r.State, r.Detail)
		}
	}
	if len(wrong(results)) < 50 {
		t.Errorf("only %d wrong results", len(wrong(results)))
	}
	s = start(t, set, func(c *brokers.Config) { c.Authorize, c.Authenticate = false, false })
	got := find(t, probe.Brokers(t.Context(), noLogin{s}, d), "no login->kafka:login")
	if got.State != probe.Open || got.AsDeclared() {
		t.Errorf("login without a name on open brokers: %s: %s", got.State, got.Detail)
	}
}

// noLogin leaves the login out for declared principals: brokers without authentication do not know the request.
type noLogin struct{ system }

func (n noLogin) KafkaAs(string, string) ([]string, []kgo.Opt, error) {
	return n.system.KafkaAs("", "")
}

func (n noLogin) KafkaPassword(context.Context, string) (string, error) { return "any", nil }

// TestUnreachableBrokers: brokers that are away are no proof that strangers are kept out.
func TestUnreachableBrokers(t *testing.T) {
	t.Parallel()
	d, set := declared(t)
	s := start(t, set, nil)
	s.c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, r := range probe.Brokers(ctx, s, d) {
		if r.State != probe.Unknown {
			t.Errorf("%s is %s with no broker there: %s", r.Name, r.State, r.Detail)
		}
	}
}
