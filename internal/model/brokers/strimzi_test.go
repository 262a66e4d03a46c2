package brokers

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"triad/internal/model/jmx"
)

const strimziStream = `apiVersion: kafka.strimzi.io/v1
kind: KafkaNodePool
metadata: {name: dual, labels: {strimzi.io/cluster: k}}
spec:
  replicas: 3
  roles: [controller, broker]
  storage: {type: ephemeral}
---
apiVersion: kafka.strimzi.io/v1
kind: Kafka
metadata: {name: k}
spec:
  kafka:
    version: 4.3.1
    listeners:
      - {name: plain, port: 9092, type: internal, tls: false}
      - {name: external, port: 9094, type: nodeport, tls: true, authentication: {type: scram-sha-512}}
    authorization: {type: simple, superUsers: [boss]}
    config:
      default.replication.factor: 3
      min.insync.replicas: 2
      auto.create.topics.enable: false
      broker.session.timeout.ms: 3000
      broker.heartbeat.interval.ms: 500
      leader.imbalance.check.interval.seconds: 30
      log.retention.hours: 2
      log.retention.minutes: 30
      num.io.threads: 4
      some.new.key: 1
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: other}
---
apiVersion: kafka.strimzi.io/v1
kind: KafkaTopic
metadata: {name: dead-letters}
spec: {topicName: dead.letters, partitions: 1, config: {retention.ms: 60000, flush.ms: 5}}
---
apiVersion: kafka.strimzi.io/v1
kind: KafkaUser
metadata: {name: boss}
spec:
  authentication: {type: scram-sha-512}
---
apiVersion: kafka.strimzi.io/v1
kind: KafkaUser
metadata: {name: connect}
spec:
  authentication: {type: scram-sha-512}
  authorization:
    type: simple
    acls:
      - {resource: {type: topic, name: dead, patternType: prefix}, operations: [Read, Describe]}
      - {resource: {type: cluster}, operations: [IdempotentWrite], type: deny}
  quotas: {consumerByteRate: 1}
`

func TestParseStrimzi(t *testing.T) {
	cfg, not, err := ParseStrimzi([]byte(strimziStream))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Nodes: 3, MinISR: 2, DefaultReplicas: 3, SessionTimeout: 3 * time.Second, HeartbeatInterval: 500 * time.Millisecond,
		ImbalanceInterval: 30 * time.Second, BrokerConfig: map[string]string{"log.retention.ms": "1800000"},
		Topics:       []Topic{{Name: "dead.letters", Partitions: 1, Config: map[string]string{"retention.ms": "60000"}}},
		Authenticate: true, Authorize: true, Encrypt: true,
		Users: []User{
			{Name: "boss", Mechanism: "SCRAM-SHA-512", Super: true},
			{Name: "connect", Mechanism: "SCRAM-SHA-512", ACLs: []ACL{
				{Resource: "topic", Name: "dead", Prefix: true, Operations: []string{"Read", "Describe"}},
				{Resource: "cluster", Operations: []string{"IdempotentWrite"}, Deny: true},
			}},
		},
	}
	if diff := cmp.Diff(want, cfg, cmpopts.IgnoreUnexported(jmx.Rules{})); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	var got []string
	for _, n := range not {
		got = append(got, n.File+" "+n.Key)
		if n.Line == 0 || n.Why == "" {
			t.Errorf("incomplete entry %+v", n)
		}
	}
	wantNot := []string{
		"KafkaNodePool/dual spec.storage", "Kafka/k spec.kafka.version", "Kafka/k spec.kafka.listeners.plain",
		"Kafka/k spec.kafka.config.num.io.threads", "Kafka/k spec.kafka.config.some.new.key",
		"KafkaTopic/dead-letters spec.config.flush.ms", "KafkaUser/connect spec.quotas",
	}
	if diff := cmp.Diff(wantNot, got); diff != "" {
		t.Errorf("not modelled (-want +got):\n%s", diff)
	}
	before, _, _ := strings.Cut(strimziStream, "num.io.threads")
	if want := strings.Count(before, "\n") + 1; not[3].Line != want {
		t.Errorf("line %d of %s, want %d", not[3].Line, not[3].Key, want)
	}
}

func TestParseStrimziRoles(t *testing.T) {
	stream := strings.Replace(strimziStream, "roles: [controller, broker]", "roles: [broker]", 1) +
		"---\napiVersion: kafka.strimzi.io/v1\nkind: KafkaNodePool\nmetadata: {name: c}\nspec: {replicas: 5, roles: [controller]}\n"
	cfg, _, err := ParseStrimzi([]byte(stream))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Nodes != 3 || cfg.Controllers != 5 {
		t.Errorf("%d brokers, %d controllers", cfg.Nodes, cfg.Controllers)
	}
}

func TestParseStrimziErrors(t *testing.T) {
	for name, tc := range map[string]struct{ old, new, want string }{
		"old API version":    {"kafka.strimzi.io/v1\nkind: KafkaTopic", "kafka.strimzi.io/v1beta2\nkind: KafkaTopic", "want kafka.strimzi.io/v1"},
		"no brokers":         {"roles: [controller, broker]", "roles: [controller]", "no KafkaNodePool"},
		"not a number":       {"broker.session.timeout.ms: 3000", "broker.session.timeout.ms: soon", "Kafka/k:23"},
		"too many replicas":  {"partitions: 1,", "partitions: 1, replicas: 5,", "5 replicas on 3 brokers"},
		"no kafka":           {"kind: Kafka\n", "kind: KafkaBridge\n", "0 Kafka resources"},
		"unknown operation":  {"[Read, Describe]", "[Reed]", `operation "Reed"`},
		"not YAML":           {"spec:\n  kafka:", "spec: [\n  kafka:", "strimzi resources"},
		"session < interval": {"broker.session.timeout.ms: 3000", "broker.session.timeout.ms: 300", "heartbeat interval"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(strimziStream, tc.old) {
				t.Fatalf("the case changes nothing")
			}
			_, _, err := ParseStrimzi([]byte(strings.Replace(strimziStream, tc.old, tc.new, 1)))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func FuzzParseStrimzi(f *testing.F) {
	f.Add([]byte(strimziStream))
	f.Add([]byte("a: [\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg, _, err := ParseStrimzi(b)
		if err != nil {
			return
		}
		if err := cfg.withDefaults().validate(); err != nil {
			t.Errorf("accepted a configuration that New refuses: %v", err)
		}
	})
}
