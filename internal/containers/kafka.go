//go:build !embedded_only

package containers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	mobynet "github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

// Ports inside a broker's container.
const (
	internalPort   = "9092/tcp" // other containers, by the node's name
	controllerPort = "9093/tcp"
	clientPort     = "9094/tcp" // the host, by a fixed port
)

// clusterID is any valid one; the storage is the test's own.
const clusterID = "dHJpYWQtdGltZWxpbmVzMA"

// KafkaConfig describes a cluster of combined nodes.
type KafkaConfig struct {
	Nodes    int               // 1 or more
	Network  string            // empty: one of its own
	Settings map[string]string // server settings beyond listeners and quorum
}

// Kafka is a cluster of KRaft brokers, each a process in a container of its own that outlives it: what a kill leaves is
// what it leaves in a pod, a network namespace that answers with refusals, and a disk.
type Kafka struct {
	Nodes   []*Node
	Network string
	Image   string
	Version string
}

// Node is one broker and controller.
type Node struct {
	ID         int
	Client     string // address of the client listener on the host
	Controller string // of the controller listener
	Name       string // in the network; its listener for other containers is Name:9092
	c          *Container
}

// StartKafka brings up a cluster and waits until every broker answers.
func StartKafka(tb testing.TB, cfg KafkaConfig) *Kafka {
	tb.Helper()
	k := &Kafka{Image: Image(tb, "kafka"), Network: cfg.Network}
	if k.Network == "" {
		k.Network = Network(tb)
	}
	var voters []string
	for id := range cfg.Nodes {
		voters = append(voters, fmt.Sprintf("%d@broker-%d:9093", id, id))
	}
	for id := range cfg.Nodes {
		k.Nodes = append(k.Nodes, startNode(tb, k, cfg, id, strings.Join(voters, ",")))
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			for _, n := range k.Nodes {
				tb.Logf("log of %s:\n%s", n.Name, n.Log())
			}
		}
	})
	var g errgroup.Group
	for _, n := range k.Nodes {
		g.Go(func() error { _, err := n.Start(); return err })
	}
	if err := g.Wait(); err != nil {
		tb.Fatal(err)
	}
	for _, n := range k.Nodes {
		Eventually(tb, 3*time.Minute, fmt.Sprintf("broker %d", n.ID), n.answers)
	}
	k.Version = k.Nodes[0].c.Shell(`for f in /opt/kafka/libs/kafka_*.jar /opt/kafka/libs/kafka-server-4*.jar; do [ -e "$f" ] && basename "$f" .jar && break; done | sed 's/.*-//'`)
	return k
}

// freePort is a port of the host that nobody has now. A broker must name its port before it has one, so the engine
// cannot choose it.
func freePort(tb testing.TB) int {
	tb.Helper()
	ln, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func startNode(tb testing.TB, k *Kafka, cfg KafkaConfig, id int, voters string) *Node {
	tb.Helper()
	port := freePort(tb)
	n := &Node{ID: id, Name: fmt.Sprintf("broker-%d", id)}
	n.c = Run(tb, testcontainers.ContainerRequest{
		Image: k.Image, Entrypoint: []string{"tini", "--", "sleep", "infinity"},
		Networks: []string{k.Network}, NetworkAliases: map[string][]string{k.Network: {n.Name}},
		ExposedPorts: []string{clientPort, controllerPort},
		HostConfigModifier: func(h *container.HostConfig) {
			h.PortBindings = mobynet.PortMap{mobynet.MustParsePort(clientPort): {{HostPort: strconv.Itoa(port)}}, mobynet.MustParsePort(controllerPort): {{}}}
		},
	})
	n.Client, n.Controller = n.c.Addr(clientPort), n.c.Addr(controllerPort)
	settings := map[string]string{
		"node.id": strconv.Itoa(id), "process.roles": "broker,controller", "controller.quorum.voters": voters,
		"listeners":                      "INTERNAL://:9092,CONTROLLER://:9093,CLIENT://:9094",
		"advertised.listeners":           fmt.Sprintf("INTERNAL://%s:9092,CLIENT://%s", n.Name, n.Client),
		"listener.security.protocol.map": "INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENT:PLAINTEXT",
		"controller.listener.names":      "CONTROLLER", "inter.broker.listener.name": "INTERNAL",
		"log.dirs": "/tmp/kafka-logs", "log.cleaner.dedupe.buffer.size": "16777216",
		"offsets.topic.replication.factor": strconv.Itoa(min(3, cfg.Nodes)), "transaction.state.log.replication.factor": strconv.Itoa(min(3, cfg.Nodes)),
		"offsets.topic.num.partitions": "12", "transaction.state.log.num.partitions": "3",
		"num.network.threads": "3", "num.io.threads": "4",
	}
	maps.Copy(settings, cfg.Settings)
	var file strings.Builder
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&file, "%s=%s\n", key, settings[key])
	}
	if err := n.c.CopyToContainer(tb.Context(), []byte(file.String()), "/tmp/server.properties", 0o644); err != nil {
		tb.Fatal(err)
	}
	n.c.Shell("java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*' kafka.tools.StorageTool format --cluster-id " + clusterID + " --config /tmp/server.properties")
	return n
}

// now prints the time in nanoseconds; the engine's clock is taken to be this machine's.
const now = `date +%s%N`

func nanos(out string, err error) (time.Time, error) {
	if err != nil {
		return time.Time{}, err
	}
	f := strings.Fields(out)
	if len(f) == 0 {
		return time.Time{}, errors.New("the script printed no time")
	}
	n, err := strconv.ParseInt(f[len(f)-1], 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("the script printed %q for a time", out)
	}
	return time.Unix(0, n), nil
}

// Start begins the broker's process and returns when it did.
func (n *Node) Start() (time.Time, error) {
	return nanos(n.c.Try(now + `; java -Xms256m -Xmx256m -XX:+UseSerialGC -Djava.awt.headless=true -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.properties -cp '/opt/kafka/libs/*' ` +
		`kafka.Kafka /tmp/server.properties >>/tmp/kafka.out 2>&1 </dev/null & echo $! >/tmp/kafka.pid`))
}

// Kill ends the process as kill -9 does and returns when.
func (n *Node) Kill() (time.Time, error) {
	return nanos(n.c.Try(`p=$(cat /tmp/kafka.pid); ` + now + `; kill -9 $p`))
}

// Stop asks the process to end in order, as the kubelet does, waits until it is gone and returns when both were, the
// second to within 20 ms.
func (n *Node) Stop() (began, ended time.Time, err error) {
	out, err := n.c.Try(`p=$(cat /tmp/kafka.pid); ` + now + `; kill -TERM $p; i=0; ` +
		`while [ -d /proc/$p ] && ! grep -q '^State:.Z' /proc/$p/status && [ $i -lt 2500 ]; do sleep 0.02; i=$((i+1)); done; [ $i -lt 2500 ] && ` + now)
	if ended, err = nanos(out, err); err != nil {
		return began, ended, err
	}
	began, err = nanos(strings.Fields(out)[0], nil)
	return began, ended, err
}

// Log is the end of the broker's log.
func (n *Node) Log() string {
	out, err := n.c.Try(`tail -n 15 /tmp/kafka.out`)
	if err != nil {
		return err.Error()
	}
	return out
}

// answers reports whether the broker answers clients and is a member of the cluster.
func (n *Node) answers(ctx context.Context) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(n.Client))
	if err != nil {
		return err
	}
	defer cl.Close()
	req := kmsg.NewPtrMetadataRequest()
	res, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for _, b := range res.Brokers {
		if int(b.NodeID) == n.ID {
			return nil
		}
	}
	return errors.New("not in the cluster")
}

// Addrs are the client addresses.
func (k *Kafka) Addrs() []string {
	var a []string
	for _, n := range k.Nodes {
		a = append(a, n.Client)
	}
	return a
}

// Bootstrap are the addresses for other containers of the network.
func (k *Kafka) Bootstrap() string {
	var a []string
	for _, n := range k.Nodes {
		a = append(a, n.Name+":9092")
	}
	return strings.Join(a, ",")
}
