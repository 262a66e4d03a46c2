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

// Patterns of what Load reads as figures.
const (
	decimalPattern  = `([0-9]+\.?[0-9]*|\.[0-9]+)`
	numberPattern   = decimalPattern + `([eE][+-]?[0-9]+)?`
	durationPattern = `(0|(` + decimalPattern + `(ns|us|µs|ms|s|m|h))+|` + numberPattern + `d)`
)

// scenarioSchema derives the schema from the types that Load decodes into, so it cannot differ from them.
func scenarioSchema() *jsonschema.Schema {
	r := &jsonschema.Reflector{FieldNameTag: "yaml", DoNotReference: true, Mapper: func(t reflect.Type) *jsonschema.Schema {
		text := func(pattern, example string) *jsonschema.Schema {
			return &jsonschema.Schema{Type: "string", Pattern: pattern, Examples: []any{example}}
		}
		// YAML reads what has no unit as a number.
		or := func(number, text *jsonschema.Schema) *jsonschema.Schema {
			number.Type = "number"
			return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{text, number}}
		}
		switch t {
		case reflect.TypeFor[scenario.Duration]():
			return or(&jsonschema.Schema{Const: 0}, text(`^`+durationPattern+`$`, "90s"))
		case reflect.TypeFor[scenario.Rate]():
			return text(`^`+numberPattern+` */(s|m|h)$`, "500/s")
		case reflect.TypeFor[scenario.Size]():
			return text(`^`+decimalPattern+` *(B|kB|KB|MB|GB|KiB|MiB|GiB)$`, "1KiB")
		case reflect.TypeFor[scenario.Share]():
			return or(&jsonschema.Schema{Minimum: "0"}, text(`^`+numberPattern+` *%?$`, "10%"))
		case reflect.TypeFor[scenario.Time]():
			return or(&jsonschema.Schema{Const: 0}, text(`^(`+durationPattern+`|(`+strings.Join(scenario.PhaseNames, "|")+`)([+-]`+durationPattern+`)?)$`, "during+5s"))
		}
		return nil
	}}
	s := r.Reflect(&scenario.Scenario{})
	s.Title = "Triad scenario"
	return s
}
