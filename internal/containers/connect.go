//go:build !embedded_only

package containers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
)

const (
	restPort    = "8083/tcp"
	metricsPort = "9404/tcp"
)

// Connect is one real distributed worker, a process in a container that outlives it.
type Connect struct {
	URL     string // of its REST interface
	Metrics string // of its JMX exporter
	*Container
}

// StartConnect brings up a worker on the brokers' network, with the JMX exporter under the given rules, and waits until its
// REST interface answers. Settings are laid over those of manifests/base/monitoring/connect.yaml that matter here.
func StartConnect(tb testing.TB, k *Kafka, rules string, settings map[string]string) *Connect {
	tb.Helper()
	image := Image(tb, "kafka-connect")
	replicas := fmt.Sprint(min(3, len(k.Nodes)))
	all := map[string]string{
		"bootstrap.servers": k.Bootstrap(), "group.id": "triad-connect", "listeners": "http://0.0.0.0:8083", "plugin.path": "/opt/kafka/plugins",
		"rest.advertised.host.name": "connect", "config.storage.topic": "triad-connect-configs", "offset.storage.topic": "triad-connect-offsets",
		"status.storage.topic": "triad-connect-status", "config.storage.replication.factor": replicas, "offset.storage.replication.factor": replicas,
		"status.storage.replication.factor": replicas, "offset.storage.partitions": "3", "status.storage.partitions": "1",
		"key.converter": "org.apache.kafka.connect.storage.StringConverter", "value.converter": "org.apache.kafka.connect.json.JsonConverter",
		"value.converter.schemas.enable": "false", "consumer.session.timeout.ms": "10000", "consumer.heartbeat.interval.ms": "3000",
		"offset.flush.interval.ms": "1000",
	}
	maps.Copy(all, settings)
	var file strings.Builder
	for _, key := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&file, "%s=%s\n", key, all[key])
	}
	c := &Connect{}
	c.Container = Run(tb, testcontainers.ContainerRequest{
		Image: image, Entrypoint: []string{"tini", "--", "sleep", "infinity"}, ExposedPorts: []string{restPort, metricsPort},
		Networks: []string{k.Network}, NetworkAliases: map[string][]string{k.Network: {"connect"}},
	})
	for name, text := range map[string]string{"/tmp/connect.properties": file.String(), "/tmp/metrics.yaml": rules} {
		if err := c.CopyToContainer(tb.Context(), []byte(text), name, 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	c.URL, c.Metrics = "http://"+c.Addr(restPort), "http://"+c.Addr(metricsPort)+"/metrics"
	tb.Cleanup(func() {
		if tb.Failed() {
			out, _ := c.Try("tail -n 60 /tmp/connect.out")
			tb.Logf("log of the worker:\n%s", out)
		}
	})
	c.Start()
	return c
}

// Start begins the worker's process and waits until it answers.
func (c *Connect) Start() {
	c.tb.Helper()
	c.Shell(`java -Xmx384m -XX:+UseSerialGC -Djava.awt.headless=true -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.properties ` +
		`-javaagent:/opt/prometheus-jmx-exporter/jmx_prometheus_javaagent.jar=9404:/tmp/metrics.yaml -cp '/opt/kafka/libs/*' ` +
		`org.apache.kafka.connect.cli.ConnectDistributed /tmp/connect.properties >>/tmp/connect.out 2>&1 </dev/null &`)
	Eventually(c.tb, 3*time.Minute, "connect", func(ctx context.Context) error {
		status, answer, err := Do(ctx, http.MethodGet, c.URL+"/connectors", "")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("HTTP %d: %s", status, answer)
		}
		return err
	})
}

// Put makes or changes a connector.
func (c *Connect) Put(name string, config map[string]string) {
	c.tb.Helper()
	body, err := json.Marshal(config)
	if err != nil {
		c.tb.Fatal(err)
	}
	Eventually(c.tb, time.Minute, "connector "+name, func(ctx context.Context) error {
		status, answer, err := Do(ctx, http.MethodPut, c.URL+"/connectors/"+name+"/config", string(body))
		if err == nil && status >= 300 {
			err = fmt.Errorf("HTTP %d: %s", status, answer) // 409 while the worker joins its group
		}
		return err
	})
}
