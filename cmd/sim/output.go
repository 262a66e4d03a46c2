package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
)

// checkOutput refuses an output format that no command knows.
func checkOutput(output string) error {
	if output != "text" && output != "json" {
		return usage(fmt.Errorf("--output %q: want text or json", output))
	}
	return nil
}

// json prints one value, indented.
func (a *app) json(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table prints rows as an aligned table or as a JSON list of objects.
func (a *app) table(output string, head []string, rows [][]string) error {
	if err := checkOutput(output); err != nil {
		return err
	}
	if output == "json" {
		out := make([]map[string]string, 0, len(rows))
		for _, r := range rows {
			m := map[string]string{}
			for i, h := range head {
				m[strings.ReplaceAll(strings.ToLower(h), " ", "_")] = r[i]
			}
			out = append(out, m)
		}
		return a.json(out)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}
