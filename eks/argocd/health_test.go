package argocd

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Every kind of Strimzi's that is deployed has a health check, and Applications have theirs.
func TestEveryKindHasAHealthCheck(t *testing.T) {
	cm := build(t, "health")
	if len(cm) != 1 || cm[0].Name() != "argocd-cm" || cm[0].Namespace() != "argocd" {
		t.Fatalf("health builds %v", cm)
	}
	data, _ := cm[0].Field("data")
	have := data.(map[string]any)
	want := map[string]bool{"resource.customizations.health.argoproj.io_Application": true}
	for _, c := range []string{"datacenter", "kafka", "monitoring"} {
		for _, o := range built(t, c) {
			if group, _, _ := strings.Cut(o.APIVersion(), "/"); group == "kafka.strimzi.io" {
				want["resource.customizations.health."+group+"_"+o.Kind()] = true
			}
		}
	}
	for k := range have {
		if strings.HasPrefix(k, "resource.customizations.health.") && !want[k] {
			t.Errorf("%s: no such kind is deployed", k)
		}
	}
	for k := range want {
		script, _ := have[k].(string)
		if !strings.Contains(script, "return hs") {
			t.Errorf("%s: no script", k)
		}
	}
}

// lua writes a value as Lua.
func lua(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var b strings.Builder
		b.WriteString("{")
		for _, k := range slices.Sorted(maps.Keys(v)) {
			fmt.Fprintf(&b, "[%q]=%s,", k, lua(v[k]))
		}
		return b.String() + "}"
	case []any:
		var b strings.Builder
		b.WriteString("{")
		for _, e := range v {
			b.WriteString(lua(e) + ",")
		}
		return b.String() + "}"
	case string:
		return fmt.Sprintf("%q", v)
	default:
		return fmt.Sprint(v)
	}
}

// The scripts are run by the first Lua interpreter found; Argo CD's own speaks 5.1, and the scripts use nothing newer.
func TestHealth(t *testing.T) {
	bin := ""
	for _, name := range []string{"lua", "lua5.1", "lua5.2", "lua5.3", "lua5.4", "luajit"} {
		if p, err := exec.LookPath(name); err == nil {
			bin = p
			break
		}
	}
	if bin == "" {
		t.Skip("no Lua interpreter in PATH")
	}
	for _, c := range []struct{ name, script, object, want string }{
		{"new", "strimzi", "kind: Kafka\nmetadata: {generation: 1}", "Progressing"},
		{"ready", "strimzi", "kind: Kafka\nmetadata: {generation: 2}\nstatus: {observedGeneration: 2, conditions: [{type: Ready, status: 'True'}]}", "Healthy"},
		{"ready with a warning", "strimzi", "kind: KafkaTopic\nmetadata: {generation: 2}\nstatus: {observedGeneration: 2, conditions: [{type: Warning, status: 'True'}, {type: Ready, status: 'True'}]}", "Healthy"},
		{"changed since", "strimzi", "kind: Kafka\nmetadata: {generation: 3}\nstatus: {observedGeneration: 2, conditions: [{type: Ready, status: 'True'}]}", "Progressing"},
		{"being made", "strimzi", "kind: Kafka\nmetadata: {generation: 1}\nstatus: {observedGeneration: 1, conditions: [{type: NotReady, status: 'True', reason: Creating}]}", "Progressing"},
		{"not ready", "strimzi", "kind: KafkaTopic\nmetadata: {generation: 1}\nstatus: {observedGeneration: 1, conditions: [{type: Ready, status: 'False', reason: KafkaError, message: no}]}", "Degraded"},
		{"not ready in Strimzi's way", "strimzi", "kind: KafkaConnect\nmetadata: {generation: 1}\nstatus: {observedGeneration: 1, conditions: [{type: NotReady, status: 'True', reason: TimeoutException}]}", "Degraded"},
		{"paused", "strimzi", "kind: Kafka\nmetadata: {generation: 1, annotations: {strimzi.io/pause-reconciliation: 'true'}}\nstatus: {observedGeneration: 1}", "Suspended"},
		{"status without a word", "strimzi", "kind: KafkaUser\nmetadata: {generation: 1}\nstatus: {observedGeneration: 1}", "Progressing"},
		{"pool", "strimzi", "kind: KafkaNodePool\nmetadata: {generation: 1}\nspec: {replicas: 3}\nstatus: {observedGeneration: 1, nodeIds: [0, 1, 2]}", "Healthy"},
		{"pool that grows", "strimzi", "kind: KafkaNodePool\nmetadata: {generation: 1}\nspec: {replicas: 3}\nstatus: {observedGeneration: 1, nodeIds: [0, 1]}", "Progressing"},
		{"connector", "strimzi", "kind: KafkaConnector\nmetadata: {generation: 1}\nstatus: {observedGeneration: 1, connectorStatus: {connector: {state: RUNNING}, tasks: [{id: 0, state: RUNNING}]}, conditions: [{type: Ready, status: 'True'}]}", "Healthy"},
		{"failed task", "strimzi", "kind: KafkaConnector\nmetadata: {generation: 1}\nstatus: {observedGeneration: 1, connectorStatus: {connector: {state: RUNNING}, tasks: [{id: 0, state: RUNNING}, {id: 1, state: FAILED}]}, conditions: [{type: Ready, status: 'True'}]}", "Degraded"},
		{"failed connector", "strimzi", "kind: KafkaConnector\nmetadata: {generation: 1}\nstatus: {observedGeneration: 1, connectorStatus: {connector: {state: FAILED}, tasks: []}, conditions: [{type: Ready, status: 'True'}]}", "Degraded"},
		{"application new", "application", "kind: Application\nmetadata: {}", "Progressing"},
		{"application", "application", "kind: Application\nstatus: {health: {status: Degraded}, sync: {status: Synced}}", "Degraded"},
		{"application healthy", "application", "kind: Application\nstatus: {health: {status: Healthy}, sync: {status: Synced}}", "Healthy"},
		{"application in a sync", "application", "kind: Application\nstatus: {health: {status: Healthy}, sync: {status: OutOfSync}, operationState: {phase: Running}}", "Progressing"},
	} {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(c.object), &object); err != nil {
			t.Fatal(err)
		}
		script, err := os.ReadFile(filepath.Join("health", c.script+".lua"))
		if err != nil {
			t.Fatal(err)
		}
		// Argo CD gives the object as obj and takes what the chunk returns.
		program := "obj = " + lua(object) + "\nlocal function health()\n" + string(script) + "\nend\nio.write(health().status)\n"
		out, err := exec.CommandContext(t.Context(), bin, "-e", program).CombinedOutput()
		if err != nil || string(out) != c.want {
			t.Errorf("%s: %s (%v), want %s", c.name, out, err, c.want)
		}
	}
}
