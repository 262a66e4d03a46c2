package brokers

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"triad/internal/model/jmx"
)

// Config describes the cluster. Zero values mean the defaults of Kafka 4.x, except where a comment says otherwise.
type Config struct {
	// Nodes is the number of brokers, 1 to 32; 0 means 3. Node ids are 0 to Nodes-1.
	Nodes int
	// Controllers is the number of dedicated controllers. 0 means combined mode: every broker is a voter of the quorum,
	// and with most of them dead nothing is fenced and no in-sync set shrinks. Dedicated controllers never fail here.
	Controllers int
	// Topics exist from the start.
	Topics []Topic

	// SessionTimeout is broker.session.timeout.ms (9 s): a silent broker is fenced this long after its last heartbeat.
	SessionTimeout time.Duration
	// HeartbeatInterval is broker.heartbeat.interval.ms (2 s). It must not be longer than SessionTimeout.
	HeartbeatInterval time.Duration
	// ReplicaLagMax is replica.lag.time.max.ms (30 s): a leader takes a silent follower out of the in-sync set after it.
	ReplicaLagMax time.Duration
	// FetchTimeout is controller.quorum.fetch.timeout.ms (2 s): voters look for a new controller after it.
	FetchTimeout time.Duration
	// ElectionTimeout is controller.quorum.election.timeout.ms (1 s).
	ElectionTimeout time.Duration
	// ImbalanceInterval is leader.imbalance.check.interval.seconds (300 s).
	ImbalanceInterval time.Duration
	// NoAutoRebalance is auto.leader.rebalance.enable=false.
	NoAutoRebalance bool

	// MinISR is min.insync.replicas of the brokers (1), for topics that do not set their own.
	MinISR int
	// DefaultReplicas is default.replication.factor. 0 means the smaller of 3 and Nodes; Kafka's own default is 1.
	DefaultReplicas int
	// DefaultPartitions is num.partitions (1).
	DefaultPartitions int
	// AutoCreate is auto.create.topics.enable. The zero value is false; Kafka's default is true.
	AutoCreate bool
	// OffsetsPartitions and OffsetsReplicas are offsets.topic.num.partitions (50) and .replication.factor (3, at most
	// Nodes); TxnPartitions, TxnReplicas and TxnMinISR the same for transaction.state.log (50, 3, 2).
	OffsetsPartitions, OffsetsReplicas    int
	TxnPartitions, TxnReplicas, TxnMinISR int
	// OffsetsCommitTimeout is offsets.commit.timeout.ms (5 s).
	OffsetsCommitTimeout time.Duration
	// GroupDelay is group.initial.rebalance.delay.ms (3 s): the first member of an empty group waits this long for others.
	// Negative is none. Which groups it is applied to: groups.go.
	GroupDelay time.Duration

	// StartTime is the time from the start of a broker's process until it takes part in the quorum (5.5 s: with what follows
	// until it is unfenced, a broker was ready after 6 to 11 s). It is the machine's speed and no property of Kafka. In a
	// pod the restart by the kubelet comes on top, and is the caller's.
	StartTime time.Duration
	// CatchUpRate is how fast a returning broker copies what it missed, bytes/s (50 MiB/s: an assumption about one
	// replica fetcher on one disk; nothing else in this package depends on bytes).
	CatchUpRate float64
	// RetentionCheck is log.retention.check.interval.ms (5 min).
	RetentionCheck time.Duration
	// BrokerConfig holds further broker settings that kfake honours, for example log.retention.ms.
	BrokerConfig map[string]string

	// Exporter is the configuration of the JMX exporter; without rules the usual names are given.
	Exporter jmx.Rules

	// Authenticate makes clients log in with SASL as one of Users.
	Authenticate bool
	// Authorize makes the ACLs of Users count; it needs Authenticate.
	Authorize bool
	// Users are the principals.
	Users []User
	// Encrypt makes the listeners TLS; see Options.TLS.
	Encrypt bool
}

// Topic is one topic.
type Topic struct {
	Name       string
	Partitions int               // 0 means Config.DefaultPartitions
	Replicas   int               // 0 means Config.DefaultReplicas
	MinISR     int               // 0 means min.insync.replicas of Config, else of the brokers
	Config     map[string]string // topic settings; those kfake does not know are an error of New
}

// User is one SASL principal.
type User struct {
	Name      string
	Mechanism string // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty means SCRAM-SHA-512
	Password  string // empty: one is generated from the seed, see Cluster.Password
	Super     bool   // not subject to ACLs
	ACLs      []ACL
}

// ACL allows (or denies) operations on one resource to the user that it belongs to.
type ACL struct {
	Resource   string // topic, group, cluster or transactionalId
	Name       string // name or prefix; "*" is every one
	Prefix     bool
	Operations []string // Read, Write, Create, Describe, IdempotentWrite, ..., All
	Deny       bool
}

// Options are the things that do not come from manifests.
type Options struct {
	// Dir is the folder of the logs, which must be new: kfake would take up what it finds. Empty: the logs are in memory.
	Dir string
	// Listen opens the sockets; nil means net.Listen. It is always asked for an address on 127.0.0.1.
	Listen func(network, addr string) (net.Listener, error)
	// Logger receives kfake's and the model's log lines; nil discards them.
	Logger *slog.Logger
	// Seed fixes heartbeat phases, election winners and times, and replica placement.
	Seed uint64
	// Ports are the brokers' ports; empty means free ones, which a broker keeps over restarts.
	Ports []int
	// TLS is the server side used when Config.Encrypt is set; nil means a certificate made for this cluster, whose
	// authority is Cluster.CA.
	TLS *tls.Config
	// OnEvent is told what happens. It runs with the cluster locked: it must return at once and must not call it.
	OnEvent func(Event)
}

// Event is one thing that happened to a broker, for evidence.
type Event struct {
	Time   time.Time
	Broker int // -1 when it is about no broker
	What   What
	Detail string // for people
}

// withDefaults returns c with every zero value replaced.
func (c Config) withDefaults() Config {
	dur := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	num := func(n *int, def int) {
		if *n == 0 {
			*n = def
		}
	}
	num(&c.Nodes, 3)
	dur(&c.SessionTimeout, 9*time.Second)
	dur(&c.HeartbeatInterval, 2*time.Second)
	dur(&c.ReplicaLagMax, 30*time.Second)
	dur(&c.FetchTimeout, 2*time.Second)
	dur(&c.ElectionTimeout, time.Second)
	dur(&c.ImbalanceInterval, 300*time.Second)
	dur(&c.OffsetsCommitTimeout, 5*time.Second)
	dur(&c.GroupDelay, 3*time.Second)
	dur(&c.StartTime, 5500*time.Millisecond)
	dur(&c.RetentionCheck, 5*time.Minute)
	num(&c.MinISR, 1)
	num(&c.DefaultReplicas, min(3, c.Nodes))
	num(&c.DefaultPartitions, 1)
	num(&c.OffsetsPartitions, 50)
	num(&c.OffsetsReplicas, 3)
	num(&c.TxnPartitions, 50)
	num(&c.TxnReplicas, 3)
	num(&c.TxnMinISR, 2)
	c.OffsetsReplicas = min(c.OffsetsReplicas, c.Nodes)
	c.TxnReplicas = min(c.TxnReplicas, c.Nodes)
	if c.CatchUpRate == 0 {
		c.CatchUpRate = 50 << 20
	}
	topics := make([]Topic, len(c.Topics))
	for i, t := range c.Topics {
		num(&t.Partitions, c.DefaultPartitions)
		num(&t.Replicas, c.DefaultReplicas)
		t.Config = maps.Clone(t.Config)
		if t.MinISR == 0 {
			t.MinISR = c.MinISR
			if n, err := strconv.Atoi(t.Config["min.insync.replicas"]); err == nil {
				t.MinISR = n
			}
		}
		topics[i] = t
	}
	c.Topics = topics
	return c
}

// validate reports every fault of a configuration whose defaults are set.
func (c Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Nodes < 1 || c.Nodes > 32 {
		bad("nodes %d: must be 1 to 32", c.Nodes)
	}
	if c.Controllers < 0 {
		bad("controllers %d: must not be negative", c.Controllers)
	}
	for name, d := range map[string]time.Duration{
		"session timeout": c.SessionTimeout, "heartbeat interval": c.HeartbeatInterval, "replica lag": c.ReplicaLagMax,
		"fetch timeout": c.FetchTimeout, "election timeout": c.ElectionTimeout, "imbalance interval": c.ImbalanceInterval,
		"start time": c.StartTime, "retention check": c.RetentionCheck, "offsets commit timeout": c.OffsetsCommitTimeout,
	} {
		if d < 0 {
			bad("%s %s: must be > 0", name, d)
		}
	}
	if c.HeartbeatInterval > c.SessionTimeout {
		bad("heartbeat interval %s: must not be longer than the session timeout %s", c.HeartbeatInterval, c.SessionTimeout)
	}
	if c.CatchUpRate <= 0 {
		bad("catch-up rate %g: must be > 0 bytes/s", c.CatchUpRate)
	}
	if c.Authorize && !c.Authenticate {
		bad("authorization without authentication: clients have no names")
	}
	seen := map[string]bool{}
	for _, t := range c.Topics {
		switch {
		case t.Name == "":
			bad("topic without a name")
		case seen[t.Name]:
			bad("topic %s: declared twice", t.Name)
		case t.Partitions < 1:
			bad("topic %s: %d partitions: must be >= 1", t.Name, t.Partitions)
		case t.Replicas < 1 || t.Replicas > c.Nodes:
			bad("topic %s: %d replicas on %d brokers", t.Name, t.Replicas, c.Nodes)
		}
		seen[t.Name] = true
		for k := range t.Config {
			if k != "min.insync.replicas" && !slices.Contains(topicSettings, k) {
				bad("topic %s: setting %s is not honoured by the fake brokers", t.Name, k)
			}
		}
	}
	users := map[string]bool{}
	for _, u := range c.Users {
		if u.Name == "" || u.Name == internalUser || users[u.Name] {
			bad("user %q: empty, reserved or declared twice", u.Name)
		}
		users[u.Name] = true
	}
	return errors.Join(errs...)
}
