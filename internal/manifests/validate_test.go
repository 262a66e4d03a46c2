package manifests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestManifestsAreValid(t *testing.T) {
	r := open(t).Validate(os.Getenv("TRIAD_STRIMZI_CRDS"))
	for _, p := range r.Problems {
		t.Error(p)
	}
	if r.Objects < 250 {
		t.Errorf("only %d objects were looked at", r.Objects)
	}
	for _, s := range r.Skipped {
		t.Log("skipped:", s)
	}
}

// copyOf makes a writable copy of the manifests.
func copyOf(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "manifests")
	if err := os.CopyFS(dir, os.DirFS("../../manifests")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestValidateNamesFileLineAndFault(t *testing.T) {
	definitions := os.Getenv("TRIAD_STRIMZI_CRDS")
	for _, c := range []struct {
		name, file, old, new string
		strimzi              bool // needs the definitions
		want                 []string
	}{
		{
			"misspelt field", "base/datacenter/fluentd.yaml", "terminationGracePeriodSeconds: 60", "terminationGracePeriodSecond: 60", false,
			[]string{"manifests/base/datacenter/fluentd.yaml:", "StatefulSet/fluentd", `unknown field "spec.template.spec.terminationGracePeriodSecond"`},
		},
		{"wrong type", "base/datacenter/inputgen.yaml", "replicas: 2", "replicas: two", false, []string{"manifests/base/datacenter/inputgen.yaml:", "Deployment/service-inputgen", "replicas"}},
		{"unpinned image", "base/datacenter/fluent-bit.yaml", "fluent-bit:5.0.7", "fluent-bit:5.0.8", false, []string{"DaemonSet/fluent-bit", "images.yaml pins cr.fluentbit.io/fluent/fluent-bit:5.0.7"}},
		{"unknown component", "base/datacenter/fluent-bit.yaml", "triad.dev/component: fluent-bit,", "triad.dev/component: fluentbit,", false, []string{`"fluentbit", which images.yaml does not know`}},
		{"undeclared opening", "base/datacenter/network.yaml", "    # Flow logs (flows.yaml)", "    - ports: [{protocol: TCP, port: 22}]\n    # Flow logs (flows.yaml)", false, []string{"lets fluentd out on port 22 to or from anywhere"}},
		{"closed flow", "base/datacenter/network.yaml", "port: 9094", "port: 9095", false, []string{"flow logs", "lets fluentd out on port 9094"}},
		{"flow without reason", "flows.yaml", "    why: The agent's remote_write, with a password.\n", "    why: ''\n", false, []string{"flows[3]", "a flow says why"}},
		{"unknown key", "images.yaml", "  prometheus:\n    reference", "  prometheus:\n    referenced", false, []string{"images.yaml", "referenced"}},
		{"image of nothing", "images.yaml", "of: {image: kafka,", "of: {image: none,", false, []string{"images.kafka-connect", "an image of parts"}},
		{"image of no archive", "images.yaml", "asset: elasticsearch-sink, below", "asset: none, below", false, []string{"images.kafka-connect", `no asset "none" of one file`}},
		{"broken dashboard", "base/monitoring/config/dashboards/kafka.json", `"expr": "triad:broker_records:rate1m"`, `"expr": ""`, false, []string{"file kafka.json", `panel "Records in by topic"`}},
		{"undeclared difference", "overlays/kind/datacenter/sizes.yaml", "spec:\n  replicas: 1\n", "spec:\n  replicas: 1\n  minReadySeconds: 5\n", false, []string{"undeclared difference: datacenter/StatefulSet/fluentd: spec/minReadySeconds"}},
		{
			"misspelt Strimzi field", "base/kafka/topics.yaml", "partitions: 6", "partition: 6", true,
			[]string{"manifests/base/kafka/topics.yaml:", "KafkaTopic/service-topic", "unknown field, did you mean partitions?"},
		},
		{"wrong Strimzi value", "base/kafka/kafka.yaml", "roles: [controller, broker]", "roles: [controler, broker]", true, []string{"KafkaNodePool/broker", "controler, want one of"}},
		{
			"old Strimzi version", "base/kafka/topics.yaml", "kafka.strimzi.io/v1\n", "kafka.strimzi.io/v1beta2\n", true,
			[]string{"KafkaTopic/service-topic", "no definition of kafka.strimzi.io/v1beta2 KafkaTopic"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.name != "misspelt field" {
				t.Skip("each case renders all overlays")
			}
			if (c.name == "misspelt field" || c.name == "wrong type") && !builtInKindsChecked {
				t.Skip("Kubernetes' types are not in this build")
			}
			t.Parallel()
			if c.strimzi && definitions == "" {
				t.Skip("no definitions of Strimzi's resources: set TRIAD_STRIMZI_CRDS")
			}
			dir := copyOf(t)
			path := filepath.Join(dir, c.file)
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(content), c.old) {
				t.Fatalf("%s does not contain %q", c.file, c.old)
			}
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(content), c.old, c.new)), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			r := s.Validate(definitions)
			for _, p := range r.Problems {
				hits := 0
				for _, w := range c.want {
					if strings.Contains(p.Error(), w) {
						hits++
					}
				}
				if hits == len(c.want) {
					return
				}
			}
			t.Errorf("no problem with all of %q in:", c.want)
			for _, p := range r.Problems {
				t.Log(p)
			}
		})
	}
}

func TestDashboardQueriesAreListed(t *testing.T) {
	q, err := render(t, open(t), "monitoring", "kind").Queries()
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, x := range q {
		count[x.Datasource]++
	}
	if count["prometheus"] < 40 || count["elasticsearch"] < 4 {
		t.Errorf("queries: %v", count)
	}
}
