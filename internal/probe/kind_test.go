//go:build !embedded_only

package probe_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"triad/internal/images"
	"triad/internal/manifests"
	"triad/internal/probe"
)

// broker is one real Kafka broker in a container: SCRAM over a plain connection, Kafka's own authorizer.
type broker struct{ addr string }

const (
	adminUser    = "admin"
	userPassword = "password-of-"
)

func (b broker) KafkaAs(user, password string) ([]string, []kgo.Opt, error) {
	// It names itself by an address inside of the container; the way there is one mapped port.
	opts := []kgo.Opt{kgo.Dialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, b.addr)
	})}
	if user != "" {
		opts = append(opts, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()))
	}
	return []string{b.addr}, opts, nil
}

func (broker) KafkaPassword(_ context.Context, user string) (string, error) {
	return userPassword + user, nil
}

const brokerScript = `set -eu
cat > /tmp/broker.properties <<'END'
process.roles=broker,controller
node.id=0
controller.quorum.voters=0@localhost:9093
listeners=CLIENT://:9092,CONTROLLER://localhost:9093
advertised.listeners=CLIENT://localhost:9092
listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENT
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.client.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="admin" password="password-of-admin";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
auto.create.topics.enable=false
log.cleaner.dedupe.buffer.size=8388608
log.dirs=/tmp/broker-log
END
export KAFKA_HEAP_OPTS='-Xms256m -Xmx256m' LOG_DIR=/tmp
/opt/kafka/bin/kafka-storage.sh format -t 5L6g3nShT-eMCtK--X86sw -c /tmp/broker.properties --add-scram 'SCRAM-SHA-512=[name=admin,password=password-of-admin]'
exec /opt/kafka/bin/kafka-run-class.sh kafka.Kafka /tmp/broker.properties
`

// startBroker runs the broker of the image set, with the declared topics, users and rules.
func startBroker(t *testing.T, d probe.Declared) broker {
	t.Helper()
	if os.Getenv("TRIAD_KIND_TESTS") == "" {
		t.Skip("TRIAD_KIND_TESTS is not set: no container is started")
	}
	e, _, err := images.FindEngine(t.Context())
	if err != nil {
		t.Skip(err)
	}
	file := os.Getenv("TRIAD_IMAGES")
	if file == "" {
		t.Skip("TRIAD_IMAGES is not set: no image of Kafka is known to be here")
	}
	set, err := manifests.LoadImageSet(file)
	if err != nil {
		t.Fatal(err)
	}
	image := set.Images["kafka"]
	if image == "" {
		t.Skip("the image set has no kafka")
	}
	id, err := e.Run(t.Context(), "run", "-d", "-p", "127.0.0.1::9092", "--entrypoint", "sh", image, "-c", brokerScript)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if t.Failed() {
			logs, _ := e.Run(ctx, "logs", "--tail", "30", id)
			t.Log(logs)
		}
		if _, err := e.Run(ctx, "rm", "-f", id); err != nil {
			t.Error(err)
		}
	})
	port, err := e.Run(t.Context(), "port", id, "9092/tcp")
	if err != nil {
		t.Fatal(err)
	}
	b := broker{addr: strings.TrimSpace(strings.Split(port, "\n")[0])}
	b.fill(t, d)
	return b
}

func (b broker) admin(t *testing.T) *kgo.Client {
	t.Helper()
	_, opts, err := b.KafkaAs(adminUser, userPassword+adminUser)
	if err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.addr))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// fill makes what the operator would make of the manifests.
func (b broker) fill(t *testing.T, d probe.Declared) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cl := b.admin(t)
	for cl.Ping(ctx) != nil {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			t.Fatal("the broker does not come up")
		}
	}
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopics(ctx, 2, 1, nil, d.Topics...); err != nil {
		t.Fatal(err)
	}
	var users []kadm.UpsertSCRAM
	for _, p := range d.Principals {
		users = append(users, kadm.UpsertSCRAM{User: p.Name, Mechanism: kadm.ScramSha512, Iterations: 4096, Password: userPassword + p.Name})
		for _, r := range p.Rules {
			b.allow(t, cl, p.Name, r)
		}
	}
	altered, err := adm.AlterUserSCRAMs(ctx, nil, users)
	if err == nil {
		err = altered.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// allow makes one rule.
func (b broker) allow(t *testing.T, cl *kgo.Client, user string, r probe.Rule) {
	t.Helper()
	types := map[string]kmsg.ACLResourceType{"topic": kmsg.ACLResourceTypeTopic, "group": kmsg.ACLResourceTypeGroup, "cluster": kmsg.ACLResourceTypeCluster}
	req := kmsg.NewPtrCreateACLsRequest()
	for _, op := range r.Operations {
		code, err := kmsg.ParseACLOperation(op)
		if err != nil {
			t.Fatal(err)
		}
		c := kmsg.NewCreateACLsRequestCreation()
		c.ResourceType, c.ResourceName, c.ResourcePatternType = types[r.Type], r.Name, kmsg.ACLResourcePatternTypeLiteral
		if r.Prefix {
			c.ResourcePatternType = kmsg.ACLResourcePatternTypePrefixed
		}
		if r.Type == "cluster" {
			c.ResourceName = "kafka-cluster"
		}
		c.Principal, c.Host, c.Operation, c.PermissionType = "User:"+user, "*", code, kmsg.ACLPermissionTypeAllow
		req.Creations = append(req.Creations, c)
	}
	resp, err := req.RequestWith(t.Context(), cl)
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range resp.Results {
		if err := kerr.ErrorForCode(res.ErrorCode); err != nil {
			t.Fatalf("rule %+v of %s: %v", r, user, err)
		}
	}
}

// TestKindRealBroker: the real broker answers the probes as they expect: it authorizes first, the declared rights come out as
// declared, one too many and one too few are found, and nothing is written.
func TestKindRealBroker(t *testing.T) {
	d, _ := declared(t)
	b := startBroker(t, d)
	cl := b.admin(t)
	sum := func() map[string]int64 {
		out := map[string]int64{}
		for _, topic := range d.Topics {
			n, err := ends(t.Context(), cl, topic)
			if err != nil {
				t.Fatal(err)
			}
			out[topic] = n
		}
		return out
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "service-topic", Value: []byte("a record that nobody may disturb")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	before := sum()
	results := probe.Brokers(t.Context(), b, d)
	if w := wrong(results); len(w) > 0 {
		t.Errorf("not as declared:\n%s", strings.Join(w, "\n"))
	}
	said := map[string]int{}
	for _, r := range results {
		said[fmt.Sprintf("%s %s: %s", r.Attrs["method"], r.State, r.Detail)]++
	}
	for _, k := range slices.Sorted(maps.Keys(said)) {
		t.Logf("%4d %s", said[k], k)
	}
	if diff := cmp.Diff(before, sum()); diff != "" {
		t.Errorf("the probe wrote: %s", diff)
	}
	groups, err := kadm.NewClient(cl).ListGroups(t.Context())
	if err != nil || len(groups) > 0 {
		t.Errorf("groups behind the probe: %v, %v", groups.Groups(), err)
	}

	b.allow(t, cl, "fluentd", probe.Rule{Type: "topic", Name: "system-auth-topic", Operations: []string{"Read"}})
	b.allow(t, cl, "mallory", probe.Rule{Type: "group", Name: "triad-", Prefix: true, Operations: []string{"Delete"}})
	missing := d
	missing.Principals = slices.Clone(d.Principals)
	for i, p := range missing.Principals {
		if p.Name == "canary" { // declared, and never made
			missing.Principals[i].Rules = append(slices.Clone(p.Rules), probe.Rule{Type: "group", Name: "triad-connect", Operations: []string{"Read"}})
		}
	}
	want := []string{
		"canary->group/triad-connect:Describe closed", "canary->group/triad-connect:Read closed",
		"fluentd->topic/system-auth-topic:Read open",
		"rule User:canary may Read group literal triad-connect closed",
		"rule User:fluentd may Read topic literal system-auth-topic open",
		"rule User:mallory may Delete group prefix triad- open",
	}
	if diff := cmp.Diff(want, wrong(probe.Brokers(t.Context(), b, missing))); diff != "" {
		t.Error(diff)
	}
}
