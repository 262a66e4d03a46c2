package main

import (
	"encoding"
	"regexp"
	"strconv"
	"testing"

	"github.com/invopop/jsonschema"

	"triad/internal/scenario"
)

// The schema takes and refuses the figures that Load takes and refuses.
func TestSchemaTakesWhatLoadTakes(t *testing.T) {
	at := func(s *jsonschema.Schema, keys ...string) *jsonschema.Schema {
		for _, k := range keys {
			if s.Items != nil {
				s = s.Items
			}
			next, ok := s.Properties.Get(k)
			if !ok {
				t.Fatalf("the schema has no %v", keys)
			}
			s = next
		}
		return s
	}
	whole := scenarioSchema()
	for _, c := range []struct {
		schema *jsonschema.Schema
		into   encoding.TextUnmarshaler
		texts  []string
	}{
		{
			at(whole, "phases", "before"), new(scenario.Duration),
			[]string{"90s", "1h30m", "250ms", "2d", "1.5d", "1m30.5s", ".5s", "5.s", "1e1d", "100us", "100µs", "0", "", "90", "s", "1..5s", ".s", "1d2h", "-5s", "5 s", "NaNd", "5 minutes"},
		},
		{
			at(whole, "load", "rate"), new(scenario.Rate),
			[]string{"500/s", "30/m", "1000/h", "1e3/s", "1.5e+2/s", ".5/s", "500 /s", "", "500", "/s", "5/d", "1e/s", "-5/s", "NaN/s", "5/s/s"},
		},
		{
			at(whole, "load", "size"), new(scenario.Size),
			[]string{"256B", "1KiB", "1.5MiB", "1 KiB", "1kB", "", "256", "KiB", ".KiB", "1e3B", "-1B", "1TiB"},
		},
		{
			at(whole, "search", "precision"), new(scenario.Share),
			[]string{"10%", "0.1", "1e-1", "10 %", "5.%", "", "%", "-1%", "ten", "NaN"},
		},
		{
			at(whole, "faults", "at"), new(scenario.Time),
			[]string{"20s", "1m30s", "1.5h", "2d", "0", "during", "warm-up+1s", "during+1m30s", "after-500ms", "before+100us", "during+0", "", "20", "later", "during+5", "during*2s", "durign+5s"},
		},
	} {
		for _, text := range c.texts {
			loads := c.into.UnmarshalText([]byte(text)) == nil
			if got := takes(t, c.schema, text); got != loads {
				t.Errorf("%T %q: the schema says %v, Load %v", c.into, text, got, loads)
			}
		}
	}
}

// takes says whether a schema of a figure takes it as YAML reads it: as a text, or what is a number as a number.
func takes(t *testing.T, s *jsonschema.Schema, text string) bool {
	t.Helper()
	f, err := strconv.ParseFloat(text, 64)
	for _, x := range append(s.AnyOf, s) {
		switch {
		case x.Type == "number" && err == nil && text != "NaN":
			if (x.Const == nil || f == 0) && (x.Minimum == "" || f >= 0) {
				return true
			}
		case x.Type == "string" && regexp.MustCompile(x.Pattern).MatchString(text):
			return true
		}
	}
	return false
}
