package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// checkOutput refuses an output format that the command does not know: text, json, and one more where it has one.
func checkOutput(output string, more ...string) error {
	known := append([]string{"text", "json"}, more...)
	if slices.Contains(known, output) {
		return nil
	}
	last := len(known) - 1
	return usage(fmt.Errorf("--output %q: want %s or %s", output, strings.Join(known[:last], ", "), known[last]))
}

// writeSection replaces a section of a file, in one step: a reader sees the old one or the new one.
func writeSection(file string, replace func(old string) (string, error)) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return usage(fmt.Errorf("--write: %w", err))
	}
	text, err := replace(string(old))
	if err != nil {
		return usage(fmt.Errorf("%s: %w", file, err))
	}
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("--write: %w", err)
	}
	return replaceFile("--write", file, []byte(text), info.Mode().Perm())
}

// replaceFile writes a file that somebody named by a flag: whole, or not at all.
func replaceFile(flag, file string, text []byte, perm os.FileMode) error {
	next := file + ".new"
	if err := os.WriteFile(next, text, perm); err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	if err := os.Rename(next, file); err != nil {
		os.Remove(next)
		return fmt.Errorf("%s: %w", flag, err)
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
