package brokers

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triad/internal/model/jmx"
)

// TestKnownBeans: what ParseStrimzi believes the model has is what a broker exports.
func TestKnownBeans(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.Topics = []Topic{{Name: "t", Partitions: 1}}
	c, _ := startCluster(t, cfg, Options{})
	kinds := func(beans []*jmx.Bean) (out []string) {
		for _, b := range beans {
			for _, a := range b.Attrs {
				out = append(out, fmt.Sprint(b.Domain, b.Props, a.Name))
			}
		}
		slices.Sort(out)
		return out
	}
	beans, _ := c.beans(c.Leader("t", 0))
	if diff := cmp.Diff(kinds(knownBeans()), kinds(beans)); diff != "" {
		t.Error(diff)
	}
}

func TestParseStrimziExporter(t *testing.T) {
	stream := strings.Replace(strimziStream, "    config:\n", `    metricsConfig:
      type: jmxPrometheusExporter
      valueFrom: {configMapKeyRef: {name: kafka-metrics, key: rules.yaml}}
    config:
`, 1) + `---
apiVersion: v1
kind: ConfigMap
metadata: {name: kafka-metrics}
data:
  rules.yaml: |
    lowercaseOutputName: true
    rules:
      - {pattern: 'kafka.server<type=ReplicaManager, name=(UnderMinIsrPartitionCount)><>Value', name: short_$1, type: GAUGE}
      - {pattern: 'kafka.network<type=RequestMetrics, name=(.+)><>Mean', name: absent_$1}
`
	cfg, not, err := ParseStrimzi([]byte(stream))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Exporter.Rules) != 2 {
		t.Fatalf("rules %+v", cfg.Exporter)
	}
	var absent []string
	for _, n := range not {
		if n.File == "ConfigMap/kafka-metrics" {
			absent = append(absent, n.Value)
		}
	}
	if len(absent) != 1 || !strings.Contains(absent[0], "RequestMetrics") {
		t.Errorf("not modelled: %v", absent)
	}
	cfg.Authenticate, cfg.Authorize, cfg.Encrypt, cfg.Topics, cfg.Users = false, false, false, nil, nil
	c, _ := startCluster(t, cfg, Options{})
	if body := scrape(t, c, 0); !strings.Contains(body, "short_underminisrpartitioncount 0") || strings.Contains(body, "kafka_server") {
		t.Errorf("exported:\n%s", body)
	}
	if _, _, err := ParseStrimzi([]byte(strings.Replace(stream, "name: kafka-metrics, key", "name: other, key", 1))); err == nil {
		t.Error("a ConfigMap that does not exist was accepted")
	}
	if _, _, err := ParseStrimzi([]byte(strings.Replace(stream, "lowercaseOutputName: true", "startDelaySeconds: 5", 1))); err == nil || !strings.Contains(err.Error(), "startDelaySeconds") {
		t.Errorf("a setting that the exporter here does not have: %v", err)
	}
}

// What the shipped object names leave out, no shipped rule is for.
func TestShippedObjectNames(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "manifests", "base", "kafka", "config", "kafka-metrics.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	rules, unknown, err := jmx.ParseRules(b)
	if err != nil || len(unknown) > 0 {
		t.Fatal(err, unknown)
	}
	if len(rules.IncludeObjectNames) == 0 {
		t.Fatal("the exporter reads all beans")
	}
	all, _, err := jmx.ParseRules(bytes.Replace(b, []byte("includeObjectNames:\n"), []byte("includeObjectNames:\n  - '*:*'\n"), 1))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(all.Render(knownBeans())), string(rules.Render(knownBeans()))); diff != "" {
		t.Error(diff)
	}
}
