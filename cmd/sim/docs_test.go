package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triad/internal/plan"
	"triad/internal/scenario"
)

func TestScenarioReferenceIsUpToDate(t *testing.T) {
	root := filepath.Join("..", "..")
	want, err := (&app{root: root}).scenarioReference()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, "docs", "scenarios.md"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/scenarios.md is behind the code; run make generate (-code +file):\n%s", diff)
	}
}

// The plan in docs/scaling.md is that of the manifests and of docs/measurements as they are.
func TestScalingIsUpToDate(t *testing.T) {
	root := filepath.Join("..", "..")
	got, err := os.ReadFile(filepath.Join(root, "docs", "scaling.md"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	a := &app{root: root, stdout: &out, stderr: &out, getenv: func(string) string { return "" }}
	if code := a.main(t.Context(), []string{"plan", "1000000", "--root", root, "--from", filepath.Join(root, "docs", "measurements"), "-o", "markdown"}); code != exitPass {
		t.Fatalf("exit code %d: %s", code, out.String())
	}
	want, err := plan.Replace(string(got), out.String())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/scaling.md is behind; run make generate (-is +file):\n%s", diff)
	}
}

// TestEveryKeyIsDescribed holds the struct tags to what the reference and the schema need of them.
func TestEveryKeyIsDescribed(t *testing.T) {
	for _, typ := range []reflect.Type{
		reflect.TypeFor[scenario.Scenario](), reflect.TypeFor[scenario.Phases](), reflect.TypeFor[scenario.Input](),
		reflect.TypeFor[scenario.Stage](), reflect.TypeFor[scenario.Fault](), reflect.TypeFor[scenario.Guarantee](), reflect.TypeFor[scenario.Setting](),
		reflect.TypeFor[scenario.Isolation](), reflect.TypeFor[scenario.Search](), reflect.TypeFor[scenario.Cap](), reflect.TypeFor[scenario.Compare](),
		reflect.TypeFor[scenario.Alert](),
	} {
		for _, row := range fieldRows(typ) {
			if row[3] == "" {
				t.Errorf("%s: key %s has no doc tag", typ.Name(), row[0])
			}
		}
	}
}
