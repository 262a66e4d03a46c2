package argocd

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
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

// value is a decoded object as Argo CD gives it to a script.
func value(s *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case map[string]any:
		table := s.NewTable()
		for _, k := range slices.Sorted(maps.Keys(v)) {
			table.RawSetString(k, value(s, v[k]))
		}
		return table
	case []any:
		table := s.NewTable()
		for _, e := range v {
			table.Append(value(s, e))
		}
		return table
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case int:
		return lua.LNumber(v)
	default:
		return lua.LNil
	}
}

// health runs a script as Argo CD does: its interpreter, with the libraries package, base and table alone, the object as obj, and the table that
// the chunk returns. An error of the script is its error.
func health(ctx context.Context, script string, object map[string]any) (string, error) {
	s := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer s.Close()
	s.SetContext(ctx)
	for _, open := range []lua.LGFunction{lua.OpenPackage, lua.OpenBase, lua.OpenTable} {
		s.Push(s.NewFunction(open))
		s.Call(0, 0)
	}
	s.SetGlobal("obj", value(s, object))
	if err := s.DoString(script); err != nil {
		return "", err
	}
	table, ok := s.Get(-1).(*lua.LTable)
	if !ok {
		return "", fmt.Errorf("the script returns a %s, not a table", s.Get(-1).Type())
	}
	return lua.LVAsString(table.RawGetString("status")), nil
}

// Scripts can use nothing that Argo CD's interpreter does not offer them.
func TestHealthHasTheLibrariesOfArgoCD(t *testing.T) {
	for _, script := range []string{"return {status = string.upper('healthy')}", "return {status = os.date()}", "return 'Healthy'"} {
		if got, err := health(t.Context(), script, nil); err == nil {
			t.Errorf("%s: %s, and Argo CD would refuse it", script, got)
		}
	}
}

func TestHealth(t *testing.T) {
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
		got, err := health(t.Context(), string(script), object)
		if err != nil || got != c.want {
			t.Errorf("%s: %s (%v), want %s", c.name, got, err, c.want)
		}
	}
}
