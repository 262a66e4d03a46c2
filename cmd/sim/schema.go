package main

import (
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
	"github.com/spf13/cobra"

	"triad/internal/scenario"
)

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{Use: "schema", Short: "Print the JSON Schema of scenario files, for editors", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		return a.json(scenarioSchema())
	}}
}

// scenarioSchema derives the schema from the types that Load decodes into, so it cannot differ from them.
func scenarioSchema() *jsonschema.Schema {
	r := &jsonschema.Reflector{FieldNameTag: "yaml", DoNotReference: true, Mapper: func(t reflect.Type) *jsonschema.Schema {
		text := func(pattern, example string) *jsonschema.Schema {
			return &jsonschema.Schema{Type: "string", Pattern: pattern, Examples: []any{example}}
		}
		switch t {
		case reflect.TypeFor[scenario.Duration]():
			return text(`^[0-9.]+(ns|us|ms|s|m|h|d)([0-9.]+(ms|s|m|h))*$`, "90s")
		case reflect.TypeFor[scenario.Rate]():
			return text(`^[0-9.]+/(s|m|h)$`, "500/s")
		case reflect.TypeFor[scenario.Size]():
			return text(`^[0-9.]+(B|kB|KB|MB|GB|KiB|MiB|GiB)$`, "1KiB")
		case reflect.TypeFor[scenario.Share]():
			return text(`^[0-9.]+%?$`, "10%")
		case reflect.TypeFor[scenario.Time]():
			return text(`^([0-9.]+(ms|s|m|h)|(`+strings.Join(scenario.PhaseNames, "|")+`)([+-][0-9.]+(ms|s|m|h))?)$`, "during+5s")
		}
		return nil
	}}
	s := r.Reflect(&scenario.Scenario{})
	s.Title = "Triad scenario"
	return s
}
